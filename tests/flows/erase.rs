use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
    orchestrator::HttpRequest,
    result::ConnectorError,
};
use chrono::TimeDelta;
use cloud::{Cloud, erase, timers::Timers};
use domain::id::Id;
use michi::person;
use serde_json::{Value, json};
use web::link::Purpose;

use crate::world::{HUMAN, World};

const HER: &str = "hanako@example.com";

async fn erased(world: &World) {
    let told = person::erase(&world.remote(), HER, Duration::ZERO).await.unwrap();
    assert!(told.ends_with("is erased"), "{told}");
    world.cloud.settle().await;
}

/// A life with something in every table.
async fn life(world: &World) -> Id {
    world.see("privacy").await;
    let lead_id = world.opt_in_with(HER, json!({"lead_magnet_type": "checklist"})).await;
    world.see("privacy").await;
    let booked = world.book(&lead_id, "2027-03-05").await;
    assert!(booked["consultation_id"].is_string());
    world.pass(TimeDelta::days(1)).await;
    world.open(HER, "welcome").await;
    world.click(HER, "welcome").await;
    world.buy(&lead_id, "vip").await;
    world.book(&lead_id, "2027-03-10").await;
    let task = domain::task::Task {
        task_id: Id::parse("t-1").unwrap(),
        lead_id: lead_id.clone(),
        title: "電話".to_owned(),
        assignee: Id::parse("owner").ok(),
        due: world.now(),
        created_at: world.now(),
        made_by: "mql/call".to_owned(),
        done_at: None,
        given_to: Id::parse("owner").unwrap(),
    };
    assert!(world.tables().add_task(&task).await.unwrap());
    lead_id
}

/// The rows in which anything of hers still stands.
async fn traces(world: &World, lead_id: &Id) -> Vec<String> {
    let hers = [lead_id.as_str(), HER, "hanako", "花子", "\"v-1\"", ".v-1."];
    let rows = world.rows().await.into_iter();
    let somebody_else = |row: &String| row.contains("taro@example.com");
    rows.filter(|row| hers.iter().any(|hers| row.contains(hers)) && !somebody_else(row)).collect()
}

/// All items of all tables, to be compared.
async fn items(world: &World) -> Vec<HashMap<String, AttributeValue>> {
    let client = aws_sdk_dynamodb::Client::new(&world.cloud.sdk_config());
    let mut items = vec![];
    for table in world.cloud.stack().tables.keys() {
        items.extend(client.scan().table_name(table).send().await.unwrap().items.unwrap());
    }
    items
}

/// Gives back everything that a function got.
fn overheard(world: &World, function: &'static str) -> Arc<Mutex<Vec<Value>>> {
    let seen = Arc::new(Mutex::new(vec![]));
    let (log, inner) = (seen.clone(), world.cloud.handler(function).unwrap());
    let listening = move |event: Value| {
        log.lock().unwrap().push(event.clone());
        inner(event)
    };
    world.cloud.register(function, Arc::new(listening));
    seen
}

#[tokio::test]
async fn of_an_erased_person_nothing_stays_but_a_mark_and_the_figures_stay_what_they_were() {
    let world = World::new().await;
    let lead_id = life(&world).await;
    world.opt_in("taro@example.com").await;
    let mut figures = vec![];
    for day in ["2027-03-01", "2027-03-02"] {
        figures.push((day, world.figures(day).await));
    }
    let tables_with_her: std::collections::BTreeSet<String> =
        traces(&world, &lead_id).await.iter().map(|row| row.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(tables_with_her.len(), 7, "{tables_with_her:?}");
    let told = person::what_goes(&world.remote(), HER).await.unwrap();
    for line in
        ["2 consultations", "1 tasks", "1 purchases", "! she is a customer (vip)", "! the consultation"]
    {
        assert!(told.contains(line), "{line} in {told}");
    }
    assert!(!told.contains(HER), "{told}");
    assert!(!traces(&world, &lead_id).await.is_empty(), "asking erases nothing");

    let (slots, heard) = (world.slots().await.len(), world.cloud.bus_events().len());
    erased(&world).await;
    assert_eq!(world.cloud.bus_events().len(), heard, "others hear nothing twice, and nothing more of her");

    let left = traces(&world, &lead_id).await;
    assert_eq!(left.len(), 1, "{left:#?}");
    assert!(left[0].starts_with("Leads ") && !left[0].contains("rest"), "{left:?}");
    assert_eq!(world.slots().await.len(), slots + 2, "her times are free");
    for (day, before) in figures {
        assert_eq!(world.figures(day).await, before, "{day}");
    }
    let bought: Vec<String> =
        world.rows().await.into_iter().filter(|row| row.starts_with("Customers ")).collect();
    assert!(bought.len() == 1 && bought[0].contains("1650000"), "{bought:?}");
    assert!(world.tables().lead(&lead_id).await.unwrap().is_none());
    assert!(!world.way_of("taro@example.com").is_empty());

    let way = world.way_of(HER);
    world.until("2027-04-15T00:00:00Z").await;
    assert_eq!(world.way_of(HER), way, "no mail any more");
    assert_eq!(traces(&world, &lead_id).await.len(), 1);
    assert!(person::what_goes(&world.remote(), HER).await.unwrap().contains("was erased at"));
    erased(&world).await;
    assert!(world.cloud.forget_mails(&lead_id) >= way.len());
    assert!(world.mails_to(HER).is_empty() && !world.mails_to("taro@example.com").is_empty());
}

#[tokio::test]
async fn what_comes_late_about_an_erased_person_brings_nothing_back() {
    let world = World::new().await;
    let functions = ["relay", "delivery", "email-event"];
    let heard = functions.map(|function| overheard(&world, function));
    let lead_id = life(&world).await;
    let mail = world.mails_to(HER)[0].clone();
    erased(&world).await;
    let old = heard.each_ref().map(|heard| heard.lock().unwrap().clone());
    let replay = async || {
        for (function, events) in functions.iter().zip(&old) {
            assert!(events.len() > 3, "{function} was hardly used");
            for event in events {
                world.invoke(function, event.clone()).await.unwrap();
            }
        }
        world.cloud.open(&mail, HUMAN);
        world.cloud.settle().await;
    };
    let mails = world.mails_to(HER).len();
    replay().await;
    assert_eq!(traces(&world, &lead_id).await.len(), 1);
    world.pass(TimeDelta::days(10)).await;
    assert_eq!(world.mails_to(HER).len(), mails);

    // She comes back: as a new lead, of whose earlier life nobody hears.
    world.opt_in(HER).await;
    let lead = world.lead(&lead_id).await;
    let opt_ins = world.figures("2027-03-12").await["opt_ins"].clone();
    assert_eq!((opt_ins, lead.tags.len(), lead.score), (json!(1), 2, 0), "first = true");
    let rows = traces(&world, &lead_id).await.len();
    replay().await;
    assert_eq!(traces(&world, &lead_id).await.len(), rows);
    world.pass(TimeDelta::days(2)).await;
    let way = world.way_of(HER);
    let again: Vec<&str> = way[mails..].iter().map(String::as_str).collect();
    assert_eq!(
        again,
        ["03-12 10:02 welcome/welcome", "03-13 07:00 nurture/day-1", "03-14 07:00 nurture/day-2"]
    );
}

#[tokio::test]
async fn a_complaint_that_is_heard_of_after_an_erasure_closes_the_address_in_every_life() {
    for heard_in_the_new_life in [false, true] {
        let world = World::new().await;
        let lead_id = life(&world).await;
        let mail = world.mails_to(HER)[0].clone();
        // On its way for as long as we like.
        let inner = world.cloud.handler("email-event").unwrap();
        let held = Arc::new(Mutex::new(vec![]));
        let holding = Arc::clone(&held);
        world.cloud.register(
            "email-event",
            Arc::new(move |event| {
                holding.lock().unwrap().push(event);
                Box::pin(async { Ok(json!({})) })
            }),
        );
        world.cloud.complain(&mail);
        world.cloud.settle().await;
        world.cloud.register("email-event", inner);
        let complaint = held.lock().unwrap().remove(0);
        assert!(complaint.to_string().contains("Complaint"), "{complaint}");
        let hear = async || world.invoke("email-event", complaint.clone()).await.unwrap();
        world.pass(TimeDelta::minutes(1)).await;

        let (tables, timers) = (world.tables(), Timers::new(&world.remote()).unwrap());
        let begun = erase::begin(&tables, &timers, &lead_id, "key", world.now()).await.unwrap().unwrap();
        assert_eq!(hear().await["batchItemFailures"].as_array().unwrap().len(), 1, "it has to come again");
        erase::finish(&tables, &timers, &begun, world.now()).await.unwrap();
        if !heard_in_the_new_life {
            for _ in 0..2 {
                assert_eq!(hear().await["batchItemFailures"], json!([]));
            }
            assert_eq!(traces(&world, &lead_id).await.len(), 1, "the mark is all there is");
        }
        world.pass(TimeDelta::minutes(1)).await;
        let before = world.mails_to(HER).len();
        assert_eq!(world.post("/opt-in", &json!({"email": HER, "consent": true})).await.status, 200);
        if heard_in_the_new_life {
            hear().await;
        }
        assert_eq!(world.lead(&lead_id).await.mailing, domain::lead::Mailing::Suppressed);
        world.pass(TimeDelta::days(3)).await;
        // The welcome went out before anybody knew.
        let welcomed = usize::from(heard_in_the_new_life);
        assert_eq!(world.mails_to(HER).len() - before, welcomed);
    }
}

#[tokio::test]
async fn an_erasure_that_breaks_off_anywhere_is_finished_by_the_next_one() {
    let world = World::new().await;
    let lead_id = life(&world).await;
    let figures = world.figures("2027-03-02").await;
    let mut broken = 0;
    for calls in std::iter::successors(Some(3), |calls| Some(calls + calls / 12 + 3)) {
        match person::erase(&breaking(&world, calls), HER, Duration::ZERO).await {
            Ok(_) => break,
            Err(_) => broken += 1,
        }
        if world.tables().lead(&lead_id).await.unwrap().is_none() {
            let again = world.post("/opt-in", &json!({"email": HER, "consent": true})).await;
            assert_eq!(again.status, 503, "not before the old rows are gone");
        }
    }
    assert!(broken > 10, "{broken}");
    let left = traces(&world, &lead_id).await;
    assert_eq!(left.len(), 1, "{left:#?}");
    assert_eq!(world.figures("2027-03-02").await, figures);
}

#[tokio::test]
async fn an_erasure_that_is_begun_again_keeps_her_out_until_it_is_over() {
    let world = World::new().await;
    let lead_id = life(&world).await;
    erased(&world).await;
    let (tables, timers) = (world.tables(), Timers::new(&world.remote()).unwrap());
    let begin =
        async |key: &str| erase::begin(&tables, &timers, &lead_id, key, world.now()).await.unwrap().unwrap();
    let opt_in = async || world.post("/opt-in", &json!({"email": HER, "consent": true})).await.status;
    let second = begin("second").await;
    assert_eq!(opt_in().await, 503);
    erase::finish(&tables, &timers, &second, world.now()).await.unwrap();
    assert_eq!(traces(&world, &lead_id).await.len(), 1);
    assert_eq!(opt_in().await, 200);
}

#[tokio::test]
async fn an_erasure_that_another_run_has_finished_takes_nothing_of_a_new_life() {
    let world = World::new().await;
    let lead_id = life(&world).await;
    let (tables, timers) = (world.tables(), Timers::new(&world.remote()).unwrap());
    let begin =
        async |key: &str| erase::begin(&tables, &timers, &lead_id, key, world.now()).await.unwrap().unwrap();
    let first = begin("first").await;
    let second = begin("second").await;
    let before = items(&world).await;
    let error = erase::finish(&tables, &timers, &first, world.now()).await.unwrap_err();
    assert!(error.to_string().contains("run it again"), "{error}");
    assert_eq!(items(&world).await, before, "it is the other's now");
    erase::finish(&tables, &timers, &second, world.now()).await.unwrap();
    let left = traces(&world, &lead_id).await;
    assert_eq!(left.len(), 1, "{left:#?}");

    assert_eq!(life(&world).await, lead_id);
    let (before, due) = (items(&world).await, world.cloud.next_due());
    for finished in [&first, &second] {
        erase::finish(&tables, &timers, finished, world.now()).await.unwrap();
    }
    assert_eq!(items(&world).await, before);
    assert_eq!(world.cloud.next_due(), due);
}

#[tokio::test]
async fn facts_without_her_go_when_they_would_have_gone_with_her() {
    let news = "entry = [\"opted_in\"]\n\n[[steps]]\nid = \"one\"\nsend = \"one\"\n";
    let draft = crate::draft::Draft::new().sequence("news", news);
    let world = World::with(&draft.config("[retention]\nvisits = 30\nmails = 40")).await;
    world.see("pricing").await;
    world.opt_in_with(HER, json!({"lead_magnet_type": "guide"})).await;
    world.open(HER, "one").await;
    let expires = async || {
        let rows = world.rows().await.into_iter().filter(|row| row.starts_with("Events "));
        let mut times: Vec<Option<String>> = rows
            .map(|row| Some(row.split_once("\"expires_at\": N(\"")?.1.split_once('"')?.0.to_owned()))
            .collect();
        times.sort();
        times
    };
    let before = expires().await;
    assert!(before.iter().flatten().count() >= 3 && before.contains(&None), "{before:?}");
    erased(&world).await;
    assert_eq!(expires().await, before);
}

#[tokio::test]
async fn nobody_writes_to_the_consultation_of_somebody_whose_erasure_has_begun() {
    let world = World::new().await;
    let lead_id = world.opt_in(HER).await;
    let (over, ahead) = (world.book(&lead_id, "2027-03-05").await, world.book(&lead_id, "2027-03-11").await);
    world.until("2027-03-06T00:00:00Z").await;
    let slot = world.slots().await[0].clone();
    let timers = Timers::new(&world.remote()).unwrap();
    erase::begin(&world.tables(), &timers, &lead_id, "key", world.now()).await.unwrap();
    let before = items(&world).await;
    let id = ahead["consultation_id"].as_str().unwrap();
    let t = world.token(Purpose::Manage, &Id::parse(id).unwrap());
    assert_eq!(world.get(&format!("/bookings/{id}?t={t}")).await.status, 404);
    assert_eq!(world.get(&format!("/booking?t={t}")).await.status, 404);
    for (path, body) in [
        (format!("/bookings/{id}/cancel"), json!({"t": t})),
        (format!("/bookings/{id}/reschedule"), json!({"t": t, "slot": slot})),
    ] {
        assert_eq!(world.post(&path, &body).await.status, 404, "{path}");
    }
    let t = world.links.sign_console(world.now());
    let path = format!("/console/consultations/{}/outcome?t={t}", over["consultation_id"].as_str().unwrap());
    assert_eq!(world.post(&path, &json!({"outcome": "won"})).await.status, 404);
    assert_eq!(items(&world).await, before);
}

#[tokio::test]
async fn what_goes_tells_that_sess_list_keeps_an_address_that_we_put_there() {
    let world = World::new().await;
    world.opt_in(HER).await;
    let told = async || person::what_goes(&world.remote(), HER).await.unwrap().contains("`michi reopen`");
    assert!(!told().await);
    michi::remote::suppress(&world.remote(), HER).await.unwrap();
    assert!(!told().await, "it is not there before the night");
    world.pass(TimeDelta::days(1)).await;
    assert!(told().await);
    let because = domain::text::LongText::parse("she asked for it").unwrap();
    michi::remote::reopen(&world.remote(), HER, &because).await.unwrap();
    assert!(!told().await);
}

#[tokio::test]
async fn from_the_command_line_a_running_product_is_reached_and_its_outbox_forgets_her_too() {
    let funnel = crate::draft::Draft::new()
        .sequence("news", "entry = [\"opted_in\"]\n\n[[steps]]\nid = \"one\"\nsend = \"one\"\n")
        .load();
    let listener = michi::server::listen(0).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let clock = michi::clock::Clock::frozen("2027-03-01T01:00:00Z".parse().unwrap());
    let dev = michi::dev::Dev::in_memory(funnel.clone(), clock, "http://localhost").await.unwrap();
    tokio::spawn(axum::serve(listener, michi::dev::router(dev.clone())).into_future());
    let form = json!({"email": HER, "consent": true}).to_string();
    let request =
        axum::http::Request::post("http://localhost/opt-in").header("content-type", "application/json");
    assert_eq!(dev.cloud().http(request.body(form.into()).unwrap()).await.status(), 200);
    dev.cloud().settle().await;
    assert_eq!(dev.cloud().mails().len(), 1);

    let remote = michi::remote::cloud(None, port).await.unwrap();
    assert!((remote.now() - dev.cloud().clock().now()).abs() < TimeDelta::minutes(1), "its clock, not ours");
    let told = person::why(&remote, &funnel, HER, None).await.unwrap();
    assert!(told.contains("one: sent"), "{told}");
    assert!(michi::remote::score(&remote, &funnel, HER, dev.cloud().clock().now()).await.is_ok());
    person::erase(&remote, HER, Duration::ZERO).await.unwrap();
    person::empty_outbox(&remote, port, HER).await.unwrap();
    assert!(dev.cloud().mails().is_empty());
    assert!(person::export(&remote, HER).await.unwrap_err().to_string().contains("is no lead"));
}

/// The product behind a line that breaks after so many calls.
fn breaking(world: &World, calls: usize) -> Cloud {
    let cloud = world.remote();
    let line = SharedHttpConnector::new(Breaking { line: cloud.http.clone(), left: AtomicUsize::new(calls) });
    let sdk = cloud.sdk.clone().into_builder().http_client(http_client_fn(move |_, _| line.clone())).build();
    Cloud { sdk, ..cloud }
}

#[derive(Debug)]
struct Breaking {
    line: SharedHttpConnector,
    left: AtomicUsize,
}

impl HttpConnector for Breaking {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        match left {
            Ok(_) => self.line.call(request),
            Err(_) => HttpConnectorFuture::ready(Err(ConnectorError::other("broken off".into(), None))),
        }
    }
}
