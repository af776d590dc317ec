//! What no file shows by itself: sequences that starve one another, and what nobody ever uses.

use std::collections::{BTreeMap, BTreeSet};

use domain::engagement::MailClass;
use domain::event::FactKind;
use domain::id::Id;
use domain::score::Scoring;
use domain::sending::Cap;
use domain::sequence::{Act, Sequence, Step, When};
use domain::trigger::Trigger;

use super::{Ground, Problems};
use crate::page::{FormKind, Page};
use crate::problem::Problem;

const MINUTES_A_DAY: i64 = 24 * 60;
/// A sequence that goes before others should not hold them longer than this.
const HOLDS_DAYS: i64 = 30;
/// Pages without a form that the customer's way leads over.
const ON_THE_WAY: [&str; 7] =
    ["thanks", "paid", "unsubscribed", "privacy", "tokushoho", "confirmed", "cancelled"];

/// A funnel whose files are fine one by one.
pub(super) struct Whole<'a> {
    pub(super) ground: Ground<'a>,
    pub(super) sequences: &'a [Sequence],
    pub(super) scoring: &'a Scoring,
    pub(super) pages: &'a BTreeMap<Id, Page>,
    /// The text of all files that can make use of something.
    pub(super) words: &'a str,
}

impl Whole<'_> {
    pub(super) fn check(&self, problems: &mut Problems) {
        self.mutual_ends(problems);
        self.circles(problems);
        self.long_holds(problems);
        self.caps(problems);
        self.confirmation(problems);
        self.scores(problems);
        self.unsent(problems);
        self.unused(problems);
    }

    /// Two sequences that each end the other.
    fn mutual_ends(&self, problems: &mut Problems) {
        let ends = |one: &Sequence, other: &Sequence| one.exit.contains(&Trigger::Enters(other.id.clone()));
        for (at, one) in self.sequences.iter().enumerate() {
            for other in self.sequences.iter().skip(at + 1) {
                if ends(one, other) && ends(other, one) {
                    problems.push(of(
                        one,
                        format!("`{}` and `{}` each end when the other one begins", one.id, other.id),
                        "decide which of them goes before the other, and delete `enters` there",
                    ));
                }
            }
        }
    }

    /// Sequences that set each other going, again and again.
    fn circles(&self, problems: &mut Problems) {
        let again: Vec<&Sequence> = self.sequences.iter().filter(|sequence| sequence.again).collect();
        let mut told: BTreeSet<&Id> = BTreeSet::new();
        for start in &again {
            let after_start = starts(start, &again);
            let circle: Vec<&Id> = after_start
                .iter()
                .filter(|other| starts(other, &again).iter().any(|back| back.id == start.id))
                .map(|other| &other.id)
                .collect();
            if circle.is_empty() || !told.insert(&start.id) {
                continue;
            }
            told.extend(&circle);
            let others: Vec<String> =
                circle.iter().filter(|id| ***id != start.id).map(|id| format!("`{id}`")).collect();
            let what = match others.as_slice() {
                [] => format!("`{}` sets itself going again and again", start.id),
                others => {
                    format!("`{}` and {} set each other going again and again", start.id, others.join(", "))
                }
            };
            problems.push(of(start, what, "delete `again` here, or enter it by something else"));
        }
    }

    /// Priority for months leaves the others without a word.
    fn long_holds(&self, problems: &mut Problems) {
        for sequence in self.sequences {
            let days = longest(&sequence.program.steps) / MINUTES_A_DAY;
            let held = self.sequences.iter().find(|other| {
                other.class == MailClass::Marketing
                    && other.priority < sequence.priority
                    && !mails(other).is_empty()
            });
            if let Some(held) = held.filter(|_| days > HOLDS_DAYS) {
                let what = format!(
                    "it can last {days} days, and holds back `{}` and all others of lower priority so long",
                    held.id
                );
                let mend = format!("lower its `priority`, or make it at most {HOLDS_DAYS} days long");
                problems.push(of(sequence, what, mend).into_warning());
            }
        }
    }

    fn caps(&self, problems: &mut Problems) {
        let Some(cap) = self.ground.config.cap else { return };
        for sequence in self.sequences.iter().filter(|sequence| sequence.class == MailClass::Marketing) {
            let most = most_mails(&sequence.program.steps, cap);
            if most > usize::try_from(cap.mails).unwrap_or(usize::MAX) {
                let what = format!(
                    "it alone has {most} mails within {} days, and the cap lets {} through",
                    cap.days, cap.mails
                );
                let mend =
                    "spread its mails, or raise `cap` in funnel.toml: else they come later than written";
                problems.push(of(sequence, what, mend).into_warning());
            }
        }
    }

    /// With double opt-in, somebody has to ask.
    fn confirmation(&self, problems: &mut Problems) {
        let asking = self.sequences.iter().filter(|sequence| sequence.asks_confirmation());
        let asked = asking.flat_map(mails).filter_map(|mail| self.ground.mails.get(mail));
        if self.ground.config.double_opt_in && !asked.into_iter().any(|mail| mail.links_to("confirm_url")) {
            problems.push(Problem::of_file(
                "funnel.toml",
                "`double = true`, but no mail asks people to confirm their address",
                "write a sequence with `entry = [\"opt_in_requested\"]`, and a mail with `{{ confirm_url }}`",
            ));
        }
    }

    fn scores(&self, problems: &mut Problems) {
        if !self.scoring.is_empty() {
            return;
        }
        let by_score = |trigger: &Trigger| trigger.kind() == Some(FactKind::ScoreCrossed);
        for sequence in self.sequences {
            if sequence.entry.iter().chain(&sequence.exit).any(by_score) {
                let mend = "write [[fit]] and [[behaviour]] rules in scores.toml";
                problems
                    .push(of(sequence, "nothing gives points: no score ever changes", mend).into_warning());
            }
        }
    }

    fn unsent(&self, problems: &mut Problems) {
        let Some(given) = &self.ground.names.given else { return };
        for mail in self.ground.mails.values().filter(|mail| !given.mails.contains(mail.id.as_str())) {
            let mend = "send it from a sequence or a broadcast, or delete it";
            problems.push(mail.source.problem_of_file("nobody ever gets this mail", mend).into_warning());
        }
    }

    fn unused(&self, problems: &mut Problems) {
        let config = self.ground.config;
        let quoted =
            |id: &Id| [format!("\"{id}\""), format!("'{id}'")].iter().any(|id| self.words.contains(id));
        for fact in config.facts.iter().filter(|fact| !quoted(&fact.value.id)) {
            let what = format!("nothing makes use of the fact `{}`", fact.value.id);
            let mend = "name it in a trigger, a score or a condition, or delete it";
            problems.push(config.source.problem(&fact.span, what, mend).into_warning());
        }
        let noted = |id: &Id| {
            self.ground.names.given.as_ref().is_none_or(|given| given.attributes.contains(id.as_str()))
        };
        for attribute in config.attributes.iter().filter(|attribute| !attribute.value.ask) {
            if !noted(&attribute.value.id) {
                let id = &attribute.value.id;
                let what = format!("nobody ever tells the attribute `{id}`");
                let mend =
                    format!("ask for it: `ask = true`, or note it in a step: `attribute = {{ {id} = … }}`");
                problems.push(config.source.problem(&attribute.span, what, mend).into_warning());
            }
        }
        let magnets: Vec<&Id> = config.lead_magnets.iter().map(|magnet| &magnet.value.page).collect();
        for page in self.pages.values().filter(|page| page.form == FormKind::None) {
            let id = &page.id;
            let linked = self.words.contains(&format!("pages/{id}"));
            if !linked && !quoted(id) && !magnets.contains(&id) && !ON_THE_WAY.contains(&id.as_str()) {
                let mend = format!("link to it: `{{{{ public_url }}}}/pages/{id}`, or delete it");
                problems.push(page.source.problem_of_file("nothing leads to this page", mend).into_warning());
            }
        }
    }
}

/// A problem of a sequence as a whole.
fn of(sequence: &Sequence, what: impl Into<String>, mend: impl Into<String>) -> Problem {
    Problem::of_file(format!("sequences/{}.toml", sequence.id), what, mend)
}

/// The sequences that a sequence's tags and stages set going, those that they set going, and so on.
fn starts<'s>(sequence: &Sequence, all: &[&'s Sequence]) -> Vec<&'s Sequence> {
    let sets_going = |one: &Sequence, other: &Sequence| {
        one.program.steps.iter().any(|step| other.entry.iter().any(|trigger| is_set_by(trigger, &step.act)))
    };
    let mut found: Vec<&Sequence> = all.iter().copied().filter(|other| sets_going(sequence, other)).collect();
    let mut next = 0;
    while let Some(one) = found.get(next).copied() {
        let new: Vec<&Sequence> = all
            .iter()
            .copied()
            .filter(|other| sets_going(one, other) && !found.iter().any(|known| known.id == other.id))
            .collect();
        found.extend(new);
        next += 1;
    }
    found
}

fn is_set_by(trigger: &Trigger, act: &Act) -> bool {
    match (trigger, act) {
        (Trigger::Tag(tag), Act::Tag { tag: given }) => tag == given,
        (Trigger::Fact(FactKind::Tagged), Act::Tag { .. })
        | (Trigger::Fact(FactKind::StageChanged), Act::Stage { .. }) => true,
        (Trigger::Stage(stage), Act::Stage { stage: reached }) => stage == reached,
        (
            Trigger::Fact(_)
            | Trigger::Told(_)
            | Trigger::Download(_)
            | Trigger::Page { .. }
            | Trigger::Tag(_)
            | Trigger::Stage(_)
            | Trigger::ScoreRisesTo(_)
            | Trigger::ScoreFallsTo(_)
            | Trigger::Inactive { .. }
            | Trigger::Enters(_),
            _,
        ) => false,
    }
}

fn mails(sequence: &Sequence) -> Vec<&Id> {
    sequence.program.steps.iter().filter_map(Step::mail).collect()
}

/// The minute, counted from the entry, at which a step that is come to at another one is due at the
/// latest.
fn latest(when: When, from: i64) -> i64 {
    match when {
        When::Now => from,
        When::After { minutes } => from + minutes,
        When::AfterClock { days, .. } => from + days * MINUTES_A_DAY,
        When::NextClock { .. } => from + MINUTES_A_DAY,
        When::NextWeekday { .. } => from + 7 * MINUTES_A_DAY,
        When::Anchor { minutes } => from.max(minutes),
        When::AnchorClock { days, .. } => from.max(days * MINUTES_A_DAY),
    }
}

/// The minutes that the longest way through the steps takes.
fn longest(steps: &[Step]) -> i64 {
    let mut arrivals: BTreeMap<&Id, i64> = BTreeMap::new();
    let mut end = 0;
    // Ways lead forward only: each step's arrival is known before it is come to.
    for step in steps {
        let arrival = arrivals.get(&step.id).copied().unwrap_or(0);
        let due = latest(step.when, arrival);
        let left = match &step.act {
            Act::WaitFor { within, .. } => latest(*within, due),
            Act::Send { .. }
            | Act::Branch { .. }
            | Act::Split { .. }
            | Act::Tag { .. }
            | Act::Untag { .. }
            | Act::Attribute { .. }
            | Act::Stage { .. }
            | Act::Task { .. }
            | Act::Notice { .. }
            | Act::Webhook { .. } => due,
        };
        for next in step.targets() {
            let known = arrivals.entry(next).or_default();
            *known = left.max(*known);
        }
        end = left.max(end);
    }
    end
}

/// The most mails that everybody gets within the cap's days: up to the first step that decides.
fn most_mails(steps: &[Step], cap: Cap) -> usize {
    let mut sent: Vec<i64> = vec![];
    let (mut step, mut now) = (steps.first(), 0);
    while let Some(here) = step {
        now = latest(here.when, now);
        match &here.act {
            Act::WaitFor { .. } | Act::Branch { .. } | Act::Split { .. } => break,
            Act::Send { .. } => sent.push(now),
            Act::Tag { .. }
            | Act::Untag { .. }
            | Act::Attribute { .. }
            | Act::Stage { .. }
            | Act::Task { .. }
            | Act::Notice { .. }
            | Act::Webhook { .. } => {}
        }
        step = here.next.as_ref().and_then(|next| steps.iter().find(|step| step.id == *next));
    }
    let span = cap.days * MINUTES_A_DAY;
    let within = |first: &i64| sent.iter().filter(|at| (*first..*first + span).contains(*at)).count();
    sent.iter().map(within).max().unwrap_or(0)
}
