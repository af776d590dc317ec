//! Notices: mail to somebody of the team, through the same ledger.

use chrono::{DateTime, Utc};
use cloud::{
    mailer::{OutgoingMail, SendError, mailbox},
    person::Person,
    tables::{Claimed, Note},
};
use content::{Locale, format};
use domain::{
    engagement::{Engagement, MailClass},
    id::Id,
};

use crate::{Delivery, Later, Outcome, Place};

impl Delivery {
    /// Tells somebody of the team. Once more after a doubt, like everything that is waited for.
    pub(crate) async fn notice(&self, place: &Place<'_>, text: &str, to: &Id) -> Result<Outcome, Later> {
        let done = Outcome::On { to: place.step.next.clone(), why: format!("{} done", place.step.id) };
        let (now, lead_id) = (self.cloud.now(), &place.enrolment.lead_id);
        let known = self.tables.engagement(lead_id, &place.enrolment.engagement_id(&place.step.id)).await?;
        let Some(attempt) = self.next_try(known.as_ref(), MailClass::Transactional).await? else {
            return Ok(done);
        };
        let person = self.tables.person(lead_id, self.funnel.scoring.needs()).await?;
        let (Some(member), Some(person)) = (self.funnel.member(to), person) else {
            let reason = "nobody of the team is called so";
            self.skip(place.sequence, &place.enrolment, place.step, reason).await?;
            return Ok(done);
        };
        let row = Engagement { attempt, class: MailClass::Transactional, ..self.row(place) };
        if self.tables.claim_notice(&row).await? != Claimed::Yes {
            return Err(Later::Because("another copy of the notice claimed it".to_owned()));
        }
        let body = self.notice_text(&person, text, now);
        let sender = &self.funnel.sender;
        let outgoing = OutgoingMail {
            from: mailbox(&sender.name, sender.address.as_str()),
            to: member.address.as_str().to_owned(),
            reply_to: None,
            subject: format!("[Michi] {text}"),
            html: html(&body),
            text: body,
            headers: vec![],
            // Not the person's tags: what the team does with it is no sign of her interest.
            tags: vec![("notice", place.step.id.to_string())],
            calendar: None,
        };
        let note = match self.mailer.send(outgoing).await {
            Ok(message_id) => Note::default()
                .text("state", "sent")
                .text_once("message_id", &message_id)
                .at_once("sent_date", self.cloud.now()),
            Err(SendError::Refused(reason)) => {
                Note::default().text("state", "skipped").text("reason", &reason)
            }
            Err(SendError::NotNow(reason)) => {
                self.tables.release(&row, known.as_ref()).await?;
                return Ok(self.put_off(&row, &reason));
            }
            Err(SendError::Unknown(reason)) => {
                self.unknown(&row, &reason).await?;
                return match attempt {
                    1 => Err(Later::Because(reason)),
                    _ => Ok(done),
                };
            }
        };
        self.tables.note(lead_id, &row.engagement_id, &note.only_in(&["claimed"])).await?;
        Ok(done)
    }

    fn notice_text(&self, person: &Person, text: &str, now: DateTime<Utc>) -> String {
        let lead = &person.lead;
        let score = self.funnel.scoring.score(&person.known(&self.funnel.scoring, None, now)).total;
        let zone = self.funnel.time_zone;
        let since = format::full_date(lead.opt_in_date, zone, self.funnel.locale);
        let words = match self.funnel.locale {
            Locale::Ja => ["お名前", "メール", "段階", "スコア", "登録日", "くわしく"],
            Locale::En => ["Name", "Mail", "Stage", "Score", "Since", "More"],
        };
        let values = [
            lead.name.as_ref().map_or("–", |name| name.as_str()).to_owned(),
            lead.email.as_str().to_owned(),
            lead.stage.as_str().to_owned(),
            score.to_string(),
            since,
            format!("{}/console/leads/{}", self.public_url, lead.lead_id),
        ];
        let lines: Vec<String> =
            words.iter().zip(&values).map(|(word, value)| format!("{word}: {value}")).collect();
        format!("{text}\n\n{}\n", lines.join("\n"))
    }
}

/// Plain text as HTML.
fn html(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<pre style=\"font-family:sans-serif;white-space:pre-wrap\">{escaped}</pre>")
}
