use super::*;
use chrono_tz::Tz::Asia__Tokyo;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

fn sequence(whens: &[&str]) -> Sequence {
    let steps = whens.iter().enumerate().map(|(n, when)| Step {
        id: id(&format!("step-{n}")),
        send: id("mail"),
        when: When::parse(when).unwrap(),
        calendar: false,
    });
    Sequence {
        id: id("nurture"),
        name: "七日間".into(),
        class: MailClass::Marketing,
        entry: vec![FactKind::OptedIn],
        exit: vec![],
        again: false,
        steps: steps.collect(),
    }
}

fn enrolled(sequence: &Sequence, anchor: &str, now: &str) -> Enrolment {
    sequence.enrol(
        Entry { lead_id: id("l-1"), subject: None, generation: 1, anchor: at(anchor) },
        at(now),
        Asia__Tokyo,
    )
}

#[test]
fn times_read_as_a_marketer_writes_them() {
    let clock = |days, h, m| When::Clock { days, time: NaiveTime::from_hms_opt(h, m, 0).unwrap() };
    for (text, expected) in [
        ("now", Ok(When::Now)),
        ("+2h", Ok(When::Offset { minutes: 120 })),
        ("-30m", Ok(When::Offset { minutes: -30 })),
        ("+3d", Ok(When::Offset { minutes: 4320 })),
        ("+1d 07:00", Ok(clock(1, 7, 0))),
        ("-1d 18:30", Ok(clock(-1, 18, 30))),
        ("+0d 21:00", Ok(clock(0, 21, 0))),
        ("1d", Err(WhenError)),
        ("+d", Err(WhenError)),
        ("+1d 25:00", Err(WhenError)),
        ("+1d 07:00 ", Err(WhenError)),
        ("+2h 07:00", Err(WhenError)),
        ("+99999d", Err(WhenError)),
        ("+1日", Err(WhenError)),
        ("", Err(WhenError)),
    ] {
        assert_eq!(When::parse(text), expected, "{text:?}");
    }
}

#[test]
fn days_are_the_persons_calendar_days_not_24_hours() {
    // 23:30 in Tokyo on the 22nd: the next morning is seven and a half hours away.
    let due = When::parse("+1d 07:00").unwrap().due(
        at("2026-11-22T14:30:00Z"),
        at("2026-11-22T14:30:00Z"),
        Asia__Tokyo,
    );
    assert_eq!(due, at("2026-11-22T22:00:00Z"));
}

#[test]
fn a_person_walks_through_the_steps_in_order_and_is_finished() {
    let sequence = sequence(&["now", "+1d 07:00", "+2d 07:00"]);
    let mut enrolment = enrolled(&sequence, "2026-11-22T01:00:00Z", "2026-11-22T01:00:05Z");
    let mut way = vec![];
    while let (Some(step), Some(due)) = (enrolment.step.clone(), enrolment.next_due) {
        way.push((step.to_string(), time::iso(due)));
        enrolment = sequence.advance(enrolment, &step, Asia__Tokyo);
    }
    let expected = [
        ("step-0", "2026-11-22T01:00:05.000Z"),
        ("step-1", "2026-11-22T22:00:00.000Z"),
        ("step-2", "2026-11-23T22:00:00.000Z"),
    ];
    assert_eq!(way, expected.map(|(step, due)| (step.to_owned(), due.to_owned())));
    assert_eq!((enrolment.state, enrolment.due_hour), (EnrolmentState::Finished, None));
}

#[test]
fn a_step_that_keeps_its_clock_time_keeps_its_place_in_the_index() {
    let sequence = sequence(&["+1d 07:00", "+2d 07:00"]);
    let first = enrolled(&sequence, "2026-11-22T01:00:00Z", "2026-11-22T01:00:00Z");
    let second = sequence.advance(first.clone(), &id("step-0"), Asia__Tokyo);
    assert_eq!((first.due_hour, first.enrolment_key), (second.due_hour, second.enrolment_key));
}

#[test]
fn a_reminder_whose_time_had_passed_at_booking_is_skipped_and_says_so() {
    let sequence = sequence(&["now", "-1d 18:00", "-2h"]);
    // Booked at 09:00 for 15:00 the same day.
    let booked = enrolled(&sequence, "2026-11-22T06:00:00Z", "2026-11-22T00:00:00Z");
    assert_eq!(booked.step, Some(id("step-0")));
    let next = sequence.advance(booked, &id("step-0"), Asia__Tokyo);
    assert_eq!((next.step, next.next_due), (Some(id("step-2")), Some(at("2026-11-22T04:00:00Z"))));
    assert_eq!(next.why, "step-0 settled; the time of step-1 had passed when enrolled");
}

#[test]
fn due_work_is_held_against_the_enrolment_as_it_is_now() {
    let sequence = sequence(&["-1d 18:00", "-2h"]);
    let enrolment = enrolled(&sequence, "2026-11-25T06:00:00Z", "2026-11-22T00:00:00Z");
    let work = |generation, step: &str| DueStep {
        lead_id: id("l-1"),
        enrolment_id: "nurture".into(),
        generation,
        step: id(step),
        hops: 0,
    };
    let due = at("2026-11-24T09:00:00Z");
    let stopped = enrolment.clone().stop("consultation_cancelled").unwrap();
    for (what, enrolment, work, now, expected) in [
        ("on time", &enrolment, work(1, "step-0"), due, Turn::Take(&sequence.steps[0])),
        (
            "within the timer's precision",
            &enrolment,
            work(1, "step-0"),
            due - TimeDelta::seconds(60),
            Turn::Take(&sequence.steps[0]),
        ),
        ("early", &enrolment, work(1, "step-0"), due - TimeDelta::seconds(61), Turn::Wait(due)),
        (
            "a day late, still ahead of the appointment",
            &enrolment,
            work(1, "step-0"),
            at("2026-11-25T05:59:59Z"),
            Turn::Take(&sequence.steps[0]),
        ),
        (
            "too late",
            &enrolment,
            work(1, "step-0"),
            at("2026-11-25T06:00:00Z"),
            Turn::Pass(&sequence.steps[0], "what it announces has already begun"),
        ),
        ("another step", &enrolment, work(1, "step-1"), due, Turn::Behind),
        ("before a restart", &enrolment, work(0, "step-0"), due, Turn::Outdated),
        ("after a stop", &stopped, work(1, "step-0"), due, Turn::Outdated),
    ] {
        assert_eq!(turn(&sequence, enrolment, &work, now), expected, "{what}");
    }
}

#[test]
fn names_fit_what_carries_them() {
    let enrolment = Sequence { id: id(&"s".repeat(64)), ..sequence(&["now"]) }.enrol(
        Entry {
            lead_id: Id::derived("l", &["x"]),
            subject: Some(Id::derived("c", &["y"])),
            generation: u32::MAX,
            anchor: at("2026-11-22T00:00:00Z"),
        },
        at("2026-11-22T00:00:00Z"),
        Asia__Tokyo,
    );
    assert!(enrolment.schedule_name(&id("day-1")).len() <= 64);
    let tag = enrolment.engagement_id(&id(&"t".repeat(64)));
    assert!(tag.len() <= 256 && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
}
