//! What a simulation found, for people and for programs.

use std::{fmt::Write, time::Duration};

use content::{Funnel, Locale, format};
use domain::kpi::KpiDaily;
use serde::Serialize;

use super::Options;
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
    pub virtual_days: u32,
    pub wall_ms: u128,
    /// DynamoDB's, as it reported them.
    pub write_units: f64,
    /// DynamoDB's, as it reported them.
    pub read_units: f64,
    pub kpi_daily: Vec<KpiDaily>,
    #[serde(skip)]
    currency: String,
    #[serde(skip)]
    locale: Locale,
}

impl Report {
    /// Adds up the days.
    pub fn new(
        funnel: &Funnel,
        options: &Options,
        kpi_daily: Vec<KpiDaily>,
        meter: &Meter,
        wall: Duration,
    ) -> Self {
        let sum = |figure: fn(&KpiDaily) -> u64| kpi_daily.iter().map(figure).sum();
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
            virtual_days: options.days,
            wall_ms: wall.as_millis(),
            write_units: units(meter.write_units()),
            read_units: units(meter.read_units()),
            kpi_daily,
            currency: funnel.currency.clone(),
            locale: funnel.locale,
        }
    }

    /// The funnel as a table: each stage, and how many of the one before reached it.
    pub fn table(&self) -> String {
        let visitors: u64 = self.kpi_daily.iter().map(|day| day.lp_visitors).sum();
        let names = match self.locale {
            Locale::Ja => [
                "LP訪問",
                "リード獲得",
                "メール配信",
                "開封",
                "クリック",
                "配信停止",
                "個別相談 申込",
                "個別相談 実施",
                "成約",
                "売上",
                "DynamoDB 書込み / 読込み",
            ],
            Locale::En => [
                "Landing page visits",
                "Leads",
                "Mails sent",
                "Opened",
                "Clicked",
                "Unsubscribed",
                "Consultations booked",
                "Consultations held",
                "Sales",
                "Revenue",
                "DynamoDB writes / reads",
            ],
        };
        let figures = [
            (visitors, None),
            (self.leads, Some(visitors)),
            (self.mails_sent, None),
            (self.mails_opened, Some(self.mails_sent)),
            (self.mails_clicked, Some(self.mails_sent)),
            (self.unsubscribed, Some(self.leads)),
            (self.consultations_booked, Some(self.leads)),
            (self.consultations_held, Some(self.consultations_booked)),
            (self.sales, Some(self.consultations_held)),
        ];
        let mut table = String::new();
        for (name, (count, of)) in names.iter().zip(figures) {
            let share = of.map(|of| share(count, of)).unwrap_or_default();
            let _ = writeln!(table, "{}{count:>12}{share:>10}", padded(name));
        }
        let _ = writeln!(table, "{}{:>12}", padded(names[9]), format::money(self.revenue, &self.currency));
        let _ = writeln!(table, "{}{:>12.0} / {:.0}", padded(names[10]), self.write_units, self.read_units);
        table
    }
}

/// A share in per cent with one decimal.
fn share(count: u64, of: u64) -> String {
    match (count * 1000).checked_div(of) {
        Some(per_mille) => format!("{}.{} %", per_mille / 10, per_mille % 10),
        None => "–".to_owned(),
    }
}

/// To 26 columns; Japanese letters take two.
fn padded(name: &str) -> String {
    let width: usize = name.chars().map(|letter| if letter.is_ascii() { 1 } else { 2 }).sum();
    format!("{name}{}", " ".repeat(26_usize.saturating_sub(width)))
}

#[expect(
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    reason = "the only place where counted hundredths become a number for people"
)]
fn units(hundredths: u64) -> f64 {
    hundredths as f64 / 100.0
}
