use serde_json::json;

use crate::world::{HUMAN, World, one_by_one, said};

/// Write units of a piece of work, everything that follows from it at once included.
async fn units(world: &World, what: &str, limit: u64, work: impl AsyncFnOnce(&World)) {
    world.cloud.reset_meter();
    work(world).await;
    world.cloud.settle().await;
    let meter = world.cloud.meter();
    let units = meter.write_units();
    println!("{what}: {}.{:02} write units (at most {limit}) {:?}", units / 100, units % 100, meter.tables);
    assert!(units <= limit * 100, "{what} costs {units} hundredths");
}

#[tokio::test]
async fn opt_in_step_and_mail_event_stay_within_their_write_units() {
    let world = World::new().await;
    // SES's events about the welcome mail are counted apart, below.
    let email_events = world.cloud.handler("email-event").unwrap();
    let held: std::sync::Arc<std::sync::Mutex<Vec<serde_json::Value>>> = Default::default();
    let log = held.clone();
    world.cloud.register(
        "email-event",
        std::sync::Arc::new(move |batch| {
            log.lock().unwrap().extend(one_by_one(&batch));
            Box::pin(async { Ok(json!({"batchItemFailures": []})) })
        }),
    );
    let delivery = world.cloud.handler("delivery").unwrap();
    let waiting: std::sync::Arc<std::sync::Mutex<Vec<serde_json::Value>>> = Default::default();
    let log = waiting.clone();
    world.cloud.register(
        "delivery",
        std::sync::Arc::new(move |event| {
            log.lock().unwrap().push(event);
            Box::pin(async { Ok(json!({"batchItemFailures": []})) })
        }),
    );
    units(&world, "opt-in with its enrolments", 12, async |world| {
        world.opt_in("hanako@example.com").await;
    })
    .await;
    world.cloud.register("delivery", delivery);
    let first = waiting.lock().unwrap().remove(0);
    units(&world, "the first step", 8, async |world| {
        world.invoke("delivery", first).await.unwrap();
    })
    .await;
    world.until("2027-03-02T21:00:00Z").await;
    units(&world, "a step of the week", 8, async |world| world.until("2027-03-02T22:01:00Z").await).await;
    let mail = world.mails_to("hanako@example.com")[0].clone();
    world.cloud.open(&mail, HUMAN);
    let link = mail.links.iter().find(|link| link.tracked).unwrap().href.clone();
    world.cloud.click(&mail, &link, HUMAN);
    world.cloud.settle().await;
    world.cloud.register("email-event", email_events);
    let events = held.lock().unwrap().clone();
    assert!(events.len() >= 6);
    for event in events {
        let kind = said(&event)["detail"]["eventType"].as_str().unwrap().to_owned();
        // Opens and clicks come a second time, to be judged.
        let mut again = event.clone();
        again["Records"][0]["eventSourceARN"] =
            world.cloud.stack().functions["email-event"].environment["VERDICT_QUEUE_ARN"].clone().into();
        let touch = matches!(kind.as_str(), "Open" | "Click");
        units(&world, &format!("SES event {kind}"), 4, async |world| {
            world.invoke("email-event", event).await.unwrap();
            if touch {
                world.invoke("email-event", again).await.unwrap();
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_scanners_burst_and_a_person_after_it_stay_within_the_same_write_units() {
    let world = World::new().await;
    world.opt_in("hanako@example.com").await;
    world.pass(chrono::TimeDelta::minutes(5)).await;
    let mail = world.mails_to("hanako@example.com")[0].clone();
    let link = mail.links.iter().find(|link| link.tracked).unwrap().href.clone();
    let hidden = mail.links.iter().find(|link| link.hidden).unwrap().href.clone();
    let scanner = michi::aws::ses::Reader { user_agent: "BarracudaSentinel/1.0", ..HUMAN };
    for n in 0..30 {
        let what = if n % 2 == 0 { &link } else { &hidden };
        units(&world, "a scanner's click", 4, async |world| {
            world.cloud.click(&mail, what, scanner);
            world.pass(chrono::TimeDelta::seconds(60)).await;
        })
        .await;
    }
    units(&world, "a person's click after many of a scanner's", 4, async |world| {
        world.pass(chrono::TimeDelta::minutes(5)).await;
        world.cloud.click(&mail, &link, HUMAN);
        world.until_judged().await;
    })
    .await;
}

#[tokio::test]
async fn the_nights_cost_follows_the_days_facts_not_the_number_of_leads() {
    let mut cost = vec![];
    for earlier_leads in [5, 50] {
        let world = World::new().await;
        for n in 0..earlier_leads {
            world.opt_in(&format!("early{n}@example.com")).await;
        }
        world.until("2027-03-20T00:00:00Z").await;
        for n in 0..40 {
            world.opt_in(&format!("late{n}@example.com")).await;
        }
        world.cloud.reset_meter();
        world.figures("2027-03-20").await;
        cost.push(world.cloud.meter().read_units());
    }
    println!(
        "read units of one night (hundredths): {} with few leads, {} with ten times as many",
        cost[0], cost[1]
    );
    assert!(cost[1] * 100 <= cost[0] * 105, "{cost:?}");
}
