//! One person's story: what happened, what was sent and where she stands.

use chrono::{DateTime, Utc};
use cloud::person::Person;
use domain::{
    consultation::{Consultation, ConsultationStatus},
    customer::Customer,
    engagement::{Engagement, EngagementState},
    event::Fact,
    score::{Score, Scoring},
    sequence::{Enrolment, EnrolmentState, Program},
    time,
};
use serde::Serialize;

use crate::{
    names::{Names, Notice},
    told::{Teller, Told},
};

/// All that is known of a person.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) person: Person,
    /// Those of her enrolments, in their order.
    pub(crate) programs: Vec<Program>,
    pub(crate) consultations: Vec<Consultation>,
    pub(crate) purchases: Vec<Customer>,
}

/// One line of the timeline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Moment<'a> {
    #[serde(with = "time::stored")]
    pub(crate) at: DateTime<Utc>,
    /// The name of a fact, or of a mail's or notice's state.
    pub(crate) what: &'static str,
    pub(crate) fact: Option<&'a Fact>,
    pub(crate) mail: Option<&'a Engagement>,
    /// If the mail was one to the team.
    pub(crate) notice: Option<&'a Notice>,
}

/// A consultation, and whether its outcome can be told.
#[derive(Debug, Serialize)]
pub(crate) struct Meeting<'a> {
    #[serde(flatten)]
    pub(crate) consultation: &'a Consultation,
    pub(crate) awaits_outcome: bool,
}

/// An enrolment, and what the person does in it.
#[derive(Debug, Serialize)]
pub(crate) struct Stay<'a> {
    #[serde(flatten)]
    pub(crate) enrolment: &'a Enrolment,
    pub(crate) standing: &'static str,
    /// Its mails, those that are still to come too.
    pub(crate) mails: Vec<Told>,
}

/// A score as it was at some moment.
#[derive(Debug, Serialize)]
pub(crate) struct Scored<'a> {
    #[serde(flatten)]
    pub(crate) score: Score,
    pub(crate) band: Option<&'a str>,
}

impl Story {
    /// Facts and mails in order of time. What happened at the same moment stands in the order in
    /// which it must have happened: a fact before the mail that it caused, a mail before its click.
    pub(crate) fn timeline<'a>(&'a self, names: &'a Names) -> Vec<Moment<'a>> {
        let facts = self.person.timeline.iter().map(|event| Moment {
            at: event.occurred_at,
            what: event.fact.kind().as_str(),
            fact: Some(&event.fact),
            mail: None,
            notice: None,
        });
        let mails = self.person.ledger.iter().flat_map(|mail| mail_moments(mail, names));
        let mut moments: Vec<Moment<'_>> = facts.chain(mails).collect();
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

    /// The enrolments in the order of entry.
    pub(crate) fn stays(&self, teller: &Teller, now: DateTime<Utc>) -> Vec<Stay<'_>> {
        let places = self.person.enrolments.iter().zip(&self.programs);
        let stay = |(enrolment, program)| Stay {
            enrolment,
            standing: standing(enrolment),
            mails: teller.mails(enrolment, program, &self.person, now),
        };
        let mut stays: Vec<Stay<'_>> = places.map(stay).collect();
        stays.sort_by_key(|stay| stay.enrolment.enrolled_at);
        stays
    }

    /// Her score at a moment; none where the funnel gives no points.
    pub(crate) fn score<'a>(&self, scoring: &'a Scoring, at: DateTime<Utc>) -> Option<Scored<'a>> {
        (!scoring.is_empty()).then(|| {
            let score = scoring.score(&self.person.known(scoring, None, at));
            Scored { band: scoring.band(score.total).map(|band| band.name.as_str()), score }
        })
    }
}

/// Whoever is only watched is not inside.
pub(crate) fn standing(enrolment: &Enrolment) -> &'static str {
    match enrolment.state {
        EnrolmentState::Active if enrolment.is_watching() => "watched",
        EnrolmentState::Active if enrolment.waiting => "waiting",
        EnrolmentState::Active => "active",
        EnrolmentState::Finished => "finished",
        EnrolmentState::Stopped => "stopped",
    }
}

/// A mail's own moments. The ledger does not know when a mail came back, so that is told where it
/// was sent; that it was called spam is a fact of its own.
fn mail_moments<'a>(mail: &'a Engagement, names: &'a Names) -> impl Iterator<Item = Moment<'a>> {
    // The ledger keeps mail to the team too, and names no mail there.
    let notice = names.notices.get(&mail.email_campaign_id).filter(|_| mail.mail.is_none());
    let (to_her, to_the_team) = match mail.state {
        EngagementState::Claimed => ("mail_claimed", "notice_claimed"),
        EngagementState::Sent | EngagementState::Complained => ("mail_sent", "notice_sent"),
        EngagementState::Unknown => ("mail_unknown", "notice_unknown"),
        EngagementState::Skipped => ("mail_skipped", "notice_skipped"),
        EngagementState::Bounced => ("mail_bounced", "notice_sent"),
    };
    let moments = [
        (
            Some(mail.sent_date.unwrap_or(mail.claimed_at)),
            if notice.is_some() { to_the_team } else { to_her },
        ),
        (mail.opened_at, "mail_opened"),
        (mail.clicked_at, "mail_clicked"),
    ];
    moments
        .into_iter()
        .filter_map(move |(at, what)| Some(Moment { at: at?, what, fact: None, mail: Some(mail), notice }))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use chrono_tz::Tz::Asia__Tokyo;
    use content::Locale;
    use domain::{
        consultation::{self, Outcome, Slot},
        customer::CustomerStatus,
        email_address::EmailAddress,
        engagement::MailClass,
        event::{Event, FactKind},
        id::Id,
        lead::{self, Consent, Lead, OptIn, Preferences, Stage},
        machine::{Evidence, Touch},
        score::{Band, BehaviourRule, Once},
        sequence::{Act, Anchor, Decision, Step, WATCH, When},
        text::{LongText, ShortText},
        trigger::Trigger,
    };

    use super::*;
    use crate::view::tests::funnel;

    pub(crate) fn id(text: &str) -> Id {
        Id::parse(text).unwrap()
    }

    pub(crate) fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    pub(crate) fn consultation(consultation_id: &str, start: &str) -> Consultation {
        let end = at(start) + chrono::TimeDelta::hours(1);
        let slot = Slot { start: at(start), end, until: end, host: id("michino") };
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
            mail: Some(id(step)),
            class: MailClass::Marketing,
            state,
            attempt: 1,
            claimed_at: at(sent),
            sent_date: (!not_sent).then(|| at(sent)),
            message_id: None,
            reason: None,
            delivered_at: None,
            soft_bounced_at: None,
            opened: false,
            opened_at: None,
            machine_opened: false,
            clicked: false,
            clicked_at: None,
            click_url: None,
            clicked_links: BTreeSet::new(),
            touches: vec![],
        }
    }

    pub(crate) fn enrolment(sequence: &str, state: EnrolmentState, why: &str) -> Enrolment {
        Enrolment {
            lead_id: id("l-1"),
            enrolment_id: sequence.into(),
            sequence: id(sequence),
            program: String::new(),
            subject: None,
            generation: 1,
            anchor: at("2026-11-20T01:00:00Z"),
            enrolled_at: at("2026-11-20T01:00:05Z"),
            entered_at: None,
            state,
            step: None,
            next_due: None,
            waiting: false,
            due_hour: None,
            enrolment_key: String::new(),
            why: why.into(),
            decisions: vec![],
            values: BTreeMap::new(),
        }
    }

    fn enrolments() -> Vec<Enrolment> {
        let decision =
            |step: &str, when: &str, why: &str| Decision { step: id(step), at: at(when), why: why.into() };
        vec![
            enrolment("nurture", EnrolmentState::Stopped, "customer_paid"),
            Enrolment {
                step: Some(id("day-3")),
                next_due: Some(at("2026-11-28T00:00:00Z")),
                decisions: vec![
                    decision("fit", "2026-11-20T02:00:00Z", "attribute.employees >= 100: yes"),
                    decision("offer", "2026-11-21T02:00:00Z", "drawn by lot: offer-b"),
                ],
                ..enrolment("onboarding", EnrolmentState::Active, "day-1 settled")
            },
            Enrolment {
                step: Some(id("opened")),
                next_due: Some(at("2026-11-29T00:00:00Z")),
                waiting: true,
                ..enrolment("offer", EnrolmentState::Active, "opened(\"offer\") is waited for")
            },
            Enrolment {
                step: Some(id(WATCH)),
                next_due: Some(at("2027-01-24T00:00:00Z")),
                ..enrolment("asleep", EnrolmentState::Active, "being watched")
            },
        ]
    }

    /// What the sequences in [`enrolments`] send, each mail an hour after the one before.
    fn programs() -> Vec<Program> {
        let program = |mails: &[&str]| {
            let steps = mails.iter().enumerate().map(|(at, mail)| Step {
                id: id(mail),
                when: When::After { minutes: 60 },
                act: Act::Send { mail: id(mail), calendar: false },
                next: mails.get(at + 1).map(|next| id(next)),
            });
            Program { version: String::new(), anchor: Anchor::Entry, windows: vec![], steps: steps.collect() }
        };
        let mails: [&[&str]; 4] =
            [&["welcome", "day-1", "day-2", "day-3", "day-4"], &["day-3", "day-5"], &["opened"], &["hello"]];
        mails.map(program).into()
    }

    /// What she did besides the first opt-in, each with its moment.
    fn facts() -> Vec<Event> {
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
        let told =
            Fact::Told { fact: id("ordered"), values: BTreeMap::from([("items".into(), "<水筒>".into())]) };
        vec![
            about("p-1", Fact::PageSeen { page: "pricing".into() }, "2026-11-20T02:00:00Z"),
            about("c-1", booked, "2026-11-20T03:00:00Z"),
            about(
                "s-1",
                Fact::ScoreCrossed { threshold: 50, rising: true, score: 55 },
                "2026-11-20T03:31:00Z",
            ),
            about("g-1", Fact::Tagged { tag: "<vip>".into() }, "2026-11-20T03:32:00Z"),
            about("m-1", Fact::StageChanged { stage: Stage::Mql }, "2026-11-20T03:33:00Z"),
            about("o-1", told, "2026-11-21T03:00:00Z"),
            about("f-1", Fact::PreferencesChanged {}, "2026-11-21T04:00:00Z"),
            about("a-1", applied, "2026-11-24T03:00:00Z"),
            about("u-1", paid, "2026-11-24T03:05:00Z"),
        ]
    }

    fn mails() -> Vec<Engagement> {
        vec![
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
                mail: None,
                class: MailClass::Transactional,
                ..mail("tell-sales", EngagementState::Sent, "2026-11-20T03:34:00Z")
            },
            Engagement {
                machine_opened: true,
                touches: vec![
                    Touch {
                        at: at("2026-11-20T22:00:02Z"),
                        link: None,
                        machine: true,
                        evidence: vec![Evidence::Agent("Barracuda".into()), Evidence::Early],
                    },
                    Touch {
                        at: at("2026-11-20T22:00:03Z"),
                        link: Some("https://example.com/pages/privacy".into()),
                        machine: true,
                        evidence: vec![Evidence::HiddenLink],
                    },
                ],
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
        ]
    }

    /// Points for opening mail and for a page.
    pub(crate) fn scoring() -> Scoring {
        let rule = |on: Trigger, name: &str, points| BehaviourRule {
            on,
            name: name.into(),
            points,
            at_most: None,
            once: Once::Always,
        };
        let band = |name: &str, from| Band { id: id(name), name: format!("<{name}>"), from };
        Scoring {
            behaviour: vec![
                rule(Trigger::Fact(FactKind::MailOpened), "mail_opened", 2),
                rule(Trigger::Page { page: id("pricing"), times: 1 }, "page pricing", 10),
            ],
            bands: vec![band("cold", 0), band("hot", 12)],
            ..Scoring::default()
        }
    }

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
            attributes: BTreeMap::from([("industry".to_owned(), "<IT>".to_owned())]),
            consent: Consent {
                given_at: at("2026-11-20T01:00:00Z"),
                text: "同意します。".into(),
                place: "POST /opt-in".into(),
                ip: Some("203.0.113.7".into()),
                confirmed_at: None,
                confirmed_ip: None,
            },
        };
        let opted_in = lead::opt_in(None, id("l-1"), form, at("2026-11-20T01:00:00Z"), Asia__Tokyo);
        let held = consultation::conclude(
            consultation("c-1", "2026-11-24T01:00:00Z"),
            true,
            Some(Outcome::Thinking),
            at("2026-11-24T02:10:00Z"),
            Asia__Tokyo,
        )
        .unwrap();
        let preferences = Preferences {
            topics_off: BTreeSet::from([id("news")]),
            per_week: Some(2),
            paused_until: Some(at("2026-12-01T00:00:00Z")),
        };
        let mut timeline = facts();
        timeline.extend([opted_in.event, held.event]);
        timeline.sort_by_key(|event| event.occurred_at);
        Story {
            programs: programs(),
            person: Person {
                lead: Lead { preferences, ..opted_in.lead },
                ledger: mails(),
                timeline,
                enrolments: enrolments(),
            },
            consultations: vec![held.consultation, consultation("c-2", "2026-11-25T01:00:00Z")],
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
        let (story, names) = (story(), Names::of(&funnel(Locale::Ja)));
        let told: Vec<String> = story
            .timeline(&names)
            .iter()
            .map(|moment| format!("{} {}", moment.at.format("%d %H:%M"), moment.what))
            .collect();
        assert_eq!(
            told,
            [
                "20 01:00 opted_in",
                "20 01:00 mail_sent",
                "20 02:00 page_seen",
                "20 03:00 consultation_booked",
                "20 03:30 mail_opened",
                "20 03:30 mail_clicked",
                "20 03:31 score_crossed",
                "20 03:32 tagged",
                "20 03:33 stage_changed",
                "20 03:34 notice_sent",
                "20 22:00 mail_sent",
                "21 03:00 told",
                "21 04:00 preferences_changed",
                "21 22:00 mail_skipped",
                "22 22:00 mail_bounced",
                "24 02:10 consultation_held",
                "24 03:00 application_submitted",
                "24 03:05 customer_paid",
            ]
        );
    }

    #[test]
    fn a_mail_is_told_once_whatever_its_state_and_mail_to_the_team_as_such() {
        use EngagementState as S;
        let names = Names::of(&funnel(Locale::Ja));
        for (state, to_her, to_the_team) in [
            (S::Claimed, "mail_claimed", "notice_claimed"),
            (S::Sent, "mail_sent", "notice_sent"),
            (S::Unknown, "mail_unknown", "notice_unknown"),
            (S::Skipped, "mail_skipped", "notice_skipped"),
            (S::Bounced, "mail_bounced", "notice_sent"),
            (S::Complained, "mail_sent", "notice_sent"),
        ] {
            let told = |step: &str, what: Option<Id>| {
                let mail = Engagement { mail: what, ..mail(step, state, "2026-11-20T22:00:00Z") };
                mail_moments(&mail, &names).map(|moment| moment.what).collect::<Vec<_>>()
            };
            assert_eq!(told("day-1", Some(id("day-1"))), [to_her]);
            assert_eq!(told("day-1", None), [to_her], "a mail that was not sent has no name");
            assert_eq!(told("tell-sales", None), [to_the_team]);
            assert_eq!(told("tell-sales", Some(id("day-1"))), [to_her], "a mail of an earlier version");
        }
    }

    #[test]
    fn who_is_watched_or_waits_is_told_from_who_goes_on() {
        let story = story();
        let teller = Teller::new(&funnel(Locale::En), Locale::En);
        let stays = story.stays(&teller, at("2026-11-25T00:00:00Z"));
        let told: Vec<_> =
            stays.iter().map(|stay| (stay.enrolment.sequence.to_string(), stay.standing)).collect();
        let expected =
            [("nurture", "stopped"), ("onboarding", "active"), ("offer", "waiting"), ("asleep", "watched")];
        assert_eq!(told, expected.map(|(sequence, standing)| (sequence.to_owned(), standing)));
        assert_eq!(standing(&enrolment("over", EnrolmentState::Finished, "day-7 settled")), "finished");
    }

    #[test]
    fn a_score_is_what_it_was_at_the_moment() {
        let (story, scoring) = (story(), scoring());
        for (when, total, band) in [
            ("2026-11-20T01:59:59Z", 0, "<cold>"),
            ("2026-11-20T02:00:00Z", 10, "<cold>"),
            ("2026-11-25T00:00:00Z", 12, "<hot>"),
        ] {
            let scored = story.score(&scoring, at(when)).unwrap();
            assert_eq!((scored.score.total, scored.band), (total, Some(band)), "{when}");
        }
        assert!(story.score(&Scoring::default(), at("2026-11-25T00:00:00Z")).is_none(), "no rules, no score");
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
