//! Windows, the cap, priority: when mail may go out, and that none of it is lost by waiting.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{TimeDelta, Timelike};
use michi::aws::mail::Mail;
use serde_json::json;
use web::link::Purpose;

use crate::{draft::Draft, world::World};

const HANAKO: &str = "hanako@example.com";

fn daily(entry: &str, more: &str, count: usize) -> String {
    let steps = (1..=count).map(|day| {
        format!("[[steps]]\nid = \"day-{day}\"\nsend = \"mail-{day}\"\nwhen = \"+{day}d 07:00\"\n")
    });
    format!("entry = [{entry}]\n{more}\n\n{}", steps.collect::<Vec<_>>().join("\n"))
}

#[tokio::test]
async fn quiet_hours_put_marketing_off_till_morning_and_leave_the_rest_alone() {
    let at_once =
        |mail: &str| format!("entry = [\"opted_in\"]\n\n[[steps]]\nid = \"one\"\nsend = \"{mail}\"\n");
    let draft = Draft::new()
        .config("[sending]\nquiet_hours = \"21:00-08:00\"")
        .sequence("news", &at_once("news"))
        .transactional("receipt", &at_once("receipt"));
    let world = World::with(&draft).await;
    world.until("2027-03-01T13:30:00Z").await;
    let lead_id = world.opt_in_with(HANAKO, json!({})).await;
    // 22:30 in Tokyo, 14:30 in Berlin.
    world.opt_in_with("karl@example.com", json!({"time_zone": "Europe/Berlin"})).await;
    assert_eq!(world.way_of(HANAKO), ["03-01 22:30 receipt/one"]);
    assert_eq!(world.mails_to("karl@example.com").len(), 2);
    assert!(world.stands(&lead_id, "news").await.starts_with("Active at one"));
    world.pass(TimeDelta::days(1)).await;
    assert_eq!(world.way_of(HANAKO)[1..], ["03-02 08:00 news/one"]);
}

#[tokio::test]
async fn hours_that_are_edited_hold_for_people_who_are_inside_already_and_leave_nobody_behind() {
    let draft = |clock: &str, hours: &str| {
        let days = daily("\"opted_in\"", "", 2).replace("07:00", clock);
        Draft::new().config(&format!("[sending]\n{hours}")).sequence("news", &days)
    };
    for (clock, before, after, expected) in [
        ("07:00", "", "quiet_hours = \"21:00-08:00\"", ["03-02 08:00", "03-03 08:00"]),
        // Her step's own clock is never open any more.
        ("20:00", "", "quiet_hours = \"19:00-08:00\"", ["03-03 08:00", "03-05 08:00"]),
        // Old and new hours have nothing in common.
        (
            "20:00",
            "quiet_hours = \"09:00-18:00\"",
            "quiet_hours = \"18:00-09:00\"",
            ["03-03 09:00", "03-05 09:00"],
        ),
    ] {
        let world = World::with(&draft(clock, before)).await;
        world.opt_in_with(HANAKO, json!({})).await;
        world.deploy(&draft(clock, after)).await;
        world.pass(TimeDelta::days(7)).await;
        let way: Vec<String> = world.way_of(HANAKO).iter().map(|mail| mail[..11].to_owned()).collect();
        assert_eq!(way, expected, "{clock}: {before} becomes {after}");
    }
}

#[tokio::test]
async fn a_sequences_own_hours_and_weekdays_move_what_follows_too() {
    let more = "weekdays = [\"monday\", \"tuesday\", \"wednesday\", \"thursday\", \"friday\"]\nhours = \"07:30-20:00\"";
    let world = World::with(&Draft::new().sequence("week", &daily("\"opted_in\"", more, 7))).await;
    // Thursday.
    world.until("2027-03-04T01:00:00Z").await;
    world.opt_in_with(HANAKO, json!({})).await;
    world.pass(TimeDelta::days(14)).await;
    // Friday, then Monday to Friday, then Monday: a weekend is skipped as a whole, and no two
    // mails fall on one day.
    let expected = ["05", "08", "09", "10", "11", "12", "15"];
    let way = expected.iter().enumerate().map(|(n, day)| format!("03-{day} 07:30 week/day-{}", n + 1));
    assert_eq!(world.way_of(HANAKO), way.collect::<Vec<_>>());
}

#[tokio::test]
async fn the_cap_holds_over_all_sequences_and_nothing_is_lost() {
    let draft = Draft::new()
        .config("[sending]\ncap = { mails = 2, days = 7 }")
        .sequence("one", &daily("\"opted_in\"", "", 2))
        .sequence("two", &daily("\"opted_in\"", "", 3))
        .transactional(
            "receipts",
            "entry = [{ fact = \"ordered\" }]\n\n[[steps]]\nid = \"thanks\"\nsend = \"receipt\"\n",
        );
    let world = World::with(&draft).await;
    world.opt_in_with(HANAKO, json!({})).await;
    world.until("2027-03-03T00:00:00Z").await;
    world.tell("ordered", HANAKO, "k", json!({})).await;
    world.pass(TimeDelta::days(40)).await;
    let mails = world.mails_to(HANAKO);
    assert_eq!(mails.len(), 6, "{:?}", world.way_of(HANAKO));
    assert!(world.way_of(HANAKO).contains(&"03-03 09:00 receipts/thanks".to_owned()), "never capped");
    let mut times: Vec<_> =
        mails.iter().filter(|mail| mail.tags["sequence"] != "receipts").map(|mail| mail.sent_at).collect();
    times.sort();
    for three in times.windows(3) {
        assert!(three[2] - three[0] >= TimeDelta::days(7), "{:?}", world.way_of(HANAKO));
    }
}

#[tokio::test]
async fn a_sequence_with_priority_holds_the_others_marketing_while_it_lasts() {
    let cart = "entry = [{ fact = \"cart-updated\" }]\npriority = 10\n\n[[steps]]\nid = \"hour\"\nsend = \"cart-1\"\nwhen = \"1h\"\n\n[[steps]]\nid = \"day\"\nsend = \"cart-2\"\nwhen = \"2d\"\n";
    let draft = Draft::new().sequence("news", &daily("\"opted_in\"", "", 4)).sequence("cart", cart);
    let world = World::with(&draft).await;
    let lead_id = world.opt_in_with(HANAKO, json!({})).await;
    world.until("2027-03-02T01:00:00Z").await;
    world.tell("cart-updated", HANAKO, "k", json!({})).await;
    world.until("2027-03-03T00:00:00Z").await;
    assert_eq!(world.stands(&lead_id, "news").await, "Active at day-2: cart has priority");
    world.pass(TimeDelta::days(14)).await;
    assert_eq!(
        world.way_of(HANAKO),
        [
            "03-02 07:00 news/day-1",
            "03-02 11:00 cart/hour",
            "03-04 11:00 cart/day",
            // Held on the 3rd and 4th; the days after it move along.
            "03-05 07:00 news/day-2",
            "03-06 07:00 news/day-3",
            "03-07 07:00 news/day-4",
        ]
    );
}

/// `MICHI_CROWD` people, or as many as an everyday run has the patience for.
fn crowd() -> usize {
    std::env::var("MICHI_CROWD").map_or(40, |people| people.parse().unwrap())
}

/// What person `n` chooses on the preference page.
fn choice(n: usize) -> Option<&'static str> {
    match n % 5 {
        1 => Some("topic_news=on&frequency=all&pause=7"),
        2 => Some("frequency=all&pause=none"),
        _ => None,
    }
}

#[tokio::test]
async fn a_crowd_with_caps_quiet_hours_pauses_and_topics_gets_all_it_wants_while_a_sequence_is_edited() {
    let draft = |days| {
        Draft::new()
            .config("[sending]\nquiet_hours = \"20:00-09:00\"\ncap = { mails = 2, days = 3 }")
            .mail("news", "topics = [\"news\"]", "お知らせです。\n")
            .sequence("one", &daily("\"opted_in\"", "", days))
            .sequence("two", "entry = [\"opted_in\"]\n\n[[steps]]\nid = \"hello\"\nsend = \"news\"\n\n[[steps]]\nid = \"later\"\nsend = \"later\"\nwhen = \"2d\"\n")
    };
    let world = World::with(&draft(3)).await;
    let zones = ["Asia/Tokyo", "Europe/Berlin", "America/Los_Angeles", "Pacific/Chatham"];
    let mut entered = vec![];
    for n in 0..crowd() {
        if n == crowd() / 2 {
            world.deploy(&draft(4)).await;
        }
        let email = format!("p{n}@example.com");
        let lead_id = world.opt_in_with(&email, json!({"time_zone": zones[n % 4]})).await;
        entered.push(world.now());
        if let Some(choice) = choice(n) {
            let t = world.token(Purpose::Preferences, &lead_id);
            let headers = [("content-type", "application/x-www-form-urlencoded")];
            world.send("POST", "/preferences", &headers, format!("t={t}&{choice}")).await;
        }
        world.pass(TimeDelta::minutes(37)).await;
    }
    world.pass(TimeDelta::days(40)).await;
    let mut mails: BTreeMap<String, Vec<Arc<Mail>>> = BTreeMap::new();
    for mail in world.cloud.mails() {
        mails.entry(mail.to[0].clone()).or_default().push(mail);
    }
    for (n, entered) in entered.into_iter().enumerate() {
        let (email, zone) = (format!("p{n}@example.com"), zones[n % 4].parse::<chrono_tz::Tz>().unwrap());
        let mut times: Vec<_> = mails[&email].iter().map(|mail| (mail.sent_at, &mail.tags["step"])).collect();
        times.sort();
        let days = if n < crowd() / 2 { 3 } else { 4 };
        // Who entered while it was open, before she chose, got the first piece of news.
        let greeted = times.iter().any(|(at, step)| *step == "hello" && *at == entered);
        let news = usize::from(n % 5 != 2 || greeted);
        assert_eq!(times.len(), days + 1 + news, "p{n}: {times:?}");
        for (at, step) in &times {
            let hour = at.with_timezone(&zone).hour();
            assert!((9..20).contains(&hour), "p{n} got {step} at {hour} h in {zone}");
            let paused = n % 5 == 1 && *at > entered && *at < entered + TimeDelta::days(7);
            assert!(!paused, "p{n} got {step} in her pause");
        }
        for three in times.windows(3) {
            assert!(three[2].0 - three[0].0 >= TimeDelta::days(3), "p{n}: {times:?}");
        }
    }
}

#[tokio::test]
async fn a_mail_that_is_gone_is_told_in_the_ledger_and_the_person_goes_on() {
    let steps = "entry = [\"opted_in\"]\n\n[[steps]]\nid = \"one\"\nsend = \"one\"\nwhen = \"1d\"\n\n[[steps]]\nid = \"two\"\nsend = \"two\"\nwhen = \"1d\"\n";
    let world = World::with(&Draft::new().sequence("way", steps)).await;
    let lead_id = world.opt_in_with(HANAKO, json!({})).await;
    let without = steps.replace("id = \"one\"\nsend = \"one\"", "id = \"uno\"\nsend = \"uno\"");
    world.deploy(&Draft::new().sequence("way", &without)).await;
    world.pass(TimeDelta::days(3)).await;
    assert_eq!(world.not_sent(&lead_id).await, ["way/one: the funnel has no mail one any more"]);
    // Looked at again for a few minutes, in case a deployment was on its way.
    assert_eq!(world.way_of(HANAKO), ["03-03 10:06 way/two"], "the sequence went on");
}

#[tokio::test]
async fn a_mail_a_minute_before_its_hour_waits_for_it_without_going_round() {
    let draft = Draft::new()
        .config("[sending]\nquiet_hours = \"07:00-10:01\"")
        .sequence("news", "entry = [\"opted_in\"]\n\n[[steps]]\nid = \"one\"\nsend = \"news\"\n");
    let world = World::with(&draft).await;
    world.opt_in_with(HANAKO, json!({})).await;
    assert!(world.way_of(HANAKO).is_empty());
    world.cloud.reset_meter();
    world.pass(TimeDelta::minutes(2)).await;
    assert_eq!(world.way_of(HANAKO), ["03-01 10:01 news/one"]);
    assert!(world.cloud.meter().write_units() < 2_000, "{:?}", world.cloud.meter().tables);
}

#[tokio::test]
async fn while_ses_takes_no_mail_everything_waits_and_nothing_is_lost_or_counted() {
    let draft = Draft::new()
        .config("[sending]\ncap = { mails = 1, days = 7 }")
        .sequence("news", "entry = [\"opted_in\"]\n\n[[steps]]\nid = \"one\"\nsend = \"news\"\n");
    let world = World::with(&draft).await;
    world.cloud.pause_sending(true);
    let lead_id = world.opt_in_with(HANAKO, json!({})).await;
    world.pass(TimeDelta::hours(20)).await;
    assert!(world.way_of(HANAKO).is_empty());
    assert!(world.lead(&lead_id).await.recent_mails.is_empty(), "what was not sent is not counted");
    world.cloud.pause_sending(false);
    world.pass(TimeDelta::hours(1)).await;
    assert_eq!(world.way_of(HANAKO).len(), 1);
}

#[tokio::test]
async fn a_mail_that_cant_be_made_for_one_person_is_held_and_told_and_everybody_elses_goes_out() {
    let world = World::new().await;
    let (hanako, taro) = (world.opt_in(HANAKO).await, world.opt_in("taro@example.com").await);
    world.buy(&hanako, "vip").await;
    world.buy(&taro, "standard").await;
    // The plan that she bought is not on sale any more, and the next mail tells its name.
    let without = Draft::copy_of("coaching")
        .replace("funnel.toml", "id = \"vip\"", "id = \"master\"")
        .replace("simulation.toml", "vip = 20", "master = 20")
        .replace("pages/tokushoho.md", "plans.vip", "plans.master");
    world.deploy(&without).await;
    let day_1 = |email: &str| world.way_of(email).iter().any(|mail| mail.ends_with("onboarding/day-1"));
    world.until("2027-03-02T02:00:00Z").await;
    assert!(!day_1(HANAKO) && day_1("taro@example.com"));
    let enrolments = world.tables().enrolments(&hanako).await.unwrap();
    let held = enrolments.iter().find(|enrolment| enrolment.sequence.as_str() == "onboarding").unwrap();
    let why = "held: mails/onboarding-day-1.md:9: `{{ plan_name }}`: it has no value";
    assert_eq!(held.why, why);
    let owner = domain::id::Id::parse("owner").unwrap();
    let tasks = world.tables().open_tasks(&owner).await.unwrap();
    assert!(tasks.iter().any(|task| task.lead_id == hanako && why.ends_with(&task.title)), "{tasks:?}");
    // Mended, it goes out the next time it is looked at.
    world.deploy(&Draft::copy_of("coaching")).await;
    world.pass(TimeDelta::days(1)).await;
    assert!(day_1(HANAKO));
}
