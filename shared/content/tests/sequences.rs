//! Sequences, scores and broadcasts come out as they were written.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod sample;

use chrono::{NaiveTime, Weekday};
use content::Funnel;
use domain::event::FactKind;
use domain::id::Id;
use domain::score::Once;
use domain::sending::Window;
use domain::sequence::{Act, Anchor, Inside, Sequence, When};
use domain::trigger::Trigger;

use sample::Copy;

fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

fn sequence<'f>(funnel: &'f Funnel, name: &str) -> &'f Sequence {
    funnel.sequence(&id(name)).unwrap()
}

fn hours(from: &str, until: &str) -> Option<(NaiveTime, NaiveTime)> {
    let time = |text| NaiveTime::parse_from_str(text, "%H:%M").unwrap();
    Some((time(from), time(until)))
}

#[test]
fn every_step_leads_where_it_was_told_to() {
    let funnel = Copy::rich("ways").load();
    let order = sequence(&funnel, "order");
    let ways: Vec<(&str, Vec<&str>, Option<&str>)> = order
        .program
        .steps
        .iter()
        .map(|step| {
            let name = |id: &Option<Id>| id.as_ref().map_or("end", Id::as_str).to_owned();
            let ways: Vec<String> = match &step.act {
                Act::WaitFor { then, otherwise, .. } | Act::Branch { then, otherwise, .. } => {
                    vec![name(then), name(otherwise)]
                }
                Act::Split { targets } => targets.iter().map(|(step, _)| step.to_string()).collect(),
                _ => vec![],
            };
            let ways = ways.into_iter().map(|way| &*way.leak()).collect();
            (step.id.as_str(), ways, step.next.as_ref().map(Id::as_str))
        })
        .collect();
    assert_eq!(
        ways,
        [
            ("buyer", vec![], Some("read")),
            ("read", vec!["offer", "ask"], Some("ask")),
            ("ask", vec![], None),
            ("offer", vec!["offer-a", "offer-b"], Some("offer-a")),
            ("offer-a", vec![], None),
            ("offer-b", vec![], None),
        ]
    );
}

#[test]
fn what_holds_for_a_sequence_is_what_its_file_says() {
    let funnel = Copy::rich("heads").load();
    let order = sequence(&funnel, "order");
    assert_eq!(order.entry, [Trigger::Told(id("ordered")), Trigger::ScoreRisesTo(50)]);
    assert_eq!(order.exit, [Trigger::Enters(id("webinar"))]);
    assert_eq!(order.test.as_ref().map(|test| test.text.as_str()), Some("stage < \"customer\""));
    assert_eq!((order.again, order.priority, order.inside), (true, 5, Inside::Finish));
    let general = Window { hours: hours("07:00", "21:00"), weekdays: vec![] };
    let own = Window { hours: hours("09:00", "20:00"), weekdays: vec![] };
    for (name, anchor, windows) in [
        ("order", Anchor::Entry, vec![general.clone(), own]),
        ("webinar", Anchor::At("2027-03-20T11:00:00Z".parse().unwrap()), vec![general.clone()]),
        ("nurture", Anchor::Entry, vec![general.clone()]),
        // What a person waits for comes at any hour.
        ("consultation", Anchor::Consultation, vec![]),
        ("onboarding", Anchor::Entry, vec![]),
        ("broadcast-news", Anchor::Entry, vec![general]),
    ] {
        let program = &sequence(&funnel, name).program;
        assert_eq!((program.anchor, &program.windows), (anchor, &windows), "{name}");
    }
    let news = funnel.broadcast(&id("news")).unwrap();
    assert_eq!((news.segment.as_ref(), news.per_hour), (Some(&id("it")), Some(500)));
    assert_eq!(news.sequence.program.steps.first().map(|step| step.id.as_str()), Some("mail"));
}

#[test]
fn scores_are_counted_as_their_file_says() {
    let scoring = Copy::rich("scores").load().scoring;
    let rules: Vec<(&str, i64, Option<i64>, Once)> = scoring
        .behaviour
        .iter()
        .map(|rule| (rule.name.as_str(), rule.points, rule.at_most, rule.once))
        .collect();
    assert_eq!(
        rules,
        [("page checklist", 10, Some(30), Once::Day), ("fact attended", 20, None, Once::Always)]
    );
    assert_eq!(scoring.fit.first().map(|rule| rule.points), Some(15));
    assert_eq!(scoring.decay.first().map(|decay| (decay.after_days, decay.points)), Some((30, 5)));
    assert_eq!(scoring.band(50).map(|band| band.name.as_str()), Some("ホット"));
    assert_eq!(scoring.thresholds, [50]);
}

#[test]
fn a_versions_name_follows_from_its_program_alone() {
    let copy = Copy::rich("versions");
    let version = |copy: &Copy, name: &str| sequence(&copy.load(), name).program.version.clone();
    let first = version(&copy, "order");
    assert!(first.len() == 12 && first.bytes().all(|b| b.is_ascii_hexdigit()), "{first}");
    // Who enters, and what everybody sees, is no part of what a person goes through.
    copy.edit(("sequences/order.toml", "priority = 5", "priority = 6"));
    copy.edit(("sequences/order.toml", "name = \"注文のあと\"", "name = \"ご注文のあと\""));
    assert_eq!(version(&copy, "order"), first);
    let nurture = version(&copy, "nurture");
    for (from, to) in [
        ("09:00-20:00", "09:00-19:00"),
        ("within = \"3d\"", "within = \"4d\""),
        ("next = \"end\"", "next = \"offer-a\""),
        ("due = \"1d\"", "due = \"2d\""),
    ] {
        let before = version(&copy, "order");
        copy.edit(("sequences/order.toml", from, to));
        assert_ne!(version(&copy, "order"), before, "{to}");
    }
    assert_eq!(version(&copy, "nurture"), nurture);
}

#[test]
fn the_ready_funnels_have_no_problems() {
    let funnels = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../funnels");
    let mut names: Vec<String> = std::fs::read_dir(&funnels)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    for name in names {
        let checked = content::check(&funnels.join(&name));
        let errors: Vec<String> = checked.problems.iter().map(ToString::to_string).collect();
        assert!(checked.funnel.is_some(), "{name}: {errors:#?}");
        // `lost` is what sales says of somebody, by hand.
        let known = |problem: &&String| problem.contains("nobody gives the tag `lost`");
        assert_eq!(errors.iter().filter(|problem| !known(problem)).count(), 0, "{name}: {errors:#?}");
    }
}

#[test]
fn weekdays_and_times_are_those_of_the_file() {
    let copy = Copy::rich("weekdays");
    copy.edit(("sequences/order.toml", "hours = \"09:00-20:00\"", "weekdays = [\"tuesday\", \"friday\"]"));
    let funnel = copy.load();
    let order = sequence(&funnel, "order");
    assert_eq!(
        order.program.windows.last().map(|window| window.weekdays.clone()),
        Some(vec![Weekday::Tue, Weekday::Fri])
    );
    let when = order.program.step(&id("offer")).map(|step| step.when);
    let time = NaiveTime::from_hms_opt(10, 0, 0).unwrap();
    assert_eq!(when, Some(When::NextWeekday { weekday: Weekday::Tue, time }));
    assert!(sequence(&funnel, "nurture").entry.contains(&Trigger::Fact(FactKind::OptedIn)));
}
