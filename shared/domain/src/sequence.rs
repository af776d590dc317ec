//! Sequences, and a person's place in one.

use chrono::{DateTime, NaiveTime, TimeDelta, Timelike, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::{
    engagement::MailClass,
    event::{FactKind, Topic},
    id::Id,
    limits::STEP_GRACE_SECONDS,
    time,
};

/// A row of mails that a fact sets going.
#[derive(Debug, Clone, PartialEq)]
pub struct Sequence {
    pub id: Id,
    pub name: String,
    pub class: MailClass,
    /// Facts that enrol a person.
    pub entry: Vec<FactKind>,
    /// Facts that take a person out.
    pub exit: Vec<FactKind>,
    /// Whether a later entry starts it afresh, or a person goes through it once.
    pub again: bool,
    /// In the order they come due.
    pub steps: Vec<Step>,
}

/// One mail of a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Stable: it is part of the ledger's key.
    pub id: Id,
    /// The mail to send.
    pub send: Id,
    pub when: When,
    /// Whether the mail carries the appointment as a calendar file.
    pub calendar: bool,
}

/// When a step is due, counted from the sequence's anchor: the moment of entry, or the start of
/// the consultation that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// As soon as the person is enrolled.
    Now,
    /// A number of minutes after the anchor, or before it when negative.
    Offset { minutes: i64 },
    /// At a clock time, a number of calendar days after the anchor's day, or before it when negative.
    Clock { days: i64, time: NaiveTime },
}

/// Why a text names no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "write `now`, an offset such as `+2h`, `-2h` or `+30m`, or days and a clock time such as `+1d 07:00`"
)]
pub struct WhenError;

impl When {
    /// Reads `now`, `+2h`, `-30m`, `+3d`, `+1d 07:00`, `-1d 18:00`.
    ///
    /// # Errors
    /// [`WhenError`] with the forms that are understood.
    pub fn parse(text: &str) -> Result<Self, WhenError> {
        if text == "now" {
            return Ok(Self::Now);
        }
        let (offset, clock) = match text.split_once(' ') {
            Some((offset, clock)) => (offset, Some(clock)),
            None => (text, None),
        };
        let sign = match offset.chars().next() {
            Some('+') => 1,
            Some('-') => -1,
            _ => return Err(WhenError),
        };
        let unit = offset.chars().last().ok_or(WhenError)?;
        let digits = offset.get(1..offset.len() - unit.len_utf8()).ok_or(WhenError)?;
        if digits.is_empty() || digits.len() > 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(WhenError);
        }
        let number: i64 = digits.parse().map_err(|_| WhenError)?;
        match (unit, clock) {
            ('d', Some(clock)) => {
                let time = NaiveTime::parse_from_str(clock, "%H:%M").map_err(|_| WhenError)?;
                Ok(Self::Clock { days: sign * number, time })
            }
            ('d', None) => Ok(Self::Offset { minutes: sign * number * 24 * 60 }),
            ('h', None) => Ok(Self::Offset { minutes: sign * number * 60 }),
            ('m', None) => Ok(Self::Offset { minutes: sign * number }),
            _ => Err(WhenError),
        }
    }

    /// The instant at which the step is due.
    pub fn due(self, anchor: DateTime<Utc>, enrolled_at: DateTime<Utc>, zone: Tz) -> DateTime<Utc> {
        match self {
            Self::Now => enrolled_at,
            Self::Offset { minutes } => anchor + TimeDelta::minutes(minutes),
            Self::Clock { days, time } => {
                time::instant(time::plus_days(time::day(anchor, zone), days), time, zone)
            }
        }
    }

    /// Whether the step announces its anchor, so that it is pointless once that has begun.
    pub fn is_before_anchor(self) -> bool {
        match self {
            Self::Now => false,
            Self::Offset { minutes } => minutes < 0,
            Self::Clock { days, .. } => days < 0,
        }
    }
}

/// One row of the Enrolments table: where a person is in a sequence, when she is due next, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Enrolment {
    pub lead_id: Id,
    /// The sequence, and what it is about if a person can be in it for several things at once.
    pub enrolment_id: String,
    pub sequence: Id,
    /// The consultation or customer that the sequence is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Id>,
    /// Grows with every restart (a consultation's version, or the day of entry): work that an
    /// earlier generation planned finds itself outdated.
    pub generation: u32,
    #[serde(with = "time::stored")]
    pub anchor: DateTime<Utc>,
    #[serde(with = "time::stored")]
    pub enrolled_at: DateTime<Utc>,
    pub state: EnrolmentState,
    /// The step that comes next; none when it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Id>,
    #[serde(with = "time::stored_option", default, skip_serializing_if = "Option::is_none")]
    pub next_due: Option<DateTime<Utc>>,
    /// Partition of the index that the sweep reads: the UTC hour of the day in which the next step
    /// falls. Sequences keep their clock time from day to day, so moving on leaves the index key
    /// alone and costs one write unit for it instead of two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_hour: Option<String>,
    /// Sort key of that index.
    pub enrolment_key: String,
    /// Why it stands where it stands.
    pub why: String,
}

/// Whether an enrolment still goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnrolmentState {
    Active,
    Finished,
    Stopped,
}

/// What an enrolment is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub lead_id: Id,
    pub subject: Option<Id>,
    pub generation: u32,
    pub anchor: DateTime<Utc>,
}

impl Sequence {
    /// What the sequence is about: a person goes through it once for each consultation, say.
    pub fn topic(&self) -> Option<Topic> {
        self.entry.iter().find_map(|kind| kind.topic())
    }

    /// Whether it prepares a consultation: then it is void once that no longer stands.
    pub fn announces_consultation(&self) -> bool {
        self.entry.contains(&FactKind::ConsultationBooked)
    }

    /// The id of a person's enrolment: the sequence, and the subject if there is one.
    pub fn enrolment_id(&self, subject: Option<&Id>) -> String {
        match subject {
            Some(subject) => format!("{}_{subject}", self.id),
            None => self.id.to_string(),
        }
    }

    /// Enrols a person at the first step whose time has not passed.
    pub fn enrol(&self, entry: Entry, now: DateTime<Utc>, zone: Tz) -> Enrolment {
        let enrolment_id = self.enrolment_id(entry.subject.as_ref());
        let enrolment = Enrolment {
            enrolment_key: format!("{}#{enrolment_id}", entry.lead_id),
            lead_id: entry.lead_id,
            enrolment_id,
            sequence: self.id.clone(),
            subject: entry.subject,
            generation: entry.generation,
            anchor: entry.anchor,
            enrolled_at: now,
            state: EnrolmentState::Active,
            step: None,
            next_due: None,
            due_hour: None,
            why: String::new(),
        };
        self.place(enrolment, 0, "enrolled", zone)
    }

    /// Moves a person on from a step that is settled.
    pub fn advance(&self, enrolment: Enrolment, settled: &Id, zone: Tz) -> Enrolment {
        let next =
            self.steps.iter().position(|step| step.id == *settled).map_or(self.steps.len(), |at| at + 1);
        self.place(enrolment, next, &format!("{settled} settled"), zone)
    }

    fn place(&self, enrolment: Enrolment, from: usize, why: &str, zone: Tz) -> Enrolment {
        let due = |step: &Step| step.when.due(enrolment.anchor, enrolment.enrolled_at, zone);
        let oldest = enrolment.enrolled_at - TimeDelta::seconds(STEP_GRACE_SECONDS);
        let rest = self.steps.get(from..).unwrap_or_default();
        let skipped: Vec<&str> =
            rest.iter().take_while(|step| due(step) < oldest).map(|step| step.id.as_str()).collect();
        let why = match skipped.as_slice() {
            [] => why.to_owned(),
            passed => format!("{why}; the time of {} had passed when enrolled", passed.join(", ")),
        };
        match rest.get(skipped.len()) {
            Some(step) => {
                let due = due(step);
                Enrolment {
                    step: Some(step.id.clone()),
                    next_due: Some(due),
                    due_hour: Some(format!("{:02}", due.hour())),
                    why,
                    ..enrolment
                }
            }
            None => Enrolment {
                state: EnrolmentState::Finished,
                step: None,
                next_due: None,
                due_hour: None,
                why,
                ..enrolment
            },
        }
    }
}

impl Enrolment {
    /// Takes a person out. `None` when she is not in any more.
    pub fn stop(self, why: &str) -> Option<Self> {
        (self.state == EnrolmentState::Active).then(|| Self {
            state: EnrolmentState::Stopped,
            step: None,
            next_due: None,
            due_hour: None,
            why: why.to_owned(),
            ..self
        })
    }

    /// The ledger key of a step: letters that an SES tag may hold.
    pub fn engagement_id(&self, step: &Id) -> String {
        format!("{}_{}_{step}", self.enrolment_id, self.generation)
    }

    /// The name of the one timer that a step may have; a repeat meets the timer already there.
    pub fn schedule_name(&self, step: &Id) -> String {
        let generation = self.generation.to_string();
        Id::derived("s", &[self.lead_id.as_str(), &self.enrolment_id, &generation, step.as_str()]).to_string()
    }
}

/// Work that is due: what a timer carries and the queues hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DueStep {
    pub lead_id: Id,
    pub enrolment_id: String,
    pub generation: u32,
    pub step: Id,
    /// How many of our own queues and timers it has passed through for this step.
    #[serde(default)]
    pub hops: u32,
}

/// What to do with a piece of due work, seen from the enrolment as it stands now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn<'a> {
    /// Take the step.
    Take(&'a Step),
    /// The step's time has passed in a way that makes it pointless: settle it unsent.
    Pass(&'a Step, &'static str),
    /// The timer came early (it was set for an earlier plan): come back then.
    Wait(DateTime<Utc>),
    /// The person is already further: only make sure that the next step has its timer.
    Behind,
    /// Over, stopped, restarted or unknown: nothing to do.
    Outdated,
}

/// Looks at the enrolment again: a timer that fires late, twice or for nothing changes nothing.
pub fn turn<'a>(
    sequence: &'a Sequence,
    enrolment: &Enrolment,
    work: &DueStep,
    now: DateTime<Utc>,
) -> Turn<'a> {
    if enrolment.state != EnrolmentState::Active || enrolment.generation != work.generation {
        return Turn::Outdated;
    }
    let Some(next) = enrolment.step.as_ref() else { return Turn::Outdated };
    if *next != work.step {
        return Turn::Behind;
    }
    let Some(step) = sequence.steps.iter().find(|step| step.id == *next) else { return Turn::Outdated };
    match enrolment.next_due {
        Some(due) if now + TimeDelta::seconds(STEP_GRACE_SECONDS) < due => Turn::Wait(due),
        _ if step.when.is_before_anchor() && now >= enrolment.anchor => {
            Turn::Pass(step, "what it announces has already begun")
        }
        _ => Turn::Take(step),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono_tz::Tz::Asia__Tokyo;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn id(text: &str) -> Id {
        Id::parse(text).unwrap()
    }

    fn sequence(whens: &[&str]) -> Sequence {
        let steps = whens.iter().enumerate().map(|(n, when)| Step {
            id: id(&format!("step-{n}")),
            send: id("mail"),
            when: When::parse(when).unwrap(),
            calendar: false,
        });
        Sequence {
            id: id("nurture"),
            name: "七日間".into(),
            class: MailClass::Marketing,
            entry: vec![FactKind::OptedIn],
            exit: vec![],
            again: false,
            steps: steps.collect(),
        }
    }

    fn enrolled(sequence: &Sequence, anchor: &str, now: &str) -> Enrolment {
        sequence.enrol(
            Entry { lead_id: id("l-1"), subject: None, generation: 1, anchor: at(anchor) },
            at(now),
            Asia__Tokyo,
        )
    }

    #[test]
    fn times_read_as_a_marketer_writes_them() {
        let clock = |days, h, m| When::Clock { days, time: NaiveTime::from_hms_opt(h, m, 0).unwrap() };
        for (text, expected) in [
            ("now", Ok(When::Now)),
            ("+2h", Ok(When::Offset { minutes: 120 })),
            ("-30m", Ok(When::Offset { minutes: -30 })),
            ("+3d", Ok(When::Offset { minutes: 4320 })),
            ("+1d 07:00", Ok(clock(1, 7, 0))),
            ("-1d 18:30", Ok(clock(-1, 18, 30))),
            ("+0d 21:00", Ok(clock(0, 21, 0))),
            ("1d", Err(WhenError)),
            ("+d", Err(WhenError)),
            ("+1d 25:00", Err(WhenError)),
            ("+1d 07:00 ", Err(WhenError)),
            ("+2h 07:00", Err(WhenError)),
            ("+99999d", Err(WhenError)),
            ("+1日", Err(WhenError)),
            ("", Err(WhenError)),
        ] {
            assert_eq!(When::parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn days_are_the_persons_calendar_days_not_24_hours() {
        // 23:30 in Tokyo on the 22nd: the next morning is seven and a half hours away.
        let due = When::parse("+1d 07:00").unwrap().due(
            at("2026-11-22T14:30:00Z"),
            at("2026-11-22T14:30:00Z"),
            Asia__Tokyo,
        );
        assert_eq!(due, at("2026-11-22T22:00:00Z"));
    }

    #[test]
    fn a_person_walks_through_the_steps_in_order_and_is_finished() {
        let sequence = sequence(&["now", "+1d 07:00", "+2d 07:00"]);
        let mut enrolment = enrolled(&sequence, "2026-11-22T01:00:00Z", "2026-11-22T01:00:05Z");
        let mut way = vec![];
        while let (Some(step), Some(due)) = (enrolment.step.clone(), enrolment.next_due) {
            way.push((step.to_string(), time::iso(due)));
            enrolment = sequence.advance(enrolment, &step, Asia__Tokyo);
        }
        let expected = [
            ("step-0", "2026-11-22T01:00:05.000Z"),
            ("step-1", "2026-11-22T22:00:00.000Z"),
            ("step-2", "2026-11-23T22:00:00.000Z"),
        ];
        assert_eq!(way, expected.map(|(step, due)| (step.to_owned(), due.to_owned())));
        assert_eq!((enrolment.state, enrolment.due_hour), (EnrolmentState::Finished, None));
    }

    #[test]
    fn a_step_that_keeps_its_clock_time_keeps_its_place_in_the_index() {
        let sequence = sequence(&["+1d 07:00", "+2d 07:00"]);
        let first = enrolled(&sequence, "2026-11-22T01:00:00Z", "2026-11-22T01:00:00Z");
        let second = sequence.advance(first.clone(), &id("step-0"), Asia__Tokyo);
        assert_eq!((first.due_hour, first.enrolment_key), (second.due_hour, second.enrolment_key));
    }

    #[test]
    fn a_reminder_whose_time_had_passed_at_booking_is_skipped_and_says_so() {
        let sequence = sequence(&["now", "-1d 18:00", "-2h"]);
        // Booked at 09:00 for 15:00 the same day.
        let booked = enrolled(&sequence, "2026-11-22T06:00:00Z", "2026-11-22T00:00:00Z");
        assert_eq!(booked.step, Some(id("step-0")));
        let next = sequence.advance(booked, &id("step-0"), Asia__Tokyo);
        assert_eq!((next.step, next.next_due), (Some(id("step-2")), Some(at("2026-11-22T04:00:00Z"))));
        assert_eq!(next.why, "step-0 settled; the time of step-1 had passed when enrolled");
    }

    #[test]
    fn due_work_is_held_against_the_enrolment_as_it_is_now() {
        let sequence = sequence(&["-1d 18:00", "-2h"]);
        let enrolment = enrolled(&sequence, "2026-11-25T06:00:00Z", "2026-11-22T00:00:00Z");
        let work = |generation, step: &str| DueStep {
            lead_id: id("l-1"),
            enrolment_id: "nurture".into(),
            generation,
            step: id(step),
            hops: 0,
        };
        let due = at("2026-11-24T09:00:00Z");
        let stopped = enrolment.clone().stop("consultation_cancelled").unwrap();
        for (what, enrolment, work, now, expected) in [
            ("on time", &enrolment, work(1, "step-0"), due, Turn::Take(&sequence.steps[0])),
            (
                "within the timer's precision",
                &enrolment,
                work(1, "step-0"),
                due - TimeDelta::seconds(60),
                Turn::Take(&sequence.steps[0]),
            ),
            ("early", &enrolment, work(1, "step-0"), due - TimeDelta::seconds(61), Turn::Wait(due)),
            (
                "a day late, still ahead of the appointment",
                &enrolment,
                work(1, "step-0"),
                at("2026-11-25T05:59:59Z"),
                Turn::Take(&sequence.steps[0]),
            ),
            (
                "too late",
                &enrolment,
                work(1, "step-0"),
                at("2026-11-25T06:00:00Z"),
                Turn::Pass(&sequence.steps[0], "what it announces has already begun"),
            ),
            ("another step", &enrolment, work(1, "step-1"), due, Turn::Behind),
            ("before a restart", &enrolment, work(0, "step-0"), due, Turn::Outdated),
            ("after a stop", &stopped, work(1, "step-0"), due, Turn::Outdated),
        ] {
            assert_eq!(turn(&sequence, enrolment, &work, now), expected, "{what}");
        }
    }

    #[test]
    fn names_fit_what_carries_them() {
        let enrolment = Sequence { id: id(&"s".repeat(64)), ..sequence(&["now"]) }.enrol(
            Entry {
                lead_id: Id::derived("l", &["x"]),
                subject: Some(Id::derived("c", &["y"])),
                generation: u32::MAX,
                anchor: at("2026-11-22T00:00:00Z"),
            },
            at("2026-11-22T00:00:00Z"),
            Asia__Tokyo,
        );
        assert!(enrolment.schedule_name(&id("day-1")).len() <= 64);
        let tag = enrolment.engagement_id(&id(&"t".repeat(64)));
        assert!(tag.len() <= 256 && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
    }
}
