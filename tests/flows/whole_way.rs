use chrono::TimeDelta;
use serde_json::json;

use crate::world::{HUMAN, World};

#[tokio::test]
async fn a_person_goes_from_the_landing_page_to_a_sale_and_the_night_counts_it() {
    let world = World::new().await;
    let landing = world.get("/").await;
    assert!(landing.status == 200 && landing.text.contains("name=\"email\""), "{landing:?}");
    world.post("/visits", &json!({"visitor_id": "v-1", "page": "landing"})).await;
    let lead_id = world.opt_in("hanako@example.com").await;

    let welcome = &world.mails_to("hanako@example.com")[0];
    assert!(
        welcome.links.iter().any(|link| link.href.contains("/pages/checklist")),
        "the lead magnet's link: {:?}",
        welcome.links
    );
    world.cloud.open(welcome, HUMAN);
    assert!(world.cloud.click(welcome, &welcome.links.iter().find(|link| link.tracked).unwrap().href, HUMAN));
    world.cloud.settle().await;

    world.until("2027-03-05T00:00:00Z").await;
    let booked = world.book(&lead_id, "2027-03-11").await;
    world.until("2027-03-11T04:00:00Z").await;
    let consultation_id = booked["consultation_id"].as_str().unwrap();
    let console = world.links.sign_console(world.now());
    let held = world
        .post(
            &format!("/console/consultations/{consultation_id}/outcome?t={console}"),
            &json!({"outcome": "won"}),
        )
        .await;
    assert_eq!(held.status, 200, "{held:?}");
    world.pass(TimeDelta::hours(3)).await;
    world.buy(&lead_id, "premium").await;
    world.pass(TimeDelta::days(8)).await;

    assert_eq!(
        world.way_of("hanako@example.com"),
        [
            "03-01 10:00 welcome/welcome",
            "03-02 07:00 nurture/day-1",
            "03-03 07:00 nurture/day-2",
            "03-04 07:00 nurture/day-3",
            "03-05 07:00 nurture/day-4",
            "03-05 09:00 consultation/confirmation",
            "03-06 07:00 nurture/day-5",
            "03-07 07:00 nurture/day-6",
            "03-08 07:00 nurture/day-7",
            "03-10 18:00 consultation/reminder-day-before",
            "03-11 08:00 consultation/reminder-two-hours",
            "03-11 13:00 follow-up/thanks",
            "03-11 16:00 onboarding/completed",
            "03-12 09:00 onboarding/day-1",
            "03-14 09:00 onboarding/day-3",
            "03-18 09:00 onboarding/day-7",
        ]
    );
    let first = world.figures("2027-03-01").await;
    for (figure, count) in [
        ("website_visitors", 1),
        ("lp_visitors", 1),
        ("opt_ins", 1),
        ("mails_sent", 1),
        ("mails_delivered", 1),
        ("mails_opened", 1),
        ("mails_clicked", 1),
        ("sales", 0),
    ] {
        assert_eq!(first[figure], count, "{figure}");
    }
    assert_eq!(world.figures("2027-03-05").await["consultation_requests"], 1);
    let last = world.figures("2027-03-11").await;
    for (figure, count) in [
        ("consultations_held", 1),
        ("applications", 1),
        ("sales", 1),
        ("revenue", 880_000),
        ("mails_sent", 3),
    ] {
        assert_eq!(last[figure], count, "{figure}");
    }
    let lead = world.tables().lead(&lead_id).await.unwrap().unwrap();
    assert_eq!(serde_json::to_value(&lead).unwrap()["status"], "converted");
}

#[tokio::test]
async fn the_night_counts_the_day_that_is_over_by_itself_and_again_the_same() {
    let world = World::new().await;
    world.opt_in("hanako@example.com").await;
    // 03:30 in Tokyo the next morning.
    world.until("2027-03-01T18:31:00Z").await;
    let row =
        world.tables().kpi_daily("2027-03-01".parse().unwrap()).await.unwrap().expect("the night's row");
    assert_eq!((row.opt_ins, row.mails_sent), (1, 1));
    world.pass(TimeDelta::days(1)).await;
    assert_eq!(world.figures("2027-03-01").await, serde_json::to_value(&row).unwrap());
}

#[tokio::test]
async fn state_survives_a_restart() {
    use michi::{
        clock::Clock,
        engine::Store,
        functions::{Secrets, Sweeps, launch, stack},
    };
    let directory = tempfile::tempdir().unwrap();
    let funnel = World::new().await.funnel.clone();
    let open = async |now: &str| {
        let store = Store::Dir(directory.path().to_owned());
        let stack = stack(&funnel, crate::world::PUBLIC_URL, Sweeps::Seldom).unwrap();
        let clock = Clock::frozen(now.parse().unwrap());
        launch(stack, funnel.clone(), store, clock, &Secrets::fixed()).await.unwrap()
    };
    let request = axum::http::Request::post(format!("{}/opt-in", crate::world::PUBLIC_URL))
        .header("content-type", "application/json")
        .body(json!({"email": "hanako@example.com", "consent": true}).to_string().into())
        .unwrap();
    let before = open("2027-03-01T01:00:00Z").await;
    assert_eq!(before.http(request).await.status().as_u16(), 200);
    // Killed before anything was relayed.
    drop(before);
    let after = open("2027-03-01T01:00:01Z").await;
    after.settle().await;
    assert_eq!(after.mails().len(), 1);
    drop(after);
    let later = open("2027-03-03T01:00:00Z").await;
    later.settle().await;
    assert_eq!(later.mails().len(), 3, "what fell due while it was off comes when it is on again");
}
