use super::*;
use crate::{
    condition::{AttributeValue, Compare, Condition},
    engagement::{Engagement, EngagementState},
    event::Event,
    samples::{OPTED_IN, Person, at, clicked, fact, id, opened, person, seen, sent, told},
    sequence::{Enrolment, EnrolmentState},
};
use chrono_tz::Tz::Asia__Tokyo;
use proptest::prelude::*;

fn test(text: &str, condition: Condition) -> Test {
    Test { text: text.into(), condition }
}

fn fit(condition: Condition, points: i64) -> FitRule {
    FitRule { test: test(&format!("{condition:?}"), condition), points }
}

fn employees(from: i64, below: i64) -> Condition {
    let employees = |compare, value| Condition::Attribute {
        name: "employees".into(),
        compare,
        value: AttributeValue::Number(value),
    };
    Condition::All(vec![employees(Compare::AtLeast, from), employees(Compare::Less, below)])
}

fn rule(name: &str, on: Trigger, points: i64, at_most: Option<i64>, once: Once) -> BehaviourRule {
    BehaviourRule { on, name: name.into(), points, at_most, once }
}

fn page(times: u32) -> Trigger {
    Trigger::Page { page: id("pricing"), times }
}

/// The rules of the seed (001, phase 2).
fn seed() -> Scoring {
    let fact = Trigger::Fact;
    Scoring {
        fit: vec![fit(employees(100, 500), 15), fit(Condition::Tag("student".into()), -20)],
        behaviour: vec![
            rule("pricing", page(1), 10, Some(30), Once::Day),
            rule("open", fact(FactKind::MailOpened), 2, None, Once::Always),
            rule("click", fact(FactKind::MailClicked), 5, None, Once::Always),
            rule("unsubscribed", fact(FactKind::Unsubscribed), -15, None, Once::Always),
            rule("whitepaper", Trigger::Download(id("whitepaper")), 15, None, Once::Ever),
        ],
        decay: vec![Decay { after_days: 30, points: 5 }, Decay { after_days: 60, points: 10 }],
        bands: [("cold", 0), ("warm", 25), ("hot", 50), ("very-hot", 75)]
            .map(|(band, from)| Band { id: id(band), name: band.into(), from })
            .into(),
        thresholds: vec![20, 25, 50, 75],
    }
}

fn download(magnet: &str) -> Fact {
    Fact::OptedIn {
        first: false,
        source: None,
        lead_magnet_type: Some(magnet.into()),
        visitor_id: None,
        utm: BTreeMap::new(),
    }
}

/// Somebody by these rules, of a company with so many people.
fn scored(scoring: Scoring, employees: Option<&str>) -> Person {
    let mut person = Person { scoring, ..person() };
    person.lead.attributes =
        employees.map(|known| ("employees".to_owned(), known.to_owned())).into_iter().collect();
    person
}

fn score(person: &Person, now: &str) -> Score {
    person.scoring.score(&person.known(at(now)))
}

/// What there was points for, and how many.
fn entries(score: &Score) -> Vec<(&str, i64)> {
    score.entries.iter().map(|entry| (entry.what.as_str(), entry.points)).collect()
}

#[test]
fn a_company_of_the_right_size_fits() {
    for (known, points) in [
        (None, 0),
        (Some("99"), 0),
        (Some("100"), 15),
        (Some("499"), 15),
        (Some("500"), 0),
        (Some("about 200"), 0),
    ] {
        let score = score(&scored(seed(), known), OPTED_IN);
        assert_eq!((score.total, score.fit, score.behaviour), (points, points, 0), "{known:?}");
        assert_eq!(score.entries.len(), usize::from(points > 0), "{known:?}");
        assert!(score.entries.iter().all(|entry| entry.at.is_none()));
    }
}

#[test]
fn what_people_do_gives_and_takes_points() {
    let ledger = |rows: Vec<Engagement>| Person { ledger: rows, ..scored(seed(), None) };
    let mail = |name: &str| sent(name, "2026-09-02T00:00:00Z");
    let open = opened(mail("day-1"), "2026-09-02T01:00:00Z");
    let bare = || scored(seed(), None);
    let unsubscribed = Fact::Unsubscribed {};
    for (what, person, points) in [
        ("nothing", bare(), 0),
        ("a mail that was sent", ledger(vec![mail("day-1")]), 0),
        ("a machine's opening", ledger(vec![Engagement { machine_opened: true, ..mail("day-1") }]), 0),
        ("an opening", ledger(vec![open.clone()]), 2),
        ("two of them", ledger(vec![open.clone(), opened(mail("day-2"), "2026-09-03T01:00:00Z")]), 4),
        ("a click", ledger(vec![clicked(open.clone(), "x", "2026-09-02T01:01:00Z")]), 7),
        ("the pricing page", bare().did(seen("pricing"), "2026-09-02T00:00:00Z"), 10),
        ("another page", bare().did(seen("cases"), "2026-09-02T00:00:00Z"), 0),
        ("a download", bare().did(download("whitepaper"), "2026-09-02T00:00:00Z"), 15),
        ("another download", bare().did(download("guide"), "2026-09-02T00:00:00Z"), 0),
        ("no interest", ledger(vec![open]).did(unsubscribed.clone(), "2026-09-02T00:00:00Z"), 2),
        (
            "lost interest",
            bare()
                .did(download("whitepaper"), "2026-09-02T00:00:00Z")
                .did(seen("pricing"), "2026-09-03T00:00:00Z")
                .did(unsubscribed, "2026-09-04T00:00:00Z"),
            10,
        ),
    ] {
        assert_eq!(score(&person, "2026-09-05T00:00:00Z").total, points, "{what}");
    }
}

#[test]
fn the_same_thing_counts_as_often_as_the_rule_says_and_never_beyond_its_cap() {
    let views =
        ["02T00:00", "02T12:00", "03T00:00", "03T12:00", "03T23:59", "04T12:00", "05T12:00", "06T12:00"];
    let person = |once, at_most, points, times| {
        let rule = rule("pricing", page(times), points, at_most, once);
        let scoring = Scoring { behaviour: vec![rule], ..Scoring::default() };
        let scoring = Scoring { fit: vec![fit(Condition::All(vec![]), 100)], ..scoring };
        let views = views.map(|view| format!("2026-09-{view}:00Z"));
        views.iter().fold(scored(scoring, None), |person, view| person.did(seen("pricing"), view))
    };
    for (once, at_most, points, times, given) in [
        (Once::Always, None, 10, 1, vec![10; 8]),
        (Once::Always, Some(35), 10, 1, vec![10, 10, 10, 5]),
        (Once::Always, Some(0), 10, 1, vec![]),
        (Once::Always, Some(5), 10, 1, vec![5]),
        // 24 hours after the last one that counted.
        (Once::Day, None, 10, 1, vec![10; 5]),
        (Once::Day, Some(30), 10, 1, vec![10; 3]),
        (Once::Ever, None, 10, 1, vec![10]),
        // What takes points has a cap too.
        (Once::Always, None, -10, 1, vec![-10; 8]),
        (Once::Always, Some(25), -10, 1, vec![-10, -10, -5]),
        // The third view, and no other.
        (Once::Always, None, 10, 3, vec![10]),
        (Once::Always, None, 10, 9, vec![]),
    ] {
        let score = score(&person(once, at_most, points, times), "2026-09-07T00:00:00Z");
        let counted: Vec<_> = score.entries.iter().filter(|entry| entry.at.is_some()).collect();
        let is: Vec<_> = counted.iter().map(|entry| entry.points).collect();
        assert_eq!(is, given, "{once:?} {at_most:?} {points} {times}");
        assert_eq!(score.total, 100 + given.iter().sum::<i64>());
        if times == 3 {
            assert_eq!(counted[0].at, Some(at("2026-09-03T00:00:00Z")));
        }
    }
}

#[test]
fn silence_takes_five_points_after_a_month_and_ten_each_month_after_two() {
    let person = scored(seed(), Some("250"))
        .did(download("whitepaper"), "2026-09-02T00:00:00Z")
        .did(seen("pricing"), "2026-09-02T00:00:00Z");
    for (now, total) in [
        ("2026-09-02T00:00:00Z", 40),
        ("2026-10-01T23:59:59Z", 40),
        ("2026-10-02T00:00:00Z", 35),
        ("2026-10-31T23:59:59Z", 35),
        ("2026-11-01T00:00:00Z", 25),
        ("2026-12-01T00:00:00Z", 15),
        ("2026-12-31T00:00:00Z", 5),
        // It never falls below 0.
        ("2027-01-30T00:00:00Z", 0),
        ("2040-01-01T00:00:00Z", 0),
    ] {
        assert_eq!(score(&person, now).total, total, "{now}");
    }
    let days = [("30 days of silence", -5), ("60 days of silence", -10), ("90 days of silence", -10)];
    assert_eq!(entries(&score(&person, "2026-12-01T00:00:00Z"))[3..], days);
    // What she does starts the months anew, and what is done to her does not.
    let back = person.clone().did(told("ordered"), "2026-10-03T00:00:00Z");
    assert_eq!(score(&back, "2026-11-01T00:00:00Z").total, 35);
    let tagged = person.did(fact(FactKind::Tagged), "2026-10-03T00:00:00Z");
    assert_eq!(score(&tagged, "2026-11-01T00:00:00Z").total, 25);
}

#[test]
fn a_score_never_falls_below_nothing_and_owes_nothing() {
    let mut student = scored(seed(), None);
    student.lead.tags.push("student".into());
    let unsubscribed = || Fact::Unsubscribed {};
    for (what, person, total) in [
        ("points that were never there", scored(seed(), None).did(unsubscribed(), "2026-09-02T00:00:00Z"), 0),
        (
            "and are not owed",
            scored(seed(), None)
                .did(unsubscribed(), "2026-09-02T00:00:00Z")
                .did(seen("pricing"), "2026-09-03T00:00:00Z"),
            10,
        ),
        (
            "a fit may be taken away",
            scored(seed(), Some("100")).did(unsubscribed(), "2026-09-02T00:00:00Z"),
            0,
        ),
        ("a bad fit", student.clone(), 0),
        ("is made up for first", student.clone().did(download("whitepaper"), "2026-09-02T00:00:00Z"), 0),
        (
            "and then counts",
            student
                .clone()
                .did(download("whitepaper"), "2026-09-02T00:00:00Z")
                .did(seen("pricing"), "2026-09-03T00:00:00Z"),
            5,
        ),
        (
            "and is not owed twice",
            student
                .did(download("whitepaper"), "2026-09-02T00:00:00Z")
                .did(unsubscribed(), "2026-09-03T00:00:00Z")
                .did(seen("pricing"), "2026-09-04T00:00:00Z"),
            5,
        ),
    ] {
        assert_eq!(score(&person, "2026-09-05T00:00:00Z").total, total, "{what}");
    }
}

#[test]
fn a_day_of_the_past_does_not_know_what_came_later() {
    let mut person = scored(seed(), Some("250"))
        .did(download("whitepaper"), "2026-09-02T00:00:00Z")
        .did(seen("pricing"), "2026-09-03T00:00:00Z");
    person.ledger = vec![opened(sent("day-1", "2026-09-02T00:00:00Z"), "2026-09-04T00:00:00Z")];
    // A fit that asks what she has done.
    let ordered = Condition::Ever(Trigger::Told(id("ordered")));
    let visited = Condition::Seen { page: id("pricing"), compare: Compare::AtLeast, times: 1 };
    person.scoring.fit.extend([fit(ordered, 100), fit(visited, 1), fit(Condition::Opened(id("day-1")), 3)]);
    let person = person.did(told("ordered"), "2026-09-05T00:00:00Z");
    for (now, total) in [
        ("2026-09-01T23:59:59Z", 15),
        ("2026-09-02T00:00:00Z", 30),
        ("2026-09-02T23:59:59Z", 30),
        ("2026-09-03T00:00:00Z", 41),
        ("2026-09-04T00:00:00Z", 46),
        ("2026-09-04T23:59:59Z", 46),
        ("2026-09-05T00:00:00Z", 146),
    ] {
        assert_eq!(score(&person, now).total, total, "{now}");
    }
}

#[test]
fn an_explanation_names_the_fit_first_and_then_what_she_did_in_order_of_time() {
    let mut person = scored(seed(), Some("250"))
        .did(seen("pricing"), "2026-09-04T00:00:00Z")
        .did(download("whitepaper"), "2026-09-02T00:00:00Z");
    let row = opened(sent("day-1", "2026-09-02T00:00:00Z"), "2026-09-03T00:00:00Z");
    person.ledger = vec![clicked(row, "x", "2026-09-05T00:00:00Z")];
    person.scoring.fit[0].test.text = "employees".into();
    let score = score(&person, "2026-10-05T00:00:00Z");
    let expected = [
        ("employees", 15),
        ("whitepaper", 15),
        ("open", 2),
        ("pricing", 10),
        ("click", 5),
        ("30 days of silence", -5),
    ];
    assert_eq!(entries(&score), expected);
    assert_eq!((score.total, score.fit, score.behaviour), (42, 15, 27));
    let stored = serde_json::to_value(&score).unwrap();
    assert_eq!(serde_json::from_value::<Score>(stored).unwrap(), score);
}

#[test]
fn a_mail_that_came_back_is_a_fact_like_others() {
    let bounced = rule("bounced", Trigger::Fact(FactKind::MailBounced), -10, None, Once::Ever);
    let scoring = Scoring { behaviour: vec![bounced], ..seed() };
    let row = sent("day-1", "2026-09-02T00:00:00Z");
    let back = Engagement { state: EngagementState::Bounced, ..row.clone() };
    for (row, total) in [(row, 15), (back, 5)] {
        let person = Person { ledger: vec![row], ..scored(scoring.clone(), Some("250")) };
        assert_eq!(score(&person, "2026-09-03T00:00:00Z").total, total);
    }
}

#[test]
fn what_a_person_is_asks_neither_for_the_score_nor_for_sequences() {
    let mut person = scored(seed(), Some("250"));
    person.scoring.fit.push(fit(Condition::Score(Compare::AtLeast, 1), 7));
    person.scoring.fit.push(fit(Condition::Inside(id("nurture")), 7));
    person.enrolments = vec![inside("nurture")];
    assert!(Condition::Inside(id("nurture")).holds(&person.known(at(OPTED_IN))));
    assert_eq!(score(&person, OPTED_IN).total, 15);
    assert_eq!(person.scoring.needs(), Condition::Score(Compare::Equal, 0).needs());
}

fn inside(sequence: &str) -> Enrolment {
    Enrolment {
        lead_id: id("l-1"),
        enrolment_id: sequence.into(),
        sequence: id(sequence),
        program: String::new(),
        subject: None,
        generation: 1,
        anchor: at(OPTED_IN),
        enrolled_at: at(OPTED_IN),
        entered_at: None,
        state: EnrolmentState::Active,
        step: Some(id("day-1")),
        next_due: None,
        waiting: false,
        due_hour: None,
        enrolment_key: String::new(),
        why: String::new(),
        decisions: vec![],
        values: BTreeMap::new(),
    }
}

#[test]
fn a_band_is_the_highest_that_has_been_reached() {
    for (total, expected) in [
        (0, "cold"),
        (24, "cold"),
        (25, "warm"),
        (49, "warm"),
        (50, "hot"),
        (74, "hot"),
        (75, "very-hot"),
        (999, "very-hot"),
    ] {
        assert_eq!(seed().band(total).map(|band| band.id.as_str()), Some(expected), "{total}");
    }
    assert_eq!(Scoring::default().band(10), None);
    let scoring = Scoring { bands: seed().bands.split_off(1), ..seed() };
    assert_eq!(scoring.band(24), None);
}

#[test]
fn thresholds_are_crossed_upwards_when_reached_and_downwards_when_reached() {
    for (before, after, expected) in [
        (0, 0, vec![]),
        (0, 19, vec![]),
        (0, 20, vec![(20, true)]),
        (19, 24, vec![(20, true)]),
        (0, 80, vec![(20, true), (25, true), (50, true), (75, true)]),
        (20, 24, vec![]),
        (50, 50, vec![]),
        (49, 50, vec![(50, true)]),
        (50, 51, vec![]),
        (51, 50, vec![(50, false)]),
        (50, 49, vec![]),
        (60, 26, vec![(50, false)]),
        (60, 25, vec![(50, false), (25, false)]),
        (80, 0, vec![(75, false), (50, false), (25, false), (20, false)]),
    ] {
        assert_eq!(seed().crossed(before, after), expected, "{before} to {after}");
    }
}

#[test]
fn only_facts_that_can_change_a_score_are_listened_to() {
    use FactKind as K;
    let fits = |condition| Scoring { fit: vec![fit(condition, 1)], ..Scoring::default() };
    let rules = |on| Scoring { behaviour: vec![rule("x", on, 1, None, Once::Always)], ..Scoring::default() };
    let decay = vec![Decay { after_days: 30, points: 5 }];
    for (scoring, expected) in [
        (Scoring::default(), vec![]),
        (Scoring { decay: decay.clone(), ..Scoring::default() }, vec![]),
        (fits(employees(1, 2)), vec![K::OptInRequested, K::OptedIn]),
        (fits(Condition::Tag("vip".into())), vec![K::OptInRequested, K::OptedIn, K::Tagged]),
        (
            fits(Condition::Stage(Compare::Equal, crate::lead::Stage::Mql)),
            vec![K::StageChanged, K::CustomerPaid],
        ),
        (rules(page(1)), vec![K::PageSeen]),
        (rules(Trigger::Told(id("ordered"))), vec![K::Told]),
        (rules(Trigger::Fact(K::ConsultationMissed)), vec![K::ConsultationMissed]),
        (
            Scoring { decay, ..rules(Trigger::Fact(K::Unsubscribed)) },
            K::ALL.into_iter().filter(|kind| kind.is_activity() || *kind == K::Unsubscribed).collect(),
        ),
    ] {
        let heard: Vec<_> = K::ALL.into_iter().filter(|kind| scoring.listens_to(*kind)).collect();
        assert_eq!(heard, expected, "{scoring:?}");
        let asks = !scoring.fit.is_empty() || !scoring.behaviour.is_empty();
        assert_eq!(scoring.is_empty(), !asks);
    }
}

#[test]
fn a_fall_is_foreseen_for_the_day_on_which_silence_takes_the_points() {
    let person = scored(seed(), Some("250")).did(download("whitepaper"), "2026-09-02T00:00:00Z");
    let falls = |limit, now: &str| person.scoring.falls_to(limit, &person.known(at(now)));
    for (limit, now, expected) in [
        (25, "2026-09-03T00:00:00Z", Some("2026-10-02T00:00:00Z")),
        (24, "2026-09-03T00:00:00Z", Some("2026-11-01T00:00:00Z")),
        (15, "2026-09-03T00:00:00Z", Some("2026-11-01T00:00:00Z")),
        (0, "2026-09-03T00:00:00Z", Some("2026-12-31T00:00:00Z")),
        // It is there already, or never will be.
        (30, "2026-09-03T00:00:00Z", None),
        (25, "2026-10-02T00:00:00Z", None),
        (-1, "2026-09-03T00:00:00Z", None),
        (15, "2026-10-31T00:00:00Z", Some("2026-11-01T00:00:00Z")),
    ] {
        assert_eq!(falls(limit, now), expected.map(at), "to {limit} from {now}");
    }
    let timeless = Person { scoring: Scoring { decay: vec![], ..seed() }, ..person.clone() };
    assert_eq!(timeless.scoring.falls_to(0, &timeless.known(at(OPTED_IN))), None);
}

/// What somebody may have done: an event, or something about a mail, so many minutes after she
/// opted in.
fn any_history() -> impl Strategy<Value = (Vec<Event>, Vec<Engagement>)> {
    let told = proptest::sample::select(vec![
        seen("pricing"),
        seen("cases"),
        download("whitepaper"),
        told("ordered"),
        fact(FactKind::Unsubscribed),
        fact(FactKind::Tagged),
        fact(FactKind::ConsultationBooked),
    ]);
    // Often at the very same time.
    let minute = prop_oneof![0_i64..400_000, Just(60), Just(1_440)];
    let events = proptest::collection::vec((told, minute.clone()), 0..12).prop_map(|acts| {
        let event = |(number, (fact, minute)): (usize, (Fact, i64))| {
            let when = at(OPTED_IN) + TimeDelta::minutes(minute);
            Event::about(&id("l-1"), &format!("k-{number}"), fact, when, Asia__Tokyo)
        };
        acts.into_iter().enumerate().map(event).collect()
    });
    let mail = (minute.clone(), minute, 0..4);
    let mails = proptest::collection::vec(mail, 0..6).prop_map(|mails| {
        let row = |(number, (open, click, state)): (usize, (i64, i64, i32))| {
            let when = |minute| crate::time::iso(at(OPTED_IN) + TimeDelta::minutes(minute));
            let row = sent(&format!("day-{number}"), OPTED_IN);
            match state {
                0 => row,
                1 => opened(row, &when(open)),
                2 => clicked(opened(row, &when(open)), "x", &when(click)),
                _ => Engagement { state: EngagementState::Bounced, ..row },
            }
        };
        mails.into_iter().enumerate().map(row).collect()
    });
    (events, mails)
}

fn any_once() -> impl Strategy<Value = Once> {
    proptest::sample::select(vec![Once::Always, Once::Day, Once::Ever])
}

fn any_scoring() -> impl Strategy<Value = Scoring> {
    let on = proptest::sample::select(vec![
        page(1),
        page(2),
        Trigger::Download(id("whitepaper")),
        Trigger::Told(id("ordered")),
        Trigger::Fact(FactKind::Unsubscribed),
        Trigger::Fact(FactKind::MailOpened),
        Trigger::Fact(FactKind::MailClicked),
        Trigger::Fact(FactKind::MailBounced),
        Trigger::Fact(FactKind::Tagged),
    ]);
    let rule = (on, -30_i64..60, proptest::option::of(0_i64..80), any_once()).prop_map(
        |(on, points, at_most, once)| BehaviourRule { name: format!("{on:?}"), on, points, at_most, once },
    );
    let fits = proptest::sample::select(vec![
        Condition::Tag("source:instagram".into()),
        Condition::Ever(Trigger::Told(id("ordered"))),
        Condition::Seen { page: id("pricing"), compare: Compare::AtLeast, times: 2 },
    ]);
    let fits = (fits, -40_i64..60).prop_map(|(condition, points)| fit(condition, points));
    let decay = proptest::collection::btree_map(1_i64..120, 0_i64..20, 0..3).prop_map(|rules| {
        rules.into_iter().map(|(after_days, points)| Decay { after_days, points }).collect()
    });
    let behaviour = proptest::collection::vec(rule, 0..6);
    (proptest::collection::vec(fits, 0..3), behaviour, decay).prop_map(|(fit, behaviour, decay)| Scoring {
        fit,
        behaviour,
        decay,
        ..seed()
    })
}

fn anybody() -> impl Strategy<Value = Person> {
    (any_scoring(), any_history()).prop_map(|(scoring, (timeline, ledger))| Person {
        timeline,
        ledger,
        scoring,
        ..person()
    })
}

/// A moment within the history, or some time after it.
fn any_moment() -> impl Strategy<Value = DateTime<Utc>> {
    (0_i64..700_000).prop_map(|minutes| at(OPTED_IN) + TimeDelta::minutes(minutes))
}

proptest! {
    #[test]
    fn what_is_explained_adds_up_to_the_score(person in anybody(), now in any_moment()) {
        let score = person.scoring.score(&person.known(now));
        let sum: i64 = score.entries.iter().map(|entry| entry.points).sum();
        prop_assert_eq!(sum, score.fit + score.behaviour);
        prop_assert_eq!(score.total, sum.max(0));
        // Less than nothing it only is as long as a bad fit has not been made up for.
        prop_assert!(sum >= score.fit.min(0));
        prop_assert!(score.entries.is_sorted_by_key(|entry| entry.at));
        prop_assert!(score.entries.iter().all(|entry| entry.points != 0 || entry.at.is_none()));
        prop_assert!(score.entries.iter().all(|entry| entry.at.is_none_or(|at| at <= now)));
    }

    #[test]
    fn the_order_in_which_facts_are_read_does_not_matter(
        person in anybody(),
        now in any_moment(),
        seed in proptest::collection::vec(any::<u64>(), 20),
    ) {
        let mut other = person.clone();
        let shuffled = |number: usize| seed.get(number).copied();
        let (mut events, mut rows): (Vec<_>, Vec<_>) = (
            other.timeline.into_iter().enumerate().collect(),
            other.ledger.into_iter().enumerate().collect(),
        );
        events.sort_by_key(|(number, _)| shuffled(*number));
        rows.sort_by_key(|(number, _)| shuffled(*number));
        other.timeline = events.into_iter().map(|(_, event)| event).collect();
        other.ledger = rows.into_iter().map(|(_, row)| row).collect();
        prop_assert_eq!(other.scoring.score(&other.known(now)), person.scoring.score(&person.known(now)));
    }

    #[test]
    fn what_comes_later_changes_no_day_of_the_past(person in anybody(), now in any_moment()) {
        let mut before = person.clone();
        before.timeline.retain(|event| event.occurred_at <= now);
        for row in &mut before.ledger {
            let (opened, clicked) = (row.opened_at.filter(|at| *at <= now), row.clicked_at.filter(|at| *at <= now));
            *row = Engagement {
                opened: opened.is_some(),
                opened_at: opened,
                clicked: clicked.is_some(),
                clicked_at: clicked,
                ..row.clone()
            };
        }
        prop_assert_eq!(before.scoring.score(&before.known(now)), person.scoring.score(&person.known(now)));
    }

    #[test]
    fn a_fall_comes_on_the_day_for_which_it_was_foreseen(
        mut person in anybody(), now in any_moment(), threshold in -5_i64..120,
    ) {
        // If nothing more is heard of her.
        person.timeline.retain(|event| event.occurred_at <= now);
        person.ledger.retain(|row| row.opened_at.max(row.clicked_at) <= Some(now));
        let total = |at| person.scoring.score(&person.known(at)).total;
        match person.scoring.falls_to(threshold, &person.known(now)) {
            Some(falls) => {
                prop_assert!(falls > now && total(now) > threshold);
                prop_assert!(total(falls) <= threshold);
                prop_assert!(total(falls - TimeDelta::seconds(1)) > threshold);
                let day_before = falls - TimeDelta::days(1);
                prop_assert!(day_before < now || total(day_before) > threshold);
            }
            None => {
                let never = [30, 365, 3650].map(TimeDelta::days).into_iter().all(|days| total(now + days) > threshold);
                prop_assert!(total(now) <= threshold || never);
            }
        }
    }

    #[test]
    fn every_threshold_between_two_scores_is_crossed_once(before in 0_i64..120, after in 0_i64..120) {
        let scoring = seed();
        let there = scoring.crossed(before, after);
        prop_assert!(there.iter().all(|(_, rising)| *rising == (after > before)));
        let back = scoring.crossed(after, before);
        for limit in scoring.thresholds.iter().copied() {
            let crossed = there.iter().filter(|(crossed, _)| *crossed == limit).count();
            let (low, high) = (before.min(after), before.max(after));
            let reached = if after > before { low < limit && limit <= high } else { low <= limit && limit < high };
            prop_assert_eq!(crossed, usize::from(reached));
        }
        prop_assert!(back.iter().all(|(_, rising)| *rising == (before > after)));
    }
}
