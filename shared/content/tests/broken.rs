//! Slips in a funnel's files, each with the words that it is answered with.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

use content::{Funnel, Locale, Message};

/// A copy of the sample funnel that is removed after the test.
struct Copy(PathBuf);

impl Copy {
    fn new(name: &str) -> Self {
        let to = std::env::temp_dir().join(format!("michi-content-{}-{name}", std::process::id()));
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../funnels/coaching"), &to);
        Self(to)
    }

    fn replace(&self, file: &str, from: &str, to: &str) {
        let path = self.0.join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from:?}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    fn problems(&self) -> Vec<String> {
        match Funnel::load(&self.0) {
            Ok(_) => vec![],
            Err(problems) => problems.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn every_slip_is_answered_with_its_place_and_its_mend() {
    for (number, (file, from, to, expected)) in SLIPS.iter().enumerate() {
        let funnel = Copy::new(&number.to_string());
        funnel.replace(file, from, to);
        assert_eq!(funnel.problems(), *expected, "{file}: {to}");
    }
}

/// File, what stands there, what is written instead, and the answer.
const SLIPS: &[(&str, &str, &str, &[&str])] = &[
    (
        "funnel.toml",
        "reply_to",
        "replyto",
        &[
            "funnel.toml:9:1: `reply_to` is missing in [sender]\n  mend: write `reply_to = \"coach@example.com\"`",
            "funnel.toml:12:1: unknown key `replyto` in [sender]\n  mend: did you mean `reply_to`?",
        ],
    ),
    (
        "funnel.toml",
        "locale = \"ja\"",
        "locale = \"jp\"",
        &["funnel.toml:5:10: `locale` can't be \"jp\"\n  mend: write `ja` or `en`"],
    ),
    (
        "funnel.toml",
        "colour = \"#1f5c4d\"",
        "colour = \"green\"",
        &["funnel.toml:17:10: `colour` can't be \"green\"\n  mend: write `#` and six digits: `#1f5c4d`"],
    ),
    (
        "funnel.toml",
        "price = 330000",
        "price = \"330000\"",
        &["funnel.toml:67:9: `price` is a string\n  mend: write a whole number from 1 to 99999999"],
    ),
    (
        "funnel.toml",
        "id = \"premium\"",
        "id = \"standard\"",
        &["funnel.toml:72:6: `standard` is there twice\n  mend: give each its own id"],
    ),
    (
        "funnel.toml",
        "page = \"checklist\"",
        "page = \"checklst\"",
        &["funnel.toml:27:8: there is no public page `checklst`\n  mend: did you mean `checklist`?"],
    ),
    (
        "funnel.toml",
        "[\"10:00-17:00\"]",
        "[\"17:00-10:00\"]",
        &[
            "funnel.toml:61:13: \"17:00-10:00\" are no opening hours\n  mend: write `10:00-13:00`, the earlier time first",
        ],
    ),
    (
        "funnel.toml",
        "\"2026-11-23\"",
        "\"2026-11-31\"",
        &["funnel.toml:40:17: \"2026-11-31\" is no day\n  mend: write `2027-01-01`"],
    ),
    (
        "funnel.toml",
        "minutes = 60",
        "minutes = sixty",
        &[
            "funnel.toml:33:11: not TOML: string values must be quoted, expected literal string\n  mend: write `key = value` lines under `[table]` headings",
        ],
    ),
    (
        "goals.toml",
        "unit = \"percent\"",
        "unit = \"percents\"",
        &["goals.toml:17:8: `unit` can't be \"percents\"\n  mend: did you mean `percent`?"],
    ),
    (
        "goals.toml",
        "at_least = 5.0",
        "at_least = 5.00005",
        &["goals.toml:182:12: `at_least` can't be read\n  mend: write a number with at most three decimals"],
    ),
    (
        "goals.toml",
        "at_most = 21",
        "at_mst = 21",
        &[
            "goals.toml:108:1: a goal without a value\n  mend: write `at_least = …` or `at_most = …`",
            "goals.toml:113:1: unknown key `at_mst` in [[goals]]\n  mend: did you mean `at_most`?",
        ],
    ),
    (
        "simulation.toml",
        "share = 300",
        "share = 200",
        &["simulation.toml: the shares of [[people]] add up to 900\n  mend: make them add up to 1000"],
    ),
    (
        "simulation.toml",
        "vip = 20",
        "gold = 20",
        &[
            "simulation.toml: [sales.plans]: there is no plan `gold`\n  mend: known here: `standard`, `premium`, `vip`",
        ],
    ),
    (
        "sequences/nurture.toml",
        "send = \"day-3\"",
        "send = \"day3\"",
        &["sequences/nurture.toml:20:8: there is no mail `day3`\n  mend: did you mean `day-3`?"],
    ),
    (
        "sequences/nurture.toml",
        "send = \"day-3\"",
        "send = \"onboarding-day-1\"",
        &[
            "sequences/nurture.toml:18:1: mail `onboarding-day-1` tells `plan_name`, which this sequence does not know\n  mend: send it from a sequence whose every `entry` is of the kind `customer_paid`, or take the variable out",
            "sequences/nurture.toml:18:1: the sequence is marketing, its mail `onboarding-day-1` is not\n  mend: give both the same `class`: it decides who may get the mail",
        ],
    ),
    (
        "sequences/nurture.toml",
        "when = \"+3d 07:00\"",
        "when = \"+3d 7時\"",
        &[
            "sequences/nurture.toml:21:8: `when` can't be \"+3d 7時\"\n  mend: write `now`, an offset such as `+2h`, `-2h` or `+30m`, or days and a clock time such as `+1d 07:00`",
        ],
    ),
    (
        "sequences/nurture.toml",
        "when = \"+3d 07:00\"",
        "when = \"+1d 06:00\"",
        &[
            "sequences/nurture.toml:18:1: step `day-3` comes due before the one above it\n  mend: write the steps in the order of their times",
        ],
    ),
    (
        "sequences/nurture.toml",
        "id = \"day-3\"",
        "id = \"day-2\"",
        &["sequences/nurture.toml:19:6: `day-2` is there twice\n  mend: give each its own id"],
    ),
    (
        "sequences/nurture.toml",
        "[\"opted_in\"]",
        "[\"opt_in\"]",
        &["sequences/nurture.toml:5:10: no fact is called `opt_in`\n  mend: did you mean `opted_in`?"],
    ),
    (
        "sequences/nurture.toml",
        "when = \"+1d 07:00\"",
        "when = \"+1d 07:00\"\ncalendar = true",
        &[
            "sequences/nurture.toml:8:1: there is no appointment to put into a calendar file\n  mend: delete `calendar`, or enter by `consultation_booked`",
        ],
    ),
    (
        "sequences/consultation.toml",
        "\"consultation_booked\", ",
        "\"consultation_booked\", \"opted_in\", ",
        &[
            "sequences/consultation.toml: `opted_in` is about something else than the facts before it in `entry`\n  mend: write a sequence of its own for it",
        ],
    ),
    (
        "sequences/consultation.toml",
        "calendar = true",
        "calender = true",
        &[
            "sequences/consultation.toml:12:1: unknown key `calender` in [[steps]]\n  mend: did you mean `calendar`?",
        ],
    ),
    (
        "mails/welcome.md",
        "{{ download_url }}",
        "{{ downlod_url }}",
        &["mails/welcome.md:12:14: unknown variable `downlod_url`\n  mend: did you mean `download_url`?"],
    ),
    (
        "mails/welcome.md",
        "{{ name | honorific(\" 様\", \"こんにちは。\") }}",
        "{{ name }} 様",
        &[
            "mails/welcome.md:7:1: `{{ name }}` has nothing to say to somebody who gave no name\n  mend: write `{{ name | default(\"あなた\") }}` or `{{ name | honorific(\"様\", \"こんにちは。\") }}`",
        ],
    ),
    (
        "mails/welcome.md",
        "{{ name | honorific",
        "{{ name | honourific",
        &[
            "mails/welcome.md:7:1: `{{ name | honourific(\" 様\", \"こんにちは。\") }}`: filter honourific is unknown\n  mend: there are `default` and `honorific`: `{{ name | honorific(\"様\", \"こんにちは。\") }}`",
        ],
    ),
    (
        "mails/welcome.md",
        "{{ download_url }}",
        "{{ download_url",
        &["mails/welcome.md:12:14: `{{` is never closed\n  mend: close it with `}}` in the same line"],
    ),
    (
        "mails/welcome.md",
        "({{ download_url }})",
        "(checklist.pdf)",
        &[
            "mails/welcome.md:12: a link to nowhere\n  mend: write `https://…`, `mailto:…` or a URL variable such as `{{ booking_url }}`",
        ],
    ),
    (
        "mails/welcome.md",
        "**おすすめ",
        "おすすめ",
        &[
            "mails/welcome.md:16: `**` without its other half\n  mend: close the bold text with `**`, or write `\\*\\*`",
        ],
    ),
    (
        "mails/welcome.md",
        "+++\nsubject",
        "---\nsubject",
        &[
            "mails/welcome.md:1: no front matter\n  mend: begin the file with a `+++` line, TOML, and another `+++` line",
        ],
    ),
    (
        "mails/welcome.md",
        "class = \"marketing\"",
        "class = \"marketing\"\ntopic = \"x\"",
        &["mails/welcome.md:5:1: unknown key `topic`\n  mend: known here: `class`, `preheader`, `subject`"],
    ),
    (
        "pages/landing.md",
        "{{ form }}",
        "下のフォームへ {{ form }}",
        &[
            "pages/landing.md:14:9: `{{ form }}` must stand once, alone in its paragraph\n  mend: put an empty line before and after it",
        ],
    ),
    (
        "pages/landing.md",
        "form = \"opt_in\"",
        "",
        &[
            "pages/landing.md:1: this page is for something else\n  mend: write `form = \"opt_in\"`",
            "pages/landing.md:14:1: this page has no form\n  mend: name it in the front matter: `form = \"opt_in\"`",
        ],
    ),
    (
        "pages/tokushoho.md",
        "{{ plans.vip.price }}",
        "{{ plans.gold.price }}",
        &[
            "pages/tokushoho.md:16:135: `{{ plans.gold.price }}`: `plans.gold` is undefined\n  mend: a plan has `name`, `price` and `months`: `{{ plans.standard.price }}`",
        ],
    ),
];

#[test]
fn all_slips_are_told_at_once() {
    let funnel = Copy::new("all");
    funnel.replace("funnel.toml", "time_zone = \"Asia/Tokyo\"", "time_zone = \"Asia/Tokio\"");
    funnel.replace("sequences/welcome.toml", "send = \"welcome\"", "send = \"welcom\"");
    fs::remove_file(funnel.0.join("pages/paid.md")).unwrap();
    fs::write(funnel.0.join("mails/Day 8.md"), "+++\n+++\n").unwrap();
    let files: Vec<String> =
        funnel.problems().iter().map(|problem| problem.split(": ").next().unwrap().to_owned()).collect();
    assert_eq!(files, ["funnel.toml:6:13", "mails/Day 8.md", "pages/paid.md", "sequences/welcome.toml:11:8"]);
}

#[test]
fn a_directory_that_is_no_funnel_says_what_it_lacks() {
    let problems = Funnel::load(Path::new("/nonexistent")).map(drop).unwrap_err();
    let first = problems.first().unwrap().to_string();
    assert_eq!(
        first,
        "funnel.toml: the file is missing\n  mend: add it; funnels/coaching has one to start from"
    );
}

#[test]
fn the_frame_of_mails_and_pages_follows_the_funnels_language() {
    let copy = Copy::new("english");
    copy.replace("funnel.toml", "locale = \"ja\"", "locale = \"en\"");
    let funnel = Funnel::load(&copy.0).unwrap();
    assert_eq!(funnel.locale, Locale::En);
    let page = funnel.message_page(Message::LinkExpired, "https://michi.example.com").unwrap();
    assert!(
        page.contains("<html lang=\"en\">")
            && page.contains("<h1>This link has expired</h1>")
            && page.contains("Privacy policy")
    );
    let person = content::MailContext {
        name: None,
        time_zone: funnel.time_zone,
        public_url: "https://michi.example.com".into(),
        lead_magnet: None,
        booking_url: "https://michi.example.com/booking".into(),
        apply_url: "https://michi.example.com/apply".into(),
        unsubscribe_url: "https://michi.example.com/unsubscribe".into(),
        consultation: None,
        purchase: None,
    };
    let mail = funnel.mails().find(|mail| mail.id.as_str() == "welcome").unwrap();
    let rendered = funnel.render(mail, &person).unwrap();
    assert!(
        rendered.text.ends_with("Unsubscribe: https://michi.example.com/unsubscribe\n"),
        "{}",
        rendered.text
    );
    assert!(rendered.html.contains("<html lang=\"en\"") && rendered.html.contains("Sender: "));
}
