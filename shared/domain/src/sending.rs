//! When, and whether, a mail may go out: windows, the frequency cap, pauses, topics.

use chrono::{DateTime, Datelike, NaiveTime, TimeDelta, Utc, Weekday};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::{
    engagement::MailClass,
    id::Id,
    lead::{Lead, Mailing},
    time,
};

/// Hours and weekdays in which mail may go out, on the recipient's clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// From (inclusive) and until (exclusive); past midnight if the second is the smaller one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<(NaiveTime, NaiveTime)>,
    /// All of them when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weekdays: Vec<Weekday>,
}

impl Window {
    /// Whether it is open at that moment.
    pub fn is_open(&self, at: DateTime<Utc>, zone: Tz) -> bool {
        let local = at.with_timezone(&zone);
        (self.weekdays.is_empty() || self.weekdays.contains(&local.weekday()))
            && self.hours.is_none_or(|hours| within(hours, local.time()))
    }

    /// The first moment from `at` on at which it is open; none if it never is.
    fn next_open(&self, at: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        if self.is_open(at, zone) {
            return Some(at);
        }
        let today = time::day(at, zone);
        let clocks = [Some(NaiveTime::MIN), self.hours.map(|(from, _)| from)];
        // A weekday comes within a week; a clock change may swallow a narrow window of one day, or
        // put the clock back into one.
        (0..=15).map(|days| time::plus_days(today, days)).find_map(|day| {
            let opens = clocks.into_iter().flatten().flat_map(|clock| time::instants(day, clock, zone));
            let moments = opens.chain(time::change(day, zone));
            moments.filter(|moment| *moment > at && self.is_open(*moment, zone)).min()
        })
    }
}

fn within((from, until): (NaiveTime, NaiveTime), clock: NaiveTime) -> bool {
    match from <= until {
        true => from <= clock && clock < until,
        false => from <= clock || clock < until,
    }
}

/// The first moment from `at` on at which all windows are open. None if there is none within a
/// year: then they exclude each other.
pub fn next_open(windows: &[Window], at: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
    let mut moment = at;
    while moment < at + TimeDelta::days(366) {
        let latest = windows.iter().try_fold(moment, |latest, window| {
            window.next_open(moment, zone).map(|opens| opens.max(latest))
        })?;
        if latest == moment {
            return Some(moment);
        }
        moment = latest;
    }
    None
}

/// Over how many days a person's own choice of a frequency counts.
const OWN_CAP_DAYS: i64 = 7;

/// At most so many marketing mails in so many days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap {
    pub mails: u32,
    pub days: i64,
}

/// What is to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Sending<'a> {
    pub class: MailClass,
    /// Whether it is the mail that asks to confirm the address.
    pub asks_confirmation: bool,
    pub topics: &'a [Id],
    pub windows: &'a [Window],
    pub cap: Option<Cap>,
    pub zone: Tz,
}

/// Whether a mail may go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// Yes, if the lead's row still is the one that was looked at. `recent_mails` is what caps count
    /// from then on; none for a mail that nobody counts.
    Open { recent_mails: Option<Vec<DateTime<Utc>>> },
    /// Not now.
    Wait { until: DateTime<Utc>, why: &'static str },
    /// No.
    Shut { why: String },
}

/// Decides, seen from the person's row as it stands now.
pub fn gate(lead: &Lead, sending: &Sending<'_>, now: DateTime<Utc>) -> Gate {
    let confirmation = sending.asks_confirmation && lead.mailing == Mailing::Pending;
    let closed = closed(lead, sending.class).filter(|_| !confirmation);
    if let Some(why) = closed.or_else(|| unwanted(lead, sending.class, sending.topics)) {
        return Gate::Shut { why };
    }
    let open = |recent_mails| match next_open(sending.windows, now, sending.zone) {
        Some(at) if at == now => Gate::Open { recent_mails },
        Some(until) => Gate::Wait { until, why: "outside the hours in which mail goes out" },
        None => Gate::Shut { why: "its hours and the quiet hours leave no time to send".to_owned() },
    };
    if sending.class == MailClass::Transactional {
        return open(None);
    }
    let preferences = &lead.preferences;
    if let Some(until) = preferences.paused_until.filter(|until| *until > now) {
        return Gate::Wait { until, why: "the person asked for a pause" };
    }
    let own = preferences.per_week.map(|mails| Cap { mails, days: OWN_CAP_DAYS });
    let caps: Vec<Cap> = [sending.cap, own].into_iter().flatten().collect();
    if caps.iter().any(|cap| cap.mails == 0) {
        return Gate::Shut { why: "the cap leaves no mail to send".to_owned() };
    }
    if let Some(until) = caps.iter().filter_map(|cap| free_again(*cap, &lead.recent_mails, now)).max() {
        return Gate::Wait { until, why: "the person has had enough mail lately" };
    }
    // Counted without any cap too: who asks for one mail a week mostly has just had several.
    let days = caps.iter().map(|cap| cap.days).fold(OWN_CAP_DAYS, i64::max);
    let kept = lead.recent_mails.iter().filter(|at| **at > now - TimeDelta::days(days));
    open(Some(kept.copied().chain([now]).collect()))
}

/// Why a person gets no mail of this kind, as long as neither she nor we change our mind.
pub fn refusal(lead: &Lead, class: MailClass, topics: &[Id]) -> Option<String> {
    closed(lead, class).or_else(|| unwanted(lead, class, topics))
}

fn closed(lead: &Lead, class: MailClass) -> Option<String> {
    (!lead.mailing.allows(class)).then(|| format!("the person is {}", lead.mailing.as_str()))
}

fn unwanted(lead: &Lead, class: MailClass, topics: &[Id]) -> Option<String> {
    let off = |topic| lead.preferences.topics_off.contains(topic);
    let why = match class {
        MailClass::Transactional => return None,
        MailClass::Marketing if lead.preferences.per_week == Some(0) => "the person wants no marketing mail",
        MailClass::Marketing if !topics.is_empty() && topics.iter().all(off) => {
            "the person does not want this topic"
        }
        MailClass::Marketing => return None,
    };
    Some(why.to_owned())
}

/// When the cap lets the next mail through; none if it does now.
fn free_again(cap: Cap, recent: &[DateTime<Utc>], now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let span = TimeDelta::days(cap.days);
    let mut within: Vec<_> = recent.iter().copied().filter(|at| *at > now - span).collect();
    within.sort();
    let most = usize::try_from(cap.mails).unwrap_or(usize::MAX);
    let over = within.len().checked_sub(most)?;
    within.get(over).map(|at| *at + span)
}

#[cfg(test)]
mod tests;
