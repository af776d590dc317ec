//! A day's figures, made from the day's facts alone.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::event::{Event, Fact};

/// One row of KPI_Daily: seed 000's columns (C8.2, database 6) and the day's mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KpiDaily {
    /// `2026-11`: partition of the table.
    pub month: String,
    /// `2026-11-22`, in the funnel's zone.
    pub date: NaiveDate,
    /// Different visitors of any page.
    pub website_visitors: u64,
    /// Different visitors of a landing page.
    pub lp_visitors: u64,
    /// New leads.
    pub opt_ins: u64,
    /// Consultations booked.
    pub consultation_requests: u64,
    /// Consultations that took place.
    pub consultations_held: u64,
    /// Payments.
    pub sales: u64,
    /// Money in, in the currency's minor unit.
    pub revenue: i64,
    /// Mails that SES took.
    pub mails_sent: u64,
    /// Sends whose answer was lost: SES may or may not have taken them.
    #[serde(default)]
    pub mails_unknown: u64,
    pub mails_delivered: u64,
    /// Mails first opened that day by a person.
    pub mails_opened: u64,
    /// Mails first opened that day by a machine.
    pub mails_opened_by_machine: u64,
    /// Mails in which a person followed a link for the first time that day.
    pub mails_clicked: u64,
    /// Mails in which a machine first followed a link that day.
    #[serde(default)]
    pub mails_clicked_by_machine: u64,
    pub mails_bounced: u64,
    pub mails_complained: u64,
    pub unsubscribed: u64,
    pub consultations_cancelled: u64,
    pub consultations_missed: u64,
    pub applications: u64,
}

impl KpiDaily {
    /// A day on which nothing happened.
    pub fn empty(date: NaiveDate) -> Self {
        Self {
            month: date.format("%Y-%m").to_string(),
            date,
            website_visitors: 0,
            lp_visitors: 0,
            opt_ins: 0,
            consultation_requests: 0,
            consultations_held: 0,
            sales: 0,
            revenue: 0,
            mails_sent: 0,
            mails_unknown: 0,
            mails_delivered: 0,
            mails_opened: 0,
            mails_opened_by_machine: 0,
            mails_clicked: 0,
            mails_clicked_by_machine: 0,
            mails_bounced: 0,
            mails_complained: 0,
            unsubscribed: 0,
            consultations_cancelled: 0,
            consultations_missed: 0,
            applications: 0,
        }
    }
}

/// Counts a day. Facts come in any order and any number of pages; the same facts always give the
/// same row.
#[derive(Debug, Clone)]
pub struct DayCount {
    row: KpiDaily,
    visitors: BTreeSet<String>,
    lp_visitors: BTreeSet<String>,
    clicked: BTreeSet<String>,
    clicked_by_machine: BTreeSet<String>,
}

impl DayCount {
    /// Starts a day.
    pub fn new(date: NaiveDate) -> Self {
        Self {
            row: KpiDaily::empty(date),
            visitors: BTreeSet::new(),
            lp_visitors: BTreeSet::new(),
            clicked: BTreeSet::new(),
            clicked_by_machine: BTreeSet::new(),
        }
    }

    /// Adds one fact of that day.
    pub fn add(&mut self, event: &Event) {
        let row = &mut self.row;
        match &event.fact {
            Fact::Visited { visitor_id, landing, .. } => {
                self.visitors.insert(visitor_id.to_string());
                if *landing {
                    self.lp_visitors.insert(visitor_id.to_string());
                }
            }
            Fact::OptedIn { first, .. } => row.opt_ins += u64::from(*first),
            Fact::MailSent { .. } => row.mails_sent += 1,
            Fact::MailUnknown { .. } => row.mails_unknown += 1,
            Fact::MailDelivered { .. } => row.mails_delivered += 1,
            Fact::MailOpened { machine: true, .. } => row.mails_opened_by_machine += 1,
            Fact::MailOpened { machine: false, .. } => row.mails_opened += 1,
            Fact::MailClicked { engagement_id, machine, .. } => {
                let lead = event.lead_id.as_ref().map(ToString::to_string).unwrap_or_default();
                let clicked = if *machine { &mut self.clicked_by_machine } else { &mut self.clicked };
                clicked.insert(format!("{lead}/{engagement_id}"));
            }
            Fact::MailBounced { .. } => row.mails_bounced += 1,
            Fact::MailComplained { .. } => row.mails_complained += 1,
            Fact::Unsubscribed {} => row.unsubscribed += 1,
            Fact::OptInRequested { .. }
            | Fact::PreferencesChanged {}
            | Fact::PageSeen { .. }
            | Fact::Tagged { .. }
            | Fact::StageChanged { .. }
            | Fact::ScoreCrossed { .. }
            | Fact::Told { .. } => {}
            Fact::ConsultationBooked { .. } => row.consultation_requests += 1,
            Fact::ConsultationRescheduled { .. } => {}
            Fact::ConsultationCancelled { .. } => row.consultations_cancelled += 1,
            Fact::ConsultationHeld { .. } => row.consultations_held += 1,
            Fact::ConsultationMissed { .. } => row.consultations_missed += 1,
            Fact::ApplicationSubmitted { .. } => row.applications += 1,
            Fact::CustomerPaid { price, .. } => {
                row.sales += 1;
                row.revenue += price;
            }
        }
    }

    /// The day's row.
    pub fn finish(self) -> KpiDaily {
        let count = |set: BTreeSet<String>| u64::try_from(set.len()).unwrap_or(u64::MAX);
        KpiDaily {
            website_visitors: count(self.visitors),
            lp_visitors: count(self.lp_visitors),
            mails_clicked: count(self.clicked),
            mails_clicked_by_machine: count(self.clicked_by_machine),
            ..self.row
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id;
    use chrono_tz::Tz::Asia__Tokyo;
    use proptest::prelude::*;

    fn facts() -> Vec<Event> {
        let id = |text: &str| Id::parse(text).unwrap();
        let now = "2026-11-22T01:00:00Z".parse().unwrap();
        let about = |key: &str, fact| Event::about(&id("l-1"), key, fact, now, Asia__Tokyo);
        let mail = || ("nurture_1_day-1".to_owned(), "nurture/day-1".to_owned());
        let clicked = |link: &str, machine| Fact::MailClicked {
            engagement_id: mail().0,
            email_campaign_id: mail().1,
            link: link.into(),
            machine,
        };
        let opened =
            |machine| Fact::MailOpened { engagement_id: mail().0, email_campaign_id: mail().1, machine };
        let opted = |first| Fact::OptedIn {
            first,
            source: None,
            lead_magnet_type: None,
            visitor_id: None,
            utm: Default::default(),
        };
        vec![
            Event::visit(&id("v-1"), "landing", true, None, Default::default(), now, Asia__Tokyo),
            Event::visit(&id("v-1"), "privacy", false, None, Default::default(), now, Asia__Tokyo),
            Event::visit(&id("v-2"), "privacy", false, None, Default::default(), now, Asia__Tokyo),
            about("a", opted(true)),
            about("b", opted(false)),
            about("c", Fact::MailSent { engagement_id: mail().0, email_campaign_id: mail().1 }),
            about("d", opened(true)),
            about("e", opened(false)),
            about("f", clicked("https://example.com/a", false)),
            about("g", clicked("https://example.com/b", false)),
            about("h", clicked("https://example.com/b", true)),
            about(
                "i",
                Fact::CustomerPaid {
                    customer_id: id("u-1"),
                    plan: "vip".into(),
                    price: 1_500_000,
                    currency: "JPY".into(),
                },
            ),
            about(
                "j",
                Fact::CustomerPaid {
                    customer_id: id("u-2"),
                    plan: "standard".into(),
                    price: 500_000,
                    currency: "JPY".into(),
                },
            ),
        ]
    }

    fn count(facts: &[Event]) -> KpiDaily {
        let mut day = DayCount::new("2026-11-22".parse().unwrap());
        facts.iter().for_each(|fact| day.add(fact));
        day.finish()
    }

    #[test]
    fn people_are_counted_once_and_machines_apart() {
        let row = count(&facts());
        assert_eq!((row.website_visitors, row.lp_visitors, row.opt_ins), (2, 1, 1));
        assert_eq!(
            (row.mails_sent, row.mails_opened, row.mails_opened_by_machine, row.mails_clicked),
            (1, 1, 1, 1)
        );
        assert_eq!(row.mails_clicked_by_machine, 1);
        assert_eq!((row.sales, row.revenue), (2, 2_000_000));
    }

    proptest! {
        #[test]
        fn the_order_of_facts_does_not_matter(shuffled in Just(facts()).prop_shuffle()) {
            prop_assert_eq!(count(&shuffled), count(&facts()));
        }
    }
}
