//! One person's story: what happened, and what was sent, in one order of time.

use chrono::{DateTime, Utc};
use domain::{
    consultation::{Consultation, ConsultationStatus},
    customer::Customer,
    engagement::{Engagement, EngagementState},
    event::{Event, Fact},
    lead::Lead,
    sequence::Enrolment,
    time,
};
use serde::Serialize;

/// All that is known of a person.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) lead: Lead,
    pub(crate) events: Vec<Event>,
    pub(crate) mails: Vec<Engagement>,
    pub(crate) enrolments: Vec<Enrolment>,
    pub(crate) consultations: Vec<Consultation>,
    pub(crate) purchases: Vec<Customer>,
}

/// One line of the timeline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Moment<'a> {
    #[serde(with = "time::stored")]
    pub(crate) at: DateTime<Utc>,
    /// The name of a fact, or of a mail's state.
    pub(crate) what: &'static str,
    pub(crate) fact: Option<&'a Fact>,
    pub(crate) mail: Option<&'a Engagement>,
}

/// A consultation, and whether its outcome can be told.
#[derive(Debug, Serialize)]
pub(crate) struct Meeting<'a> {
    #[serde(flatten)]
    pub(crate) consultation: &'a Consultation,
    pub(crate) awaits_outcome: bool,
}

impl Story {
    /// Facts and mails in order of time. What happened at the same moment stands in the order in
    /// which it must have happened: a fact before the mail that it caused, a mail before its click.
    pub(crate) fn timeline(&self) -> Vec<Moment<'_>> {
        let facts = self.events.iter().map(|event| Moment {
            at: event.occurred_at,
            what: event.fact.kind().as_str(),
            fact: Some(&event.fact),
            mail: None,
        });
        let mut moments: Vec<Moment<'_>> = facts.chain(self.mails.iter().flat_map(mail_moments)).collect();
        moments.sort_by_key(|moment| moment.at);
        moments
    }

    /// The consultations, the latest first.
    pub(crate) fn meetings(&self, now: DateTime<Utc>) -> Vec<Meeting<'_>> {
        let awaits_outcome = |consultation: &Consultation| {
            consultation.status == ConsultationStatus::Booked && consultation.scheduled_date <= now
        };
        let mut meetings: Vec<Meeting<'_>> = self
            .consultations
            .iter()
            .map(|consultation| Meeting { consultation, awaits_outcome: awaits_outcome(consultation) })
            .collect();
        meetings.sort_by_key(|meeting| std::cmp::Reverse(meeting.consultation.scheduled_date));
        meetings
    }
}

/// A mail's own moments. The ledger does not know when a mail came back, so that is told where it
/// was sent; that it was called spam is a fact of its own.
fn mail_moments(mail: &Engagement) -> impl Iterator<Item = Moment<'_>> {
    let what = match mail.state {
        EngagementState::Claimed => "mail_claimed",
        EngagementState::Sent | EngagementState::Complained => "mail_sent",
        EngagementState::Unknown => "mail_unknown",
        EngagementState::Skipped => "mail_skipped",
        EngagementState::Bounced => "mail_bounced",
    };
    let moments = [
        (Some(mail.sent_date.unwrap_or(mail.claimed_at)), what),
        (mail.opened_at, "mail_opened"),
        (mail.clicked_at, "mail_clicked"),
    ];
    moments
        .into_iter()
        .filter_map(move |(at, what)| Some(Moment { at: at?, what, fact: None, mail: Some(mail) }))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use chrono_tz::Tz::Asia__Tokyo;
    use domain::{
        consultation::{self, Outcome, Slot},
        customer::CustomerStatus,
        email_address::EmailAddress,
        engagement::MailClass,
        id::Id,
        lead::{self, Consent, OptIn},
        sequence::EnrolmentState,
        text::{LongText, ShortText},
    };

    use super::*;

    fn id(text: &str) -> Id {
        Id::parse(text).unwrap()
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    pub(crate) fn consultation(consultation_id: &str, start: &str) -> Consultation {
        let slot =
            Slot { start: at(start), end: at(start) + chrono::TimeDelta::hours(1), host: id("michino") };
        let note = LongText::parse("集客の流れを\n<b>整えたい</b>です。").ok();
        let booked = consultation::book(&id("l-1"), &slot, 0, note, at("2026-11-20T03:00:00Z"), Asia__Tokyo)
            .consultation;
        Consultation { consultation_id: id(consultation_id), ..booked }
    }

    pub(crate) fn mail(step: &str, state: EngagementState, sent: &str) -> Engagement {
        let not_sent =
            matches!(state, EngagementState::Skipped | EngagementState::Unknown | EngagementState::Claimed);
        Engagement {
            lead_id: id("l-1"),
            engagement_id: format!("nurture_1_{step}"),
            email_campaign_id: format!("nurture/{step}"),
            class: MailClass::Marketing,
            state,
            attempt: 1,
            claimed_at: at(sent),
            sent_date: (!not_sent).then(|| at(sent)),
            message_id: None,
            reason: None,
            delivered_at: None,
            opened: false,
            opened_at: None,
            machine_opened: false,
            clicked: false,
            clicked_at: None,
            click_url: None,
        }
    }

    #[expect(clippy::too_many_lines, reason = "one story, told whole")]
    pub(crate) fn story() -> Story {
        let form = OptIn {
            email: EmailAddress::parse("hanako@example.com").unwrap(),
            name: ShortText::parse("山田 <花子>").ok(),
            phone: None,
            source: ShortText::parse("instagram").ok(),
            lead_magnet_type: Some(id("checklist")),
            visitor_id: None,
            locale: None,
            time_zone: None,
            utm: BTreeMap::from([("utm_campaign".to_owned(), "autumn".to_owned())]),
            consent: Consent {
                given_at: at("2026-11-20T01:00:00Z"),
                text: "同意します。".into(),
                place: "POST /opt-in".into(),
                ip: Some("203.0.113.7".into()),
            },
        };
        let opted_in = lead::opt_in(None, id("l-1"), form, at("2026-11-20T01:00:00Z"), Asia__Tokyo);
        let open = consultation("c-2", "2026-11-25T01:00:00Z");
        let held = consultation::conclude(
            consultation("c-1", "2026-11-24T01:00:00Z"),
            true,
            Some(Outcome::Thinking),
            at("2026-11-24T02:10:00Z"),
            Asia__Tokyo,
        )
        .unwrap();
        let about = |key: &str, fact, when: &str| Event::about(&id("l-1"), key, fact, at(when), Asia__Tokyo);
        let booked = Fact::ConsultationBooked {
            consultation_id: id("c-1"),
            version: 1,
            scheduled_date: at("2026-11-24T01:00:00Z"),
        };
        let applied =
            Fact::ApplicationSubmitted { application_id: id("a-1"), plan: "premium".into(), price: 880_000 };
        let paid = Fact::CustomerPaid {
            customer_id: id("u-1"),
            plan: "premium".into(),
            price: 880_000,
            currency: "JPY".into(),
        };
        let enrolment = |sequence: &str, state, step: Option<&str>, due: Option<&str>, why: &str| Enrolment {
            lead_id: id("l-1"),
            enrolment_id: sequence.into(),
            sequence: id(sequence),
            subject: None,
            generation: 1,
            anchor: at("2026-11-20T01:00:00Z"),
            enrolled_at: at("2026-11-20T01:00:05Z"),
            state,
            step: step.map(id),
            next_due: due.map(at),
            due_hour: None,
            enrolment_key: String::new(),
            why: why.into(),
        };
        Story {
            lead: opted_in.lead,
            events: vec![
                opted_in.event,
                about("c-1", booked, "2026-11-20T03:00:00Z"),
                held.event,
                about("a-1", applied, "2026-11-24T03:00:00Z"),
                about("u-1", paid, "2026-11-24T03:05:00Z"),
            ],
            mails: vec![
                Engagement {
                    delivered_at: Some(at("2026-11-20T01:00:09Z")),
                    opened: true,
                    opened_at: Some(at("2026-11-20T03:30:00Z")),
                    clicked: true,
                    clicked_at: Some(at("2026-11-20T03:30:00Z")),
                    click_url: Some("https://example.com/pages/checklist?a=1&b=2".into()),
                    ..mail("welcome", EngagementState::Sent, "2026-11-20T01:00:00Z")
                },
                Engagement {
                    machine_opened: true,
                    ..mail("day-1", EngagementState::Sent, "2026-11-20T22:00:00Z")
                },
                Engagement {
                    reason: Some("what it announces has already begun".into()),
                    ..mail("day-2", EngagementState::Skipped, "2026-11-21T22:00:00Z")
                },
                Engagement {
                    reason: Some("Permanent/General".into()),
                    ..mail("day-3", EngagementState::Bounced, "2026-11-22T22:00:00Z")
                },
            ],
            enrolments: vec![
                enrolment("nurture", EnrolmentState::Stopped, None, None, "customer_paid"),
                enrolment(
                    "onboarding",
                    EnrolmentState::Active,
                    Some("day-3"),
                    Some("2026-11-28T00:00:00Z"),
                    "day-1 settled",
                ),
            ],
            consultations: vec![held.consultation, open],
            purchases: vec![Customer {
                customer_id: id("u-1"),
                lead_id: id("l-1"),
                plan: "premium".into(),
                price: 880_000,
                currency: "JPY".into(),
                start_date: "2026-11-24".parse().unwrap(),
                end_date: "2027-05-24".parse().unwrap(),
                status: CustomerStatus::Active,
                application_id: id("a-1"),
                payment_reference: "cs_test_1".into(),
                paid_at: at("2026-11-24T03:05:00Z"),
                version: 1,
            }],
        }
    }

    #[test]
    fn facts_and_mails_stand_in_one_order_of_time() {
        let story = story();
        let told: Vec<String> = story
            .timeline()
            .iter()
            .map(|moment| format!("{} {}", moment.at.format("%d %H:%M"), moment.what))
            .collect();
        assert_eq!(
            told,
            [
                "20 01:00 opted_in",
                "20 01:00 mail_sent",
                "20 03:00 consultation_booked",
                "20 03:30 mail_opened",
                "20 03:30 mail_clicked",
                "20 22:00 mail_sent",
                "21 22:00 mail_skipped",
                "22 22:00 mail_bounced",
                "24 02:10 consultation_held",
                "24 03:00 application_submitted",
                "24 03:05 customer_paid",
            ]
        );
    }

    #[test]
    fn a_mail_is_told_once_whatever_its_state() {
        use EngagementState as S;
        for (state, expected) in [
            (S::Claimed, "mail_claimed"),
            (S::Sent, "mail_sent"),
            (S::Unknown, "mail_unknown"),
            (S::Skipped, "mail_skipped"),
            (S::Bounced, "mail_bounced"),
            (S::Complained, "mail_sent"),
        ] {
            let mail = mail("day-1", state, "2026-11-20T22:00:00Z");
            assert_eq!(mail_moments(&mail).map(|moment| moment.what).collect::<Vec<_>>(), [expected]);
        }
    }

    #[test]
    fn the_outcome_can_be_told_from_the_start_of_an_open_consultation_on() {
        let story = story();
        for (now, expected) in
            [("2026-11-25T00:59:59Z", [false, false]), ("2026-11-25T01:00:00Z", [true, false])]
        {
            let meetings = story.meetings(at(now));
            assert_eq!(
                meetings.iter().map(|meeting| meeting.awaits_outcome).collect::<Vec<_>>(),
                expected,
                "{now}"
            );
        }
    }
}
