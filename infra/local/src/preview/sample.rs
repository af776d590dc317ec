//! Sample people: whom a preview or a test mail is made for.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use content::{
    Funnel, Mail, MailConsultation, MailContext, MailPurchase, RenderProblem, RenderedMail,
    funnel::AttributeKind,
};
use domain::{
    condition::Known,
    email_address::EmailAddress,
    id::Id,
    lead::{self, Consent, OptIn},
    text::ShortText,
};

/// Somebody as the preview's form describes her.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Empty for somebody who gave no name.
    pub name: String,
    /// By attribute; empty for what is not known.
    pub attributes: BTreeMap<String, String>,
    pub tags: Vec<String>,
}

impl Sample {
    /// Somebody of whom everything is known.
    pub fn known(funnel: &Funnel) -> Self {
        let attributes = funnel.attributes.iter().map(|attribute| {
            let value = match &attribute.kind {
                AttributeKind::Text => attribute.name.clone(),
                AttributeKind::Number => "150".to_owned(),
                AttributeKind::Choice(choices) => choices.first().cloned().unwrap_or_default(),
            };
            (attribute.id.to_string(), value)
        });
        Self { name: "山田 花子".to_owned(), attributes: attributes.collect(), tags: vec![] }
    }

    /// Makes a mail for this person.
    ///
    /// # Errors
    /// [`RenderProblem`] naming the mail's line.
    pub fn render(
        &self,
        funnel: &Funnel,
        mail: &Mail,
        public_url: &str,
        now: DateTime<Utc>,
    ) -> Result<RenderedMail, RenderProblem> {
        let link = |path: &str| format!("{public_url}/{path}?t=preview");
        let context = MailContext {
            name: Some(self.name.trim().to_owned()).filter(|name| !name.is_empty()),
            time_zone: funnel.time_zone,
            public_url: public_url.to_owned(),
            lead_magnet: None,
            booking_url: funnel.consultation.as_ref().map(|_| link("booking")),
            apply_url: (!funnel.plans.is_empty()).then(|| link("apply")),
            preferences_url: link("preferences"),
            unsubscribe_url: link("unsubscribe"),
            confirm_url: funnel.double_opt_in.then(|| link("confirm")),
            attributes: self.attributes.clone(),
            values: BTreeMap::new(),
            now,
            consultation: funnel.consultation.as_ref().map(|_| MailConsultation {
                start: now + TimeDelta::days(3),
                manage_url: link("bookings/c-preview"),
            }),
            purchase: funnel.plans.first().map(|plan| MailPurchase {
                plan: plan.id.to_string(),
                price: plan.price,
                currency: funnel.currency.clone(),
                paid_at: now,
            }),
        };
        let Some(lead) = self.lead(funnel, now) else {
            return Err(RenderProblem::Layout { file: "preview".into(), reason: "no sample".into() });
        };
        let known = Known {
            lead: &lead,
            ledger: &[],
            timeline: &[],
            enrolments: &[],
            scoring: &funnel.scoring,
            entered_at: None,
            now,
        };
        funnel.render(mail, &context, &known)
    }

    fn lead(&self, funnel: &Funnel, now: DateTime<Utc>) -> Option<lead::Lead> {
        let form = OptIn {
            email: EmailAddress::parse("hanako@example.com").ok()?,
            name: ShortText::parse(&self.name).ok(),
            phone: None,
            source: None,
            lead_magnet_type: funnel.lead_magnets.first().map(|magnet| magnet.id.clone()),
            visitor_id: None,
            locale: None,
            time_zone: None,
            utm: BTreeMap::new(),
            attributes: self.attributes.clone().into_iter().filter(|(_, value)| !value.is_empty()).collect(),
            consent: Consent {
                given_at: now,
                text: funnel.consent.clone(),
                place: "preview".to_owned(),
                ip: None,
                confirmed_at: None,
                confirmed_ip: None,
            },
        };
        let mut lead = lead::opt_in(None, Id::parse("l-preview").ok()?, form, now, funnel.time_zone).lead;
        lead.tags.extend(self.tags.iter().cloned());
        Some(lead)
    }
}
