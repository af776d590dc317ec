use super::*;
use crate::{
    condition::Condition,
    event::Fact,
    relay,
    samples::{self, Change, at, changes, clock, id, person, told},
    sending::Window,
};
use chrono_tz::Tz::{Africa__Cairo, America__Nuuk, Asia__Tokyo, Europe__Berlin, Pacific__Apia};
use proptest::prelude::*;

fn when(text: &str) -> When {
    When::parse(text).unwrap()
}

fn step(name: &str, time: &str, act: Act) -> Step {
    Step { id: id(name), when: when(time), act, next: None }
}

fn send(name: &str, time: &str) -> Step {
    step(name, time, Act::Send { mail: id("mail"), calendar: false })
}

fn test() -> Test {
    Test { text: r#"tag("vip")"#.into(), condition: Condition::Tag("vip".into()) }
}

fn branch(name: &str, time: &str, then: Option<&str>, otherwise: Option<&str>) -> Step {
    step(name, time, Act::Branch { test: test(), then: then.map(id), otherwise: otherwise.map(id) })
}

/// Steps that go on with the one below.
fn program(anchor: Anchor, windows: Vec<Window>, mut steps: Vec<Step>) -> Program {
    let below: Vec<_> = steps.iter().skip(1).map(|step| step.id.clone()).collect();
    for (step, below) in steps.iter_mut().zip(below) {
        step.next = Some(below);
    }
    Program { version: "v-1".into(), anchor, windows, steps }
}

fn sequence(program: Program) -> Sequence {
    Sequence {
        id: id("nurture"),
        name: "七日間".into(),
        class: MailClass::Marketing,
        entry: vec![Trigger::Fact(FactKind::OptedIn)],
        test: None,
        exit: vec![],
        again: false,
        priority: 0,
        inside: Inside::Finish,
        program,
    }
}

/// Mails at these times after the entry.
fn mails(whens: &[&str]) -> Sequence {
    mails_from(Anchor::Entry, vec![], whens)
}

fn mails_from(anchor: Anchor, windows: Vec<Window>, whens: &[&str]) -> Sequence {
    let steps = whens.iter().enumerate().map(|(number, when)| send(&format!("step-{number}"), when));
    sequence(program(anchor, windows, steps.collect()))
}

fn entry(anchor: DateTime<Utc>) -> Entry {
    Entry { lead_id: id("l-1"), subject: None, generation: 1, at: anchor, anchor, values: BTreeMap::new() }
}

fn enrolled(sequence: &Sequence, anchor: &str, now: &str) -> Enrolment {
    sequence.enrol(entry(at(anchor)), at(now), Asia__Tokyo)
}

fn hours(from: &str, until: &str) -> Window {
    Window { hours: Some((clock(from), clock(until))), weekdays: vec![] }
}

fn workdays() -> Window {
    let weekdays = vec![Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri];
    Window { hours: None, weekdays }
}

/// When each step is due if every one is settled `early` before its time.
fn dues(program: &Program, mut enrolment: Enrolment, early: TimeDelta, zone: Tz) -> Vec<DateTime<Utc>> {
    let mut dues = vec![];
    while let (Some(step), Some(due)) = (enrolment.step.clone(), enrolment.next_due) {
        dues.push(due);
        let next = program.step(&step).unwrap().next.clone();
        enrolment = program.advance(enrolment, next, "settled", due - early, zone);
    }
    dues
}

/// The same on the clock in Tokyo, for steps that are settled in time.
fn way(sequence: &Sequence, enrolment: Enrolment) -> Vec<String> {
    let dues = dues(&sequence.program, enrolment, TimeDelta::zero(), Asia__Tokyo);
    dues.into_iter().map(shown).collect()
}

fn shown(at: DateTime<Utc>) -> String {
    at.with_timezone(&Asia__Tokyo).format("%a %d %H:%M:%S").to_string()
}

#[test]
fn times_read_as_a_marketer_writes_them() {
    let seven = clock("07:00");
    for (text, expected) in [
        ("now", When::Now),
        ("30m", When::After { minutes: 30 }),
        ("2h", When::After { minutes: 120 }),
        ("3d", When::After { minutes: 3 * 1440 }),
        ("0m", When::After { minutes: 0 }),
        ("9999d", When::After { minutes: 9999 * 1440 }),
        ("1d 07:00", When::AfterClock { days: 1, time: seven }),
        ("07:00", When::NextClock { time: seven }),
        ("00:00", When::NextClock { time: clock("00:00") }),
        ("23:59", When::NextClock { time: clock("23:59") }),
        ("tuesday 07:00", When::NextWeekday { weekday: Weekday::Tue, time: seven }),
        ("sunday 07:00", When::NextWeekday { weekday: Weekday::Sun, time: seven }),
        ("+2h", When::Anchor { minutes: 120 }),
        ("-30m", When::Anchor { minutes: -30 }),
        ("+3d", When::Anchor { minutes: 4320 }),
        ("+1d 07:00", When::AnchorClock { days: 1, time: seven }),
        ("-1d 18:30", When::AnchorClock { days: -1, time: clock("18:30") }),
        ("+0d 21:00", When::AnchorClock { days: 0, time: clock("21:00") }),
    ] {
        assert_eq!(When::parse(text), Ok(expected), "{text:?}");
        assert_eq!(expected.is_anchored(), text.starts_with(['+', '-']), "{text:?}");
        assert_eq!(expected.is_before_anchor(), text.starts_with('-'), "{text:?}");
        let clock = text.get(text.len().saturating_sub(5)..).filter(|end| end.contains(':'));
        assert_eq!(expected.clock().map(|clock| clock.format("%H:%M").to_string()).as_deref(), clock);
    }
}

#[test]
fn what_is_no_time_is_refused() {
    for text in [
        "",
        " ",
        "d",
        "3",
        "+d",
        "+",
        "-",
        "3w",
        "3 d",
        " 3d",
        "3d ",
        "3.5d",
        "+1日",
        "1日",
        "now ",
        "Now",
        "now 07:00",
        "-3",
        "++3d",
        "+-3d",
        "3d 2h",
        "99999d",
        "+99999d", // One way to write a clock time is enough.
        "7:00",
        "07:0",
        "07:000",
        "24:00",
        "25:00",
        "07:60",
        "-7:00",
        "+7:00",
        " 7:00",
        "07: 0",
        "07:00:00",
        "07.00",
        "07:00 ",
        "0７:00", // A clock time goes with days only, and none of today's after the step before.
        "0d 07:00",
        "2h 07:00",
        "30m 07:00",
        "+2h 07:00",
        "1d 7:00",
        "1d  7:00",
        "1d 07: 0",
        "1d 07:\t0",
        "1d  07:00",
        "+1d 25:00",
        "+1d 07:00 ",
        "07:00 10:00",
        "tuesday",
        "Tuesday 10:00",
        "tue 10:00",
        "+tuesday 10:00",
        "tuesday 1d",
    ] {
        assert_eq!(When::parse(text), Err(WhenError), "{text:?}");
    }
}

#[test]
fn every_form_of_a_time_is_due_when_it_says() {
    // Sunday the 22nd in Tokyo; days are the person's calendar days, not 24 hours.
    let (morning, night) = ("2026-11-22T01:00:00Z", "2026-11-22T14:30:00Z");
    for (text, anchor, from, zone, expected) in [
        ("now", morning, night, Asia__Tokyo, night),
        ("90m", morning, night, Asia__Tokyo, "2026-11-22T16:00:00Z"),
        ("1d", morning, night, Asia__Tokyo, "2026-11-23T14:30:00Z"),
        ("1d 07:00", morning, night, Asia__Tokyo, "2026-11-22T22:00:00Z"),
        ("2d 23:59", morning, night, Asia__Tokyo, "2026-11-24T14:59:00Z"),
        ("07:00", morning, night, Asia__Tokyo, "2026-11-22T22:00:00Z"),
        ("23:45", morning, night, Asia__Tokyo, "2026-11-22T14:45:00Z"),
        ("23:30", morning, night, Asia__Tokyo, "2026-11-23T14:30:00Z"),
        ("sunday 23:45", morning, night, Asia__Tokyo, "2026-11-22T14:45:00Z"),
        ("sunday 23:30", morning, night, Asia__Tokyo, "2026-11-29T14:30:00Z"),
        ("sunday 07:00", morning, night, Asia__Tokyo, "2026-11-28T22:00:00Z"),
        ("monday 07:00", morning, night, Asia__Tokyo, "2026-11-22T22:00:00Z"),
        ("saturday 07:00", morning, night, Asia__Tokyo, "2026-11-27T22:00:00Z"),
        ("+1d", morning, night, Asia__Tokyo, "2026-11-23T01:00:00Z"),
        ("-2h", morning, night, Asia__Tokyo, "2026-11-21T23:00:00Z"),
        ("+1d 07:00", night, morning, Asia__Tokyo, "2026-11-22T22:00:00Z"),
        ("+0d 07:00", night, morning, Asia__Tokyo, "2026-11-21T22:00:00Z"),
        ("-1d 18:00", night, morning, Asia__Tokyo, "2026-11-21T09:00:00Z"),
        // The night has 23 hours: a day is a calendar day with a clock time, and 24 hours without.
        ("1d 07:00", morning, "2026-03-28T18:00:00Z", Europe__Berlin, "2026-03-29T05:00:00Z"),
        ("1d", morning, "2026-03-28T18:00:00Z", Europe__Berlin, "2026-03-29T18:00:00Z"),
        ("02:30", morning, "2026-03-28T18:00:00Z", Europe__Berlin, "2026-03-29T01:00:00Z"),
        ("02:30", morning, "2026-03-29T01:00:00Z", Europe__Berlin, "2026-03-30T00:30:00Z"),
        // It has 25 hours: the second half past two is not another one.
        ("02:30", morning, "2026-10-24T18:00:00Z", Europe__Berlin, "2026-10-25T00:30:00Z"),
        ("02:30", morning, "2026-10-25T00:30:00Z", Europe__Berlin, "2026-10-26T01:30:00Z"),
        // The last hour of Saturday is skipped; its end is on Sunday, and nobody waits for a week.
        ("saturday 23:30", morning, "2026-03-27T12:00:00Z", America__Nuuk, "2026-03-29T01:00:00Z"),
        // So is a whole Friday.
        ("friday 07:00", morning, "2011-12-29T12:00:00Z", Pacific__Apia, "2011-12-30T10:00:00Z"),
    ] {
        assert_eq!(
            time::iso(when(text).due(at(anchor), at(from), zone)),
            time::iso(at(expected)),
            "{text} from {from}, anchor {anchor}"
        );
    }
}

/// Moments about a clock change.
fn moments(change: &Change) -> impl Iterator<Item = DateTime<Utc>> {
    let minutes = [-1500, -61, -30, -1, 0, 1, 30, 60, 1440].map(TimeDelta::minutes);
    let off = TimeDelta::seconds(-1);
    let change = change.at;
    minutes.into_iter().chain([off]).map(move |about| change + about)
}

/// Clock times about a clock change: in what it skips or repeats, at its edges, and far from it.
fn clocks(change: &Change) -> impl Iterator<Item = NaiveTime> {
    let about = [-30, -1, 0, 15, 30].map(TimeDelta::minutes);
    let edges = [change.before, change.after].map(|ahead| (change.at + ahead).time());
    let near =
        edges.into_iter().flat_map(move |edge| about.map(|about| edge.overflowing_add_signed(about).0));
    near.chain([clock("00:00"), clock("07:00")])
}

#[test]
fn around_every_clock_change_a_time_is_due_next_and_never_before() {
    for (change, time) in changes().iter().flat_map(|change| clocks(change).map(move |time| (change, time))) {
        let zone = change.zone;
        let first = time::plus_days(time::day(change.at, zone), -4);
        let all: Vec<_> =
            (0..16).map(|days| time::instant(time::plus_days(first, days), time, zone)).collect();
        for from in moments(change) {
            let what = || format!("{time} from {from}: {change:?}");
            let today = time::day(from, zone);
            let on = |days: i64| all[usize::try_from((today - first).num_days() + days).unwrap()];
            // The first time that the clock shows it, in the order of days.
            let next = (-1..=2).map(on).find(|at| *at > from).unwrap();
            assert_eq!(When::NextClock { time }.due(from, from, zone), next, "{}", what());
            assert!(next - from <= TimeDelta::hours(26), "{}", what());
            let due = When::AfterClock { days: 1, time }.due(change.at, from, zone);
            assert!(due > from && due == on(1), "a day after, {}", what());
            assert_eq!(When::AnchorClock { days: 2, time }.due(from, change.at, zone), on(2), "{}", what());
            let due = When::AnchorClock { days: -1, time }.due(from, change.at, zone);
            assert!(due <= from && due == on(-1), "a day before, {}", what());
            for weekday in [today.weekday(), today.weekday().succ()] {
                let due = When::NextWeekday { weekday, time }.due(change.at, from, zone);
                let days = (0..=7).filter(|days| time::plus_days(today, *days).weekday() == weekday);
                assert_eq!(days.map(on).find(|at| *at > from), Some(due), "{weekday}, {}", what());
                // Unless a gap ends at midnight, it is that weekday.
                let shown = time::day(due, zone).weekday();
                assert!(shown == weekday || due == change.at, "{weekday}, {}", what());
            }
        }
    }
}

#[test]
fn a_daily_sequence_is_due_once_a_day_across_every_clock_change() {
    for change in changes() {
        let start = change.at - TimeDelta::hours(71);
        let gap = (change.at + change.before + TimeDelta::minutes(15)).time();
        for time in [clock("02:30"), gap] {
            let text = time.format("%H:%M").to_string();
            let signed: Vec<_> = (1..=6).map(|day| format!("+{day}d {text}")).collect();
            let after = vec![format!("1d {text}"); 6];
            let next = vec![text.clone(); 6];
            for (whens, early) in
                [&signed, &after, &next].into_iter().flat_map(|whens| [0, 60].map(|early| (whens, early)))
            {
                let whens: Vec<_> = whens.iter().map(String::as_str).collect();
                let sequence = mails(&whens);
                let enrolment = sequence.enrol(entry(start), start, change.zone);
                let dues = dues(&sequence.program, enrolment, TimeDelta::seconds(early), change.zone);
                let days: Vec<_> = dues.iter().map(|due| time::day(*due, change.zone)).collect();
                let what = format!("{whens:?}, settled {early} seconds early: {dues:?} {change:?}");
                assert_eq!(dues.len(), 6, "{what}");
                assert!(dues.is_sorted_by(|one, next| one < next), "{what}");
                // A time that is skipped until midnight is taken on the next day.
                let over = dues.contains(&change.at) && change.at == midnight(change);
                let consecutive = days.is_sorted_by(|one, next| time::plus_days(*one, 1) == *next);
                assert!(consecutive || over, "{what}");
            }
        }
    }
}

fn midnight(change: &Change) -> DateTime<Utc> {
    time::instant(time::day(change.at, change.zone), NaiveTime::MIN, change.zone)
}

#[test]
fn a_person_walks_through_the_steps_in_order_and_is_finished() {
    let sequence = mails(&["now", "+1d 07:00", "+2d 07:00"]);
    let mut enrolment = enrolled(&sequence, "2026-11-22T01:00:00Z", "2026-11-22T01:00:05Z");
    assert_eq!((enrolment.program.as_str(), enrolment.since()), ("v-1", at("2026-11-22T01:00:00Z")));
    let mut way = vec![];
    while let (Some(step), Some(due)) = (enrolment.step.clone(), enrolment.next_due) {
        assert!(!enrolment.waiting && enrolment.state == EnrolmentState::Active);
        way.push((step.to_string(), time::iso(due)));
        let next = sequence.program.step(&step).unwrap().next.clone();
        enrolment = sequence.program.advance(enrolment, next, "settled", due, Asia__Tokyo);
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
    let sequence = mails(&["+1d 07:00", "+2d 07:00"]);
    let first = enrolled(&sequence, "2026-11-22T01:00:00Z", "2026-11-22T01:00:00Z");
    assert_eq!(first.due_hour.as_deref(), Some("22"));
    let now = first.next_due.unwrap();
    let second = sequence.program.advance(first.clone(), Some(id("step-1")), "", now, Asia__Tokyo);
    assert_eq!((first.due_hour, first.enrolment_key), (second.due_hour, second.enrolment_key));
}

#[test]
fn two_steps_with_the_same_clock_time_never_fall_together_even_if_a_timer_is_early() {
    for (whens, expected) in [
        (["07:00", "07:00", "07:00"], ["Mon 23 07:00:00", "Tue 24 07:00:00", "Wed 25 07:00:00"]),
        (["00:00", "1d 00:00", "1d 00:00"], ["Mon 23 00:00:00", "Tue 24 00:00:00", "Wed 25 00:00:00"]),
        (["tuesday 10:00"; 3], ["Tue 24 10:00:00", "Tue 01 10:00:00", "Tue 08 10:00:00"]),
        (["1d", "1d", "1d"], ["Mon 23 10:00:00", "Tue 24 10:00:00", "Wed 25 10:00:00"]),
    ] {
        let sequence = mails(&whens);
        for early in [0, 1, 30, STEP_GRACE_SECONDS] {
            let enrolment = enrolled(&sequence, "2026-11-22T01:00:00Z", "2026-11-22T01:00:00Z");
            let dues = dues(&sequence.program, enrolment, TimeDelta::seconds(early), Asia__Tokyo);
            assert_eq!(dues.into_iter().map(shown).collect::<Vec<_>>(), expected, "{early} seconds early");
        }
    }
    // Later than its time is late: from then on it counts.
    let sequence = mails(&["07:00", "1h"]);
    let enrolment = enrolled(&sequence, "2026-11-22T01:00:00Z", "2026-11-22T01:00:00Z");
    let late = at("2026-11-23T03:00:00Z");
    let next = sequence.program.advance(enrolment, Some(id("step-1")), "", late, Asia__Tokyo);
    assert_eq!(next.next_due, Some(late + TimeDelta::hours(1)));
}

#[test]
fn a_reminder_whose_time_had_passed_at_booking_is_left_out_and_says_so() {
    let sequence = mails_from(Anchor::Consultation, vec![], &["now", "-1d 18:00", "-2h"]);
    // Booked at 09:00 for 15:00 the same day.
    let now = at("2026-11-22T00:00:00Z");
    let booked = sequence.enrol(entry(at("2026-11-22T06:00:00Z")), now, Asia__Tokyo);
    assert_eq!(booked.step, Some(id("step-0")));
    let next = sequence.program.advance(booked, Some(id("step-1")), "step-0 settled", now, Asia__Tokyo);
    assert_eq!((next.step, next.next_due), (Some(id("step-2")), Some(at("2026-11-22T04:00:00Z"))));
    assert_eq!(next.why, "step-0 settled; the time of step-1 had passed when enrolled");
}

#[test]
fn what_had_passed_at_entry_is_left_out_and_what_is_overdue_since_is_not() {
    let sequence = mails(&["+0d 09:00", "+1d 09:00", "+2d 09:00"]);
    // The fact happened at 08:00 on the 22nd, and was told later.
    let happened = "2026-11-21T23:00:00Z";
    for (told, expected) in [
        ("2026-11-21T23:59:59Z", Some("step-0")),
        // A timer's precision is no reason to leave out what is meant for this very minute.
        ("2026-11-22T00:01:00Z", Some("step-0")),
        ("2026-11-22T00:01:01Z", Some("step-1")),
        ("2026-11-23T12:00:00Z", Some("step-2")),
        ("2026-11-24T12:00:00Z", None),
    ] {
        let enrolment = enrolled(&sequence, happened, told);
        assert_eq!(enrolment.step, expected.map(id), "told at {told}");
        assert_eq!(enrolment.state == EnrolmentState::Finished, expected.is_none(), "told at {told}");
    }
    let enrolment = enrolled(&sequence, happened, happened);
    let late = at("2026-11-24T12:00:00Z");
    let next = sequence.program.advance(enrolment, Some(id("step-1")), "", late, Asia__Tokyo);
    assert_eq!((next.step, next.next_due), (Some(id("step-1")), Some(at("2026-11-23T00:00:00Z"))));
}

#[test]
fn a_way_that_is_left_out_goes_on_with_the_step_below() {
    let split = Act::Split { targets: vec![(id("thanks"), 1), (id("thanks"), 1)] };
    let wait = Act::WaitFor { test: test(), within: when("1d"), then: Some(id("thanks")), otherwise: None };
    for parting in [
        branch("parting", "+1d 10:00", Some("thanks"), Some("recording")),
        step("parting", "+1d 10:00", wait),
        step("parting", "+1d 10:00", split),
        send("parting", "+1d 10:00"),
    ] {
        let steps = vec![parting, send("recording", "now"), send("thanks", "now")];
        let webinar = Anchor::At(at("2026-11-20T11:00:00Z"));
        let sequence = sequence(program(webinar, vec![], steps));
        let now = at("2026-11-22T01:00:00Z");
        let late = sequence.enrol(entry(at("2026-11-20T11:00:00Z")), now, Asia__Tokyo);
        assert_eq!((late.step, late.next_due), (Some(id("recording")), Some(now)), "{sequence:?}");
    }
}

#[test]
fn a_way_leads_to_its_target_or_to_the_end() {
    let steps = vec![
        branch("parting", "now", Some("other"), None),
        send("one", "1h"),
        Step { next: None, ..send("two", "1h") },
        send("other", "2h"),
    ];
    let mut program = program(Anchor::Entry, vec![], steps);
    program.steps[2].next = None;
    let sequence = sequence(program);
    let now = at("2026-11-22T01:00:00Z");
    let start = enrolled(&sequence, "2026-11-22T01:00:00Z", "2026-11-22T01:00:00Z");
    let to = |to: Option<&str>| {
        let next = sequence.program.advance(start.clone(), to.map(id), "why", now, Asia__Tokyo);
        (next.state, next.step.map(|step| step.to_string()), next.next_due, next.why)
    };
    let (active, finished) = (EnrolmentState::Active, EnrolmentState::Finished);
    let later = |hours| Some(now + TimeDelta::hours(hours));
    assert_eq!(to(Some("other")), (active, Some("other".into()), later(2), "why".into()));
    assert_eq!(to(Some("one")), (active, Some("one".into()), later(1), "why".into()));
    assert_eq!(to(None), (finished, None, None, "why".into()));
    assert_eq!(sequence.program.step(&id("two")).unwrap().next, None, "`next = \"end\"`");
}

#[test]
fn a_mail_at_a_closed_time_comes_at_the_next_opening_and_the_rest_moves_with_it() {
    // Entered on Thursday the 19th at 10:00 in Tokyo.
    let daily = ["+1d 07:00", "+2d 07:00", "+3d 07:00", "+4d 07:00"];
    let quiet = hours("08:00", "21:00");
    for (what, windows, whens, expected) in [
        (
            "always open",
            vec![],
            daily,
            ["Fri 20 07:00:00", "Sat 21 07:00:00", "Sun 22 07:00:00", "Mon 23 07:00:00"],
        ),
        (
            "closed at that hour",
            vec![quiet.clone()],
            daily,
            ["Fri 20 08:00:00", "Sat 21 08:00:00", "Sun 22 08:00:00", "Mon 23 08:00:00"],
        ),
        (
            "not at the weekend",
            vec![workdays()],
            daily,
            ["Fri 20 07:00:00", "Mon 23 07:00:00", "Tue 24 07:00:00", "Wed 25 07:00:00"],
        ),
        (
            "neither",
            vec![quiet.clone(), workdays()],
            daily,
            ["Fri 20 08:00:00", "Mon 23 08:00:00", "Tue 24 08:00:00", "Wed 25 08:00:00"],
        ),
        (
            "next time the clock shows it",
            vec![quiet.clone(), workdays()],
            ["10:00"; 4],
            ["Fri 20 10:00:00", "Mon 23 10:00:00", "Tue 24 10:00:00", "Wed 25 10:00:00"],
        ),
        (
            "days after the step before",
            vec![quiet.clone(), workdays()],
            ["2d 10:00", "1d 10:00", "3d", "30m"],
            ["Mon 23 10:00:00", "Tue 24 10:00:00", "Fri 27 10:00:00", "Fri 27 10:30:00"],
        ),
        (
            "from the minute of entry",
            vec![workdays()],
            ["+24h", "+48h", "+3d", "+4d"],
            ["Fri 20 10:00:00", "Mon 23 00:00:00", "Tue 24 10:00:00", "Wed 25 10:00:00"],
        ),
        (
            "as soon as it may",
            vec![quiet.clone(), workdays()],
            ["2d", "1h", "4d", "now"],
            ["Mon 23 08:00:00", "Mon 23 09:00:00", "Fri 27 09:00:00", "Fri 27 09:00:00"],
        ),
        (
            "in the evening of a closed day",
            vec![quiet.clone(), workdays()],
            ["+2d 22:00", "+3d 22:00", "+4d 22:00", "+5d 22:00"],
            ["Mon 23 08:00:00", "Wed 25 08:00:00", "Fri 27 08:00:00", "Mon 30 08:00:00"],
        ),
    ] {
        let sequence = mails_from(Anchor::Entry, windows, &whens);
        let enrolment = enrolled(&sequence, "2026-11-19T01:00:00Z", "2026-11-19T01:00:00Z");
        assert_eq!(way(&sequence, enrolment), expected, "{what}");
    }
}

/// What a step can do besides sending a mail.
fn other_acts() -> Vec<Act> {
    vec![
        Act::Tag { tag: "x".into() },
        Act::Untag { tag: "x".into() },
        Act::Attribute { values: [("industry".to_owned(), "IT".to_owned())].into() },
        Act::Stage { stage: Stage::Mql },
        Act::Task { title: "電話".into(), assignee: id("owner"), due: when("1d") },
        Act::Notice { text: "見ました".into(), to: id("owner") },
        Act::Webhook { url: "https://example.com".into() },
        Act::Branch { test: test(), then: None, otherwise: None },
        Act::Split { targets: vec![(id("a"), 1), (id("b"), 2)] },
        Act::WaitFor { test: test(), within: when("1d"), then: Some(id("a")), otherwise: None },
    ]
}

#[test]
fn only_mails_keep_to_the_hours_in_which_mail_goes_out() {
    for act in other_acts() {
        let steps = vec![step("act", "+2d 07:00", act.clone())];
        let sequence = sequence(program(Anchor::Entry, vec![workdays()], steps));
        let enrolment = enrolled(&sequence, "2026-11-19T01:00:00Z", "2026-11-19T01:00:00Z");
        assert_eq!(enrolment.next_due.map(shown).as_deref(), Some("Sat 21 07:00:00"), "{act:?}");
    }
}

#[test]
fn hours_do_not_move_the_appointment_that_is_announced_but_what_follows_it() {
    // A webinar on Monday the 23rd at 20:00 in Tokyo.
    let webinar = at("2026-11-23T11:00:00Z");
    let windows = vec![hours("08:00", "21:00"), workdays()];
    let whens = ["-1d 18:00", "-1h", "+5d 10:00", "+6d 10:00", "+7d 10:00"];
    let sequence = mails_from(Anchor::At(webinar), windows, &whens);
    let enrolment = sequence.enrol(entry(webinar), at("2026-11-21T01:00:00Z"), Asia__Tokyo);
    // The reminder of Sunday comes as soon as it may; mails of Saturday and Sunday do not fall together.
    let expected =
        ["Mon 23 08:00:00", "Mon 23 19:00:00", "Mon 30 10:00:00", "Tue 01 10:00:00", "Wed 02 10:00:00"];
    assert_eq!(way(&sequence, enrolment), expected);
}

#[test]
fn a_mail_that_is_late_and_may_not_go_out_yet_keeps_its_clock_time_too() {
    // Meant for Friday at 07:00, after a wait that ended on Saturday afternoon.
    let sequence = mails_from(Anchor::Entry, vec![workdays()], &["now", "+1d 07:00", "+2d 07:00"]);
    let enrolment = enrolled(&sequence, "2026-11-19T01:00:00Z", "2026-11-19T01:00:00Z");
    let saturday = at("2026-11-21T06:12:00Z");
    let next = sequence.program.advance(enrolment, Some(id("step-1")), "", saturday, Asia__Tokyo);
    assert_eq!(next.next_due.map(shown).as_deref(), Some("Mon 23 07:00:00"));
}

#[test]
fn a_mail_that_is_put_off_takes_the_rest_with_it_in_days() {
    let daily = ["+1d 07:00", "+2d 07:00", "+3d 07:00"];
    for (what, until, expected) in [
        // Until 20:00 on the same day.
        ("hours", "2026-11-20T11:00:00Z", ["Fri 20 20:00:00", "Sat 21 07:00:00", "Sun 22 07:00:00"]),
        // Until 06:00 and 09:00 three days later.
        (
            "days, and earlier",
            "2026-11-22T21:00:00Z",
            ["Mon 23 07:00:00", "Tue 24 07:00:00", "Wed 25 07:00:00"],
        ),
        (
            "days, and later",
            "2026-11-23T00:00:00Z",
            ["Mon 23 09:00:00", "Tue 24 07:00:00", "Wed 25 07:00:00"],
        ),
    ] {
        let sequence = mails(&daily);
        let enrolment = enrolled(&sequence, "2026-11-19T01:00:00Z", "2026-11-19T01:00:00Z");
        let later = sequence.program.postpone(enrolment.clone(), at(until), "the cap", Asia__Tokyo);
        assert_eq!((later.why.as_str(), &later.step), ("the cap", &enrolment.step));
        assert_ne!(later.schedule_name(&id("step-0")), enrolment.schedule_name(&id("step-0")));
        assert_eq!(way(&sequence, later), expected, "{what}");
    }
}

#[test]
fn putting_a_reminder_off_does_not_put_off_the_appointment() {
    let sequence = mails_from(Anchor::Consultation, vec![], &["-3d 18:00", "-2h"]);
    let start = at("2026-11-25T06:00:00Z");
    let enrolment = sequence.enrol(entry(start), at("2026-11-20T00:00:00Z"), Asia__Tokyo);
    let later = sequence.program.postpone(enrolment, at("2026-11-24T00:00:00Z"), "", Asia__Tokyo);
    assert_eq!((later.anchor, later.next_due), (start, Some(at("2026-11-24T00:00:00Z"))));
    assert_eq!(way(&sequence, later), ["Tue 24 09:00:00", "Wed 25 13:00:00"]);
}

#[test]
fn the_days_that_a_sequence_waits_are_the_persons_calendar_days() {
    // Entered at half past midnight in Cairo, on the day at whose end the clock is put back: 24 hours
    // later it is half past eleven of the same day.
    let entered = at("2026-10-28T21:30:00Z");
    let sequence = mails(&["+1d 07:00", "+2d 07:00"]);
    let enrolment = sequence.enrol(entry(entered), entered, Africa__Cairo);
    let later = sequence.program.postpone(enrolment, at("2026-10-31T06:00:00Z"), "", Africa__Cairo);
    let dues = dues(&sequence.program, later, TimeDelta::zero(), Africa__Cairo);
    assert_eq!(dues.last(), Some(&at("2026-11-01T05:00:00Z")));
}

fn due_step(generation: u32, step: &str) -> DueStep {
    DueStep { lead_id: id("l-1"), enrolment_id: "nurture".into(), generation, step: id(step), hops: 0 }
}

#[test]
fn due_work_is_held_against_the_enrolment_as_it_is_now() {
    let sequence = mails_from(Anchor::Consultation, vec![], &["-1d 18:00", "-2h"]);
    let program = &sequence.program;
    let enrolment = enrolled(&sequence, "2026-11-25T06:00:00Z", "2026-11-22T00:00:00Z");
    let due = at("2026-11-24T09:00:00Z");
    let begun = at("2026-11-25T06:00:00Z");
    let stopped = enrolment.clone().stop("consultation_cancelled").unwrap();
    let watched = enrolment.clone().watched_until(due);
    let lost = Enrolment { step: Some(id("gone")), ..enrolment.clone() };
    let take = Turn::Take(&program.steps[0]);
    for (what, enrolment, work, now, expected) in [
        ("on time", &enrolment, due_step(1, "step-0"), due, take),
        (
            "within the timer's precision",
            &enrolment,
            due_step(1, "step-0"),
            due - TimeDelta::seconds(60),
            take,
        ),
        ("early", &enrolment, due_step(1, "step-0"), due - TimeDelta::seconds(61), Turn::Wait(due)),
        ("a day late, still ahead", &enrolment, due_step(1, "step-0"), begun - TimeDelta::seconds(1), take),
        (
            "too late",
            &enrolment,
            due_step(1, "step-0"),
            begun,
            Turn::Pass(&program.steps[0], "what it announces has already begun"),
        ),
        ("another step", &enrolment, due_step(1, "step-1"), due, Turn::Behind),
        ("before a restart", &enrolment, due_step(0, "step-0"), due, Turn::Outdated),
        ("after a restart", &enrolment, due_step(2, "step-0"), due, Turn::Outdated),
        ("after a stop", &stopped, due_step(1, "step-0"), due, Turn::Outdated),
        ("being watched", &watched, due_step(1, WATCH), due, Turn::Watch),
        ("being watched, early", &watched, due_step(1, WATCH), due - TimeDelta::seconds(61), Turn::Wait(due)),
        ("a step that is gone", &lost, due_step(1, "gone"), due, Turn::Lost),
    ] {
        assert_eq!(turn(program, enrolment, &work, now), expected, "{what}");
    }
}

#[test]
fn a_way_is_chosen_even_if_what_is_announced_has_begun() {
    let wait =
        Act::WaitFor { test: test(), within: when("1d"), then: Some(id("b")), otherwise: Some(id("c")) };
    let begun = at("2026-11-25T06:00:00Z");
    for act in [
        wait,
        Act::Branch { test: test(), then: Some(id("b")), otherwise: Some(id("c")) },
        Act::Split { targets: vec![(id("b"), 1), (id("c"), 1)] },
    ] {
        let steps = vec![step("a", "-1d 18:00", act), send("b", "-1h"), send("c", "+1d 10:00")];
        let sequence = sequence(program(Anchor::Consultation, vec![], steps));
        let enrolment = sequence.enrol(entry(begun), at("2026-11-22T00:00:00Z"), Asia__Tokyo);
        let turned = turn(&sequence.program, &enrolment, &due_step(1, "a"), begun);
        assert_eq!(turned, Turn::Take(&sequence.program.steps[0]));
    }
}

#[test]
fn who_is_watched_is_not_inside_until_she_begins() {
    let sequence = mails(&["+1d 07:00"]);
    let (heard, due) = (at("2026-09-22T01:00:00Z"), at("2026-11-21T01:00:00Z"));
    let watched = sequence.watch(entry(heard), due, heard);
    assert!(watched.is_watching() && !watched.waiting && watched.state == EnrolmentState::Active);
    assert_eq!((watched.step.as_ref().map(Id::as_str), watched.next_due), (Some(WATCH), Some(due)));
    let later = watched.watched_until(due + TimeDelta::days(5));
    assert_eq!((later.next_due, later.due_hour.as_deref()), (Some(due + TimeDelta::days(5)), Some("01")));

    // The timer came a little early; days count from the moment at which she begins.
    let now = due + TimeDelta::days(5);
    let inside = sequence.begin(later, "silent for 60 days", now, Asia__Tokyo);
    assert!(!inside.is_watching());
    assert_eq!((inside.anchor, inside.since(), inside.enrolled_at), (now, now, now));
    assert_eq!(inside.next_due.map(shown).as_deref(), Some("Fri 27 07:00:00"));
    assert_eq!((inside.generation, inside.why.as_str()), (1, "silent for 60 days"));
}

#[test]
fn a_date_of_the_funnel_stays_the_anchor_of_who_was_watched() {
    let date = at("2026-12-20T11:00:00Z");
    let sequence = mails_from(Anchor::At(date), vec![], &["-1d 18:00"]);
    let heard = at("2026-09-22T01:00:00Z");
    let watched = sequence.watch(Entry { anchor: date, ..entry(heard) }, heard, heard);
    let inside = sequence.begin(watched, "", at("2026-11-21T01:00:00Z"), Asia__Tokyo);
    assert_eq!((inside.anchor, inside.next_due), (date, Some(at("2026-12-19T09:00:00Z"))));
}

#[test]
fn a_person_is_in_the_version_whose_steps_she_goes_through() {
    let old = mails(&["+1d 07:00", "+2d 07:00"]);
    let heard = at("2026-09-22T01:00:00Z");
    let new = sequence(Program { version: "v-2".into(), ..old.program.clone() });
    let watched = old.watch(entry(heard), heard, heard);
    assert_eq!(new.begin(watched, "", heard, Asia__Tokyo).program, "v-2");
    let inside = old.enrol(entry(heard), heard, Asia__Tokyo);
    assert_eq!(inside.program, "v-1");
    assert_eq!(new.program.advance(inside, Some(id("step-1")), "", heard, Asia__Tokyo).program, "v-2");
}

#[test]
fn who_is_only_being_watched_is_not_taken_out_of_what_she_is_not_in() {
    let exit = vec![Trigger::Told(id("ordered"))];
    let sequence = Sequence { exit, ..mails(&["now"]) };
    let heard = at("2026-09-22T01:00:00Z");
    let watched = sequence.watch(entry(heard), heard, heard);
    let inside = sequence.enrol(entry(heard), heard, Asia__Tokyo);
    for (fact, watching_ends) in [(told("ordered"), false), (Fact::Unsubscribed {}, true)] {
        let event = person().did(fact, "2026-09-23T01:00:00Z").timeline.pop().unwrap();
        assert_eq!(relay::stops(&event, &sequence, &watched), watching_ends, "{event:?}");
        assert!(relay::stops(&event, &sequence, &inside), "{event:?}");
    }
}

#[test]
fn who_waits_does_so_until_a_deadline_or_the_fact() {
    let wait =
        Act::WaitFor { test: test(), within: when("3d"), then: Some(id("yes")), otherwise: Some(id("no")) };
    let steps = vec![step("wait", "now", wait), send("yes", "1h"), send("no", "1h")];
    let sequence = sequence(program(Anchor::Entry, vec![], steps));
    let now = at("2026-11-22T01:00:00Z");
    let (deadline, fact) = (now + TimeDelta::days(3), now + TimeDelta::days(1));
    let waits = enrolled(&sequence, "2026-11-22T01:00:00Z", "2026-11-22T01:00:00Z")
        .waiting_until(deadline, "is waited for".into());
    assert_eq!((waits.waiting, waits.next_due, waits.step.clone()), (true, Some(deadline), Some(id("wait"))));
    let early = turn(&sequence.program, &waits, &due_step(1, "wait"), fact);
    assert_eq!(early, Turn::Wait(deadline));
    let over = turn(&sequence.program, &waits, &due_step(1, "wait"), deadline);
    assert_eq!(over, Turn::Take(&sequence.program.steps[0]));
    // What follows counts from the fact, not from the deadline.
    let next = sequence.program.advance(waits.clone(), Some(id("yes")), "came true", fact, Asia__Tokyo);
    assert_eq!((next.waiting, next.next_due), (false, Some(fact + TimeDelta::hours(1))));
    assert!(!sequence.program.advance(waits.clone(), None, "", fact, Asia__Tokyo).waiting);
    assert!(!waits.stop("out").unwrap().waiting);
}

#[test]
fn a_split_leads_the_same_person_the_same_way_and_people_by_weight() {
    let split = |targets: &[(&str, u32)]| -> Vec<(Id, u32)> {
        targets.iter().map(|(target, weight)| (id(target), *weight)).collect()
    };
    let sequence = mails(&["now", "now"]);
    let (first, second) = (&sequence.program.steps[0], &sequence.program.steps[1]);
    let start = enrolled(&sequence, "2026-11-22T01:00:00Z", "2026-11-22T01:00:00Z");
    let person = |n: usize| Enrolment { lead_id: Id::derived("l", &[&n.to_string()]), ..start.clone() };
    let targets = split(&[("a", 50), ("never", 0), ("b", 30), ("c", 20)]);
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    let (mut same, people) = (0, 10_000);
    for enrolment in (0..people).map(person) {
        let target = sequence.program.split(&enrolment, first, &targets).unwrap();
        let again = Enrolment { generation: 7, decisions: vec![], ..enrolment.clone() };
        assert_eq!(sequence.program.split(&again, first, &targets), Some(target), "another time");
        same += i64::from(sequence.program.split(&enrolment, second, &targets) == Some(target));
        *counts.entry(target.to_string()).or_default() += 1;
    }
    for (target, expected) in [("a", 5_000), ("b", 3_000), ("c", 2_000)] {
        assert!((counts[target] - expected).abs() < 200, "{counts:?}");
    }
    assert_eq!(counts.len(), 3, "{counts:?}");
    // 0.5² + 0.3² + 0.2² of them meet by chance.
    assert!((same - 3_800).abs() < 200, "another split draws anew: {same}");
    assert_eq!(sequence.program.split(&start, first, &[]), None);
    assert_eq!(sequence.program.split(&start, first, &split(&[("a", 0)])), None);
}

#[test]
fn only_the_last_decisions_are_remembered() {
    let mut enrolment = enrolled(&mails(&["now"]), "2026-11-22T01:00:00Z", "2026-11-22T01:00:00Z");
    let now = at("2026-11-22T01:00:00Z");
    for number in 0..DECISIONS + 5 {
        enrolment = enrolment.decided(&id(&format!("step-{number}")), "yes".into(), now);
        assert!(enrolment.decisions.len() <= DECISIONS);
    }
    let steps: Vec<_> = enrolment.decisions.iter().map(|decision| decision.step.to_string()).collect();
    let expected: Vec<_> = (5..DECISIONS + 5).map(|number| format!("step-{number}")).collect();
    assert_eq!(steps, expected);
}

#[test]
fn a_timer_has_a_name_of_its_own_for_each_time_at_which_a_step_is_due() {
    let sequence = mails(&["now", "+1d 07:00"]);
    let one = enrolled(&sequence, "2026-11-22T01:00:00Z", "2026-11-22T01:00:00Z");
    let name = |enrolment: &Enrolment| enrolment.schedule_name(&id("step-0"));
    assert_eq!(name(&one), name(&one.clone()));
    let others = [
        Enrolment { next_due: one.next_due.map(|due| due + TimeDelta::milliseconds(1)), ..one.clone() },
        Enrolment { next_due: None, ..one.clone() },
        Enrolment { generation: 2, ..one.clone() },
        Enrolment { lead_id: id("l-2"), ..one.clone() },
        Enrolment { enrolment_id: "nurture_c-1".into(), ..one.clone() },
    ];
    for other in others {
        assert_ne!(name(&one), name(&other), "{other:?}");
    }
    assert_ne!(name(&one), one.schedule_name(&id("step-1")));
}

#[test]
fn names_fit_what_carries_them() {
    let sequence = Sequence { id: id(&"s".repeat(64)), ..mails(&["now"]) };
    let entry = Entry {
        lead_id: Id::derived("l", &["x"]),
        subject: Some(Id::derived("c", &["y"])),
        generation: u32::MAX,
        ..entry(at("2026-11-22T00:00:00Z"))
    };
    let enrolment = sequence.enrol(entry, at("2026-11-22T00:00:00Z"), Asia__Tokyo);
    assert!(enrolment.schedule_name(&id("day-1")).len() <= 64);
    let tag = enrolment.engagement_id(&id(&"t".repeat(64)));
    assert!(tag.len() <= 256 && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
    assert!(enrolment.step_key(&id("day-1")).starts_with(&format!("{}.", enrolment.lead_id)));
}

#[test]
fn who_is_out_is_taken_out_once_and_has_nothing_due() {
    let enrolment = enrolled(&mails(&["now"]), "2026-11-22T01:00:00Z", "2026-11-22T01:00:00Z");
    let stopped = enrolment.clone().stop("ordered").unwrap();
    assert_eq!(
        (stopped.state, &stopped.step, stopped.next_due, &stopped.due_hour, stopped.why.as_str()),
        (EnrolmentState::Stopped, &None, None, &None, "ordered")
    );
    assert_eq!(stopped.stop("again"), None);
    let finished =
        mails(&["now"]).program.advance(enrolment, None, "", at("2026-11-22T01:00:00Z"), Asia__Tokyo);
    assert_eq!(finished.stop("late"), None);
}

#[test]
fn an_enrolment_is_stored_and_read_as_it_is() {
    let sequence = mails(&["now", "1d 07:00"]);
    let bare = enrolled(&sequence, "2026-11-22T01:00:00Z", "2026-11-22T01:00:00Z");
    let full = Enrolment { values: [("items".to_owned(), "水筒".to_owned())].into(), ..bare.clone() }
        .decided(&id("step-0"), "yes".into(), at("2026-11-22T01:00:00Z"))
        .waiting_until(at("2026-11-23T01:00:00Z"), "is waited for".into());
    for enrolment in [bare, full] {
        let stored = serde_json::to_value(&enrolment).unwrap();
        assert_eq!(serde_json::from_value::<Enrolment>(stored).unwrap(), enrolment);
    }
}

#[test]
fn a_program_is_kept_as_it_is_for_those_who_are_in_it() {
    let times = ["now", "2h", "1d 07:00", "07:00", "tuesday 10:00", "-2h", "-1d 18:00"];
    let mails = times.iter().enumerate().map(|(number, time)| send(&format!("mail-{number}"), time));
    let others = other_acts().into_iter().enumerate();
    let others = others.map(|(number, act)| step(&format!("act-{number}"), "now", act));
    let steps: Vec<_> = mails.chain(others).collect();
    let date = Anchor::At(at("2026-12-20T11:00:00.5Z"));
    for anchor in [Anchor::Entry, Anchor::Consultation, Anchor::Renewal, date] {
        let windows = vec![hours("21:00", "08:00"), workdays()];
        let program = program(anchor, windows, steps.clone());
        let stored = serde_json::to_string(&program).unwrap();
        assert_eq!(serde_json::from_str::<Program>(&stored).unwrap(), program);
    }
}

#[test]
fn a_sequence_is_over_once_something_that_ends_it_has_happened_since() {
    let bounced = crate::engagement::Engagement {
        state: crate::engagement::EngagementState::Bounced,
        ..samples::sent("day-1", "2026-11-22T02:00:00Z")
    };
    let mut known = person()
        .did(told("ordered"), "2026-11-22T02:00:00Z")
        .did(Fact::Tagged { tag: "lost".into() }, "2026-11-22T02:00:00Z")
        .did(samples::seen("pricing"), "2026-11-20T02:00:00Z")
        .did(samples::seen("pricing"), "2026-11-22T02:00:00Z")
        .did(samples::seen("pricing"), "2026-11-22T03:00:00Z")
        .did(samples::fact(FactKind::ConsultationCancelled), "2026-11-22T02:00:00Z");
    known.ledger = vec![
        samples::opened(samples::sent("day-0", "2026-11-20T02:00:00Z"), "2026-11-22T02:00:00Z"),
        bounced,
    ];
    let page = |times| Trigger::Page { page: id("pricing"), times };
    let fact = Trigger::Fact;
    let (before, same, after) = ("2026-11-22T01:59:59Z", "2026-11-22T02:00:00Z", "2026-11-22T02:00:01Z");
    for (exit, since, expected) in [
        (Trigger::Told(id("ordered")), before, true),
        (Trigger::Told(id("ordered")), same, true),
        (Trigger::Told(id("ordered")), after, false),
        (Trigger::Told(id("cart-updated")), before, false),
        (Trigger::Tag("lost".into()), before, true),
        (Trigger::Tag("vip".into()), before, false),
        (page(1), after, true),
        (page(2), same, true),
        (page(2), after, false),
        (page(3), before, false),
        (page(3), "2026-11-20T00:00:00Z", true),
        (fact(FactKind::MailOpened), before, true),
        (fact(FactKind::MailOpened), after, false),
        (fact(FactKind::MailClicked), before, false),
        (fact(FactKind::MailBounced), before, true),
        (fact(FactKind::MailBounced), after, false),
        (fact(FactKind::ConsultationCancelled), before, true),
        (Trigger::Enters(id("other")), before, false),
    ] {
        let sequence = Sequence { exit: vec![exit.clone()], ..mails(&["now"]) };
        // With no more read than it says.
        let needs = sequence.exit_needs();
        let ledger = if needs.ledger { known.ledger.clone() } else { vec![] };
        let timeline = if needs.timeline { known.timeline.clone() } else { vec![] };
        let read = samples::Person { ledger, timeline, ..known.clone() };
        let found = sequence.is_over(&read.known(at("2026-11-23T00:00:00Z")), at(since));
        assert_eq!(found, Some(&exit).filter(|_| expected), "{exit:?} since {since}");
        // What has not happened yet ends nothing.
        assert_eq!(sequence.is_over(&known.known(at("2026-11-01T00:00:00Z")), at(since)), None, "{exit:?}");
    }
    // Of several consultations, the relay alone tells which one it was.
    let entry = vec![fact(FactKind::ConsultationBooked)];
    let exit = vec![fact(FactKind::ConsultationCancelled)];
    let sequence = Sequence { entry, exit, ..mails(&["now"]) };
    assert_eq!(sequence.is_over(&known.known(at("2026-11-23T00:00:00Z")), at(before)), None);
}

#[test]
fn an_exit_that_counts_views_is_not_reached_by_the_first_one() {
    let exit = |times| vec![Trigger::Page { page: id("pricing"), times }];
    let sequence = |times| Sequence { exit: exit(times), ..mails(&["now"]) };
    let enrolment = enrolled(&sequence(1), "2026-11-22T01:00:00Z", "2026-11-22T01:00:00Z");
    let seen = person().did(samples::seen("pricing"), "2026-11-22T02:00:00Z").timeline.pop().unwrap();
    assert!(relay::stops(&seen, &sequence(1), &enrolment));
    assert!(!relay::stops(&seen, &sequence(3), &enrolment));
}

/// A window that opens on some days of the week, and perhaps in some hours only.
fn any_window() -> impl Strategy<Value = Window> {
    let weekdays = proptest::sample::subsequence(
        vec![
            Weekday::Mon,
            Weekday::Tue,
            Weekday::Wed,
            Weekday::Thu,
            Weekday::Fri,
            Weekday::Sat,
            Weekday::Sun,
        ],
        1..=7,
    );
    // Four hours at least, so that no clock change swallows them.
    let hours = proptest::option::of((0_u32..20, 4_u32..24)).prop_map(|hours| {
        let clock = |hour: u32| NaiveTime::from_hms_opt(hour % 24, 0, 0).unwrap();
        hours.map(|(from, long)| (clock(from), clock((from + long).min(24))))
    });
    (hours, weekdays).prop_map(|(hours, weekdays)| Window { hours, weekdays })
}

proptest! {
    #[test]
    fn no_two_mails_of_a_daily_sequence_come_on_one_day_whatever_is_closed(
        window in any_window(),
        change in proptest::sample::select(changes()),
        hours_before in 0_i64..400,
        minute in 0_u32..1440,
        form in 0..3,
        put_off in proptest::collection::vec(0_i64..200, 6),
    ) {
        let text = format!("{:02}:{:02}", minute / 60, minute % 60);
        let whens: Vec<_> = (1..=6).map(|day| match form {
            0 => format!("+{day}d {text}"),
            1 => format!("1d {text}"),
            _ => text.clone(),
        }).collect();
        let whens: Vec<_> = whens.iter().map(String::as_str).collect();
        let sequence = mails_from(Anchor::Entry, vec![window], &whens);
        let (program, zone) = (&sequence.program, change.zone);
        let start = change.at - TimeDelta::hours(hours_before);
        let mut enrolment = sequence.enrol(entry(start), start, zone);
        let mut days = vec![];
        for hours in put_off {
            // The cap, say, puts some of them off, until the next opening after that.
            let due = enrolment.next_due.unwrap();
            if hours > 100 {
                let until = next_open(&program.windows, due + TimeDelta::hours(hours), zone).unwrap();
                enrolment = program.postpone(enrolment, until, "", zone);
                prop_assert!(enrolment.next_due >= Some(until));
            }
            let due = enrolment.next_due.unwrap();
            prop_assert_eq!(next_open(&program.windows, due, zone), Some(due));
            days.push(time::day(due, zone));
            let next = enrolment.step.as_ref().and_then(|step| program.step(step)).unwrap().next.clone();
            enrolment = program.advance(enrolment, next, "", due, zone);
        }
        prop_assert!(days.is_sorted_by(|one, next| one < next), "{:?} {:?}", days, sequence.program);
        prop_assert_eq!(enrolment.state, EnrolmentState::Finished);
    }
}
