//! The preference page: which topics, how often, a pause, and the way out or back in.

use chrono::TimeDelta;
use content::{Form as PageForm, FormError, PreferencesForm, format};
use domain::{
    id::Id,
    lead::{self, Lead, Mailing, Preferences},
    limits::PAUSE_DAYS,
};
use serde_json::json;
use web::{
    answer::{self, Answer},
    form::Form,
    link::Purpose,
    problem::{Failure, Problem, Status},
    request::Request,
};

use crate::{CONSENT_CHANGED, OptIn};

impl OptIn {
    pub(crate) async fn show_preferences(&self, request: &Request) -> Result<Answer, Failure> {
        let token = request.query("t").unwrap_or_default();
        let lead_id = self.lead_for(Purpose::Preferences, token)?;
        let lead = self.tables.lead(&lead_id).await?;
        let lead = lead.ok_or_else(|| Problem::new(Status::NotFound, "this person is not known any more"))?;
        self.preference_page(&lead, token, false, vec![])
    }

    pub(crate) async fn preferences(&self, request: &Request) -> Result<Answer, Failure> {
        let form = request.form()?;
        let token = request.query("t").or(form.text("t")).unwrap_or_default().to_owned();
        let lead_id = self.lead_for(Purpose::Preferences, &token)?;
        let (now, zone) = (self.cloud.now(), self.funnel.time_zone);
        let known = self.tables.lead(&lead_id).await?;
        let known =
            known.ok_or_else(|| Problem::new(Status::NotFound, "this person is not known any more"))?;
        // Coming back is a consent like the first one, so its words are kept again.
        let back = form.checked("subscribe").then(|| self.consent("POST /preferences", request));
        if back.is_some() && !self.has_seen_consent(&form) {
            return match request.wants_html() {
                true => self.preference_page(&known, &token, false, vec![FormError::ConsentChanged]),
                false => Err(Problem::field("consent_text", CONSENT_CHANGED).into()),
            };
        }
        let wanted = match back {
            Some(_) => Preferences { paused_until: None, ..known.preferences.clone() },
            None => self.read_preferences(form, &known)?,
        };
        self.change(&lead_id, |lead| {
            let preferences = wanted.clone();
            let came_back = back.clone().filter(|_| lead.mailing == Mailing::Unsubscribed);
            match came_back {
                None => lead::prefer(lead, preferences, now, zone),
                Some(consent) => Some(lead::resubscribe(lead, preferences, consent, now, zone)),
            }
        })
        .await?;
        let lead = self.tables.lead(&lead_id).await?.unwrap_or(known);
        match request.wants_html() {
            true => self.preference_page(&lead, &token, true, vec![]),
            false => Ok(answer::json(200, &json!({"status": "saved", "preferences": lead.preferences}))),
        }
    }

    /// The form as it is sent: a topic whose box is not ticked is not wanted.
    fn read_preferences(&self, mut form: Form, lead: &Lead) -> Result<Preferences, Problem> {
        let topics = &self.funnel.topics;
        let off = topics.iter().filter(|topic| !form.checked(&format!("topic_{}", topic.id)));
        // What she does not want stays so while the funnel has no such topic: it may come back.
        let known = |id: &Id| topics.iter().any(|topic| topic.id == *id);
        let gone = lead.preferences.topics_off.iter().filter(|id| !known(id));
        let topics_off = off.map(|topic| topic.id.clone()).chain(gone.cloned()).collect();
        let per_week = match form.text("frequency").unwrap_or("all") {
            "all" => None,
            "weekly" => Some(1),
            _ => {
                form.wrong("frequency", "must be all or weekly");
                None
            }
        };
        let now = self.cloud.now();
        let paused_until = match form.text("pause").unwrap_or("keep") {
            "keep" => lead.preferences.paused_until.filter(|until| *until > now),
            "none" => None,
            days => match days.parse::<i64>().ok().filter(|days| (1..=PAUSE_DAYS).contains(days)) {
                Some(days) => Some(now + TimeDelta::days(days)),
                None => {
                    form.wrong("pause", &format!("must be none, keep, or 1 to {PAUSE_DAYS} days"));
                    None
                }
            },
        };
        form.finish(Some(Preferences { topics_off, per_week, paused_until }))
    }

    fn preference_page(
        &self,
        lead: &Lead,
        token: &str,
        saved: bool,
        errors: Vec<FormError>,
    ) -> Result<Answer, Failure> {
        let preferences = &lead.preferences;
        let zone = lead.time_zone.unwrap_or(self.funnel.time_zone);
        let topics =
            self.funnel.topics.iter().map(|topic| {
                (topic.id.clone(), topic.name.clone(), !preferences.topics_off.contains(&topic.id))
            });
        let paused = preferences.paused_until.filter(|until| *until > self.cloud.now());
        let form = PreferencesForm {
            token: token.to_owned(),
            topics: topics.collect(),
            weekly: preferences.per_week.is_some(),
            paused_until: paused.map(|until| format::full_date(until, zone, self.funnel.locale)),
            subscribed: lead.mailing == Mailing::Subscribed,
            saved,
        };
        let status = if errors.is_empty() { 200 } else { 422 };
        self.shown(status, self.own_page("preferences")?, PageForm::Preferences(form), errors)
    }
}
