//! Slips in a funnel's files, each with the words that it is answered with.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod person;
mod sample;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use content::{Funnel, Locale, Message};
use domain::score::Scoring;

use sample::{Copy, Edit};

#[test]
fn every_slip_is_answered_with_its_place_and_its_mend() {
    for (number, (edits, expected)) in SLIPS.iter().enumerate() {
        let funnel = Copy::new(&number.to_string());
        edits.iter().for_each(|edit| funnel.edit(*edit));
        assert_eq!(funnel.problems(), *expected, "{edits:?}");
    }
}

#[test]
fn every_slip_of_a_richer_funnel_is_answered_too() {
    assert_eq!(Copy::rich("rich").problems(), [""; 0]);
    for (number, (edits, expected)) in RICH_SLIPS.iter().enumerate() {
        let funnel = Copy::rich(&format!("rich-{number}"));
        edits.iter().for_each(|edit| funnel.edit(*edit));
        assert_eq!(funnel.problems(), *expected, "{edits:?}");
    }
}

/// What is edited, and the answer.
type Slip = (&'static [Edit<'static>], &'static [&'static str]);

const SLIPS: &[Slip] = &[
    (
        &[("funnel.toml", "reply_to", "replyto")],
        &[
            "funnel.toml:9:1: `reply_to` is missing in [sender]\n  mend: write `reply_to = \"coach@example.com\"`",
            "funnel.toml:12:1: unknown key `replyto` in [sender]\n  mend: did you mean `reply_to`?",
        ],
    ),
    (
        &[("funnel.toml", "locale = \"ja\"", "locale = \"jp\"")],
        &["funnel.toml:5:10: `locale` can't be \"jp\"\n  mend: write `ja` or `en`"],
    ),
    (
        &[("funnel.toml", "colour = \"#1f5c4d\"", "colour = \"green\"")],
        &["funnel.toml:17:10: `colour` can't be \"green\"\n  mend: write `#` and six digits: `#1f5c4d`"],
    ),
    (
        &[("funnel.toml", "price = 330000", "price = \"330000\"")],
        &["funnel.toml:67:9: `price` is a string\n  mend: write a whole number from 1 to 99999999"],
    ),
    (
        &[("funnel.toml", "id = \"premium\"", "id = \"standard\"")],
        &["funnel.toml:72:6: `standard` is there twice\n  mend: give each its own id"],
    ),
    (
        &[("funnel.toml", "page = \"checklist\"", "page = \"checklst\"")],
        &["funnel.toml:27:8: there is no public page `checklst`\n  mend: did you mean `checklist`?"],
    ),
    (
        &[("funnel.toml", "[\"10:00-17:00\"]", "[\"17:00-10:00\"]")],
        &[
            "funnel.toml:61:13: \"17:00-10:00\" are no opening hours\n  mend: write `10:00-13:00`, the earlier time first",
        ],
    ),
    (
        &[("funnel.toml", "\"2026-11-23\"", "\"2026-11-31\"")],
        &["funnel.toml:40:17: \"2026-11-31\" is no day\n  mend: write `2027-01-01`"],
    ),
    (
        &[("funnel.toml", "minutes = 60", "minutes = sixty")],
        &[
            "funnel.toml:33:11: not TOML: string values must be quoted, expected literal string\n  mend: write `key = value` lines under `[table]` headings",
        ],
    ),
    (
        &[("goals.toml", "unit = \"percent\"", "unit = \"percents\"")],
        &["goals.toml:17:8: `unit` can't be \"percents\"\n  mend: did you mean `percent`?"],
    ),
    (
        &[("goals.toml", "at_least = 5.0", "at_least = 5.00005")],
        &["goals.toml:182:12: `at_least` can't be read\n  mend: write a number with at most three decimals"],
    ),
    (
        &[("goals.toml", "at_most = 21", "at_mst = 21")],
        &[
            "goals.toml:108:1: a goal without a value\n  mend: write `at_least = …` or `at_most = …`",
            "goals.toml:113:1: unknown key `at_mst` in [[goals]]\n  mend: did you mean `at_most`?",
        ],
    ),
    (
        &[("simulation.toml", "share = 300", "share = 200")],
        &["simulation.toml: the shares of [[people]] add up to 900\n  mend: make them add up to 1000"],
    ),
    (
        &[("simulation.toml", "vip = 20", "gold = 20")],
        &["simulation.toml:74:1: there is no plan `gold`\n  mend: known here: `standard`, `premium`, `vip`"],
    ),
    (
        &[("sequences/nurture.toml", "send = \"day-3\"", "send = \"day3\"")],
        &["sequences/nurture.toml:20:8: there is no mail `day3`\n  mend: did you mean `day-3`?"],
    ),
    (
        &[("sequences/nurture.toml", "send = \"day-3\"", "send = \"onboarding-day-1\"")],
        &[
            "sequences/nurture.toml:18:1: mail `onboarding-day-1` tells `plan_name`, which this sequence does not know\n  mend: send it from a sequence whose every `entry` is of the kind `customer_paid`, or take the variable out",
            "sequences/nurture.toml:18:1: the sequence is marketing, its mail `onboarding-day-1` is not\n  mend: give both the same `class`: it decides who may get the mail",
        ],
    ),
    (
        &[("sequences/nurture.toml", "when = \"+3d 07:00\"", "when = \"+3d 7時\"")],
        &[
            "sequences/nurture.toml:21:8: `when` can't be \"+3d 7時\"\n  mend: write `now`, `2h` or `3d` (after the step before), `1d 07:00`, `07:00`, `tuesday 10:00`, or with a sign from the anchor: `+3d`, `-2h`, `+1d 07:00`",
        ],
    ),
    (
        &[("sequences/nurture.toml", "when = \"+3d 07:00\"", "when = \"+1d 06:00\"")],
        &[
            "sequences/nurture.toml:18:1: step `day-3` comes due before the one above it\n  mend: write the steps in the order of their times",
        ],
    ),
    (
        &[("sequences/nurture.toml", "id = \"day-3\"", "id = \"day-2\"")],
        &["sequences/nurture.toml:19:6: `day-2` is there twice\n  mend: give each its own id"],
    ),
    (
        &[("sequences/nurture.toml", "[\"opted_in\"]", "[\"opt_in\"]")],
        &["sequences/nurture.toml:5:10: no fact is called `opt_in`\n  mend: did you mean `opted_in`?"],
    ),
    (
        &[("sequences/nurture.toml", "when = \"+1d 07:00\"", "when = \"+1d 07:00\"\ncalendar = true")],
        &[
            "sequences/nurture.toml:8:1: there is no appointment to put into a calendar file\n  mend: delete `calendar`, or enter by `consultation_booked`",
        ],
    ),
    (
        &[(
            "sequences/consultation.toml",
            "\"consultation_booked\", ",
            "\"consultation_booked\", \"opted_in\", ",
        )],
        &[
            "sequences/consultation.toml: `opted_in` is about something else than the facts before it in `entry`\n  mend: write a sequence of its own for it",
        ],
    ),
    (
        &[("sequences/consultation.toml", "calendar = true", "calender = true")],
        &[
            "sequences/consultation.toml:12:1: unknown key `calender` in [[steps]]\n  mend: did you mean `calendar`?",
        ],
    ),
    (
        &[("mails/welcome.md", "{{ download_url }}", "{{ downlod_url }}")],
        &["mails/welcome.md:12:14: unknown variable `downlod_url`\n  mend: did you mean `download_url`?"],
    ),
    (
        &[("mails/welcome.md", "{{ name | honorific(\" 様\", \"こんにちは。\") }}", "{{ name }} 様")],
        &[
            "mails/welcome.md:7:1: `{{ name }}` has nothing to say to somebody who gave no name\n  mend: write `{{ name | default(\"あなた\") }}` or `{{ name | honorific(\"様\", \"こんにちは。\") }}`",
        ],
    ),
    (
        &[("mails/welcome.md", "{{ name | honorific", "{{ name | honourific")],
        &[
            "mails/welcome.md:7:1: `{{ name | honourific(\" 様\", \"こんにちは。\") }}`: filter honourific is unknown\n  mend: there are `default` and `honorific`: `{{ name | honorific(\"様\", \"こんにちは。\") }}`",
        ],
    ),
    (
        &[("mails/welcome.md", "{{ download_url }}", "{{ download_url")],
        &["mails/welcome.md:12:14: `{{` is never closed\n  mend: close it with `}}` in the same line"],
    ),
    (
        &[("mails/welcome.md", "({{ download_url }})", "(checklist.pdf)")],
        &[
            "mails/welcome.md:12: a link to nowhere\n  mend: write `https://…`, `mailto:…` or a URL variable such as `{{ booking_url }}`",
        ],
    ),
    (
        &[("mails/welcome.md", "**おすすめ", "おすすめ")],
        &[
            "mails/welcome.md:16: `**` without its other half\n  mend: close the bold text with `**`, or write `\\*\\*`",
        ],
    ),
    (
        &[("mails/welcome.md", "+++\nsubject", "---\nsubject")],
        &[
            "mails/welcome.md:1: no front matter\n  mend: begin the file with a `+++` line, TOML, and another `+++` line",
        ],
    ),
    (
        &[("mails/welcome.md", "class = \"marketing\"", "class = \"marketing\"\ntopic = \"x\"")],
        &["mails/welcome.md:5:1: unknown key `topic`\n  mend: did you mean `topics`?"],
    ),
    (
        &[("pages/landing.md", "{{ form }}", "下のフォームへ {{ form }}")],
        &[
            "pages/landing.md:14:9: `{{ form }}` must stand once, alone in its paragraph\n  mend: put an empty line before and after it",
        ],
    ),
    (
        &[("pages/landing.md", "form = \"opt_in\"", "")],
        &[
            "pages/landing.md:1: this page is for something else\n  mend: write `form = \"opt_in\"`",
            "pages/landing.md:14:1: this page has no form\n  mend: name it in the front matter: `form = \"opt_in\"`",
        ],
    ),
    (
        &[("pages/tokushoho.md", "{{ plans.vip.price }}", "{{ plans.gold.price }}")],
        &[
            "pages/tokushoho.md:16:135: `{{ plans.gold.price }}`: `plans.gold` is undefined\n  mend: a plan has `name`, `price` and `months`: `{{ plans.standard.price }}`",
        ],
    ),
    (
        &[("funnel.toml", "[consultation]", "[[senders]]\nid = \"sales\"\n\n[consultation]")],
        &[
            "funnel.toml:31:1: `address` is missing in [[senders]]\n  mend: write `address = \"sales@example.com\"`",
            "funnel.toml:31:1: `name` is missing in [[senders]]\n  mend: write `name = \"道コーチング 営業部\"`",
        ],
    ),
    (
        &[("funnel.toml", "", "\n[[attributes]]\nid = \"phone\"\nname = \"電話\"\nkind = \"text\"\n")],
        &[
            "funnel.toml:86:6: warning: nobody ever tells the attribute `phone`\n  mend: ask for it: `ask = true`, or note it in a step: `attribute = { phone = … }`",
        ],
    ),
    (
        &[("funnel.toml", "", "\n[[facts]]\nid = \"ordered\"\nname = \"注文した\"\n")],
        &[
            "funnel.toml:86:6: warning: nothing makes use of the fact `ordered`\n  mend: name it in a trigger, a score or a condition, or delete it",
        ],
    ),
    (
        &[("sequences/nurture.toml", "exit = [\"customer_paid\"]", "exit = [{ enters = \"folow-up\" }]")],
        &["sequences/nurture.toml:6:20: there is no sequence `folow-up`\n  mend: did you mean `follow-up`?"],
    ),
    (
        &[("sequences/nurture.toml", "exit = [\"customer_paid\"]", "exit = [{ inactive_days = 30 }]")],
        &[
            "sequences/nurture.toml:6:11: unknown key `inactive_days` in `exit`\n  mend: known here: `download`, `enters`, `fact`, `page`, `score_falls_to`, `score_rises_to`, `stage`, `tag`",
        ],
    ),
    (
        &[("sequences/nurture.toml", "exit = [\"customer_paid\"]", "exit = [{ stage = \"costumer\" }]")],
        &["sequences/nurture.toml:6:19: `stage` can't be \"costumer\"\n  mend: did you mean `customer`?"],
    ),
    (
        &[("sequences/nurture.toml", "exit = [\"customer_paid\"]", "exit = [{ tag = \"vip\" }]")],
        &[
            "sequences/nurture.toml:6:17: warning: nobody gives the tag `vip`\n  mend: give it in a step: `tag = \"…\"`; a tag that somebody gives by hand is fine",
        ],
    ),
    (
        &[("sequences/nurture.toml", "[\"opted_in\"]", "[{ download = \"checklst\" }]")],
        &[
            "sequences/nurture.toml:5:23: there is no lead magnet `checklst`\n  mend: did you mean `checklist`?",
        ],
    ),
    (
        &[("sequences/nurture.toml", "[\"opted_in\"]", "[{ page = \"landing\", time = 3 }]")],
        &["sequences/nurture.toml:5:30: unknown key `time` in `entry`\n  mend: did you mean `times`?"],
    ),
    (
        &[("sequences/nurture.toml", "[\"opted_in\"]", "[{ page = \"landing\", tag = \"vip\" }]")],
        &[
            "sequences/nurture.toml:5:10: `page` and `tag` are two things that happen\n  mend: write a table for each",
        ],
    ),
    (
        &[("sequences/nurture.toml", "[\"opted_in\"]", "[{}]")],
        &[
            "sequences/nurture.toml:5:10: nothing happens here\n  mend: write one of `fact`, `download`, `page`, `tag`, `stage`, `score_rises_to`, `score_falls_to`, `inactive_days`",
        ],
    ),
    (
        &[("sequences/nurture.toml", "[\"opted_in\"]", "[3]")],
        &[
            "sequences/nurture.toml:5:10: `entry` is an integer\n  mend: write a text such as `\"opted_in\"`, or a table",
        ],
    ),
    (
        &[("sequences/nurture.toml", "[\"opted_in\"]", "\"opted_in\"")],
        &["sequences/nurture.toml:5:9: `entry` is a string\n  mend: write a list: `entry = [\"opted_in\"]`"],
    ),
    (
        &[("sequences/nurture.toml", "[\"opted_in\"]", "[]")],
        &["sequences/nurture.toml: nothing sets this sequence going\n  mend: write `entry = [\"opted_in\"]`"],
    ),
    (
        &[("sequences/nurture.toml", "[\"opted_in\"]", "[{ inactive_days = 60 }, { score_falls_to = 20 }]")],
        &[
            "sequences/nurture.toml:5:34: a sequence can look for one silence or falling score only\n  mend: write a sequence of its own for it",
        ],
    ),
    (
        &[("sequences/nurture.toml", "[\"opted_in\"]", "[\"opt_in_requested\"]")],
        &[
            "sequences/nurture.toml:4:9: no marketing mail goes to an address that is not confirmed\n  mend: write `class = \"transactional\"`, or enter by `opted_in`",
            "sequences/nurture.toml:5:10: warning: this never happens: funnel.toml has no `double = true`\n  mend: add it there, or leave this out",
        ],
    ),
    (
        &[("sequences/nurture.toml", "when = \"+7d 07:00\"", "when = \"+7d 07:00\"\nnext = \"day-1\"")],
        &[
            "sequences/nurture.toml:42:8: `next` leads back to `day-1`: nobody may go round in circles\n  mend: lead to a step below, or to \"end\"",
        ],
    ),
    (
        &[("sequences/nurture.toml", "when = \"+1d 07:00\"", "when = \"-1d 07:00\"")],
        &[
            "sequences/nurture.toml:8:1: step `day-1` lies before the sequence begins\n  mend: write a time from then on: `+1d 07:00`",
        ],
    ),
    (
        &[
            ("funnel.toml", "time_zone = \"Asia/Tokyo\"", "time_zone = \"Europe/Berlin\""),
            ("sequences/nurture.toml", "when = \"+1d 07:00\"", "when = \"+1d 02:30\""),
        ],
        &[
            "sequences/nurture.toml:11:8: warning: on 2024-03-31 no clock of the funnel's zone shows 02:30\n  mend: choose another time; on such a day it becomes the first one after the gap",
        ],
    ),
    (
        &[("sequences/nurture.toml", "send = \"day-7\"", "send = \"day-6\"")],
        &[
            "mails/day-7.md: warning: nobody ever gets this mail\n  mend: send it from a sequence or a broadcast, or delete it",
        ],
    ),
    (
        &[
            ("sequences/nurture.toml", "send = \"day-7\"", "send = \"day-6\""),
            ("sequences/follow-up.toml", "exit = []", "exit = []\nif = 'not opened(\"day-7\")'"),
        ],
        &[
            "sequences/follow-up.toml:7:18: no sequence sends the mail `day-7`\n  mend: name a mail that people get, or send it",
        ],
    ),
    (
        &[("sequences/nurture.toml", "[\"opted_in\"]", "[{ score_rises_to = 50 }]")],
        &[
            "sequences/nurture.toml: warning: nothing gives points: no score ever changes\n  mend: write [[fit]] and [[behaviour]] rules in scores.toml",
        ],
    ),
    (
        &[("simulation.toml", "opt_in = 150", "opt_in = 150\nconfirm = 2000")],
        &["simulation.toml:9:11: `confirm` is out of range\n  mend: write a whole number from 0 to 1000"],
    ),
    (
        &[(
            "simulation.toml",
            "[mails]",
            "[[behaviour]]\nfact = \"ordered\"\nof = 300\nafter = \"opted_in\"\nafter_hours = [1, 2]\n\n[mails]",
        )],
        &["simulation.toml:47:8: there is no fact `ordered`\n  mend: none is known here"],
    ),
    (
        &[(
            "simulation.toml",
            "[mails]",
            "[[behaviour]]\nof = 300\nafter = \"opted_in\"\nafter_hours = [1, 2]\n\n[mails]",
        )],
        &[
            "simulation.toml:46:1: what do people do?\n  mend: write `fact = \"…\"` or `page = \"…\"`, and a [[behaviour]] for each",
        ],
    ),
    (
        &[(
            "simulation.toml",
            "",
            "\n[expect]\nleads = 100\ndays = 30\nseed = 7\n[expect.figures]\nmail_sent = [1, 2]\n\"sequence.nurtur\" = [1, 2]\n",
        )],
        &[
            "simulation.toml:81:1: no figure is called `mail_sent`\n  mend: did you mean `mails_sent`?",
            "simulation.toml:82:1: no figure is called `sequence.nurtur`\n  mend: did you mean `sequence.nurture`?",
        ],
    ),
    (
        &[(
            "simulation.toml",
            "",
            "\n[expect]\nleads = 100\ndays = 30\nseed = 7\n[expect.figures]\nmails_sent = [2, 1]\n",
        )],
        &[
            "simulation.toml:81:14: nothing lies between the bounds of `mails_sent`\n  mend: write the smaller number first",
        ],
    ),
    (
        &[("simulation.toml", "[sales]", "[sale]")],
        &[
            "simulation.toml:65:2: unknown key `sale`\n  mend: did you mean `sales`?",
            "simulation.toml:71:2: `buy_after_hours` is missing in [sales]\n  mend: write a list of 2 whole numbers from 0 to 100000",
            "simulation.toml:71:2: `buy` is missing in [sales]\n  mend: write `buy = …`, a whole number from 0 to 1000",
        ],
    ),
    (
        &[("funnel.toml", "[[lead_magnets]]", "double = true\n\n[[lead_magnets]]")],
        &[
            "pages/confirm.md: the page is missing\n  mend: add it; funnels/b2b has one to start from",
            "pages/confirmed.md: the page is missing\n  mend: add it; funnels/b2b has one to start from",
        ],
    ),
    (
        &[("simulation.toml", "[consultations]", "[consultation]")],
        &[
            "simulation.toml: `consultations` is missing\n  mend: write a table `[consultations]`",
            "simulation.toml:56:2: unknown key `consultation`\n  mend: did you mean `consultations`?",
        ],
    ),
    (
        &[("funnel.toml", "[[plans]]", "[[plan]]")],
        &[
            "funnel.toml:64:3: unknown key `plan`\n  mend: did you mean `plans`?",
            "simulation.toml:72:1: there is no plan `standard`\n  mend: known here: `premium`, `vip`",
        ],
    ),
    (
        &[
            (
                "sequences/nurture.toml",
                "exit = [\"customer_paid\"]",
                "exit = [\"customer_paid\"]\nweekdays = [\"saturday\"]",
            ),
            ("funnel.toml", "", "\n[sending]\nweekdays = [\"monday\"]\n"),
        ],
        &[
            "sequences/nurture.toml:7:13: its hours and those of `[sending]` leave no time for its mails\n  mend: let `hours` and `weekdays` reach into what `quiet_hours` and `weekdays` of funnel.toml leave",
        ],
    ),
    (
        &[("sequences/welcome.toml", "send = \"welcome\"", "send = \"welcome\"\ncalender = true")],
        &[
            "sequences/welcome.toml:12:1: unknown key `calender` in [[steps]]\n  mend: did you mean `calendar`?",
        ],
    ),
    (
        &[(
            "sequences/broadcast-x.toml",
            "",
            "name = \"x\"\nclass = \"marketing\"\nentry = [\"opted_in\"]\nexit = []\n\n[[steps]]\nid = \"a\"\nsend = \"day-1\"\n",
        )],
        &[
            "sequences/broadcast-x.toml: names that begin with `broadcast-` belong to broadcasts\n  mend: give the file another name",
        ],
    ),
    (
        &[(
            "sequences/x.toml",
            "",
            "name = \"x\"\nclass = \"marketing\"\nentry = [\"opted_in\"]\nexit = []\n",
        )],
        &["sequences/x.toml: nothing happens in this sequence\n  mend: write `[[steps]]`"],
    ),
    (
        &[("pages/cases.md", "", "+++\ntitle = \"事例\"\ndescription = \"事例\"\n+++\n\n# 事例\n")],
        &[
            "pages/cases.md: warning: nothing leads to this page\n  mend: link to it: `{{ public_url }}/pages/cases`, or delete it",
        ],
    ),
    (
        &[
            ("sequences/follow-up.toml", "exit = []", "exit = []\nagain = true"),
            ("sequences/follow-up.toml", "[\"consultation_held\"]", "[\"tagged\"]"),
            (
                "sequences/follow-up.toml",
                "send = \"consultation-thanks\"",
                "send = \"consultation-thanks\"\n\n[[steps]]\nid = \"thanked\"\ntag = \"thanked\"",
            ),
        ],
        &[
            "sequences/follow-up.toml: `follow-up` sets itself going again and again\n  mend: delete `again` here, or enter it by something else",
        ],
    ),
    (
        &[
            ("funnel.toml", "[[lead_magnets]]", "double = true\n\n[[lead_magnets]]"),
            (
                "pages/confirm.md",
                "",
                "+++\ntitle = \"確認\"\ndescription = \"確認\"\nform = \"confirm\"\n+++\n\n# 確認\n\n{{ form }}\n",
            ),
            ("pages/confirmed.md", "", "+++\ntitle = \"完了\"\ndescription = \"完了\"\n+++\n\n# 完了\n"),
        ],
        &[
            "funnel.toml: `double = true`, but no mail asks people to confirm their address\n  mend: write a sequence with `entry = [\"opt_in_requested\"]`, and a mail with `{{ confirm_url }}`",
        ],
    ),
    (
        &[("sequences/nurture.toml", "send = \"day-3\"", "send = \"day-3\"\nnext = \"day-3\"")],
        &[
            "sequences/nurture.toml:21:8: `next` leads back to `day-3`: nobody may go round in circles\n  mend: lead to a step below, or to \"end\"",
        ],
    ),
    (
        &[("segments.toml", "", "[[segments]]\nid = \"hot\"\nname = \"ホット\"\nif = 'band == \"hot\"'\n")],
        &["segments.toml:4:15: there is no band `hot`\n  mend: none is known here"],
    ),
    (
        &[(
            "mails/day-1.md",
            "{{ name | honorific(\" 様\", \"おはようございます。\") }}",
            "{{ name | honorific(\" 様\", \"おはようございます。\") }}\n\n{% if tag(\"vip\") and seen(\"checklist\") > many %}\nようこそ\n{% endif %}",
        )],
        &[
            "mails/day-1.md:9:11: warning: nobody gives the tag `vip`\n  mend: give it in a step: `tag = \"…\"`; a tag that somebody gives by hand is fine",
            "mails/day-1.md:9:42: a whole number is missing\n  mend: write `seen(…) == 3`",
        ],
    ),
];

/// Slips in the small funnel with what it lacks.
const RICH_SLIPS: &[Slip] = &[
    (
        &[("funnel.toml", "kind = \"choice\"", "kind = \"chois\"")],
        &["funnel.toml:88:8: `kind` can't be \"chois\"\n  mend: did you mean `choice`?"],
    ),
    (
        &[("funnel.toml", "choices = [\"IT\", \"金融\"]", "choices = []")],
        &[
            "funnel.toml:85:1: nothing to choose from\n  mend: write `choices = [\"IT\", \"金融\", \"その他\"]`",
        ],
    ),
    (
        &[("funnel.toml", "choices = [\"IT\", \"金融\"]", "choices = [\"IT\", \"IT\"]")],
        &[
            "funnel.toml:89:18: \"IT\" is no choice of its own\n  mend: write each choice once, and none that is empty",
        ],
    ),
    (
        &[("funnel.toml", "id = \"attended\"", "id = \"unsubscribed\"")],
        &["funnel.toml:103:6: `unsubscribed` is a fact of Michi's own\n  mend: give yours another id"],
    ),
    (
        &[("funnel.toml", "webinar = \"2027-03-20 20:00\"", "webinar = \"2027-03-20\"")],
        &[
            "funnel.toml:107:11: \"2027-03-20\" is no moment\n  mend: write day and clock time in the funnel's zone: `2027-03-20 20:00`",
        ],
    ),
    (
        &[("funnel.toml", "webinar = \"2027", "renewal = \"2027")],
        &[
            "funnel.toml:107:1: a date can't be called `renewal`\n  mend: it means something else as an `anchor`",
        ],
    ),
    (
        &[("funnel.toml", "address = \"owner@example.com\"", "address = \"owner\"")],
        &[
            "funnel.toml:112:11: `address` can't be \"owner\"\n  mend: a mail address: must look like name@example.com",
        ],
    ),
    (
        &[("funnel.toml", "\"21:00-07:00\"", "\"21:00\"")],
        &[
            "funnel.toml:115:15: `quiet_hours` can't be \"21:00\"\n  mend: write two clock times: `21:00-08:00`",
        ],
    ),
    (
        &[("funnel.toml", "quiet_hours = \"21:00-07:00\"", "weekdays = [\"monday\", \"tusday\"]")],
        &["funnel.toml:115:23: no weekday is called `tusday`\n  mend: did you mean `tuesday`?"],
    ),
    (
        &[("funnel.toml", "quiet_hours = \"21:00-07:00\"", "cap = { mails = 3, days = 7 }")],
        &[
            "sequences/nurture.toml: warning: it alone has 7 mails within 7 days, and the cap lets 3 through\n  mend: spread its mails, or raise `cap` in funnel.toml: else they come later than written",
        ],
    ),
    (
        &[("funnel.toml", "quiet_hours = \"21:00-07:00\"", "cap = { mails = 0, days = 7 }")],
        &["funnel.toml:115:17: `mails` is out of range\n  mend: write a whole number from 1 to 1000"],
    ),
    (
        &[("funnel.toml", "quiet_hours = \"21:00-07:00\"", "[retention]\nvisits = 7\nmail = 30")],
        &[
            "funnel.toml:116:10: `visits` is out of range\n  mend: write a whole number from 30 to 3650",
            "funnel.toml:117:1: unknown key `mail` in [retention]\n  mend: did you mean `mails`?",
        ],
    ),
    (
        &[("sequences/order.toml", "{ fact = \"ordered\" }", "\"ordered\"")],
        &[
            "sequences/order.toml:3:10: no fact is called `ordered`\n  mend: it is one of the funnel's: write `{ fact = \"ordered\" }`",
        ],
    ),
    (
        &[("sequences/order.toml", "{ fact = \"ordered\" }", "{ fact = \"orderd\" }")],
        &["sequences/order.toml:3:19: there is no fact `orderd`\n  mend: did you mean `ordered`?"],
    ),
    (
        &[("sequences/order.toml", "priority = 5", "priority = 500")],
        &[
            "sequences/order.toml:7:12: `priority` is out of range\n  mend: write a whole number from -100 to 100",
        ],
    ),
    (
        &[("sequences/order.toml", "priority = 5", "inside = \"stay\"")],
        &["sequences/order.toml:7:10: `inside` can't be \"stay\"\n  mend: known here: `finish`, `move`"],
    ),
    (
        &[("sequences/order.toml", "\"09:00-20:00\"", "\"9-20\"")],
        &[
            "sequences/order.toml:8:9: `hours` can't be \"9-20\"\n  mend: write two clock times: `09:00-20:00`",
        ],
    ),
    (
        &[("sequences/order.toml", "\"09:00-20:00\"", "\"22:00-23:00\"")],
        &[
            "sequences/order.toml:8:9: its hours and those of `[sending]` leave no time for its mails\n  mend: let `hours` and `weekdays` reach into what `quiet_hours` and `weekdays` of funnel.toml leave",
        ],
    ),
    (
        &[("sequences/order.toml", "hours = \"09:00-20:00\"", "weekdays = [\"mon\"]")],
        &[
            "sequences/order.toml:8:13: no weekday is called `mon`\n  mend: known here: `monday`, `tuesday`, `wednesday`, `thursday`, `friday`, `saturday`, `sunday`",
        ],
    ),
    (
        &[("sequences/order.toml", "if = 'stage < \"customer\"'", "if = 'stage < \"custommer\"'")],
        &["sequences/order.toml:6:15: there is no stage `custommer`\n  mend: did you mean `customer`?"],
    ),
    (
        &[("sequences/order.toml", "if = 'stage < \"customer\"'", "if = 'happened(\"ordered\")'")],
        &[
            "sequences/order.toml:6:7: `happened` asks about the time since somebody entered a sequence: only its steps know that\n  mend: write `ever`",
        ],
    ),
    (
        &[("sequences/webinar.toml", "anchor = \"webinar\"", "anchor = \"webiner\"")],
        &["sequences/webinar.toml:5:10: no anchor is called `webiner`\n  mend: did you mean `webinar`?"],
    ),
    (
        &[("sequences/webinar.toml", "anchor = \"webinar\"", "anchor = \"consultation\"")],
        &[
            "sequences/webinar.toml:5:10: this sequence knows no `consultation`\n  mend: enter it by a consultation only, or count from the entry: delete `anchor`",
        ],
    ),
    (
        &[("sequences/webinar.toml", "anchor = \"webinar\"\n", "")],
        &[
            "sequences/webinar.toml:6:1: step `before` lies before the sequence begins\n  mend: write a time from then on: `+1d 07:00`",
        ],
    ),
    (
        &[("sequences/order.toml", "tag = \"buyer\"", "tag = \"buyer\"\nuntag = \"fan\"")],
        &[
            "sequences/order.toml:10:1: this step does two things: `tag` and `untag`\n  mend: write a step for each",
        ],
    ),
    (
        &[("sequences/order.toml", "tag = \"buyer\"\n", "")],
        &[
            "segments.toml:4:11: warning: nobody gives the tag `buyer`\n  mend: give it in a step: `tag = \"…\"`; a tag that somebody gives by hand is fine",
            "sequences/order.toml:10:1: this step does nothing\n  mend: write one of `send`, `wait_for`, `branch`, `split`, `tag`, `untag`, `attribute`, `stage`, `task`, `notice`, `webhook`",
        ],
    ),
    (
        &[("sequences/order.toml", "tag = \"buyer\"", "tga = \"buyer\"")],
        &[
            "segments.toml:4:11: warning: nobody gives the tag `buyer`\n  mend: give it in a step: `tag = \"…\"`; a tag that somebody gives by hand is fine",
            "sequences/order.toml:10:1: this step does nothing\n  mend: write one of `send`, `wait_for`, `branch`, `split`, `tag`, `untag`, `attribute`, `stage`, `task`, `notice`, `webhook`",
            "sequences/order.toml:12:1: unknown key `tga` in [[steps]]\n  mend: known here: `attribute`, `branch`, `id`, `next`, `notice`, `send`, `split`, `stage`, `tag`, `task`, `untag`, `wait_for`, `webhook`, `when`",
        ],
    ),
    (
        &[("sequences/order.toml", "id = \"buyer\"", "id = \"end\"")],
        &[
            "sequences/order.toml:11:6: no step can be called `end`\n  mend: give it another id: the word means something else",
        ],
    ),
    (
        &[("sequences/order.toml", "within = \"3d\"\n", "")],
        &[
            "sequences/order.toml:14:1: a wait without an end\n  mend: write how long at most: `within = \"3d\"`",
        ],
    ),
    (
        &[("sequences/order.toml", "within = \"3d\"", "within = \"now\"")],
        &[
            "sequences/order.toml:17:10: the wait is over at once\n  mend: write a time: `within = \"3d\"`, or `branch` instead of `wait_for`",
        ],
    ),
    (
        &[("sequences/order.toml", "then = \"offer\"", "then = \"ofer\"")],
        &["sequences/order.toml:18:8: there is no step `ofer` below\n  mend: did you mean `offer`?"],
    ),
    (
        &[("sequences/order.toml", "else = \"ask\"", "else = \"buyer\"")],
        &[
            "sequences/order.toml:19:8: `else` leads back to `buyer`: nobody may go round in circles\n  mend: lead to a step below, or to \"end\"",
        ],
    ),
    (
        &[("sequences/order.toml", "else = \"ask\"", "else = \"read\"")],
        &[
            "sequences/order.toml:19:8: `else` leads back to `read`: nobody may go round in circles\n  mend: lead to a step below, or to \"end\"",
        ],
    ),
    (
        &[("sequences/order.toml", "else = \"ask\"", "else = \"offer\"")],
        &[
            "sequences/order.toml:14:1: warning: `then` and `else` both lead to `offer`\n  mend: let them lead to different steps",
            "sequences/order.toml:21:1: no step leads to `ask`\n  mend: lead to it by `next`, `then`, `else` or `split` of a step above, or delete it",
        ],
    ),
    (
        &[("sequences/order.toml", "else = \"ask\"", "else = \"ask\"\nnext = \"end\"")],
        &[
            "sequences/order.toml:14:1: `next` is not for a step that decides\n  mend: write `then` and `else`, or the steps of the `split`",
        ],
    ),
    (
        &[("sequences/order.toml", "\"offer-b\" = 50", "\"offer-b\" = 0")],
        &[
            "sequences/order.toml:30:27: the weight of `offer-b` is out of range\n  mend: write a whole number from 1 to 1000",
        ],
    ),
    (
        &[("sequences/order.toml", ", \"offer-b\" = 50", "")],
        &[
            "sequences/order.toml:30:9: a split leads to one step only\n  mend: write two at least, with their weights: `split = { \"offer-a\" = 50, \"offer-b\" = 50 }`",
        ],
    ),
    (
        &[("sequences/order.toml", "\"offer-b\" = 50", "\"end\" = 50")],
        &[
            "sequences/order.toml:30:27: a split can't lead to the end\n  mend: let it lead to a step whose `next` is \"end\"",
        ],
    ),
    (
        &[("sequences/order.toml", "for = \"owner\"", "for = \"onwer\"")],
        &["sequences/order.toml:24:7: there is no member of the team `onwer`\n  mend: did you mean `owner`?"],
    ),
    (
        &[("sequences/order.toml", "for = \"owner\"\n", "")],
        &["sequences/order.toml:21:1: `for` is missing in [[steps]]\n  mend: write `for = \"owner\"`"],
    ),
    (
        &[("sequences/order.toml", "due = \"1d\"", "due = \"1 day\"")],
        &[
            "sequences/order.toml:25:7: `due` can't be \"1 day\"\n  mend: write `now`, `2h` or `3d` (after the step before), `1d 07:00`, `07:00`, `tuesday 10:00`, or with a sign from the anchor: `+3d`, `-2h`, `+1d 07:00`",
        ],
    ),
    (
        &[("sequences/order.toml", "send = \"day-2\"", "webhook = \"http://example.com\"")],
        &[
            "sequences/order.toml:40:11: `webhook` can't be \"http://example.com\"\n  mend: write a URL that begins with `https://`",
        ],
    ),
    (
        &[("sequences/order.toml", "send = \"day-2\"", "stage = \"costumer\"")],
        &["sequences/order.toml:40:9: `stage` can't be \"costumer\"\n  mend: did you mean `customer`?"],
    ),
    (
        &[(
            "sequences/order.toml",
            "send = \"day-2\"",
            "notice = \"買いました\"\nfor = \"owner\"\ndue = \"1d\"",
        )],
        &[
            "sequences/order.toml:42:1: unknown key `due` in [[steps]]\n  mend: known here: `attribute`, `branch`, `for`, `id`, `next`, `notice`, `send`, `split`, `stage`, `tag`, `task`, `untag`, `wait_for`, `webhook`, `when`",
        ],
    ),
    (
        &[("sequences/webinar.toml", "{ industry = \"金融\" }", "{ industry = \"金属\" }")],
        &["sequences/webinar.toml:21:15: `industry` is never \"金属\"\n  mend: did you mean `金融`?"],
    ),
    (
        &[("sequences/webinar.toml", "{ industry = \"金融\" }", "{ employees = \"100\" }")],
        &["sequences/webinar.toml:21:15: `employees` is a number\n  mend: write `employees = 100`"],
    ),
    (
        &[("sequences/webinar.toml", "{ industry = \"金融\" }", "{ size = 3 }")],
        &[
            "sequences/webinar.toml:21:15: there is no attribute `size`\n  mend: known here: `industry`, `employees`",
        ],
    ),
    (
        &[("sequences/webinar.toml", "{ industry = \"金融\" }", "{}")],
        &[
            "sequences/webinar.toml:21:13: nothing is noted\n  mend: write `attribute = { industry = \"IT\" }`",
        ],
    ),
    (
        &[("segments.toml", "band == \"hot\"", "band == \"hott\"")],
        &["segments.toml:4:32: there is no band `hott`\n  mend: did you mean `hot`?"],
    ),
    (
        &[("segments.toml", "segment(\"fans\")", "segment(\"it\")")],
        &["segments.toml:9:15: there is no segment `it`\n  mend: known here: `fans`"],
    ),
    (
        &[("segments.toml", "tag(\"buyer\")", "tag(\"byer\")")],
        &["segments.toml:4:11: warning: nobody gives the tag `byer`\n  mend: did you mean `buyer`?"],
    ),
    (
        &[("sequences/order.toml", "opened(\"day-1\")", "opened(\"onboarding-day-9\")")],
        &[
            "sequences/order.toml:16:20: there is no mail `onboarding-day-9`\n  mend: did you mean `onboarding-day-1`?",
        ],
    ),
    (
        &[("sequences/order.toml", "\"booking_url\"", "\"apply_url\"")],
        &[
            "sequences/order.toml:16:49: the mail `day-4` has no link `apply_url`\n  mend: write a URL variable of the mail, such as `booking_url`, or a piece of a URL in it",
        ],
    ),
    (
        &[("sequences/order.toml", "opened(\"day-1\")", "source == \"tiktok\"")],
        &[
            "sequences/order.toml:16:23: warning: simulation.toml knows no source `tiktok`\n  mend: known here: `ads`, `instagram`, `referral`, `youtube`",
        ],
    ),
    (
        &[("sequences/webinar.toml", "== \"IT\"", "== \"it\"")],
        &["sequences/webinar.toml:14:33: `industry` is never \"it\"\n  mend: known here: `IT`, `金融`"],
    ),
    (
        &[("scores.toml", "'attribute.employees >= 100'", "'score >= 100'")],
        &[
            "scores.toml:2:6: points for what a person is can't ask for the score\n  mend: ask for attributes, tags or the stage; `[[behaviour]]` and `[[decay]]` count the rest",
        ],
    ),
    (
        &[("scores.toml", "'attribute.employees >= 100'", "'segment(\"fans\")'")],
        &[
            "scores.toml:2:6: points for what a person is can't ask for the score\n  mend: ask for attributes, tags or the stage; `[[behaviour]]` and `[[decay]]` count the rest",
        ],
    ),
    (
        &[("scores.toml", "{ page = \"checklist\" }", "{ tag = \"buyer\" }")],
        &["scores.toml:6:8: unknown key `tag` in `on`\n  mend: known here: `download`, `fact`, `page`"],
    ),
    (
        &[("scores.toml", "points = 20", "points = 0")],
        &[
            "scores.toml:13:10: a rule that gives nothing\n  mend: write a number of points, below 0 to take them",
        ],
    ),
    (
        &[("scores.toml", "once = \"day\"", "once = \"week\"")],
        &["scores.toml:9:8: `once` can't be \"week\"\n  mend: known here: `day`, `ever`"],
    ),
    (
        &[("scores.toml", "from = 50", "from = 0")],
        &[
            "scores.toml:27:8: the band `cold` begins there too\n  mend: let each band begin at a score of its own",
        ],
    ),
    (
        &[("scores.toml", "[[bands]]", "[[decay]]\nafter_days = 30\npoints = 3\n\n[[bands]]")],
        &["scores.toml:20:14: 30 days of silence are there twice\n  mend: write one `[[decay]]` for them"],
    ),
    (
        &[("broadcasts/news.toml", "segment = \"it\"", "segment = \"its\"")],
        &["broadcasts/news.toml:3:11: there is no segment `its`\n  mend: did you mean `it`?"],
    ),
    (
        &[("broadcasts/news.toml", "mail = \"day-7\"", "mail = \"onboarding-day-7\"")],
        &[
            "broadcasts/news.toml:2:8: mail `onboarding-day-7` tells `plan_name`, which this sequence does not know\n  mend: send it from a sequence whose every `entry` is of the kind `customer_paid`, or take the variable out",
            "broadcasts/news.toml:2:8: the mail `onboarding-day-7` is transactional: nobody has asked for a broadcast\n  mend: send a mail with `class = \"marketing\"`",
        ],
    ),
    (
        &[("broadcasts/news.toml", "per_hour = 500", "per_hour = 3")],
        &[
            "broadcasts/news.toml:4:12: `per_hour` is out of range\n  mend: write a whole number from 4 to 1000000",
        ],
    ),
    (
        &[("broadcasts/news.toml", "mail = \"day-7\"", "mail = \"day-9\"")],
        &["broadcasts/news.toml:2:8: there is no mail `day-9`\n  mend: did you mean `day-1`?"],
    ),
    (
        &[("sequences/webinar.toml", "exit = []", "exit = [{ enters = \"order\" }]")],
        &[
            "sequences/order.toml: `order` and `webinar` each end when the other one begins\n  mend: decide which of them goes before the other, and delete `enters` there",
        ],
    ),
    (
        &[
            ("sequences/order.toml", "{ score_rises_to = 50 }", "{ tag = \"seen\" }"),
            ("sequences/webinar.toml", "anchor = \"webinar\"", "again = true"),
            (
                "sequences/webinar.toml",
                "entry = [{ fact = \"attended\" }]",
                "entry = [{ fact = \"attended\" }, { tag = \"buyer\" }]",
            ),
            ("sequences/webinar.toml", "attribute = { industry = \"金融\" }", "tag = \"seen\""),
            ("sequences/webinar.toml", "\"-1d 18:00\"", "\"1d 18:00\""),
            ("sequences/webinar.toml", "\"+1d 18:00\"", "\"1d 18:00\""),
        ],
        &[
            "sequences/order.toml: `order` and `webinar` set each other going again and again\n  mend: delete `again` here, or enter it by something else",
        ],
    ),
    (
        &[("sequences/order.toml", "within = \"3d\"", "within = \"30d\"")],
        &[
            "sequences/order.toml: warning: it can last 37 days, and holds back `follow-up` and all others of lower priority so long\n  mend: lower its `priority`, or make it at most 30 days long",
        ],
    ),
    (
        &[(
            "simulation.toml",
            "[mails]",
            "[[behaviour]]\nfact = \"ordered\"\nof = 300\nafter = \"attended\"\nafter_hours = [1, 2]\n\n[mails]",
        )],
        &[
            "simulation.toml:49:9: nothing called `attended` happens in a simulation\n  mend: known here: `opted_in`, `consultation_booked`, `consultation_held`, `customer_paid`, `ordered`",
        ],
    ),
    (
        &[("scores.toml", "[[bands]]", "[[band]]")],
        &["scores.toml:19:3: unknown key `band`\n  mend: did you mean `bands`?"],
    ),
    (
        &[
            ("sequences/webinar.toml", "\"+1d 18:00\"\nthen", "\"1d\"\nthen"),
            (
                "sequences/webinar.toml",
                "else = \"after\"",
                "else = \"after\"\n\n[[steps]]\nid = \"lost\"\ntag = \"lost\"\nnext = \"end\"",
            ),
        ],
        &[
            "sequences/webinar.toml:19:1: no step leads to `lost`\n  mend: lead to it by `next`, `then`, `else` or `split` of a step above, or delete it",
        ],
    ),
    (
        &[("broadcasts/news.toml", "mail = \"day-7\"\n", "")],
        &["broadcasts/news.toml: `mail` is missing\n  mend: write `mail = \"year-end\"`"],
    ),
    (
        &[("segments.toml", "name = \"ファン\"\n", "")],
        &["segments.toml:1:1: `name` is missing in [[segments]]\n  mend: write `name = \"ホットリード\"`"],
    ),
    (
        &[("sequences/order.toml", "wait_for = 'opened", "wait_for = 'opend")],
        &["sequences/order.toml:16:13: a condition can't begin with `opend`\n  mend: did you mean `opened`?"],
    ),
    (
        &[("sequences/order.toml", "wait_for = 'opened(\"day-1\") or ", "wait_for = 'opened(\"day-1\") || ")],
        &["sequences/order.toml:16:29: `|` is not understood\n  mend: write `or`"],
    ),
    (
        &[("sequences/order.toml", "name = \"注文のあと\"", "nam = \"注文のあと\"")],
        &[
            "sequences/order.toml: `name` is missing\n  mend: write `name = \"ウェルカムメール\"`",
            "sequences/order.toml:1:1: unknown key `nam`\n  mend: did you mean `name`?",
        ],
    ),
    (
        &[(
            "sequences/webinar.toml",
            "entry = [{ fact = \"attended\" }]",
            "entry = [{ fact = \"attended\" }, \"customer_paid\"]",
        )],
        &[
            "sequences/webinar.toml: `customer_paid` is about something else than the facts before it in `entry`\n  mend: write a sequence of its own for it",
        ],
    ),
    (
        &[(
            "sequences/order.toml",
            "tag = \"buyer\"",
            "task = \"電話する\"\nfor = \"owner\"\nwithin = \"3d\"",
        )],
        &[
            "segments.toml:4:11: warning: nobody gives the tag `buyer`\n  mend: give it in a step: `tag = \"…\"`; a tag that somebody gives by hand is fine",
            "sequences/order.toml:14:1: unknown key `within` in [[steps]]\n  mend: known here: `attribute`, `branch`, `due`, `for`, `id`, `next`, `notice`, `send`, `split`, `stage`, `tag`, `task`, `untag`, `wait_for`, `webhook`, `when`",
        ],
    ),
    (
        &[("sequences/order.toml", "tag = \"buyer\"", "tag = buyer")],
        &[
            "sequences/order.toml:12:7: not TOML: string values must be quoted, expected literal string\n  mend: write `key = value` lines under `[table]` headings",
        ],
    ),
    (
        &[(
            "sequences/order.toml",
            "next = \"end\"\n\n[[steps]]\nid = \"offer\"",
            "next = \"read\"\n\n[[steps]]\nid = \"offer\"",
        )],
        &[
            "sequences/order.toml:26:8: `next` leads back to `read`: nobody may go round in circles\n  mend: lead to a step below, or to \"end\"",
        ],
    ),
    (
        &[("sequences/order.toml", "\"booking_url\"", "\"preferences_url\"")],
        &[
            "sequences/order.toml:16:49: nobody hears of clicks on `preferences_url`: it holds the person's own key\n  mend: ask for what follows from it: `ever(\"unsubscribed\")`, `ever(\"preferences_changed\")`",
        ],
    ),
];

#[test]
fn all_slips_are_told_at_once() {
    let funnel = Copy::new("all");
    funnel.edit(("funnel.toml", "time_zone = \"Asia/Tokyo\"", "time_zone = \"Asia/Tokio\""));
    funnel.edit(("sequences/welcome.toml", "send = \"welcome\"", "send = \"welcom\""));
    fs::remove_file(funnel.0.join("pages/paid.md")).unwrap();
    fs::write(funnel.0.join("mails/Day 8.md"), "+++\n+++\n").unwrap();
    let files: Vec<String> =
        funnel.problems().iter().map(|problem| problem.split(": ").next().unwrap().to_owned()).collect();
    assert_eq!(files, ["funnel.toml:6:13", "mails/Day 8.md", "pages/paid.md", "sequences/welcome.toml:11:8"]);
}

#[test]
fn a_funnel_starts_in_spite_of_warnings_but_not_of_errors() {
    let funnel = Copy::new("warned");
    funnel.edit(("pages/cases.md", "", "+++\ntitle = \"事例\"\ndescription = \"事例\"\n+++\n\n# 事例\n"));
    let checked = content::check(&funnel.0);
    let shown: Vec<String> = checked.problems.iter().map(|p| serde_json::to_string(p).unwrap()).collect();
    assert_eq!(
        shown,
        [
            r#"{"file":"pages/cases.md","line":null,"column":null,"severity":"warning","what":"nothing leads to this page","mend":"link to it: `{{ public_url }}/pages/cases`, or delete it"}"#
        ]
    );
    assert!(checked.funnel.is_some() && Funnel::load(&funnel.0).is_ok());
    funnel.edit(("funnel.toml", "locale = \"ja\"", "locale = \"jp\""));
    let errors = Funnel::load(&funnel.0).map(drop).unwrap_err();
    assert!(errors.iter().all(content::Problem::is_error) && errors.len() == 1);
}

#[test]
fn a_sequence_without_end_and_an_id_without_end_are_refused() {
    let funnel = Copy::new("endless");
    let steps: String =
        (0..101).map(|step| format!("\n[[steps]]\nid = \"s-{step}\"\nsend = \"day-1\"\n")).collect();
    let sequence =
        format!("name = \"長い\"\nclass = \"marketing\"\nentry = [\"opted_in\"]\nexit = []\n{steps}");
    funnel.edit(("sequences/long.toml", "", &sequence));
    let name = "x".repeat(60);
    funnel.edit((&format!("broadcasts/{name}.toml"), "", "name = \"お知らせ\"\nmail = \"day-1\"\n"));
    assert_eq!(
        funnel.problems(),
        [
            &format!(
                "broadcasts/{name}.toml: the file's name is too long\n  mend: name it in 54 letters at most"
            ),
            "sequences/long.toml: the sequence has 101 steps\n  mend: write 100 at most, and a second sequence"
        ]
    );
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
    copy.edit(("funnel.toml", "locale = \"ja\"", "locale = \"en\""));
    let funnel = copy.load();
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
        booking_url: None,
        apply_url: None,
        preferences_url: "https://michi.example.com/preferences".into(),
        unsubscribe_url: "https://michi.example.com/unsubscribe".into(),
        confirm_url: None,
        attributes: BTreeMap::new(),
        values: BTreeMap::new(),
        now: person::now(),
        consultation: None,
        purchase: None,
    };
    let mail = funnel.mails().find(|mail| mail.id.as_str() == "welcome").unwrap();
    let lead = person::lead();
    let rendered = funnel.render(mail, &person, &person::known(&lead, &Scoring::default())).unwrap();
    assert!(
        rendered.text.ends_with("Unsubscribe: https://michi.example.com/unsubscribe\n"),
        "{}",
        rendered.text
    );
    assert!(rendered.html.contains("<html lang=\"en\"") && rendered.html.contains("Sender: "));
}
