//! What people choose: topics, frequency, a pause, the way out and back; and double opt-in.

use chrono::TimeDelta;
use domain::lead::Mailing;
use serde_json::json;
use web::link::Purpose;

use crate::{draft::Draft, world::World};

const HANAKO: &str = "hanako@example.com";

/// A mail of the topic `news` and one without a topic, every day.
fn two_a_day() -> Draft {
    let steps: Vec<String> = (1..=4)
        .map(|day| format!("[[steps]]\nid = \"news-{day}\"\nsend = \"news\"\nwhen = \"+{day}d 08:00\"\n\n[[steps]]\nid = \"plain-{day}\"\nsend = \"plain\"\nwhen = \"+{day}d 09:00\"\n"))
        .collect();
    let text = format!("entry = [\"opted_in\"]\n\n{}", steps.join("\n"));
    Draft::new()
        .mail("news", "topics = [\"news\"]", "お知らせです。\n")
        .mail("plain", "", "こんにちは。\n")
        .sequence("daily", &text)
}

async fn choose(world: &World, lead_id: &domain::id::Id, form: &str) -> crate::world::Answer {
    let token = world.token(Purpose::Preferences, lead_id);
    let headers = [("content-type", "application/x-www-form-urlencoded"), ("accept", "text/html")];
    world.send("POST", "/preferences", &headers, format!("t={token}&{form}")).await
}

#[tokio::test]
async fn a_topic_that_is_not_wanted_is_left_out_and_the_rest_comes() {
    let world = World::with(&two_a_day()).await;
    let lead_id = world.opt_in_with(HANAKO, json!({})).await;
    let page = choose(&world, &lead_id, "frequency=all&pause=none").await;
    assert_eq!(page.status, 200, "{page:?}");
    world.pass(TimeDelta::days(5)).await;
    assert_eq!(
        world.way_of(HANAKO),
        [
            "03-02 09:00 daily/plain-1",
            "03-03 09:00 daily/plain-2",
            "03-04 09:00 daily/plain-3",
            "03-05 09:00 daily/plain-4"
        ]
    );
    assert_eq!(world.not_sent(&lead_id).await[0], "daily/news-1: the person does not want this topic");
}

#[tokio::test]
async fn weekly_means_one_marketing_mail_a_week_and_none_is_lost() {
    let world = World::with(&two_a_day()).await;
    let lead_id = world.opt_in_with(HANAKO, json!({})).await;
    choose(&world, &lead_id, "topic_news=on&frequency=weekly&pause=none").await;
    world.pass(TimeDelta::days(70)).await;
    let mails = world.mails_to(HANAKO);
    assert_eq!(mails.len(), 8, "{:?}", world.way_of(HANAKO));
    assert!(mails.windows(2).all(|pair| pair[1].sent_at - pair[0].sent_at >= TimeDelta::days(7)));
}

#[tokio::test]
async fn weekly_counts_the_mails_that_came_before_it_was_chosen_too() {
    for cap in ["", "cap = { mails = 5, days = 1 }"] {
        let world = World::with(&two_a_day().config(&format!("[sending]\n{cap}"))).await;
        let lead_id = world.opt_in_with(HANAKO, json!({})).await;
        world.until("2027-03-03T01:00:00Z").await;
        assert_eq!(world.mails_to(HANAKO).len(), 4);
        choose(&world, &lead_id, "topic_news=on&frequency=weekly&pause=none").await;
        world.pass(TimeDelta::days(70)).await;
        let mails = world.mails_to(HANAKO);
        assert_eq!(mails.len(), 8, "{:?}", world.way_of(HANAKO));
        assert!(mails[3..].windows(2).all(|pair| pair[1].sent_at - pair[0].sent_at >= TimeDelta::days(7)));
    }
}

#[tokio::test]
async fn a_topic_that_is_not_wanted_stays_so_while_the_funnel_is_without_it() {
    let summer = || {
        two_a_day().replace("funnel.toml", "id = \"news\"", "id = \"summer\"").replace(
            "mails/news.md",
            "\"news\"",
            "\"summer\"",
        )
    };
    let world = World::with(&two_a_day()).await;
    let lead_id = world.opt_in_with(HANAKO, json!({})).await;
    choose(&world, &lead_id, "frequency=all&pause=none").await;
    world.deploy(&summer()).await;
    choose(&world, &lead_id, "topic_summer=on&frequency=all&pause=1").await;
    let off = world.lead(&lead_id).await.preferences.topics_off;
    assert_eq!(off.iter().map(|topic| topic.as_str()).collect::<Vec<_>>(), ["news"]);
    world.deploy(&two_a_day()).await;
    world.pass(TimeDelta::days(10)).await;
    assert!(world.mails_to(HANAKO).iter().all(|mail| mail.tags["step"].starts_with("plain")));
    choose(&world, &lead_id, "topic_news=on&frequency=all&pause=none").await;
    assert!(world.lead(&lead_id).await.preferences.topics_off.is_empty());
}

#[tokio::test]
async fn who_asks_for_the_question_again_gets_it_again() {
    let draft = Draft::new().double_opt_in("");
    let world = World::with(&draft).await;
    for asked in 1..=3 {
        world.opt_in_with(HANAKO, json!({})).await;
        assert_eq!(world.mails_to(HANAKO).len(), asked);
        world.pass(TimeDelta::days(2)).await;
    }
}

#[tokio::test]
async fn a_pause_puts_everything_off_and_then_it_goes_on_where_it_stood() {
    let world = World::with(&two_a_day()).await;
    let lead_id = world.opt_in_with(HANAKO, json!({})).await;
    choose(&world, &lead_id, "topic_news=on&frequency=all&pause=30").await;
    world.pass(TimeDelta::days(29)).await;
    assert!(world.mails_to(HANAKO).is_empty());
    world.pass(TimeDelta::days(10)).await;
    assert_eq!(world.mails_to(HANAKO).len(), 8, "{:?}", world.way_of(HANAKO));
    let first = world.mails_to(HANAKO)[0].sent_at;
    let last = world.mails_to(HANAKO)[7].sent_at;
    assert!(last - first >= TimeDelta::days(2), "they don't come all at once");
}

#[tokio::test]
async fn the_page_shows_what_was_chosen_and_refuses_nonsense() {
    let world = World::with(&two_a_day()).await;
    let lead_id = world.opt_in_with(HANAKO, json!({})).await;
    let token = world.token(Purpose::Preferences, &lead_id);
    let shown = world.get(&format!("/preferences?t={token}")).await;
    assert!(
        shown.status == 200 && shown.text.contains("topic_news") && shown.text.contains("method=\"post\""),
        "{shown:?}"
    );
    let before = world.lead(&lead_id).await;
    assert_eq!(before.version, 1, "looking changes nothing");
    choose(&world, &lead_id, "frequency=weekly&pause=7").await;
    let lead = world.lead(&lead_id).await;
    assert_eq!(lead.preferences.per_week, Some(1));
    assert_eq!(lead.preferences.topics_off.len(), 1);
    assert!(lead.preferences.paused_until.is_some());
    for form in ["frequency=hourly", "pause=forever", "pause=9999"] {
        let answer = choose(&world, &lead_id, form).await;
        assert_eq!(answer.status, 422, "{form}");
    }
    let forged = world.get("/preferences?t=k1.l-1.0.xxx").await;
    assert_eq!(forged.status, 403);
}

#[tokio::test]
async fn who_left_comes_back_with_a_new_consent_only() {
    let world = World::with(&two_a_day()).await;
    let lead_id = world.opt_in_with(HANAKO, json!({})).await;
    let token = world.token(Purpose::Unsubscribe, &lead_id);
    world.post(&format!("/unsubscribe?t={token}"), &json!({})).await;
    world.pass(TimeDelta::hours(1)).await;
    choose(&world, &lead_id, "topic_news=on&frequency=all&pause=none").await;
    assert_eq!(world.lead(&lead_id).await.mailing, Mailing::Unsubscribed, "choosing is no consent");
    choose(&world, &lead_id, "topic_news=on&frequency=all&pause=none&subscribe=true").await;
    let lead = world.lead(&lead_id).await;
    assert_eq!(lead.mailing, Mailing::Subscribed);
    assert_eq!((lead.consent.place.as_str(), lead.consent.given_at), ("POST /preferences", world.now()));
}

#[tokio::test]
async fn with_double_opt_in_only_the_question_comes_before_the_answer() {
    let draft = Draft::new()
        .double_opt_in("again = true")
        .transactional(
            "receipt",
            "entry = [\"opt_in_requested\"]\n\n[[steps]]\nid = \"other\"\nsend = \"other\"\n",
        )
        .sequence("welcome", "entry = [\"opted_in\"]\n\n[[steps]]\nid = \"hello\"\nsend = \"hello\"\n");
    let world = World::with(&draft).await;
    let lead_id = world.opt_in_with(HANAKO, json!({})).await;
    assert_eq!(world.lead(&lead_id).await.mailing, Mailing::Pending);
    assert_eq!(world.figures("2027-03-01").await["opt_ins"], 0, "nobody has opted in yet");
    // The same form again that day asks once.
    world.opt_in_with(HANAKO, json!({})).await;
    let link =
        world.mails_to(HANAKO)[0].links.iter().find(|link| link.href.contains("/confirm?")).unwrap().clone();
    assert!(!link.tracked, "a scanner that follows it must not look like a person");
    let shown = world.get(&link.href).await;
    assert!(shown.status == 200 && shown.text.contains("method=\"post\""));
    assert_eq!(world.lead(&lead_id).await.mailing, Mailing::Pending, "GET changes nothing");
    world.pass(TimeDelta::hours(1)).await;
    for _ in 0..2 {
        let done = world.send("POST", &link.href, &[("accept", "text/html")], "").await;
        assert_eq!(done.status, 200, "{done:?}");
    }
    let lead = world.lead(&lead_id).await;
    assert_eq!(lead.mailing, Mailing::Subscribed);
    assert_eq!(lead.consent.confirmed_at, Some(world.now()));
    assert_eq!(world.way_of(HANAKO).last().unwrap(), "03-01 11:00 welcome/hello");
    assert_eq!(world.figures("2027-03-01").await["opt_ins"], 1);
}

#[tokio::test]
async fn a_pause_that_is_taken_back_ends_within_a_day() {
    let world = World::with(&two_a_day()).await;
    let lead_id = world.opt_in_with(HANAKO, json!({})).await;
    choose(&world, &lead_id, "topic_news=on&frequency=all&pause=90").await;
    world.pass(TimeDelta::days(5)).await;
    assert!(world.mails_to(HANAKO).is_empty());
    choose(&world, &lead_id, "topic_news=on&frequency=all&pause=none").await;
    world.pass(TimeDelta::days(1)).await;
    assert!(!world.mails_to(HANAKO).is_empty());
}

#[tokio::test]
async fn who_says_no_to_the_question_hears_nothing_more_and_who_left_can_come_back_the_same_day() {
    let draft = Draft::new().double_opt_in("again = true").transactional(
        "receipt",
        "entry = [{ fact = \"ordered\" }]\n\n[[steps]]\nid = \"one\"\nsend = \"receipt\"\n",
    );
    let world = World::with(&draft).await;
    let leave = async |id: &domain::id::Id| {
        let t = world.token(Purpose::Unsubscribe, id);
        world.post(&format!("/unsubscribe?t={t}"), &json!({})).await;
        world.pass(TimeDelta::minutes(5)).await;
    };
    let stranger = world.opt_in_with("taro@example.com", json!({})).await;
    let facts = world.tell("ordered", "taro@example.com", "k", json!({})).await;
    assert_eq!(facts.status, 404, "an address that nobody confirmed is nobody's");
    leave(&stranger).await;
    world.opt_in_with("taro@example.com", json!({})).await;
    world.pass(TimeDelta::days(2)).await;
    world.opt_in_with("taro@example.com", json!({})).await;
    assert_eq!(world.mails_to("taro@example.com").len(), 1);

    let hanako = world.opt_in_with(HANAKO, json!({})).await;
    let confirm = async || {
        let mail = world.mails_to(HANAKO).pop().unwrap();
        let link = mail.links.iter().find(|link| link.href.contains("/confirm?")).unwrap().href.clone();
        world.send("POST", &link, &[("accept", "text/html")], "").await
    };
    confirm().await;
    world.pass(TimeDelta::minutes(5)).await;
    leave(&hanako).await;
    world.opt_in_with(HANAKO, json!({})).await;
    assert_eq!(world.mails_to(HANAKO).len(), 2, "asked again");
    let back = confirm().await;
    assert_eq!((back.status, world.lead(&hanako).await.mailing), (200, Mailing::Subscribed), "{back:?}");
}
