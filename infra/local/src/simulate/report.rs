//! What a simulation found, for people and for programs.

use std::{fmt::Write, time::Duration};

use content::{Funnel, Locale, format, simulation::Expect};
use domain::kpi::KpiDaily;
use serde::Serialize;

use super::{Options, tally::Tally};
use crate::aws::meter::Meter;

/// The figures of a simulation. Money is in the currency's minor unit.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub leads: u64,
    pub mails_sent: u64,
    pub mails_opened: u64,
    pub mails_clicked: u64,
    pub unsubscribed: u64,
    pub consultations_booked: u64,
    pub consultations_held: u64,
    pub sales: u64,
    pub revenue: i64,
    #[serde(flatten)]
    pub tally: Tally,
    pub virtual_days: u32,
    pub wall_ms: u128,
    /// DynamoDB's, as it reported them.
    pub write_units: f64,
    /// DynamoDB's, as it reported them.
    pub read_units: f64,
    pub kpi_daily: Vec<KpiDaily>,
    #[serde(skip)]
    names: Names,
}

/// What the funnel calls its things.
#[derive(Debug, Clone)]
struct Names {
    locale: Locale,
    currency: String,
    consultation: bool,
    plans: bool,
    sequences: Vec<(String, String)>,
    facts: Vec<(String, String)>,
}

/// A line of the table.
struct Line {
    name: String,
    value: String,
    share: String,
}

impl Report {
    /// Adds up the days.
    pub fn new(
        funnel: &Funnel,
        options: &Options,
        kpi_daily: Vec<KpiDaily>,
        tally: Tally,
        meter: &Meter,
        wall: Duration,
    ) -> Self {
        let sum = |figure: fn(&KpiDaily) -> u64| kpi_daily.iter().map(figure).sum();
        let sequences = funnel.sequences.iter();
        Self {
            leads: sum(|day| day.opt_ins),
            mails_sent: sum(|day| day.mails_sent),
            mails_opened: sum(|day| day.mails_opened),
            mails_clicked: sum(|day| day.mails_clicked),
            unsubscribed: sum(|day| day.unsubscribed),
            consultations_booked: sum(|day| day.consultation_requests),
            consultations_held: sum(|day| day.consultations_held),
            sales: sum(|day| day.sales),
            revenue: kpi_daily.iter().map(|day| day.revenue).sum(),
            tally,
            virtual_days: options.days,
            wall_ms: wall.as_millis(),
            write_units: units(meter.write_units()),
            read_units: units(meter.read_units()),
            kpi_daily,
            names: Names {
                locale: funnel.locale,
                currency: funnel.currency.clone(),
                consultation: funnel.consultation.is_some(),
                plans: !funnel.plans.is_empty(),
                sequences: sequences.map(|it| (it.id.to_string(), it.name.clone())).collect(),
                facts: funnel.facts.iter().map(|it| (it.id.to_string(), it.name.clone())).collect(),
            },
        }
    }

    /// A figure by the name that an expectation gives it.
    pub fn figure(&self, name: &str) -> Option<u64> {
        Some(match name {
            "leads" => self.leads,
            "mails_sent" => self.mails_sent,
            "mails_opened" => self.mails_opened,
            "mails_clicked" => self.mails_clicked,
            "unsubscribed" => self.unsubscribed,
            "consultations_booked" => self.consultations_booked,
            "consultations_held" => self.consultations_held,
            "sales" => self.sales,
            other => {
                let tally = &self.tally;
                let (kind, id) = other.split_once('.').unwrap_or(("", other));
                let counted = match kind {
                    "sequence" => &tally.sequences,
                    "mail" => &tally.mails,
                    _ => &tally.facts,
                };
                return counted.get(id).copied();
            }
        })
    }

    /// The figures that are not as expected, a line each.
    pub fn surprises(&self, expect: &Expect) -> Vec<String> {
        let expected = expect.figures.iter().filter_map(|(name, (least, most))| {
            let found = self.figure(name).unwrap_or(0);
            (!(*least..=*most).contains(&found))
                .then(|| format!("{name} is {found}, expected {least} to {most}"))
        });
        expected.collect()
    }

    /// The funnel as a table: each stage, and how many of the one before reached it.
    pub fn table(&self) -> String {
        let mut table = String::new();
        for line in self.lines() {
            let _ = writeln!(table, "{}{:>12}{:>10}", padded(&line.name), line.value, line.share);
        }
        table
    }

    /// Two simulations of the same people side by side, and what the second has more or less.
    pub fn beside(&self, other: &Self) -> String {
        let (left, right) = (self.lines(), other.lines());
        let mut names: Vec<&str> = left.iter().map(|line| line.name.as_str()).collect();
        for line in &right {
            if !names.contains(&line.name.as_str()) {
                names.push(&line.name);
            }
        }
        let value = |lines: &[Line], name: &str| {
            lines.iter().find(|line| line.name == name).map_or("–".to_owned(), |line| line.value.clone())
        };
        let number = |text: &str| {
            let digits: String = text.chars().filter(|c| c.is_ascii_digit()).collect();
            digits.parse::<i64>().ok()
        };
        let mut table = format!("{}{:>14}{:>14}{:>14}\n", padded(""), "A", "B", "B − A");
        for name in names {
            let (a, b) = (value(&left, name), value(&right, name));
            let difference = match (number(&a), number(&b)) {
                (Some(a), Some(b)) => format!("{:+}", b - a),
                _ => String::new(),
            };
            let _ = writeln!(table, "{}{a:>14}{b:>14}{difference:>14}", padded(name));
        }
        table
    }

    fn lines(&self) -> Vec<Line> {
        let visitors: u64 = self.kpi_daily.iter().map(|day| day.lp_visitors).sum();
        let (ja, names) = (self.names.locale == Locale::Ja, &self.names);
        let named = |ja_name: &str, en_name: &str| if ja { ja_name } else { en_name }.to_owned();
        let line = |name: String, value: u64, of: Option<u64>| Line {
            name,
            value: value.to_string(),
            share: of.map(|of| share(value, of)).unwrap_or_default(),
        };
        let mut lines = vec![
            line(named("LP訪問", "Landing page visits"), visitors, None),
            line(named("リード獲得", "Leads"), self.leads, Some(visitors)),
            line(named("メール配信", "Mails sent"), self.mails_sent, None),
            line(named("開封", "Opened"), self.mails_opened, Some(self.mails_sent)),
            line(named("クリック", "Clicked"), self.mails_clicked, Some(self.mails_sent)),
            line(named("配信停止", "Unsubscribed"), self.unsubscribed, Some(self.leads)),
        ];
        if names.consultation {
            let (booked, held) = (self.consultations_booked, self.consultations_held);
            lines.push(line(named("個別相談 申込", "Consultations booked"), booked, Some(self.leads)));
            lines.push(line(named("個別相談 実施", "Consultations held"), held, Some(booked)));
        }
        if names.plans {
            lines.push(line(named("成約", "Sales"), self.sales, Some(self.consultations_held)));
            lines.push(Line {
                name: named("売上", "Revenue"),
                value: format::money(self.revenue, &names.currency),
                share: String::new(),
            });
        }
        for (id, name) in &names.facts {
            let told = self.tally.facts.get(id).copied().unwrap_or(0);
            lines.push(line(name.clone(), told, Some(self.leads)));
        }
        for (id, name) in &names.sequences {
            let entered = self.tally.sequences.get(id).copied().unwrap_or(0);
            lines.push(line(format!("▸ {name}"), entered, Some(self.leads)));
        }
        for (reason, count) in &self.tally.not_sent {
            lines.push(line(format!("{}: {reason}", named("未配信", "Not sent")), *count, None));
        }
        lines.push(Line {
            name: named("DynamoDB 書込み / 読込み", "DynamoDB writes / reads"),
            value: format!("{:.0} / {:.0}", self.write_units, self.read_units),
            share: String::new(),
        });
        lines
    }
}

/// A share in per cent with one decimal.
fn share(count: u64, of: u64) -> String {
    match (count * 1000).checked_div(of) {
        Some(per_mille) => format!("{}.{} %", per_mille / 10, per_mille % 10),
        None => "–".to_owned(),
    }
}

/// To 44 columns; Japanese letters take two.
fn padded(name: &str) -> String {
    let width: usize = name.chars().map(|letter| if letter.is_ascii() { 1 } else { 2 }).sum();
    format!("{name}{}", " ".repeat(44_usize.saturating_sub(width)))
}

#[expect(
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    reason = "the only place where counted hundredths become a number for people"
)]
fn units(hundredths: u64) -> f64 {
    hundredths as f64 / 100.0
}
