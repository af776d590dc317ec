use serde_json::{Value, json};
use web::link::Purpose;

use crate::world::{World, saying};

/// What an endpoint must say: status, and the fields it names.
#[expect(clippy::too_many_arguments, reason = "the columns of a table")]
async fn refuses(
    world: &World,
    what: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
    status: u16,
    fields: &[&str],
) {
    let answer = world.send(method, path, headers, body.to_owned()).await;
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    assert_eq!(answer.content_type, "application/problem+json", "{what}");
    let problem = answer.json();
    assert_eq!(problem["status"], status, "{what}");
    assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{what}");
    let named: Vec<&str> = problem["errors"]
        .as_array()
        .map(|errors| errors.iter().map(|error| error["field"].as_str().unwrap()).collect())
        .unwrap_or_default();
    assert_eq!(named, fields, "{what}: {problem}");
    let repeated = ["hanako@", "Bcc", "k1.l-", "evil"].iter().any(|entered| answer.text.contains(entered));
    assert!(!repeated, "{what} repeats what was entered: {problem}");
}

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

#[tokio::test]
async fn an_opt_in_that_is_wrong_says_in_which_field() {
    let world = World::new().await;
    let long = "あ".repeat(101);
    let with = |extra: Value| {
        let mut body = json!({"email": "hanako@example.com", "consent": true});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        body.to_string()
    };
    for (what, body, status, fields) in [
        ("no address", json!({"consent": true}).to_string(), 422, vec!["email"]),
        ("no consent", json!({"email": "hanako@example.com"}).to_string(), 422, vec!["consent"]),
        ("refused consent", with(json!({"consent": false})), 422, vec!["consent"]),
        ("bad address", with(json!({"email": "hanako@"})), 422, vec!["email"]),
        ("address as number", with(json!({"email": 7})), 422, vec!["email"]),
        ("address as list", with(json!({"email": ["hanako@example.com"]})), 422, vec!["email", "email"]),
        (
            "header injection",
            with(json!({"email": "hanako@example.com\r\nBcc: evil@example.com"})),
            422,
            vec!["email"],
        ),
        ("header injection by name", with(json!({"name": "x\r\nBcc: evil@example.com"})), 422, vec!["name"]),
        ("long name", with(json!({"name": long})), 422, vec!["name"]),
        ("unknown lead magnet", with(json!({"lead_magnet_type": "evil"})), 422, vec!["lead_magnet_type"]),
        ("bad visitor", with(json!({"visitor_id": "A B"})), 422, vec!["visitor_id"]),
        ("bad campaign", with(json!({"utm_source": "a\nb"})), 422, vec!["utm_source"]),
        (
            "everything at once",
            json!({"email": "x", "name": "a\nb"}).to_string(),
            422,
            vec!["consent", "email", "name"],
        ),
        ("no JSON", "{".to_owned(), 400, vec![]),
        ("no object", "[1]".to_owned(), 400, vec![]),
        ("nothing", String::new(), 400, vec![]),
        ("oversized", with(json!({"name": "x".repeat(70_000)})), 413, vec![]),
    ] {
        refuses(&world, what, "POST", "/opt-in", JSON, &body, status, &fields).await;
    }
    let good = json!({"email": "hanako@example.com", "consent": true}).to_string();
    for content_type in ["text/plain", "application/xml", "multipart/form-data; boundary=x", ""] {
        refuses(&world, content_type, "POST", "/opt-in", &[("content-type", content_type)], &good, 415, &[])
            .await;
    }
    assert!(world.cloud.mails().is_empty());
}

#[tokio::test]
async fn every_other_endpoint_names_what_is_wrong() {
    let world = World::new().await;
    let lead_id = world.opt_in("hanako@example.com").await;
    let (book, apply) = (world.token(Purpose::Book, &lead_id), world.token(Purpose::Apply, &lead_id));
    let stale = world.links.sign(Purpose::Book, &lead_id, Some(chrono::TimeDelta::seconds(-1)), world.now());
    let slot = world.slots().await[0].clone();
    let stranger = world.token(Purpose::Book, &domain::id::Id::parse("l-stranger").unwrap());
    for (what, method, path, body, status, fields) in [
        ("visit without page", "POST", "/visits", json!({"visitor_id": "v-1"}), 422, vec!["page"]),
        (
            "visit of an unknown page",
            "POST",
            "/visits",
            json!({"visitor_id": "v-1", "page": "evil"}),
            422,
            vec!["page"],
        ),
        ("unknown page", "GET", "/pages/evil", json!({}), 404, vec![]),
        ("a page that needs a personal link", "GET", "/pages/booked", json!({}), 404, vec![]),
        ("unsubscribing nobody", "POST", "/unsubscribe", json!({}), 403, vec!["t"]),
        ("unsubscribing with another link", "POST", "/unsubscribe", json!({"t": book}), 403, vec!["t"]),
        ("booking page without link", "GET", "/booking", json!({}), 403, vec!["t"]),
        ("slots of a past day", "GET", "/slots?from=2020-01-01", json!({}), 422, vec!["until"]),
        ("slots of no day", "GET", "/slots?from=soon", json!({}), 422, vec!["from"]),
        ("slots too far ahead", "GET", "/slots?until=2030-01-01", json!({}), 422, vec!["until"]),
        ("booking without link", "POST", "/bookings", json!({"slot": slot}), 403, vec!["t"]),
        ("booking with a stale link", "POST", "/bookings", json!({"t": stale, "slot": slot}), 410, vec!["t"]),
        ("booking for a stranger", "POST", "/bookings", json!({"t": stranger, "slot": slot}), 404, vec![]),
        ("booking without slot", "POST", "/bookings", json!({"t": book}), 422, vec!["slot"]),
        ("booking no slot", "POST", "/bookings", json!({"t": book, "slot": "tomorrow"}), 422, vec!["slot"]),
        (
            "booking a slot that is not offered",
            "POST",
            "/bookings",
            json!({"t": book, "slot": "2027-03-07T18:00:00Z/michino"}),
            422,
            vec!["slot"],
        ),
        (
            "booking with an endless note",
            "POST",
            "/bookings",
            json!({"t": book, "slot": slot, "note": "x".repeat(3000)}),
            422,
            vec!["note"],
        ),
        ("another's booking", "POST", "/bookings/c-1/cancel", json!({"t": book}), 403, vec!["t"]),
        ("applying without link", "POST", "/applications", json!({"plan": "vip"}), 403, vec!["t"]),
        ("applying without plan", "POST", "/applications", json!({"t": apply}), 422, vec!["plan"]),
        (
            "applying for an unknown plan",
            "POST",
            "/applications",
            json!({"t": apply, "plan": "evil"}),
            422,
            vec!["plan"],
        ),
        (
            "an unsigned webhook",
            "POST",
            "/webhooks/stripe",
            json!({"type": "x"}),
            400,
            vec!["stripe-signature"],
        ),
        ("the console without link", "GET", "/console", json!({}), 403, vec![]),
    ] {
        refuses(&world, what, method, path, JSON, &body.to_string(), status, &fields).await;
    }
}

#[tokio::test]
async fn a_browser_gets_the_form_back_with_what_was_entered() {
    let world = World::new().await;
    let headers = [("content-type", "application/x-www-form-urlencoded"), ("accept", "text/html")];
    let answer =
        world.send("POST", "/opt-in", &headers, "email=hanako%40&name=%E8%8A%B1%E5%AD%90&consent=on").await;
    assert_eq!(answer.status, 422);
    assert!(
        answer.content_type.starts_with("text/html")
            && answer.text.contains("花子")
            && answer.text.contains("hanako@"),
        "{answer:?}"
    );
    let good = world.send("POST", "/opt-in", &headers, "email=hanako%40example.com&name=&consent=on").await;
    assert_eq!((good.status, good.location.as_deref()), (303, Some("https://michi.example.com/thanks")));
    let missing = world.get("/pages/nowhere").await;
    assert!(missing.status == 404 && missing.content_type.starts_with("text/html"));
}

#[tokio::test]
async fn a_robot_that_fills_in_the_hidden_field_is_thanked_and_forgotten() {
    let world = World::new().await;
    let answer = world
        .post(
            "/opt-in",
            &json!({"email": "hanako@example.com", "consent": true, "website": "https://evil.example"}),
        )
        .await;
    assert_eq!(answer.status, 200);
    assert!(world.cloud.mails().is_empty());
    assert_eq!(world.figures("2027-03-01").await["opt_ins"], 0);
}

#[tokio::test]
async fn an_event_that_cant_be_read_is_put_aside_and_the_rest_of_its_batch_goes_on() {
    let mut world = World::new().await;
    let client = aws_sdk_sqs::Client::new(&world.cloud.sdk_config());
    let bulk = client.get_queue_url().queue_name("michi-bulk").send().await.unwrap().queue_url.unwrap();
    for body in ["no JSON", r#"{"lead_id": "l-1"}"#] {
        client.send_message().queue_url(&bulk).message_body(body).send().await.unwrap();
    }
    world.opt_in("hanako@example.com").await;
    world
        .invoke(
            "email-event",
            saying(
                &json!({"source": "aws.ses", "detail-type": "Email Sent", "detail": {"eventType": "Send"}}),
            ),
        )
        .await
        .unwrap();
    assert_eq!(world.mails_to("hanako@example.com").len(), 1, "the batch went on");
    let mut reasons = world.dead_letters();
    reasons.sort();
    assert_eq!(reasons.len(), 3);
    for (reason, start) in reasons.iter().zip([
        "detail: missing field `mail`",
        "the message is neither a due step nor a broadcast's tick",
        "the message is neither a due step nor a broadcast's tick",
    ]) {
        assert!(reason.starts_with(start), "{reason}");
    }
}
