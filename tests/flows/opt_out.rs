//! The way out always works, tokens open what they are for, and a closed address stays closed until
//! somebody opens it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use chrono::TimeDelta;
use cloud::{
    keys::{self, Keys},
    suppression_list::SuppressionList,
};
use domain::{
    email_address::EmailAddress,
    engagement::EngagementState,
    id::Id,
    lead::{ListReason, Mailing, SuppressionCause},
    text::LongText,
};
use michi::{
    aws::mail::Mail,
    functions::{Secrets, cloud_of},
    remote,
};
use serde_json::{Value, json};
use web::link::{Links, OPERATOR, Purpose};

use crate::{
    draft::Draft,
    world::{World, one_by_one, said, saying},
};

const HANAKO: &str = "hanako@example.com";
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const BROWSER: (&str, &str) = ("accept", "text/html");

/// A marketing mail every morning.
fn daily() -> Draft {
    let steps: Vec<String> = (1..=40)
        .map(|day| format!("[[steps]]\nid = \"day-{day}\"\nsend = \"news\"\nwhen = \"+{day}d 08:00\"\n"))
        .collect();
    Draft::new()
        .mail("news", "topics = [\"news\"]", "お知らせです。\n")
        .sequence("daily", &format!("entry = [\"opted_in\"]\n\n{}", steps.join("\n")))
}

fn header<'a>(mail: &'a Mail, name: &str) -> &'a str {
    let found = mail.headers.iter().find(|(known, _)| known == name);
    &found.unwrap_or_else(|| panic!("{} has no {name}", mail.subject)).1
}

/// The address that a mailbox posts to when somebody presses "unsubscribe".
fn way_out(mail: &Mail) -> String {
    header(mail, "List-Unsubscribe").trim_matches(['<', '>']).to_owned()
}

fn token_of(url: &str) -> &str {
    url.split_once("?t=").unwrap().1
}

/// Every row of every table.
fn rows(world: &World) -> BTreeMap<String, Vec<String>> {
    let scan = |table: &String| {
        let request = axum::http::Request::post("/")
            .header("x-amz-target", "DynamoDB_20120810.Scan")
            .body(json!({"TableName": table}).to_string().into())
            .unwrap();
        let answer: Value = serde_json::from_slice(world.cloud.aws(&request).body()).unwrap();
        let mut rows: Vec<String> =
            answer["Items"].as_array().unwrap().iter().map(ToString::to_string).collect();
        rows.sort();
        (table.clone(), rows)
    };
    world.cloud.stack().tables.keys().map(scan).collect()
}

/// What a request looks like: in words, its headers, its body.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [u8]);

#[tokio::test]
async fn a_one_click_request_is_honoured_whatever_comes_with_it() {
    let world = World::with(&daily()).await;
    let huge = "x".repeat(100 * 1024);
    let requests: &[Case] = &[
        ("as RFC 8058 says", &[FORM], b"List-Unsubscribe=One-Click"),
        ("nothing", &[], b""),
        ("a form of nothing", &[FORM], b""),
        ("text", &[("content-type", "text/plain")], b"List-Unsubscribe=One-Click"),
        ("multipart", &[("content-type", "multipart/form-data; boundary=x")], b"--x\r\n\r\n--x--"),
        ("multipart without a boundary", &[("content-type", "multipart/form-data")], b"--"),
        ("broken JSON", &[("content-type", "application/json")], b"{\"a\":"),
        ("JSON that is no object", &[("content-type", "application/json")], b"[1,2]"),
        ("bytes that are no text", &[FORM], b"\xff\xfe=\xff"),
        ("JSON that is no text", &[("content-type", "application/json")], b"\xff\xfe"),
        ("a type that nobody knows", &[("content-type", "x/y; z=\"")], b"?"),
        ("an empty type", &[("content-type", "")], b"List-Unsubscribe=One-Click"),
        ("a large body", &[FORM], huge.as_bytes()),
        ("an empty agent", &[FORM, ("user-agent", "")], b"List-Unsubscribe=One-Click"),
        ("a foreign agent", &[FORM, ("user-agent", "メール/1.0")], b"List-Unsubscribe=One-Click"),
        ("a browser", &[FORM, BROWSER], b"List-Unsubscribe=One-Click"),
        ("another token in the body", &[FORM], b"t=k1.l-1.0.xxx"),
    ];
    for (at, (what, headers, body)) in requests.iter().enumerate() {
        let email = format!("reader{at}@example.com");
        let lead_id = world.opt_in_with(&email, json!({})).await;
        world.pass(TimeDelta::days(1)).await;
        let url = way_out(&world.mails_to(&email)[0]);
        let answer = world.send("POST", &url, headers, body.to_vec()).await;
        assert_eq!(
            (answer.status, world.lead(&lead_id).await.mailing),
            (200, Mailing::Unsubscribed),
            "{what}"
        );
        let again = world.send("POST", &url, headers, body.to_vec()).await;
        assert_eq!(again.status, 200, "{what}, twice");
        world.pass(TimeDelta::days(2)).await;
        assert_eq!(world.mails_to(&email).len(), 1, "{what}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_as_its_encoding_says_stops_no_unsubscription_and_no_other_form_takes_it() {
    let world = World::with(&daily()).await;
    let lead_id = world.opt_in_with(HANAKO, json!({})).await;
    let t = world.token(Purpose::Unsubscribe, &lead_id);
    let event = |route: &str| {
        let path = route.split_once(' ').unwrap().1;
        json!({"version": "2.0", "routeKey": route, "rawPath": path, "rawQueryString": "",
            "headers": {"content-type": "application/x-www-form-urlencoded"},
            "queryStringParameters": {"t": t}, "body": "%%%", "isBase64Encoded": true,
            "requestContext": {"http": {"method": "POST", "path": path}}})
    };
    assert_eq!(world.invoke("opt-in", event("POST /opt-in")).await.unwrap()["statusCode"], 400);
    let answer = world.invoke("opt-in", event("POST /unsubscribe")).await.unwrap();
    assert_eq!(
        (&answer["statusCode"], world.lead(&lead_id).await.mailing),
        (&json!(200), Mailing::Unsubscribed)
    );
}

#[tokio::test]
async fn who_has_left_was_closed_or_is_unknown_is_told_that_it_is_done() {
    let world = World::with(&daily()).await;
    let lead_id = world.opt_in_with(HANAKO, json!({})).await;
    let closed = world.opt_in_with("bounce+1@simulator.amazonses.com", json!({})).await;
    world.pass(TimeDelta::days(1)).await;
    assert_eq!(world.lead(&closed).await.mailing, Mailing::Suppressed);
    for (what, lead) in [("known", lead_id), ("closed", closed), ("erased", Id::parse("l-nobody").unwrap())] {
        for purpose in [Purpose::Unsubscribe, Purpose::Preferences] {
            let token = world.token(purpose, &lead);
            let answer = world.send("POST", &format!("/unsubscribe?t={token}"), &[FORM], "").await;
            assert_eq!(answer.status, 200, "{what} {purpose:?}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn every_marketing_mail_has_a_way_out_of_one_click() {
    let world = World::new().await;
    let lead_id = world.opt_in(HANAKO).await;
    world.pass(TimeDelta::days(30)).await;
    let mails = world.mails_to(HANAKO);
    assert!(mails.len() > 7, "{:?}", world.way_of(HANAKO));
    for mail in mails {
        let url = way_out(&mail);
        assert!(url.starts_with("https://"), "{url}");
        assert_eq!(
            world.links.verify(Purpose::Unsubscribe, token_of(&url), world.now()),
            Ok(lead_id.clone())
        );
        assert_eq!(header(&mail, "List-Unsubscribe-Post"), "List-Unsubscribe=One-Click");
        let shown = mail.links.iter().find(|link| link.href.contains("/unsubscribe?t="));
        assert!(shown.is_some_and(|link| !link.tracked), "{}: {:?}", mail.subject, mail.links);
    }
}

/// Looks at every page that there is, as a scanner does that follows each link.
async fn look_at_everything(world: &World, lead_id: &Id, consultation_id: &str) {
    let consultation = Id::parse(consultation_id).unwrap();
    let console = world.links.sign_console(world.now());
    let mut seen = 0;
    for route in world.cloud.stack().routes.iter().map(|route| route.key.as_str()) {
        let Some(path) = route.strip_prefix("GET ") else { continue };
        let tokens = match path {
            "/" | "/thanks" | "/pages/{page}" | "/slots" | "/paid" => vec![String::new()],
            "/confirm" => vec![world.token(Purpose::Confirm, lead_id)],
            "/preferences" => vec![world.token(Purpose::Preferences, lead_id)],
            "/unsubscribe" => [Purpose::Unsubscribe, Purpose::Preferences]
                .map(|purpose| world.token(purpose, lead_id))
                .into(),
            "/booking" => {
                vec![world.token(Purpose::Book, lead_id), world.token(Purpose::Manage, &consultation)]
            }
            "/bookings/{consultation_id}" => vec![world.token(Purpose::Manage, &consultation)],
            "/apply" => vec![world.token(Purpose::Apply, lead_id)],
            path if path.starts_with("/console") => vec![console.clone()],
            new => panic!("{new} is a new page: with which token is it opened?"),
        };
        let path = path
            .replace("{page}", "checklist")
            .replace("{consultation_id}", consultation_id)
            .replace("{lead_id}", lead_id.as_str())
            .replace("{date}", "2027-03-01");
        for token in tokens {
            for (method, headers) in [("GET", vec![BROWSER]), ("GET", vec![FORM]), ("HEAD", vec![])] {
                world
                    .send(method, &format!("{path}?t={token}&subscribe=true&pause=none"), &headers, "t=1")
                    .await;
            }
            seen += 1;
        }
    }
    assert!(seen > 15, "{seen}");
}

#[tokio::test]
async fn looking_changes_no_row_and_sends_no_mail_however_one_looks() {
    let world = World::new().await;
    let lead_id = world.opt_in(HANAKO).await;
    let booked = world.book(&lead_id, "2027-03-11T01:00").await;
    let (before, mails) = (rows(&world), world.cloud.mails().len());
    look_at_everything(&world, &lead_id, booked["consultation_id"].as_str().unwrap()).await;
    assert_eq!((rows(&world), world.cloud.mails().len()), (before, mails));

    // Somebody who has not confirmed yet, and whose scanner opens every link.
    let draft = Draft::new().double_opt_in("");
    let world = World::with(&draft).await;
    let lead_id = world.opt_in_with(HANAKO, json!({})).await;
    let before = rows(&world);
    look_at_everything(&world, &lead_id, "c-none").await;
    for link in &world.mails_to(HANAKO)[0].links {
        world.get(&link.href).await;
    }
    assert_eq!(rows(&world), before);
    assert_eq!(world.lead(&lead_id).await.mailing, Mailing::Pending);
}

#[tokio::test]
async fn the_preference_page_leads_out_of_one_topic_and_out_of_all() {
    let world = World::with(&daily()).await;
    let lead_id = world.opt_in_with(HANAKO, json!({})).await;
    let token = world.token(Purpose::Preferences, &lead_id);
    let page = world.get(&format!("/preferences?t={token}")).await;
    for told in ["action=\"/preferences\"", "name=\"topic_news\"", "action=\"/unsubscribe?t=", token.as_str()]
    {
        assert!(page.text.contains(told), "{told} in {}", page.text);
    }
    let send = async |path: &str| {
        let answer = world.send("POST", path, &[FORM, BROWSER], format!("t={token}")).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        world.lead(&lead_id).await
    };
    let lead = send("/preferences").await;
    assert_eq!((lead.preferences.topics_off.len(), lead.mailing), (1, Mailing::Subscribed));
    world.pass(TimeDelta::days(3)).await;
    assert!(world.mails_to(HANAKO).is_empty());
    assert_eq!(send("/unsubscribe").await.mailing, Mailing::Unsubscribed);
}

/// What becomes of mail from now on, instead of being delivered: SES's type and subtype of a bounce.
type Fate = Arc<Mutex<Option<(&'static str, &'static str)>>>;

/// Lets mailboxes send mail back.
fn mailboxes(world: &World) -> Fate {
    let fate: Fate = Arc::default();
    let (told, inner) = (fate.clone(), world.cloud.handler("email-event").unwrap());
    world.cloud.register(
        "email-event",
        Arc::new(move |mut batch: Value| {
            let fate = *told.lock().unwrap();
            for record in batch["Records"].as_array_mut().unwrap() {
                let mut event: Value = serde_json::from_str(record["body"].as_str().unwrap()).unwrap();
                if let Some((kind, sub_type)) = fate
                    && event["detail"]["eventType"] == "Delivery"
                {
                    let timestamp = event["detail"]["delivery"]["timestamp"].clone();
                    event["detail"]["eventType"] = "Bounce".into();
                    event["detail"]["bounce"] =
                        json!({"bounceType": kind, "bounceSubType": sub_type, "timestamp": timestamp});
                }
                record["body"] = event.to_string().into();
            }
            inner(batch)
        }),
    );
    fate
}

#[tokio::test]
async fn an_address_whose_mailbox_takes_nothing_three_times_is_closed_and_the_ledger_says_what_came_back() {
    let full = Some(("Transient", "MailboxFull"));
    let general = Some(("Transient", "General"));
    let large = Some(("Transient", "MessageTooLarge"));
    for (what, days, expected) in [
        ("full three times", vec![full, full, full], Mailing::Suppressed),
        ("nobody says why", vec![general, full, general], Mailing::Suppressed),
        ("twice", vec![full, full], Mailing::Subscribed),
        ("one arrived between", vec![full, full, None, full], Mailing::Subscribed),
        ("not the mailbox's fault", vec![large, large, large, large], Mailing::Subscribed),
        ("another fault between", vec![full, large, full], Mailing::Subscribed),
    ] {
        let world = World::with(&daily()).await;
        let fate = mailboxes(&world);
        let lead_id = world.opt_in_with(HANAKO, json!({})).await;
        for day in &days {
            *fate.lock().unwrap() = *day;
            world.pass(TimeDelta::days(1)).await;
        }
        *fate.lock().unwrap() = None;
        let lead = world.lead(&lead_id).await;
        assert_eq!(lead.mailing, expected, "{what}");
        let ledger = world.tables().engagements(&lead_id).await.unwrap();
        let came_back = ledger.iter().filter(|row| row.state == EngagementState::Bounced);
        assert_eq!(came_back.count(), days.iter().flatten().count(), "{what}: {ledger:?}");
        assert!(ledger.iter().all(|row| row.delivered_at.is_none() || row.reason.is_none()), "{what}");
        world.pass(TimeDelta::days(1)).await;
        let more = if expected == Mailing::Suppressed { 0 } else { 1 };
        assert_eq!(world.mails_to(HANAKO).len(), days.len() + more, "{what}");
    }
}

#[tokio::test]
async fn an_automatic_reply_to_a_mail_that_arrived_is_no_bounce() {
    let world = World::with(&daily()).await;
    let seen: Arc<Mutex<Vec<Value>>> = Arc::default();
    let (log, inner) = (seen.clone(), world.cloud.handler("email-event").unwrap());
    world.cloud.register(
        "email-event",
        Arc::new(move |batch: Value| {
            log.lock().unwrap().extend(one_by_one(&batch));
            inner(batch)
        }),
    );
    let lead_id = world.opt_in_with(HANAKO, json!({})).await;
    for _ in 0..5 {
        world.pass(TimeDelta::days(1)).await;
        let mut reply = said(seen.lock().unwrap().last().unwrap());
        assert_eq!(reply["detail"]["eventType"], "Delivery");
        reply["detail"]["eventType"] = "Bounce".into();
        reply["detail"]["bounce"] = json!({"bounceType": "Transient", "bounceSubType": "General"});
        for _ in 0..2 {
            world.invoke("email-event", saying(&reply)).await.unwrap();
        }
    }
    assert_eq!(world.lead(&lead_id).await.mailing, Mailing::Subscribed);
    let ledger = world.tables().engagements(&lead_id).await.unwrap();
    assert!(ledger.iter().all(|row| row.state == EngagementState::Sent), "{ledger:?}");
    assert_eq!(world.figures("2027-03-02").await["mails_bounced"], 0);
}

#[tokio::test]
async fn a_soft_bounce_that_closes_an_address_stays_within_an_events_write_units() {
    let world = World::with(&daily()).await;
    let fate = mailboxes(&world);
    world.opt_in_with(HANAKO, json!({})).await;
    *fate.lock().unwrap() = Some(("Transient", "MailboxFull"));
    world.pass(TimeDelta::days(2)).await;
    let held: Arc<Mutex<Vec<Value>>> = Arc::default();
    let (log, inner) = (held.clone(), world.cloud.handler("email-event").unwrap());
    let hold = move |batch: Value| -> std::pin::Pin<Box<dyn Future<Output = Result<Value, String>> + Send>> {
        log.lock().unwrap().extend(one_by_one(&batch));
        Box::pin(async { Ok(json!({"batchItemFailures": []})) })
    };
    world.cloud.register("email-event", Arc::new(hold));
    world.pass(TimeDelta::days(1)).await;
    world.cloud.register("email-event", inner);
    let events = held.lock().unwrap().clone();
    for event in events {
        world.cloud.reset_meter();
        world.invoke("email-event", event).await.unwrap();
        assert!(world.cloud.meter().write_units() <= 400, "{:?}", world.cloud.meter());
    }
    let lead_id = world.tables().to_list(ListReason::Bounce).await.unwrap();
    assert_eq!(lead_id.len(), 1, "closed by the last event");
}

fn ses_list(world: &World) -> SuppressionList {
    SuppressionList::new(&cloud_of(&world.cloud, "nightly-aggregation"))
}

/// Everybody on SES's list.
async fn listed(world: &World) -> Vec<String> {
    let (list, mut all, mut start) = (ses_list(world), vec![], None);
    loop {
        let (page, next) = list.page(world.now() - TimeDelta::days(365), start).await.unwrap();
        all.extend(page.into_iter().map(|entry| entry.address));
        start = next;
        if start.is_none() {
            return all;
        }
    }
}

async fn night(world: &World) {
    world.invoke("nightly-aggregation", json!({})).await.unwrap();
}

fn calls(world: &World, operation: &str) -> u64 {
    world.cloud.meter().calls.get(&format!("ses:{operation}")).copied().unwrap_or_default()
}

#[tokio::test]
async fn what_we_close_is_put_on_sess_list_once() {
    let world = World::with(&daily()).await;
    let fate = mailboxes(&world);
    let lead_id = world.opt_in_with(HANAKO, json!({})).await;
    let other = world.opt_in_with("taro@example.com", json!({})).await;
    let cloud = cloud_of(&world.cloud, "delivery");
    remote::suppress(&cloud, "taro@example.com").await.unwrap();
    *fate.lock().unwrap() = Some(("Transient", "MailboxFull"));
    world.cloud.reset_meter();
    // The night comes by itself at 3:30.
    world.pass(TimeDelta::days(4)).await;
    assert_eq!(listed(&world).await, [HANAKO, "taro@example.com"]);
    for _ in 0..2 {
        night(&world).await;
    }
    assert_eq!(calls(&world, "PutSuppressedDestination"), 2);
    let cause = async |lead_id| world.lead(lead_id).await.suppression.unwrap().cause;
    assert_eq!(cause(&lead_id).await, SuppressionCause::SoftBounced);
    assert_eq!(cause(&other).await, SuppressionCause::Operator);
}

#[tokio::test]
async fn what_ses_lists_is_closed_here_page_by_page_and_strangers_are_left_out() {
    let world = World::with(&daily()).await;
    let mut leads = vec![];
    for n in 0..25 {
        let email = format!("reader{n}@example.com");
        leads.push(world.opt_in_with(&email, json!({})).await);
        ses_list(&world).put(&EmailAddress::parse(&email).unwrap(), ListReason::Bounce).await.unwrap();
    }
    ses_list(&world)
        .put(&EmailAddress::parse("stranger@example.com").unwrap(), ListReason::Complaint)
        .await
        .unwrap();
    let spared = world.opt_in_with("zz@example.com", json!({})).await;
    for _ in 0..2 {
        night(&world).await;
    }
    for lead_id in &leads {
        let lead = world.lead(lead_id).await;
        assert_eq!((lead.mailing, lead.to_list, lead.version), (Mailing::Suppressed, None, 2));
        assert_eq!(lead.suppression.unwrap().cause, SuppressionCause::Listed);
    }
    assert_eq!(world.lead(&spared).await.mailing, Mailing::Subscribed);
    world.pass(TimeDelta::days(1)).await;
    assert_eq!(world.cloud.mails().len(), 1);
}

#[tokio::test]
async fn an_address_that_is_opened_again_leaves_sess_list_and_old_news_does_not_close_it() {
    let world = World::with(&daily()).await;
    let fate = mailboxes(&world);
    let lead_id = world.opt_in_with(HANAKO, json!({})).await;
    *fate.lock().unwrap() = Some(("Transient", "MailboxFull"));
    world.pass(TimeDelta::days(4)).await;
    assert_eq!(listed(&world).await, [HANAKO]);
    let cloud = cloud_of(&world.cloud, "delivery");
    let because = LongText::parse("電話で確認").unwrap();
    for expected in ["is subscribed again", "is not suppressed"] {
        let told = remote::reopen(&cloud, HANAKO, &because).await.unwrap();
        assert_eq!(told, format!("{lead_id} {expected}"));
    }
    assert!(remote::reopen(&cloud, "nobody@example.com", &because).await.is_err());
    assert!(listed(&world).await.is_empty());
    let lead = world.lead(&lead_id).await;
    assert_eq!(lead.reopened.map(|it| (it.at, it.reason)), Some((world.now(), because)));
    // Two more that come back are two, not five.
    world.pass(TimeDelta::days(2)).await;
    night(&world).await;
    assert_eq!(world.lead(&lead_id).await.mailing, Mailing::Subscribed);
    *fate.lock().unwrap() = None;
    world.pass(TimeDelta::days(1)).await;
    let last = world.tables().engagements(&lead_id).await.unwrap();
    assert!(last.iter().any(|row| row.delivered_at.is_some()));
}

#[tokio::test]
async fn a_way_out_that_is_taken_while_the_address_is_closed_still_counts_when_it_opens() {
    let world = World::with(&daily()).await;
    let lead_id = world.opt_in_with(HANAKO, json!({})).await;
    let cloud = cloud_of(&world.cloud, "delivery");
    remote::suppress(&cloud, lead_id.as_str()).await.unwrap();
    let token = world.token(Purpose::Unsubscribe, &lead_id);
    world.send("POST", &format!("/unsubscribe?t={token}"), &[FORM], "").await;
    remote::reopen(&cloud, lead_id.as_str(), &LongText::parse("間違い").unwrap()).await.unwrap();
    assert_eq!(world.lead(&lead_id).await.mailing, Mailing::Unsubscribed);
    assert_eq!(world.figures("2027-03-01").await["unsubscribed"], 1);
}

#[tokio::test]
async fn after_a_rotation_old_mail_works_new_mail_has_the_new_key_and_old_sign_ins_are_over() {
    let draft = daily();
    let world = World::with(&draft).await;
    let lead_id = world.opt_in_with(HANAKO, json!({})).await;
    world.pass(TimeDelta::days(1)).await;
    let operator = world.links.sign_console(world.now());
    let shop = |links: &Links| links.sign(Purpose::Api, &Id::parse("shop").unwrap(), None, world.now());
    let old_shop = shop(&world.links);
    let console = async |token: &str| world.get(&format!("/console?t={token}")).await.status;
    let tell = async |token: &str| {
        let body = json!({"fact": "ordered", "email": HANAKO, "key": token.len().to_string()}).to_string();
        let authorization = format!("Bearer {token}");
        let headers = [("content-type", "application/json"), ("authorization", authorization.as_str())];
        world.send("POST", "/facts", &headers, body).await.status
    };
    assert_eq!((console(&operator).await, tell(&old_shop).await), (200, 200));

    // What `michi keygen --rotate` prints goes into the parameter, and the functions start anew.
    let cloud = cloud_of(&world.cloud, "opt-in");
    let rotated = Secrets::fixed().keys.rotated([7; 32]);
    let text = serde_json::to_string(&rotated).unwrap();
    let put = keys::client(&cloud).put_parameter().name("/michi/keys").value(&text);
    put.r#type(keys::SECURE).overwrite(true).send().await.unwrap();
    world.deploy(&draft).await;
    assert_eq!((console(&operator).await, tell(&old_shop).await), (403, 401));
    let links = Links::new(rotated.link_keys());
    assert_eq!((console(&links.sign_console(world.now())).await, tell(&shop(&links)).await), (200, 200));

    world.pass(TimeDelta::days(1)).await;
    let keys: Vec<String> = world
        .mails_to(HANAKO)
        .iter()
        .map(|mail| token_of(&way_out(mail)).split('.').next().unwrap().to_owned())
        .collect();
    assert_eq!(keys, ["k1", "k2"]);
    assert_eq!(Keys::parse(&text).unwrap().lead_id(&EmailAddress::parse(HANAKO).unwrap()), lead_id);
    let oldest = way_out(&world.mails_to(HANAKO)[0]);
    assert_eq!(world.send("POST", &oldest, &[FORM], "List-Unsubscribe=One-Click").await.status, 200);
    assert_eq!(world.lead(&lead_id).await.mailing, Mailing::Unsubscribed);
}

#[tokio::test]
async fn the_link_of_an_earlier_time_says_so_and_the_latest_mails_works() {
    let world = World::new().await;
    let lead_id = world.opt_in(HANAKO).await;
    let booked = world.book(&lead_id, "2027-03-11T01:00").await;
    let id = booked["consultation_id"].as_str().unwrap().to_owned();
    let link = async || {
        let mail = world.mails_to(HANAKO).pop().unwrap();
        let link = mail.links.iter().find(|link| link.href.contains("/bookings/")).unwrap();
        token_of(&link.href).to_owned()
    };
    let first = link().await;
    let slots = world.slots().await;
    let from = |instant: &str| slots.iter().find(|slot| slot.as_str() >= instant).unwrap();
    let (second_time, third_time) = (from("2027-03-12T01:00"), from("2027-03-15"));
    let moves = async |token: &str, slot: &str| {
        world.post(&format!("/bookings/{id}/reschedule"), &json!({"t": token, "slot": slot})).await.status
    };
    // The same form twice is one move.
    assert_eq!((moves(&first, second_time).await, moves(&first, second_time).await), (200, 200));
    let second = link().await;
    assert_ne!(first, second);
    assert_eq!(moves(&first, third_time).await, 412);
    for path in [format!("/bookings/{id}?t={first}"), format!("/booking?t={first}")] {
        let page = world.get(&path).await;
        assert!(page.status == 412 && page.text.contains("日時が変更されています"), "{page:?}");
    }
    let cancel =
        async |token: &str| world.post(&format!("/bookings/{id}/cancel"), &json!({"t": token})).await;
    let refused = cancel(&first).await;
    assert_eq!((refused.status, refused.json()["errors"][0]["field"].as_str()), (412, Some("t")));
    assert_eq!(world.get(&format!("/bookings/{id}?t={second}")).await.status, 200);
    assert_eq!((cancel(&second).await.status, cancel(&second).await.status), (200, 200));
    assert_eq!(moves(&second, third_time).await, 409, "it was cancelled");
    assert!(world.get(&format!("/bookings/{id}?t={first}")).await.text.contains("キャンセル"));
}

#[tokio::test]
async fn wrong_tokens_are_all_told_the_same() {
    let world = World::new().await;
    let lead_id = world.opt_in(HANAKO).await;
    let good = world.token(Purpose::Unsubscribe, &lead_id);
    let foreign = Links::new([("k1", vec![9; 32])].into_iter());
    let nobody = Id::parse("l-nobody").unwrap();
    let operator = world.links.sign(Purpose::Console, &Id::parse(OPERATOR).unwrap(), None, world.now());
    let wrong = [
        String::new(),
        "x".to_owned(),
        good.replacen("k1.", "k9.", 1),
        good.replacen("k1.", "k1.k1.", 1),
        good.replace(lead_id.as_str(), "l-nobody"),
        good.replacen(".0.", ".+0.", 1).replacen(".18", ".19", 1),
        format!("{good}A"),
        good[..good.len() - 1].to_owned(),
        world.token(Purpose::Book, &lead_id),
        world.token(Purpose::Confirm, &nobody),
        foreign.sign(Purpose::Unsubscribe, &lead_id, None, world.now()),
        operator,
    ];
    for path in ["/unsubscribe", "/preferences"] {
        let mut told = vec![];
        for token in &wrong {
            let answer = world.send("POST", &format!("{path}?t={token}"), &[FORM], "frequency=all").await;
            told.push((answer.status, answer.text));
        }
        told.dedup();
        assert_eq!(told.len(), 1, "{path}: {told:?}");
        assert_eq!(told[0].0, 403, "{path}");
    }
    assert_eq!(world.lead(&lead_id).await.mailing, Mailing::Subscribed);
}

#[tokio::test]
async fn a_stranger_who_types_in_a_known_address_changes_nothing_of_hers() {
    let world = World::with(&daily()).await;
    let lead_id = world.opt_in_with(HANAKO, json!({"attribute_industry": "金融"})).await;
    let before = world.lead(&lead_id).await;
    world.pass(TimeDelta::hours(1)).await;
    let form = json!({"name": "太郎", "visitor_id": "v-stranger", "attribute_industry": "IT",
        "time_zone": "America/New_York", "lead_magnet_type": "catalogue"});
    world.opt_in_with(HANAKO, form.clone()).await;
    world.opt_in_with(HANAKO, form).await;
    let after = world.lead(&lead_id).await;
    assert_eq!(
        (&after.name, &after.visitor_id, &after.attributes, &after.consent),
        (&before.name, &before.visitor_id, &before.attributes, &before.consent)
    );
    world.post("/visits", &json!({"visitor_id": "v-stranger", "page": "guide"})).await;
    let timeline = world.tables().timeline(&lead_id).await.unwrap();
    assert!(!timeline.iter().any(|event| event.fact.kind().as_str() == "page_seen"), "{timeline:?}");
}
