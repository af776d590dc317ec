use serde_json::json;
use web::link::Purpose;

use crate::world::World;

#[tokio::test]
async fn a_payment_reported_twice_is_one_customer_one_sale_and_one_mail() {
    let world = World::new().await;
    let lead_id = world.opt_in("hanako@example.com").await;
    let session = world.buy(&lead_id, "vip").await;
    for _ in 0..3 {
        world.checkout.pay(&world.cloud, &session).await.unwrap();
        world.cloud.settle().await;
    }
    let customers = world.tables().customers(&lead_id).await.unwrap();
    assert_eq!(customers.len(), 1);
    let figures = world.figures("2027-03-01").await;
    assert_eq!((&figures["sales"], &figures["revenue"]), (&json!(1), &json!(customers[0].price)));
    assert_eq!(
        world.way_of("hanako@example.com").iter().filter(|mail| mail.contains("completed")).count(),
        1
    );
}

#[tokio::test]
async fn applying_twice_opens_one_checkout() {
    let world = World::new().await;
    let lead_id = world.opt_in("hanako@example.com").await;
    let body = json!({"t": world.token(Purpose::Apply, &lead_id), "plan": "standard"});
    let (first, second) =
        (world.post("/applications", &body).await, world.post("/applications", &body).await);
    assert_eq!(first.json()["checkout_url"], second.json()["checkout_url"]);
    assert_eq!(world.figures("2027-03-01").await["applications"], 1);
}

#[tokio::test]
async fn applying_again_from_a_later_mail_works_on_the_same_day() {
    let world = World::new().await;
    let lead_id = world.opt_in("hanako@example.com").await;
    for _ in 0..2 {
        let answer = world
            .post("/applications", &json!({"t": world.token(Purpose::Apply, &lead_id), "plan": "standard"}))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        world.pass(chrono::TimeDelta::hours(1)).await;
    }
    assert_eq!(world.figures("2027-03-01").await["applications"], 1);
}

#[tokio::test]
async fn money_that_cant_be_matched_is_put_aside_for_a_person_with_the_reason() {
    let mut world = World::new().await;
    let lead_id = world.opt_in("hanako@example.com").await;
    let event = |plan: &str, lead: &str| {
        json!({"id": "evt_9", "type": "checkout.session.completed", "created": world.now().timestamp(), "data": {"object": {
            "id": "cs_9", "payment_status": "paid", "amount_total": 1000, "currency": "jpy",
            "customer_details": {"email": "stranger@shop.example.org", "name": "山田"},
            "metadata": {"lead_id": lead, "application_id": "a-1", "plan": plan}}}})
        .to_string()
    };
    for body in [event("gold", lead_id.as_str()), event("vip", "l-nobody"), event("vip", "No One")] {
        let signature = integrations::stripe::sign_webhook("whsec_local", body.as_bytes(), world.now());
        let answer = world.send("POST", "/webhooks/stripe", &[("stripe-signature", &signature)], body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    let kept: Vec<String> = world.cloud.dead_letters().into_iter().map(|(_, message)| message.body).collect();
    assert!(kept.iter().all(|body| body.contains("cs_9") && body.contains("1000")), "{kept:?}");
    assert!(!kept.iter().any(|body| body.contains("stranger") || body.contains("山田")), "{kept:?}");
    assert_eq!(
        world.dead_letters(),
        [
            "the plan is not one of this funnel's",
            "the lead who paid is not known",
            "metadata.lead_id is missing or not an id"
        ]
    );
    assert_eq!(world.figures("2027-03-01").await["sales"], 0);
}
