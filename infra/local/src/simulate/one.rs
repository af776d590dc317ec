//! One person, given by a script: her way day by day, with the reason of each decision.

use std::{collections::BTreeMap, fmt::Write, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use content::{Funnel, Locale, format};
use domain::{
    engagement::{Engagement, EngagementState},
    event::{Event, Fact, FactKind},
    lead::Lead,
    sequence::Enrolment,
    task::Task,
};
use serde_json::json;

use super::{
    SimulationError,
    hands::{Hands, Newcomer, PERSON, token_in},
    script::{Deed, Which},
    tally::rows,
};
use crate::{aws::mail::Mail, engine::LocalCloud, functions::Secrets};

const EMAIL: &str = "hanako@people.example.com";
/// How long a person waits for a mail or an event before the script is given up.
const PATIENCE_DAYS: i64 = 120;

/// One person in a funnel.
pub struct One<'a> {
    hands: Hands<'a>,
    funnel: Arc<Funnel>,
    zone: Tz,
    mails: Vec<Arc<Mail>>,
    opened: Option<Arc<Mail>>,
    story: Vec<(DateTime<Utc>, String)>,
    appointment: Option<super::hands::Appointment>,
    /// Where she stood in each enrolment when it was last looked at.
    places: BTreeMap<String, String>,
    /// Decisions of each that the story tells already.
    decided: BTreeMap<String, usize>,
    deeds: usize,
}

impl<'a> One<'a> {
    /// Somebody who has not opted in yet.
    pub fn new(cloud: &'a LocalCloud, funnel: Arc<Funnel>, secrets: &Secrets) -> Self {
        Self {
            hands: Hands::new(cloud, &funnel, secrets),
            zone: funnel.time_zone,
            funnel,
            mails: vec![],
            opened: None,
            story: vec![],
            appointment: None,
            places: BTreeMap::new(),
            decided: BTreeMap::new(),
            deeds: 0,
        }
    }

    /// Plays the script and lets `days` more days pass.
    ///
    /// # Errors
    /// [`SimulationError`] if she can't do what the script says.
    pub async fn play(&mut self, script: &[Deed], days: u32) -> Result<String, SimulationError> {
        if !matches!(script.first(), Some(Deed::OptsIn { .. } | Deed::Sees(_))) {
            self.act(&Deed::OptsIn { magnet: None }).await?;
        }
        for deed in script {
            self.act(deed).await?;
        }
        self.pass(self.hands.now() + TimeDelta::days(days.into())).await?;
        self.tell().await
    }

    async fn act(&mut self, deed: &Deed) -> Result<(), SimulationError> {
        self.deeds += 1;
        match deed {
            Deed::OptsIn { magnet } => self.opt_in(magnet.as_deref()).await?,
            Deed::Confirms => {
                let link = |mail: &Arc<Mail>| {
                    mail.links.iter().find(|link| link.href.contains("/confirm?")).map(|it| it.href.clone())
                };
                let Some(url) = self.mails.iter().rev().find_map(link) else {
                    return Err(self.cannot("confirm: no mail asked her to"));
                };
                self.says("confirms her address");
                self.hands.confirm(&url).await?;
            }
            Deed::Opens(which) => self.open(which).await?,
            Deed::Clicks(link) => self.click(link)?,
            Deed::Sees(page) => {
                self.says(&format!("sees the page `{page}`"));
                self.hands.visit("v-hanako", page).await?;
                // Views within half an hour count once.
                self.soon(31).await?;
            }
            Deed::Does(fact) => {
                self.says(&format!("`{fact}` is told about her"));
                self.hands.tell(fact, EMAIL, &format!("deed-{}", self.deeds)).await?;
            }
            Deed::Books => self.book().await?,
            Deed::Cancels => {
                let appointment = self.booked()?;
                self.says("cancels the consultation");
                self.hands.cancel(&appointment).await?;
            }
            Deed::Attends => self.meet("lost", "attends the consultation").await?,
            Deed::Misses => self.meet("missed", "does not come to the consultation").await?,
            Deed::Buys { plan } => self.buy(plan.as_deref()).await?,
            Deed::Unsubscribes => {
                let Some(mail) = self.mails.last().cloned() else {
                    return Err(self.cannot("unsubscribe: she has no mail"));
                };
                self.says("unsubscribes");
                self.hands.unsubscribe(&mail).await?;
            }
            Deed::Silent { hours } => self.pass(self.hands.now() + TimeDelta::hours(*hours)).await?,
        }
        self.soon(1).await
    }

    async fn opt_in(&mut self, magnet: Option<&str>) -> Result<(), SimulationError> {
        self.says(&format!("opts in{}", magnet.map(|it| format!(" for `{it}`")).unwrap_or_default()));
        let first = self.funnel.lead_magnets.first().map(|magnet| magnet.id.as_str());
        self.hands
            .opt_in(&Newcomer {
                email: EMAIL,
                name: "山田 花子",
                visitor: "v-hanako",
                source: None,
                lead_magnet: magnet.or(first),
                attributes: json!({}),
            })
            .await
    }

    async fn open(&mut self, which: &Which) -> Result<(), SimulationError> {
        let funnel = Arc::clone(&self.funnel);
        if let Which::Mail(id) = which
            && !funnel.mails().any(|mail| mail.id.as_str() == id)
        {
            let known: Vec<&str> = funnel.mails().map(|mail| mail.id.as_str()).collect();
            return Err(self.cannot(&format!("open `{id}`: the funnel has {}", known.join(", "))));
        }
        let until = self.hands.now() + TimeDelta::days(PATIENCE_DAYS);
        loop {
            if let Some(mail) = self.find(which).await? {
                self.says(&format!("opens 「{}」", mail.subject));
                self.hands.cloud.open(&mail, PERSON);
                self.opened = Some(mail);
                return Ok(());
            }
            match self.hands.cloud.next_due().filter(|due| *due <= until) {
                Some(due) => self.pass(due).await?,
                None => return Err(self.cannot("open a mail that never comes")),
            }
        }
    }

    async fn find(&self, which: &Which) -> Result<Option<Arc<Mail>>, SimulationError> {
        let id = match which {
            Which::Number(number) => return Ok(self.mails.get(number - 1).cloned()),
            Which::Mail(id) => id,
        };
        let ledger = rows::<Engagement>(self.hands.cloud, "Email_Engagement").await?;
        let sent =
            ledger.iter().rev().filter(|row| row.mail.as_ref().is_some_and(|mail| mail.as_str() == id));
        let ids: Vec<&str> = sent.map(|row| row.engagement_id.as_str()).collect();
        let is_it = |mail: &&Arc<Mail>| {
            mail.tags.get("engagement_id").is_some_and(|engagement| ids.contains(&engagement.as_str()))
        };
        Ok(self.mails.iter().rev().find(is_it).cloned())
    }

    fn click(&mut self, link: &str) -> Result<(), SimulationError> {
        let Some(mail) = self.opened.clone().or_else(|| self.mails.last().cloned()) else {
            return Err(self.cannot("click: she has no mail"));
        };
        let piece = match link {
            "booking_url" => "/booking",
            "apply_url" => "/apply",
            "download_url" => "/pages/",
            other => other,
        };
        let Some(found) = mail.visible_links().find(|it| it.href.contains(piece)) else {
            let known: Vec<&str> =
                mail.visible_links().map(|link| domain::engagement::impersonal(&link.href)).collect();
            return Err(self.cannot(&format!(
                "click `{link}`: 「{}」 links to {}",
                mail.subject,
                known.join(", ")
            )));
        };
        self.says(&format!("clicks {}", domain::engagement::impersonal(&found.href)));
        self.hands.cloud.click(&mail, &found.href, PERSON);
        Ok(())
    }

    async fn book(&mut self) -> Result<(), SimulationError> {
        let Some(token) = self.mails.iter().rev().find_map(|mail| token_in(mail, "booking")) else {
            return Err(self.cannot("book: no mail has led her to the booking page"));
        };
        for slot in self.hands.slots(self.hands.now() + TimeDelta::days(2)).await? {
            if let Some(appointment) = self.hands.book(&token, &slot).await? {
                let start = format::date_time(appointment.start, self.zone, self.funnel.locale);
                self.says(&format!("books a consultation: {start}"));
                self.appointment = Some(appointment);
                return Ok(());
            }
        }
        Err(self.cannot("book: no slot is free"))
    }

    fn booked(&self) -> Result<String, SimulationError> {
        let appointment = self.appointment.as_ref().map(|it| it.manage_url.clone());
        appointment.ok_or_else(|| self.cannot("do that: she has not booked"))
    }

    async fn meet(&mut self, outcome: &str, says: &str) -> Result<(), SimulationError> {
        let Some(appointment) = self.appointment.take() else {
            return Err(self.cannot("meet: she has not booked"));
        };
        self.pass(appointment.start + TimeDelta::hours(1)).await?;
        self.says(says);
        self.hands.conclude(&appointment.consultation_id, outcome).await.map(|_| ())
    }

    async fn buy(&mut self, plan: Option<&str>) -> Result<(), SimulationError> {
        let Some(token) = self.mails.iter().rev().find_map(|mail| token_in(mail, "apply")) else {
            return Err(self.cannot("buy: no mail has led her to the application"));
        };
        let first = self.funnel.plans.first().map(|plan| plan.id.to_string());
        let Some(plan) = plan.map(str::to_owned).or(first) else {
            return Err(self.cannot("buy: there is no plan"));
        };
        self.says(&format!("applies for `{plan}` and pays"));
        self.hands.buy(&token, &plan).await
    }

    async fn soon(&mut self, minutes: i64) -> Result<(), SimulationError> {
        self.hands.cloud.settle().await;
        self.pass(self.hands.now() + TimeDelta::minutes(minutes)).await
    }

    /// Time goes on, from one due instant to the next, so that every wait is seen.
    async fn pass(&mut self, until: DateTime<Utc>) -> Result<(), SimulationError> {
        loop {
            let next = self.hands.cloud.next_due().filter(|due| *due < until);
            self.hands.cloud.advance_to(next.unwrap_or(until)).await;
            self.look().await?;
            if next.is_none() {
                return Ok(());
            }
        }
    }

    /// Notes what arrived and where she stands.
    async fn look(&mut self) -> Result<(), SimulationError> {
        for mail in self.hands.cloud.take_mails() {
            let step = mail.tags.get("step").cloned().unwrap_or_default();
            if mail.to.iter().any(|to| to == EMAIL) {
                let sequence = mail.tags.get("sequence").cloned().unwrap_or_default();
                self.story.push((
                    mail.sent_at,
                    format!("✉ {} 「{}」 ({sequence}/{step})", self.mails.len() + 1, mail.subject),
                ));
                self.mails.push(mail);
            } else {
                self.story.push((mail.sent_at, format!("✉ to {}: 「{}」", mail.to.join(", "), mail.subject)));
            }
        }
        for enrolment in rows::<Enrolment>(self.hands.cloud, "Enrolments").await? {
            let place = self.place(&enrolment);
            let key = format!("{} {}", enrolment.enrolment_id, enrolment.generation);
            let seen = self.decided.entry(key.clone()).or_default();
            for decision in enrolment.decisions.iter().skip(*seen) {
                let line = format!("⤷ {} {}: {}", enrolment.enrolment_id, decision.step, decision.why);
                self.story.push((decision.at, line));
            }
            *seen = enrolment.decisions.len();
            if self.places.get(&key) != Some(&place) {
                self.story.push((self.hands.now(), format!("→ {}: {place}", enrolment.enrolment_id)));
                self.places.insert(key, place);
            }
        }
        Ok(())
    }

    fn place(&self, enrolment: &Enrolment) -> String {
        let next = enrolment.step.as_ref().zip(enrolment.next_due).map(|(step, due)| {
            let due = format::date_time(due, self.zone, self.funnel.locale);
            format!("; next `{step}` {due}")
        });
        let end = next.unwrap_or_else(|| format!("; {}", enrolment.state.as_str()));
        format!("{}{end}", enrolment.why)
    }

    fn says(&mut self, what: &str) {
        self.story.push((self.hands.now(), format!("● {what}")));
    }

    fn cannot(&self, what: &str) -> SimulationError {
        SimulationError::Script { at: self.hands.now(), what: what.to_owned() }
    }

    /// The whole story, day by day.
    async fn tell(&mut self) -> Result<String, SimulationError> {
        for event in rows::<Event>(self.hands.cloud, "Events").await? {
            if let Some(told) = fact(&event) {
                self.story.push((event.occurred_at, told));
            }
        }
        for row in rows::<Engagement>(self.hands.cloud, "Email_Engagement").await? {
            if row.state == EngagementState::Skipped {
                let reason = row.reason.unwrap_or_default();
                self.story.push((row.claimed_at, format!("✗ {} not sent: {reason}", row.email_campaign_id)));
            }
        }
        for task in rows::<Task>(self.hands.cloud, "Tasks").await? {
            let due = format::date_time(task.due, self.zone, self.funnel.locale);
            let title = task.title;
            self.story.push((task.created_at, format!("☐ task for {}: {title} ({due})", task.given_to)));
        }
        // What happened at the same moment stays in the order in which it was noticed.
        self.story.sort_by_key(|(at, _)| *at);
        let (mut text, mut day) = (String::new(), None);
        let first = self.story.first().map(|(at, _)| at.with_timezone(&self.zone).date_naive());
        for (at, line) in &self.story {
            let local = at.with_timezone(&self.zone);
            if day != Some(local.date_naive()) {
                day = Some(local.date_naive());
                let number = first.map_or(0, |first| (local.date_naive() - first).num_days());
                let named = match self.funnel.locale {
                    Locale::Ja => format!("{number}日目"),
                    Locale::En => format!("day {number}"),
                };
                let date = format::full_date(*at, self.zone, self.funnel.locale);
                let _ = writeln!(text, "{date} · {named}");
            }
            let _ = writeln!(text, "  {}  {line}", local.format("%H:%M"));
        }
        for lead in rows::<Lead>(self.hands.cloud, "Leads").await? {
            let (stage, mailing, tags) = (lead.stage.as_str(), lead.mailing.as_str(), lead.tags.join(" "));
            let _ = writeln!(text, "\n{stage}, {mailing}, {tags}");
        }
        Ok(text)
    }
}

/// Facts that the story does not tell by itself.
fn fact(event: &Event) -> Option<String> {
    match &event.fact {
        Fact::Tagged { tag } => Some(format!("# tag `{tag}`")),
        Fact::StageChanged { stage } => Some(format!("# stage `{}`", stage.as_str())),
        Fact::ScoreCrossed { threshold, rising, score } => {
            let way = if *rising { "rises to" } else { "falls to" };
            Some(format!("# the score {way} {threshold} (it is {score})"))
        }
        other => match other.kind() {
            FactKind::ConsultationMissed | FactKind::MailBounced | FactKind::MailComplained => {
                Some(format!("# {}", other.kind().as_str()))
            }
            _ => None,
        },
    }
}
