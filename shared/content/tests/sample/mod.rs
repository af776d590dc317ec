//! Copies of a small funnel that a test may spoil.
#![allow(dead_code, reason = "not every test makes use of everything")]

use std::fs;
use std::path::{Path, PathBuf};

use content::Funnel;

/// A copy of `sample/funnel` that is removed after the test.
pub struct Copy(pub PathBuf);

/// A file, what stands there, and what is written instead. Where nothing stands, it is written at
/// the end of the file, which may be new.
pub type Edit<'a> = (&'a str, &'a str, &'a str);

impl Copy {
    pub fn new(name: &str) -> Self {
        let to = std::env::temp_dir().join(format!("michi-content-{}-{name}", std::process::id()));
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sample/funnel"), &to);
        Self(to)
    }

    /// The same with what that funnel lacks: attributes, facts, dates, scores and so on.
    pub fn rich(name: &str) -> Self {
        let funnel = Self::new(name);
        RICH.iter().for_each(|(file, text)| funnel.edit((file, "", text)));
        funnel
    }

    pub fn edit(&self, (file, from, to): Edit<'_>) {
        let path = self.0.join(file);
        if from.is_empty() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let before = fs::read_to_string(&path).unwrap_or_default();
            return fs::write(path, before + to).unwrap();
        }
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from:?}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    /// Everything that is wrong, as it is shown.
    pub fn problems(&self) -> Vec<String> {
        content::check(&self.0).problems.iter().map(ToString::to_string).collect()
    }

    pub fn load(&self) -> Funnel {
        Funnel::load(&self.0).unwrap_or_else(|problems| panic!("{}", content::problem::report(&problems)))
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

/// What the small funnel lacks.
const RICH: &[(&str, &str)] = &[
    (
        "funnel.toml",
        r#"
[[attributes]]
id = "industry"
name = "業種"
kind = "choice"
choices = ["IT", "金融"]
ask = true

[[attributes]]
id = "employees"
name = "従業員数"
kind = "number"
ask = true

[[facts]]
id = "ordered"
name = "注文した"

[[facts]]
id = "attended"
name = "参加した"

[dates]
webinar = "2027-03-20 20:00"

[[team]]
id = "owner"
name = "道野あかり"
address = "owner@example.com"

[sending]
quiet_hours = "21:00-07:00"
"#,
    ),
    (
        "scores.toml",
        r#"[[fit]]
if = 'attribute.employees >= 100'
points = 15

[[behaviour]]
on = { page = "checklist" }
points = 10
at_most = 30
once = "day"

[[behaviour]]
on = { fact = "attended" }
points = 20

[[decay]]
after_days = 30
points = 5

[[bands]]
id = "cold"
name = "コールド"
from = 0

[[bands]]
id = "hot"
name = "ホット"
from = 50
"#,
    ),
    (
        "segments.toml",
        r#"[[segments]]
id = "fans"
name = "ファン"
if = 'tag("buyer") and band == "hot"'

[[segments]]
id = "it"
name = "ITのファン"
if = 'segment("fans") and attribute.industry == "IT"'
"#,
    ),
    (
        "broadcasts/news.toml",
        r#"name = "お知らせ"
mail = "day-7"
segment = "it"
per_hour = 500
"#,
    ),
    (
        "sequences/order.toml",
        r#"name = "注文のあと"
class = "marketing"
entry = [{ fact = "ordered" }, { score_rises_to = 50 }]
exit = [{ enters = "webinar" }]
again = true
if = 'stage < "customer"'
priority = 5
hours = "09:00-20:00"

[[steps]]
id = "buyer"
tag = "buyer"

[[steps]]
id = "read"
wait_for = 'opened("day-1") or clicked("day-4", "booking_url")'
within = "3d"
then = "offer"
else = "ask"

[[steps]]
id = "ask"
task = "電話する"
for = "owner"
due = "1d"
next = "end"

[[steps]]
id = "offer"
split = { "offer-a" = 50, "offer-b" = 50 }
when = "tuesday 10:00"

[[steps]]
id = "offer-a"
send = "day-1"
next = "end"

[[steps]]
id = "offer-b"
send = "day-2"
"#,
    ),
    (
        "sequences/webinar.toml",
        r#"name = "セミナー"
class = "marketing"
entry = [{ fact = "attended" }]
exit = []
anchor = "webinar"

[[steps]]
id = "before"
send = "day-1"
when = "-1d 18:00"

[[steps]]
id = "it"
branch = 'attribute.industry == "IT"'
when = "+1d 18:00"
then = "end"
else = "after"

[[steps]]
id = "after"
attribute = { industry = "金融" }
"#,
    ),
];
