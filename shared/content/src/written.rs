//! Triggers, times and steps as people write them.

use domain::consultation::weekday_key;
use domain::id::Id;
use domain::sequence::{Act, Anchor, END, Step, When};
use domain::trigger::Trigger;

/// The weekdays' names, Monday first, as in [`weekday_key`].
pub(crate) const WEEKDAYS: [&str; 7] =
    ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// `page pricing`, `mail_opened`, `fact ordered`.
pub(crate) fn trigger(trigger: &Trigger) -> String {
    match trigger {
        Trigger::Fact(kind) => kind.as_str().to_owned(),
        Trigger::Told(fact) => format!("fact {fact}"),
        Trigger::Download(magnet) => format!("download {magnet}"),
        Trigger::Page { page, times: 1 } => format!("page {page}"),
        Trigger::Page { page, times } => format!("page {page} {times} times"),
        Trigger::Tag(tag) => format!("tag {tag}"),
        Trigger::Stage(stage) => format!("stage {}", stage.as_str()),
        Trigger::ScoreRisesTo(points) => format!("score_rises_to {points}"),
        Trigger::ScoreFallsTo(points) => format!("score_falls_to {points}"),
        Trigger::Inactive { days } => format!("inactive_days {days}"),
        Trigger::Enters(sequence) => format!("enters {sequence}"),
    }
}

/// `+1d 07:00`.
pub(crate) fn when(when: When) -> String {
    let clock = |time: chrono::NaiveTime| time.format("%H:%M").to_string();
    match when {
        When::Now => "now".to_owned(),
        When::After { minutes } => span(minutes),
        When::AfterClock { days, time } => format!("{days}d {}", clock(time)),
        When::NextClock { time } => clock(time),
        When::NextWeekday { weekday, time } => {
            format!("{} {}", WEEKDAYS.get(usize::from(weekday_key(weekday))).unwrap_or(&""), clock(time))
        }
        When::Anchor { minutes } if minutes < 0 => format!("-{}", span(-minutes)),
        When::Anchor { minutes } => format!("+{}", span(minutes)),
        When::AnchorClock { days, time } => format!("{days:+}d {}", clock(time)),
    }
}

fn span(minutes: i64) -> String {
    match minutes {
        whole if whole % (24 * 60) == 0 && whole > 0 => format!("{}d", whole / (24 * 60)),
        whole if whole % 60 == 0 && whole > 0 => format!("{}h", whole / 60),
        odd => format!("{odd}m"),
    }
}

/// `entry`, or the moment of a date.
pub(crate) fn anchor(anchor: Anchor) -> String {
    match anchor {
        Anchor::Entry => "entry".to_owned(),
        Anchor::Consultation => "consultation".to_owned(),
        Anchor::Renewal => "renewal".to_owned(),
        Anchor::At(at) => domain::time::iso(at),
    }
}

/// What a step does: `send "day-1"`.
pub(crate) fn act(act: &Act) -> String {
    match act {
        Act::Send { mail, calendar: false } => format!("send \"{mail}\""),
        Act::Send { mail, calendar: true } => format!("send \"{mail}\" with the appointment"),
        Act::WaitFor { test, within, .. } => format!("wait_for '{}' within {}", test.text, when(*within)),
        Act::Branch { test, .. } => format!("branch '{}'", test.text),
        Act::Split { targets } => {
            let targets: Vec<String> =
                targets.iter().map(|(step, weight)| format!("{step} {weight}")).collect();
            format!("split {}", targets.join(", "))
        }
        Act::Tag { tag } => format!("tag \"{tag}\""),
        Act::Untag { tag } => format!("untag \"{tag}\""),
        Act::Attribute { values } => {
            let values: Vec<String> =
                values.iter().map(|(name, value)| format!("{name} = \"{value}\"")).collect();
            format!("attribute {}", values.join(", "))
        }
        Act::Stage { stage } => format!("stage \"{}\"", stage.as_str()),
        Act::Task { title, assignee, due } => format!("task \"{title}\" for {assignee}, due {}", when(*due)),
        Act::Notice { text, to } => format!("notice \"{text}\" for {to}"),
        Act::Webhook { url } => format!("webhook \"{url}\""),
    }
}

/// Where a step leads to, by the keys that say so. A split says it by itself.
pub(crate) fn ways(step: &Step) -> Vec<(&'static str, &str)> {
    fn way(to: Option<&Id>) -> &str {
        to.map_or(END, Id::as_str)
    }
    match &step.act {
        Act::WaitFor { then, otherwise, .. } | Act::Branch { then, otherwise, .. } => {
            vec![("then", way(then.as_ref())), ("else", way(otherwise.as_ref()))]
        }
        Act::Split { .. } => vec![],
        Act::Send { .. }
        | Act::Tag { .. }
        | Act::Untag { .. }
        | Act::Attribute { .. }
        | Act::Stage { .. }
        | Act::Task { .. }
        | Act::Notice { .. }
        | Act::Webhook { .. } => vec![("next", way(step.next.as_ref()))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_it_was_read() {
        for text in [
            "now",
            "30m",
            "90m",
            "2h",
            "3d",
            "1d 07:00",
            "07:00",
            "tuesday 10:00",
            "+3d",
            "-2h",
            "+90m",
            "+1d 07:00",
            "-1d 18:00",
            "+0d 21:00",
        ] {
            assert_eq!(When::parse(text).map(when).as_deref(), Ok(text));
        }
    }
}
