//! The send ledger: one row a mail and person, claimed before it is handed to SES.

use chrono::TimeDelta;
use cloud::tables::{Claimed, Note};
use domain::{
    engagement::{Engagement, EngagementState, MailClass},
    lead::{Lead, Mailing},
    machine::{Reader, Touch},
};

use crate::{
    engine::Engine,
    rows::{at, id, known_lead, mail, now, store_lead},
};

pub async fn a_send_is_claimed_once(engine: &Engine) {
    let tables = &engine.tables;
    store_lead(engine, "l-1", Mailing::Subscribed).await;
    for (attempt, expected) in [
        (2, Claimed::Taken), // there is no first one
        (1, Claimed::Yes),
        (1, Claimed::Taken),
        (2, Claimed::Yes),
        (2, Claimed::Taken),
        (1, Claimed::Taken),
    ] {
        let row = mail("l-1", "welcome", MailClass::Transactional, attempt);
        let lead = known_lead(engine, "l-1").await;
        assert_eq!(tables.claim(&row, &lead, None).await.unwrap(), expected, "attempt {attempt}");
    }
    let stored = tables.engagement(&id("l-1"), "nurture_739676_welcome").await.unwrap();
    assert_eq!(stored, Some(mail("l-1", "welcome", MailClass::Transactional, 2)));
}

pub async fn only_one_of_two_simultaneous_claims_wins(engine: &Engine) {
    store_lead(engine, "l-1", Mailing::Subscribed).await;
    for step in ["day-1", "day-2", "day-3", "day-4", "day-5"] {
        let row = mail("l-1", step, MailClass::Marketing, 1);
        let lead = known_lead(engine, "l-1").await;
        let (one, other) =
            tokio::join!(engine.tables.claim(&row, &lead, None), engine.tables.claim(&row, &lead, None));
        let answers = [one.unwrap(), other.unwrap()];
        assert!(
            matches!(answers, [Claimed::Yes, Claimed::Taken] | [Claimed::Taken, Claimed::Yes]),
            "{answers:?}"
        );
    }
}

pub async fn a_claim_holds_only_if_the_person_still_is_as_she_was_seen(engine: &Engine) {
    let tables = &engine.tables;
    store_lead(engine, "l-1", Mailing::Subscribed).await;
    let seen = known_lead(engine, "l-1").await;
    for (cap, step) in [(None, "day-1"), (Some(vec![now()]), "day-2")] {
        let row = mail("l-1", step, MailClass::Marketing, 1);
        let earlier = Lead { version: seen.version + 1, ..seen.clone() };
        assert_eq!(tables.claim(&row, &earlier, cap.clone()).await.unwrap(), Claimed::LeadChanged, "{step}");
        assert_eq!(tables.engagement(&row.lead_id, &row.engagement_id).await.unwrap(), None);
        assert_eq!(tables.claim(&row, &seen, cap).await.unwrap(), Claimed::Yes, "{step}");
    }
    // The claim under a cap counted the mail, so whoever saw her before has to look again.
    let counted = known_lead(engine, "l-1").await;
    assert_eq!((counted.recent_mails.as_slice(), counted.version), ([now()].as_slice(), seen.version + 1));
    let row = mail("l-1", "day-3", MailClass::Marketing, 1);
    assert_eq!(tables.claim(&row, &seen, None).await.unwrap(), Claimed::LeadChanged);
    let nobody = mail("l-9", "day-1", MailClass::Marketing, 1);
    let gone = known_lead(engine, "l-9").await;
    assert_eq!(tables.claim(&nobody, &gone, None).await.unwrap(), Claimed::LeadChanged, "erased");
}

pub async fn a_claim_that_is_taken_back_is_not_counted(engine: &Engine) {
    let tables = &engine.tables;
    store_lead(engine, "l-1", Mailing::Subscribed).await;
    let (earlier, row) = (now() - TimeDelta::days(1), mail("l-1", "day-1", MailClass::Marketing, 1));
    let lead = known_lead(engine, "l-1").await;
    assert_eq!(tables.claim(&row, &lead, Some(vec![earlier, now()])).await.unwrap(), Claimed::Yes);
    assert!(tables.release(&row, None).await.unwrap());
    assert_eq!(known_lead(engine, "l-1").await.recent_mails, [earlier]);
    assert!(!tables.release(&row, None).await.unwrap(), "it is gone");
}

pub async fn opens_and_clicks_are_written_over_what_was_known_and_nothing_else(engine: &Engine) {
    let row = claimed(engine).await;
    let person = Reader { user_agent: "Mozilla/5.0 (iPhone)", ip: None, said_by_ses: Some("Unlikely") };
    let click = |when: &str, page: &str| {
        Touch::click(at(when), &format!("https://example.com{page}"), page.to_owned(), person)
    };
    let first = row.touched(click("2027-03-01T02:00:00Z", "/a"));
    let tables = &engine.tables;
    assert!(tables.put_touches(&row, &first).await.unwrap());
    assert!(!tables.put_touches(&row, &first).await.unwrap(), "somebody else was faster");
    let burst = first.touched(click("2027-03-01T02:00:01Z", "/b"));
    assert!(tables.put_touches(&first, &burst).await.unwrap());
    assert!(!tables.put_touches(&first, &burst).await.unwrap(), "the row knows of more");
    assert!(!burst.clicked && burst.clicked_links.is_empty(), "it was taken back");
    let stored = tables.engagement(&row.lead_id, &row.engagement_id).await.unwrap();
    assert_eq!(stored, Some(burst));
    let nobody = mail("l-9", "welcome", MailClass::Marketing, 1);
    assert!(
        !tables.put_touches(&nobody, &nobody.touched(click("2027-03-01T02:00:00Z", "/a"))).await.unwrap()
    );
}

pub async fn a_send_that_is_skipped_is_not_claimed_any_more(engine: &Engine) {
    let tables = &engine.tables;
    store_lead(engine, "l-1", Mailing::Subscribed).await;
    let claimed = mail("l-1", "welcome", MailClass::Marketing, 1);
    let skipped = Engagement {
        state: EngagementState::Skipped,
        reason: Some("配信停止".to_owned()),
        ..claimed.clone()
    };
    assert!(tables.skip_send(&skipped).await.unwrap());
    assert!(!tables.skip_send(&skipped).await.unwrap(), "it is there already");
    let lead = known_lead(engine, "l-1").await;
    assert_eq!(tables.claim(&claimed, &lead, None).await.unwrap(), Claimed::Taken);
    let stored = tables.engagement(&claimed.lead_id, &claimed.engagement_id).await.unwrap();
    assert_eq!(stored, Some(skipped));
}

pub async fn the_ledger_learns_only_in_the_states_it_is_told_of(engine: &Engine) {
    let row = claimed(engine).await;
    for (state, only_in, expected) in [
        ("sent", ["claimed", "unknown"], true),
        ("unknown", ["claimed", "claimed"], false), // SES's event was faster than the lost answer
        ("bounced", ["sent", "unknown"], true),
        ("sent", ["claimed", "unknown"], false),
    ] {
        let note = Note::default().text("state", state).text("reason", state).only_in(&only_in);
        assert_eq!(noted(engine, &row, &note).await, expected, "{state} only in {only_in:?}");
    }
    let stored = engine.tables.engagement(&row.lead_id, &row.engagement_id).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.reason.as_deref()), (EngagementState::Bounced, Some("bounced")));
}

pub async fn the_ledger_never_forgets_what_came_first(engine: &Engine) {
    let row = claimed(engine).await;
    let (first, later) = (at("2027-03-01T02:00:00Z"), at("2027-03-02T02:00:00Z"));
    for (at, message_id, link) in
        [(first, "m-1", "https://example.com/a"), (later, "m-2", "https://example.com/b")]
    {
        let note = Note::default().text_once("message_id", message_id).at_once("opened_at", at);
        let note = note.at_once("clicked_at", at).text_once("click_url", link);
        assert!(noted(engine, &row, &note).await);
    }
    let stored = engine.tables.engagement(&row.lead_id, &row.engagement_id).await.unwrap();
    let expected = Engagement {
        message_id: Some("m-1".to_owned()),
        opened_at: Some(first),
        clicked_at: Some(first),
        click_url: Some("https://example.com/a".to_owned()),
        ..row
    };
    assert_eq!(stored, Some(expected));
}

pub async fn a_note_never_makes_a_row(engine: &Engine) {
    let row = mail("l-1", "welcome", MailClass::Marketing, 1);
    for note in
        [Note::default().text("reason", "x"), Note::default().text("state", "sent").only_in(&["claimed"])]
    {
        assert!(!noted(engine, &row, &note).await);
    }
    assert_eq!(engine.tables.engagement(&row.lead_id, &row.engagement_id).await.unwrap(), None);
}

pub async fn a_claim_is_taken_back_only_by_its_own_attempt_and_before_it_settles(engine: &Engine) {
    let tables = &engine.tables;
    let first = claimed(engine).await;
    let second = Engagement { attempt: 2, ..first.clone() };
    assert!(!tables.release(&second, None).await.unwrap(), "another attempt's claim");
    assert!(tables.release(&first, None).await.unwrap());
    assert!(!tables.release(&first, None).await.unwrap(), "it is gone");
    let lead = known_lead(engine, "l-1").await;
    assert_eq!(tables.claim(&first, &lead, None).await.unwrap(), Claimed::Yes, "and can be claimed again");
    assert!(noted(engine, &first, &Note::default().text("state", "sent").at_once("sent_date", now())).await);
    assert!(!tables.release(&first, None).await.unwrap(), "SES took it");
}

async fn claimed(engine: &Engine) -> Engagement {
    store_lead(engine, "l-1", Mailing::Subscribed).await;
    let row = mail("l-1", "welcome", MailClass::Marketing, 1);
    let lead = known_lead(engine, "l-1").await;
    assert_eq!(engine.tables.claim(&row, &lead, None).await.unwrap(), Claimed::Yes);
    row
}

async fn noted(engine: &Engine, row: &Engagement, note: &Note) -> bool {
    engine.tables.note(&row.lead_id, &row.engagement_id, note).await.unwrap()
}
