//! The send ledger: one row a person and mail, from the claim to the last click.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::{
    event::{Event, Fact},
    id::Id,
    limits::{CLAIM_SETTLES_SECONDS, SOFT_BOUNCE_DAYS, SOFT_BOUNCES, TOUCHES_KEPT},
    machine::{Touch, judge},
    time,
};

/// What a mail is for: decides who may get it and which queue it waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailClass {
    /// Needs consent, carries an unsubscribe link, never sent again after a doubt.
    Marketing,
    /// What the person herself asked for: confirmations, reminders, receipts.
    Transactional,
}

/// One row of Email_Engagement (seed 000, C8.2, database 2, and the ledger).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Engagement {
    pub lead_id: Id,
    /// Enrolment, generation and step: the same step of the same person is the same row.
    pub engagement_id: String,
    /// Sequence and step, `nurture/day-1`: what figures are grouped by.
    pub email_campaign_id: String,
    /// The mail; conditions speak of it whatever sequence sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail: Option<Id>,
    pub class: MailClass,
    pub state: EngagementState,
    /// How often sending was tried.
    pub attempt: u8,
    #[serde(with = "time::stored")]
    pub claimed_at: DateTime<Utc>,
    #[serde(with = "time::stored_option", default, skip_serializing_if = "Option::is_none")]
    pub sent_date: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Why it was not sent, or came back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(with = "time::stored_option", default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<DateTime<Utc>>,
    /// When it came back because of its mailbox, which may take the next one (a soft bounce).
    #[serde(with = "time::stored_option", default, skip_serializing_if = "Option::is_none")]
    pub soft_bounced_at: Option<DateTime<Utc>>,
    /// Opened by a person.
    pub opened: bool,
    #[serde(with = "time::stored_option", default, skip_serializing_if = "Option::is_none")]
    pub opened_at: Option<DateTime<Utc>>,
    /// Fetched by a machine (a mail client's proxy, a virus scanner).
    #[serde(default)]
    pub machine_opened: bool,
    /// A person followed a link.
    pub clicked: bool,
    #[serde(with = "time::stored_option", default, skip_serializing_if = "Option::is_none")]
    pub clicked_at: Option<DateTime<Utc>>,
    /// The first link that a person followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub click_url: Option<String>,
    /// All links that people followed, without their personal keys.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub clicked_links: BTreeSet<String>,
    /// The opens and clicks by people and machines from which the above follows, in order of time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub touches: Vec<Touch>,
}

impl Engagement {
    /// When a mail that came back was sent: nobody wrote down when it came back.
    pub fn bounced_at(&self) -> Option<DateTime<Utc>> {
        (self.state == EngagementState::Bounced).then_some(self.sent_date.unwrap_or(self.claimed_at))
    }

    /// The row with one more open or click; the same one, told again, changes nothing. What was
    /// counted as a person's is taken back where it now looks like a machine's.
    #[must_use]
    pub fn touched(&self, touch: Touch) -> Self {
        let mut row = self.clone();
        if row.verdict(&touch).is_none() {
            row.touches.push(touch);
        }
        judge(&mut row.touches, row.delivered_at);
        row.count_touches();
        while row.touches.len() > TOUCHES_KEPT
            && let Some(place) = row.spare_touch()
        {
            row.touches.remove(place);
        }
        row
    }

    /// The open or click as it was judged, if it is kept.
    pub fn verdict(&self, told: &Touch) -> Option<&Touch> {
        self.touches.iter().find(|touch| touch.is(told))
    }

    fn count_touches(&mut self) {
        let (machines, people): (Vec<&Touch>, Vec<&Touch>) =
            self.touches.iter().partition(|touch| touch.machine);
        // Rows forget machines' touches first.
        self.machine_opened |= machines.iter().any(|touch| touch.link.is_none());
        self.opened_at = people.iter().find(|touch| touch.link.is_none()).map(|touch| touch.at);
        self.opened = self.opened_at.is_some();
        let first = people.iter().find(|touch| touch.link.is_some());
        self.clicked_at = first.map(|touch| touch.at);
        self.click_url = first.and_then(|touch| touch.link.clone());
        self.clicked = first.is_some();
        self.clicked_links = people.iter().filter_map(|touch| touch.link.clone()).collect();
    }

    /// Where a touch stands that can be forgotten: one that is no fact of its own, a machine's first.
    fn spare_touch(&self) -> Option<usize> {
        let repeats = |(place, touch): (usize, &Touch)| {
            self.touches.iter().take(place).any(|earlier| touch.is_the_fact_of(earlier)).then_some(place)
        };
        let machines = || self.touches.iter().enumerate().filter(|(_, touch)| touch.machine);
        let repeated = machines().find_map(repeats);
        let repeated = repeated.or_else(|| self.touches.iter().enumerate().find_map(repeats));
        repeated.or_else(|| machines().map(|(place, _)| place).next())
    }
}

impl Engagement {
    /// The fact that a try to send has become: SES took the mail, or nobody knows. None for a
    /// mail to somebody of the team, and as long as nothing is settled.
    ///
    /// It is dated by the claim, so that everybody who learns of it tells the same fact.
    pub fn outcome(&self, zone: Tz) -> Option<Event> {
        self.mail.as_ref()?;
        let (engagement_id, email_campaign_id) = (self.engagement_id.clone(), self.email_campaign_id.clone());
        let fact = match self.state {
            EngagementState::Sent | EngagementState::Bounced | EngagementState::Complained => {
                Fact::MailSent { engagement_id, email_campaign_id }
            }
            EngagementState::Unknown => Fact::MailUnknown { engagement_id, email_campaign_id },
            EngagementState::Claimed | EngagementState::Skipped => return None,
        };
        let key = attempt_key(&self.lead_id, &self.engagement_id, self.attempt);
        Some(Event::about(&self.lead_id, &key, fact, self.claimed_at, zone))
    }

    /// The same try when nobody knows whether SES took the mail.
    #[must_use]
    pub fn in_doubt(&self) -> Self {
        let reason = self.reason.clone().unwrap_or_else(|| STOPPED_SENDER.to_owned());
        Self { state: EngagementState::Unknown, reason: Some(reason), ..self.clone() }
    }

    /// Whether its sender may still be at work.
    pub fn is_fresh(&self, now: DateTime<Utc>) -> bool {
        now < self.claimed_at + TimeDelta::seconds(CLAIM_SETTLES_SECONDS)
    }
}

/// Why a send is in doubt whose sender never came back.
pub const STOPPED_SENDER: &str = "its sender stopped before it heard from SES";

/// The key of a fact about one try to send.
pub fn attempt_key(lead_id: &Id, engagement_id: &str, attempt: u8) -> String {
    match attempt {
        1 => format!("{lead_id}.{engagement_id}"),
        later => format!("{lead_id}.{engagement_id}.{later}"),
    }
}

/// A link without the personal key that links to our own pages carry: the same for everybody.
pub fn impersonal(link: &str) -> &str {
    link.split_once("?t=").map_or(link, |(page, _)| page)
}

/// How far a send got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngagementState {
    /// About to be handed to SES.
    Claimed,
    /// SES took it.
    Sent,
    /// SES may or may not have taken it: the answer was lost.
    Unknown,
    /// Not sent, and won't be; `reason` says why.
    Skipped,
    /// It came back; `reason` says whether for good.
    Bounced,
    /// It was called spam.
    Complained,
}

/// What the ledger says about sending now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Claim this attempt, then send.
    Send { attempt: u8 },
    /// Nothing to send any more; go on with the sequence.
    Settled,
    /// Another copy of the work may be sending at this very moment: look again later.
    InFlight,
    /// An earlier try claimed and never settled. SES has no idempotency token, so it can't be
    /// asked; it is marked `unknown` and not sent again.
    GiveUp,
}

/// Decides from the ledger's row whether to send. A marketing mail is tried once; a transactional
/// one, which the person waits for, once more after an unknown outcome.
pub fn claim(row: Option<&Engagement>, class: MailClass, now: DateTime<Utc>) -> Claim {
    let Some(row) = row else { return Claim::Send { attempt: 1 } };
    match (row.state, class, row.attempt) {
        (EngagementState::Claimed, _, _) if row.is_fresh(now) => Claim::InFlight,
        // SES's own word on the first try may be on its way.
        (EngagementState::Unknown, MailClass::Transactional, 1) if row.is_fresh(now) => Claim::InFlight,
        (EngagementState::Claimed | EngagementState::Unknown, MailClass::Transactional, 1) => {
            Claim::Send { attempt: 2 }
        }
        (EngagementState::Claimed, _, _) => Claim::GiveUp,
        (
            EngagementState::Sent
            | EngagementState::Unknown
            | EngagementState::Skipped
            | EngagementState::Bounced
            | EngagementState::Complained,
            _,
            _,
        ) => Claim::Settled,
    }
}

/// Whether an address takes no mail any more, though no server said so outright: [`SOFT_BOUNCES`] of
/// its mails came back within [`SOFT_BOUNCE_DAYS`], and nothing was delivered between. What happened
/// before `since`, when somebody opened the address again, does not count.
pub fn takes_no_mail(ledger: &[Engagement], since: Option<DateTime<Utc>>) -> bool {
    let came_back: Vec<_> = ledger.iter().filter_map(|row| row.soft_bounced_at).collect();
    let Some(last) = came_back.iter().max() else { return false };
    let arrived = ledger.iter().filter(|row| row.soft_bounced_at.is_none());
    let delivered = arrived.filter_map(|row| row.delivered_at);
    let month_ago = *last - TimeDelta::days(SOFT_BOUNCE_DAYS);
    let from = delivered.chain(since).fold(month_ago, DateTime::max);
    came_back.iter().filter(|at| **at > from).count() >= SOFT_BOUNCES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{HIDDEN_LINK, Reader};

    fn row(state: EngagementState, attempt: u8) -> Engagement {
        Engagement {
            lead_id: Id::parse("l-1").unwrap(),
            engagement_id: "nurture_1_day-1".into(),
            email_campaign_id: "nurture/day-1".into(),
            mail: None,
            class: MailClass::Marketing,
            state,
            attempt,
            claimed_at: "2026-11-22T00:00:00Z".parse().unwrap(),
            sent_date: None,
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

    #[test]
    fn a_doubtful_send_is_repeated_only_when_somebody_waits_for_it_and_only_once() {
        use EngagementState as S;
        use MailClass::{Marketing, Transactional};
        let late = "2026-11-22T01:00:00Z".parse().unwrap();
        for (state, attempt, class, expected) in [
            (S::Claimed, 1, Marketing, Claim::GiveUp),
            (S::Claimed, 1, Transactional, Claim::Send { attempt: 2 }),
            (S::Claimed, 2, Transactional, Claim::GiveUp),
            (S::Unknown, 1, Marketing, Claim::Settled),
            (S::Unknown, 1, Transactional, Claim::Send { attempt: 2 }),
            (S::Unknown, 2, Transactional, Claim::Settled),
            (S::Sent, 1, Transactional, Claim::Settled),
            (S::Skipped, 1, Transactional, Claim::Settled),
            (S::Bounced, 1, Transactional, Claim::Settled),
        ] {
            assert_eq!(
                claim(Some(&row(state, attempt)), class, late),
                expected,
                "{state:?} {attempt} {class:?}"
            );
        }
        assert_eq!(claim(None, Marketing, late), Claim::Send { attempt: 1 });
    }

    #[test]
    fn opens_and_clicks_of_people_alone_are_the_rows_and_a_machines_visit_is_taken_back() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let reader = Reader { user_agent: "Mozilla/5.0 (iPhone)", ip: None, said_by_ses: Some("Unlikely") };
        let click = |when: &str, page: &str| {
            Touch::click(at(when), &format!("https://example.com{page}"), page.to_owned(), reader)
        };
        let row =
            Engagement { delivered_at: Some(at("2026-11-22T00:00:00Z")), ..row(EngagementState::Sent, 1) };
        let opened = row.touched(Touch::open(at("2026-11-22T02:00:00Z"), reader));
        assert!(opened.opened && !opened.clicked && !opened.machine_opened);
        let first = opened.touched(click("2026-11-22T03:00:00Z", "/a"));
        assert_eq!(
            (first.clicked, first.click_url.as_deref(), first.clicked_at),
            (true, Some("/a"), Some(at("2026-11-22T03:00:00Z")))
        );
        let burst = first.touched(click("2026-11-22T03:00:01Z", HIDDEN_LINK));
        assert_eq!((burst.opened, burst.clicked, burst.clicked_links.len()), (true, false, 0));
        assert_eq!((burst.click_url.as_deref(), burst.clicked_at), (None, None));
        let person = burst.touched(click("2026-11-22T09:00:00Z", "/b"));
        assert_eq!((person.clicked, person.click_url.as_deref()), (true, Some("/b")));
        assert_eq!(person.touched(click("2026-11-22T09:00:00Z", "/b")), person, "told twice");
    }

    #[test]
    fn a_row_keeps_a_bounded_number_of_touches_and_what_people_did_first_among_them() {
        let at =
            |seconds| "2026-11-22T02:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::seconds(seconds);
        let person = Reader { user_agent: "Mozilla/5.0 (iPhone)", ip: None, said_by_ses: Some("Unlikely") };
        let machine = Reader { user_agent: "curl/8.4.0", ..Reader::default() };
        let mut known = row(EngagementState::Sent, 1).touched(Touch::open(at(0), person));
        for n in 0..60 {
            let reader = if n % 2 == 0 { machine } else { person };
            known = known.touched(Touch::open(at(60 + n), reader));
        }
        assert_eq!(known.touches.len(), TOUCHES_KEPT);
        assert_eq!((known.opened, known.opened_at, known.machine_opened), (true, Some(at(0)), true));
    }

    #[test]
    fn a_claim_that_was_just_made_is_left_to_its_maker() {
        let row = row(EngagementState::Claimed, 1);
        let now = row.claimed_at + TimeDelta::seconds(CLAIM_SETTLES_SECONDS - 1);
        for class in [MailClass::Marketing, MailClass::Transactional] {
            assert_eq!(claim(Some(&row), class, now), Claim::InFlight);
        }
        let doubtful = Engagement { state: EngagementState::Unknown, ..row };
        assert_eq!(claim(Some(&doubtful), MailClass::Transactional, now), Claim::InFlight);
        assert_eq!(claim(Some(&doubtful), MailClass::Marketing, now), Claim::Settled);
    }

    #[test]
    fn an_address_takes_no_mail_after_three_soft_bounces_within_a_month_with_no_delivery_between() {
        let at = |text: &str| -> DateTime<Utc> { format!("2026-{text}T00:00:00Z").parse().unwrap() };
        let mail = |(came_back, delivered): &(&str, &str)| Engagement {
            soft_bounced_at: (!came_back.is_empty()).then(|| at(came_back)),
            delivered_at: (!delivered.is_empty()).then(|| at(delivered)),
            ..row(EngagementState::Sent, 1)
        };
        for (what, mails, since, expected) in [
            ("three", vec![("11-01", ""), ("11-02", ""), ("11-20", "")], None, true),
            ("none", vec![("", "11-01"), ("", "")], None, false),
            ("two", vec![("11-01", ""), ("11-20", "")], None, false),
            ("one is too old", vec![("10-20", ""), ("11-02", ""), ("11-20", "")], None, false),
            (
                "one arrived between",
                vec![("11-01", ""), ("11-02", ""), ("", "11-10"), ("11-20", "")],
                None,
                false,
            ),
            (
                "one arrived before",
                vec![("", "10-31"), ("11-01", ""), ("11-02", ""), ("11-20", "")],
                None,
                true,
            ),
            (
                "its server took one and sent it back",
                vec![("11-01", ""), ("11-02", ""), ("11-20", "11-19")],
                None,
                true,
            ),
            ("opened again between", vec![("11-01", ""), ("11-02", ""), ("11-20", "")], Some("11-01"), false),
        ] {
            let ledger: Vec<_> = mails.iter().map(mail).collect();
            assert_eq!(takes_no_mail(&ledger, since.map(at)), expected, "{what}");
        }
    }
}
