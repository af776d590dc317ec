use chrono::TimeDelta;
use domain::id::Id;
use serde_json::{Value, json};
use web::link::Purpose;

use crate::{draft::Draft, world::World};

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

/// The times of a host that are offered on 11 March, a Thursday, in Tokyo.
async fn thursday(world: &World, host: &str) -> Vec<String> {
    let slots = world.slots().await.into_iter().filter_map(|slot| {
        let (start, by) = slot.split_once('/')?;
        let start: chrono::DateTime<chrono::Utc> = start.parse().ok()?;
        let start = start.with_timezone(&world.funnel.time_zone).format("%m-%d %H:%M").to_string();
        Some(start.strip_prefix("03-11 ")?.to_owned()).filter(|_| by == host)
    });
    slots.collect()
}

const THURSDAY: &str = "thursday = [\"10:00-13:00\", \"14:00-20:30\"]";

#[tokio::test]
async fn opening_times_that_overlap_never_sell_one_hour_to_two_people() {
    let overlapping = "thursday = [\"10:00-13:00\", \"10:30-13:30\"]";
    let world = World::with(&Draft::copy_of("coaching").replace("funnel.toml", THURSDAY, overlapping)).await;
    assert_eq!(thursday(&world, "michino").await, ["10:00", "10:30", "11:30", "12:00"]);
    let (a, b) = (world.opt_in("a@example.com").await, world.opt_in("b@example.com").await);
    let book = async |lead: &Id, at: &str| {
        let body = json!({"t": world.token(Purpose::Book, lead), "slot": at});
        world.post("/bookings", &body).await
    };
    let (one, other) =
        tokio::join!(book(&a, "2027-03-11T01:30:00Z/michino"), book(&b, "2027-03-11T01:00:00Z/michino"));
    let mut told = [one.status, other.status];
    told.sort_unstable();
    assert_eq!(told, [200, 409], "{one:?} {other:?}");
    let (hers, other) = if one.status == 200 { (&one, &other) } else { (&other, &one) };
    assert_eq!(other.json()["errors"][0]["field"], "slot");
    // The pause of half an hour after each is kept: before the next, and before hers.
    let free = match hers.json()["start"].as_str() {
        Some("2027-03-11T01:30:00Z") => "12:00",
        _ => "11:30",
    };
    assert!(thursday(&world, "michino").await.contains(&free.to_owned()));
    assert_eq!(thursday(&world, "hayashi").await.len(), 4);
    for (time, at) in [
        ("10:00", "2027-03-11T01:00:00Z/michino"),
        ("10:30", "2027-03-11T01:30:00Z/michino"),
        ("11:30", "2027-03-11T02:30:00Z/michino"),
        ("12:00", "2027-03-11T03:00:00Z/michino"),
    ] {
        let offered = thursday(&world, "michino").await.contains(&time.to_owned());
        let somebody = world.opt_in(&format!("c{}@example.com", time.replace(':', ""))).await;
        let status = if offered { 200 } else { 409 };
        assert_eq!(book(&somebody, at).await.status, status, "{time}");
    }
    assert_eq!(thursday(&world, "michino").await, Vec::<String>::new());
}

#[tokio::test]
async fn a_time_that_overlaps_a_booking_from_before_an_edit_is_neither_offered_nor_sold() {
    let world = World::new().await;
    let (a, b) = (world.opt_in("a@example.com").await, world.opt_in("b@example.com").await);
    let body = json!({"t": world.token(Purpose::Book, &a), "slot": "2027-03-11T02:30:00Z/michino"});
    let booked = world.post("/bookings", &body).await;
    assert_eq!(booked.status, 200, "{booked:?}");
    let edited = Draft::copy_of("coaching")
        .replace("funnel.toml", THURSDAY, "thursday = [\"10:00-15:00\"]")
        .replace("funnel.toml", "minutes = 60", "minutes = 45")
        .replace("funnel.toml", "buffer_minutes = 30", "buffer_minutes = 0");
    world.deploy(&edited).await;
    // 11:30 to 12:30 is hers, and a pause until 13:00.
    assert_eq!(thursday(&world, "hayashi").await, ["10:00", "10:45", "11:30", "12:15", "13:00", "13:45"]);
    assert_eq!(thursday(&world, "michino").await, ["10:00", "10:45", "13:00", "13:45"]);
    for (slot, status) in [
        ("2027-03-11T02:30:00Z/michino", 409),
        ("2027-03-11T03:15:00Z/michino", 409),
        ("2027-03-11T01:45:00Z/michino", 200),
    ] {
        let answer =
            world.post("/bookings", &json!({"t": world.token(Purpose::Book, &b), "slot": slot})).await;
        assert_eq!(answer.status, status, "{slot}: {answer:?}");
    }
}

#[tokio::test]
async fn moving_a_consultation_within_its_day_frees_its_old_time() {
    let world = World::new().await;
    let (a, b) = (world.opt_in("a@example.com").await, world.opt_in("b@example.com").await);
    let slots = ["2027-03-11T01:00:00Z/michino", "2027-03-11T02:30:00Z/michino"];
    let booking = |lead, slot| json!({"t": world.token(Purpose::Book, lead), "slot": slot});
    let booked = world.post("/bookings", &booking(&a, slots[0])).await.json();
    let id = booked["consultation_id"].as_str().unwrap().to_owned();
    let token = world.token(Purpose::Manage, &Id::parse(&id).unwrap());
    let reschedule = format!("/bookings/{id}/reschedule");
    for _ in 0..2 {
        let moved = world.post(&reschedule, &json!({"t": token, "slot": slots[1]})).await;
        assert_eq!((moved.status, &moved.json()["start"]), (200, &json!("2027-03-11T02:30:00Z")));
    }
    assert_eq!(thursday(&world, "michino").await, ["10:00", "14:00", "15:30", "17:00", "18:30"]);
    assert_eq!(world.post("/bookings", &booking(&b, slots[1])).await.status, 409);
    assert_eq!(world.post("/bookings", &booking(&b, slots[0])).await.status, 200);
    // And nobody is moved to where somebody else is.
    let link = world.links.sign_manage(&Id::parse(&id).unwrap(), 2, world.now());
    let back = world.post(&reschedule, &json!({"t": link, "slot": slots[0]})).await;
    assert_eq!((back.status, &back.json()["errors"][0]["field"]), (409, &json!("slot")), "{back:?}");
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

/// Somebody who booked Thursday and moved to Friday: who, and what she was told of Thursday.
async fn moved(world: &World) -> (Id, Value) {
    let lead_id = world.opt_in("hanako@example.com").await;
    let booked = world.book(&lead_id, "2027-03-11T01:00").await;
    let id = booked["consultation_id"].as_str().unwrap();
    let token = world.token(Purpose::Manage, &Id::parse(id).unwrap());
    let later = world.slots().await.into_iter().find(|slot| slot.as_str() >= "2027-03-12T01:00").unwrap();
    let moved = world.post(&format!("/bookings/{id}/reschedule"), &json!({"t": token, "slot": later})).await;
    assert_eq!(moved.status, 200, "{moved:?}");
    (lead_id, booked)
}

#[tokio::test]
async fn moving_a_consultation_moves_its_reminders_and_frees_its_slot() {
    let world = World::new().await;
    moved(&world).await;
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
async fn the_time_that_a_consultation_was_moved_from_can_be_booked_again_by_the_same_person() {
    let world = World::new().await;
    let (lead_id, first) = moved(&world).await;
    let slot = world.slots().await.into_iter().find(|slot| slot.starts_with("2027-03-11T01:00:00Z")).unwrap();
    for _ in 0..2 {
        // Twice the same form is one booking.
        let form = json!({"t": world.token(Purpose::Book, &lead_id), "slot": slot});
        let again = world.post("/bookings", &form).await;
        assert_eq!((again.status, &again.json()["start"]), (200, &first["start"]), "{again:?}");
    }
    assert_eq!(world.tables().consultations(&lead_id).await.unwrap().len(), 2);
    assert!(!world.slots().await.contains(&slot));
}

#[tokio::test]
async fn a_cancelled_consultation_reminds_nobody_and_can_be_booked_again() {
    let world = World::new().await;
    let lead_id = world.opt_in("hanako@example.com").await;
    let booked = world.book(&lead_id, "2027-03-11T01:00").await;
    let id = booked["consultation_id"].as_str().unwrap().to_owned();
    let token = world.token(Purpose::Manage, &Id::parse(&id).unwrap());
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
