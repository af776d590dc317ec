//! Mails that say different things to different people, and what is wrong with some.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fs;

use chrono_tz::Tz;
use content::page::PreferencesForm;
use content::{Form, FormError, Funnel, MailConsultation, MailContext, OptInForm, PageContext, RenderedMail};
use domain::condition::Needs;
use domain::id::Id;
use domain::lead::Lead;
use domain::score::Scoring;

mod person;
mod sample;

use sample::Copy;

/// What the small funnel lacks.
const FURTHER: &str = r#"
[[senders]]
id = "sales"
name = "道コーチング 営業部"
address = "sales@example.com"

[[topics]]
id = "news"
name = "お知らせ"

[[topics]]
id = "lessons"
name = "学びのメール"

[[attributes]]
id = "industry"
name = "業種"
kind = "choice"
choices = ["IT", "金融", "その他"]
ask = true

[[attributes]]
id = "staff-count"
name = "従業員数"
kind = "number"
ask = true

[[attributes]]
id = "company"
name = "会社名"
kind = "text"
ask = true

[[attributes]]
id = "rank"
name = "会員ランク"
kind = "text"

[dates]
webinar = "2027-03-20 20:00"
early-bird = "2027-03-01 23:59"
"#;

/// A copy of the small funnel with more in it.
struct Trial(Copy);

impl Trial {
    fn new(name: &str) -> Self {
        let trial = Self(Copy::new(&format!("mails-{name}")));
        trial.0.edit(("funnel.toml", "", FURTHER));
        trial
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.0.0.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A marketing mail of this text, with further lines in its front matter.
    fn mail(&self, front: &str, body: &str) {
        let head = "subject = \"お知らせ\"\npreheader = \"ご案内です。\"\nclass = \"marketing\"\n";
        self.write("mails/trial.md", &format!("+++\n{head}{front}+++\n\n{body}\n"));
    }

    fn load(&self) -> Funnel {
        self.0.load()
    }

    /// What is wrong with files whose names begin so.
    fn problems(&self, file: &str) -> Vec<String> {
        let problems = content::check(&self.0.0).problems;
        let errors = problems.iter().filter(|problem| problem.is_error());
        errors.filter(|problem| problem.file.starts_with(file)).map(ToString::to_string).collect()
    }

    fn remove(&self, file: &str, from: &str, until: &str) {
        let text = fs::read_to_string(self.0.0.join(file)).unwrap();
        let (before, rest) = text.split_once(from).unwrap();
        let after = rest.split_once(until).map_or(String::new(), |(_, after)| format!("{until}{after}"));
        self.write(file, &format!("{before}{after}"));
    }
}

fn context() -> MailContext {
    MailContext {
        name: None,
        time_zone: Tz::Asia__Tokyo,
        public_url: "https://michi.example.com".into(),
        lead_magnet: None,
        booking_url: Some("https://michi.example.com/booking?t=b1".into()),
        apply_url: Some("https://michi.example.com/apply?t=a1".into()),
        preferences_url: "https://michi.example.com/preferences?t=p1".into(),
        unsubscribe_url: "https://michi.example.com/unsubscribe?t=u1".into(),
        confirm_url: Some("https://michi.example.com/confirm?t=c1".into()),
        attributes: BTreeMap::new(),
        values: BTreeMap::new(),
        now: person::now(),
        consultation: None,
        purchase: None,
    }
}

fn industry(industry: &str) -> Lead {
    Lead { attributes: [("industry".to_owned(), industry.to_owned())].into(), ..person::lead() }
}

fn tagged(tags: &[&str]) -> Lead {
    Lead { tags: tags.iter().map(ToString::to_string).collect(), ..person::lead() }
}

fn rendered(funnel: &Funnel, context: &MailContext, lead: &Lead) -> RenderedMail {
    let mail = funnel.mail(&Id::parse("trial").unwrap()).unwrap();
    let context = MailContext { attributes: lead.attributes.clone(), ..context.clone() };
    funnel.render(mail, &context, &person::known(lead, &Scoring::default())).unwrap()
}

/// The text of a mail without its footer.
fn said(funnel: &Funnel, lead: &Lead) -> String {
    let mail = rendered(funnel, &context(), lead);
    mail.text.split("\n\n----------").next().unwrap().to_owned()
}

#[test]
fn what_is_known_of_a_person_decides_which_passages_she_gets() {
    let trial = Trial::new("passages");
    trial.write(
        "snippets/signature.md",
        "道コーチング\n{% if tag(\"vip\") %}\nいつもありがとうございます。\n{% endif %}\n",
    );
    trial.mail(
        "",
        r#"こんにちは。

{% if attribute.industry == "IT" %}
IT業界の事例をご紹介します。

{% if tag("vip") %}
とっておきの**1社**です。
{% endif %}
{% else %}
{{ attribute.industry | default("貴社の業界") }}の事例をご紹介します。
{% endif %}

- 資料
{% if not tag("booked") %}
- [個別相談]({{ booking_url }})
{% endif %}
- 動画

{% include "signature" %}"#,
    );
    let funnel = trial.load();
    insta::assert_snapshot!(said(&funnel, &person::lead()), @r#"
    こんにちは。

    貴社の業界の事例をご紹介します。

    ・資料
    ・個別相談: https://michi.example.com/booking?t=b1
    ・動画

    道コーチング
    "#);
    insta::assert_snapshot!(said(&funnel, &industry("金融")), @r#"
    こんにちは。

    金融の事例をご紹介します。

    ・資料
    ・個別相談: https://michi.example.com/booking?t=b1
    ・動画

    道コーチング
    "#);
    insta::assert_snapshot!(said(&funnel, &Lead { tags: vec!["vip".into(), "booked".into()], ..industry("IT") }), @r#"
    こんにちは。

    IT業界の事例をご紹介します。

    とっておきの1社です。

    ・資料
    ・動画

    道コーチング
    いつもありがとうございます。
    "#);
    let html = rendered(&funnel, &context(), &industry("IT")).html;
    assert!(html.contains("IT業界の事例") && !html.contains("貴社の業界") && !html.contains("とっておき"));
    let mail = funnel.mail(&Id::parse("trial").unwrap()).unwrap();
    assert_eq!(mail.needs(), Needs::default());
    assert!(mail.uses("attribute.industry") && mail.links_to("booking_url") && !mail.uses_fact_values());
}

#[test]
fn what_a_condition_looks_at_is_told_before() {
    let trial = Trial::new("needs");
    trial.mail("", "こんにちは。\n{% if opened(\"day-1\") %}\n1日目は{{ fact.score | default(\"—\") }}でした。\n{% endif %}");
    let funnel = trial.load();
    let mail = funnel.mail(&Id::parse("trial").unwrap()).unwrap();
    assert_eq!(mail.needs(), Needs { ledger: true, ..Needs::default() });
    assert!(mail.uses_fact_values());
}

#[test]
fn only_what_is_shown_needs_a_value() {
    let trial = Trial::new("shown");
    trial.write("snippets/appointment.md", "ご予約は\n{{ consultation_start }}からです。\n");
    trial.mail("", "こんにちは。\n\n{% if tag(\"booked\") %}\n{% include \"appointment\" %}\n{% endif %}");
    let funnel = trial.load();
    assert_eq!(said(&funnel, &person::lead()), "こんにちは。");
    let booked = MailContext {
        consultation: Some(MailConsultation {
            start: "2026-11-25T01:00:00Z".parse().unwrap(),
            manage_url: "https://michi.example.com/bookings/c-1?t=m1".into(),
        }),
        ..context()
    };
    let mail = rendered(&funnel, &booked, &tagged(&["booked"]));
    assert!(mail.text.contains("ご予約は\n11月25日(水) 10:00からです。"), "{}", mail.text);
    let mail = funnel.mail(&Id::parse("trial").unwrap()).unwrap();
    let (lead, scoring) = (tagged(&["booked"]), Scoring::default());
    let problem = funnel.render(mail, &context(), &person::known(&lead, &scoring)).unwrap_err();
    assert_eq!(problem.to_string(), "snippets/appointment.md:2: `{{ consultation_start }}`: it has no value");
}

#[test]
fn every_slip_of_a_passage_is_told_at_its_line() {
    let nine: String =
        (1..=9).map(|number| format!("{{% if tag(\"t{number}\") %}}\nx\n{{% endif %}}\n")).collect();
    let trial = Trial::new("slips");
    trial.write("snippets/signature.md", "道野あかり\n");
    for (body, expected) in [
        (
            "{% if tag(\"vip\") %}\nこんにちは",
            "mails/trial.md:7: this `{% if … %}` is never closed\n  mend: close it with `{% endif %}`",
        ),
        (
            "こんにちは\n{% endif %}",
            "mails/trial.md:8: `{% endif %}` without its `{% if … %}`\n  mend: write `{% if … %}` above it, one for each `{% endif %}`, with one `{% else %}` at most",
        ),
        (
            "{% if tag(\"vip\") %}\na\n{% else %}\nb\n{% else %}\nc\n{% endif %}",
            "mails/trial.md:11: `{% else %}` without its `{% if … %}`\n  mend: write `{% if … %}` above it, one for each `{% endif %}`, with one `{% else %}` at most",
        ),
        (
            "{% elif tag(\"vip\") %}",
            "mails/trial.md:7: `{% elif tag(\"vip\") %}` can't be read\n  mend: write `{% if … %}`, `{% else %}`, `{% endif %}` or `{% include \"…\" %}`, each alone in its line",
        ),
        (
            "{% if tag(\"vip\") %}こんにちは{% endif %}",
            "mails/trial.md:7: `{% if tag(\"vip\") %}こんにちは{% endif %}` can't be read\n  mend: write `{% if … %}`, `{% else %}`, `{% endif %}` or `{% include \"…\" %}`, each alone in its line",
        ),
        (
            "こんにちは{% if tag(\"vip\") %}",
            "mails/trial.md:7:6: `{%` is not understood here\n  mend: texts may hold `{{ variables }}`; in mails, `{% if … %}` and `{% include … %}` stand alone in their lines",
        ),
        (
            "{% include \"signatur\" %}",
            "mails/trial.md:7: there is no snippet `signatur`\n  mend: did you mean `signature`?",
        ),
        (
            &nine,
            "mails/trial.md:31: more than 8 conditions in one mail\n  mend: write several mails, and let a `branch` of the sequence choose",
        ),
        (
            "こんにちは\n\n{% if tag(\"vip\") %}\nこれは**太字です\n{% endif %}",
            "mails/trial.md:10: `**` without its other half\n  mend: close the bold text with `**`, or write `\\*\\*`",
        ),
    ] {
        trial.mail("", body);
        assert_eq!(trial.problems("mails/trial.md"), [expected], "{body}");
    }
}

#[test]
fn every_slip_of_a_snippet_is_told_once_in_its_own_file() {
    let trial = Trial::new("snippets");
    for (snippet, expected) in [
        (
            "道野あかり\n{{ name }}",
            "snippets/signature.md:2:1: `{{ name }}` has nothing to say to somebody who gave no name\n  mend: write `{{ name | default(\"あなた\") }}` or `{{ name | honorific(\"様\", \"こんにちは。\") }}`",
        ),
        (
            "道野あかり\n{% include \"other\" %}",
            "snippets/signature.md:2: a snippet can't include another\n  mend: write its text here, or include both in the mail",
        ),
        (
            "<b>道野あかり</b>",
            "snippets/signature.md:1: HTML can't be used\n  mend: write Markdown; `<` alone is written `\\<`",
        ),
        (
            "{% if tag(\"vip\") %}\n道野あかり",
            "snippets/signature.md:1: this `{% if … %}` is never closed\n  mend: close it with `{% endif %}`",
        ),
        ("\n", "snippets/signature.md: the snippet says nothing\n  mend: write its text, or delete the file"),
    ] {
        trial.write("snippets/signature.md", snippet);
        for body in ["こんにちは", "{% include \"signature\" %}\n\n---\n\n{% include \"signature\" %}"] {
            trial.mail("", body);
            assert_eq!(trial.problems("snippets"), [expected], "{snippet} in {body}");
        }
    }
}

#[test]
fn whatever_is_not_known_of_everybody_needs_another_text() {
    let trial = Trial::new("fallbacks");
    for (body, expected) in [
        (
            "{{ attribute.industry }}の事例",
            "mails/trial.md:7:1: `{{ attribute.industry }}` has nothing to say to somebody whose `業種` is not known\n  mend: write `{{ attribute.industry | default(\"…\") }}`",
        ),
        (
            "{{ attribute.staff-count }}名の会社",
            "mails/trial.md:7:1: `{{ attribute.staff-count }}` has nothing to say to somebody whose `従業員数` is not known\n  mend: write `{{ attribute.staff-count | default(\"…\") }}`",
        ),
        (
            "{{ attribute.company | default(name) }}へ",
            "mails/trial.md:7:1: `{{ attribute.company | default(name) }}` has nothing to say to somebody whose `会社名` is not known\n  mend: write `{{ attribute.company | default(\"…\") }}`",
        ),
        (
            "カートの{{ fact.items }}",
            "mails/trial.md:7:5: `{{ fact.items }}` has nothing to say if `items` was not told\n  mend: write `{{ fact.items | default(\"…\") }}`",
        ),
        (
            "{{ attribute.industri | default(\"x\") }}",
            "mails/trial.md:7:1: unknown variable `attribute.industri`\n  mend: did you mean `attribute.industry`?",
        ),
        (
            "{{ dates.webiner }}",
            "mails/trial.md:7:1: unknown variable `dates.webiner`\n  mend: did you mean `dates.webinar`?",
        ),
        (
            "{{ deadline }}まで",
            "mails/trial.md:7:1: `deadline` is not known: the mail makes no offer for a time\n  mend: write `offer_hours = 48` into its front matter",
        ),
        (
            "[会社]({{ attribute.company | default(\"https://example.com\") }})",
            "mails/trial.md:7: a link to nowhere\n  mend: write `https://…`, `mailto:…` or a URL variable such as `{{ booking_url }}`",
        ),
    ] {
        trial.mail("", body);
        assert_eq!(trial.problems("mails/trial.md"), [expected], "{body}");
    }
}

#[test]
fn what_another_system_told_is_shown_if_it_can_be() {
    let trial = Trial::new("facts");
    trial.mail(
        "",
        "カートに{{ fact.items | default(\"お選びいただいた品\") }}があります。\n\n[カートの続きを見る]({{ fact.cart_url | default(\"https://shop.example.com/cart\") }})",
    );
    let funnel = trial.load();
    let told = |items: &str, cart_url: &str| {
        let values = [("items".to_owned(), items.to_owned()), ("cart_url".to_owned(), cart_url.to_owned())];
        rendered(&funnel, &MailContext { values: values.into(), ..context() }, &person::lead())
    };
    let mail = told("<b>水筒</b> ほか2点", "https://shop.example.com/cart?id=1&b=2");
    assert!(mail.html.contains("カートに&lt;b&gt;水筒&lt;/b&gt; ほか2点があります。"));
    assert!(mail.html.contains("href=\"https://shop.example.com/cart?id=1&amp;b=2\""));
    let mail = told("  ", "javascript:alert(1)");
    assert!(mail.text.contains("カートにお選びいただいた品があります。"), "{}", mail.text);
    assert!(
        mail.html.contains("href=\"https://shop.example.com/cart\"") && !mail.html.contains("javascript")
    );
}

#[test]
fn a_mail_names_its_sender_its_topics_and_the_end_of_its_offer() {
    let trial = Trial::new("front");
    let body = "**{{ deadline }}まで**に、{{ dates.webinar }}のセミナー（早割は{{ dates.early-bird }}まで）をお選びください。";
    trial.mail("from = \"sales\"\ntopics = [\"news\", \"lessons\"]\noffer_hours = 49\n", body);
    let funnel = trial.load();
    let mail = funnel.mail(&Id::parse("trial").unwrap()).unwrap();
    assert_eq!(mail.topics.iter().map(Id::as_str).collect::<Vec<_>>(), ["news", "lessons"]);
    assert_eq!(mail.from.as_ref().map(Id::as_str), Some("sales"));
    let made = rendered(&funnel, &context(), &person::lead());
    assert_eq!(
        (made.from.name.as_str(), made.from.address.as_str()),
        ("道コーチング 営業部", "sales@example.com")
    );
    assert!(
        made.text.contains("送信者：道コーチング 道野あかり"),
        "the business stays the one that answers for it"
    );
    insta::assert_snapshot!(said(&funnel, &person::lead()), @"11月22日(日) 19:00までに、3月20日(土) 20:00のセミナー（早割は3月1日(月) 23:59まで）をお選びください。");
    let abroad = MailContext { time_zone: Tz::Europe__Berlin, ..context() };
    let abroad = rendered(&funnel, &abroad, &person::lead());
    insta::assert_snapshot!(abroad.text.lines().next().unwrap(), @"11月22日(日) 11:00（Europe/Berlin）までに、3月20日(土) 12:00（Europe/Berlin）のセミナー（早割は3月1日(月) 15:59（Europe/Berlin）まで）をお選びください。");
}

#[test]
fn every_slip_of_a_front_matter_is_told() {
    let trial = Trial::new("front-slips");
    for (front, expected) in [
        ("from = \"sale\"\n", "mails/trial.md:5:8: there is no sender `sale`\n  mend: did you mean `sales`?"),
        (
            "topics = [\"news\", \"lesson\"]\n",
            "mails/trial.md:5:19: there is no topic `lesson`\n  mend: did you mean `lessons`?",
        ),
        (
            "offer_hours = 721\n",
            "mails/trial.md:5:15: `offer_hours` is out of range\n  mend: write a whole number from 1 to 720",
        ),
    ] {
        trial.mail(front, "こんにちは。");
        assert_eq!(trial.problems("mails/trial.md"), [expected], "{front}");
    }
    trial.write(
        "mails/trial.md",
        "+++\nsubject = \"x\"\npreheader = \"x\"\nclass = \"transactional\"\ntopics = [\"news\"]\n+++\n\nこんにちは。\n",
    );
    assert_eq!(
        trial.problems("mails/trial.md"),
        [
            "mails/trial.md:5:11: only marketing mail has topics\n  mend: delete `topics`: what people asked for themselves comes in any case"
        ]
    );
}

#[test]
fn what_a_funnel_has_not_its_mails_and_pages_can_not_tell() {
    let trial = Trial::new("without");
    trial.remove("funnel.toml", "[consultation]", "[[plans]]");
    trial.remove("funnel.toml", "[[plans]]", "[[senders]]");
    trial.mail("", "[予約]({{ booking_url }})\n\n[申込]({{ apply_url }})\n\n[確認]({{ confirm_url }})");
    assert_eq!(
        trial.problems("mails/trial.md"),
        [
            "mails/trial.md:7:6: `booking_url` needs a consultation, and this funnel has none\n  mend: add `[consultation]` to funnel.toml, or take the variable out",
            "mails/trial.md:9:6: `apply_url` needs plans, and this funnel has none\n  mend: add `[[plans]]` to funnel.toml, or take the variable out",
            "mails/trial.md:11:6: `confirm_url` needs an address to confirm, and this funnel asks for none\n  mend: write `double = true` in [consent] of funnel.toml, or take the variable out",
        ]
    );
    assert_eq!(
        trial.problems("pages/apply.md"),
        [
            "pages/apply.md:1: the form of this page needs `[[plans]]` in funnel.toml\n  mend: declare it there, or delete the page"
        ]
    );
    for page in ["booking", "booked", "cancelled", "apply", "paid", "tokushoho"] {
        fs::remove_file(trial.0.0.join(format!("pages/{page}.md"))).unwrap();
    }
    assert!(trial.problems("pages").iter().all(|problem| !problem.contains("the page is missing")));
}

#[test]
fn every_kind_of_funnel_has_its_pages() {
    let trial = Trial::new("pages");
    let config = fs::read_to_string(trial.0.0.join("funnel.toml")).unwrap();
    trial.write("funnel.toml", &config.replacen("[consent]", "[consent]\ndouble = true", 1));
    for page in ["preferences", "booked", "paid"] {
        fs::remove_file(trial.0.0.join(format!("pages/{page}.md"))).unwrap();
    }
    let missing = [
        ("booked", "coaching"),
        ("confirm", "b2b"),
        ("confirmed", "b2b"),
        ("paid", "coaching"),
        ("preferences", "coaching"),
    ]
    .map(|(page, funnel)| {
        format!(
            "pages/{page}.md: the page is missing\n  mend: add it; funnels/{funnel} has one to start from"
        )
    });
    assert_eq!(trial.problems("pages"), missing);
}

/// The least that a layout can be, with something in it.
fn layout(inside: &str) -> String {
    format!(
        "<mjml>\n<mj-body>\n<mj-section>\n<mj-column>\n{inside}\n<mj-text><a href=\"{{{{ unsubscribe }}}}\">{{{{ texts.unsubscribe }}}}</a></mj-text>\n</mj-column>\n</mj-section>\n</mj-body>\n</mjml>\n"
    )
}

#[test]
fn a_funnel_may_bring_its_own_layout() {
    let trial = Trial::new("layout");
    trial.mail("", "こんにちは。");
    trial.write(
        "layout.mjml",
        &layout("<mj-text>{{ brand.logo }}の便り</mj-text>{{ body }}\n<mj-text>{{ sender.postal_address }}</mj-text>"),
    );
    let mail = rendered(&trial.load(), &context(), &person::lead());
    assert!(mail.html.contains("道コーチングの便り") && mail.html.contains("こんにちは。"));
    assert!(
        mail.html.contains(
            "<a ses:no-track href=\"https://michi.example.com/unsubscribe?t=u1\">配信を停止する</a>"
        )
    );
    // Michi's own is one, too.
    trial.write("layout.mjml", include_str!("../layout.mjml"));
    assert_eq!(trial.problems("layout.mjml"), Vec::<String>::new());
}

#[test]
fn every_slip_of_a_layout_is_told_once() {
    let trial = Trial::new("layout-slips");
    let comment = "{# one\n two #}\n";
    let mjml =
        "mend: see https://documentation.mjml.io, or start from Michi's own: shared/content/layout.mjml";
    let variables = "mend: the variables of a layout are listed in Michi's own: shared/content/layout.mjml";
    for (layout, expected) in [
        (
            layout("<mj-text>x</mj-text>"),
            "layout.mjml: no mail says anything in this layout\n  mend: write `{{ body }}` in an `<mj-column>`".to_owned(),
        ),
        (
            layout("{{ body }}").replace("{{ unsubscribe }}", "https://example.com"),
            "layout.mjml: nobody can leave\n  mend: write `<a href=\"{{ unsubscribe }}\">{{ texts.unsubscribe }}</a>`".to_owned(),
        ),
        (layout("{{ body }}\n{{ brand.color }}"), format!("layout.mjml:6: `brand.color` is undefined\n  {variables}")),
        (layout("{{ body"), format!("layout.mjml:6: unexpected `<`\n  {variables}")),
        (
            layout("{{ body }}\n<mj-txt>x</mj-txt>"),
            format!("layout.mjml:6: not MJML: there is no `<mj-txt>`\n  {mjml}"),
        ),
        (
            format!("{comment}{}", layout("{{ body }}").replace("<mjml>", "<mjml language=\"ja\">")),
            format!("layout.mjml:3: not MJML: there is no such attribute\n  {mjml}"),
        ),
        (
            format!("{comment}{}", layout("{{ body }}\n\n<mj-text>x")),
            format!("layout.mjml:9: not MJML: this element is never closed\n  {mjml}"),
        ),
        ("x".to_owned(), format!("layout.mjml:1: not MJML: this can't be read\n  {mjml}")),
    ] {
        trial.write("layout.mjml", &layout);
        assert_eq!(trial.problems("layout.mjml"), [expected], "{layout}");
    }
}

#[test]
fn a_mail_that_gmail_would_clip_is_refused() {
    let trial = Trial::new("long");
    let long = "とても長いメールです。".repeat(60);
    trial.mail("", &format!("{long}\n\n").repeat(40));
    assert_eq!(trial.problems("mails"), Vec::<String>::new());
    let passage = format!("{long}\n\n").repeat(40);
    trial.mail("", &format!("{{% if tag(\"vip\") %}}\n{passage}{{% endif %}}\n\n{passage}"));
    assert_eq!(
        trial.problems("mails"),
        [
            "mails/trial.md: the finished mail is longer than 100 KB\n  mend: shorten it: Gmail cuts off long mails, with the unsubscribe link"
        ]
    );
}

#[test]
fn links_that_act_for_a_person_are_not_tracked() {
    let trial = Trial::new("tracking");
    let config = fs::read_to_string(trial.0.0.join("funnel.toml")).unwrap();
    trial.write("funnel.toml", &config.replacen("[consent]", "[consent]\ndouble = true", 1));
    for (page, form) in [("confirm", "form = \"confirm\"\n"), ("confirmed", "")] {
        let place = if form.is_empty() { "" } else { "{{ form }}\n" };
        trial.write(
            &format!("pages/{page}.md"),
            &format!("+++\ntitle = \"確認\"\ndescription = \"確認\"\n{form}+++\n\n# 確認\n\n{place}"),
        );
    }
    trial.write(
        "sequences/confirm.toml",
        "name = \"確認\"\nclass = \"transactional\"\nentry = [\"opt_in_requested\"]\n\n[[steps]]\nid = \"ask\"\nsend = \"trial\"\n",
    );
    trial.write(
        "mails/trial.md",
        "+++\nsubject = \"確認\"\npreheader = \"確認\"\nclass = \"transactional\"\n+++\n\n[確認]({{ confirm_url }})\n\n[設定]({{ preferences_url }})と[停止]({{ unsubscribe_url }})\n\n[予約]({{ booking_url }})",
    );
    let funnel = trial.load();
    let html = rendered(&funnel, &context(), &person::lead()).html;
    for path in ["confirm?t=c1", "preferences?t=p1", "unsubscribe?t=u1"] {
        let link = format!(" href=\"https://michi.example.com/{path}\"");
        assert_eq!(
            html.matches(&link).count(),
            html.matches(&format!("<a ses:no-track{link}")).count(),
            "{path}"
        );
    }
    assert_eq!(html.matches("ses:no-track").count(), 5);
    insta::assert_snapshot!(main(&page(&funnel, "confirm", Form::Confirm { token: "t1".into() }, vec![])), @r#"
    <h1>確認</h1>
    <form id="form" method="post" action="/confirm">
    <input type="hidden" name="t" value="t1">
    <button type="submit">登録を完了する</button>
    </form>
    "#);
}

fn page(funnel: &Funnel, id: &str, form: Form, errors: Vec<FormError>) -> String {
    let shown = PageContext { public_url: "https://michi.example.com".into(), form, errors };
    funnel.render_page(funnel.page(id).unwrap(), &shown).unwrap()
}

/// What a page shows between its header and its footer.
fn main(html: &str) -> &str {
    html.split_once("<main>\n").unwrap().1.split_once("</main>").unwrap().0
}

fn preferences(funnel: &Funnel) -> PreferencesForm {
    let topics =
        funnel.topics.iter().map(|topic| (topic.id.clone(), topic.name.clone(), topic.id.as_str() == "news"));
    PreferencesForm {
        token: "t1".into(),
        topics: topics.collect(),
        weekly: false,
        paused_until: None,
        subscribed: true,
        saved: false,
    }
}

#[test]
fn people_choose_what_they_get() {
    let trial = Trial::new("preferences");
    let funnel = trial.load();
    let shown = |form| page(&funnel, "preferences", Form::Preferences(form), vec![]);
    insta::assert_snapshot!(main(&shown(preferences(&funnel))), @r#"
    <h1>メールの受け取り設定</h1>
    <p>道コーチングからのメールの受け取り方を、いつでも変えられます。お忙しい時期は、しばらくお休みにしておくこともできます。</p>

    <form class="panel" id="form" method="post" action="/preferences">
    <input type="hidden" name="t" value="t1">
    <fieldset aria-describedby="topics-hint"><legend>受け取りたい内容</legend>
    <p class="hint" id="topics-hint">チェックを外した内容のメールは届かなくなります。</p>
    <label class="check"><input type="checkbox" name="topic_news" value="true" checked><span>お知らせ</span></label>
    <label class="check"><input type="checkbox" name="topic_lessons" value="true"><span>学びのメール</span></label>
    </fieldset>
    <fieldset><legend>メールの頻度</legend>
    <label class="check"><input type="radio" name="frequency" value="all" checked><span>すべて受け取る</span></label>
    <label class="check"><input type="radio" name="frequency" value="weekly"><span>週に1通までにする</span></label>
    </fieldset>
    <div class="field"><label for="pause">メールのお休み</label>
    <p class="hint" id="pause-hint">お休みのあいだ、ご案内のメールは届きません。終わると自動で再開します。</p>
    <select id="pause" name="pause" aria-describedby="pause-hint">
    <option value="none" selected>お休みしない</option>
    <option value="7">今日から7日間</option>
    <option value="30">今日から30日間</option>
    <option value="90">今日から90日間</option>
    </select></div>
    <button type="submit">設定を保存する</button>
    </form>
    <form method="post" action="/unsubscribe?t=t1">
    <input type="hidden" name="t" value="t1">
    <button class="quiet" type="submit" aria-describedby="unsubscribe-hint">すべての配信を停止する</button>
    <p class="after" id="unsubscribe-hint">ボタンを押すと、すぐに停止されます。</p>
    </form>
    <p>個別相談の確認やリマインダー、ご契約に関する大切なご連絡は、ここでの設定にかかわらずお送りします。</p>
    "#);
    let saved = PreferencesForm {
        weekly: true,
        paused_until: Some("12月4日(金) 18:00".into()),
        saved: true,
        ..preferences(&funnel)
    };
    let saved = shown(saved);
    assert!(saved.contains("<p class=\"alert good\" role=\"status\">設定を保存しました。</p>"));
    assert!(saved.contains("value=\"weekly\" checked>"));
    insta::assert_snapshot!(saved.split("<label for=\"pause\">").nth(1).unwrap().split("</div>").next().unwrap(), @r#"
    メールのお休み</label>
    <p class="hint" id="pause-hint">12月4日(金) 18:00まで、メールをお休みしています。</p>
    <select id="pause" name="pause" aria-describedby="pause-hint">
    <option value="keep" selected>12月4日(金) 18:00までのお休みを続ける</option>
    <option value="none">お休みを終える</option>
    <option value="7">今日から7日間</option>
    <option value="30">今日から30日間</option>
    <option value="90">今日から90日間</option>
    </select>
    "#);
}

#[test]
fn who_left_can_come_back_by_agreeing_again() {
    let trial = Trial::new("resubscribe");
    let funnel = trial.load();
    let left = Form::Preferences(PreferencesForm { subscribed: false, ..preferences(&funnel) });
    let html = page(&funnel, "preferences", left, vec![FormError::Consent]);
    insta::assert_snapshot!(main(&html), @r#"
    <h1>メールの受け取り設定</h1>
    <p>道コーチングからのメールの受け取り方を、いつでも変えられます。お忙しい時期は、しばらくお休みにしておくこともできます。</p>

    <form class="panel" id="form" method="post" action="/preferences">
    <div class="alert" role="alert"><p>入力内容をご確認ください</p><ul><li>メールを受け取るには、同意のチェックが必要です。</li></ul></div>
    <p>現在、配信を停止しています。</p>
    <input type="hidden" name="t" value="t1">
    <input type="hidden" name="consent_text" value="プライバシーポリシーに同意し、道コーチングからのメール（ステップメールとご案内）を受け取ります。いつでも配信を停止できます。">
    <div class="field"><label class="check"><input type="checkbox" name="subscribe" value="true" required><span>プライバシーポリシーに同意し、道コーチングからのメール（ステップメールとご案内）を受け取ります。いつでも配信を停止できます。</span></label>
    <p class="hint"><a href="/pages/privacy" target="_blank" rel="noopener">プライバシーポリシーを読む</a></p></div>
    <button type="submit">もう一度受け取る</button>
    </form>
    <p>個別相談の確認やリマインダー、ご契約に関する大切なご連絡は、ここでの設定にかかわらずお送りします。</p>
    "#);
}

#[test]
fn the_opt_in_form_asks_for_attributes_and_keeps_what_was_entered() {
    let trial = Trial::new("attributes");
    let funnel = trial.load();
    let attributes = [("industry", "金融"), ("staff-count", "<b>12</b>"), ("company", "道\"社")];
    let form = OptInForm {
        attributes: attributes.map(|(id, value)| (id.to_owned(), value.to_owned())).into(),
        ..OptInForm::default()
    };
    let wrong = ["staff-count", "industry", "company"];
    let errors = wrong.map(|id| FormError::Attribute(Id::parse(id).unwrap())).to_vec();
    let html = page(&funnel, "landing", Form::OptIn(form), errors);
    let fields = html.split_once("<form").unwrap().1.split_once("name=\"consent\"").unwrap().0;
    insta::assert_snapshot!(fields, @r#"
     class="panel" id="form" method="post" action="/opt-in">
    <div class="alert" role="alert"><p>入力内容をご確認ください</p><ul><li>「従業員数」は整数で入力してください（例：100）。</li><li>「業種」を選び直してください。</li><li>「会社名」は100文字以内で入力してください。</li></ul></div>
    <div class="field"><label for="email">メールアドレス<span class="tag required">必須</span></label>
    <input type="email" id="email" name="email" value="" required maxlength="254" autocomplete="email" inputmode="email" placeholder="name@example.com"></div>
    <div class="field"><label for="name">お名前<span class="tag">任意</span></label>
    <input type="text" id="name" name="name" value="" maxlength="100" autocomplete="name" placeholder="例：山田 花子"></div>
    <div class="field"><label for="attribute_industry">業種<span class="tag">任意</span></label>
    <select id="attribute_industry" name="attribute_industry" aria-invalid="true">
    <option value="">選択してください</option>
    <option>IT</option>
    <option selected>金融</option>
    <option>その他</option>
    </select></div>
    <div class="field"><label for="attribute_staff-count">従業員数<span class="tag">任意</span></label>
    <input type="number" id="attribute_staff-count" name="attribute_staff-count" value="&lt;b&gt;12&lt;/b&gt;" step="1" inputmode="numeric" aria-invalid="true"></div>
    <div class="field"><label for="attribute_company">会社名<span class="tag">任意</span></label>
    <input type="text" id="attribute_company" name="attribute_company" value="道&quot;社" maxlength="100" aria-invalid="true"></div>
    <div class="field"><label class="check"><input type="checkbox"
    "#);
}

#[test]
fn pages_tell_dates_in_the_funnels_zone() {
    let trial = Trial::new("dates");
    let thanks = "+++\ntitle = \"x\"\ndescription = \"x\"\n+++\n\n# {{ dates.webinar }}に\n";
    trial.write("pages/thanks.md", thanks);
    assert!(page(&trial.load(), "thanks", Form::None, vec![]).contains("<h1>3月20日(土) 20:00に</h1>"));
    trial.write("pages/thanks.md", &thanks.replace("webinar", "webiner"));
    assert_eq!(
        trial.problems("pages"),
        ["pages/thanks.md:6:3: unknown variable `dates.webiner`\n  mend: did you mean `dates.webinar`?"]
    );
}
