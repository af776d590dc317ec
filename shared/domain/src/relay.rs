//! What a fact sets going: which sequences it starts and stops.

use chrono::{DateTime, Datelike, Utc};

use crate::{
    engagement::MailClass,
    event::{Event, Fact, FactKind},
    id::Id,
    sequence::{Entry, Sequence},
};

/// An effect of a fact. Each may be repeated without harm.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect<'a> {
    /// Put the person into a sequence.
    Enrol { sequence: &'a Sequence, entry: Entry },
    /// Take the person out of one.
    Stop { enrolment_id: String },
}

/// The effects of a fact on the funnel's sequences: stops first, so that a fact that ends one
/// sequence and starts another leaves the person in the new one.
pub fn effects<'a>(event: &Event, sequences: &'a [Sequence]) -> Vec<Effect<'a>> {
    let Some(lead_id) = event.lead_id.as_ref() else { return vec![] };
    let kind = event.fact.kind();
    let subject = subject(&event.fact);
    let stops = sequences.iter().filter(|sequence| ends(sequence, kind)).map(|sequence| Effect::Stop {
        enrolment_id: sequence.enrolment_id(subject.as_ref().filter(|_| sequence.topic().is_some())),
    });
    let starts =
        sequences.iter().filter(|sequence| sequence.entry.contains(&kind)).map(|sequence| Effect::Enrol {
            sequence,
            entry: Entry {
                lead_id: lead_id.clone(),
                subject: subject.clone(),
                generation: generation(event),
                anchor: anchor(&event.fact, event.occurred_at),
            },
        });
    stops.chain(starts).collect()
}

fn ends(sequence: &Sequence, kind: FactKind) -> bool {
    let silenced = matches!(kind, FactKind::Unsubscribed | FactKind::MailComplained)
        && sequence.class == MailClass::Marketing;
    sequence.exit.contains(&kind) || silenced
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
        | Fact::OptedIn { .. }
        | Fact::MailSent { .. }
        | Fact::MailDelivered { .. }
        | Fact::MailOpened { .. }
        | Fact::MailClicked { .. }
        | Fact::MailBounced { .. }
        | Fact::MailComplained { .. }
        | Fact::Unsubscribed {} => None,
    }
}

/// A consultation's version where there is one, else the day of the fact: both grow, and both are
/// the same when the fact is delivered again.
fn generation(event: &Event) -> u32 {
    match &event.fact {
        Fact::ConsultationBooked { version, .. }
        | Fact::ConsultationRescheduled { version, .. }
        | Fact::ConsultationCancelled { version, .. } => *version,
        _ => u32::try_from(event.day.num_days_from_ce()).unwrap_or(0),
    }
}

fn anchor(fact: &Fact, occurred_at: DateTime<Utc>) -> DateTime<Utc> {
    match fact {
        Fact::ConsultationBooked { scheduled_date, .. }
        | Fact::ConsultationRescheduled { scheduled_date, .. } => *scheduled_date,
        _ => occurred_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use chrono_tz::Tz::Asia__Tokyo;

    fn id(text: &str) -> Id {
        Id::parse(text).unwrap()
    }

    fn sequence(name: &str, class: MailClass, entry: &[FactKind], exit: &[FactKind]) -> Sequence {
        Sequence {
            id: id(name),
            name: name.into(),
            class,
            entry: entry.to_vec(),
            exit: exit.to_vec(),
            again: false,
            steps: vec![],
        }
    }

    fn funnel() -> Vec<Sequence> {
        use FactKind as K;
        vec![
            sequence("nurture", MailClass::Marketing, &[K::OptedIn], &[K::CustomerPaid]),
            sequence(
                "consultation",
                MailClass::Transactional,
                &[K::ConsultationBooked, K::ConsultationRescheduled],
                &[K::ConsultationCancelled],
            ),
            sequence("onboarding", MailClass::Transactional, &[K::CustomerPaid], &[]),
        ]
    }

    fn happening(fact: Fact) -> Event {
        Event::about(&id("l-1"), "key", fact, "2026-11-22T01:00:00Z".parse().unwrap(), Asia__Tokyo)
    }

    #[test]
    fn each_fact_starts_and_stops_what_the_funnel_says() {
        let start = "2026-11-25T01:00:00Z".parse().unwrap();
        let opted_in = Fact::OptedIn {
            first: true,
            source: None,
            lead_magnet_type: None,
            visitor_id: None,
            utm: Default::default(),
        };
        for (fact, expected) in [
            (opted_in, vec!["+nurture 739942"]),
            (
                Fact::ConsultationBooked { consultation_id: id("c-1"), version: 1, scheduled_date: start },
                vec!["+consultation/c-1 1"],
            ),
            (
                Fact::ConsultationRescheduled {
                    consultation_id: id("c-1"),
                    version: 2,
                    scheduled_date: start,
                },
                vec!["+consultation/c-1 2"],
            ),
            (
                Fact::ConsultationCancelled { consultation_id: id("c-1"), version: 3 },
                vec!["-consultation_c-1"],
            ),
            (
                Fact::CustomerPaid {
                    customer_id: id("u-1"),
                    plan: "vip".into(),
                    price: 1,
                    currency: "JPY".into(),
                },
                vec!["-nurture", "+onboarding/u-1 739942"],
            ),
            (Fact::Unsubscribed {}, vec!["-nurture"]),
            (Fact::MailSent { engagement_id: "e".into(), email_campaign_id: "c".into() }, vec![]),
        ] {
            let sequences = funnel();
            let told: Vec<String> = effects(&happening(fact.clone()), &sequences)
                .into_iter()
                .map(|effect| match effect {
                    Effect::Stop { enrolment_id } => format!("-{enrolment_id}"),
                    Effect::Enrol { sequence, entry } => format!(
                        "+{}{} {}",
                        sequence.id,
                        entry.subject.map(|s| format!("/{s}")).unwrap_or_default(),
                        entry.generation
                    ),
                })
                .collect();
            assert_eq!(told, expected, "{fact:?}");
        }
    }

    #[test]
    fn reminders_count_from_the_appointment() {
        let start: DateTime<Utc> = "2026-11-25T01:00:00Z".parse().unwrap();
        let event = happening(Fact::ConsultationBooked {
            consultation_id: id("c-1"),
            version: 1,
            scheduled_date: start,
        });
        let sequences = funnel();
        assert!(
            matches!(effects(&event, &sequences).as_slice(), [Effect::Enrol { entry, .. }] if entry.anchor == start)
        );
    }
}
