//! What became of each mail of a person's sequences, and what will: read from the rows alone.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use crate::{
    condition::Known,
    engagement::{Claim, Engagement, EngagementState, claim},
    id::Id,
    lead::Mailing,
    sequence::{Enrolment, EnrolmentState, Program, Sequence, Step},
};

/// All that can be said of a mail.
pub const SAID: [&str; 23] = [
    "sent",
    "delivered",
    "opened",
    "clicked",
    "machine_opened",
    "bounced",
    "complained",
    "skipped",
    "claimed",
    "claimed_again",
    "claimed_given_up",
    "unknown",
    "unknown_again",
    "due",
    "ahead",
    "watched",
    "passed_over",
    "ended",
    "not_entered",
    "not_entered_pending",
    "not_entered_unstarted",
    "not_entered_over",
    "not_entered_test",
];

/// A mail of a sequence that a person is or was in, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate<'a> {
    pub step: &'a str,
    pub mail: Option<&'a Id>,
    /// In order of time; never empty.
    pub said: Vec<Said<'a>>,
}

/// One thing that can be said of it. Whoever shows it has the words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said<'a> {
    /// The name of the words, one of [`SAID`].
    pub what: &'static str,
    pub at: Option<DateTime<Utc>>,
    /// The step where she stands.
    pub step: Option<&'a Id>,
    /// As the tables keep it.
    pub why: Option<&'a str>,
}

impl<'a> Said<'a> {
    fn new(what: &'static str) -> Self {
        debug_assert!(SAID.contains(&what), "{what} has no words");
        Self { what, at: None, step: None, why: None }
    }

    fn at(self, at: Option<DateTime<Utc>>) -> Self {
        Self { at, ..self }
    }

    fn why(self, why: &'a str) -> Self {
        Self { why: Some(why), ..self }
    }
}

/// The mails of one enrolment, in the order of its program. An earlier time in the same sequence
/// comes first, as far as the ledger still tells of it.
pub fn fates<'a>(
    enrolment: &'a Enrolment,
    program: &'a Program,
    ledger: &'a [Engagement],
    now: DateTime<Utc>,
) -> Vec<Fate<'a>> {
    let mails = || program.steps.iter().filter_map(|step| Some((step, step.mail()?)));
    let this_time: BTreeSet<String> = mails().map(|(step, _)| enrolment.engagement_id(&step.id)).collect();
    let earlier = ledger.iter().filter_map(|row| {
        let (sequence, step) = row.email_campaign_id.split_once('/')?;
        let is_mail = row.mail.is_some() || mails().any(|(known, _)| known.id.as_str() == step);
        let of_this = row.engagement_id.starts_with(&format!("{}_", enrolment.enrolment_id));
        let told = sequence == enrolment.sequence.as_str() && is_mail && of_this;
        (told && !this_time.contains(&row.engagement_id)).then_some((step, row))
    });
    let mut earlier: Vec<(&str, &Engagement)> = earlier.collect();
    earlier.sort_by_key(|(_, row)| row.claimed_at);
    let earlier =
        earlier.into_iter().map(|(step, row)| Fate { step, mail: row.mail.as_ref(), said: told(row, now) });
    let planned = mails().map(|(step, mail)| {
        let id = enrolment.engagement_id(&step.id);
        let row = ledger.iter().find(|row| row.engagement_id == id);
        // Before a mail is settled, the place in the sequence tells more than a claim taken back.
        let said = row.map_or_else(|| vec![unsent(enrolment, program, step)], |row| told(row, now));
        Fate { step: step.id.as_str(), mail: Some(mail), said }
    });
    earlier.chain(planned).collect()
}

/// What the ledger's row says.
fn told(row: &Engagement, now: DateTime<Utc>) -> Vec<Said<'_>> {
    let why = row.reason.as_deref();
    let sent = row.sent_date.unwrap_or(row.claimed_at);
    let first = match (row.state, claim(Some(row), row.class, now)) {
        (EngagementState::Skipped, _) => Said::new("skipped").at(Some(row.claimed_at)),
        (EngagementState::Claimed, Claim::InFlight) => Said::new("claimed").at(Some(row.claimed_at)),
        (EngagementState::Claimed, Claim::Send { .. }) => Said::new("claimed_again").at(Some(row.claimed_at)),
        (EngagementState::Claimed, _) => Said::new("claimed_given_up").at(Some(row.claimed_at)),
        (EngagementState::Unknown, Claim::Send { .. } | Claim::InFlight) => {
            Said::new("unknown_again").at(Some(row.claimed_at))
        }
        (EngagementState::Unknown, _) => Said::new("unknown").at(Some(row.claimed_at)),
        (EngagementState::Sent | EngagementState::Bounced | EngagementState::Complained, _) => {
            Said::new("sent").at(Some(sent))
        }
    };
    let came_back = matches!(row.state, EngagementState::Bounced | EngagementState::Complained);
    let mut said = vec![Said { why: why.filter(|_| !came_back), ..first }];
    for (what, at) in
        [("delivered", row.delivered_at), ("opened", row.opened_at), ("clicked", row.clicked_at)]
    {
        said.extend(at.map(|at| Said::new(what).at(Some(at))));
    }
    if row.machine_opened && row.opened_at.is_none() {
        said.push(Said::new("machine_opened"));
    }
    let end = match row.state {
        EngagementState::Bounced => Some("bounced"),
        EngagementState::Complained => Some("complained"),
        EngagementState::Claimed
        | EngagementState::Sent
        | EngagementState::Unknown
        | EngagementState::Skipped => None,
    };
    said.extend(end.map(|what| Said { why, ..Said::new(what) }));
    said
}

/// Why there is no row of it (yet).
fn unsent<'a>(enrolment: &'a Enrolment, program: &'a Program, step: &'a Step) -> Said<'a> {
    let why = enrolment.why.as_str();
    match enrolment.state {
        EnrolmentState::Stopped => return Said::new("ended").why(why),
        EnrolmentState::Finished => return Said::new("passed_over").why(why),
        EnrolmentState::Active => {}
    }
    if enrolment.is_watching() {
        return Said::new("watched").at(enrolment.next_due);
    }
    let Some(here) = enrolment.step.as_ref() else { return Said::new("passed_over").why(why) };
    if *here == step.id {
        return Said::new("due").at(enrolment.next_due).why(why);
    }
    match program.leads(here, &step.id) {
        true => Said { step: Some(here), ..Said::new("ahead").at(enrolment.next_due) },
        false => {
            let way = enrolment.decisions.last().map_or(why, |decision| decision.why.as_str());
            Said::new("passed_over").why(way)
        }
    }
}

/// Why a person never entered a sequence, as far as rows can tell.
pub fn not_entered<'a>(sequence: &'a Sequence, known: &Known<'_>) -> Said<'a> {
    let since = known.lead.opt_in_date;
    if known.lead.mailing == Mailing::Pending && !sequence.asks_confirmation() {
        return Said::new("not_entered_pending");
    }
    // What time sets going leaves no fact.
    let started = sequence.watched().is_some()
        || sequence.entry.is_empty()
        || sequence.entry.iter().any(|trigger| known.happened(trigger, None));
    if !started {
        return Said::new("not_entered_unstarted");
    }
    if sequence.is_over(known, since).is_some() {
        return Said::new("not_entered_over");
    }
    match &sequence.test {
        Some(test) if !test.condition.holds(known) => Said::new("not_entered_test").why(&test.text),
        _ => Said::new("not_entered"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        engagement::MailClass,
        event::FactKind,
        samples::{at, clicked, id, opened, person, sent},
        sequence::{Act, Anchor, Decision, Entry, Inside, When},
        trigger::Trigger,
    };

    /// day-1, then day-2 or, for some, day-3.
    fn nurture() -> Sequence {
        let send = |step: &str, next: Option<&str>| Step {
            id: id(step),
            when: When::After { minutes: 60 },
            act: Act::Send { mail: id(step), calendar: false },
            next: next.map(id),
        };
        let split = Step {
            id: id("lot"),
            when: When::Now,
            act: Act::Split { targets: vec![(id("day-2"), 1), (id("day-3"), 1)] },
            next: None,
        };
        let steps = vec![send("day-1", Some("lot")), split, send("day-2", None), send("day-3", None)];
        Sequence {
            id: id("nurture"),
            name: "nurture".into(),
            class: MailClass::Marketing,
            entry: vec![Trigger::Fact(FactKind::OptedIn)],
            test: None,
            exit: vec![Trigger::Fact(FactKind::CustomerPaid)],
            again: false,
            priority: 0,
            inside: Inside::Finish,
            program: Program { version: "v".into(), anchor: Anchor::Entry, windows: vec![], steps },
        }
    }

    fn enrolled() -> Enrolment {
        let now = at("2026-09-01T01:00:00Z");
        let entry = Entry {
            lead_id: id("l-1"),
            subject: None,
            generation: 1,
            at: now,
            anchor: now,
            values: BTreeMap::new(),
        };
        nurture().enrol(entry, now, chrono_tz::Tz::Asia__Tokyo)
    }

    fn whats(enrolment: &Enrolment, ledger: &[Engagement], now: &str) -> Vec<String> {
        let program = nurture().program;
        let fates = fates(enrolment, &program, ledger, at(now));
        let told = |fate: &Fate<'_>| {
            let said: Vec<&str> = fate.said.iter().map(|said| said.what).collect();
            format!("{} {}", fate.step, said.join(" "))
        };
        fates.iter().map(told).collect()
    }

    #[test]
    fn a_mail_without_a_row_is_told_by_her_place() {
        let enrolled = enrolled();
        let decided =
            enrolled.clone().decided(&id("lot"), "drawn by lot: day-3".into(), at("2026-09-01T02:00:00Z"));
        assert_eq!(
            decided.decisions,
            [Decision { step: id("lot"), at: at("2026-09-01T02:00:00Z"), why: "drawn by lot: day-3".into() }]
        );
        let at_day_3 = Enrolment { step: Some(id("day-3")), ..decided };
        let watched = enrolled.clone().watched_until(at("2026-10-01T00:00:00Z"));
        let over = Enrolment { state: EnrolmentState::Finished, step: None, ..enrolled.clone() };
        for (enrolment, expected) in [
            (enrolled.clone(), ["due", "ahead", "ahead"]),
            (at_day_3, ["passed_over", "passed_over", "due"]),
            (watched, ["watched"; 3]),
            (over, ["passed_over"; 3]),
            (enrolled.stop("customer_paid").unwrap(), ["ended"; 3]),
        ] {
            let expected: Vec<String> = ["day-1", "day-2", "day-3"]
                .iter()
                .zip(expected)
                .map(|(step, what)| format!("{step} {what}"))
                .collect();
            assert_eq!(whats(&enrolment, &[], "2026-09-01T01:00:00Z"), expected, "{}", enrolment.why);
        }
    }

    #[test]
    fn the_ledger_tells_what_became_of_a_mail_and_what_will() {
        use EngagementState as S;
        let when = "2026-09-01T02:00:00Z";
        let row = |state| Engagement { state, sent_date: None, ..sent("day-1", when) };
        let asked_for = |state| Engagement { class: MailClass::Transactional, ..row(state) };
        let read = clicked(opened(sent("day-1", when), when), "https://example.com", when);
        let by_machine = Engagement { machine_opened: true, ..sent("day-1", when) };
        for (row, now, expected) in [
            (sent("day-1", when), when, "sent"),
            (read, when, "sent opened clicked"),
            (by_machine, when, "sent machine_opened"),
            (row(S::Bounced), when, "sent bounced"),
            (row(S::Complained), when, "sent complained"),
            (row(S::Skipped), when, "skipped"),
            (row(S::Claimed), when, "claimed"),
            (row(S::Claimed), "2026-09-01T03:00:00Z", "claimed_given_up"),
            (asked_for(S::Claimed), "2026-09-01T03:00:00Z", "claimed_again"),
            (row(S::Unknown), when, "unknown"),
            (asked_for(S::Unknown), when, "unknown_again"),
        ] {
            let told = whats(&enrolled(), std::slice::from_ref(&row), now);
            assert_eq!(told[0], format!("day-1 {expected}"), "{row:?}");
        }
        let earlier = Engagement { engagement_id: "nurture_0_day-1".into(), ..sent("day-1", when) };
        assert_eq!(whats(&enrolled(), &[earlier], when)[..2], ["day-1 sent", "day-1 due"]);
    }

    #[test]
    fn who_never_entered_learns_why() {
        let (now, all) = (at("2026-09-02T00:00:00Z"), nurture());
        let entered_by = |kind| Sequence { entry: vec![Trigger::Fact(kind)], ..all.clone() };
        let pending = {
            let mut person = person();
            person.lead.mailing = Mailing::Pending;
            person
        };
        let paid = person().did(crate::samples::fact(FactKind::CustomerPaid), "2026-09-01T05:00:00Z");
        for (person, sequence, expected) in [
            (pending, all.clone(), "not_entered_pending"),
            (person(), entered_by(FactKind::ConsultationHeld), "not_entered_unstarted"),
            (paid, all.clone(), "not_entered_over"),
            (person(), all.clone(), "not_entered"),
        ] {
            assert_eq!(not_entered(&sequence, &person.known(now)).what, expected);
        }
    }
}
