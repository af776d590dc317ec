//! Facts that other systems tell: `POST /facts`.

use serde_json::json;
use web::link::Purpose;

use crate::{draft::Draft, world::World};

const HANAKO: &str = "hanako@example.com";

fn cart() -> Draft {
    let steps =
        "entry = [{ fact = \"cart-updated\" }]\nagain = true\n\n[[steps]]\nid = \"one\"\nsend = \"cart\"\n";
    Draft::new()
        .mail("cart", "", "{{ fact.items | default(\"商品\") }}が残っています。\n\n[カートに戻る]({{ fact.cart_url | default(\"https://shop.example.com\") }})\n")
        .sequence("cart", steps)
}

#[tokio::test]
async fn a_told_fact_starts_its_sequence_with_what_was_told() {
    let world = World::with(&cart()).await;
    world.opt_in_with(HANAKO, json!({})).await;
    let values = json!({"items": "湯のみ<b>2つ</b>", "cart_url": "https://shop.example.com/c/1"});
    let answer = world.tell("cart-updated", HANAKO, "k1", values.clone()).await;
    assert_eq!((answer.status, answer.json()["status"].as_str().unwrap()), (200, "told"));
    let mail = world.mails_to(HANAKO).remove(0);
    assert!(mail.text.as_ref().unwrap().contains("湯のみ<b>2つ</b>が残っています。"));
    assert!(mail.html.as_ref().unwrap().contains("湯のみ&lt;b&gt;2つ&lt;/b&gt;"), "no markup comes in");
    assert!(mail.links.iter().any(|link| link.href == "https://shop.example.com/c/1"));
    // Told twice, it happened once; told of another cart, it happened again.
    let again = world.tell("cart-updated", HANAKO, "k1", values.clone()).await;
    assert_eq!(again.json()["status"], "known");
    assert_eq!(world.mails_to(HANAKO).len(), 1);
    world.pass(chrono::TimeDelta::minutes(2)).await;
    world.tell("cart-updated", HANAKO, "k2", json!({})).await;
    assert!(world.mails_to(HANAKO)[1].text.as_ref().unwrap().contains("商品が残っています。"));
}

#[tokio::test]
async fn one_key_is_one_fact_for_each_person_on_whatever_day_it_is_told() {
    let world = World::with(&cart()).await;
    for email in [HANAKO, "taro@example.com"] {
        world.opt_in_with(email, json!({})).await;
        assert_eq!(world.tell("cart-updated", email, "k1", json!({})).await.json()["status"], "told");
    }
    world.pass(chrono::TimeDelta::days(1)).await;
    assert_eq!(world.tell("cart-updated", HANAKO, "k1", json!({})).await.json()["status"], "known");
    assert_eq!((world.mails_to(HANAKO).len(), world.mails_to("taro@example.com").len()), (1, 1));
}

#[tokio::test]
async fn wrong_facts_are_refused_with_the_field_and_the_mend() {
    let world = World::with(&cart()).await;
    let lead_id = world.opt_in_with(HANAKO, json!({})).await;
    for (body, status, field) in [
        (json!({"fact": "cart-updatd", "email": HANAKO, "key": "k"}), 422, "fact"),
        (json!({"fact": "cart-updated", "key": "k"}), 422, "email"),
        (json!({"fact": "cart-updated", "email": HANAKO}), 422, "key"),
        (json!({"fact": "cart-updated", "email": HANAKO, "key": "k", "at": "tomorrow"}), 422, "at"),
        (
            json!({"fact": "cart-updated", "email": HANAKO, "key": "k", "at": "2027-03-02T00:00:00Z"}),
            422,
            "at",
        ),
        (
            json!({"fact": "cart-updated", "email": HANAKO, "key": "k", "at": "2026-01-01T00:00:00Z"}),
            422,
            "at",
        ),
        (
            json!({"fact": "cart-updated", "email": HANAKO, "key": "k", "values": {"cart_url": "javascript:alert(1)"}}),
            422,
            "values.cart_url",
        ),
        (json!({"fact": "cart-updated", "email": "nobody@example.com", "key": "k"}), 404, ""),
    ] {
        let token = format!("Bearer {}", world.token(Purpose::Api, &domain::id::Id::parse("shop").unwrap()));
        let headers = [("content-type", "application/json"), ("authorization", token.as_str())];
        let answer = world.send("POST", "/facts", &headers, body.to_string()).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        if !field.is_empty() {
            assert_eq!(answer.json()["errors"][0]["field"], field, "{body}: {answer:?}");
        }
    }
    // A personal link is no key to the API, and no key opens nothing.
    let book = format!("Bearer {}", world.token(Purpose::Book, &lead_id));
    for authorization in
        [vec![], vec![("authorization", book.as_str())], vec![("authorization", "Basic eDp4")]]
    {
        let headers: Vec<_> =
            [("content-type", "application/json")].into_iter().chain(authorization).collect();
        let answer = world.send("POST", "/facts", &headers, "{}").await;
        assert_eq!(answer.status, 401, "{answer:?}");
    }
    assert!(world.mails_to(HANAKO).is_empty());
}

#[tokio::test]
async fn attributes_are_taken_as_the_funnel_declares_them() {
    let world = World::with(&cart()).await;
    let lead_id =
        world.opt_in_with(HANAKO, json!({"attributes": {"industry": "IT", "employees": 120}})).await;
    let lead = world.lead(&lead_id).await;
    assert_eq!((lead.attributes["industry"].as_str(), lead.attributes["employees"].as_str()), ("IT", "120"));
    for (attributes, field) in [
        (json!({"industry": "農業"}), "attribute_industry"),
        (json!({"employees": "many"}), "attribute_employees"),
        (json!({"shoe_size": "43"}), "attribute_shoe_size"),
    ] {
        let form = json!({"email": HANAKO, "consent": true, "attributes": attributes});
        let answer = world.post("/opt-in", &form).await;
        assert_eq!((answer.status, &answer.json()["errors"][0]["field"]), (422, &json!(field)), "{answer:?}");
    }
}
