//! The sample funnel as people get it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use content::page::PreferencesForm;
use content::{
    ApplyForm, BookedForm, BookingForm, Form, FormError, FormKind, Funnel, Locale, Mail, MailConsultation,
    MailContext, MailPurchase, Message, Moving, OptInForm, PageContext, RenderProblem, RenderedMail,
    SlotChoice,
};
use domain::id::Id;
use domain::score::Scoring;
use domain::sequence::{Act, Sequence};

mod person;

fn coaching() -> Funnel {
    Funnel::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../funnels/coaching")).unwrap_or_else(
        |problems| {
            panic!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
        },
    )
}

fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn hanako() -> MailContext {
    MailContext {
        name: Some("山田 花子".into()),
        time_zone: Tz::Asia__Tokyo,
        public_url: "https://michi.example.com".into(),
        lead_magnet: Some(id("checklist")),
        booking_url: Some("https://michi.example.com/booking?t=b1".into()),
        apply_url: Some("https://michi.example.com/apply?t=a1".into()),
        preferences_url: "https://michi.example.com/preferences?t=p1".into(),
        unsubscribe_url: "https://michi.example.com/unsubscribe?t=u1".into(),
        confirm_url: None,
        attributes: BTreeMap::new(),
        values: BTreeMap::new(),
        now: person::now(),
        consultation: Some(MailConsultation {
            start: at("2026-11-25T01:00:00Z"),
            manage_url: "https://michi.example.com/bookings/c-1?t=m1".into(),
        }),
        purchase: Some(MailPurchase {
            plan: "standard".into(),
            price: 330_000,
            currency: "JPY".into(),
            paid_at: at("2026-11-25T01:00:00Z"),
        }),
    }
}

fn rendered(funnel: &Funnel, mail: &Mail, person: &MailContext) -> Result<RenderedMail, RenderProblem> {
    funnel.render(mail, person, &person::known(&person::lead(), &Scoring::default()))
}

fn render(funnel: &Funnel, mail: &str, person: &MailContext) -> RenderedMail {
    rendered(funnel, funnel.mail(&id(mail)).unwrap(), person).unwrap()
}

/// The mails that a sequence sends.
fn sent(sequence: &Sequence) -> impl Iterator<Item = &Id> {
    sequence
        .program
        .steps
        .iter()
        .filter_map(|step| if let Act::Send { mail, .. } = &step.act { Some(mail) } else { None })
}

/// The text of an HTML fragment that stands between two others.
fn between<'a>(html: &'a str, from: &str, until: &str) -> &'a str {
    let rest = &html[html.find(from).unwrap_or_else(|| panic!("{from} is not in {html}"))..];
    &rest[..rest.find(until).unwrap() + until.len()]
}

#[test]
fn the_welcome_mail_reads_well_as_text() {
    let mail = render(&coaching(), "welcome", &hanako());
    insta::assert_snapshot!(mail.subject, @"【お届け】お客様が自然に決まる「成約の道すじ」チェックリスト21");
    insta::assert_snapshot!(mail.text, @r"
    山田 花子 様

    道コーチングの道野あかりです。
    このたびはお申し込みいただき、ありがとうございます。お約束のチェックリストをお届けします。

    ▼ チェックリストを開く: https://michi.example.com/pages/checklist

    21の項目に「はい・いいえ」で答えていくと、お客様がどこで立ち止まっているのかが見えてきます。所要時間は15分ほどです。

    おすすめの使い方は、「いいえ」を全部直そうとしないこと。最初に「いいえ」が付いた項目をひとつだけ、今週直してみてください。上から順に効果が出やすいように並べてあります。

    明日からの7日間は、毎朝7時に短いメールをお送りします。

    ・1〜3日目：お客様が離れていく場所の見つけ方
    ・4〜5日目：無理なく成約につながる相談の進め方
    ・6〜7日目：よくある質問と、これからの進み方

    通勤中や朝のコーヒーのあいだに、3分で読める長さにしています。感想や質問は、このメールにそのまま返信してください。ひとつひとつ、私が読んでいます。

    それでは、また明日の朝に。

    道野あかり

    ----------
    このメールは、資料をお申し込みのうえ、メールの受け取りに同意いただいた方にお送りしています。
    送信者：道コーチング 道野あかり
    住所：〒100-0000 東京都千代田区見本町1-2-3 見本ビル4階
    お問い合わせ：coach@example.com / 03-0000-0000（平日10:00〜17:00）
    受け取り設定を変更する: https://michi.example.com/preferences?t=p1
    配信を停止する: https://michi.example.com/unsubscribe?t=u1
    ");
}

#[test]
fn a_confirmation_tells_the_time_in_the_persons_zone() {
    let funnel = coaching();
    let mail = render(&funnel, "consultation-confirmation", &hanako());
    insta::assert_snapshot!(mail.subject, @"【ご予約確認】個別相談 11月25日(水) 10:00〜");
    insta::assert_snapshot!(between(&mail.html, "<li", "</li>"), @r#"<li style="margin:0 0 6px"><strong>日時</strong>：11月25日(水) 10:00〜11:00（日本時間）</li>"#);
    let abroad = render(
        &funnel,
        "consultation-confirmation",
        &MailContext { time_zone: Tz::America__New_York, ..hanako() },
    );
    insta::assert_snapshot!(between(&abroad.html, "<li", "</li>"), @r#"<li style="margin:0 0 6px"><strong>日時</strong>：11月24日(火) 20:00〜21:00（America/New York）</li>"#);
}

#[test]
fn the_receipt_tells_plan_and_price() {
    let mail = render(&coaching(), "onboarding-completed", &hanako());
    insta::assert_snapshot!(mail.subject, @"【ご契約完了】スタンダードプランへようこそ");
    insta::assert_snapshot!(between(&mail.text, "・プラン", "お支払い日：2026年11月25日"), @r"
    ・プラン：スタンダード
    ・期間：3か月
    ・お支払い金額：¥330,000（税込）
    ・お支払い日：2026年11月25日
    ");
}

#[test]
fn every_mail_shows_who_writes_and_how_to_leave() {
    let funnel = coaching();
    for mail in funnel.mails() {
        let rendered = rendered(&funnel, mail, &hanako()).unwrap();
        for shown in
            ["道コーチング 道野あかり", "東京都千代田区見本町1-2-3", "coach@example.com / 03-0000-0000"]
        {
            assert!(rendered.text.contains(shown) && rendered.html.contains(shown), "{}: {shown}", mail.id);
        }
        for way_out in
            ["https://michi.example.com/unsubscribe?t=u1", "https://michi.example.com/preferences?t=p1"]
        {
            assert!(rendered.text.contains(way_out), "{}", mail.id);
            let link = format!("<a ses:no-track href=\"{way_out}\"");
            assert!(rendered.html.contains(&link), "{}", mail.id);
        }
        assert_eq!(rendered.from.address.as_str(), "coach@example.com");
    }
}

#[test]
fn every_mail_of_every_sequence_can_be_made_with_and_without_a_name() {
    let funnel = coaching();
    let sequences = || funnel.sequences.iter().chain(funnel.broadcasts.iter().map(|news| &news.sequence));
    for sequence in sequences() {
        for mail in sent(sequence) {
            let mail = funnel.mail(mail).unwrap();
            assert_eq!(mail.class, sequence.class);
            for name in [Some("山田 花子".to_owned()), Some(" ".to_owned()), None] {
                let person = MailContext { name: name.clone(), ..hanako() };
                let rendered = rendered(&funnel, mail, &person).unwrap();
                for part in [&rendered.subject, &rendered.preheader, &rendered.text, &rendered.html] {
                    assert!(
                        !part.contains("{{")
                            && !part.contains("}}")
                            && !part.contains(['\u{10600}', '\u{10601}', '\u{10602}']),
                        "{}: {part}",
                        mail.id
                    );
                }
                if name.as_deref() != Some("山田 花子") {
                    assert!(
                        !rendered.text.starts_with(" 様") && !rendered.text.starts_with('様'),
                        "{}",
                        mail.id
                    );
                }
                assert!(!rendered.subject.contains(char::is_control));
            }
        }
    }
    let sent: Vec<&Id> = sequences().flat_map(sent).collect();
    for mail in funnel.mails() {
        assert!(sent.contains(&&mail.id), "nobody ever gets {}", mail.id);
    }
}

#[test]
fn mails_stay_below_what_gmail_clips_and_fetch_nothing() {
    let funnel = coaching();
    for mail in funnel.mails() {
        let rendered = rendered(&funnel, mail, &hanako()).unwrap();
        assert!(rendered.html.len() < 100_000, "{}: {}", mail.id, rendered.html.len());
        for remote in ["fonts.googleapis", "@import", "<link", "<img", "<script"] {
            assert!(!rendered.html.contains(remote), "{}: {remote}", mail.id);
        }
        assert!(rendered.html.contains("<html lang=\"ja\""), "{}", mail.id);
        let body = rendered
            .text
            .split("\n----------\n")
            .next()
            .unwrap()
            .chars()
            .filter(|c| !c.is_whitespace())
            .count();
        assert!((300..=700).contains(&body), "{}: {body} characters", mail.id);
    }
}

#[test]
fn every_link_of_the_text_part_is_in_the_html_part_too() {
    let funnel = coaching();
    for mail in funnel.mails() {
        let rendered = rendered(&funnel, mail, &hanako()).unwrap();
        for url in rendered.text.split_whitespace().filter(|word| word.starts_with("https://")) {
            assert!(rendered.html.contains(&format!("href=\"{url}\"")), "{}: {url}", mail.id);
        }
    }
}

#[test]
fn only_links_with_a_persons_own_key_are_kept_from_tracking() {
    let mail = render(&coaching(), "consultation-confirmation", &hanako());
    assert!(mail.html.contains("<a ses:no-track href=\"https://michi.example.com/bookings/c-1?t=m1\""));
    assert!(mail.html.contains("<a href=\"https://zoom.example.com/j/0000000000\""));
    assert!(mail.html.contains("<a ses:no-track href=\"https://michi.example.com/unsubscribe?t=u1\""));
    assert!(mail.html.contains("<a ses:no-track href=\"https://michi.example.com/preferences?t=p1\""));
    assert_eq!(mail.html.matches("ses:no-track").count(), 3);
}

#[test]
fn what_a_person_types_as_her_name_never_becomes_markup() {
    let funnel = coaching();
    for (name, html, text) in [
        ("<b>花子</b>", "&lt;b&gt;花子&lt;/b&gt; 様", "<b>花子</b> 様"),
        ("[x](http://evil.example)", "[x](http://evil.example) 様", "[x](http://evil.example) 様"),
        ("{{ 7*7 }}", "{{ 7*7 }} 様", "{{ 7*7 }} 様"),
        ("{% raw %}", "{% raw %} 様", "{% raw %} 様"),
        (
            "\"><script>alert(1)</script>",
            "&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt; 様",
            "\"><script>alert(1)</script> 様",
        ),
        ("**花子** & Co", "**花子** &amp; Co 様", "**花子** & Co 様"),
        ("花子\r\nBcc: b@example.com", "花子  Bcc: b@example.com 様", "花子  Bcc: b@example.com 様"),
    ] {
        let mail = render(&funnel, "day-7", &MailContext { name: Some(name.into()), ..hanako() });
        assert!(mail.html.contains(html), "{name}");
        assert!(mail.text.starts_with(text), "{name}: {}", mail.text);
        assert!(!mail.html.contains("<script>") && !mail.html.contains("<b>"), "{name}");
        assert!(!mail.subject.contains(['\r', '\n']), "{name}");
    }
}

#[test]
fn a_missing_value_names_the_mail_the_line_and_the_variable() {
    let funnel = coaching();
    let mail = funnel.mail(&id("consultation-reminder-two-hours")).unwrap();
    let problem = rendered(&funnel, mail, &MailContext { consultation: None, ..hanako() }).unwrap_err();
    assert_eq!(
        problem.to_string(),
        "mails/consultation-reminder-two-hours.md:2: `{{ consultation_start }}`: it has no value"
    );
}

#[test]
fn the_funnel_says_what_the_business_does() {
    let funnel = coaching();
    assert_eq!(
        (funnel.locale, funnel.time_zone, funnel.currency.as_str()),
        (Locale::Ja, Tz::Asia__Tokyo, "JPY")
    );
    let nurture = funnel.sequence(&id("nurture")).unwrap();
    assert_eq!(sent(nurture).count(), 7);
    let inviting = sent(nurture)
        .filter(|mail| funnel.mail(mail).is_some_and(|mail: &Mail| mail.links_to("booking_url")))
        .count();
    assert_eq!(inviting, 4, "days 4 to 7 lead to the consultation");
    assert_eq!(funnel.consultation.as_ref().unwrap().availability.minutes, 60);
    assert_eq!(
        funnel.plans.iter().map(|plan| (plan.name.as_str(), plan.price)).collect::<Vec<_>>(),
        [("スタンダード", 330_000), ("プレミアム", 880_000), ("VIP", 1_650_000)]
    );
    let goal = |id: &str| funnel.goals.iter().find(|goal| goal.id == id).map(|goal| goal.value);
    assert_eq!(
        (goal("open_rate"), goal("mrr"), goal("ltv_cac_ratio"), goal("sales_cycle")),
        (Some(350), Some(8_330_000), Some(5000), Some(21))
    );
    assert_eq!(funnel.goals.len(), 26);
    assert_eq!(funnel.simulation.people.iter().map(|people| people.share).sum::<u32>(), 1000);
}

#[test]
fn one_funnel_serves_all_requests() {
    fn shared<T: Send + Sync + 'static>(_: &T) {}
    shared(&coaching());
}

fn slots() -> Vec<SlotChoice> {
    [0, 90, 1440]
        .map(|minutes| at("2026-11-25T01:00:00Z") + TimeDelta::minutes(minutes))
        .map(|start| SlotChoice { value: start.to_rfc3339(), start })
        .to_vec()
}

fn form(kind: FormKind) -> Form {
    let hostile = "\"><script>alert(1)</script>";
    match kind {
        FormKind::None => Form::None,
        FormKind::OptIn => Form::OptIn(OptInForm {
            email: hostile.into(),
            name: hostile.into(),
            source: Some(hostile.into()),
            utm: [("utm_source".into(), hostile.into())].into(),
            ..Default::default()
        }),
        FormKind::Booking => Form::Booking(BookingForm {
            token: "t1".into(),
            moving: None,
            slots: slots(),
            chosen: None,
            name: hostile.into(),
            note: format!("</textarea>{hostile}"),
            time_zone: Tz::Asia__Tokyo,
        }),
        FormKind::Booked => Form::Booked(BookedForm {
            token: "t1".into(),
            consultation_id: id("c-1"),
            start: at("2026-11-25T01:00:00Z"),
            time_zone: Tz::Asia__Tokyo,
            fresh: true,
            open: true,
            reschedule_url: "https://michi.example.com/booking?t=t1&move=c-1".into(),
        }),
        FormKind::Cancelled => {
            Form::Cancelled { booking_url: "https://michi.example.com/booking?t=t1".into() }
        }
        FormKind::Apply => Form::Apply(ApplyForm { token: "t1".into(), chosen: Some("premium".into()) }),
        FormKind::Preferences => Form::Preferences(PreferencesForm {
            token: "t1".into(),
            topics: vec![],
            weekly: false,
            paused_until: None,
            subscribed: true,
            saved: false,
        }),
        FormKind::Confirm => Form::Confirm { token: "t1".into() },
        FormKind::Unsubscribe => Form::Unsubscribe { token: "t1".into() },
    }
}

fn page(funnel: &Funnel, id: &str, form: Form, errors: Vec<FormError>) -> String {
    funnel
        .render_page(
            funnel.page(id).unwrap(),
            &PageContext { public_url: "https://michi.example.com".into(), form, errors },
        )
        .unwrap()
}

#[test]
fn every_page_is_whole_and_fetches_nothing() {
    let funnel = coaching();
    for found in funnel.pages() {
        let html =
            page(&funnel, found.id.as_str(), form(found.form), vec![FormError::Email, FormError::SlotTaken]);
        assert!(html.starts_with("<!doctype html>\n<html lang=\"ja\">"), "{}", found.id);
        assert_eq!(html.matches("<h1").count(), 1, "{}", found.id);
        assert!(!html.contains("alert(1)</script>"), "{}", found.id);
        assert!(!html.contains("{{") && !html.contains(['\u{10600}', '\u{10602}']), "{}", found.id);
        for remote in ["<link rel=\"stylesheet\"", "@import", "<img", "src="] {
            assert!(!html.contains(remote), "{}: {remote}", found.id);
        }
        assert_eq!(html.contains("name=\"robots\" content=\"noindex\""), !found.is_public(), "{}", found.id);
        assert_eq!(html.contains("data-visits=\"/visits\""), found.is_public(), "{}", found.id);
    }
    for message in [
        Message::NotFound,
        Message::LinkInvalid,
        Message::LinkExpired,
        Message::LinkOutdated,
        Message::Closed,
        Message::BadRequest,
        Message::Unavailable,
    ] {
        assert!(funnel.message_page(message, "https://michi.example.com").unwrap().contains("<h1>"));
    }
}

#[test]
fn the_landing_form_asks_for_the_least_and_records_the_words_agreed_to() {
    let funnel = coaching();
    let shown = OptInForm {
        source: Some("instagram".into()),
        utm: [("utm_source".into(), "instagram".into())].into(),
        ..Default::default()
    };
    let html = page(&funnel, "landing", Form::OptIn(shown), vec![]);
    let form = between(&html, "<form", "</form>");
    assert!(form.starts_with("<form class=\"panel\" id=\"form\" method=\"post\" action=\"/opt-in\">"));
    let fields: Vec<&str> =
        form.split(" name=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(
        fields,
        [
            "email",
            "name",
            "consent",
            "consent_text",
            "website",
            "lead_magnet_type",
            "source",
            "utm_source",
            "locale",
            "visitor_id",
            "time_zone"
        ]
    );
    assert!(form.contains(&funnel.consent));
    insta::assert_snapshot!(between(form, "<input type=\"hidden\" name=\"lead", ">"), @r#"<input type="hidden" name="lead_magnet_type" value="checklist">"#);
}

#[test]
fn slots_are_grouped_by_the_persons_day() {
    let funnel = coaching();
    let html = page(&funnel, "booking", form(FormKind::Booking), vec![FormError::SlotTaken]);
    let days: Vec<&str> =
        html.split("<summary>").skip(1).map(|rest| rest.split("</summary>").next().unwrap()).collect();
    assert_eq!(days, ["11月25日(水)<span>空き2枠</span>", "11月26日(木)<span>空き1枠</span>"]);
    assert!(html.contains("ほかの方のご予約が先に入りました"));
    insta::assert_snapshot!(between(&html, "<label><input type=\"radio\"", "</label>"), @r#"<label><input type="radio" name="slot" value="2026-11-25T01:00:00+00:00" required><span>10:00</span></label>"#);

    let Form::Booking(booking) = form(FormKind::Booking) else { unreachable!() };
    let moving = BookingForm {
        moving: Some(Moving { consultation_id: id("c-1"), start: at("2026-11-24T01:00:00Z") }),
        ..booking
    };
    let html = page(&funnel, "booking", Form::Booking(moving), vec![]);
    assert!(
        html.contains("action=\"/bookings/c-1/reschedule\"")
            && html.contains("現在のご予約：11月24日(火) 10:00。")
    );
}

#[test]
fn plans_are_shown_with_their_prices() {
    let html = page(&coaching(), "apply", form(FormKind::Apply), vec![]);
    for price in ["¥330,000（税込）", "¥880,000（税込）", "¥1,650,000（税込）"] {
        assert!(html.contains(price), "{price}");
    }
    assert!(html.contains("value=\"premium\" required checked>"));
}

#[test]
fn buttons_that_act_post_and_carry_the_token() {
    let funnel = coaching();
    for (name, action) in [
        ("booked", "/bookings/c-1/cancel"),
        ("preferences", "/preferences"),
        ("unsubscribe", "/unsubscribe?t=t1"),
        ("apply", "/applications"),
        ("booking", "/bookings"),
    ] {
        let html = page(&funnel, name, form(funnel.page(name).unwrap().form), vec![]);
        assert!(html.contains(&format!("method=\"post\" action=\"{action}\"")), "{name}");
        assert!(html.contains("<input type=\"hidden\" name=\"t\" value=\"t1\">"), "{name}");
    }
}
