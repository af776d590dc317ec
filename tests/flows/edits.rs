//! Editing a sequence while people are in it.

use chrono::TimeDelta;
use serde_json::json;

use crate::{draft::Draft, world::World};

const HANAKO: &str = "hanako@example.com";

fn days(inside: &str, steps: &[(&str, &str)]) -> Draft {
    let steps: Vec<String> = steps
        .iter()
        .map(|(id, when)| format!("[[steps]]\nid = \"{id}\"\nsend = \"{id}\"\nwhen = \"{when}\"\n"))
        .collect();
    let text = format!("entry = [\"opted_in\"]\n{inside}\n\n{}", steps.join("\n"));
    Draft::new()
        .sequence("week", &text)
        // Mails outlive the steps that send them.
        .sequence("spare", "entry = [{ fact = \"cart-updated\" }]\n\n[[steps]]\nid = \"a\"\nsend = \"day-1\"\n\n[[steps]]\nid = \"b\"\nsend = \"day-2\"\n\n[[steps]]\nid = \"c\"\nsend = \"day-3\"\n")
}

#[tokio::test]
async fn people_inside_finish_the_version_that_they_entered() {
    let world =
        World::with(&days("", &[("day-1", "+1d 07:00"), ("day-2", "+2d 07:00"), ("day-3", "+3d 07:00")]))
            .await;
    world.opt_in_with(HANAKO, json!({})).await;
    world.until("2027-03-02T01:00:00Z").await;
    world.deploy(&days("", &[("day-1", "+1d 08:00"), ("day-3", "+5d 08:00")])).await;
    world.opt_in_with("taro@example.com", json!({})).await;
    world.pass(TimeDelta::days(10)).await;
    assert_eq!(
        world.way_of(HANAKO),
        ["03-02 07:00 week/day-1", "03-03 07:00 week/day-2", "03-04 07:00 week/day-3"]
    );
    assert_eq!(world.way_of("taro@example.com"), ["03-03 08:00 week/day-1", "03-07 08:00 week/day-3"]);
}

#[tokio::test]
async fn people_inside_follow_an_edit_if_the_editor_says_so() {
    let world =
        World::with(&days("", &[("day-1", "+1d 07:00"), ("day-2", "+2d 07:00"), ("day-3", "+3d 07:00")]))
            .await;
    world.opt_in_with(HANAKO, json!({})).await;
    world.until("2027-03-02T01:00:00Z").await;
    world
        .deploy(&days(
            "inside = \"move\"",
            &[("day-1", "+1d 07:00"), ("day-2", "+2d 07:00"), ("extra", "+4d 09:00"), ("day-3", "+5d 09:00")],
        ))
        .await;
    world.pass(TimeDelta::days(10)).await;
    assert_eq!(
        world.way_of(HANAKO),
        [
            "03-02 07:00 week/day-1",
            "03-03 07:00 week/day-2",
            "03-05 09:00 week/extra",
            "03-06 09:00 week/day-3"
        ]
    );
}

#[tokio::test]
async fn a_person_whose_step_is_gone_from_the_new_version_finishes_the_old_one() {
    let world =
        World::with(&days("", &[("day-1", "+1d 07:00"), ("day-2", "+2d 07:00"), ("day-3", "+3d 07:00")]))
            .await;
    world.opt_in_with(HANAKO, json!({})).await;
    world.until("2027-03-02T01:00:00Z").await;
    // She stands before day-2, which is no more.
    world.deploy(&days("inside = \"move\"", &[("day-1", "+1d 07:00"), ("day-3", "+9d 07:00")])).await;
    world.pass(TimeDelta::days(12)).await;
    let way = world.way_of(HANAKO);
    assert_eq!(way[..2], ["03-02 07:00 week/day-1", "03-03 07:00 week/day-2"]);
    assert_eq!(way.len(), 3, "nobody is forgotten: {way:?}");
}

#[tokio::test]
async fn a_sequence_that_is_taken_out_of_the_funnel_ends_for_everybody_and_says_so() {
    let world = World::with(&days("", &[("day-1", "+1d 07:00"), ("day-2", "+2d 07:00")])).await;
    let lead_id = world.opt_in_with(HANAKO, json!({})).await;
    world
        .deploy(
            &Draft::new().sequence(
                "other",
                "entry = [{ fact = \"ordered\" }]\n\n[[steps]]\nid = \"a\"\nsend = \"a\"\n",
            ),
        )
        .await;
    world.pass(TimeDelta::days(3)).await;
    assert!(world.way_of(HANAKO).is_empty());
    assert_eq!(
        world.stands(&lead_id, "week").await,
        "Stopped at –: the funnel has no such sequence any more"
    );
}

#[tokio::test]
async fn a_wait_that_only_an_earlier_version_has_still_ends_when_it_comes_true() {
    let first = "entry = [\"opted_in\"]\n\n[[steps]]\nid = \"first\"\nsend = \"first\"\n";
    let wait = "\n[[steps]]\nid = \"click\"\nwait_for = 'clicked(\"first\")'\nwithin = \"14d\"\n\n[[steps]]\nid = \"thanks\"\nsend = \"thanks\"\n";
    // Mails outlive the steps that send them.
    let spare = "entry = [{ fact = \"cart-updated\" }]\n\n[[steps]]\nid = \"a\"\nsend = \"thanks\"\n";
    let draft = |steps: &str| Draft::new().sequence("way", steps).sequence("spare", spare);
    let world = World::with(&draft(&format!("{first}{wait}"))).await;
    world.opt_in_with(HANAKO, json!({})).await;
    world.pass(TimeDelta::hours(1)).await;
    world.deploy(&draft(first)).await;
    world.click(HANAKO, "first").await;
    world.until_judged().await;
    assert_eq!(world.way_of(HANAKO).len(), 2, "{:?}", world.way_of(HANAKO));
}
