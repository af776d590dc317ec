//! Consultations (個別相談): which times are free, and one person's booking of one of them.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, TimeDelta, Utc, Weekday};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::{
    event::{Event, Fact},
    id::Id,
    limits::SLOT_DAYS,
    text::LongText,
    time,
};

/// When consultations can be had.
#[derive(Debug, Clone, PartialEq)]
pub struct Availability {
    /// Length of a consultation, in minutes.
    pub minutes: i64,
    /// Pause after each, in minutes.
    pub buffer: i64,
    /// Earliest start, in hours from now.
    pub notice_hours: i64,
    /// How far ahead can be booked, in days.
    pub horizon_days: i64,
    /// Who holds them.
    pub hosts: Vec<Id>,
    /// Opening times on each weekday, in the funnel's zone.
    pub weekly: BTreeMap<u8, Vec<(NaiveTime, NaiveTime)>>,
    /// Days on which nobody works.
    pub holidays: BTreeSet<NaiveDate>,
}

/// The key of a weekday in [`Availability::weekly`]: 0 is Monday.
pub fn weekday_key(day: Weekday) -> u8 {
    u8::try_from(day.num_days_from_monday()).unwrap_or(0)
}

/// A time that can be booked with a host. Two people never get times of one host that overlap.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    pub start: DateTime<Utc>,
    pub end: DateTime<Utc>,
    /// When the pause after it is over, and the host is free again.
    pub until: DateTime<Utc>,
    pub host: Id,
}

impl Slot {
    /// The agendas in which it has to stand: those of all UTC days that it and its pause touch. Two
    /// times that overlap have a moment in common, so a day, so an agenda in which they meet; and
    /// whoever writes an agenda does so on condition of its version. The days are those of UTC
    /// because a funnel's zone may be edited, and then old and new bookings would not meet.
    pub fn agenda_keys(&self) -> Vec<String> {
        let last = (self.until - TimeDelta::milliseconds(1)).date_naive();
        let days = self.start.date_naive().iter_days().take_while(|day| *day <= last);
        days.map(|day| Agenda::key(&self.host, day)).collect()
    }

    /// Whether its host has time for it. `agendas` are to hold all those in which it has to stand;
    /// a day that nobody ever booked has none.
    pub fn is_free(&self, agendas: &Agendas) -> bool {
        self.agenda_keys().iter().all(|key| agendas.get(key).is_none_or(|agenda| agenda.has_room_for(self)))
    }
}

/// A host's bookings of one UTC day, a row of the Consultations table. It is never removed: were it
/// to begin anew at its first version, whoever had read an older first one could write over it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agenda {
    /// `agenda#HOST#DAY`, under the name that the table gives its key.
    #[serde(rename = "consultation_id")]
    pub key: String,
    pub bookings: Vec<Booking>,
    pub version: u64,
}

/// A consultation's time in an agenda.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booking {
    pub consultation_id: Id,
    #[serde(with = "time::stored")]
    pub start: DateTime<Utc>,
    /// The pause is part of it, as long as it was when the time was booked.
    #[serde(with = "time::stored")]
    pub until: DateTime<Utc>,
}

/// Agendas by their keys.
pub type Agendas = BTreeMap<String, Agenda>;

impl Agenda {
    fn key(host: &Id, day: NaiveDate) -> String {
        format!("agenda#{host}#{day}")
    }

    fn has_room_for(&self, slot: &Slot) -> bool {
        self.bookings.iter().all(|booking| slot.until <= booking.start || booking.until <= slot.start)
    }
}

/// The agendas that change, in their next versions, when a consultation takes this time, and leaves
/// any other that it had. None if somebody else has it.
pub fn arrange(agendas: &Agendas, consultation_id: &Id, slot: &Slot) -> Option<Vec<Agenda>> {
    let mut after = without(agendas, consultation_id);
    if !slot.is_free(&after) {
        return None;
    }
    for key in slot.agenda_keys() {
        let new = Agenda { key: key.clone(), bookings: vec![], version: 0 };
        let booking =
            Booking { consultation_id: consultation_id.clone(), start: slot.start, until: slot.until };
        after.entry(key).or_insert(new).bookings.push(booking);
    }
    Some(changed(agendas, after))
}

/// The agendas that change, in their next versions, when a consultation leaves them.
pub fn vacate(agendas: &Agendas, consultation_id: &Id) -> Vec<Agenda> {
    changed(agendas, without(agendas, consultation_id))
}

fn without(agendas: &Agendas, consultation_id: &Id) -> Agendas {
    let mut after = agendas.clone();
    for agenda in after.values_mut() {
        agenda.bookings.retain(|booking| booking.consultation_id != *consultation_id);
    }
    after
}

fn changed(before: &Agendas, after: Agendas) -> Vec<Agenda> {
    let changed = after
        .into_values()
        .filter(|agenda| before.get(&agenda.key).is_none_or(|known| known.bookings != agenda.bookings));
    changed.map(|agenda| Agenda { version: agenda.version + 1, ..agenda }).collect()
}

impl Availability {
    /// The slots of the days `from..=until` (in `zone`) that the calendar offers, in order of
    /// time; whether they are taken is not its knowledge. Days outside notice and horizon have none.
    pub fn slots(&self, from: NaiveDate, until: NaiveDate, now: DateTime<Utc>, zone: Tz) -> Vec<Slot> {
        let earliest = now + TimeDelta::hours(self.notice_hours);
        let last_day = time::plus_days(time::day(now, zone), self.horizon_days.min(SLOT_DAYS));
        let mut slots: Vec<Slot> = from
            .iter_days()
            .take_while(|day| *day <= until.min(last_day))
            .filter(|day| !self.holidays.contains(day))
            .flat_map(|day| self.starts(day).into_iter().map(move |start| time::instant(day, start, zone)))
            .filter(|start| *start >= earliest)
            .flat_map(|start| {
                let end = start + TimeDelta::minutes(self.minutes);
                let until = end + TimeDelta::minutes(self.buffer);
                self.hosts.iter().map(move |host| Slot { start, end, until, host: host.clone() })
            })
            .collect();
        slots.sort();
        slots.dedup();
        slots
    }

    /// The slot that starts then, if the calendar offers one.
    pub fn slot_at(&self, start: DateTime<Utc>, host: &Id, now: DateTime<Utc>, zone: Tz) -> Option<Slot> {
        let day = time::day(start, zone);
        self.slots(day, day, now, zone).into_iter().find(|slot| slot.start == start && slot.host == *host)
    }

    fn starts(&self, day: NaiveDate) -> Vec<NaiveTime> {
        let open = self.weekly.get(&weekday_key(day.weekday())).map(Vec::as_slice).unwrap_or_default();
        let mut starts = vec![];
        for (from, until) in open {
            let mut start = *from;
            while (*until - start) >= TimeDelta::minutes(self.minutes) {
                starts.push(start);
                let (next, wrapped) =
                    start.overflowing_add_signed(TimeDelta::minutes(self.minutes + self.buffer));
                if wrapped != 0 {
                    break;
                }
                start = next;
            }
        }
        starts
    }
}

/// One row of the Consultations table (seed 000, C8.2, database 3, and what the flow needs).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Consultation {
    pub consultation_id: Id,
    pub lead_id: Id,
    /// Its start.
    #[serde(with = "time::stored")]
    pub scheduled_date: DateTime<Utc>,
    #[serde(with = "time::stored")]
    pub ends_at: DateTime<Utc>,
    pub host: Id,
    pub status: ConsultationStatus,
    /// Unknown until somebody says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attended: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow_up_date: Option<NaiveDate>,
    /// What the person wants to talk about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<LongText>,
    #[serde(with = "time::stored")]
    pub booked_at: DateTime<Utc>,
    /// Grows with every move: reminders of an earlier time find themselves outdated, and the
    /// calendar file's SEQUENCE follows it.
    pub version: u32,
}

impl Consultation {
    /// Whether it is at that time, with that host.
    pub fn is_at(&self, slot: &Slot) -> bool {
        self.scheduled_date == slot.start && self.host == slot.host
    }

    /// The agendas in which it may stand. How long the pause after it was when it was booked is not
    /// known any more; with it, it is shorter than a day (both are 480 minutes at most), so it ends
    /// on the next one at the latest.
    pub fn agenda_keys(&self) -> [String; 2] {
        let day = self.scheduled_date.date_naive();
        [day, time::plus_days(day, 1)].map(|day| Agenda::key(&self.host, day))
    }
}

/// Whether it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsultationStatus {
    Booked,
    Cancelled,
    Held,
    Missed,
}

/// What came of it (成約・未成約・検討中).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Won,
    Lost,
    Thinking,
}

/// A consultation as it shall be stored, and what happened.
#[derive(Debug, Clone)]
pub struct ConsultationChange {
    pub consultation: Consultation,
    pub event: Event,
}

/// Why a consultation can't be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsultationError {
    /// It was cancelled, or has been held or missed.
    #[error("the consultation is not open any more")]
    Closed,
    /// It has begun.
    #[error("the consultation has already begun")]
    Begun,
    /// It has not begun.
    #[error("the consultation has not begun yet")]
    NotBegun,
}

/// Books a slot. The id follows from person and slot, so the same request twice is one booking.
/// `round` counts the person's earlier bookings of this very slot that were cancelled or moved.
pub fn book(
    lead_id: &Id,
    slot: &Slot,
    round: u32,
    note: Option<LongText>,
    now: DateTime<Utc>,
    zone: Tz,
) -> ConsultationChange {
    let time = format!("slot#{}#{}", slot.host, slot.start.format("%Y-%m-%dT%H:%MZ"));
    let consultation_id = Id::derived("c", &[lead_id.as_str(), &time, &round.to_string()]);
    let consultation = Consultation {
        consultation_id: consultation_id.clone(),
        lead_id: lead_id.clone(),
        scheduled_date: slot.start,
        ends_at: slot.end,
        host: slot.host.clone(),
        status: ConsultationStatus::Booked,
        attended: None,
        outcome: None,
        follow_up_date: None,
        note,
        booked_at: now,
        version: 1,
    };
    let fact = Fact::ConsultationBooked {
        consultation_id: consultation_id.clone(),
        version: 1,
        scheduled_date: slot.start,
    };
    ConsultationChange {
        event: Event::about(lead_id, consultation_id.as_str(), fact, now, zone),
        consultation,
    }
}

/// Moves it to another slot.
///
/// # Errors
/// [`ConsultationError`] if it is not open, or has begun.
pub fn reschedule(
    consultation: Consultation,
    slot: &Slot,
    now: DateTime<Utc>,
    zone: Tz,
) -> Result<ConsultationChange, ConsultationError> {
    ahead(&consultation, now)?;
    let version = consultation.version + 1;
    let consultation = Consultation {
        scheduled_date: slot.start,
        ends_at: slot.end,
        host: slot.host.clone(),
        version,
        ..consultation
    };
    let id = consultation.consultation_id.clone();
    let fact =
        Fact::ConsultationRescheduled { consultation_id: id.clone(), version, scheduled_date: slot.start };
    Ok(ConsultationChange {
        event: Event::about(&consultation.lead_id, &format!("{id}.{version}"), fact, now, zone),
        consultation,
    })
}

/// Calls it off.
///
/// # Errors
/// [`ConsultationError`] if it is not open, or has begun.
pub fn cancel(
    consultation: Consultation,
    now: DateTime<Utc>,
    zone: Tz,
) -> Result<ConsultationChange, ConsultationError> {
    ahead(&consultation, now)?;
    let version = consultation.version + 1;
    let consultation = Consultation { status: ConsultationStatus::Cancelled, version, ..consultation };
    let id = consultation.consultation_id.clone();
    let fact = Fact::ConsultationCancelled { consultation_id: id.clone(), version };
    Ok(ConsultationChange {
        event: Event::about(&consultation.lead_id, id.as_str(), fact, now, zone),
        consultation,
    })
}

/// Records that it took place, or that the person did not come.
///
/// # Errors
/// [`ConsultationError`] if it has not begun, or was cancelled or recorded already.
pub fn conclude(
    consultation: Consultation,
    attended: bool,
    outcome: Option<Outcome>,
    now: DateTime<Utc>,
    zone: Tz,
) -> Result<ConsultationChange, ConsultationError> {
    if consultation.status != ConsultationStatus::Booked {
        return Err(ConsultationError::Closed);
    }
    if now < consultation.scheduled_date {
        return Err(ConsultationError::NotBegun);
    }
    let id = consultation.consultation_id.clone();
    let (status, fact) = match attended {
        true => (ConsultationStatus::Held, Fact::ConsultationHeld { consultation_id: id.clone() }),
        false => (ConsultationStatus::Missed, Fact::ConsultationMissed { consultation_id: id.clone() }),
    };
    let consultation = Consultation {
        status,
        attended: Some(attended),
        outcome: outcome.filter(|_| attended),
        version: consultation.version + 1,
        ..consultation
    };
    Ok(ConsultationChange {
        event: Event::about(&consultation.lead_id, id.as_str(), fact, now, zone),
        consultation,
    })
}

fn ahead(consultation: &Consultation, now: DateTime<Utc>) -> Result<(), ConsultationError> {
    if consultation.status != ConsultationStatus::Booked {
        return Err(ConsultationError::Closed);
    }
    if now >= consultation.scheduled_date {
        return Err(ConsultationError::Begun);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono_tz::Tz::Asia__Tokyo;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn clock(text: &str) -> NaiveTime {
        text.parse().unwrap()
    }

    fn availability() -> Availability {
        let open = vec![(clock("10:00:00"), clock("12:30:00")), (clock("13:00:00"), clock("14:30:00"))];
        Availability {
            minutes: 60,
            buffer: 30,
            notice_hours: 24,
            horizon_days: 14,
            hosts: vec![Id::parse("watanabe").unwrap()],
            weekly: (0..5).map(|day| (day, open.clone())).collect(),
            holidays: ["2026-11-23".parse().unwrap()].into(),
        }
    }

    fn shown(slots: &[Slot]) -> Vec<String> {
        slots
            .iter()
            .map(|slot| slot.start.with_timezone(&Asia__Tokyo).format("%a %d %H:%M").to_string())
            .collect()
    }

    #[test]
    fn free_times_follow_opening_hours_pauses_holidays_and_notice() {
        // Sunday the 22nd, 10:00 in Tokyo; the 23rd is a holiday.
        let now = at("2026-11-22T01:00:00Z");
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        let slots = availability().slots(day("2026-11-22"), day("2026-11-24"), now, Asia__Tokyo);
        assert_eq!(shown(&slots), ["Tue 24 10:00", "Tue 24 11:30", "Tue 24 13:00"]);
        // On Monday 11:00 the notice of 24 hours reaches into Tuesday.
        let slots = availability().slots(
            day("2026-11-22"),
            day("2026-11-24"),
            at("2026-11-23T02:00:00Z"),
            Asia__Tokyo,
        );
        assert_eq!(shown(&slots), ["Tue 24 11:30", "Tue 24 13:00"]);
        let beyond = availability().slots(day("2026-12-07"), day("2026-12-31"), now, Asia__Tokyo);
        assert_eq!(shown(&beyond), Vec::<String>::new());
    }

    #[test]
    fn a_time_that_is_not_offered_is_no_slot() {
        let host = Id::parse("watanabe").unwrap();
        let now = at("2026-11-22T01:00:00Z");
        assert!(availability().slot_at(at("2026-11-24T01:00:00Z"), &host, now, Asia__Tokyo).is_some());
        for (start, host) in [
            ("2026-11-24T01:15:00Z", &host),
            ("2026-11-23T01:00:00Z", &host),
            ("2026-11-24T01:00:00Z", &Id::parse("nobody").unwrap()),
        ] {
            assert_eq!(availability().slot_at(at(start), host, now, Asia__Tokyo), None, "{start} {host}");
        }
    }

    fn slot(host: &str, start: &str, minutes: i64, pause: i64) -> Slot {
        let start = at(start);
        let end = start + TimeDelta::minutes(minutes);
        Slot { start, end, until: end + TimeDelta::minutes(pause), host: Id::parse(host).unwrap() }
    }

    fn written(mut agendas: Agendas, changed: Vec<Agenda>) -> Agendas {
        for agenda in changed {
            let before = agendas.get(&agenda.key).map_or(0, |agenda| agenda.version);
            assert_eq!(agenda.version, before + 1, "{}", agenda.key);
            agendas.insert(agenda.key.clone(), agenda);
        }
        agendas
    }

    fn booked(agendas: Agendas, consultation_id: &str, slot: &Slot) -> Agendas {
        let changed = arrange(&agendas, &Id::parse(consultation_id).unwrap(), slot);
        written(agendas, changed.expect("a free time"))
    }

    #[test]
    fn a_host_is_free_when_neither_time_reaches_into_the_other_or_its_pause() {
        let taken = booked(Agendas::new(), "c-1", &slot("watanabe", "2026-11-24T02:00:00Z", 60, 30));
        for (host, start, minutes, pause, expected) in [
            ("watanabe", "2026-11-24T02:00:00Z", 60, 30, false),
            ("watanabe", "2026-11-24T02:15:00Z", 15, 0, false),
            ("watanabe", "2026-11-24T01:00:00Z", 240, 0, false),
            ("watanabe", "2026-11-24T03:29:00Z", 60, 30, false),
            ("watanabe", "2026-11-24T03:30:00Z", 60, 30, true),
            ("watanabe", "2026-11-24T00:31:00Z", 60, 30, false),
            ("watanabe", "2026-11-24T00:30:00Z", 60, 30, true),
            ("watanabe", "2026-11-24T01:00:00Z", 60, 0, true),
            ("watanabe", "2026-11-25T02:00:00Z", 60, 30, true),
            ("other", "2026-11-24T02:00:00Z", 60, 30, true),
        ] {
            let wanted = slot(host, start, minutes, pause);
            assert_eq!(wanted.is_free(&taken), expected, "{host} {start} {minutes}+{pause}");
            let second = arrange(&taken, &Id::parse("c-2").unwrap(), &wanted);
            assert_eq!(second.is_some(), expected, "{host} {start} {minutes}+{pause}");
        }
    }

    #[test]
    fn times_that_overlap_always_meet_in_an_agenda() {
        let evening = slot("watanabe", "2026-11-24T23:30:00Z", 60, 30);
        assert_eq!(evening.agenda_keys(), ["agenda#watanabe#2026-11-24", "agenda#watanabe#2026-11-25"]);
        // Only its pause reaches into the next day.
        assert_eq!(slot("watanabe", "2026-11-24T22:45:00Z", 60, 30).agenda_keys().len(), 2);
        // It ends with the day.
        assert_eq!(slot("watanabe", "2026-11-24T22:30:00Z", 60, 30).agenda_keys().len(), 1);
        let taken = booked(Agendas::new(), "c-1", &evening);
        let morning = slot("watanabe", "2026-11-25T00:30:00Z", 60, 30);
        let keys = morning.agenda_keys();
        let read: Agendas = taken.into_iter().filter(|(key, _)| keys.contains(key)).collect();
        assert!(!morning.is_free(&read));
        let longest = slot("watanabe", "2026-11-24T23:59:00Z", 480, 480);
        let change =
            book(&Id::parse("l-1").unwrap(), &longest, 0, None, at("2026-11-22T00:00:00Z"), Asia__Tokyo);
        assert_eq!(change.consultation.agenda_keys().to_vec(), longest.agenda_keys());
    }

    #[test]
    fn a_move_frees_the_old_time_and_writes_each_agenda_once() {
        let id = Id::parse("c-1").unwrap();
        let (early, later) = (
            slot("watanabe", "2026-11-24T02:00:00Z", 60, 30),
            slot("watanabe", "2026-11-24T02:30:00Z", 60, 30),
        );
        let taken = booked(Agendas::new(), "c-1", &early);
        // Her own time does not stand in her way.
        let moved = arrange(&taken, &id, &later).unwrap();
        assert_eq!(moved.len(), 1);
        let moved = written(taken, moved);
        assert!(slot("watanabe", "2026-11-24T01:00:00Z", 60, 30).is_free(&moved));
        assert!(!later.is_free(&moved));
        let next_day = slot("watanabe", "2026-11-25T02:00:00Z", 60, 30);
        let both = arrange(&moved, &id, &next_day).unwrap();
        assert_eq!(both.iter().map(|agenda| agenda.bookings.len()).collect::<Vec<_>>(), [0, 1]);
        let moved = written(moved, both);
        assert!(later.is_free(&moved) && !next_day.is_free(&moved));
        // What was called off leaves its agenda there, and nothing is written a second time.
        let free = vacate(&moved, &id);
        assert_eq!(free.iter().map(|agenda| agenda.bookings.len()).collect::<Vec<_>>(), [0]);
        let free = written(moved, free);
        assert!(next_day.is_free(&free));
        assert_eq!(vacate(&free, &id), []);
    }

    #[test]
    fn a_consultation_is_held_or_missed_only_once_and_only_after_it_began() {
        let now = at("2026-11-22T01:00:00Z");
        let slot = availability()
            .slot_at(at("2026-11-24T01:00:00Z"), &Id::parse("watanabe").unwrap(), now, Asia__Tokyo)
            .unwrap();
        let booked = book(&Id::parse("l-1").unwrap(), &slot, 0, None, now, Asia__Tokyo).consultation;
        assert_eq!(
            conclude(booked.clone(), true, None, now, Asia__Tokyo).unwrap_err(),
            ConsultationError::NotBegun
        );
        let held =
            conclude(booked.clone(), true, Some(Outcome::Won), slot.end, Asia__Tokyo).unwrap().consultation;
        assert_eq!(
            (held.status, held.attended, held.outcome),
            (ConsultationStatus::Held, Some(true), Some(Outcome::Won))
        );
        assert_eq!(
            conclude(held.clone(), false, None, slot.end, Asia__Tokyo).unwrap_err(),
            ConsultationError::Closed
        );
        assert_eq!(cancel(held, now, Asia__Tokyo).unwrap_err(), ConsultationError::Closed);
        assert_eq!(cancel(booked, slot.start, Asia__Tokyo).unwrap_err(), ConsultationError::Begun);
    }
}
