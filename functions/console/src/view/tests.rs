//! The pages as operators see them.

use std::{collections::BTreeMap, path::Path};

use cloud::person::Person;
use content::funnel::{Attribute, AttributeKind, Broadcast, Member, OwnFact, Segment, Topic};
use domain::{
    broadcast::BroadcastError,
    condition::{Condition, Test},
    consultation::{ConsultationError, ConsultationStatus},
    customer::{CustomerStatus, Plan},
    email_address::EmailAddress,
    engagement::{Engagement, EngagementState, MailClass},
    event::{Event, Fact},
    goal::{Aim, Goal, Unit},
    lead::{Consent, Lead, LeadStatus, Mailing, Preferences, Stage},
    sequence::{Act, Anchor, Inside, Program, Sequence, Step, When},
};
use web::problem::Status;

use super::*;
use crate::{
    broadcasts::{OVERTAKEN, tests::rows},
    figures::{day, month, tests::row},
    story::tests::{at, id, mail, scoring, story},
    tasks::tests::duties,
};

fn sequence(name: &str, title: &str, step: &str, act: Act) -> Sequence {
    let step = Step { id: id(step), when: When::Now, act, next: None };
    Sequence {
        id: id(name),
        name: title.into(),
        class: MailClass::Marketing,
        entry: vec![],
        test: None,
        exit: vec![],
        again: false,
        priority: 0,
        inside: Inside::Finish,
        program: Program { version: "v".into(), anchor: Anchor::Entry, windows: vec![], steps: vec![step] },
    }
}

fn broadcast(name: &str, title: &str, segment: Option<&str>, per_hour: Option<u32>) -> Broadcast {
    let send = Act::Send { mail: id("news"), calendar: false };
    let sequence = sequence(&format!("broadcast-{name}"), title, "mail", send);
    Broadcast {
        id: id(name),
        name: title.into(),
        mail: id("news"),
        segment: segment.map(id),
        per_hour,
        sequence,
    }
}

pub(crate) fn funnel(locale: Locale) -> Funnel {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../funnels/coaching");
    let mut funnel = Funnel::load(&directory).unwrap();
    funnel.locale = locale;
    // What the tests look for must not hang on the sample's words.
    funnel.sequences.retain(|sequence| sequence.id.as_str() != "nurture");
    let notice = Act::Notice { text: "料金ページを3回見ました".into(), to: id("sales") };
    funnel.sequences.push(sequence("nurture", "七日間の<メール>", "tell-sales", notice));
    let member = |name: &str, title: &str| Member {
        id: id(name),
        name: title.into(),
        address: EmailAddress::parse("team@example.com").unwrap(),
    };
    funnel.team = vec![member("owner", "道野あかり"), member("sales", "大西<たくや>")];
    funnel.facts = vec![OwnFact { id: id("ordered"), name: "注文した".into() }];
    funnel.topics = vec![Topic { id: id("news"), name: "<お知らせ>".into() }];
    funnel.attributes =
        vec![Attribute { id: id("industry"), name: "業種".into(), kind: AttributeKind::Text, ask: true }];
    let test = Test { text: "score >= 50".into(), condition: Condition::All(vec![]) };
    funnel.segments = vec![Segment { id: id("hot"), name: "ホット<リード>".into(), test }];
    funnel.broadcasts = vec![
        broadcast("autumn", "秋の<ご案内>", Some("hot"), Some(1200)),
        broadcast("winter", "冬のご案内", None, None),
    ];
    funnel.goals = vec![Goal {
        id: "opt_in_rate".into(),
        name: "登録率".into(),
        level: Some(1),
        unit: Unit::PerMille,
        aim: Aim::AtLeast,
        value: 150,
    }];
    funnel.plans.retain(|plan| plan.id.as_str() != "premium");
    let name = "半年プラン".into();
    funnel.plans.push(Plan {
        id: id("premium"),
        name,
        description: String::new(),
        price: 880_000,
        months: 6,
    });
    funnel.consultation.as_mut().unwrap().host_names.insert(id("michino"), "道野あかり".into());
    funnel
}

fn view(locale: Locale) -> View {
    View::new(&funnel(locale), "/michi")
}

/// A page with its slashes unescaped, to be read more easily.
fn render(locale: Locale, sight: &Sight<'_>) -> String {
    view(locale).render(sight).unwrap().replace("&#x2f;", "/")
}

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn dashboard(locale: Locale) -> String {
    let mut rows: Vec<_> = (1..=31).map(|day| row(&format!("2026-10-{day:02}"), day % 7)).collect();
    rows.extend((1..=24).filter(|day| *day != 12).map(|day| row(&format!("2026-11-{day:02}"), day % 9)));
    let today = date("2026-11-25");
    let months = [today, date("2026-10-31")].map(|day| month(day, today, &rows, &funnel(locale).goals));
    render(locale, &Sight::Dashboard { today, months: &months })
}

fn page_of(story: &Story, locale: Locale, now: &str, score_on: Option<&str>) -> String {
    let (scoring, now) = (scoring(), at(now));
    let score = story.score(&scoring, now);
    render(locale, &Sight::Lead { story, score: score.as_ref(), score_on: score_on.map(date), now })
}

fn lead_page(locale: Locale, now: &str) -> String {
    page_of(&story(), locale, now, None)
}

fn tasks_page(locale: Locale, chosen: Option<&str>) -> String {
    render(locale, &Sight::Tasks { chosen: chosen.map(id).as_ref(), duties: &duties() })
}

fn broadcasts_page(locale: Locale) -> String {
    let (funnel, rows) = (funnel(locale), rows());
    let pages = rows.iter().map(|row| {
        let pair = [row.clone(), None];
        render(
            locale,
            &Sight::Broadcasts(&crate::broadcasts::shown(&funnel, &pair, at("2026-11-25T01:00:00Z"))),
        )
    });
    pages.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_dashboard_shows_days_sums_goals_and_what_is_not_there_yet() {
    let page = dashboard(Locale::Ja);
    for expected in [
        "2026年11月",
        "2026年10月",
        "11月24日(火)",
        "本日分は夜間集計後に表示",
        "未集計",
        "目標 15.0% 以上",
        "登録率",
        "16.7%",
        "¥",
        "href=\"/michi/console/days/2026-11-24\"",
        "action=\"/michi/console/find\"",
    ] {
        assert!(page.contains(expected), "{expected}");
    }
}

#[test]
fn a_day_shows_every_figure_or_says_that_it_waits_for_the_night() {
    let (counted, today) = (day(&row("2026-11-24", 4), &funnel(Locale::Ja).goals), date("2026-11-25"));
    let shown = render(Locale::Ja, &Sight::Day { date: date("2026-11-24"), today, counted: Some(&counted) });
    for expected in [
        "2026年11月24日(火)",
        "¥660,000",
        "迷惑メール報告",
        "/michi/console/days/2026-11-23",
        "/michi/console/days/2026-11-25",
    ] {
        assert!(shown.contains(expected), "{expected}");
    }
    let waiting = render(Locale::Ja, &Sight::Day { date: today, today, counted: None });
    assert!(waiting.contains("夜間集計が終わると表示されます") && !waiting.contains("2026-11-26"));
}

#[test]
fn a_lead_is_shown_with_all_that_happened_and_nothing_typed_becomes_markup() {
    let page = lead_page(Locale::Ja, "2026-11-25T01:00:00Z");
    for expected in [
        "山田 &lt;花子&gt;",
        "hanako@example.com",
        "203.0.113.7",
        "2026年11月24日(火) 10:00",
        "道野あかり",
        "&lt;b&gt;整えたい",
        "七日間の&lt;メール&gt;",
        "案内する予定がすでに始まっていたため",
        "Permanent/General",
        "day-1 処理済み",
        "¥880,000",
        "半年プラン",
        "機械による開封あり",
        "<dt>業種</dt><dd>&lt;IT&gt;</dd>",
        "<span class=\"tag\">magnet:checklist</span>",
    ] {
        assert!(page.contains(expected), "{expected}");
    }
    for typed in ["<花子>", "<b>整えたい", "<IT>", "<水筒>", "<vip>", "<メール>", "<お知らせ>"]
    {
        assert!(!page.contains(typed), "{typed}");
    }
}

#[test]
fn the_timeline_tells_facts_by_the_funnels_own_names_and_mail_to_the_team() {
    for (locale, expected) in [
        (
            Locale::Ja,
            [
                "ページ閲覧",
                "タグ付与",
                "有望リード（MQL）",
                "50点に到達（55点）",
                "外部からの通知",
                "宛先: 大西&lt;たくや&gt;",
            ],
        ),
        (
            Locale::En,
            [
                "Page seen",
                "Tagged",
                "(MQL)",
                "came up to 50 (now 55)",
                "Told from outside",
                "to 大西&lt;たくや&gt;",
            ],
        ),
    ] {
        let page = lead_page(locale, "2026-11-25T01:00:00Z");
        let facts = ["&lt;vip&gt;", "注文した", "items: &lt;水筒&gt;", "料金ページを3回見ました"];
        for expected in expected.into_iter().chain(facts) {
            assert!(page.contains(expected), "{expected}");
        }
    }
}

#[test]
fn a_sequence_shows_where_she_stands_why_and_what_was_decided() {
    let page = lead_page(Locale::Ja, "2026-11-25T01:00:00Z");
    let places = [
        "停止",
        "進行中",
        "<dt>次のステップ</dt><dd><code>day-3</code>",
        "<dt>次回予定</dt><dd>2026年11月28日(土) 09:00",
        "<code>fit</code> 条件に該当: attribute.employees &gt;= 100",
        "<code>offer</code> 振り分け: offer-b",
        "条件待ち",
        "<dt>待機の期限</dt><dd>2026年11月29日(日) 09:00",
        "条件を満たすまで待機: opened(&quot;offer&quot;)",
        "開始前（条件を確認中）",
        "<dt>次回確認</dt><dd>2027年1月24日(日) 09:00",
    ];
    let mut rest = page.as_str();
    for place in places {
        let at = rest.find(place).unwrap_or_else(|| panic!("{place}"));
        rest = &rest[at..];
    }
    assert!(!page.contains("<code>watch</code>"), "no step is called so");
}

#[test]
fn a_score_is_explained_and_can_be_asked_for_on_an_earlier_day() {
    let page = lead_page(Locale::Ja, "2026-11-25T01:00:00Z");
    for expected in [
        "<strong class=\"total\">12</strong> <span class=\"mark\">&lt;hot&gt;</span>",
        "<dt>属性スコア</dt><dd>0</dd><dt>行動スコア</dt><dd>12</dd>",
        "<span>ページ閲覧: pricing</span> <b>+10</b>",
        "<span>開封</span> <b>+2</b>",
        "max=\"2026-11-25\" value=\"2026-11-25\"",
        "action=\"/michi/console/leads/l-1#score\"",
    ] {
        assert!(page.contains(expected), "{expected}");
    }
    assert!(!page.contains("終了時点"));
    let earlier = page_of(&story(), Locale::Ja, "2026-11-25T01:00:00Z", Some("2026-11-20"));
    for expected in ["2026年11月20日(金) 終了時点", "value=\"2026-11-20\"", "<details open>"] {
        assert!(earlier.contains(expected), "{expected}");
    }
    let without =
        Sight::Lead { story: &story(), score: None, score_on: None, now: at("2026-11-25T01:00:00Z") };
    assert!(!render(Locale::Ja, &without).contains("score_on"));
}

#[test]
fn consent_and_wishes_are_shown_as_far_as_they_go() {
    let shown = |change: fn(&mut Lead)| {
        let mut story = story();
        change(&mut story.person.lead);
        page_of(&story, Locale::Ja, "2026-11-25T01:00:00Z", None)
    };
    let chosen = shown(|_| ());
    for expected in
        ["&lt;お知らせ&gt;", "<dt>1週間の上限</dt><dd>2通</dd>", "<dt>一時停止の期限</dt><dd>2026年12月1日"]
    {
        assert!(chosen.contains(expected), "{expected}");
    }
    assert!(!chosen.contains("確認待ち</span>") && !chosen.contains("メール確認日時"));

    let paused = Preferences { paused_until: Some(at("2026-11-24T00:00:00Z")), ..Preferences::default() };
    assert!(shown(|lead| lead.preferences = Preferences::default()).contains("指定なし"));
    let mut story = story();
    story.person.lead.preferences = paused;
    let over = page_of(&story, Locale::Ja, "2026-11-25T01:00:00Z", None);
    assert!(over.contains("指定なし") && !over.contains("一時停止の期限"), "the pause is over");

    let pending = shown(|lead| lead.mailing = Mailing::Pending);
    assert!(pending.contains("<h2>同意の記録 <span class=\"mark pending\">確認待ち</span></h2>"));
    let again = shown(|lead| {
        let first = lead.consent.clone();
        lead.pending_consent = Some(Consent { text: "新しい<文言>".into(), ..first.clone() });
        lead.consent = Consent {
            confirmed_at: Some(at("2026-11-20T02:00:00Z")),
            confirmed_ip: Some("203.0.113.8".into()),
            ..first
        };
    });
    for expected in
        ["新しい&lt;文言&gt;", "<dt>メール確認日時</dt><dd>2026年11月20日(金) 11:00", "203.0.113.8"]
    {
        assert!(again.contains(expected), "{expected}");
    }
}

#[test]
fn tasks_stand_with_whoever_has_to_do_them() {
    let page = tasks_page(Locale::Ja, None);
    for expected in [
        "道野あかり <small>3件</small>",
        "gone <small>0件</small>",
        "&lt;b&gt;電話&lt;/b&gt;でフォローする",
        "<a href=\"/michi/console/leads/l-1\">山田 &lt;花子&gt;</a>",
        "<a href=\"/michi/console/leads/l-2\">l-2</a>",
        "2026年11月25日(水) 10:00",
        "七日間の&lt;メール&gt; <code>call</code>",
        "action=\"/michi/console/tasks/t-1/done\"",
        "href=\"/michi/console/tasks?for=sales\">大西&lt;たくや&gt;",
        "href=\"/michi/console/tasks\" aria-current=\"page\"",
        "未完了のタスクはありません",
    ] {
        assert!(page.contains(expected), "{expected}");
    }
    assert_eq!(page.matches("期限超過").count(), 1);
    let chosen = tasks_page(Locale::Ja, Some("owner"));
    assert!(chosen.contains("action=\"/michi/console/tasks/t-1/done?for=owner\""));
    assert!(chosen.contains("?for=owner\" aria-current=\"page\""));
    let nobody = render(Locale::Ja, &Sight::Tasks { chosen: None, duties: &[] });
    assert!(nobody.contains("[[team]]"));
}

#[test]
fn a_broadcast_shows_how_far_it_is_and_what_can_be_done() {
    let page = broadcasts_page(Locale::Ja);
    for expected in [
        "秋の&lt;ご案内&gt;",
        "ホット&lt;リード&gt;",
        "1時間あたり1,200通",
        "配信に同意している全員",
        "指定なし（送信できる最大の速さ）",
        "action=\"/michi/console/broadcasts/autumn\"",
        "value=\"plan\">対象を集計する<",
        "value=\"start\">1,234人への配信を開始する<",
        "セグメントの対象外: 5,000人<br>配信停止中のため: 12人",
        "<progress max=\"1234\" value=\"100\"",
        "100 / 1,234人",
    ] {
        assert!(page.contains(expected), "{expected}");
    }
    let none = render(Locale::Ja, &Sight::Broadcasts(&[]));
    assert!(none.contains("broadcasts フォルダー"));
}

#[test]
fn the_outcome_is_asked_for_once_the_consultation_has_begun() {
    let action = "action=\"/michi/console/consultations/c-2/outcome\"";
    let begun = lead_page(Locale::Ja, "2026-11-25T01:00:00Z");
    for button in [
        "value=\"won\">実施した・成約<",
        "value=\"thinking\">実施した・検討中<",
        "value=\"lost\">実施した・不成約<",
        "value=\"missed\">来なかった<",
    ] {
        assert!(begun.contains(button), "{button}");
    }
    assert!(begun.contains(action) && !begun.contains("consultations/c-1/outcome"));
    assert!(!lead_page(Locale::Ja, "2026-11-25T00:59:59Z").contains("/outcome"));
}

#[test]
fn there_are_words_for_whatever_a_lead_can_be() {
    for locale in Locale::ALL {
        let shown = |story: &Story| page_of(story, locale, "2026-11-25T01:00:00Z", None);
        for stage in Stage::ALL {
            let mut story = story();
            (story.person.lead.stage, story.person.lead.name) = (stage, None);
            shown(&story);
        }
        for (status, mailing) in [
            (LeadStatus::Active, Mailing::Pending),
            (LeadStatus::Active, Mailing::Subscribed),
            (LeadStatus::Inactive, Mailing::Unsubscribed),
            (LeadStatus::Converted, Mailing::Suppressed),
        ] {
            let mut story = story();
            (story.person.lead.status, story.person.lead.mailing) = (status, mailing);
            shown(&story);
        }
        let mut story = story();
        for status in [CustomerStatus::Active, CustomerStatus::Completed, CustomerStatus::Churned] {
            story.purchases.push(domain::customer::Customer {
                status,
                plan: "no-longer-sold".into(),
                ..story.purchases[0].clone()
            });
        }
        for status in [ConsultationStatus::Booked, ConsultationStatus::Cancelled, ConsultationStatus::Missed]
        {
            story.consultations.push(domain::consultation::Consultation {
                status,
                host: id("gone"),
                ..story.consultations[0].clone()
            });
        }
        use EngagementState as S;
        let states = [S::Claimed, S::Sent, S::Unknown, S::Skipped, S::Bounced, S::Complained];
        for (step, what) in [("day-9", Some(id("day-9"))), ("tell-sales", None)] {
            story.person.ledger.extend(
                states.map(|state| Engagement {
                    mail: what.clone(),
                    ..mail(step, state, "2026-11-24T22:00:00Z")
                }),
            );
        }
        let when = at("2026-11-24T22:00:00Z");
        let events = more_facts().map(|fact| Event::about(&id("l-1"), "key", fact, when, Tz::Asia__Tokyo));
        story.person.timeline.extend(events);
        shown(&story);
    }
}

/// Facts that the story leaves out, and those with as little in them as there can be.
fn more_facts() -> [Fact; 12] {
    let consultation_id = || id("c-1");
    let (mail, no_values) = ("nurture/day-9".to_owned(), BTreeMap::new());
    [
        Fact::ConsultationRescheduled {
            consultation_id: consultation_id(),
            version: 2,
            scheduled_date: at("2026-11-26T01:00:00Z"),
        },
        Fact::ConsultationCancelled { consultation_id: consultation_id(), version: 3 },
        Fact::ConsultationMissed { consultation_id: consultation_id() },
        Fact::MailComplained { engagement_id: "nurture_1_day-9".into(), email_campaign_id: mail },
        Fact::Unsubscribed {},
        Fact::OptInRequested { source: Some("ads".into()), lead_magnet_type: Some("checklist".into()) },
        Fact::OptInRequested { source: None, lead_magnet_type: None },
        Fact::OptedIn {
            first: false,
            source: None,
            lead_magnet_type: None,
            visitor_id: None,
            utm: BTreeMap::new(),
        },
        Fact::PageSeen { page: "gone".into() },
        Fact::StageChanged { stage: Stage::Promoter },
        Fact::ScoreCrossed { threshold: 20, rising: false, score: 20 },
        Fact::Told { fact: id("gone"), values: no_values },
    ]
}

#[test]
fn a_person_of_whom_nothing_is_known_but_the_opt_in_has_a_page() {
    let lead = Lead {
        preferences: Preferences::default(),
        attributes: BTreeMap::new(),
        tags: vec![],
        ..story().person.lead
    };
    let story =
        Story { person: Person::of(lead), programs: vec![], consultations: vec![], purchases: vec![] };
    assert!(page_of(&story, Locale::Ja, "2026-11-25T01:00:00Z", None).contains("なし"));
}

#[test]
fn a_problem_tells_what_to_do_in_the_operators_language() {
    let problems = [
        (Problem::new(Status::Forbidden, "…"), "michi console"),
        (Problem::field("date", "…"), "日付は「2026-11-25」の形で"),
        (Problem::field("lead", "…").with_status(Status::NotFound), "登録されていません"),
        (Problem::field("outcome", "…"), "won（成約）"),
        (Problem::field("website", "must be <nice>"), "website: must be &lt;nice&gt;"),
        (Problem::field("score_on", "…"), "日付は「2026-11-25」の形で"),
        (Problem::field("command", "…"), "plan（集計）"),
        (Problem::field("for", "…"), "[[team]] の id"),
        (Problem::field("task", "…").with_status(Status::NotFound), "このタスクは見つかりません"),
        (Problem::field("broadcast", "…").with_status(Status::NotFound), "一斉配信はファネルにありません"),
        (Problem::new(Status::Conflict, "…"), "状態が変わった可能性があります"),
        (Problem::new(Status::Gone, "…"), "ただいま処理できません"),
    ];
    for (problem, expected) in problems {
        let page = render(Locale::Ja, &Sight::Problem(&problem));
        assert!(page.contains(expected), "{expected}");
    }
}

#[test]
fn who_is_locked_out_gets_no_search_form() {
    let page = render(Locale::Ja, &Sight::Problem(&Problem::new(Status::Forbidden, "…")));
    assert!(!page.contains("<form"));
}

#[test]
fn pages_load_nothing_and_run_nothing() {
    for locale in Locale::ALL {
        let lead = lead_page(locale, "2026-11-25T01:00:00Z");
        for page in [dashboard(locale), lead, tasks_page(locale, None), broadcasts_page(locale)] {
            assert!(page.contains(&format!("<html lang=\"{}\">", locale.as_str())));
            for foreign in ["<script", "src=", "@import", "url(", "<link rel=\"stylesheet"] {
                assert!(!page.contains(foreign), "{foreign}");
            }
        }
    }
}

#[test]
fn numbers_and_times_read_as_people_write_them() {
    let shown = [
        (0, "count"),
        (1234, "count"),
        (1_234_567, "count"),
        (359, "rate"),
        (1500, "rate"),
        (7, "rate"),
        (330_000, "money"),
    ]
    .map(|(value, unit)| amount(value, unit, "JPY"));
    assert_eq!(shown, ["0", "1,234", "1,234,567", "35.9%", "150.0%", "0.7%", "¥330,000"]);
    let at = "2026-11-25T01:00:00Z".parse().unwrap();
    let shown = Locale::ALL.map(|locale| moment(at, Tz::Asia__Tokyo, locale));
    assert_eq!(shown, ["2026年11月25日(水) 10:00", "Wed 25 Nov 2026, 10:00"]);
    assert_eq!(
        Locale::ALL.map(|locale| month_name(date("2026-11-25"), locale)),
        ["2026年11月", "November 2026"]
    );
}

#[test]
fn what_is_in_the_way_is_told_in_the_operators_language() {
    use {BroadcastError as B, ConsultationError as C};
    let broadcast = [B::Sending, B::NotPlanned, B::Paused, B::NotSending, B::NotPaused, B::Done];
    let consultation = [C::Closed, C::NotBegun];
    let details = broadcast.map(|error| error.to_string()).into_iter();
    let details = details.chain(consultation.map(|error| error.to_string())).chain([OVERTAKEN.to_owned()]);
    for detail in details {
        let page = render(Locale::Ja, &Sight::Problem(&Problem::new(Status::Conflict, &detail)));
        assert!(page.contains("その操作はできません") && !page.contains("状態が変わった可能性"), "{detail}");
    }
}
