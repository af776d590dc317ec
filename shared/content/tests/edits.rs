//! An edit tells whom it touches.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod sample;

use content::touched;

use sample::{Copy, Edit};

fn told(name: &str, edits: &[Edit<'_>], removed: &[&str]) -> String {
    let copy = Copy::rich(name);
    // People of this funnel follow an edit of `nurture`.
    copy.edit(("sequences/nurture.toml", "exit = ", "inside = \"move\"\nexit = "));
    let before = copy.load();
    edits.iter().for_each(|edit| copy.edit(*edit));
    removed.iter().for_each(|file| std::fs::remove_file(copy.0.join(file)).unwrap());
    let touched = touched(&before, &copy.load());
    touched.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn who_does_not_follow_finishes_the_version_that_she_entered() {
    insta::assert_snapshot!(told(
        "finish",
        &[
            ("sequences/order.toml", "priority = 5", "priority = 10"),
            ("sequences/order.toml", "09:00-20:00", "10:00-20:00"),
            ("sequences/order.toml", "within = \"3d\"", "within = \"2d\""),
            ("sequences/order.toml", "then = \"offer\"", "then = \"offer-a\""),
            ("sequences/order.toml", "id = \"offer\"\nsplit = { \"offer-a\" = 50, \"offer-b\" = 50 }\nwhen = \"tuesday 10:00\"\n\n[[steps]]\n", ""),
            ("sequences/order.toml", "next = \"end\"\n\n[[steps]]\nid = \"offer-b\"\nsend = \"day-2\"\n", "next = \"end\"\n"),
        ],
        &[],
    ), @r#"
    order: changed
      `priority` is `10` instead of `5`
      its mails go out in other hours or on other weekdays, to people inside too
      step `read` changed: does wait_for 'opened("day-1") or clicked("day-4", "booking_url")' within 2d instead of wait_for 'opened("day-1") or clicked("day-4", "booking_url")' within 3d; `then` leads to offer-a instead of offer
      step `offer` removed
      step `offer-b` removed
      > people inside finish the version that they entered; who enters from now on gets the new one
    "#);
}

#[test]
fn who_follows_goes_on_in_the_new_version() {
    insta::assert_snapshot!(told(
        "move",
        &[
            ("sequences/nurture.toml", "+3d 07:00", "+3d 08:00"),
            ("sequences/nurture.toml", "send = \"day-4\"", "send = \"day-5\""),
            ("sequences/nurture.toml", "id = \"day-7\"\nsend = \"day-7\"", "id = \"last\"\nsend = \"day-6\""),
            ("broadcasts/news.toml", "mail = \"day-7\"", "mail = \"day-6\""),
            ("sequences/order.toml", "\"day-4\", \"booking_url\"", "\"day-5\""),
        ],
        &["mails/day-7.md", "mails/day-4.md"],
    ), @r#"
    broadcast-news: changed
      step `mail` changed: does send "day-6" instead of send "day-7"
      > people inside finish the version that they entered; who enters from now on gets the new one
      > the mail `day-7` is gone, but the old version sends it at `mail`: whoever comes there goes on without it
    nurture: changed
      step `day-3` changed: comes at +3d 08:00 instead of +3d 07:00
      step `day-4` changed: does send "day-5" instead of send "day-4"
      step `day-6` changed: `next` leads to last instead of day-7
      step `last` added
      step `day-7` removed
      > people at `day-1`, `day-2`, `day-3`, `day-4`, `day-5` or `day-6` go on in the new version
      > `day-3` comes at +3d 08:00 instead of +3d 07:00 for people at `day-1` or `day-2`; who stands at it keeps the time that she has
      > `last` is new for people at `day-1`, `day-2`, `day-3`, `day-4`, `day-5` or `day-6`
      > people standing at removed `day-7` finish the old version
      > the mail `day-7` is gone, but the old version sends it at `day-7`: whoever comes there goes on without it
    order: changed
      step `read` changed: does wait_for 'opened("day-1") or clicked("day-5")' within 3d instead of wait_for 'opened("day-1") or clicked("day-4", "booking_url")' within 3d
      > people inside finish the version that they entered; who enters from now on gets the new one
    "#);
}

#[test]
fn sequences_come_and_go() {
    let news = "name = \"x\"\nclass = \"marketing\"\nentry = [\"opted_in\"]\nexit = []\n\n[[steps]]\nid = \"a\"\nsend = \"day-1\"\n";
    insta::assert_snapshot!(told("come-and-go", &[("sequences/x.toml", "", news)], &["sequences/follow-up.toml"]), @r#"
    follow-up: removed
      > whoever is inside leaves it before her next step
    x: added
      > nobody is inside; people enter from now on
    "#);
    insta::assert_snapshot!(told("settings", &[("sequences/nurture.toml", "[\"customer_paid\"]", "[\"customer_paid\", { fact = \"ordered\" }]")], &[]), @r#"
    nurture: changed
      `exit` is `customer_paid, fact ordered` instead of `customer_paid`
      > people inside go on with the steps that they have; the rest holds for them too
    "#);
    assert_eq!(told("nothing", &[("mails/day-1.md", "おはようございます。", "こんにちは。")], &[]), "");
}

#[test]
fn programs_read_it_too() {
    let copy = Copy::rich("json");
    let before = copy.load();
    copy.edit(("sequences/nurture.toml", "+7d 07:00", "+8d 07:00"));
    let touched = touched(&before, &copy.load());
    insta::assert_snapshot!(serde_json::to_string(&touched).unwrap(), @r#"[{"sequence":"nurture","change":"changed","settings":[],"steps":[{"step":"day-7","change":"changed","what":["comes at +8d 07:00 instead of +7d 07:00"]}],"people":["people inside finish the version that they entered; who enters from now on gets the new one"]}]"#);
}
