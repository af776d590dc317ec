//! `funnel.toml`.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc, Weekday};
use chrono_tz::{TZ_VARIANTS, Tz};
use domain::consultation::Availability;
use domain::customer::Plan;
use domain::email_address::EmailAddress;
use domain::event::FactKind;
use domain::id::Id;
use domain::limits::{RETENTION_DAYS, SLOT_DAYS};
use domain::retention::Retention;
use domain::sending::{Cap, Window};
use domain::{sequence, time};

use super::mails::Declared;
use super::{Problems, has_errors, parse_id, unique_id};
use crate::funnel::{
    Attribute, AttributeKind, Brand, ConsultationOffer, LeadMagnet, Member, OtherSender, OwnFact, Sender,
    Topic,
};
use crate::page::Page;
use crate::problem::{Source, suggest};
use crate::reader::{At, Reader, parse};
use crate::texts::Locale;
use crate::written::WEEKDAYS;

/// What an anchor may be besides a date.
pub(super) const ANCHORS: [&str; 3] = ["entry", "consultation", "renewal"];

/// What `funnel.toml` says. The other files can be read even if something in it is wrong, as long as
/// its names are known.
pub(super) struct Config {
    pub(super) source: Source,
    /// None if something in it is wrong.
    pub(super) basics: Option<Basics>,
    /// Whether all names are as they were meant: else other files seem wrong that are not.
    pub(super) names_are_known: bool,
    pub(super) double_opt_in: bool,
    pub(super) senders: BTreeMap<Id, OtherSender>,
    pub(super) lead_magnets: Vec<At<LeadMagnet>>,
    pub(super) topics: Vec<Topic>,
    pub(super) attributes: Vec<At<Attribute>>,
    pub(super) facts: Vec<At<OwnFact>>,
    pub(super) dates: BTreeMap<Id, DateTime<Utc>>,
    pub(super) team: Vec<Member>,
    /// When marketing mail may go out.
    pub(super) window: Option<Window>,
    pub(super) cap: Option<Cap>,
    pub(super) retention: Retention,
    /// Whether there is a `[consultation]`, right or wrong.
    pub(super) has_consultation: bool,
    pub(super) consultation: Option<ConsultationOffer>,
    pub(super) plans: Vec<Plan>,
}

/// What every funnel has.
pub(super) struct Basics {
    pub(super) name: String,
    pub(super) locale: Locale,
    pub(super) time_zone: Tz,
    pub(super) currency: String,
    pub(super) sender: Sender,
    pub(super) brand: Brand,
    pub(super) consent: String,
}

pub(super) fn read(source: &Source, problems: &mut Problems) -> Option<Config> {
    let table = parse(source, problems)?;
    let mut file = Reader::file(source, &table);
    let (basics, double_opt_in) = basics(&mut file, problems);
    let zone = basics.as_ref().map_or(Tz::UTC, |basics| basics.time_zone);
    let (window, cap) = match file.optional_table("sending", problems) {
        Some(reader) => sending(reader, problems),
        None => (None, None),
    };
    let has_consultation = file.has("consultation");
    let before = problems.len();
    let mut config = Config {
        source: source.clone(),
        basics,
        names_are_known: true,
        double_opt_in,
        senders: senders(&mut file, problems),
        lead_magnets: lead_magnets(&mut file, problems),
        topics: topics(&mut file, problems),
        attributes: attributes(&mut file, problems),
        facts: facts(&mut file, problems),
        dates: file
            .optional_table("dates", problems)
            .map(|reader| dates(reader, zone, problems))
            .unwrap_or_default(),
        team: team(&mut file, problems),
        window,
        cap,
        retention: file
            .optional_table("retention", problems)
            .map(|reader| retention(reader, problems))
            .unwrap_or_default(),
        has_consultation,
        consultation: None,
        plans: plans(&mut file, problems),
    };
    config.names_are_known = problems.len() == before;
    config.consultation =
        file.optional_table("consultation", problems).and_then(|reader| consultation(reader, problems));
    file.finish(problems);
    Some(config)
}

/// The basics, and whether an address must be confirmed.
fn basics(file: &mut Reader<'_>, problems: &mut Problems) -> (Option<Basics>, bool) {
    let name = file.text("name", "道コーチング", problems);
    let locale = file.parsed(
        "locale",
        "ja",
        |text| {
            Locale::ALL
                .into_iter()
                .find(|locale| locale.as_str() == text)
                .ok_or_else(|| "write `ja` or `en`".to_owned())
        },
        problems,
    );
    let time_zone = file.parsed("time_zone", "Asia/Tokyo", zone, problems);
    let currency = file.parsed("currency", "JPY", currency, problems);
    let sender = file.table("sender", problems).and_then(|reader| sender(reader, problems));
    let brand = file.table("brand", problems).and_then(|reader| brand(reader, problems));
    let consent = file.table("consent", problems).map(|mut reader| {
        let text = reader.text("text", "メールの受け取りに同意します。", problems);
        let double = reader.flag("double", problems).is_some_and(|double| double.value);
        reader.finish(problems);
        (text, double)
    });
    let (consent, double) = consent.unwrap_or_default();
    let basics = || {
        Some(Basics {
            name: name?.value,
            locale: locale?.value,
            time_zone: time_zone?.value,
            currency: currency?.value,
            sender: sender?,
            brand: brand?,
            consent: consent?.value,
        })
    };
    (basics(), double)
}

impl Config {
    /// What mails and pages can speak of.
    pub(super) fn declared(&self) -> Declared {
        Declared {
            consultation: self.has_consultation,
            plans: !self.plans.is_empty(),
            double_opt_in: self.double_opt_in,
            senders: self.senders.keys().cloned().collect(),
            topics: self.topics.iter().map(|topic| topic.id.clone()).collect(),
            dates: self.dates.keys().cloned().collect(),
        }
    }

    /// A lead magnet's page must be there, and open to everybody who has its link.
    pub(super) fn check_pages(&self, pages: &BTreeMap<Id, Page>, problems: &mut Problems) {
        for magnet in &self.lead_magnets {
            let page = &magnet.value.page;
            if !pages.get(page).is_some_and(Page::is_public)
                && !has_errors(&format!("pages/{page}.md"), problems)
            {
                let known = pages.values().filter(|page| page.is_public()).map(|page| page.id.as_str());
                problems.push(self.source.problem(
                    &magnet.span,
                    format!("there is no public page `{page}`"),
                    suggest(page.as_str(), known),
                ));
            }
        }
    }
}

fn zone(text: &str) -> Result<Tz, String> {
    text.parse().map_err(|_| {
        let mend = suggest(text, TZ_VARIANTS.iter().map(|zone| zone.name()));
        // All six hundred zones would be no help.
        if mend.starts_with("did you mean") {
            mend
        } else {
            "write a name of the IANA time zone database: `Asia/Tokyo`".to_owned()
        }
    })
}

fn currency(text: &str) -> Result<String, String> {
    let fits = text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase());
    fits.then(|| text.to_owned()).ok_or_else(|| "write the three capitals of ISO 4217: `JPY`".to_owned())
}

fn address(text: &str) -> Result<EmailAddress, String> {
    EmailAddress::parse(text).map_err(|error| format!("a mail address: {error}"))
}

pub(super) fn https(text: &str) -> Result<String, String> {
    text.starts_with("https://")
        .then(|| text.to_owned())
        .ok_or_else(|| "write a URL that begins with `https://`".to_owned())
}

fn colour(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix('#').unwrap_or_default();
    let fits = digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    fits.then(|| text.to_ascii_lowercase()).ok_or_else(|| "write `#` and six digits: `#1f5c4d`".to_owned())
}

fn sender(mut reader: Reader<'_>, problems: &mut Problems) -> Option<Sender> {
    let name = reader.text("name", "道コーチング", problems);
    let sends_from = reader.parsed("address", "coach@example.com", address, problems);
    let reply_to = reader.parsed("reply_to", "coach@example.com", address, problems);
    let postal_address = reader.text("postal_address", "〒100-0000 東京都千代田区…", problems);
    let contact = reader.text("contact", "coach@example.com", problems);
    reader.finish(problems);
    Some(Sender {
        name: name?.value,
        address: sends_from?.value,
        reply_to: reply_to?.value,
        postal_address: postal_address?.value,
        contact: contact?.value,
    })
}

fn brand(mut reader: Reader<'_>, problems: &mut Problems) -> Option<Brand> {
    let colour = reader.parsed("colour", "#1f5c4d", colour, problems);
    let logo = reader.text("logo", "道コーチング", problems);
    reader.finish(problems);
    Some(Brand { colour: colour?.value, logo: logo?.value })
}

fn lead_magnets(file: &mut Reader<'_>, problems: &mut Problems) -> Vec<At<LeadMagnet>> {
    let mut seen = BTreeSet::new();
    let readers = file.tables("lead_magnets", problems);
    if readers.is_empty() {
        problems.push(
            file.source()
                .problem_of_file("no lead magnet", "write `[[lead_magnets]]` with `id`, `title` and `page`"),
        );
    }
    let magnets = readers.into_iter().filter_map(|mut reader| {
        let id = unique_id(&mut reader, "checklist", &mut seen, problems);
        let title = reader.text("title", "チェックリスト", problems);
        let page = reader.parsed("page", "checklist", parse_id, problems);
        reader.finish(problems);
        let page = page?;
        Some(At {
            value: LeadMagnet { id: id?.value, title: title?.value, page: page.value },
            span: page.span,
        })
    });
    magnets.collect()
}

/// The tables of a list that each have an `id` of their own, and a `name`.
fn named<T>(
    file: &mut Reader<'_>,
    key: &'static str,
    (id, name): (&str, &str),
    mut rest: impl FnMut(&mut Reader<'_>, Id, String, &mut Problems) -> Option<T>,
    problems: &mut Problems,
) -> Vec<At<T>> {
    let mut seen = BTreeSet::new();
    let readers = file.tables(key, problems).into_iter();
    let read = readers.filter_map(|mut reader| {
        let id = unique_id(&mut reader, id, &mut seen, problems);
        let name = reader.text("name", name, problems);
        // A name alone is no reason to leave the others unread: what it is called is said above.
        let span = id.as_ref().map_or(reader.span(), |id| id.span.clone());
        let name = name.map(|name| name.value).unwrap_or_default();
        let value = id.and_then(|id| rest(&mut reader, id.value, name, problems));
        reader.finish(problems);
        Some(At { value: value?, span })
    });
    read.collect()
}

fn senders(file: &mut Reader<'_>, problems: &mut Problems) -> BTreeMap<Id, OtherSender> {
    let sender = |reader: &mut Reader<'_>, id, name, problems: &mut Problems| {
        let address = reader.parsed("address", "sales@example.com", address, problems)?.value;
        Some((id, OtherSender { name, address }))
    };
    let read = named(file, "senders", ("sales", "道コーチング 営業部"), sender, problems);
    read.into_iter().map(|sender| sender.value).collect()
}

fn topics(file: &mut Reader<'_>, problems: &mut Problems) -> Vec<Topic> {
    let topic = |_: &mut Reader<'_>, id, name, _: &mut Problems| Some(Topic { id, name });
    let read = named(file, "topics", ("news", "お知らせ"), topic, problems);
    read.into_iter().map(|topic| topic.value).collect()
}

fn team(file: &mut Reader<'_>, problems: &mut Problems) -> Vec<Member> {
    let member = |reader: &mut Reader<'_>, id, name, problems: &mut Problems| {
        let address = reader.parsed("address", "owner@example.com", address, problems)?.value;
        Some(Member { id, name, address })
    };
    let read = named(file, "team", ("owner", "道野あかり"), member, problems);
    read.into_iter().map(|member| member.value).collect()
}

fn attributes(file: &mut Reader<'_>, problems: &mut Problems) -> Vec<At<Attribute>> {
    named(file, "attributes", ("industry", "業種"), attribute, problems)
}

fn attribute(reader: &mut Reader<'_>, id: Id, name: String, problems: &mut Problems) -> Option<Attribute> {
    let kind = |kind: &str| match kind {
        "text" => Ok(AttributeKind::Text),
        "number" => Ok(AttributeKind::Number),
        "choice" => Ok(AttributeKind::Choice(vec![])),
        other => Err(suggest(other, ["text", "number", "choice"])),
    };
    let kind = reader.parsed("kind", "choice", kind, problems).map(|kind| kind.value);
    let ask = reader.flag("ask", problems).is_some_and(|ask| ask.value);
    let kind = match kind {
        Some(AttributeKind::Choice(_)) => AttributeKind::Choice(choices(reader, problems)),
        Some(kind @ (AttributeKind::Text | AttributeKind::Number)) => kind,
        None => {
            // Whatever it is, the choices may be meant.
            reader.has("choices");
            return None;
        }
    };
    Some(Attribute { id, name, kind, ask })
}

fn choices(reader: &mut Reader<'_>, problems: &mut Problems) -> Vec<String> {
    let before = problems.len();
    let mut choices: Vec<String> = vec![];
    for choice in reader.texts("choices", "IT", problems) {
        if choice.value.trim().is_empty() || choices.contains(&choice.value) {
            problems.push(reader.source().problem(
                &choice.span,
                format!("\"{}\" is no choice of its own", choice.value),
                "write each choice once, and none that is empty",
            ));
        }
        choices.push(choice.value);
    }
    if choices.is_empty() && problems.len() == before {
        problems.push(reader.source().problem(
            &reader.span(),
            "nothing to choose from",
            "write `choices = [\"IT\", \"金融\", \"その他\"]`",
        ));
    }
    choices
}

fn facts(file: &mut Reader<'_>, problems: &mut Problems) -> Vec<At<OwnFact>> {
    let source = file.source();
    let fact = |_: &mut Reader<'_>, id, name, _: &mut Problems| Some(OwnFact { id, name });
    let facts = named(file, "facts", ("ordered", "注文した"), fact, problems);
    for fact in &facts {
        if FactKind::ALL.iter().any(|kind| kind.as_str() == fact.value.id.as_str()) {
            problems.push(source.problem(
                &fact.span,
                format!("`{}` is a fact of Michi's own", fact.value.id),
                "give yours another id",
            ));
        }
    }
    facts
}

fn dates(reader: Reader<'_>, zone: Tz, problems: &mut Problems) -> BTreeMap<Id, DateTime<Utc>> {
    let source = reader.source();
    let mut dates = BTreeMap::new();
    for (name, text) in reader.texts_by_name("2027-03-20 20:00", problems) {
        let id = match parse_id(&name.value) {
            Ok(_) if ANCHORS.contains(&name.value.as_str()) => {
                Err("it means something else as an `anchor`".to_owned())
            }
            id => id,
        };
        // chrono takes `2027-3-1 9:00` too; one way to write a moment is enough.
        let moment = Some(&text.value).filter(|text| text.len() == 16);
        let moment = moment.and_then(|text| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").ok());
        match (id, moment) {
            (Ok(id), Some(local)) => {
                dates.insert(id, time::instant(local.date(), local.time(), zone));
            }
            (Err(mend), _) => problems.push(source.problem(
                &name.span,
                format!("a date can't be called `{}`", name.value),
                mend,
            )),
            (Ok(_), None) => problems.push(source.problem(
                &text.span,
                format!("\"{}\" is no moment", text.value),
                "write day and clock time in the funnel's zone: `2027-03-20 20:00`",
            )),
        }
    }
    dates
}

fn sending(mut reader: Reader<'_>, problems: &mut Problems) -> (Option<Window>, Option<Cap>) {
    let quiet = hours(&mut reader, "quiet_hours", "21:00-08:00", problems);
    let weekdays = weekdays(&mut reader, problems);
    let cap = reader.optional_table("cap", problems).and_then(|mut reader| {
        let mails = reader.number("mails", 1..=1000, problems);
        let days = reader.number("days", 1..=365, problems);
        reader.finish(problems);
        Some(Cap { mails: u32::try_from(mails?.value).ok()?, days: days?.value })
    });
    reader.finish(problems);
    // What is not quiet is open.
    let hours = quiet.map(|quiet| (quiet.value.1, quiet.value.0));
    (window(hours, weekdays.map(|weekdays| weekdays.value)), cap)
}

fn retention(mut reader: Reader<'_>, problems: &mut Problems) -> Retention {
    let mut days = |key| reader.optional_number(key, RETENTION_DAYS..=3650, problems);
    let (visits, mails) = (days("visits"), days("mails"));
    reader.finish(problems);
    Retention { visits: visits.map(|days| days.value), mails: mails.map(|days| days.value) }
}

/// A window, if it leaves anything out.
pub(super) fn window(
    hours: Option<(NaiveTime, NaiveTime)>,
    weekdays: Option<Vec<Weekday>>,
) -> Option<Window> {
    (hours.is_some() || weekdays.is_some()).then(|| Window { hours, weekdays: weekdays.unwrap_or_default() })
}

/// Hours of the day, `21:00-08:00`; they may go past midnight.
pub(super) fn hours(
    reader: &mut Reader<'_>,
    key: &'static str,
    example: &str,
    problems: &mut Problems,
) -> Option<At<(NaiveTime, NaiveTime)>> {
    reader.optional_parsed(
        key,
        example,
        |text| {
            clock_times(text)
                .filter(|(from, until)| from != until)
                .ok_or_else(|| format!("write two clock times: `{example}`"))
        },
        problems,
    )
}

/// Days of the week; all of them when missing.
pub(super) fn weekdays(reader: &mut Reader<'_>, problems: &mut Problems) -> Option<At<Vec<Weekday>>> {
    let texts = reader.texts("weekdays", "monday", problems);
    let span = texts.first()?.span.start..texts.last()?.span.end;
    let mut days = vec![];
    for text in texts {
        match sequence::weekday(&text.value) {
            Some(day) => days.push(day),
            None => problems.push(reader.source().problem(
                &text.span,
                format!("no weekday is called `{}`", text.value),
                suggest(&text.value, WEEKDAYS),
            )),
        }
    }
    Some(At { value: days, span })
}

fn plans(file: &mut Reader<'_>, problems: &mut Problems) -> Vec<Plan> {
    let mut seen = BTreeSet::new();
    let readers = file.tables("plans", problems);
    let plans = readers.into_iter().filter_map(|mut reader| {
        let id = unique_id(&mut reader, "standard", &mut seen, problems);
        let name = reader.text("name", "スタンダード", problems);
        let price = reader.number("price", 1..=99_999_999, problems);
        let months =
            reader.number("months", 1..=120, problems).and_then(|months| u32::try_from(months.value).ok());
        let description = reader.text("description", "月2回の個別セッション", problems);
        reader.finish(problems);
        Some(Plan {
            id: id?.value,
            name: name?.value,
            description: description?.value,
            price: price?.value,
            months: months?,
        })
    });
    plans.collect()
}

fn consultation(mut reader: Reader<'_>, problems: &mut Problems) -> Option<ConsultationOffer> {
    let title = reader.text("title", "個別相談", problems);
    let minutes = reader.number("minutes", 5..=480, problems);
    let buffer = reader.number("buffer_minutes", 0..=480, problems);
    let notice_hours = reader.number("notice_hours", 0..=720, problems);
    let horizon_days = reader.number("horizon_days", 1..=SLOT_DAYS, problems);
    let meeting_url = reader.parsed("meeting_url", "https://zoom.example.com/j/0000000000", https, problems);
    let meeting_note = reader.text("meeting_note", "開始5分前から入室できます。", problems);
    let holidays = holidays(&mut reader, problems);
    let host_names = hosts(&mut reader, problems);
    let weekly = reader.table("hours", problems).map(|hours| weekly(hours, problems));
    reader.finish(problems);
    Some(ConsultationOffer {
        title: title?.value,
        availability: Availability {
            minutes: minutes?.value,
            buffer: buffer?.value,
            notice_hours: notice_hours?.value,
            horizon_days: horizon_days?.value,
            hosts: host_names.keys().cloned().collect(),
            weekly: weekly?,
            holidays,
        },
        host_names,
        meeting_url: meeting_url?.value,
        meeting_note: meeting_note?.value,
    })
}

fn holidays(reader: &mut Reader<'_>, problems: &mut Problems) -> BTreeSet<NaiveDate> {
    let mut holidays = BTreeSet::new();
    for text in reader.texts("holidays", "2027-01-01", problems) {
        match text.value.parse() {
            Ok(day) => drop(holidays.insert(day)),
            Err(_) => problems.push(reader.source().problem(
                &text.span,
                format!("\"{}\" is no day", text.value),
                "write `2027-01-01`",
            )),
        }
    }
    holidays
}

fn hosts(reader: &mut Reader<'_>, problems: &mut Problems) -> BTreeMap<Id, String> {
    let mut seen = BTreeSet::new();
    let readers = reader.tables("hosts", problems);
    if readers.is_empty() {
        problems.push(reader.source().problem(
            &reader.span(),
            "nobody holds the consultations",
            "write `[[consultation.hosts]]` with `id` and `name`",
        ));
    }
    let hosts = readers.into_iter().filter_map(|mut host| {
        let id = unique_id(&mut host, "michino", &mut seen, problems);
        let name = host.text("name", "道野あかり", problems);
        host.finish(problems);
        Some((id?.value, name?.value))
    });
    hosts.collect()
}

fn weekly(mut reader: Reader<'_>, problems: &mut Problems) -> BTreeMap<u8, Vec<(NaiveTime, NaiveTime)>> {
    let mut weekly = BTreeMap::new();
    for (key, day) in (0_u8..).zip(WEEKDAYS) {
        let mut spans = vec![];
        for text in reader.texts(day, "10:00-13:00", problems) {
            match span(&text.value) {
                Some(span) => spans.push(span),
                None => problems.push(reader.source().problem(
                    &text.span,
                    format!("\"{}\" are no opening hours", text.value),
                    "write `10:00-13:00`, the earlier time first",
                )),
            }
        }
        if !spans.is_empty() {
            weekly.insert(key, spans);
        }
    }
    reader.finish(problems);
    weekly
}

fn span(text: &str) -> Option<(NaiveTime, NaiveTime)> {
    clock_times(text).filter(|(from, until)| from < until)
}

fn clock_times(text: &str) -> Option<(NaiveTime, NaiveTime)> {
    let (from, until) = text.split_once('-')?;
    let time = |text: &str| NaiveTime::parse_from_str(text.trim(), "%H:%M").ok();
    Some((time(from)?, time(until)?))
}
