//! Sequences, and a person's place in one.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike, NaiveTime, TimeDelta, Timelike, Utc, Weekday};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    condition::{Known, Needs, Test},
    engagement::MailClass,
    event::{FactKind, Topic},
    id::Id,
    lead::Stage,
    limits::{DECISIONS, STEP_GRACE_SECONDS},
    sending::{Window, next_open},
    time,
    trigger::Trigger,
};

/// Stands for a step while a person is only being watched: whether she falls silent, or her score
/// falls. No step may be called so.
pub const WATCH: &str = "watch";
/// The name of no step, but of what comes after the last one.
pub const END: &str = "end";

/// A way through steps that something sets going.
#[derive(Debug, Clone, PartialEq)]
pub struct Sequence {
    pub id: Id,
    pub name: String,
    pub class: MailClass,
    /// What enrols a person.
    pub entry: Vec<Trigger>,
    /// Only people for whom this holds at the moment of entry.
    pub test: Option<Test>,
    /// What takes a person out.
    pub exit: Vec<Trigger>,
    /// Whether a later entry starts it afresh, or a person goes through it once.
    pub again: bool,
    /// While a person is in it, sequences of lower priority hold their marketing mail.
    pub priority: i64,
    pub inside: Inside,
    pub program: Program,
}

/// What becomes of people inside when the sequence is edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inside {
    /// They finish the version that they entered.
    Finish,
    /// They go on in the new one, from the step where they stand, if it still is there.
    Move,
}

/// What a person goes through: the part of a sequence that is kept for her when it is edited.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// A hash of all the rest.
    pub version: String,
    pub anchor: Anchor,
    /// All of them hold for every mail of the sequence.
    pub windows: Vec<Window>,
    /// Jumps lead forward only, so nobody goes round in circles.
    pub steps: Vec<Step>,
}

/// The moment that signed times count from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Anchor {
    Entry,
    /// The start of the consultation that the sequence is about.
    Consultation,
    /// The end of the plan that was bought.
    Renewal,
    /// A date of the funnel.
    At(DateTime<Utc>),
}

/// One step of a sequence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Stable: it is part of the ledger's key.
    pub id: Id,
    pub when: When,
    pub act: Act,
    /// The step after it; none is the end. A branch, a wait and a split have targets of their own:
    /// there it is the step below, for whoever leaves the decision out.
    pub next: Option<Id>,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Sends a mail; `calendar` attaches the appointment.
    Send {
        mail: Id,
        calendar: bool,
    },
    /// Waits until the test holds, at most `within` (a time after the step before).
    WaitFor {
        test: Test,
        within: When,
        then: Option<Id>,
        otherwise: Option<Id>,
    },
    Branch {
        test: Test,
        then: Option<Id>,
        otherwise: Option<Id>,
    },
    /// To one of the steps, by weight.
    Split {
        targets: Vec<(Id, u32)>,
    },
    Tag {
        tag: String,
    },
    Untag {
        tag: String,
    },
    Attribute {
        values: BTreeMap<String, String>,
    },
    Stage {
        stage: Stage,
    },
    /// A task for somebody of the team.
    Task {
        title: String,
        assignee: Id,
        due: When,
    },
    /// A mail to somebody of the team.
    Notice {
        text: String,
        to: Id,
    },
    Webhook {
        url: String,
    },
}

impl Act {
    /// Whether it only says where to go on.
    pub fn decides(&self) -> bool {
        matches!(self, Self::WaitFor { .. } | Self::Branch { .. } | Self::Split { .. })
    }
}

/// When a step is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// At once.
    Now,
    /// So many minutes after the step before.
    After { minutes: i64 },
    /// At a clock time, so many calendar days after the step before.
    AfterClock { days: i64, time: NaiveTime },
    /// The next time the clock shows it.
    NextClock { time: NaiveTime },
    /// The next such weekday, at that time.
    NextWeekday { weekday: Weekday, time: NaiveTime },
    /// So many minutes after the anchor, or before it when negative.
    Anchor { minutes: i64 },
    /// At a clock time, so many calendar days after the anchor's day, or before it when negative.
    AnchorClock { days: i64, time: NaiveTime },
}

/// Why a text names no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "write `now`, `2h` or `3d` (after the step before), `1d 07:00`, `07:00`, `tuesday 10:00`, or with a sign from the anchor: `+3d`, `-2h`, `+1d 07:00`"
)]
pub struct WhenError;

impl When {
    /// Reads `now`, `30m`, `3d`, `1d 07:00`, `07:00`, `tuesday 10:00`, `+2h`, `-1d 18:00`.
    ///
    /// # Errors
    /// [`WhenError`] with the forms that are understood.
    pub fn parse(text: &str) -> Result<Self, WhenError> {
        let clock = |text: &str| {
            // chrono takes `7:00` and `07: 0` too; one way to write a time is enough.
            let colon =
                |(place, byte): (usize, u8)| if place == 2 { byte == b':' } else { byte.is_ascii_digit() };
            let written = text.len() == 5 && text.bytes().enumerate().all(colon);
            written.then(|| NaiveTime::parse_from_str(text, "%H:%M").ok()).flatten().ok_or(WhenError)
        };
        if text == "now" {
            return Ok(Self::Now);
        }
        let (first, time) = match text.split_once(' ') {
            Some((first, time)) => (first, Some(clock(time)?)),
            None => (text, None),
        };
        if let (Some(weekday), Some(time)) = (weekday(first), time) {
            return Ok(Self::NextWeekday { weekday, time });
        }
        if time.is_none() && first.contains(':') {
            return Ok(Self::NextClock { time: clock(first)? });
        }
        let (sign, amount) = match (first.strip_prefix('+'), first.strip_prefix('-')) {
            (Some(amount), _) => (Some(1), amount),
            (_, Some(amount)) => (Some(-1), amount),
            _ => (None, first),
        };
        let unit = amount.chars().last().ok_or(WhenError)?;
        let digits = amount.get(..amount.len() - unit.len_utf8()).ok_or(WhenError)?;
        if digits.is_empty() || digits.len() > 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(WhenError);
        }
        let number: i64 = digits.parse().map_err(|_| WhenError)?;
        let minutes = match unit {
            'd' => number * 24 * 60,
            'h' => number * 60,
            'm' => number,
            _ => return Err(WhenError),
        };
        match (sign, time) {
            (Some(sign), None) => Ok(Self::Anchor { minutes: sign * minutes }),
            (None, None) => Ok(Self::After { minutes }),
            (Some(sign), Some(time)) if unit == 'd' => Ok(Self::AnchorClock { days: sign * number, time }),
            (None, Some(time)) if unit == 'd' && number > 0 => Ok(Self::AfterClock { days: number, time }),
            _ => Err(WhenError),
        }
    }

    /// The instant that is meant, `from` being the moment at which the step before was settled.
    pub fn due(self, anchor: DateTime<Utc>, from: DateTime<Utc>, zone: Tz) -> DateTime<Utc> {
        let clock = |day: DateTime<Utc>, days: i64, time: NaiveTime| {
            time::instant(time::plus_days(time::day(day, zone), days), time, zone)
        };
        match self {
            Self::Now => from,
            Self::After { minutes } => from + TimeDelta::minutes(minutes),
            Self::AfterClock { days, time } => clock(from, days, time),
            // Later than `from`: two steps in a row with the same clock time are a day apart.
            Self::NextClock { time } => {
                (0..=2).map(|days| clock(from, days, time)).find(|at| *at > from).unwrap_or(from)
            }
            Self::NextWeekday { weekday, time } => (0..=7)
                .map(|days| time::plus_days(time::day(from, zone), days))
                .filter(|day| day.weekday() == weekday)
                .map(|day| time::instant(day, time, zone))
                .find(|at| *at > from)
                .unwrap_or(from),
            Self::Anchor { minutes } => anchor + TimeDelta::minutes(minutes),
            Self::AnchorClock { days, time } => clock(anchor, days, time),
        }
    }

    /// Whether it counts from the anchor.
    pub fn is_anchored(self) -> bool {
        matches!(self, Self::Anchor { .. } | Self::AnchorClock { .. })
    }

    /// Whether the step announces its anchor, so that it is pointless once that has begun.
    pub fn is_before_anchor(self) -> bool {
        match self {
            Self::Anchor { minutes } => minutes < 0,
            Self::AnchorClock { days, .. } => days < 0,
            Self::Now
            | Self::After { .. }
            | Self::AfterClock { .. }
            | Self::NextClock { .. }
            | Self::NextWeekday { .. } => false,
        }
    }

    /// The clock time in it.
    pub fn clock(self) -> Option<NaiveTime> {
        match self {
            Self::AfterClock { time, .. }
            | Self::NextClock { time }
            | Self::NextWeekday { time, .. }
            | Self::AnchorClock { time, .. } => Some(time),
            Self::Now | Self::After { .. } | Self::Anchor { .. } => None,
        }
    }
}

/// A weekday by its English name in lower case.
pub fn weekday(name: &str) -> Option<Weekday> {
    Some(match name {
        "monday" => Weekday::Mon,
        "tuesday" => Weekday::Tue,
        "wednesday" => Weekday::Wed,
        "thursday" => Weekday::Thu,
        "friday" => Weekday::Fri,
        "saturday" => Weekday::Sat,
        "sunday" => Weekday::Sun,
        _ => return None,
    })
}

/// One row of the Enrolments table: where a person is in a sequence, when she is due next, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Enrolment {
    pub lead_id: Id,
    /// The sequence, and what it is about if a person can be in it for several things at once.
    pub enrolment_id: String,
    pub sequence: Id,
    /// The version of the sequence's program that she is in.
    #[serde(default)]
    pub program: String,
    /// The consultation or customer that the sequence is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Id>,
    /// Grows with every restart (a consultation's version, or the second of entry): work that an
    /// earlier generation planned finds itself outdated.
    pub generation: u32,
    #[serde(with = "time::stored")]
    pub anchor: DateTime<Utc>,
    #[serde(with = "time::stored")]
    pub enrolled_at: DateTime<Utc>,
    /// When the fact happened that set it going; facts before it are not about this time.
    #[serde(with = "time::stored_option", default, skip_serializing_if = "Option::is_none")]
    pub entered_at: Option<DateTime<Utc>>,
    pub state: EnrolmentState,
    /// The step that comes next, or [`WATCH`]; none when it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Id>,
    #[serde(with = "time::stored_option", default, skip_serializing_if = "Option::is_none")]
    pub next_due: Option<DateTime<Utc>>,
    /// Whether she is waiting for something at that step; `next_due` is when the wait is over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waiting: bool,
    /// Partition of the index that the sweep reads: the UTC hour of the day in which the next step
    /// falls. Sequences keep their clock time from day to day, so moving on leaves the index key
    /// alone and costs one write unit for it instead of two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_hour: Option<String>,
    /// Sort key of that index.
    pub enrolment_key: String,
    /// Why it stands where it stands.
    pub why: String,
    /// What was decided on the way, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<Decision>,
    /// What another system told with the fact that set it going.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, String>,
}

/// Which way a person went at a step, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    pub step: Id,
    #[serde(with = "time::stored")]
    pub at: DateTime<Utc>,
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

impl EnrolmentState {
    /// The name in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Finished => "finished",
            Self::Stopped => "stopped",
        }
    }
}

/// What an enrolment is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub lead_id: Id,
    pub subject: Option<Id>,
    pub generation: u32,
    /// When the fact happened.
    pub at: DateTime<Utc>,
    pub anchor: DateTime<Utc>,
    pub values: BTreeMap<String, String>,
}

impl Sequence {
    /// What the sequence is about: a person goes through it once for each consultation, say.
    pub fn topic(&self) -> Option<Topic> {
        self.entry.iter().find_map(|trigger| trigger.kind()?.topic())
    }

    /// Whether it prepares a consultation: then it is void once that no longer stands.
    pub fn announces_consultation(&self) -> bool {
        self.entry.contains(&Trigger::Fact(FactKind::ConsultationBooked))
    }

    /// Whether its mails ask to confirm an address (double opt-in).
    pub fn asks_confirmation(&self) -> bool {
        self.entry.contains(&Trigger::Fact(FactKind::OptInRequested))
    }

    /// Whether something that ends the sequence has happened to a person since she entered. The
    /// relay stops people as it hears of facts; whoever is about to enrol or to write looks again.
    pub fn is_over(&self, known: &Known<'_>, since: DateTime<Utc>) -> Option<&Trigger> {
        // What is about one consultation of several is told apart by the relay only.
        let own = self.topic();
        let general = |trigger: &&Trigger| own.is_none() || trigger.kind().and_then(FactKind::topic) != own;
        self.exit.iter().filter(general).find(|trigger| known.happened(trigger, Some(since)))
    }

    /// What has to be read before [`Self::is_over`] can be asked.
    pub fn exit_needs(&self) -> Needs {
        self.exit.iter().map(Trigger::needs).fold(Needs::default(), Needs::and)
    }

    /// The trigger that is a matter of time, if it is one that sets the sequence going.
    pub fn watched(&self) -> Option<&Trigger> {
        self.entry.iter().find(|trigger| trigger.is_watched())
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
        let first = self.program.steps.first().map(|step| step.id.clone());
        self.program.place(self.entered(entry, now), first, "enrolled", now, zone)
    }

    /// Keeps an eye on a person: at `due` somebody looks whether the trigger holds.
    pub fn watch(&self, entry: Entry, due: DateTime<Utc>, now: DateTime<Utc>) -> Enrolment {
        self.entered(entry, now).watched_until(due)
    }

    /// Starts the steps for somebody who was being watched.
    pub fn begin(&self, watched: Enrolment, why: &str, now: DateTime<Utc>, zone: Tz) -> Enrolment {
        let first = self.program.steps.first().map(|step| step.id.clone());
        let anchor = match self.program.anchor {
            Anchor::Entry => now,
            Anchor::Consultation | Anchor::Renewal => watched.anchor,
            Anchor::At(date) => date,
        };
        let program = self.program.version.clone();
        let enrolment = Enrolment { anchor, enrolled_at: now, entered_at: Some(now), program, ..watched };
        self.program.place(enrolment, first, why, now, zone)
    }

    fn entered(&self, entry: Entry, now: DateTime<Utc>) -> Enrolment {
        let enrolment_id = self.enrolment_id(entry.subject.as_ref());
        Enrolment {
            enrolment_key: format!("{}#{enrolment_id}", entry.lead_id),
            lead_id: entry.lead_id,
            enrolment_id,
            sequence: self.id.clone(),
            program: self.program.version.clone(),
            subject: entry.subject,
            generation: entry.generation,
            anchor: entry.anchor,
            enrolled_at: now,
            entered_at: Some(entry.at),
            state: EnrolmentState::Active,
            step: None,
            next_due: None,
            waiting: false,
            due_hour: None,
            why: String::new(),
            decisions: vec![],
            values: entry.values,
        }
    }
}

impl Step {
    /// The mail that it sends to the person, if it is such a step.
    pub fn mail(&self) -> Option<&Id> {
        match &self.act {
            Act::Send { mail, .. } => Some(mail),
            Act::WaitFor { .. }
            | Act::Branch { .. }
            | Act::Split { .. }
            | Act::Tag { .. }
            | Act::Untag { .. }
            | Act::Attribute { .. }
            | Act::Stage { .. }
            | Act::Task { .. }
            | Act::Notice { .. }
            | Act::Webhook { .. } => None,
        }
    }

    /// The steps to which it may lead.
    pub fn targets(&self) -> Vec<&Id> {
        let decided = match &self.act {
            Act::WaitFor { then, otherwise, .. } | Act::Branch { then, otherwise, .. } => {
                then.iter().chain(otherwise).collect()
            }
            Act::Split { targets } => targets.iter().map(|(step, _)| step).collect(),
            Act::Send { .. }
            | Act::Tag { .. }
            | Act::Untag { .. }
            | Act::Attribute { .. }
            | Act::Stage { .. }
            | Act::Task { .. }
            | Act::Notice { .. }
            | Act::Webhook { .. } => return self.next.iter().collect(),
        };
        // A decision whose time had passed when somebody came is left out.
        if self.when.is_anchored() { self.next.iter().chain(decided).collect() } else { decided }
    }
}

impl Program {
    /// A step by its id.
    pub fn step(&self, id: &Id) -> Option<&Step> {
        self.steps.iter().find(|step| step.id == *id)
    }

    /// Whether somebody at the one step may come to the other.
    pub fn leads(&self, from: &Id, to: &Id) -> bool {
        // Ways lead forward only, so one look at each step is enough.
        let mut reached: BTreeSet<&Id> = self.step(from).map(Step::targets).into_iter().flatten().collect();
        for step in &self.steps {
            if reached.contains(&step.id) {
                reached.extend(step.targets());
            }
        }
        reached.contains(to)
    }

    /// Moves a person on to a step (none is the end).
    pub fn advance(
        &self,
        enrolment: Enrolment,
        to: Option<Id>,
        why: &str,
        now: DateTime<Utc>,
        zone: Tz,
    ) -> Enrolment {
        self.place(enrolment, to, why, now, zone)
    }

    fn place(
        &self,
        enrolment: Enrolment,
        mut to: Option<Id>,
        why: &str,
        now: DateTime<Utc>,
        zone: Tz,
    ) -> Enrolment {
        let from = enrolment.settled_at(now);
        let enrolment = Enrolment { program: self.version.clone(), ..enrolment };
        let oldest = enrolment.enrolled_at - TimeDelta::seconds(STEP_GRACE_SECONDS);
        let mut passed = vec![];
        let step = loop {
            let Some(step) = to.as_ref().and_then(|id| self.step(id)) else { break None };
            if !step.when.is_anchored() || step.when.due(enrolment.anchor, from, zone) >= oldest {
                break Some(step);
            }
            passed.push(step.id.as_str());
            to.clone_from(&step.next);
        };
        let why = match passed.as_slice() {
            [] => why.to_owned(),
            passed => format!("{why}; the time of {} had passed when enrolled", passed.join(", ")),
        };
        let Some(step) = step else {
            return Enrolment {
                state: EnrolmentState::Finished,
                step: None,
                next_due: None,
                due_hour: None,
                waiting: false,
                why,
                ..enrolment
            };
        };
        let wanted = step.when.due(enrolment.anchor, from, zone);
        let enrolment =
            Enrolment { step: Some(step.id.clone()), waiting: false, why, ..enrolment }.due_at(wanted);
        // A mail comes due when it may go out, so that nobody has to be asked twice.
        match step.act {
            Act::Send { .. } => match next_open(&self.windows, wanted.max(now), zone) {
                Some(opens) if opens > wanted.max(now) => self.shift(enrolment, wanted.max(now), opens, zone),
                _ => enrolment,
            },
            _ => enrolment,
        }
    }

    /// Puts a step off, to its clock time if it has one and that is not too early. What follows it
    /// in the sequence waits with it, in days.
    pub fn postpone(&self, enrolment: Enrolment, until: DateTime<Utc>, why: &str, zone: Tz) -> Enrolment {
        let from = enrolment.next_due.unwrap_or(until);
        self.shift(Enrolment { why: why.to_owned(), ..enrolment }, from, until, zone)
    }

    fn shift(&self, enrolment: Enrolment, from: DateTime<Utc>, until: DateTime<Utc>, zone: Tz) -> Enrolment {
        let days = (time::day(until, zone) - time::day(from, zone)).num_days().max(0);
        // What announces an appointment does not move it, and has no time to lose.
        if from < enrolment.anchor {
            return enrolment.due_at(until);
        }
        // On another day it keeps the clock time that it has, if it may go out then: the mail of
        // seven o'clock does not come at midnight because Sunday is over.
        let step = enrolment.step.as_ref().and_then(|step| self.step(step));
        let clock = step.and_then(|step| step.when.clock());
        let own = clock.map(|clock| time::instant(time::day(until, zone), clock, zone));
        let fits =
            |at: &DateTime<Utc>| *at >= until && self.windows.iter().all(|window| window.is_open(*at, zone));
        let anchor = time::later(enrolment.anchor, days, zone);
        Enrolment { anchor, ..enrolment }.due_at(own.filter(fits).unwrap_or(until))
    }

    /// The step that a split leads this person to: always the same one.
    pub fn split<'a>(&self, enrolment: &Enrolment, step: &Step, targets: &'a [(Id, u32)]) -> Option<&'a Id> {
        let total: u64 = targets.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut hash = Sha256::new();
        for part in [enrolment.lead_id.as_str(), enrolment.sequence.as_str(), step.id.as_str()] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        let draw = hash.finalize().iter().take(7).fold(0_u64, |draw, byte| (draw << 8) | u64::from(*byte));
        let mut left = draw.checked_rem(total)?;
        targets.iter().find_map(|(target, weight)| match left.checked_sub(u64::from(*weight)) {
            Some(rest) => {
                left = rest;
                None
            }
            None => Some(target),
        })
    }
}

impl Enrolment {
    fn due_at(self, due: DateTime<Utc>) -> Self {
        Self { next_due: Some(due), due_hour: Some(format!("{:02}", due.hour())), ..self }
    }

    /// Goes on being watched until then.
    pub fn watched_until(self, due: DateTime<Utc>) -> Self {
        let why = "being watched".to_owned();
        Self { step: Id::parse(WATCH).ok(), waiting: false, why, ..self }.due_at(due)
    }

    /// When the present step is settled: timers may come a little early, and what counts from the
    /// step counts from the time that it was due at.
    fn settled_at(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let grace = TimeDelta::seconds(STEP_GRACE_SECONDS);
        self.next_due.filter(|due| *due <= now + grace).map_or(now, |due| due.max(now))
    }

    /// When the person entered: facts before that are not about this time.
    /// To the second: other systems (Stripe's webhooks) tell no more of their facts' time.
    pub fn since(&self) -> DateTime<Utc> {
        to_the_second(self.entered_at.unwrap_or(self.enrolled_at))
    }

    /// Whether the person is only being watched: not in the sequence yet.
    pub fn is_watching(&self) -> bool {
        self.step.as_ref().is_some_and(|step| step.as_str() == WATCH)
    }

    /// Waits at the present step until then.
    pub fn waiting_until(self, deadline: DateTime<Utc>, why: String) -> Self {
        Self { waiting: true, why, ..self }.due_at(deadline)
    }

    /// Remembers which way was taken at a step, and why.
    pub fn decided(mut self, step: &Id, why: String, now: DateTime<Utc>) -> Self {
        self.decisions.push(Decision { step: step.clone(), at: now, why });
        let surplus = self.decisions.len().saturating_sub(DECISIONS);
        self.decisions.drain(..surplus);
        self
    }

    /// Takes a person out. `None` when she is not in any more.
    pub fn stop(self, why: &str) -> Option<Self> {
        (self.state == EnrolmentState::Active).then(|| Self {
            state: EnrolmentState::Stopped,
            step: None,
            next_due: None,
            due_hour: None,
            waiting: false,
            why: why.to_owned(),
            ..self
        })
    }

    /// The ledger key of a step: letters that an SES tag may hold.
    pub fn engagement_id(&self, step: &Id) -> String {
        format!("{}_{}_{step}", self.enrolment_id, self.generation)
    }

    /// What makes the effects of a step its own: the same whenever the step is taken again.
    pub fn step_key(&self, step: &Id) -> String {
        format!("{}.{}", self.lead_id, self.engagement_id(step))
    }

    /// The name of the one timer that a step may have at one time; a repeat meets the timer
    /// already there.
    pub fn schedule_name(&self, step: &Id) -> String {
        let generation = self.generation.to_string();
        let due = self.next_due.map(time::iso).unwrap_or_default();
        let parts = [self.lead_id.as_str(), &self.enrolment_id, &generation, step.as_str(), &due];
        Id::derived("s", &parts).to_string()
    }
}

/// An instant without the fraction of its second.
pub fn to_the_second(at: DateTime<Utc>) -> DateTime<Utc> {
    at - TimeDelta::nanoseconds(i64::from(at.timestamp_subsec_nanos()))
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

impl DueStep {
    /// The ledger key of the step, as [`Enrolment::engagement_id`] has it.
    pub fn engagement_id(&self) -> String {
        format!("{}{}", self.engagement_prefix(), self.step)
    }

    /// How the ledger keys of all steps begin that are taken in this run through the sequence.
    pub fn engagement_prefix(&self) -> String {
        format!("{}_{}_", self.enrolment_id, self.generation)
    }
}

/// What to do with a piece of due work, seen from the enrolment as it stands now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Turn<'a> {
    /// Take the step.
    Take(&'a Step),
    /// The step's time has passed in a way that makes it pointless: settle it unsent.
    Pass(&'a Step, &'static str),
    /// Look whether the person who is watched has come to enter.
    Watch,
    /// The timer came early (it was set for an earlier plan): come back then.
    Wait(DateTime<Utc>),
    /// The person is already further: only make sure that the next step has its timer.
    Behind,
    /// Over, stopped or restarted: nothing to do.
    Outdated,
    /// The step where she stands is not in her program.
    Lost,
}

/// Looks at the enrolment again: a timer that fires late, twice or for nothing changes nothing.
pub fn turn<'a>(program: &'a Program, enrolment: &Enrolment, work: &DueStep, now: DateTime<Utc>) -> Turn<'a> {
    if enrolment.state != EnrolmentState::Active || enrolment.generation != work.generation {
        return Turn::Outdated;
    }
    let Some(next) = enrolment.step.as_ref() else { return Turn::Outdated };
    if *next != work.step {
        return Turn::Behind;
    }
    if let Some(due) = enrolment.next_due.filter(|due| now + TimeDelta::seconds(STEP_GRACE_SECONDS) < *due) {
        return Turn::Wait(due);
    }
    if enrolment.is_watching() {
        return Turn::Watch;
    }
    match program.step(next) {
        None => Turn::Lost,
        // A way has to be chosen all the same.
        Some(step) if step.when.is_before_anchor() && now >= enrolment.anchor && !step.act.decides() => {
            Turn::Pass(step, "what it announces has already begun")
        }
        Some(step) => Turn::Take(step),
    }
}

#[cfg(test)]
mod tests;
