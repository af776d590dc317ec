//! What a fact sets going: which sequences it starts and stops.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::{
    engagement::MailClass,
    event::{Event, Fact, FactKind, Topic},
    id::Id,
    sequence::{Anchor, Enrolment, EnrolmentState, Entry, Sequence},
    trigger::Trigger,
};

/// An effect of a fact. Each may be repeated without harm.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect<'a> {
    /// Put the person into a sequence, if its test holds; a trigger that counts views has to be
    /// counted first.
    Enrol { sequence: &'a Sequence, trigger: &'a Trigger, entry: Entry },
    /// Keep an eye on the person for a sequence that time sets going.
    Watch { sequence: &'a Sequence, trigger: &'a Trigger, entry: Entry },
}

/// The sequences that a fact starts.
pub fn starts<'a>(event: &Event, sequences: &'a [Sequence]) -> Vec<Effect<'a>> {
    let Some(lead_id) = event.lead_id.as_ref() else { return vec![] };
    let entry = |sequence: &Sequence| Entry {
        lead_id: lead_id.clone(),
        subject: subject(&event.fact).filter(|_| sequence.topic().is_some()),
        generation: generation(sequence, event),
        at: event.occurred_at,
        anchor: anchor(sequence, event),
        values: match &event.fact {
            Fact::Told { values, .. } => values.clone(),
            _ => BTreeMap::new(),
        },
    };
    let mut effects = vec![];
    for sequence in sequences {
        if let Some(trigger) = sequence.entry.iter().find(|trigger| enters(trigger, &event.fact)) {
            effects.push(Effect::Enrol { sequence, trigger, entry: entry(sequence) });
        } else if let Some(trigger) =
            sequence.entry.iter().find(|trigger| makes_watchful(trigger, &event.fact))
        {
            effects.push(Effect::Watch { sequence, trigger, entry: entry(sequence) });
        }
    }
    effects
}

/// A fall is noticed by whoever watches; the fact about it is for other sequences and notices.
fn enters(trigger: &Trigger, fact: &Fact) -> bool {
    !trigger.is_watched() && trigger.matches(fact)
}

/// Whether the fact is a reason to begin watching for the trigger.
fn makes_watchful(trigger: &Trigger, fact: &Fact) -> bool {
    match trigger {
        Trigger::Inactive { .. } => {
            fact.kind().is_activity() && !fact.is_by_machine() && fact.kind() != FactKind::OptInRequested
        }
        // Only a score above the limit can fall to it.
        Trigger::ScoreFallsTo(limit) => {
            matches!(fact, Fact::ScoreCrossed { threshold, rising: true, .. } if *threshold == limit + 1)
        }
        Trigger::Fact(_)
        | Trigger::Told(_)
        | Trigger::Download(_)
        | Trigger::Page { .. }
        | Trigger::Tag(_)
        | Trigger::Stage(_)
        | Trigger::ScoreRisesTo(_)
        | Trigger::Enters(_) => false,
    }
}

/// Whether the fact may concern people who are inside: end a sequence, or a wait. People may be
/// inside a version that the funnel does not have any more, so its steps are not asked.
pub fn concerns_people_inside(event: &Event) -> bool {
    let kind = event.fact.kind();
    kind.is_named_by_funnels() || matches!(kind, FactKind::ScoreCrossed | FactKind::Told)
}

/// Whether the fact takes the person out of this enrolment.
pub fn stops(event: &Event, sequence: &Sequence, enrolment: &Enrolment) -> bool {
    // Whoever is only being watched is not inside: just silence ends that.
    let ends = match enrolment.is_watching() {
        true => silences(sequence, &event.fact),
        false => ends(sequence, &event.fact),
    };
    if enrolment.state != EnrolmentState::Active || !ends {
        return false;
    }
    // Another consultation's end is not this one's; this one's version decides, not the clock.
    let same_topic = sequence.topic().is_some() && sequence.topic() == event.fact.kind().topic();
    // What happened before she entered is not about this time.
    let later = event.occurred_at >= enrolment.since();
    let same_subject = enrolment.subject == subject(&event.fact);
    // Another booking is no news about this one, but it may be what was hoped for.
    let booked_anew = !same_subject && matches!(event.fact, Fact::ConsultationBooked { .. });
    match same_topic && !booked_anew {
        true => same_subject,
        false => later,
    }
}

fn silences(sequence: &Sequence, fact: &Fact) -> bool {
    matches!(fact.kind(), FactKind::Unsubscribed | FactKind::MailComplained)
        && sequence.class == MailClass::Marketing
}

fn ends(sequence: &Sequence, fact: &Fact) -> bool {
    // Views are counted by whoever is about to write ([`Sequence::is_over`]): one alone says little.
    let counted = |trigger: &Trigger| matches!(trigger, Trigger::Page { times, .. } if *times > 1);
    silences(sequence, fact) || sequence.exit.iter().any(|trigger| trigger.matches(fact) && !counted(trigger))
}

/// What the fact is about, besides the person.
fn subject(fact: &Fact) -> Option<Id> {
    match fact {
        Fact::ConsultationBooked { consultation_id, .. }
        | Fact::ConsultationRescheduled { consultation_id, .. }
        | Fact::ConsultationCancelled { consultation_id, .. }
        | Fact::ConsultationHeld { consultation_id }
        | Fact::ConsultationMissed { consultation_id } => Some(consultation_id.clone()),
        Fact::ApplicationSubmitted { application_id, .. } => Some(application_id.clone()),
        Fact::CustomerPaid { customer_id, .. } => Some(customer_id.clone()),
        Fact::Visited { .. }
        | Fact::OptInRequested { .. }
        | Fact::OptedIn { .. }
        | Fact::MailSent { .. }
        | Fact::MailUnknown { .. }
        | Fact::MailDelivered { .. }
        | Fact::MailOpened { .. }
        | Fact::MailClicked { .. }
        | Fact::MailBounced { .. }
        | Fact::MailComplained { .. }
        | Fact::Unsubscribed {}
        | Fact::PreferencesChanged {}
        | Fact::PageSeen { .. }
        | Fact::Tagged { .. }
        | Fact::StageChanged { .. }
        | Fact::ScoreCrossed { .. }
        | Fact::Told { .. } => None,
    }
}

/// A consultation's version where the sequence is about one, else the second of the fact: both
/// grow, and both are the same when the fact is delivered again.
fn generation(sequence: &Sequence, event: &Event) -> u32 {
    match &event.fact {
        Fact::ConsultationBooked { version, .. }
        | Fact::ConsultationRescheduled { version, .. }
        | Fact::ConsultationCancelled { version, .. }
            if sequence.topic() == Some(Topic::Consultation) =>
        {
            *version
        }
        _ => u32::try_from(event.occurred_at.timestamp()).unwrap_or(0),
    }
}

fn anchor(sequence: &Sequence, event: &Event) -> DateTime<Utc> {
    match (sequence.program.anchor, &event.fact) {
        (
            Anchor::Consultation,
            Fact::ConsultationBooked { scheduled_date, .. }
            | Fact::ConsultationRescheduled { scheduled_date, .. },
        ) => *scheduled_date,
        (Anchor::At(date), _) => date,
        // The end of the plan stands in the customer's row; whoever enrols looks it up.
        _ => event.occurred_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequence::{Act, Inside, Program, Step, When};
    use chrono_tz::Tz::Asia__Tokyo;

    fn id(text: &str) -> Id {
        Id::parse(text).unwrap()
    }

    fn sequence(name: &str, class: MailClass, entry: &[FactKind], exit: &[FactKind]) -> Sequence {
        let triggers = |kinds: &[FactKind]| kinds.iter().map(|kind| Trigger::Fact(*kind)).collect();
        let anchor = match entry.contains(&FactKind::ConsultationBooked) {
            true => Anchor::Consultation,
            false => Anchor::Entry,
        };
        let step = Step {
            id: id("one"),
            when: When::After { minutes: 60 },
            act: Act::Send { mail: id("mail"), calendar: false },
            next: None,
        };
        Sequence {
            id: id(name),
            name: name.into(),
            class,
            entry: triggers(entry),
            test: None,
            exit: triggers(exit),
            again: false,
            priority: 0,
            inside: Inside::Finish,
            program: Program { version: "v".into(), anchor, windows: vec![], steps: vec![step] },
        }
    }

    fn funnel() -> Vec<Sequence> {
        use FactKind as K;
        let watched = |name: &str, trigger: Trigger| Sequence {
            entry: vec![trigger],
            ..sequence(name, MailClass::Marketing, &[], &[])
        };
        vec![
            sequence("nurture", MailClass::Marketing, &[K::OptedIn], &[K::CustomerPaid]),
            sequence(
                "consultation",
                MailClass::Transactional,
                &[K::ConsultationBooked, K::ConsultationRescheduled],
                &[K::ConsultationCancelled],
            ),
            sequence("follow-up", MailClass::Marketing, &[K::ConsultationHeld], &[K::CustomerPaid]),
            sequence("missed", MailClass::Marketing, &[K::ConsultationMissed], &[K::ConsultationBooked]),
            sequence("onboarding", MailClass::Transactional, &[K::CustomerPaid], &[]),
            watched("cart", Trigger::Told(id("cart-updated"))),
            watched("thanks", Trigger::Download(id("guide"))),
            watched("pricing", Trigger::Page { page: id("pricing"), times: 3 }),
            watched("vip", Trigger::Tag("vip".into())),
            watched("mql", Trigger::Stage(crate::lead::Stage::Mql)),
            watched("hot", Trigger::ScoreRisesTo(75)),
            watched("cooled", Trigger::ScoreFallsTo(20)),
            watched("asleep", Trigger::Inactive { days: 60 }),
        ]
    }

    fn happening(fact: Fact) -> Event {
        Event::about(&id("l-1"), "key", fact, "2026-11-22T01:00:00Z".parse().unwrap(), Asia__Tokyo)
    }

    fn opted_in(magnet: &str) -> Fact {
        Fact::OptedIn {
            first: true,
            source: None,
            lead_magnet_type: Some(magnet.into()),
            visitor_id: None,
            utm: Default::default(),
        }
    }

    fn booked() -> Fact {
        Fact::ConsultationBooked {
            consultation_id: id("c-1"),
            version: 1,
            scheduled_date: "2026-11-25T01:00:00Z".parse().unwrap(),
        }
    }

    fn paid() -> Fact {
        Fact::CustomerPaid { customer_id: id("u-1"), plan: "vip".into(), price: 1, currency: "JPY".into() }
    }

    #[test]
    fn each_trigger_starts_what_the_funnel_says_and_nothing_else() {
        let told = |fact: &str| Fact::Told { fact: id(fact), values: BTreeMap::new() };
        let crossed = |threshold, rising| Fact::ScoreCrossed { threshold, rising, score: threshold };
        let start = "2026-11-25T01:00:00Z".parse().unwrap();
        for (fact, expected) in [
            (opted_in("guide"), vec!["+nurture 1795309200", "+thanks 1795309200", "?asleep 1795309200"]),
            (opted_in("other"), vec!["+nurture 1795309200", "?asleep 1795309200"]),
            (booked(), vec!["+consultation/c-1 1", "?asleep 1795309200"]),
            (
                Fact::ConsultationRescheduled {
                    consultation_id: id("c-1"),
                    version: 2,
                    scheduled_date: start,
                },
                vec!["+consultation/c-1 2", "?asleep 1795309200"],
            ),
            (paid(), vec!["+onboarding/u-1 1795309200", "?asleep 1795309200"]),
            (told("cart-updated"), vec!["+cart 1795309200", "?asleep 1795309200"]),
            (told("ordered"), vec!["?asleep 1795309200"]),
            (Fact::PageSeen { page: "pricing".into() }, vec!["+pricing 1795309200", "?asleep 1795309200"]),
            (Fact::PageSeen { page: "cases".into() }, vec!["?asleep 1795309200"]),
            (Fact::Tagged { tag: "vip".into() }, vec!["+vip 1795309200"]),
            (Fact::Tagged { tag: "staff".into() }, vec![]),
            (Fact::StageChanged { stage: crate::lead::Stage::Mql }, vec!["+mql 1795309200"]),
            (Fact::StageChanged { stage: crate::lead::Stage::Sql }, vec![]),
            (crossed(75, true), vec!["+hot 1795309200"]),
            (crossed(75, false), vec![]),
            (crossed(20, true), vec![]),
            (crossed(21, true), vec!["?cooled 1795309200"]),
            (crossed(20, false), vec![]),
            (
                Fact::MailOpened { engagement_id: "e".into(), email_campaign_id: "c".into(), machine: false },
                vec!["?asleep 1795309200"],
            ),
            // A machine's opening says nothing about her.
            (
                Fact::MailOpened { engagement_id: "e".into(), email_campaign_id: "c".into(), machine: true },
                vec![],
            ),
            (Fact::OptInRequested { source: None, lead_magnet_type: None }, vec![]),
            (Fact::Unsubscribed {}, vec![]),
            (Fact::MailSent { engagement_id: "e".into(), email_campaign_id: "c".into() }, vec![]),
        ] {
            let sequences = funnel();
            let told: Vec<String> = starts(&happening(fact.clone()), &sequences)
                .into_iter()
                .map(|effect| {
                    let (sign, sequence, entry) = match effect {
                        Effect::Enrol { sequence, entry, .. } => ('+', sequence, entry),
                        Effect::Watch { sequence, entry, .. } => ('?', sequence, entry),
                    };
                    let subject = entry.subject.map(|s| format!("/{s}")).unwrap_or_default();
                    format!("{sign}{}{subject} {}", sequence.id, entry.generation)
                })
                .collect();
            assert_eq!(told, expected, "{fact:?}");
        }
    }

    #[test]
    fn an_exit_takes_out_whom_it_concerns() {
        let sequences = funnel();
        let find = |name: &str| sequences.iter().find(|sequence| sequence.id == id(name)).unwrap();
        let entered = |name: &str, subject: Option<&str>, at: &str| {
            let entry = Entry {
                lead_id: id("l-1"),
                subject: subject.map(id),
                generation: 1,
                at: at.parse().unwrap(),
                anchor: "2026-11-25T01:00:00Z".parse().unwrap(),
                values: BTreeMap::new(),
            };
            find(name).enrol(entry, at.parse().unwrap(), Asia__Tokyo)
        };
        let cancelled = Fact::ConsultationCancelled { consultation_id: id("c-1"), version: 3 };
        let (early, late) = ("2026-11-21T00:00:00Z", "2026-11-23T00:00:00Z");
        for (what, name, subject, at, fact, expected) in [
            ("its exit", "nurture", None, early, paid(), true),
            ("an exit before she entered", "nurture", None, late, paid(), false),
            ("an exit told to the second only", "nurture", None, "2026-11-22T01:00:00.9Z", paid(), true),
            ("an exit about something else", "follow-up", Some("c-1"), early, paid(), true),
            ("its own consultation", "consultation", Some("c-1"), early, cancelled.clone(), true),
            ("another consultation", "consultation", Some("c-2"), early, cancelled.clone(), false),
            ("another booking after this one was missed", "missed", Some("c-2"), early, booked(), true),
            ("no exit of its", "onboarding", Some("u-1"), early, cancelled, false),
            ("silence", "nurture", None, early, Fact::Unsubscribed {}, true),
            ("silence before a new yes", "nurture", None, late, Fact::Unsubscribed {}, false),
            (
                "silence is no matter for what she asked for",
                "onboarding",
                None,
                early,
                Fact::Unsubscribed {},
                false,
            ),
        ] {
            let enrolment = entered(name, subject, at);
            assert_eq!(stops(&happening(fact.clone()), find(name), &enrolment), expected, "{what}");
            let gone = enrolment.stop("before").unwrap();
            assert!(!stops(&happening(fact), find(name), &gone), "{what}, but she has left");
        }
    }

    #[test]
    fn reminders_count_from_the_appointment_and_the_rest_from_the_fact() {
        let sequences = funnel();
        let anchor = |fact: Fact| match starts(&happening(fact), &sequences).remove(0) {
            Effect::Enrol { entry, .. } | Effect::Watch { entry, .. } => time_of(entry.anchor),
        };
        assert_eq!(anchor(booked()), "2026-11-25T01:00:00.000Z");
        assert_eq!(anchor(opted_in("guide")), "2026-11-22T01:00:00.000Z");
    }

    fn time_of(at: DateTime<Utc>) -> String {
        crate::time::iso(at)
    }
}
