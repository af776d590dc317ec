//! What became of a person's mails, in words: on her page, and for `michi why`.

use std::fmt::Write;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use cloud::{CallError, person::Person, tables::Tables};
use content::{Funnel, Locale};
use domain::{
    condition::Known,
    fate::{Fate, Said, fates, not_entered},
    id::Id,
    lead::{self, ConsentStanding},
    sequence::{Enrolment, Program, Sequence, Step},
};
use serde::Serialize;

use crate::{
    names::Names,
    reasons::Reasons,
    story::standing,
    view::moment,
    words::{Words, words},
};

/// A mail of a sequence, and what became of it.
#[derive(Debug, Serialize)]
pub(crate) struct Told {
    pub(crate) step: String,
    pub(crate) mail: Option<String>,
    /// The name of what was said last.
    pub(crate) what: &'static str,
    pub(crate) text: String,
}

/// The words for it.
#[derive(Debug)]
pub(crate) struct Teller {
    words: Words,
    reasons: Reasons,
    zone: Tz,
    locale: Locale,
}

impl Teller {
    pub(crate) fn new(funnel: &Funnel, locale: Locale) -> Self {
        let words = words(locale);
        let reasons = Reasons::new(words.clone(), Names::of(funnel));
        Self { words, reasons, zone: funnel.time_zone, locale }
    }

    /// The mails of an enrolment.
    pub(crate) fn mails(
        &self,
        enrolment: &Enrolment,
        program: &Program,
        person: &Person,
        now: DateTime<Utc>,
    ) -> Vec<Told> {
        let fates = fates(enrolment, program, &person.ledger, now);
        fates.iter().map(|fate| self.told(fate)).collect()
    }

    fn told(&self, fate: &Fate<'_>) -> Told {
        let said: Vec<String> = fate.said.iter().map(|said| self.say(said)).collect();
        Told {
            step: fate.step.to_owned(),
            mail: fate.mail.map(ToString::to_string),
            what: fate.said.last().map_or("sent", |said| said.what),
            text: said.join(self.word("fates", "then")),
        }
    }

    fn say(&self, said: &Said<'_>) -> String {
        let filled = [
            ("{at}", said.at.map(|at| moment(at, self.zone, self.locale))),
            ("{step}", said.step.map(ToString::to_string)),
            ("{why}", said.why.map(|why| self.reasons.why(why))),
        ];
        let mut text = self.word("fates", said.what).to_owned();
        for (place, value) in filled {
            // What nobody knows leaves no gap.
            text = text.replace(place, &value.unwrap_or_else(|| "–".to_owned()));
        }
        text
    }

    fn word<'a>(&'a self, section: &str, name: &'a str) -> &'a str {
        self.words.get(section).and_then(|words| words.get(name)).map_or(name, String::as_str)
    }
}

/// The programs that a person's enrolments are in, in their order.
///
/// # Errors
/// [`CallError`].
pub async fn programs(
    tables: &Tables,
    funnel: &Funnel,
    enrolments: &[Enrolment],
) -> Result<Vec<Program>, CallError> {
    let mut programs = vec![];
    for enrolment in enrolments {
        let program = match funnel.sequence(&enrolment.sequence) {
            Some(sequence) => Some(tables.program_for(enrolment, sequence).await?.into_owned()),
            // The sequence is gone; what she went through may still be kept.
            None => tables.program(&enrolment.sequence, &enrolment.program).await?,
        };
        programs.push(program.unwrap_or_else(|| {
            let version = enrolment.program.clone();
            Program { version, anchor: domain::sequence::Anchor::Entry, windows: vec![], steps: vec![] }
        }));
    }
    Ok(programs)
}

/// Why a person got, or did not get, her mails: all of them, or one by its file name or step. The
/// programs are those of her enrolments, in their order. None if no sequence has such a mail.
pub fn why(
    funnel: &Funnel,
    locale: Locale,
    person: &Person,
    programs: &[Program],
    mail: Option<&str>,
    now: DateTime<Utc>,
) -> Option<String> {
    let teller = Teller::new(funnel, locale);
    let mut text = consent_state(&teller, person);
    let mut found = false;
    for (enrolment, program) in person.enrolments.iter().zip(programs) {
        let mails = teller.mails(enrolment, program, person, now);
        let asked = |told: &Told| {
            let sent = told.mail.as_deref();
            mail.is_none_or(|wanted| is_called(enrolment.sequence.as_str(), &told.step, sent, wanted))
        };
        let mut mails = mails.iter().filter(|told| asked(told)).peekable();
        if mails.peek().is_none() && mail.is_some() {
            continue;
        }
        found = true;
        let name = funnel.sequence(&enrolment.sequence).map_or("", |sequence| sequence.name.as_str());
        let state = teller.word("enrolment", standing(enrolment));
        let reason = teller.reasons.why(&enrolment.why);
        let _ = write!(text, "\n\n{name} ({}): {state}. {reason}", enrolment.enrolment_id);
        for told in mails {
            let _ = write!(text, "\n  {}: {}", told.step, told.text);
        }
    }
    let known = person.known(&funnel.scoring, None, now);
    for sequence in never_entered(funnel, person) {
        if mail.is_none_or(|mail| sends(sequence, mail)) {
            found = true;
            let _ = write!(text, "\n\n{}", why_not(&teller, sequence, &known));
        }
    }
    (found || mail.is_none()).then_some(text)
}

fn consent_state(teller: &Teller, person: &Person) -> String {
    let lead = &person.lead;
    let mut text = format!("{}: {}", lead.lead_id, teller.word("mailing", lead.mailing.as_str()));
    for given in lead::consents(lead, &person.timeline) {
        let standing = match given.standing {
            ConsentStanding::Present => "present",
            ConsentStanding::Pending => "pending",
            ConsentStanding::Earlier => "earlier",
        };
        let consent = given.consent;
        let at = |at: DateTime<Utc>| moment(at, teller.zone, teller.locale);
        let line = teller
            .word("consents", standing)
            .replace("{at}", &at(consent.given_at))
            .replace("{place}", &consent.place)
            .replace("{text}", &consent.text);
        let _ = write!(text, "\n  {line}");
        if let Some(confirmed) = consent.confirmed_at {
            let _ = write!(text, " {}: {}", teller.word("ui", "confirmed_at"), at(confirmed));
        }
    }
    text
}

fn why_not(teller: &Teller, sequence: &Sequence, known: &Known<'_>) -> String {
    format!("{} ({}): {}", sequence.name, sequence.id, teller.say(&not_entered(sequence, known)))
}

fn never_entered<'a>(funnel: &'a Funnel, person: &'a Person) -> impl Iterator<Item = &'a Sequence> {
    let entered =
        |sequence: &&Sequence| person.enrolments.iter().any(|enrolment| enrolment.sequence == sequence.id);
    funnel.all_sequences().filter(move |sequence| !entered(sequence))
}

fn sends(sequence: &Sequence, wanted: &str) -> bool {
    let called = |step: &Step, mail: &Id| {
        is_called(sequence.id.as_str(), step.id.as_str(), Some(mail.as_str()), wanted)
    };
    sequence.program.steps.iter().any(|step| step.mail().is_some_and(|mail| called(step, mail)))
}

/// Whether somebody means this mail: by its file name, its step, or sequence and step.
fn is_called(sequence: &str, step: &str, mail: Option<&str>, wanted: &str) -> bool {
    mail == Some(wanted) || step == wanted || wanted.split_once('/') == Some((sequence, step))
}
