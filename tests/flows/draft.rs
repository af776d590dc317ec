//! Small funnels, written down in a test as a marketer would write them.

use std::{fs, path::Path, sync::Arc};

use content::Funnel;
use michi::functions::load_funnel;
use tempfile::TempDir;

/// A funnel's directory in the making.
pub struct Draft(TempDir);

const CONFIG: &str = r##"
name = "見本"
locale = "ja"
time_zone = "Asia/Tokyo"
currency = "JPY"

[sender]
name = "見本"
address = "shop@example.com"
reply_to = "shop@example.com"
postal_address = "東京都千代田区見本町1-2-3"
contact = "shop@example.com"

[brand]
colour = "#1f5c4d"
logo = "見本"

[[lead_magnets]]
id = "guide"
title = "手引き"
page = "guide"

[[lead_magnets]]
id = "catalogue"
title = "カタログ"
page = "guide"

[[topics]]
id = "news"
name = "お知らせ"

[[attributes]]
id = "industry"
name = "業種"
kind = "choice"
choices = ["IT", "金融"]

[[attributes]]
id = "employees"
name = "従業員数"
kind = "number"

[[facts]]
id = "cart-updated"
name = "カートに入れた"

[[facts]]
id = "ordered"
name = "注文した"

[[team]]
id = "owner"
name = "店主"
address = "owner@shop.example.com"

[dates]
fair = "2027-03-20 20:00"
"##;

const SIMULATION: &str = r#"
[visits]
opt_in = 500
hours = [2, 1, 1, 1, 1, 2, 4, 7, 7, 5, 4, 4, 8, 6, 4, 4, 4, 5, 6, 8, 10, 11, 9, 5]
[sources]
instagram = 1
[[people]]
name = "ふつう"
share = 1000
open = 300
click = 50
unsubscribe = 3
[mails]
machine_open = 0
bounce = 0
complaint = 0
open_after_minutes = [3, 900]
click_after_minutes = [1, 15]
"#;

const PAGES: [(&str, &str); 8] = [
    ("landing", "opt_in"),
    ("preferences", "preferences"),
    ("unsubscribe", "unsubscribe"),
    ("thanks", ""),
    ("unsubscribed", ""),
    ("privacy", ""),
    ("guide", ""),
    ("pricing", ""),
];

impl Draft {
    /// A shop without sequences.
    pub fn new() -> Self {
        let draft = Self(tempfile::tempdir().unwrap());
        draft.write("funnel.toml", &format!("{CONFIG}\n[consent]\ntext = \"同意します。\"\n"));
        draft.write("goals.toml", "");
        draft.write("simulation.toml", SIMULATION);
        for (id, form) in PAGES {
            draft.page(id, form);
        }
        for folder in ["mails", "sequences"] {
            fs::create_dir_all(draft.path().join(folder)).unwrap();
        }
        draft
    }

    /// A ready funnel, to be changed.
    pub fn copy_of(funnel: &str) -> Self {
        let draft = Self(tempfile::tempdir().unwrap());
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../funnels").join(funnel);
        let mut folders = vec![from.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                match entry.path().is_dir() {
                    true => folders.push(entry.path()),
                    false => {
                        let path = entry.path();
                        let name = path.strip_prefix(&from).unwrap().to_str().unwrap();
                        draft.write(name, &fs::read_to_string(&path).unwrap());
                    }
                }
            }
        }
        draft
    }

    /// The same with another text in a file.
    pub fn replace(self, file: &str, from: &str, to: &str) -> Self {
        let before = fs::read_to_string(self.path().join(file)).unwrap();
        assert!(before.contains(from), "{file} has no {from:?}");
        self.write(file, &before.replace(from, to));
        self
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn page(&self, id: &str, form: &str) {
        let (key, place) = match form {
            "" => (String::new(), ""),
            form => (format!("form = \"{form}\"\n"), "{{ form }}\n"),
        };
        let page = format!("+++\ntitle = \"{id}\"\ndescription = \"{id}\"\n{key}+++\n\n# {id}\n\n{place}");
        self.write(&format!("pages/{id}.md"), &page);
    }

    /// Any file.
    pub fn file(self, file: &str, text: &str) -> Self {
        self.write(file, text);
        self
    }

    /// More lines at the end of funnel.toml.
    pub fn config(self, text: &str) -> Self {
        let path = self.path().join("funnel.toml");
        let before = fs::read_to_string(&path).unwrap();
        self.write("funnel.toml", &format!("{before}\n{text}\n"));
        self
    }

    /// The same with an address that has to be confirmed. The sequence `confirm` asks for it, with these
    /// lines more.
    pub fn double_opt_in(self, more: &str) -> Self {
        let path = self.path().join("funnel.toml");
        let before = fs::read_to_string(&path).unwrap();
        self.write(
            "funnel.toml",
            &before.replace("text = \"同意します。\"", "text = \"同意します。\"\ndouble = true"),
        );
        self.page("confirm", "confirm");
        self.page("confirmed", "");
        let question = mail_text("confirm", "transactional", "", "[登録を確定する]({{ confirm_url }})\n");
        let asks = format!(
            "entry = [\"opt_in_requested\"]\n{more}\n\n[[steps]]\nid = \"ask\"\nsend = \"confirm\"\n"
        );
        self.file("mails/confirm.md", &question).transactional("confirm", &asks)
    }

    /// A sequence of marketing mails; every mail that it sends is written too.
    pub fn sequence(self, id: &str, text: &str) -> Self {
        self.of_class(id, "marketing", text)
    }

    /// The same of mails that people asked for.
    pub fn transactional(self, id: &str, text: &str) -> Self {
        self.of_class(id, "transactional", text)
    }

    fn of_class(self, id: &str, class: &str, text: &str) -> Self {
        for line in text.lines() {
            if let Some(mail) = line.trim().strip_prefix("send = ") {
                let mail = mail.trim_matches('"');
                if !self.path().join(format!("mails/{mail}.md")).exists() {
                    self.write(
                        &format!("mails/{mail}.md"),
                        &mail_text(mail, class, "", "こんにちは。\n\n[見る]({{ download_url }})\n"),
                    );
                }
            }
        }
        self.write(&format!("sequences/{id}.toml"), &format!("name = \"{id}\"\nclass = \"{class}\"\n{text}"));
        self
    }

    /// A marketing mail with its own front matter lines and text.
    pub fn mail(self, id: &str, front_matter: &str, body: &str) -> Self {
        self.write(&format!("mails/{id}.md"), &mail_text(id, "marketing", front_matter, body));
        self
    }

    pub fn load(&self) -> Arc<Funnel> {
        load_funnel(self.path()).unwrap_or_else(|error| panic!("{error}"))
    }
}

fn mail_text(id: &str, class: &str, front_matter: &str, body: &str) -> String {
    format!(
        "+++\nsubject = \"{id}\"\npreheader = \"{id}\"\nclass = \"{class}\"\n{front_matter}\n+++\n\n{body}"
    )
}
