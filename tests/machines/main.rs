//! How well machines are told from people, on a labelled corpus. Every line must come out right.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use chrono::{DateTime, TimeDelta, Utc};
use domain::machine::{Evidence, HIDDEN_LINK, Reader, Touch, judge};
use serde::Deserialize;

#[derive(Deserialize)]
struct Corpus {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    note: String,
    what: What,
    agent: String,
    ip: String,
    after: i64,
    ses: Option<String>,
    #[serde(default)]
    also: Vec<(String, i64)>,
    right: Label,
    because: Option<String>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum What {
    Open,
    Click,
    Hidden,
}

#[derive(Deserialize, Debug, Clone, Copy, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Label {
    Person,
    Machine,
}

fn corpus() -> Vec<Case> {
    toml::from_str::<Corpus>(include_str!("corpus.toml")).unwrap().cases
}

fn delivered() -> DateTime<Utc> {
    "2027-03-01T01:00:00Z".parse().unwrap()
}

fn click(case: &Case, link: &str, after: i64) -> Touch {
    let page = if link == "hidden" { HIDDEN_LINK } else { link };
    let at = delivered() + TimeDelta::seconds(after);
    Touch::click(at, &format!("https://example.com{page}"), page.to_owned(), reader(case))
}

fn reader(case: &Case) -> Reader<'_> {
    Reader { user_agent: &case.agent, ip: Some(case.ip.parse().unwrap()), said_by_ses: case.ses.as_deref() }
}

/// What the product makes of a case, told in that order.
fn judged(case: &Case, reversed: bool) -> Touch {
    let touch = match case.what {
        What::Open => Touch::open(delivered() + TimeDelta::seconds(case.after), reader(case)),
        What::Click => click(case, "/a", case.after),
        What::Hidden => click(case, "hidden", case.after),
    };
    let others = case.also.iter().map(|(link, after)| click(case, link, *after));
    let mut touches: Vec<Touch> = std::iter::once(touch.clone()).chain(others).collect();
    if reversed {
        touches.reverse();
    }
    judge(&mut touches, Some(delivered()));
    touches.into_iter().find(|known| known.is(&touch)).unwrap()
}

#[test]
fn every_case_of_the_corpus_is_judged_right_in_whatever_order_it_is_told() {
    let cases = corpus();
    let mut wrong = vec![];
    let mut counts = [[0_u32; 2]; 2];
    for case in &cases {
        for reversed in [false, true] {
            let touch = judged(case, reversed);
            let verdict = if touch.machine { Label::Machine } else { Label::Person };
            let found =
                |because: &String| touch.evidence.contains(&Evidence::try_from(because.clone()).unwrap());
            if verdict != case.right || !case.because.as_ref().is_none_or(found) {
                wrong.push(format!("{}: {verdict:?} because of {:?}", case.note, touch.evidence));
            }
            if !reversed {
                counts[usize::from(case.right == Label::Machine)][usize::from(touch.machine)] += 1;
            }
        }
    }
    let per_mille = |part: u32, whole: u32| part * 1000 / whole.max(1);
    let [[person_right, person_wrong], [machine_wrong, machine_right]] = counts;
    let people = [
        per_mille(person_right, person_right + machine_wrong),
        per_mille(person_right, person_right + person_wrong),
    ];
    let machines = [
        per_mille(machine_right, machine_right + person_wrong),
        per_mille(machine_right, machine_right + machine_wrong),
    ];
    println!(
        "people: {person_right} right, {person_wrong} taken for machines; precision and recall {people:?} per mille"
    );
    println!(
        "machines: {machine_right} right, {machine_wrong} taken for people; precision and recall {machines:?} per mille"
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!((people, machines), ([1000, 1000], [1000, 1000]));
}

#[test]
fn the_corpus_is_large_enough_and_says_nothing_twice() {
    let cases = corpus();
    let count = |label: Label| cases.iter().filter(|case| case.right == label).count();
    assert!(count(Label::Person) >= 30 && count(Label::Machine) >= 60);
    let mut notes: Vec<&str> = cases.iter().map(|case| case.note.as_str()).collect();
    notes.sort_unstable();
    notes.dedup();
    assert_eq!(notes.len(), cases.len());
}
