//! Machines are not counted as people: whatever a scanner does, nothing is set going by it.

use chrono::TimeDelta;
use domain::{engagement::Engagement, id::Id, machine::Evidence, machine::HIDDEN_LINK};
use michi::aws::ses::Reader;
use serde_json::json;

use crate::{
    draft::Draft,
    world::{HUMAN, PUBLIC_URL, World},
};

const HANAKO: &str = "hanako@example.com";
/// A scanner that hides behind a browser, which SES takes for a person.
const DISGUISED: Reader<'static> = Reader {
    user_agent: "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/142.0.0.0 Safari/537.36",
    ip: "203.0.113.9",
    bot: Some(false),
};

/// Everything that opens and clicks can set going, in one funnel.
fn funnel() -> Draft {
    let one =
        |entry: &str, id: &str| format!("entry = [{entry}]\n\n[[steps]]\nid = \"{id}\"\nsend = \"{id}\"\n");
    let waits = r#"entry = ["opted_in"]

[[steps]]
id = "first"
send = "first"

[[steps]]
id = "wait"
wait_for = 'clicked("first")'
within = "1d"
then = "hot"
else = "cold"

[[steps]]
id = "hot"
send = "hot"
next = "end"

[[steps]]
id = "cold"
send = "cold"
"#;
    let asks = "entry = [\"opted_in\"]\n\n[[steps]]\nid = \"look\"\nbranch = 'opened(\"first\") or clicked(\"first\")'\nwhen = \"1d\"\nthen = \"yes\"\nelse = \"no\"\n\n[[steps]]\nid = \"yes\"\nsend = \"yes\"\nnext = \"end\"\n\n[[steps]]\nid = \"no\"\nsend = \"no\"\n";
    let scores = "[[behaviour]]\non = \"mail_opened\"\npoints = 2\n[[behaviour]]\non = \"mail_clicked\"\npoints = 30\n[[bands]]\nid = \"cold\"\nname = \"冷\"\nfrom = 0\n";
    Draft::new()
        .file("scores.toml", scores)
        .mail(
            "first",
            "",
            "こんにちは。\n\n[見る]({{ download_url }})\n\n[値段]({{ public_url }}/pages/pricing)\n",
        )
        .sequence("waits", waits)
        .sequence("asks", asks)
        .sequence("opened", &one("\"mail_opened\"", "on-open"))
        .sequence("clicked", &one("\"mail_clicked\"", "on-click"))
        .sequence("warm", &one("{ score_rises_to = 30 }", "warm"))
}

async fn row(world: &World, lead_id: &Id) -> Engagement {
    let rows = world.tables().engagements(lead_id).await.unwrap();
    rows.into_iter().find(|row| row.email_campaign_id == "waits/first").unwrap()
}

fn hidden() -> String {
    format!("{PUBLIC_URL}{HIDDEN_LINK}")
}

/// The steps of her mails, in the order of names.
fn steps(world: &World) -> Vec<String> {
    let mut steps: Vec<String> =
        world.mails_to(HANAKO).iter().map(|mail| mail.tags["step"].clone()).collect();
    steps.sort();
    steps
}

#[tokio::test]
async fn what_a_scanner_does_sets_nothing_going_and_what_a_person_does_all_of_it() {
    let scanner = Reader { user_agent: "BarracudaSentinel/1.0", ip: "209.222.82.1", bot: Some(false) };
    let apple = Reader { user_agent: "Mozilla/5.0", ip: "203.0.113.9", bot: None };
    let nothing = ["cold", "first", "no"].as_slice();
    for (reader, follows_hidden, expected) in [
        (scanner, false, nothing),
        (apple, false, nothing),
        (DISGUISED, true, nothing),
        (HUMAN, false, ["first", "hot", "on-click", "on-open", "warm", "yes"].as_slice()),
    ] {
        let world = World::with(&funnel()).await;
        let lead_id = world.opt_in_with(HANAKO, json!({})).await;
        world.pass(TimeDelta::hours(1)).await;
        let mail = world.mail_of(HANAKO, "first");
        world.cloud.open(&mail, reader);
        let link = mail.visible_links().find(|link| link.tracked).unwrap().href.clone();
        assert!(world.cloud.click(&mail, &link, reader));
        world.pass(TimeDelta::seconds(7)).await;
        assert!(!follows_hidden || world.cloud.click(&mail, &hidden(), reader));
        world.until_judged().await;
        world.pass(TimeDelta::days(2)).await;
        assert_eq!(steps(&world), expected, "{reader:?}");
        let row = row(&world, &lead_id).await;
        let person = expected.len() > 3;
        assert_eq!((row.opened, row.clicked, row.machine_opened), (person, person, !person), "{reader:?}");
        assert!(row.touches.iter().all(|touch| touch.machine != person && !touch.evidence.is_empty()));
        let figures = world.figures("2027-03-01").await;
        let machine = u64::from(!person);
        for (figure, count) in [
            ("mails_opened", 1 - machine),
            ("mails_clicked", 1 - machine),
            ("mails_opened_by_machine", machine),
            ("mails_clicked_by_machine", machine),
        ] {
            assert_eq!(figures[figure], count, "{figure} of {reader:?}");
        }
    }
}

#[tokio::test]
async fn a_burst_is_taken_back_before_anything_hears_of_it_and_a_person_after_it_counts() {
    let world = World::with(&funnel()).await;
    let lead_id = world.opt_in_with(HANAKO, json!({})).await;
    world.pass(TimeDelta::hours(1)).await;
    let mail = world.mail_of(HANAKO, "first");
    let links: Vec<String> =
        mail.visible_links().filter(|link| link.tracked).map(|link| link.href.clone()).collect();
    assert_eq!(links.len(), 2);
    world.cloud.click(&mail, &links[0], DISGUISED);
    world.cloud.settle().await;
    assert!(row(&world, &lead_id).await.clicked, "nobody can know yet");
    world.pass(TimeDelta::seconds(1)).await;
    world.cloud.click(&mail, &links[1], DISGUISED);
    world.until_judged().await;
    let burst = row(&world, &lead_id).await;
    assert!(!burst.clicked && burst.clicked_links.is_empty() && burst.click_url.is_none(), "{burst:?}");
    assert!(burst.touches.iter().all(|touch| touch.evidence.contains(&Evidence::Burst)));
    assert_eq!(steps(&world), ["first"]);
    world.pass(TimeDelta::minutes(5)).await;
    world.click(HANAKO, "first").await;
    assert_eq!(steps(&world), ["first", "hot", "on-click", "warm"]);
    let row = row(&world, &lead_id).await;
    assert_eq!((row.clicked, row.clicked_links.len(), row.touches.len()), (true, 1, 3));
    let figures = world.figures("2027-03-01").await;
    assert_eq!((&figures["mails_clicked"], &figures["mails_clicked_by_machine"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn what_is_opened_or_followed_again_on_another_day_was_so_once() {
    let world = World::with(&funnel()).await;
    world.opt_in_with(HANAKO, json!({})).await;
    world.pass(TimeDelta::hours(1)).await;
    let mail = world.mail_of(HANAKO, "first");
    let links: Vec<String> =
        mail.visible_links().filter(|link| link.tracked).map(|link| link.href.clone()).collect();
    let apple = Reader { user_agent: "Mozilla/5.0", ip: "203.0.113.9", bot: None };
    for _ in 0..3 {
        world.cloud.open(&mail, apple);
        world.until_judged().await;
        world.pass(TimeDelta::hours(1)).await;
        world.cloud.open(&mail, HUMAN);
        assert!(world.cloud.click(&mail, &links[0], HUMAN));
        world.until_judged().await;
        world.pass(TimeDelta::hours(23)).await;
    }
    assert!(world.cloud.click(&mail, &links[1], HUMAN), "another link");
    world.until_judged().await;
    let mut counted = vec![];
    for day in 1..=4 {
        let figures = world.figures(&format!("2027-03-0{day}")).await;
        counted.push(
            ["mails_opened", "mails_opened_by_machine", "mails_clicked"].map(|name| figures[name].as_u64()),
        );
    }
    assert_eq!(
        counted,
        [[1, 1, 1], [0, 0, 0], [0, 0, 0], [0, 0, 1]].map(|day| day.map(Some)),
        "the last is another link's"
    );
}

#[tokio::test]
async fn events_that_come_twice_late_and_out_of_order_give_the_same_row_and_figures() {
    let world = World::with(&funnel()).await;
    let seen: std::sync::Arc<std::sync::Mutex<Vec<serde_json::Value>>> = Default::default();
    let (log, inner) = (seen.clone(), world.cloud.handler("email-event").unwrap());
    world.cloud.register(
        "email-event",
        std::sync::Arc::new(move |event: serde_json::Value| {
            log.lock().unwrap().push(event.clone());
            inner(event)
        }),
    );
    let lead_id = world.opt_in_with(HANAKO, json!({})).await;
    world.pass(TimeDelta::hours(1)).await;
    let mail = world.mail_of(HANAKO, "first");
    world.cloud.open(&mail, DISGUISED);
    world.cloud.click(&mail, &hidden(), DISGUISED);
    world.until_judged().await;
    world.open(HANAKO, "first").await;
    world.click(HANAKO, "first").await;
    let (before, figures) = (row(&world, &lead_id).await, world.figures("2027-03-01").await);
    let events: Vec<_> = seen.lock().unwrap().clone();
    let from = |queue: &str| events.iter().any(|event| event.to_string().contains(queue));
    assert!(from(":michi-verdicts") && from(":michi-mail-events"));
    for event in events.into_iter().rev() {
        world.invoke("email-event", event).await.unwrap();
    }
    assert_eq!(row(&world, &lead_id).await, before);
    assert_eq!(world.figures("2027-03-01").await, figures);
}

#[tokio::test]
async fn the_hidden_link_is_in_marketing_mail_only_leads_to_a_page_and_is_seen_by_nobody() {
    let draft = funnel().transactional(
        "receipt",
        "entry = [{ fact = \"ordered\" }]\n\n[[steps]]\nid = \"receipt\"\nsend = \"receipt\"\n",
    );
    let world = World::with(&draft).await;
    world.opt_in_with(HANAKO, json!({})).await;
    world.tell("ordered", HANAKO, "k", json!({})).await;
    let (marketing, receipt) = (world.mail_of(HANAKO, "first"), world.mail_of(HANAKO, "receipt"));
    let traps =
        |mail: &michi::aws::mail::Mail| mail.links.iter().filter(|link| link.href == hidden()).count();
    assert_eq!((traps(&marketing), traps(&receipt)), (1, 0));
    assert!(marketing.visible_links().all(|link| link.href != hidden()));
    assert!(!marketing.text.as_ref().unwrap().contains("unseen"));
    let html = marketing.html.as_ref().unwrap();
    let tag = html.split("<a ").find(|tag| tag.contains("?unseen")).unwrap();
    for needed in ["display:none", "aria-hidden=\"true\"", "tabindex=\"-1\"", "></a>"] {
        assert!(tag.contains(needed), "{needed}: {tag}");
    }
    let before = world.figures("2027-03-01").await;
    let page = world.get(HIDDEN_LINK).await;
    assert_eq!(page.status, 200);
    assert_eq!(world.figures("2027-03-01").await, before, "looking changes nothing");
}

#[tokio::test]
async fn the_lead_page_says_why_something_was_a_machines() {
    let world = World::with(&funnel()).await;
    let lead_id = world.opt_in_with(HANAKO, json!({})).await;
    world.pass(TimeDelta::hours(1)).await;
    let mail = world.mail_of(HANAKO, "first");
    world.cloud.click(&mail, &hidden(), DISGUISED);
    world.cloud.open(&mail, Reader { user_agent: "curl/8.4.0", ip: "2600:1f00::1", bot: None });
    world.until_judged().await;
    let t = world.links.sign_console(world.now());
    let page = world.get(&format!("/console/leads/{lead_id}?t={t}")).await;
    let page = match page.location {
        Some(to) => world.get(&to).await,
        None => page,
    };
    for told in ["人には見えないリンクを開いた", "curlのユーザーエージェント", "機械"]
    {
        assert!(page.text.contains(told), "{told}: {}", page.text);
    }
    assert!(!page.text.contains("203.0.113.9"), "addresses are not kept");
}
