use super::*;
use crate::{
    broadcast::excluded,
    lead::Preferences,
    samples::{Change, at, changes, clock, id, person},
};
use chrono_tz::Tz::{Africa__Cairo, Asia__Tokyo, Europe__Berlin};
use proptest::prelude::*;

fn window(hours: Option<(&str, &str)>, weekdays: &[Weekday]) -> Window {
    Window { hours: hours.map(|(from, until)| (clock(from), clock(until))), weekdays: weekdays.to_vec() }
}

fn hours(from: &str, until: &str) -> Window {
    window(Some((from, until)), &[])
}

const WORKDAYS: [Weekday; 5] = [Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri];
const WEEK: [Weekday; 7] =
    [Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri, Weekday::Sat, Weekday::Sun];

fn marketing() -> Sending<'static> {
    Sending {
        class: MailClass::Marketing,
        asks_confirmation: false,
        topics: &[],
        windows: &[],
        cap: None,
        zone: Asia__Tokyo,
    }
}

fn transactional() -> Sending<'static> {
    Sending { class: MailClass::Transactional, ..marketing() }
}

fn lead(mailing: Mailing, preferences: Preferences) -> Lead {
    Lead { mailing, preferences, ..person().lead }
}

fn topics_off(topics: &[&str]) -> Preferences {
    Preferences { topics_off: topics.iter().map(|topic| id(topic)).collect(), ..Preferences::default() }
}

/// The gate in a word: when a mail may go out, or why it may not.
fn word(gate: Gate) -> String {
    match gate {
        Gate::Open { recent_mails: None } => "open".to_owned(),
        Gate::Open { recent_mails: Some(mails) } => format!("open, counts {}", mails.len()),
        Gate::Wait { until, .. } => format!("waits until {}", until.format("%d %H:%M:%S")),
        Gate::Shut { why } => why,
    }
}

#[test]
fn a_window_is_open_from_its_first_minute_until_before_its_last() {
    // Sunday the 22nd in Tokyo, nine hours ahead.
    let workdays = window(Some(("09:00", "20:00")), &WORKDAYS);
    let night = hours("22:00", "02:00");
    for (window, moment, open) in [
        (Window::default(), "2026-11-22T00:00:00Z", true),
        (hours("09:00", "20:00"), "2026-11-21T23:59:59Z", false),
        (hours("09:00", "20:00"), "2026-11-22T00:00:00Z", true),
        (hours("09:00", "20:00"), "2026-11-22T10:59:59.999Z", true),
        (hours("09:00", "20:00"), "2026-11-22T11:00:00Z", false),
        (night.clone(), "2026-11-22T12:59:59Z", false),
        (night.clone(), "2026-11-22T13:00:00Z", true),
        (night.clone(), "2026-11-22T16:59:59Z", true),
        (night, "2026-11-22T17:00:00Z", false),
        (hours("21:00", "00:00"), "2026-11-22T14:59:59Z", true),
        (hours("21:00", "00:00"), "2026-11-22T15:00:00Z", false),
        (hours("09:00", "09:00"), "2026-11-22T00:00:00Z", false),
        (workdays.clone(), "2026-11-22T03:00:00Z", false),
        (workdays.clone(), "2026-11-23T03:00:00Z", true),
        (workdays, "2026-11-23T12:00:00Z", false),
    ] {
        assert_eq!(window.is_open(at(moment), Asia__Tokyo), open, "{window:?} at {moment}");
    }
}

#[test]
fn mail_goes_out_at_the_first_moment_at_which_all_windows_are_open() {
    let workdays = || window(None, &WORKDAYS);
    let tuesdays = || window(Some(("10:00", "12:00")), &[Weekday::Tue]);
    for (windows, moment, zone, expected) in [
        (vec![], "2026-11-22T03:30:00Z", Asia__Tokyo, Some("2026-11-22T03:30:00Z")),
        (vec![hours("08:00", "21:00")], "2026-11-22T03:30:00Z", Asia__Tokyo, Some("2026-11-22T03:30:00Z")),
        (vec![hours("08:00", "21:00")], "2026-11-22T12:00:00Z", Asia__Tokyo, Some("2026-11-22T23:00:00Z")),
        (vec![workdays()], "2026-11-22T03:30:00Z", Asia__Tokyo, Some("2026-11-22T15:00:00Z")),
        (
            vec![workdays(), hours("08:00", "21:00")],
            "2026-11-20T12:00:00Z",
            Asia__Tokyo,
            Some("2026-11-22T23:00:00Z"),
        ),
        (vec![tuesdays(), workdays()], "2026-11-24T03:00:00Z", Asia__Tokyo, Some("2026-12-01T01:00:00Z")),
        (
            vec![hours("22:00", "02:00"), hours("01:00", "09:00")],
            "2026-11-22T03:00:00Z",
            Asia__Tokyo,
            Some("2026-11-22T16:00:00Z"),
        ),
        // They exclude each other.
        (vec![hours("08:00", "12:00"), hours("12:00", "20:00")], "2026-11-22T03:30:00Z", Asia__Tokyo, None),
        (vec![tuesdays(), window(None, &[Weekday::Wed])], "2026-11-22T03:30:00Z", Asia__Tokyo, None),
        (vec![hours("09:00", "09:00")], "2026-11-22T03:30:00Z", Asia__Tokyo, None),
        // The clock skips 02:00 to 03:00: a window in it opens the next day, one about it at three.
        (vec![hours("02:15", "02:45")], "2026-03-28T22:00:00Z", Europe__Berlin, Some("2026-03-30T00:15:00Z")),
        (vec![hours("02:15", "03:45")], "2026-03-28T22:00:00Z", Europe__Berlin, Some("2026-03-29T01:00:00Z")),
        (
            vec![window(Some(("02:15", "02:45")), &[Weekday::Sun])],
            "2026-03-28T22:00:00Z",
            Europe__Berlin,
            Some("2026-04-05T00:15:00Z"),
        ),
        // It shows 02:00 to 03:00 twice: what has closed opens once more.
        (vec![hours("02:15", "02:45")], "2026-10-25T00:50:00Z", Europe__Berlin, Some("2026-10-25T01:15:00Z")),
        (vec![hours("01:00", "02:45")], "2026-10-25T00:50:00Z", Europe__Berlin, Some("2026-10-25T01:00:00Z")),
        // And the last hour of Thursday.
        (
            vec![window(Some(("20:00", "23:30")), &[Weekday::Thu])],
            "2026-10-29T20:45:00Z",
            Africa__Cairo,
            Some("2026-10-29T21:00:00Z"),
        ),
    ] {
        let found = next_open(&windows, at(moment), zone);
        assert_eq!(found, expected.map(at), "{windows:?} from {moment}");
    }
}

/// Windows about a clock change: within what it skips or repeats, about it, ending and beginning in
/// it, all but it, on that day only, and two at a time.
fn windows_about(change: &Change) -> Vec<Vec<Window>> {
    let [one, other] = [change.before, change.after].map(|ahead| (change.at + ahead).naive_utc());
    let (low, high) = (one.min(other), one.max(other));
    let off = |local: chrono::NaiveDateTime, minutes| (local + TimeDelta::minutes(minutes)).time();
    let open = |from, until| Window { hours: Some((from, until)), weekdays: vec![] };
    let that_day = |window: Window| Window { weekdays: vec![one.weekday()], ..window };
    let within = open(off(low, 10), off(high, -10));
    let about = open(off(low, -30), off(high, 30));
    let ends_in = open(off(low, -60), off(low, 15));
    let begins_in = open(off(low, 15), off(high, 60));
    let not_about = open(off(high, 30), off(low, -30));
    vec![
        vec![within.clone()],
        vec![about.clone()],
        vec![that_day(ends_in.clone())],
        vec![begins_in.clone()],
        vec![not_about.clone()],
        vec![that_day(Window::default())],
        vec![about.clone(), ends_in],
        vec![about, Window { hours: None, weekdays: vec![other.weekday().succ()] }],
    ]
}

#[test]
fn around_every_clock_change_the_next_opening_is_the_first_one() {
    let minutes = 300;
    for change in changes() {
        let start = change.at - TimeDelta::hours(2);
        let minute = |number: i64| start + TimeDelta::minutes(number);
        for windows in windows_about(change) {
            let is_open = |at| windows.iter().all(|window| window.is_open(at, change.zone));
            let open: Vec<i64> = (0..minutes).filter(|number| is_open(minute(*number))).collect();
            // From the beginning, from just off the change, and from where each opening ends.
            let ends =
                open.iter().map(|number| number + 1).filter(|after| open.binary_search(after).is_err());
            for from in [0, 120, 121].into_iter().chain(ends) {
                let (found, last) = (next_open(&windows, minute(from), change.zone), minute(minutes));
                let expected = open.iter().find(|number| **number >= from).map(|number| minute(*number));
                let fits = match expected {
                    Some(_) => found == expected,
                    None => found.is_some_and(|at| at >= last && is_open(at)),
                };
                assert!(fits, "{found:?} from {}: {windows:?} {change:?}", minute(from));
            }
        }
    }
}

#[test]
fn the_gate_lets_through_what_a_person_agreed_to() {
    use Mailing::{Pending, Subscribed, Suppressed, Unsubscribed};
    let (news, tips) = (id("news"), id("tips"));
    let both = [news.clone(), tips];
    let plain = Preferences::default;
    let confirming = |class| Sending { class, asks_confirmation: true, ..marketing() };
    let about = |topics| Sending { topics, ..marketing() };
    let none = Preferences { per_week: Some(0), ..plain() };
    let refused = |mailing: Mailing| format!("the person is {}", mailing.as_str());
    let unwanted = || "the person does not want this topic".to_owned();
    let yes = || "open".to_owned();
    let counted = || "open, counts 1".to_owned();
    for (lead, sending, expected) in [
        (lead(Subscribed, plain()), marketing(), counted()),
        (lead(Subscribed, plain()), transactional(), yes()),
        (lead(Unsubscribed, plain()), marketing(), refused(Unsubscribed)),
        (lead(Unsubscribed, plain()), transactional(), yes()),
        (lead(Suppressed, plain()), marketing(), refused(Suppressed)),
        (lead(Suppressed, plain()), transactional(), refused(Suppressed)),
        (lead(Suppressed, plain()), confirming(MailClass::Transactional), refused(Suppressed)),
        (lead(Pending, plain()), marketing(), refused(Pending)),
        (lead(Pending, plain()), transactional(), refused(Pending)),
        (lead(Pending, plain()), confirming(MailClass::Transactional), yes()),
        (lead(Pending, plain()), confirming(MailClass::Marketing), counted()),
        // Who left and asks again is asked to confirm.
        (lead(Unsubscribed, plain()), confirming(MailClass::Transactional), yes()),
        (lead(Unsubscribed, plain()), confirming(MailClass::Marketing), refused(Unsubscribed)),
        (lead(Subscribed, topics_off(&["news"])), about(&both[..1]), unwanted()),
        (lead(Subscribed, topics_off(&["tips"])), about(&both[..1]), counted()),
        (lead(Subscribed, topics_off(&["news"])), about(&both), counted()),
        (lead(Subscribed, topics_off(&["news", "tips"])), about(&both), unwanted()),
        (lead(Subscribed, topics_off(&["news", "tips"])), marketing(), counted()),
        (lead(Subscribed, topics_off(&["news"])), Sending { topics: &both[..1], ..transactional() }, yes()),
        (lead(Subscribed, none.clone()), marketing(), "the person wants no marketing mail".into()),
        (lead(Subscribed, none), transactional(), yes()),
        (
            lead(Subscribed, plain()),
            Sending { cap: Some(Cap { mails: 0, days: 7 }), ..marketing() },
            "the cap leaves no mail to send".into(),
        ),
    ] {
        let is = word(gate(&lead, &sending, at("2026-11-22T03:00:00Z")));
        assert_eq!(is, expected, "{:?} {:?} {sending:?}", lead.mailing, lead.preferences);
    }
}

#[test]
fn the_gate_makes_marketing_mail_wait_and_nothing_else() {
    let paused = |until: &str| Preferences { paused_until: Some(at(until)), ..Preferences::default() };
    let weekly = |mails| Preferences { per_week: Some(mails), ..Preferences::default() };
    let cap = Some(Cap { mails: 2, days: 7 });
    let quiet = [hours("08:00", "21:00")];
    let day = ["2026-11-16T03:00:00Z", "2026-11-18T03:00:00Z", "2026-11-20T03:00:00Z"];
    let had = |mails: usize, preferences: Preferences| Lead {
        recent_mails: day.iter().take(mails).map(|day| at(day)).collect(),
        ..lead(Mailing::Subscribed, preferences)
    };
    let none = Preferences::default;
    let open = Sending { windows: &quiet, ..marketing() };
    let capped = Sending { cap, ..open };
    let post = Sending { class: MailClass::Transactional, ..capped };
    // Noon and 22:00 in Tokyo on the 22nd.
    let (noon, night) = ("2026-11-22T03:00:00Z", "2026-11-22T13:00:00Z");
    for (what, lead, sending, now, expected) in [
        ("a pause", had(0, paused("2026-11-25T03:00:00Z")), open, noon, "waits until 25 03:00:00"),
        ("its last second", had(0, paused("2026-11-22T03:00:01Z")), open, noon, "waits until 22 03:00:01"),
        ("its end", had(0, paused(noon)), open, noon, "open, counts 1"),
        ("quiet hours", had(0, none()), open, night, "waits until 22 23:00:00"),
        (
            "a pause comes first",
            had(0, paused("2026-11-23T15:00:00Z")),
            open,
            night,
            "waits until 23 15:00:00",
        ),
        ("below the cap", had(1, none()), capped, noon, "open, counts 2"),
        ("at the cap", had(2, none()), capped, noon, "waits until 23 03:00:00"),
        ("above the cap, since it was lowered", had(3, none()), capped, noon, "waits until 25 03:00:00"),
        ("one second short", had(2, none()), capped, "2026-11-23T02:59:59Z", "waits until 23 03:00:00"),
        ("free again", had(2, none()), capped, "2026-11-23T03:00:00Z", "open, counts 2"),
        (
            "free again, but at night",
            had(2, none()),
            capped,
            "2026-11-23T13:00:00Z",
            "waits until 23 23:00:00",
        ),
        ("her own cap", had(1, weekly(1)), open, noon, "waits until 23 03:00:00"),
        ("her own is stricter", had(2, weekly(1)), capped, noon, "waits until 25 03:00:00"),
        ("ours is stricter", had(2, weekly(5)), capped, noon, "waits until 23 03:00:00"),
        ("both let it through", had(1, weekly(5)), capped, noon, "open, counts 2"),
        ("what she asked for, in a pause", had(3, paused("2026-12-25T03:00:00Z")), post, noon, "open"),
        ("what she asked for, beyond the caps", had(3, weekly(1)), post, noon, "open"),
        ("what she asked for has hours of its own", had(3, none()), post, night, "waits until 22 23:00:00"),
    ] {
        assert_eq!(word(gate(&lead, &sending, at(now))), expected, "{what}");
    }
    let closed = [hours("08:00", "09:00"), hours("09:00", "10:00")];
    let never = Sending { windows: &closed, ..marketing() };
    assert_eq!(
        word(gate(&had(0, none()), &never, at(noon))),
        "its hours and the quiet hours leave no time to send"
    );
}

#[test]
fn what_the_cap_counts_is_kept_no_longer_than_it_counts() {
    let sent =
        ["2026-11-01T00:00:00Z", "2026-11-15T03:00:00Z", "2026-11-15T03:00:01Z", "2026-11-20T00:00:00Z"];
    let lead =
        Lead { recent_mails: sent.map(at).into(), ..lead(Mailing::Subscribed, Preferences::default()) };
    let kept = |sending: Sending<'_>| match gate(&lead, &sending, at("2026-11-22T03:00:00Z")) {
        Gate::Open { recent_mails } => recent_mails,
        other => panic!("{other:?}"),
    };
    let now = "2026-11-22T03:00:00Z";
    let capped = |days| Sending { cap: Some(Cap { mails: 9, days }), ..marketing() };
    assert_eq!(kept(capped(7)), Some([sent[2], sent[3], now].map(at).into()));
    assert_eq!(kept(capped(30)), Some([sent[0], sent[1], sent[2], sent[3], now].map(at).into()));
    // Her own choice, tomorrow, counts the last seven days.
    assert_eq!(kept(capped(1)), kept(capped(7)));
    assert_eq!(kept(marketing()), kept(capped(7)));
    assert_eq!(kept(Sending { class: MailClass::Transactional, ..capped(7) }), None);
}

fn any_window() -> impl Strategy<Value = Window> {
    let weekdays = proptest::sample::subsequence(WEEK.to_vec(), 0..=7);
    let hours = proptest::option::of((0_u32..24, 2_u32..20)).prop_map(|hours| {
        let clock = |hour: u32| NaiveTime::from_hms_opt(hour % 24, 0, 0).unwrap();
        hours.map(|(from, long)| (clock(from), clock(from + long)))
    });
    (hours, weekdays).prop_map(|(hours, weekdays)| Window { hours, weekdays })
}

fn any_preferences() -> impl Strategy<Value = Preferences> {
    let pause = proptest::option::of(-500_i64..5_000)
        .prop_map(|hours| hours.map(|hours| at("2026-11-22T03:00:00Z") + TimeDelta::hours(hours)));
    let off = proptest::sample::subsequence(vec![id("news"), id("tips")], 0..=2);
    (pause, proptest::option::of(0_u32..4), off).prop_map(|(paused_until, per_week, off)| Preferences {
        topics_off: off.into_iter().collect(),
        per_week,
        paused_until,
    })
}

fn any_mailing() -> impl Strategy<Value = Mailing> {
    proptest::sample::select(vec![
        Mailing::Pending,
        Mailing::Subscribed,
        Mailing::Unsubscribed,
        Mailing::Suppressed,
    ])
}

fn any_class() -> impl Strategy<Value = MailClass> {
    proptest::sample::select(vec![MailClass::Marketing, MailClass::Transactional])
}

proptest! {
    #[test]
    fn who_waits_until_she_is_told_to_comes_through_soon(
        windows in proptest::collection::vec(any_window(), 0..3),
        preferences in any_preferences(),
        recent in proptest::collection::vec(0_i64..40_000, 0..12),
        cap in proptest::option::of((1_u32..5, 1_i64..30)),
        class in any_class(),
        change in proptest::sample::select(changes()),
    ) {
        let mut now = change.at - TimeDelta::hours(30);
        let recent_mails: Vec<_> = recent.into_iter().map(|minutes| now - TimeDelta::minutes(minutes)).collect();
        let preferences = Preferences { paused_until: preferences.paused_until.map(|until| {
            now + (until - at("2026-11-22T03:00:00Z"))
        }), ..preferences };
        let lead = Lead { recent_mails, ..lead(Mailing::Subscribed, preferences) };
        let cap = cap.map(|(mails, days)| Cap { mails, days });
        let sending = Sending { class, windows: &windows, cap, zone: change.zone, ..marketing() };
        // A pause, the cap, her own cap, the hours.
        for waited in 0..=4 {
            match gate(&lead, &sending, now) {
                Gate::Wait { until, .. } => {
                    prop_assert!(until > now && waited < 4);
                    now = until;
                }
                Gate::Open { recent_mails } => {
                    prop_assert!(windows.iter().all(|window| window.is_open(now, change.zone)));
                    let counted = class == MailClass::Marketing;
                    prop_assert_eq!(recent_mails.is_some(), counted);
                    if let Some(cap) = cap.filter(|_| counted) {
                        let mails = recent_mails.iter().flatten();
                        let within = mails.filter(|at| **at > now - TimeDelta::days(cap.days)).count();
                        prop_assert!(within <= usize::try_from(cap.mails).unwrap());
                    }
                    break;
                }
                Gate::Shut { .. } => {
                    prop_assert!(next_open(&windows, now, change.zone).is_none() || lead.preferences.per_week == Some(0));
                    break;
                }
            }
        }
    }

    #[test]
    fn never_more_mails_than_the_cap_come_in_any_of_its_spans(
        mails in 1_u32..5, days in 1_i64..10, tries in proptest::collection::vec(1_i64..2_000, 1..60),
    ) {
        let sending = Sending { cap: Some(Cap { mails, days }), ..marketing() };
        let mut lead = lead(Mailing::Subscribed, Preferences::default());
        let (mut now, mut sent) = (at("2026-11-22T03:00:00Z"), vec![]);
        for minutes in tries {
            now += TimeDelta::minutes(minutes);
            if let Gate::Open { recent_mails } = gate(&lead, &sending, now) {
                lead.recent_mails = recent_mails.unwrap();
                sent.push(now);
                let kept = TimeDelta::days(days.max(OWN_CAP_DAYS));
                prop_assert!(lead.recent_mails.iter().all(|at| *at > now - kept));
            }
            let span = sent.iter().filter(|at| **at > now - TimeDelta::days(days)).count();
            prop_assert!(span <= usize::try_from(mails).unwrap());
            let used_up = span == usize::try_from(mails).unwrap();
            prop_assert_eq!(used_up, matches!(gate(&lead, &sending, now), Gate::Wait { .. }));
        }
    }

    #[test]
    fn a_broadcast_leaves_out_whom_the_gate_would_refuse(
        mailing in any_mailing(),
        preferences in any_preferences(),
        class in any_class(),
        topics in proptest::sample::subsequence(vec![id("news"), id("tips")], 0..=2),
    ) {
        let lead = lead(mailing, preferences);
        let sending = Sending { class, topics: &topics, ..marketing() };
        let refused = match gate(&lead, &sending, at("2026-11-22T03:00:00Z")) {
            Gate::Shut { why } => Some(why),
            Gate::Open { .. } | Gate::Wait { .. } => None,
        };
        prop_assert_eq!(excluded(&lead, class, &topics, true), refused);
        prop_assert_eq!(excluded(&lead, class, &topics, false), Some("not in the segment".to_owned()));
    }
}
