use chrono::TimeDelta;
use serde_json::json;
use web::link::Purpose;

use crate::world::World;

#[tokio::test]
async fn two_people_never_get_one_slot() {
    let world = World::new().await;
    let (a, b) = (world.opt_in("a@example.com").await, world.opt_in("b@example.com").await);
    let slot = world.slots().await[0].clone();
    let body = |lead| json!({"t": world.token(Purpose::Book, lead), "slot": slot});
    let (first, second) =
        (world.post("/bookings", &body(&a)).await, world.post("/bookings", &body(&b)).await);
    assert_eq!((first.status, second.status), (200, 409), "{second:?}");
    assert_eq!(second.json()["errors"][0]["field"], "slot");
    assert!(!world.slots().await.contains(&slot));
    // The same form again is the same booking.
    let again = world.post("/bookings", &body(&a)).await;
    assert_eq!(again.json()["consultation_id"], first.json()["consultation_id"]);
    let confirmations =
        world.way_of("a@example.com").iter().filter(|mail| mail.contains("confirmation")).count();
    assert_eq!(confirmations, 1);
}

#[tokio::test]
async fn the_confirmation_carries_a_calendar_file() {
    let world = World::new().await;
    let lead_id = world.opt_in("hanako@example.com").await;
    let booked = world.book(&lead_id, "2027-03-11T01:00").await;
    assert_eq!(booked["start"], "2027-03-11T01:00:00Z");
    let mails = world.mails_to("hanako@example.com");
    let confirmation = mails.last().unwrap();
    assert!(confirmation.text.as_ref().unwrap().contains("3月11日(木) 10:00"), "{:?}", confirmation.text);
    let file = &confirmation.attachments[0];
    let calendar = String::from_utf8(file.content.clone()).unwrap().replace("\r\n ", "");
    assert_eq!(
        (file.file_name.as_str(), file.content_type.as_str()),
        ("consultation.ics", "text/calendar; charset=utf-8; method=REQUEST")
    );
    for line in [
        "METHOD:REQUEST",
        "DTSTART:20270311T010000Z",
        "DTEND:20270311T020000Z",
        "SEQUENCE:0",
        "STATUS:CONFIRMED",
    ] {
        assert!(calendar.contains(line), "{line} in {calendar}");
    }
}

#[tokio::test]
async fn moving_a_consultation_moves_its_reminders_and_frees_its_slot() {
    let world = World::new().await;
    let lead_id = world.opt_in("hanako@example.com").await;
    let booked = world.book(&lead_id, "2027-03-11T01:00").await;
    let id = booked["consultation_id"].as_str().unwrap().to_owned();
    let token = world.token(Purpose::Manage, &domain::id::Id::parse(&id).unwrap());
    let later = world.slots().await.into_iter().find(|slot| slot.as_str() >= "2027-03-12T01:00").unwrap();
    let moved = world.post(&format!("/bookings/{id}/reschedule"), &json!({"t": token, "slot": later})).await;
    assert_eq!(moved.status, 200, "{moved:?}");
    assert!(world.slots().await.iter().any(|slot| slot.starts_with("2027-03-11T01:00:00Z")));
    world.until("2027-03-14T00:00:00Z").await;
    let way: Vec<String> = world
        .way_of("hanako@example.com")
        .into_iter()
        .filter(|mail| mail.contains("consultation/"))
        .collect();
    assert_eq!(
        way,
        [
            "03-01 10:00 consultation/confirmation",
            "03-01 10:00 consultation/confirmation",
            "03-11 18:00 consultation/reminder-day-before",
            "03-12 08:00 consultation/reminder-two-hours"
        ]
    );
    let mails = world.mails_to("hanako@example.com");
    let updated = mails.iter().filter(|mail| !mail.attachments.is_empty()).nth(1).unwrap();
    assert!(String::from_utf8_lossy(&updated.attachments[0].content).contains("SEQUENCE:1"));
}

#[tokio::test]
async fn a_cancelled_consultation_reminds_nobody_and_can_be_booked_again() {
    let world = World::new().await;
    let lead_id = world.opt_in("hanako@example.com").await;
    let booked = world.book(&lead_id, "2027-03-11T01:00").await;
    let id = booked["consultation_id"].as_str().unwrap().to_owned();
    let token = world.token(Purpose::Manage, &domain::id::Id::parse(&id).unwrap());
    // GET shows, POST acts.
    assert_eq!(world.get(&format!("/bookings/{id}?t={token}")).await.status, 200);
    assert_eq!(
        world.tables().consultations(&lead_id).await.unwrap()[0].status,
        domain::consultation::ConsultationStatus::Booked
    );
    for _ in 0..2 {
        let cancelled = world.post(&format!("/bookings/{id}/cancel"), &json!({"t": token})).await;
        assert_eq!((cancelled.status, cancelled.json()["status"].as_str()), (200, Some("cancelled")));
    }
    let again = world.book(&lead_id, "2027-03-11T01:00").await;
    assert_ne!(again["consultation_id"], booked["consultation_id"]);
    world.until("2027-03-11T00:00:00Z").await;
    let reminders =
        world.way_of("hanako@example.com").iter().filter(|mail| mail.contains("reminder")).count();
    assert_eq!(reminders, 2, "only the new one's: {:?}", world.way_of("hanako@example.com"));
}

#[tokio::test]
async fn a_slot_booked_for_this_afternoon_gets_only_the_reminders_that_still_make_sense() {
    let world = World::at("2027-03-10T02:00:00Z").await;
    let lead_id = world.opt_in("hanako@example.com").await;
    // 24 hours' notice: the earliest slot is tomorrow; the evening before has not come yet.
    let booked = world.book(&lead_id, "2027-03-11").await;
    let start: chrono::DateTime<chrono::Utc> = booked["start"].as_str().unwrap().parse().unwrap();
    assert!(start - world.now() >= TimeDelta::hours(24));
    world.cloud.advance_to(start).await;
    let way: Vec<String> = world
        .way_of("hanako@example.com")
        .into_iter()
        .filter(|mail| mail.contains("consultation/"))
        .collect();
    assert_eq!(way.len(), 3, "{way:?}");
}
