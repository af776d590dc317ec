use std::collections::BTreeSet;

use chrono::TimeDelta;
use michi::person;
use serde_json::{Value, json};
use web::link::Purpose;

use crate::{draft::Draft, world::World};

const HER: &str = "hanako@example.com";

async fn exported(world: &World) -> Value {
    serde_json::from_str(&person::export(&world.remote(), HER).await.unwrap()).unwrap()
}

/// A shop that lets addresses be confirmed.
fn asking() -> Draft {
    Draft::new().double_opt_in("")
}

fn kinds(document: &Value) -> BTreeSet<&str> {
    document["facts"].as_array().unwrap().iter().map(|fact| fact["kind"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn everything_that_is_kept_on_a_person_is_in_one_document() {
    let world = World::new().await;
    world.see("privacy").await;
    let lead_id = world.opt_in_with(HER, json!({"lead_magnet_type": "checklist"})).await;
    world.opt_in("taro@example.com").await;
    world.pass(TimeDelta::days(3)).await;
    world.open(HER, "day-1").await;
    world.click(HER, "day-1").await;
    world.book(&lead_id, "2027-03-08").await;
    world.buy(&lead_id, "vip").await;
    let document = exported(&world).await;
    let names: Vec<&str> = document.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        names.into_iter().collect::<BTreeSet<_>>(),
        BTreeSet::from([
            "lead",
            "consents",
            "mails",
            "enrolments",
            "facts",
            "consultations",
            "purchases",
            "tasks"
        ])
    );
    assert_eq!(document["lead"]["email"], HER);
    assert_eq!(
        (&document["consents"][0]["standing"], &document["consents"][0]["place"]),
        (&json!("present"), &json!("POST /opt-in"))
    );
    let expected = [
        "application_submitted",
        "consultation_booked",
        "customer_paid",
        "mail_clicked",
        "mail_delivered",
        "mail_opened",
        "mail_sent",
        "opted_in",
        "visited",
    ];
    assert_eq!(kinds(&document), BTreeSet::from(expected));
    for (part, count) in [("consultations", 1), ("purchases", 1)] {
        assert_eq!(document[part].as_array().unwrap().len(), count, "{part}");
    }
    assert!(
        document["mails"].as_array().unwrap().len() > 4
            && document["enrolments"].as_array().unwrap().len() > 2
    );
    assert!(!document.to_string().contains("taro@example.com"));
}

#[tokio::test]
async fn every_consent_stays_on_record_and_none_goes_over_the_bus() {
    let world = World::with(&asking()).await;
    let lead_id = world.opt_in_with(HER, json!({"lead_magnet_type": "guide"})).await;
    let confirm = async || {
        let token = world.token(Purpose::Confirm, &lead_id);
        assert_eq!(world.post("/confirm", &json!({"t": token})).await.status, 200);
    };
    world.pass(TimeDelta::hours(1)).await;
    confirm().await;
    world.tell("ordered", HER, "o-1", json!({"item": "花子さまの水筒"})).await;
    world.pass(TimeDelta::days(1)).await;
    let token = world.token(Purpose::Unsubscribe, &lead_id);
    world.post(&format!("/unsubscribe?t={token}"), &json!({})).await;
    let token = world.token(Purpose::Preferences, &lead_id);
    world.post(&format!("/preferences?t={token}"), &json!({"subscribe": true})).await;
    let document = exported(&world).await;
    let consents: Vec<(&str, bool, &str)> = document["consents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|consent| {
            let text = |name: &str| consent[name].as_str().unwrap_or_default();
            (text("place"), consent["confirmed_at"].is_string(), text("standing"))
        })
        .collect();
    assert_eq!(consents, [("POST /opt-in", true, "earlier"), ("POST /preferences", false, "present")]);
    assert_eq!(
        document["facts"].as_array().unwrap().iter().find(|fact| fact["kind"] == "told").unwrap()["values"]["item"],
        "花子さまの水筒"
    );
    let told: Vec<String> = world.cloud.bus_events().iter().map(|event| event.to_string()).collect();
    assert!(told.iter().any(|event| event.contains("\"told\"")), "{told:?}");
    for secret in ["水筒", "同意", "127.0.0.1", "confirmed_ip"] {
        assert!(!told.iter().any(|event| event.contains(secret)), "{secret} in {told:?}");
    }
    // Her page shows both.
    let token = world.links.sign_console(world.now());
    let page = world.get(&format!("/console/leads/{lead_id}?t={token}")).await.text;
    assert!(page.contains("以前の同意") && page.contains("POST &#x2f;preferences"), "{page}");
}
