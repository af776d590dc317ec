//! The send ledger: one row a person and mail, from the claim to the last click.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    id::Id,
    limits::{CLAIM_SETTLES_SECONDS, TOUCHES_KEPT},
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
    /// When a mail that came back for good was sent: nobody wrote down when it came back.
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

    /// Where a touch stands that can be forgotten: a machine's, or one that a person repeated.
    fn spare_touch(&self) -> Option<usize> {
        let repeats = |place: usize, touch: &Touch| {
            self.touches.iter().take(place).any(|earlier| earlier.link == touch.link)
        };
        let place = |spare: &dyn Fn(usize, &Touch) -> bool| {
            self.touches.iter().enumerate().position(|(place, touch)| spare(place, touch))
        };
        place(&|_, touch| touch.machine).or_else(|| place(&repeats))
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
    /// It came back for good or was called spam.
    Bounced,
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
    let fresh = now < row.claimed_at + TimeDelta::seconds(CLAIM_SETTLES_SECONDS);
    match (row.state, class, row.attempt) {
        (EngagementState::Claimed, _, _) if fresh => Claim::InFlight,
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
    }
}
