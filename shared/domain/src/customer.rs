//! Plans, applications and customers.

use chrono::{DateTime, Months, NaiveDate, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::{
    event::{Event, Fact},
    id::Id,
    time,
};

/// What is sold (seed 000, C8.2: standard, premium, VIP).
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub id: Id,
    pub name: String,
    pub description: String,
    /// In the currency's minor unit (yen have none: 330000 is ¥330,000).
    pub price: i64,
    /// How long it runs, in months.
    pub months: u32,
}

/// One row of the Customers table (seed 000, C8.2, database 4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Customer {
    pub customer_id: Id,
    pub lead_id: Id,
    pub plan: String,
    /// What was paid, in the currency's minor unit.
    pub price: i64,
    pub currency: String,
    pub start_date: NaiveDate,
    pub end_date: NaiveDate,
    pub status: CustomerStatus,
    pub application_id: Id,
    /// The payment provider's name for the payment.
    pub payment_reference: String,
    #[serde(with = "time::stored")]
    pub paid_at: DateTime<Utc>,
    pub version: u64,
}

/// Seed 000's status of a customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CustomerStatus {
    Active,
    Completed,
    Churned,
}

/// A payment that the provider reports as done.
#[derive(Debug, Clone)]
pub struct Payment {
    pub lead_id: Id,
    pub application_id: Id,
    pub plan: Id,
    /// In the currency's minor unit, as the provider took it.
    pub amount: i64,
    /// Upper case ISO 4217.
    pub currency: String,
    /// The provider's id of the checkout: one payment, however often it is reported.
    pub reference: String,
    pub paid_at: DateTime<Utc>,
}

/// An application handed in: the fact, and the id that the payment will bring back. The same
/// person and plan on the same day are the same application.
pub fn apply(lead_id: &Id, plan: &Plan, now: DateTime<Utc>, zone: Tz) -> (Id, Event) {
    let day = time::day(now, zone).to_string();
    let application_id = Id::derived("a", &[lead_id.as_str(), plan.id.as_str(), &day]);
    let fact = Fact::ApplicationSubmitted {
        application_id: application_id.clone(),
        plan: plan.id.to_string(),
        price: plan.price,
    };
    let event = Event::about(lead_id, application_id.as_str(), fact, now, zone);
    (application_id, event)
}

/// The customer a payment makes, and the sale. Both ids follow from the payment's reference, so a
/// payment reported twice is one customer and one sale.
pub fn pay(payment: Payment, plan: &Plan, zone: Tz) -> (Customer, Event) {
    let customer_id = Id::derived("u", &[&payment.reference]);
    let start_date = time::day(payment.paid_at, zone);
    let customer = Customer {
        customer_id: customer_id.clone(),
        lead_id: payment.lead_id,
        plan: plan.id.to_string(),
        price: payment.amount,
        currency: payment.currency.clone(),
        start_date,
        end_date: start_date.checked_add_months(Months::new(plan.months)).unwrap_or(start_date),
        status: CustomerStatus::Active,
        application_id: payment.application_id,
        payment_reference: payment.reference,
        paid_at: payment.paid_at,
        version: 1,
    };
    let fact = Fact::CustomerPaid {
        customer_id: customer_id.clone(),
        plan: plan.id.to_string(),
        price: payment.amount,
        currency: payment.currency,
    };
    let event = Event::about(&customer.lead_id, customer_id.as_str(), fact, payment.paid_at, zone);
    (customer, event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payment_reported_twice_makes_one_customer_and_one_sale() {
        let id = |text: &str| Id::parse(text).unwrap();
        let plan = Plan {
            id: id("vip"),
            name: "VIP".into(),
            description: String::new(),
            price: 1_500_000,
            months: 6,
        };
        let payment = Payment {
            lead_id: id("l-1"),
            application_id: id("a-1"),
            plan: id("vip"),
            amount: 1_500_000,
            currency: "JPY".into(),
            reference: "cs_test_1".into(),
            paid_at: "2026-08-31T15:00:00Z".parse().unwrap(),
        };
        let (customer, event) = pay(payment.clone(), &plan, Tz::Asia__Tokyo);
        assert_eq!((customer.clone(), event.clone()), pay(payment, &plan, Tz::Asia__Tokyo));
        assert_eq!(
            (customer.start_date.to_string(), customer.end_date.to_string()),
            ("2026-09-01".into(), "2027-03-01".into())
        );
        assert_eq!(event.day.to_string(), "2026-09-01");
    }
}
