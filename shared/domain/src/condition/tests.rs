use super::*;
use crate::{
    engagement::EngagementState,
    lead::{self, Mailing, OptIn, SuppressionCause},
    samples::{OPTED_IN, Person, at, clicked, fact, id, opened, person, seen, sent, told},
    score::{BehaviourRule, Decay, FitRule, Once},
    sequence::{Anchor, Program, Sequence},
    text::ShortText,
};
use chrono::TimeDelta;
use chrono_tz::Tz::Asia__Tokyo;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// When conditions are asked.
const NOW: &str = "2026-11-22T01:00:00Z";

const NOTHING: Needs = Needs { ledger: false, timeline: false, enrolments: false };
const LEDGER: Needs = Needs { ledger: true, ..NOTHING };
const TIMELINE: Needs = Needs { timeline: true, ..NOTHING };
const HISTORY: Needs = Needs { ledger: true, timeline: true, enrolments: false };
const ENROLMENTS: Needs = Needs { enrolments: true, ..NOTHING };

fn all(parts: &[&Condition]) -> Condition {
    Condition::All(parts.iter().map(|part| (*part).clone()).collect())
}

fn any(parts: &[&Condition]) -> Condition {
    Condition::Any(parts.iter().map(|part| (*part).clone()).collect())
}

fn not(part: &Condition) -> Condition {
    Condition::Not(Box::new(part.clone()))
}

fn tag(tag: &str) -> Condition {
    Condition::Tag(tag.into())
}

fn text(name: &str, compare: Compare, value: &str) -> Condition {
    Condition::Attribute { name: name.into(), compare, value: AttributeValue::Text(value.into()) }
}

fn number(compare: Compare, value: i64) -> Condition {
    Condition::Attribute { name: "employees".into(), compare, value: AttributeValue::Number(value) }
}

fn views(page: &str, compare: Compare, times: i64) -> Condition {
    Condition::Seen { page: id(page), compare, times }
}

fn click(mail: &str, link: Option<&str>) -> Condition {
    Condition::Clicked { mail: id(mail), link: link.map(str::to_owned) }
}

fn ever(trigger: Trigger) -> Condition {
    Condition::Ever(trigger)
}

fn happened(trigger: Trigger) -> Condition {
    Condition::Happened(trigger)
}

fn own(fact: &str) -> Trigger {
    Trigger::Told(id(fact))
}

/// Rules of many kinds.
fn scoring() -> Scoring {
    let fit = |condition: Condition, points| FitRule {
        test: Test { text: format!("{condition:?}"), condition },
        points,
    };
    let rule = |on: Trigger, points| BehaviourRule {
        name: format!("{on:?}"),
        on,
        points,
        at_most: None,
        once: Once::Always,
    };
    Scoring {
        fit: vec![
            fit(tag("vip"), 20),
            fit(Condition::Stage(Compare::AtLeast, Stage::Mql), 30),
            fit(number(Compare::AtLeast, 100), 15),
            fit(ever(own("ordered")), 5),
        ],
        behaviour: vec![
            rule(Trigger::Page { page: id("pricing"), times: 1 }, 10),
            rule(Trigger::Fact(FactKind::MailOpened), 2),
            rule(Trigger::Fact(FactKind::MailBounced), 9),
            rule(Trigger::Fact(FactKind::MailComplained), 8),
            rule(Trigger::Fact(FactKind::ConsultationMissed), 7),
            rule(Trigger::Fact(FactKind::Unsubscribed), -3),
            rule(own("ordered"), 30),
        ],
        decay: vec![Decay { after_days: 30, points: 1 }],
        bands: vec![],
        thresholds: vec![],
    }
}

fn enrolment(sequence: &str) -> Enrolment {
    let program = Program { version: "v".into(), anchor: Anchor::Entry, windows: vec![], steps: vec![] };
    let sequence = Sequence {
        id: id(sequence),
        name: sequence.into(),
        class: crate::engagement::MailClass::Marketing,
        entry: vec![],
        test: None,
        exit: vec![],
        again: false,
        priority: 0,
        inside: crate::sequence::Inside::Finish,
        program,
    };
    let entry = crate::sequence::Entry {
        lead_id: id("l-1"),
        subject: None,
        generation: 1,
        at: at(OPTED_IN),
        anchor: at(OPTED_IN),
        values: BTreeMap::new(),
    };
    // Without steps it would be over at once.
    Enrolment { state: EnrolmentState::Active, ..sequence.enrol(entry, at(OPTED_IN), Asia__Tokyo) }
}

/// Somebody of whom a lot is known, some of it from before she entered a sequence on 15 November.
fn hanako() -> Person {
    let mut hanako = person()
        .did(seen("pricing"), "2026-10-01T00:00:00Z")
        .did(told("ordered"), "2026-11-01T00:00:00Z")
        .did(seen("pricing"), "2026-11-16T00:00:00Z")
        .did(seen("cases"), "2026-11-16T00:00:00Z")
        .did(told("cart-updated"), "2026-11-17T00:00:00Z")
        // Nothing of hers that is still to come counts already.
        .did(seen("pricing"), "2026-11-23T00:00:00Z")
        .did(told("shipped"), "2026-11-23T00:00:00Z");
    let day_1 = opened(sent("day-1", "2026-11-01T00:00:00Z"), "2026-11-02T00:00:00Z");
    let day_1 = clicked(day_1, "https://example.com/booking", "2026-11-02T00:01:00Z");
    let day_2 = opened(sent("day-2", "2026-11-16T00:00:00Z"), "2026-11-16T12:00:00Z");
    let later = opened(sent("later", "2026-11-16T00:00:00Z"), "2026-11-23T00:00:00Z");
    let later = clicked(later, "https://example.com/booking", "2026-11-23T00:00:00Z");
    let proxy = Engagement { machine_opened: true, ..sent("day-3", "2026-11-17T00:00:00Z") };
    let back = Engagement { state: EngagementState::Bounced, ..sent("day-4", "2026-11-01T00:00:00Z") };
    // Nobody noted when.
    let some_time = Engagement { opened: true, clicked: true, ..sent("day-5", "2026-11-01T00:00:00Z") };
    hanako.ledger = vec![day_1, day_2, proxy, later, back, some_time];
    hanako.lead.tags.push("vip".into());
    hanako.lead.stage = Stage::Mql;
    hanako.lead.attributes =
        [("industry".to_owned(), "IT".to_owned()), ("employees".to_owned(), "250".to_owned())].into();
    hanako.lead.locale = Some("ja".into());
    let watched = enrolment("watching").watched_until(at(NOW));
    hanako.enrolments = vec![enrolment("follow-up"), enrolment("nurture").stop("out").unwrap(), watched];
    hanako.entered_at = Some(at("2026-11-15T00:00:00Z"));
    hanako.scoring = scoring();
    hanako
}

/// Conditions, whether they hold of [`hanako`], and what has to be read for them.
fn table() -> Vec<(Condition, bool, Needs)> {
    use Compare as C;
    use Condition as K;
    let fact = Trigger::Fact;
    let (yes, no) = (tag("vip"), tag("staff"));
    let mut table = vec![
        (yes.clone(), true, NOTHING),
        (no.clone(), false, NOTHING),
        (not(&yes), false, NOTHING),
        (not(&no), true, NOTHING),
        (all(&[]), true, NOTHING),
        (all(&[&yes, &yes]), true, NOTHING),
        (all(&[&yes, &no]), false, NOTHING),
        (any(&[]), false, NOTHING),
        (any(&[&no, &yes]), true, NOTHING),
        (any(&[&no, &no]), false, NOTHING),
        (all(&[&yes, &not(&any(&[&no, &K::Inside(id("nurture"))]))]), true, ENROLMENTS),
        (any(&[&K::Opened(id("day-1")), &views("cases", C::Equal, 1)]), true, HISTORY),
        (text("industry", C::Equal, "IT"), true, NOTHING),
        (text("industry", C::Equal, "金融"), false, NOTHING),
        (text("industry", C::Unequal, "金融"), true, NOTHING),
        (text("industry", C::Unequal, "IT"), false, NOTHING),
        // What is not known, or no number, fits nothing.
        (text("role", C::Equal, ""), false, NOTHING),
        (text("role", C::Unequal, "部長"), false, NOTHING),
        (K::Source("instagram".into()), true, NOTHING),
        (K::Source("google".into()), false, NOTHING),
        (K::Magnet(id("guide")), true, NOTHING),
        (K::Magnet(id("checklist")), false, NOTHING),
        (K::Locale("ja".into()), true, NOTHING),
        (K::Locale("en".into()), false, NOTHING),
        (K::Opened(id("day-1")), true, LEDGER),
        (K::Opened(id("day-3")), false, LEDGER),
        (K::Opened(id("day-5")), true, LEDGER),
        (click("day-5", None), true, LEDGER),
        (click("day-5", Some("/booking")), false, LEDGER),
        (K::Opened(id("later")), false, LEDGER),
        (K::Opened(id("never")), false, LEDGER),
        (click("day-1", None), true, LEDGER),
        (click("day-1", Some("/booking")), true, LEDGER),
        (click("day-1", Some("/apply")), false, LEDGER),
        (click("day-2", None), false, LEDGER),
        (click("later", None), false, LEDGER),
        (click("later", Some("/booking")), false, LEDGER),
        (ever(own("ordered")), true, TIMELINE),
        (ever(own("shipped")), false, TIMELINE),
        (ever(own("returned")), false, TIMELINE),
        (ever(fact(FactKind::OptedIn)), true, TIMELINE),
        (ever(fact(FactKind::CustomerPaid)), false, TIMELINE),
        (ever(Trigger::Download(id("guide"))), true, TIMELINE),
        (ever(Trigger::Download(id("checklist"))), false, TIMELINE),
        (ever(Trigger::Page { page: id("pricing"), times: 2 }), true, TIMELINE),
        (ever(Trigger::Page { page: id("pricing"), times: 3 }), false, TIMELINE),
        (ever(fact(FactKind::MailOpened)), true, LEDGER),
        (ever(fact(FactKind::MailClicked)), true, LEDGER),
        (ever(fact(FactKind::MailBounced)), true, LEDGER),
        (happened(own("cart-updated")), true, TIMELINE),
        (happened(own("ordered")), false, TIMELINE),
        (happened(own("shipped")), false, TIMELINE),
        (happened(fact(FactKind::PageSeen)), true, TIMELINE),
        (happened(Trigger::Page { page: id("pricing"), times: 1 }), true, TIMELINE),
        (happened(Trigger::Page { page: id("pricing"), times: 2 }), false, TIMELINE),
        (happened(fact(FactKind::MailOpened)), true, LEDGER),
        (happened(fact(FactKind::MailClicked)), false, LEDGER),
        (happened(fact(FactKind::MailBounced)), false, LEDGER),
        (K::Inside(id("follow-up")), true, ENROLMENTS),
        (K::Inside(id("nurture")), false, ENROLMENTS),
        (K::Inside(id("watching")), false, ENROLMENTS),
        (K::Inside(id("never")), false, ENROLMENTS),
    ];
    // Each way of comparing, on both sides of where it turns and on it: below, at, above.
    for (compare, holds) in [
        (C::Equal, [false, true, false]),
        (C::Unequal, [true, false, true]),
        (C::Less, [true, false, false]),
        (C::AtMost, [true, true, false]),
        (C::More, [false, false, true]),
        (C::AtLeast, [false, true, true]),
    ] {
        // She is an MQL of a company of 250, has seen two pages of prices, was heard of five days
        // ago, and has 20 + 30 + 15 + 5 points for what she is and 10 + 10 + 2 + 2 + 9 + 30 for what
        // she did, less one for October, in which nothing was heard of her.
        for (place, stage) in [Stage::Sql, Stage::Mql, Stage::Lead].into_iter().enumerate() {
            table.push((K::Stage(compare, stage), holds[place], NOTHING));
        }
        for (place, off) in [1, 0, -1].into_iter().enumerate() {
            table.push((number(compare, 250 + off), holds[place], NOTHING));
            table.push((views("pricing", compare, 2 + off), holds[place], TIMELINE));
            table.push((K::SilentDays(compare, 5 + off), holds[place], HISTORY));
            table.push((K::Score(compare, 132 + off), holds[place], HISTORY));
        }
    }
    table
}

#[test]
fn every_kind_of_condition_holds_when_it_should_and_says_what_it_needs() {
    let hanako = hanako();
    for (condition, holds, needs) in table() {
        assert_eq!(condition.holds(&hanako.known(at(NOW))), holds, "{condition:?}");
        assert_eq!(condition.needs(), needs, "{condition:?}");
        let stored = serde_json::to_value(&condition).unwrap();
        assert_eq!(serde_json::from_value::<Condition>(stored).unwrap(), condition);
    }
}

#[test]
fn what_a_condition_needs_is_enough_to_decide_it() {
    let hanako = hanako();
    for (condition, holds, needs) in table() {
        let mut read = hanako.clone();
        if !needs.ledger {
            read.ledger.clear();
        }
        if !needs.timeline {
            read.timeline.clear();
        }
        if !needs.enrolments {
            read.enrolments.clear();
        }
        assert_eq!(condition.holds(&read.known(at(NOW))), holds, "{condition:?}");
    }
}

#[test]
fn a_number_is_a_whole_number_and_nothing_else_is() {
    let mut hanako = hanako();
    for (known, holds) in
        [("100", true), ("99", false), ("-5", false), ("1e3", false), ("千", false), ("", false)]
    {
        hanako.lead.attributes.insert("employees".into(), known.into());
        assert_eq!(number(Compare::AtLeast, 100).holds(&hanako.known(at(NOW))), holds, "{known:?}");
    }
}

#[test]
fn without_an_entry_what_has_happened_has_happened() {
    let hanako = Person { entered_at: None, ..hanako() };
    assert!(happened(own("ordered")).holds(&hanako.known(at(NOW))));
}

#[test]
fn silence_is_broken_by_what_she_does_and_not_by_what_is_done_to_her() {
    let silent = |person: &Person, days| {
        let known = person.known(at(NOW));
        Condition::SilentDays(Compare::Equal, days).holds(&known)
    };
    // 82 days from the 1st of September to the 22nd of November.
    assert!(silent(&person(), 82));
    for kind in FactKind::ALL.into_iter().filter(|kind| kind.on_timeline()) {
        let told = person().did(fact(kind), "2026-11-12T01:00:00Z");
        assert!(silent(&told, if kind.is_activity() { 10 } else { 82 }), "{kind:?}");
    }
    let row = sent("day-1", "2026-11-10T00:00:00Z");
    let proxy = Engagement { machine_opened: true, ..row.clone() };
    let acts = clicked(opened(row.clone(), "2026-11-11T01:00:00Z"), "x", "2026-11-12T01:00:00Z");
    for (row, days) in [(row.clone(), 82), (proxy, 82), (opened(row, "2026-11-11T01:00:00Z"), 11), (acts, 10)]
    {
        let known = Person { ledger: vec![row], ..person() };
        assert!(silent(&known, days), "{known:?}");
    }
    // Not the very second, but whole days.
    let known = person().did(seen("pricing"), "2026-11-21T01:00:01Z");
    assert!(silent(&known, 0));
    assert!(silent(&Person { timeline: vec![], ..person() }, 82), "the opt-in itself is remembered");
}

/// What becomes of a person's row, ledger and timeline when a fact of the kind happens now.
fn after(mut person: Person, kind: FactKind) -> Vec<Person> {
    use FactKind as K;
    let now = at(NOW);
    let tell = |person: Person| if kind.on_timeline() { person.did(fact(kind), NOW) } else { person };
    let with_row = |person: &Person, row: Engagement| {
        let ledger = person.ledger.iter().cloned().chain([row]).collect();
        Person { ledger, ..person.clone() }
    };
    let mail = ["day-1", "day-2", "day-3"];
    let sent = |mail: &str| sent(mail, "2026-11-21T00:00:00Z");
    let link = "https://example.com/booking";
    match kind {
        K::MailOpened => return mail.map(|mail| with_row(&person, opened(sent(mail), NOW))).into(),
        K::MailClicked => return mail.map(|mail| with_row(&person, clicked(sent(mail), link, NOW))).into(),
        K::MailBounced => {
            let row = Engagement { state: EngagementState::Bounced, ..sent("day-1") };
            return vec![with_row(&person, row)];
        }
        K::PageSeen => return ["pricing", "cases"].map(|page| person.clone().did(seen(page), NOW)).into(),
        K::Told => {
            let facts = ["ordered", "shipped", "cart-updated"];
            return facts.map(|fact| person.clone().did(told(fact), NOW)).into();
        }
        K::OptedIn | K::OptInRequested => {
            let opt_in = |lead, id, form| match kind {
                K::OptedIn => lead::opt_in(lead, id, form, now, Asia__Tokyo).lead,
                _ => lead::request_opt_in(lead, id, form, now, Asia__Tokyo).lead,
            };
            let unsubscribed = Lead { mailing: Mailing::Unsubscribed, ..person.lead.clone() };
            person.lead = opt_in(Some(unsubscribed), person.lead.lead_id.clone(), form());
        }
        K::Unsubscribed => {
            person.lead = lead::unsubscribe(person.lead, now, Asia__Tokyo).unwrap().lead;
        }
        K::MailComplained => {
            person.lead = lead::suppress(person.lead, SuppressionCause::Complained, now).unwrap();
        }
        K::Tagged => {
            let tags = ["vip", "staff"].map(|tag| lead::tag(person.lead.clone(), tag, "k", now, Asia__Tokyo));
            let leads = tags.into_iter().flatten().map(|change| change.lead);
            return leads.map(|lead| tell(Person { lead, ..person.clone() })).collect();
        }
        K::StageChanged => {
            let moves =
                Stage::ALL.map(|stage| lead::move_to(person.lead.clone(), stage, "k", now, Asia__Tokyo));
            let leads = moves.into_iter().flatten().map(|change| change.lead);
            return leads.map(|lead| tell(Person { lead, ..person.clone() })).collect();
        }
        K::CustomerPaid => person.lead = lead::convert(person.lead),
        K::Visited
        | K::MailSent
        | K::MailUnknown
        | K::MailDelivered
        | K::PreferencesChanged
        | K::ScoreCrossed
        | K::ConsultationBooked
        | K::ConsultationRescheduled
        | K::ConsultationCancelled
        | K::ConsultationHeld
        | K::ConsultationMissed
        | K::ApplicationSubmitted => {}
    }
    vec![tell(person)]
}

/// An opt-in that brings everything that an opt-in can bring.
fn form() -> OptIn {
    let lead = person().lead;
    OptIn {
        email: lead.email,
        name: None,
        phone: None,
        source: ShortText::parse("google").ok(),
        lead_magnet_type: Some(id("checklist")),
        visitor_id: None,
        locale: Some("en".into()),
        time_zone: None,
        utm: BTreeMap::new(),
        attributes: [("industry", "IT"), ("employees", "250"), ("role", "部長")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        consent: lead.consent,
    }
}

/// People to whom things happen.
fn people() -> Vec<Person> {
    let newcomer = Person { scoring: scoring(), entered_at: Some(at(OPTED_IN)), ..person() };
    let mut nobody = newcomer.clone();
    (nobody.lead.source, nobody.lead.locale, nobody.lead.lead_magnet_type) = (None, None, None);
    nobody.timeline.clear();
    vec![hanako(), newcomer, nobody]
}

/// All conditions of the table, and some about every kind of fact.
fn conditions() -> Vec<Condition> {
    let ever = FactKind::ALL.map(|kind| ever(Trigger::Fact(kind)));
    let happened = FactKind::ALL.map(|kind| happened(Trigger::Fact(kind)));
    let more = [
        tag("source:google"),
        Condition::Source("google".into()),
        Condition::Magnet(id("checklist")),
        Condition::Locale("en".into()),
        text("role", Compare::Equal, "部長"),
        ever_page(3),
    ];
    // Whatever the score is, there is one that it turns about.
    let scores = (0..200).map(|points| Condition::Score(Compare::AtLeast, points));
    let table = table().into_iter().map(|(condition, ..)| condition);
    table.chain(ever).chain(happened).chain(more).chain(scores).collect()
}

fn ever_page(times: u32) -> Condition {
    ever(Trigger::Page { page: id("pricing"), times })
}

#[test]
fn whatever_a_fact_can_make_true_or_false_listens_to_it() {
    let conditions = conditions();
    let mut flipped = vec![];
    for (before, kind) in people().iter().flat_map(|person| FactKind::ALL.map(|kind| (person, kind))) {
        for person in after(before.clone(), kind) {
            for condition in &conditions {
                let (was, is) = (before.known(at(NOW)), person.known(at(NOW)));
                if condition.holds(&was) != condition.holds(&is) {
                    assert!(condition.listens_to(kind), "{kind:?} flips {condition:?} of {before:?}");
                    flipped.push((kind, std::mem::discriminant(condition)));
                }
            }
            let points = |person: &Person| person.scoring.score(&person.known(at(NOW))).total;
            if points(before) != points(&person) {
                assert!(before.scoring.listens_to(kind), "{kind:?} changes the score of {before:?}");
            }
        }
    }
    // It has been tried with all kinds that conditions can be about, and all conditions.
    for kind in FactKind::ALL.into_iter().filter(|kind| kind.is_named_by_funnels()) {
        assert!(flipped.iter().any(|(flips, _)| *flips == kind), "{kind:?} has flipped nothing");
    }
    for (condition, ..) in table() {
        let kind = std::mem::discriminant(&condition);
        let constant = condition == all(&[]) || condition == any(&[]);
        let never = constant || matches!(condition, Condition::Inside(_));
        assert!(never || flipped.iter().any(|(_, flips)| *flips == kind), "{condition:?} was never flipped");
    }
}

#[test]
fn conditions_listen_to_what_they_are_about_and_no_more() {
    use FactKind as K;
    let fact = Trigger::Fact;
    for (condition, expected) in [
        (tag("vip"), vec![K::OptInRequested, K::OptedIn, K::Tagged]),
        (Condition::Stage(Compare::Equal, Stage::Mql), vec![K::StageChanged, K::CustomerPaid]),
        (number(Compare::Equal, 1), vec![K::OptInRequested, K::OptedIn]),
        (Condition::Source("x".into()), vec![K::OptInRequested, K::OptedIn]),
        (Condition::Magnet(id("x")), vec![K::OptInRequested, K::OptedIn]),
        (Condition::Locale("x".into()), vec![K::OptInRequested, K::OptedIn]),
        (Condition::Opened(id("x")), vec![K::MailOpened]),
        (click("x", Some("y")), vec![K::MailClicked]),
        (views("x", Compare::Equal, 1), vec![K::PageSeen]),
        (ever(own("ordered")), vec![K::Told]),
        (happened(fact(K::CustomerPaid)), vec![K::CustomerPaid]),
        (ever(Trigger::Download(id("x"))), vec![K::OptedIn]),
        (Condition::Inside(id("x")), vec![]),
        (all(&[&Condition::Opened(id("x")), &not(&ever(own("x")))]), vec![K::MailOpened, K::Told]),
        (any(&[&Condition::Opened(id("x")), &ever(own("x"))]), vec![K::MailOpened, K::Told]),
        (all(&[]), vec![]),
    ] {
        let heard: Vec<_> = K::ALL.into_iter().filter(|kind| condition.listens_to(*kind)).collect();
        assert_eq!(heard, expected, "{condition:?}");
    }
    // Our own doing changes nobody's score, or silence.
    for kind in [K::Visited, K::MailSent, K::MailUnknown, K::MailDelivered, K::ScoreCrossed] {
        assert!(!Condition::Score(Compare::Equal, 1).listens_to(kind), "{kind:?}");
        assert!(!Condition::SilentDays(Compare::Equal, 1).listens_to(kind), "{kind:?}");
    }
}

#[test]
fn the_parts_of_a_condition_are_all_looked_at() {
    let deep = all(&[&tag("a"), &not(&any(&[&tag("b"), &not(&Condition::Inside(id("x")))]))]);
    assert!(deep.any_part(&|part| matches!(part, Condition::Inside(_))));
    assert!(deep.any_part(&|part| *part == tag("b")));
    assert!(!deep.any_part(&|part| *part == tag("c")));
    assert!(!deep.any_part(&|part| matches!(part, Condition::Not(_))), "only what says something itself");
}

fn any_condition() -> impl Strategy<Value = Condition> {
    let leaf = proptest::sample::select(table()).prop_map(|(condition, ..)| condition);
    leaf.prop_recursive(4, 16, 3, |part| {
        prop_oneof![
            proptest::collection::vec(part.clone(), 0..3).prop_map(Condition::All),
            proptest::collection::vec(part.clone(), 0..3).prop_map(Condition::Any),
            part.prop_map(|part| Condition::Not(Box::new(part))),
        ]
    })
}

proptest! {
    #[test]
    fn not_turns_any_into_all(one in any_condition(), other in any_condition(), minutes in 0_i64..200_000) {
        let hanako = hanako();
        let now = at(OPTED_IN) + TimeDelta::minutes(minutes);
        let holds = |condition: &Condition| condition.holds(&hanako.known(now));
        prop_assert_eq!(holds(&not(&all(&[&one, &other]))), holds(&any(&[&not(&one), &not(&other)])));
        prop_assert_eq!(holds(&not(&not(&one))), holds(&one));
        let (both, either) = (all(&[&one, &other]), any(&[&not(&one), &other]));
        prop_assert_eq!(both.needs(), one.needs().and(other.needs()));
        prop_assert_eq!(either.needs(), both.needs());
        for kind in FactKind::ALL {
            prop_assert_eq!(both.listens_to(kind), one.listens_to(kind) || other.listens_to(kind));
            prop_assert_eq!(either.listens_to(kind), both.listens_to(kind));
        }
    }

    #[test]
    fn what_is_still_to_come_changes_nothing_now(
        condition in any_condition(), kind in proptest::sample::select(FactKind::ALL.to_vec()), minutes in 1_i64..100_000,
    ) {
        let hanako = hanako();
        let before = at(NOW) - TimeDelta::minutes(minutes);
        for person in after(hanako.clone(), kind) {
            // Rows of leads are as they are today; all else is as it was.
            let person = Person { lead: hanako.lead.clone(), ..person };
            prop_assert_eq!(condition.holds(&person.known(before)), condition.holds(&hanako.known(before)));
        }
    }
}

#[test]
fn a_view_counts_for_its_own_page() {
    let hanako = hanako();
    for (page, times) in [("pricing", 2), ("cases", 1), ("pric", 0), ("never", 0)] {
        assert!(views(page, Compare::Equal, times).holds(&hanako.known(at(NOW))), "{page}");
    }
}
