//! The pages. What a person typed never becomes markup: the templates escape every value.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, Utc};
use chrono_tz::Tz;
use content::{Funnel, Locale, format};
use domain::time;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value, context, value::Serde};
use serde::Serialize;
use web::problem::Problem;

use crate::{
    figures::{COLUMNS, Counted, Month},
    story::Story,
    words::{Words, words},
};

/// What there is to see.
#[derive(Debug)]
pub(crate) enum Sight<'a> {
    Dashboard {
        today: NaiveDate,
        months: &'a [Month],
    },
    /// Without figures before the night in which they are counted.
    Day {
        date: NaiveDate,
        today: NaiveDate,
        counted: Option<&'a Counted>,
    },
    Lead {
        story: &'a Story,
        now: DateTime<Utc>,
    },
    Problem(&'a Problem),
}

/// The templates, with the funnel's names, words, zone and currency in them.
#[derive(Debug)]
pub(crate) struct View {
    environment: Environment<'static>,
    words: Words,
}

pub(crate) const TEMPLATES: [(&str, &str); 6] = [
    ("frame.html", include_str!("../templates/frame.html")),
    ("parts.html", include_str!("../templates/parts.html")),
    ("dashboard.html", include_str!("../templates/dashboard.html")),
    ("day.html", include_str!("../templates/day.html")),
    ("lead.html", include_str!("../templates/lead.html")),
    ("problem.html", include_str!("../templates/problem.html")),
];

impl View {
    /// Reads the templates. `base` is the path under which the API is reached.
    pub(crate) fn new(funnel: &Funnel, base: &str) -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        // An error's text must never carry the values around it into the log.
        environment.set_debug(false);
        for (name, text) in TEMPLATES {
            environment
                .add_template(name, text)
                .expect("the embedded templates are read by this crate's tests");
        }
        let (locale, zone, currency) = (funnel.locale, funnel.time_zone, funnel.currency.clone());
        let words = words(locale);
        environment.add_global("lang", locale.as_str());
        environment.add_global("base", base);
        environment.add_global(
            "style",
            Value::from_safe_string(include_str!("../templates/console.css").to_owned()),
        );
        environment
            .add_global("brand", context! { colour => &funnel.brand.colour, logo => &funnel.brand.logo });
        environment.add_global("t", value(&words));
        environment.add_global("zone", format::zone_name(zone, locale));
        environment.add_global("columns", value(&COLUMNS));
        environment.add_global("groups", value(groups()));
        environment.add_global("names", names(funnel));
        environment
            .add_filter("day", move |date: &str| Ok::<_, Error>(short_day(parse(date)?, zone, locale)));
        environment
            .add_filter("full_day", move |date: &str| Ok::<_, Error>(full_day(parse(date)?, zone, locale)));
        environment.add_filter("month", move |date: &str| Ok::<_, Error>(month_name(parse(date)?, locale)));
        environment.add_filter("moment", move |at: &str| Ok::<_, Error>(moment(instant(at)?, zone, locale)));
        environment.add_filter("clock", move |at: &str| Ok::<_, Error>(format::time(instant(at)?, zone)));
        environment.add_filter("money", |minor: i64, currency: &str| format::money(minor, currency));
        environment.add_filter("amount", move |value: i64, unit: &str| amount(value, unit, &currency));
        let own_words = words.clone();
        environment.add_filter("reason", move |stored: &str| reason(stored, &own_words));
        Self { environment, words }
    }

    /// Makes a page.
    ///
    /// # Errors
    /// [`Error`] if a template names what is not there, which this crate's tests rule out.
    pub(crate) fn render(&self, sight: &Sight<'_>) -> Result<String, Error> {
        let (template, values) = match sight {
            Sight::Dashboard { today, months } => {
                ("dashboard.html", context! { today => value(today), months => value(months) })
            }
            Sight::Day { date, today, counted } => {
                let next = time::plus_days(*date, 1);
                let next = (next <= *today).then_some(next);
                (
                    "day.html",
                    context! { date => value(date), counted => value(counted), previous => value(time::plus_days(*date, -1)), next => value(next) },
                )
            }
            Sight::Lead { story, now } => {
                let mut purchases: Vec<_> = story.purchases.iter().collect();
                purchases.sort_by_key(|customer| customer.paid_at);
                let mut enrolments: Vec<_> = story.enrolments.iter().collect();
                enrolments.sort_by_key(|enrolment| enrolment.enrolled_at);
                let page = context! {
                    lead => value(&story.lead),
                    consultations => value(story.meetings(*now)),
                    enrolments => value(enrolments),
                    purchases => value(purchases),
                    timeline => value(story.timeline()),
                };
                ("lead.html", page)
            }
            Sight::Problem(problem) => ("problem.html", self.problem(problem)),
        };
        self.environment.get_template(template)?.render(values)
    }

    fn problem(&self, problem: &Problem) -> Value {
        let word = |section: &str, name: &str| self.words.get(section).and_then(|words| words.get(name));
        let status = problem.status().to_string();
        let known = if word("problem_titles", &status).is_some() { status.as_str() } else { "503" };
        let errors = problem.errors().iter().map(|error| {
            let field = format!("{}_{status}", error.field);
            word("fields", &field).cloned().unwrap_or_else(|| format!("{}: {}", error.field, error.message))
        });
        context! {
            title => word("problem_titles", known),
            text => word("problem_texts", known),
            errors => errors.collect::<Vec<_>>(),
            locked_out => problem.status() == 403,
        }
    }
}

/// The columns' groups, each with the number of its columns.
fn groups() -> Vec<(&'static str, usize)> {
    let chunks = COLUMNS.chunk_by(|one, next| one.group == next.group);
    chunks.filter_map(|chunk| Some((chunk.first()?.group, chunk.len()))).collect()
}

/// What the funnel calls its things, by their ids.
fn names(funnel: &Funnel) -> Value {
    let sequences: BTreeMap<&str, &str> =
        funnel.sequences.iter().map(|sequence| (sequence.id.as_str(), sequence.name.as_str())).collect();
    let plans: BTreeMap<&str, &str> =
        funnel.plans.iter().map(|plan| (plan.id.as_str(), plan.name.as_str())).collect();
    let magnets: BTreeMap<&str, &str> =
        funnel.lead_magnets.iter().map(|magnet| (magnet.id.as_str(), magnet.title.as_str())).collect();
    let hosts = funnel.consultation.iter().flat_map(|offer| &offer.host_names);
    let hosts: BTreeMap<&str, &str> = hosts.map(|(host, name)| (host.as_str(), name.as_str())).collect();
    context! { sequences => value(sequences), plans => value(plans), magnets => value(magnets), hosts => value(hosts), currency => &funnel.currency }
}

fn value(shown: impl Serialize) -> Value {
    Value::from(Serde(shown))
}

fn parse(date: &str) -> Result<NaiveDate, Error> {
    date.parse().map_err(|_| Error::new(ErrorKind::InvalidOperation, "not a day"))
}

fn instant(at: &str) -> Result<DateTime<Utc>, Error> {
    at.parse().map_err(|_| Error::new(ErrorKind::InvalidOperation, "not an instant"))
}

/// `11月25日(水)`, `Wed 25 Nov`.
fn short_day(date: NaiveDate, zone: Tz, locale: Locale) -> String {
    format::date(time::instant(date, NaiveTime::MIN, zone), zone, locale)
}

/// `2026年11月25日(水)`, `Wed 25 Nov 2026`.
fn full_day(date: NaiveDate, zone: Tz, locale: Locale) -> String {
    match locale {
        Locale::Ja => format!("{}年{}", date.year(), short_day(date, zone, locale)),
        Locale::En => format!("{} {}", short_day(date, zone, locale), date.year()),
    }
}

/// `2026年11月`, `November 2026`.
fn month_name(date: NaiveDate, locale: Locale) -> String {
    match locale {
        Locale::Ja => date.format("%Y年%-m月").to_string(),
        Locale::En => date.format("%B %Y").to_string(),
    }
}

/// `2026年11月25日(水) 10:00`, `Wed 25 Nov 2026, 10:00`.
fn moment(at: DateTime<Utc>, zone: Tz, locale: Locale) -> String {
    let (day, clock) = (full_day(time::day(at, zone), zone, locale), format::time(at, zone));
    match locale {
        Locale::Ja => format!("{day} {clock}"),
        Locale::En => format!("{day}, {clock}"),
    }
}

/// A figure as people read it: `1,234`, `¥330,000`, `35.9%`.
fn amount(value: i64, unit: &str, currency: &str) -> String {
    match unit {
        "money" => format::money(value, currency),
        "rate" => format!("{}.{}%", value / 10, value % 10),
        _ => grouped(value),
    }
}

fn grouped(number: i64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A stored reason in the operator's language, where there are words for it.
fn reason(stored: &str, words: &Words) -> String {
    let word = |section: &str, name: &str| words.get(section).and_then(|words| words.get(name)).cloned();
    let settled = || Some(word("reasons", "settled")?.replace("{step}", stored.strip_suffix(" settled")?));
    let passed = || {
        let (first, steps) =
            stored.strip_suffix(" had passed when enrolled")?.split_once("; the time of ")?;
        Some(format!("{}; {}", reason(first, words), word("reasons", "passed")?.replace("{steps}", steps)))
    };
    let known = word("reasons", stored).or_else(|| word("moments", stored)).or_else(settled).or_else(passed);
    known.unwrap_or_else(|| stored.to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use domain::{
        consultation::ConsultationStatus,
        customer::{CustomerStatus, Plan},
        engagement::{EngagementState, MailClass},
        event::{Event, Fact},
        goal::{Aim, Goal, Unit},
        id::Id,
        lead::{LeadStatus, Mailing, Stage},
        sequence::Sequence,
    };
    use web::problem::Status;

    use super::*;
    use crate::{
        figures::{day, month, tests::row},
        story::tests::{mail, story},
    };

    fn funnel(locale: Locale) -> Funnel {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../funnels/coaching");
        let mut funnel = Funnel::load(&directory).unwrap();
        funnel.locale = locale;
        // What the tests look for must not hang on the sample's words.
        funnel.sequences.retain(|sequence| sequence.id.as_str() != "nurture");
        funnel.sequences.push(Sequence {
            id: Id::parse("nurture").unwrap(),
            name: "七日間の<メール>".into(),
            class: MailClass::Marketing,
            entry: vec![],
            exit: vec![],
            again: false,
            steps: vec![],
        });
        funnel.goals = vec![Goal {
            id: "opt_in_rate".into(),
            name: "登録率".into(),
            level: Some(1),
            unit: Unit::PerMille,
            aim: Aim::AtLeast,
            value: 150,
        }];
        funnel.plans.retain(|plan| plan.id.as_str() != "premium");
        let (id, name) = (Id::parse("premium").unwrap(), "半年プラン".into());
        funnel.plans.push(Plan { id, name, description: String::new(), price: 880_000, months: 6 });
        funnel.consultation.host_names.insert(Id::parse("michino").unwrap(), "道野あかり".into());
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

    fn lead_page(locale: Locale, now: &str) -> String {
        render(locale, &Sight::Lead { story: &story(), now: now.parse().unwrap() })
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
        let shown =
            render(Locale::Ja, &Sight::Day { date: date("2026-11-24"), today, counted: Some(&counted) });
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
        ] {
            assert!(page.contains(expected), "{expected}");
        }
        assert!(!page.contains("<花子>") && !page.contains("<b>整えたい"));
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
        let lead_id = Id::parse("l-1").unwrap();
        for locale in Locale::ALL {
            let view = view(locale);
            for (stage, status, mailing) in [
                (Stage::Lead, LeadStatus::Active, Mailing::Subscribed),
                (Stage::Opportunity, LeadStatus::Inactive, Mailing::Unsubscribed),
                (Stage::Customer, LeadStatus::Converted, Mailing::Suppressed),
            ] {
                let mut story = story();
                (story.lead.stage, story.lead.status, story.lead.mailing, story.lead.name) =
                    (stage, status, mailing, None);
                view.render(&Sight::Lead { story: &story, now: "2026-11-25T01:00:00Z".parse().unwrap() })
                    .unwrap();
            }
            let mut story = story();
            for status in [CustomerStatus::Active, CustomerStatus::Completed, CustomerStatus::Churned] {
                story.purchases.push(domain::customer::Customer {
                    status,
                    plan: "no-longer-sold".into(),
                    ..story.purchases[0].clone()
                });
            }
            for status in
                [ConsultationStatus::Booked, ConsultationStatus::Cancelled, ConsultationStatus::Missed]
            {
                story.consultations.push(domain::consultation::Consultation {
                    status,
                    host: Id::parse("gone").unwrap(),
                    ..story.consultations[0].clone()
                });
            }
            use EngagementState as S;
            story.mails.extend(
                [S::Claimed, S::Unknown, S::Complained]
                    .map(|state| mail("day-9", state, "2026-11-24T22:00:00Z")),
            );
            let id = || Id::parse("c-1").unwrap();
            let (start, at) =
                ("2026-11-26T01:00:00Z".parse().unwrap(), "2026-11-24T22:00:00Z".parse().unwrap());
            let facts = [
                Fact::ConsultationRescheduled { consultation_id: id(), version: 2, scheduled_date: start },
                Fact::ConsultationCancelled { consultation_id: id(), version: 3 },
                Fact::ConsultationMissed { consultation_id: id() },
                Fact::MailComplained {
                    engagement_id: "nurture_1_day-9".into(),
                    email_campaign_id: "nurture/day-9".into(),
                },
                Fact::Unsubscribed {},
                Fact::OptedIn {
                    first: false,
                    source: None,
                    lead_magnet_type: None,
                    visitor_id: None,
                    utm: BTreeMap::new(),
                },
            ];
            story.events.extend(facts.map(|fact| Event::about(&lead_id, "key", fact, at, Tz::Asia__Tokyo)));
            view.render(&Sight::Lead { story: &story, now: "2026-11-25T01:00:00Z".parse().unwrap() })
                .unwrap();
        }
    }

    #[test]
    fn a_person_of_whom_nothing_is_known_but_the_opt_in_has_a_page() {
        let story = Story {
            events: vec![],
            mails: vec![],
            enrolments: vec![],
            consultations: vec![],
            purchases: vec![],
            ..story()
        };
        let page =
            render(Locale::Ja, &Sight::Lead { story: &story, now: "2026-11-25T01:00:00Z".parse().unwrap() });
        assert!(page.contains("なし"));
    }

    #[test]
    fn a_problem_tells_what_to_do_in_the_operators_language() {
        let problems = [
            (Problem::new(Status::Forbidden, "…"), "michi console"),
            (Problem::field("date", "…"), "日付は「2026-11-25」の形で"),
            (Problem::field("lead", "…").with_status(Status::NotFound), "登録されていません"),
            (Problem::field("outcome", "…"), "won（成約）"),
            (Problem::field("website", "must be <nice>"), "website: must be &lt;nice&gt;"),
            (Problem::new(Status::Conflict, "…"), "すでにキャンセル・記録されています"),
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
            for page in [dashboard(locale), lead_page(locale, "2026-11-25T01:00:00Z")] {
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
    fn a_reason_without_words_is_shown_as_it_is_stored() {
        let words = words(Locale::Ja);
        for (stored, expected) in [
            ("enrolled", "登録"),
            ("customer_paid", "入金"),
            ("day-1 settled", "day-1 処理済み"),
            (
                "day-1 settled; the time of day-2, day-3 had passed when enrolled",
                "day-1 処理済み; day-2, day-3 は登録時点で予定時刻を過ぎていたため省略",
            ),
            ("MessageRejected", "MessageRejected"),
        ] {
            assert_eq!(reason(stored, &words), expected);
        }
    }
}
