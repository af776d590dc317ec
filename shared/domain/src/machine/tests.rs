use proptest::prelude::*;

use super::*;

const DELIVERED: &str = "2026-11-22T01:00:00Z";
const BROWSER: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";

fn after(seconds: i64) -> DateTime<Utc> {
    DELIVERED.parse::<DateTime<Utc>>().unwrap() + TimeDelta::seconds(seconds)
}

fn browser() -> Reader<'static> {
    Reader { user_agent: BROWSER, ip: None, said_by_ses: Some("Unlikely") }
}

fn open(seconds: i64) -> Touch {
    Touch::open(after(seconds), browser())
}

fn click(seconds: i64, page: &str) -> Touch {
    Touch::click(after(seconds), &format!("https://example.com{page}"), page.to_owned(), browser())
}

fn judged(mut touches: Vec<Touch>) -> Vec<Touch> {
    judge(&mut touches, Some(after(0)));
    touches
}

fn verdicts(touches: Vec<Touch>) -> Vec<bool> {
    judged(touches).iter().map(|touch| touch.machine).collect()
}

#[test]
fn every_line_of_the_lists_can_be_read_and_names_its_source() {
    for (list, text, read) in [
        ("agents", include_str!("agents.txt"), AGENTS.len()),
        ("networks", include_str!("networks.txt"), NETWORKS.len()),
    ] {
        assert_eq!(lines(text).count(), read, "{list}");
        assert!(read > 40, "{list}");
        for columns in lines(text) {
            assert!(columns.len() == 4 && columns.iter().all(|column| !column.is_empty()), "{columns:?}");
        }
    }
    // What stands in no network's host part can't be a slip of the pen.
    for network in NETWORKS.iter() {
        let aligned = match network.base {
            IpAddr::V4(base) => base.to_bits().trailing_zeros() >= 32 - network.bits,
            IpAddr::V6(base) => base.to_bits().trailing_zeros() >= 128 - network.bits,
        };
        assert!(aligned, "{}/{}", network.base, network.bits);
    }
}

#[test]
fn a_network_holds_its_own_addresses_and_no_others() {
    let of = |cidr: &str| network(vec!["scanner", cidr, "x", "y"]).unwrap();
    for (cidr, ip, holds) in [
        ("192.0.2.0/24", "192.0.2.255", true),
        ("192.0.2.0/24", "192.0.3.0", false),
        ("192.0.2.7/32", "192.0.2.7", true),
        ("192.0.2.7/32", "192.0.2.6", false),
        ("128.0.0.0/1", "255.255.255.255", true),
        ("192.0.2.0/24", "::ffff:192.0.2.1", true),
        ("192.0.2.0/24", "2001:db8::1", false),
        ("2001:db8::/32", "2001:db8:ffff::1", true),
        ("2001:db8::/32", "2001:db9::1", false),
    ] {
        assert_eq!(of(cidr).holds(ip.parse().unwrap()), holds, "{ip} in {cidr}");
    }
    for wrong in ["192.0.2.0", "192.0.2.0/33", "192.0.2.0/0", "::/129", "x/8"] {
        assert!(network(vec!["scanner", wrong, "x", "y"]).is_none(), "{wrong}");
    }
}

#[test]
fn what_is_enough_beats_sess_vouch_and_hints_are_counted_against_it() {
    use Evidence::{Agent, BeforeDelivery, Burst, DataCentre, Early, HiddenLink, Proxy, SameVisit};
    use Evidence::{Scanner, SesLikely, SesUnlikely};
    let name = String::new;
    for enough in [HiddenLink, SameVisit, Burst, BeforeDelivery, Agent(name()), Scanner(name()), SesLikely] {
        assert!(is_machine(&[SesUnlikely, enough.clone()]), "{enough}");
    }
    for (evidence, machine) in [
        (vec![], false),
        (vec![SesUnlikely], false),
        (vec![Proxy(name())], false),
        (vec![Early], true),
        (vec![DataCentre(name())], true),
        (vec![Early, SesUnlikely], false),
        (vec![DataCentre(name()), SesUnlikely], false),
        (vec![DataCentre(name()), Early, SesUnlikely], true),
    ] {
        assert_eq!(is_machine(&evidence), machine, "{evidence:?}");
    }
}

#[test]
fn whoever_follows_the_hidden_link_is_a_machine_in_all_of_that_visit_and_in_no_other() {
    let hidden = click(3607, HIDDEN_LINK);
    let touches =
        vec![open(3600), click(3604, "/a"), hidden, click(3617, "/b"), click(3628, "/a"), open(7200)];
    let judged = judged(touches);
    assert_eq!(
        judged.iter().map(|touch| touch.machine).collect::<Vec<_>>(),
        [true, true, true, true, false, false]
    );
    assert!(judged[2].evidence.contains(&Evidence::HiddenLink));
    assert!(judged[1].evidence.contains(&Evidence::SameVisit));
}

#[test]
fn more_links_than_a_person_can_follow_are_a_machines() {
    for (touches, machine) in [
        (vec![click(60, "/a"), click(62, "/b")], true),
        (vec![click(60, "/a"), click(63, "/b")], false),
        (vec![click(60, "/a"), click(60, "/a"), click(61, "/a")], false),
        (vec![click(60, "/a"), click(65, "/b"), click(70, "/c")], true),
        (vec![click(60, "/a"), click(65, "/b"), click(71, "/c")], false),
    ] {
        assert!(verdicts(touches.clone()).iter().all(|verdict| *verdict == machine), "{touches:?}");
    }
}

#[test]
fn a_person_who_clicks_after_a_machines_burst_counts() {
    let touches = vec![click(60, "/a"), click(61, "/b"), click(62, "/c"), click(90, "/a")];
    assert_eq!(verdicts(touches), [true, true, true, false]);
}

#[test]
fn a_machines_and_a_persons_open_at_the_same_moment_are_two() {
    let apple = Reader { user_agent: "Mozilla/5.0", ..browser() };
    let (machine, person) = (Touch::open(after(0), apple), open(0));
    let both = judged(vec![machine.clone(), person.clone()]);
    assert_eq!(both.iter().map(|touch| touch.machine).collect::<Vec<_>>(), [true, false]);
    assert!(both[0].is(&machine) && both[1].is(&person));
    assert!(!both[0].is(&person) && !both[1].is(&machine));
}

#[test]
fn timing_is_a_hint_and_what_comes_before_delivery_is_more_than_that() {
    for (seconds, expected) in [
        (-3, Some(Evidence::BeforeDelivery)),
        (-2, Some(Evidence::Early)),
        (5, Some(Evidence::Early)),
        (6, None),
    ] {
        assert_eq!(timing(TimeDelta::seconds(seconds)), expected, "{seconds}");
    }
}

#[test]
fn evidence_is_text_and_back() {
    use Evidence::{Agent, BeforeDelivery, Burst, DataCentre, Early, HiddenLink, Proxy, SameVisit};
    use Evidence::{Scanner, SesLikely, SesUnlikely};
    let name = || "Mail Scanner".to_owned();
    for evidence in [
        HiddenLink,
        SameVisit,
        Burst,
        BeforeDelivery,
        Agent(name()),
        Scanner(name()),
        SesLikely,
        DataCentre(name()),
        Early,
        SesUnlikely,
        Proxy(name()),
    ] {
        let text = serde_json::to_string(&evidence).unwrap();
        assert_eq!(serde_json::from_str::<Evidence>(&text).unwrap(), evidence, "{text}");
    }
    assert!(serde_json::from_str::<Evidence>("\"gossip\"").is_err());
}

fn anything() -> impl Strategy<Value = Touch> {
    (0_i64..60, prop::option::of(prop::sample::select(vec!["/a", "/b", "/c", HIDDEN_LINK])))
        .prop_map(|(seconds, link)| link.map_or_else(|| open(seconds), |link| click(seconds, link)))
}

proptest! {
    #[test]
    fn later_evidence_makes_machines_of_people_and_never_the_reverse(
        touches in prop::collection::vec(anything(), 1..12)
    ) {
        let mut known: Vec<Touch> = vec![];
        for touch in touches {
            let before = judged(known.clone());
            known.push(touch);
            let after = judged(known.clone());
            for machine in before.iter().filter(|touch| touch.machine) {
                prop_assert!(after.iter().any(|touch| touch.is(machine) && touch.machine));
            }
        }
    }

    #[test]
    fn the_order_in_which_they_are_told_does_not_matter(
        shuffled in Just(vec![open(59), click(60, "/a"), click(61, "/b"), click(90, "/a")]).prop_shuffle()
    ) {
        prop_assert_eq!(verdicts(shuffled), [true, true, true, false]);
    }
}
