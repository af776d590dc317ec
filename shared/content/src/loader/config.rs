//! `funnel.toml`.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{NaiveDate, NaiveTime};
use chrono_tz::{TZ_VARIANTS, Tz};
use domain::consultation::Availability;
use domain::customer::Plan;
use domain::email_address::EmailAddress;
use domain::id::Id;
use domain::limits::SLOT_DAYS;

use super::{Problems, has_problems, parse_id, unique_id};
use crate::funnel::{Brand, ConsultationOffer, LeadMagnet, Sender};
use crate::page::Page;
use crate::problem::{Source, suggest};
use crate::reader::{At, Reader, parse};
use crate::texts::Locale;

/// The weekdays' names, Monday first, as in [`domain::consultation::weekday_key`].
const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// What `funnel.toml` says.
pub(super) struct Config {
    source: Source,
    pub(super) name: String,
    pub(super) locale: Locale,
    pub(super) time_zone: Tz,
    pub(super) currency: String,
    pub(super) sender: Sender,
    pub(super) brand: Brand,
    pub(super) consent: String,
    pub(super) lead_magnets: Vec<At<LeadMagnet>>,
    pub(super) consultation: ConsultationOffer,
    pub(super) plans: Vec<Plan>,
}

pub(super) fn read(source: &Source, problems: &mut Problems) -> Option<Config> {
    let table = parse(source, problems)?;
    let mut file = Reader::file(source, &table);
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
    let consent = file.table("consent", problems).and_then(|mut reader| {
        let text = reader.text("text", "メールの受け取りに同意します。", problems);
        reader.finish(problems);
        text
    });
    let lead_magnets = lead_magnets(&mut file, problems);
    let consultation = file.table("consultation", problems).and_then(|reader| consultation(reader, problems));
    let plans = plans(&mut file, problems);
    file.finish(problems);
    Some(Config {
        source: source.clone(),
        name: name?.value,
        locale: locale?.value,
        time_zone: time_zone?.value,
        currency: currency?.value,
        sender: sender?,
        brand: brand?,
        consent: consent?.value,
        lead_magnets,
        consultation: consultation?,
        plans,
    })
}

impl Config {
    /// A lead magnet's page must be there, and open to everybody who has its link.
    pub(super) fn check_pages(&self, pages: &BTreeMap<Id, Page>, problems: &mut Problems) {
        for magnet in &self.lead_magnets {
            let page = &magnet.value.page;
            if !pages.get(page).is_some_and(Page::is_public)
                && !has_problems(&format!("pages/{page}.md"), problems)
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

fn https(text: &str) -> Result<String, String> {
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

fn plans(file: &mut Reader<'_>, problems: &mut Problems) -> Vec<Plan> {
    let mut seen = BTreeSet::new();
    let readers = file.tables("plans", problems);
    if readers.is_empty() {
        problems.push(file.source().problem_of_file(
            "no plan",
            "write `[[plans]]` with `id`, `name`, `price`, `months` and `description`",
        ));
    }
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
    let (from, until) = text.split_once('-')?;
    let time = |text: &str| NaiveTime::parse_from_str(text.trim(), "%H:%M").ok();
    let (from, until) = (time(from)?, time(until)?);
    (from < until).then_some((from, until))
}
