use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn a_leads_page_tells_her_whole_story() {
    let world = World::new().await;
    let lead_id = world.opt_in("hanako@example.com").await;
    world.book(&lead_id, "2027-03-05").await;
    world.until("2027-03-05T12:00:00Z").await;
    let t = world.links.sign_console(world.now());
    let page = world.get(&format!("/console/leads/{lead_id}?t={t}")).await;
    assert_eq!(page.status, 200);
    for told in [
        "hanako@example.com",
        "花子",
        "instagram",
        "7日間のステップメール",
        "day-4",
        "プライバシーポリシーに同意し",
    ] {
        assert!(page.text.contains(told), "{told} in {}", page.text);
    }
    let found = world.post(&format!("/console/find?t={t}"), &json!({"lead": "HANAKO@example.com"})).await;
    assert_eq!(found.json()["lead_id"], lead_id.as_str());
}

#[tokio::test]
async fn what_the_console_cant_do_it_says_in_which_field() {
    let world = World::new().await;
    let lead_id = world.opt_in("hanako@example.com").await;
    let booked = world.book(&lead_id, "2027-03-05").await;
    let id = booked["consultation_id"].as_str().unwrap();
    let t = world.links.sign_console(world.now());
    let problem = async |method: &str, path: String, body: serde_json::Value| {
        let answer = world
            .send(method, &format!("{path}?t={t}"), &[("content-type", "application/json")], body.to_string())
            .await;
        (answer.status, answer.json()["errors"][0]["field"].as_str().unwrap_or_default().to_owned())
    };
    for (path, status, field) in [
        ("/console/days/2027-03-02", 422, "date"),
        ("/console/days/soon", 422, "date"),
        ("/console/days/2020-01-01", 404, "date"),
        ("/console/leads/l-nobody", 404, "lead"),
    ] {
        assert_eq!(problem("GET", path.to_owned(), json!({})).await, (status, field.to_owned()), "{path}");
    }
    let outcome = format!("/console/consultations/{id}/outcome");
    assert_eq!(
        problem("POST", outcome.clone(), json!({"outcome": "maybe"})).await,
        (422, "outcome".to_owned())
    );
    assert_eq!(problem("POST", outcome.clone(), json!({"outcome": "won"})).await.0, 409, "it has not begun");
    assert_eq!(
        problem("POST", "/console/consultations/c-none/outcome".to_owned(), json!({"outcome": "won"}))
            .await
            .0,
        404
    );
    world.until("2027-03-08T00:00:00Z").await;
    let t = world.links.sign_console(world.now());
    for _ in 0..2 {
        let held = world.post(&format!("{outcome}?t={t}"), &json!({"outcome": "missed"})).await;
        assert_eq!((held.status, held.json()["status"].as_str()), (200, Some("missed")));
    }
    assert_eq!(world.figures("2027-03-08").await["consultations_missed"], 1);
}

#[tokio::test]
async fn a_day_out_of_range_is_refused_by_the_night_too() {
    let world = World::new().await;
    for (date, expected) in [
        ("2027-03-02", "date: must not be in the future (today is 2027-03-01)"),
        ("2027-02-30", "date: must be a day such as 2026-11-22"),
    ] {
        assert_eq!(world.invoke("nightly-aggregation", json!({"date": date})).await.unwrap_err(), expected);
    }
}
