//! The console: the operators' web page. Figures beside their goals, one person's whole story, what
//! came of a consultation, what the team has to do, and broadcasts.
//!
//! GET shows and changes nothing; POST acts. Everything needs a signed link from `michi console`.

mod broadcasts;
mod figures;
mod names;
mod reasons;
mod story;
mod tasks;
mod told;
mod view;
mod words;

use std::sync::Arc;

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;
use cloud::{
    Cloud, StartError,
    keys::Keys,
    person::Person,
    queues::Queues,
    tables::{Table, Tables},
    transaction::{Commit, Condition},
};
use content::Funnel;
use domain::{
    consultation::{self, Consultation, ConsultationStatus, Outcome},
    email_address::EmailAddress,
    id::Id,
    lead::Lead,
    limits::{CONFLICT_RETRIES, CONSOLE_LINK_HOURS},
    time,
};
use lambda_runtime::Error;
use serde_json::json;
use web::{
    answer::{self, Answer},
    link::{LinkError, Links, OPERATOR, Purpose},
    problem::{Failure, Problem, Status},
    request::Request,
};

pub use crate::told::{programs, why};
use crate::{
    story::Story,
    view::{Sight, View},
};

const COOKIE: &str = "michi_console";
/// The pages run no scripts and load nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The function's clients, made once.
#[derive(Debug)]
pub struct Console {
    cloud: Cloud,
    tables: Tables,
    queues: Queues,
    keys: Keys,
    links: Links,
    funnel: Arc<Funnel>,
    view: View,
    base: String,
}

impl Console {
    /// Makes the clients, reads the keys and the templates.
    ///
    /// # Errors
    /// [`StartError`] if the environment or the keys are not as the template makes them.
    pub async fn start(cloud: Cloud, funnel: Arc<Funnel>) -> Result<Self, StartError> {
        let keys = Keys::load(&cloud).await?;
        let links = Links::new(keys.link_keys());
        let base = base(&cloud.public_url()?);
        Ok(Self {
            tables: Tables::new(&cloud),
            queues: Queues::new(&cloud)?,
            keys,
            links,
            view: View::new(&funnel, &base),
            base,
            funnel,
            cloud,
        })
    }

    /// Answers one request. Never fails: what goes wrong becomes an answer.
    ///
    /// # Errors
    /// None.
    pub async fn handle(&self, event: ApiGatewayV2httpRequest) -> Result<Answer, Error> {
        let request = Request::read(event);
        let token = match admit(&self.links, request.query("t"), request.cookie(COOKIE), self.cloud.now()) {
            Ok(token) => token,
            Err(problem) => return Ok(self.told(&problem, &request)),
        };
        let answered = match request.route.as_str() {
            "GET /console" => self.dashboard().await,
            "GET /console/days/{date}" => self.day(&request).await,
            "GET /console/leads/{lead_id}" => self.lead(&request).await,
            "POST /console/find" => self.find(&request).await,
            "POST /console/consultations/{consultation_id}/outcome" => self.conclude(&request).await,
            "GET /console/tasks" => self.tasks(&request).await,
            "POST /console/tasks/{task_id}/done" => self.finish(&request).await,
            "GET /console/broadcasts" => self.broadcasts().await,
            "POST /console/broadcasts/{broadcast_id}" => self.command(&request).await,
            _ => Err(Problem::new(Status::NotFound, "there is nothing here").into()),
        };
        let answer =
            answered.unwrap_or_else(|failure| self.told(&failure.into_problem(&request.route), &request));
        Ok(match token {
            Some(token) => answer::with_cookie(answer, COOKIE, token, CONSOLE_LINK_HOURS * 3600),
            None => answer,
        })
    }

    async fn dashboard(&self) -> Result<Answer, Failure> {
        let today = time::day(self.cloud.now(), self.funnel.time_zone);
        let this = time::plus_days(today, 1 - i64::from(today.day()));
        let last = time::plus_days(this, -1);
        let mut rows = self.tables.kpi_month(&last.format("%Y-%m").to_string()).await?;
        rows.extend(self.tables.kpi_month(&this.format("%Y-%m").to_string()).await?);
        let months = [this, last].map(|day| figures::month(day, today, &rows, &self.funnel.goals));
        self.shown(&Sight::Dashboard { today, months: &months })
    }

    async fn day(&self, request: &Request) -> Result<Answer, Failure> {
        let today = time::day(self.cloud.now(), self.funnel.time_zone);
        let date = read_day("date", request.path("date"), today)?;
        let row = self.tables.kpi_daily(date).await?;
        // Until the night after it has passed, a day has no figures and nothing is wrong.
        if row.is_none() && date < time::plus_days(today, -1) {
            return Err(Problem::field("date", "has no figures").with_status(Status::NotFound).into());
        }
        let counted = row.map(|row| figures::day(&row, &self.funnel.goals));
        self.shown(&Sight::Day { date, today, counted: counted.as_ref() })
    }

    async fn lead(&self, request: &Request) -> Result<Answer, Failure> {
        let lead_id = Id::parse(request.path("lead_id")).map_err(|_| no_lead())?;
        let (now, zone) = (self.cloud.now(), self.funnel.time_zone);
        let today = time::day(now, zone);
        let score_on = request.query("score_on").map(|day| read_day("score_on", day, today)).transpose()?;
        // Today is not over; its score is the present one.
        let score_on = score_on.filter(|day| *day < today);
        let lead = self.tables.lead(&lead_id).await?.ok_or_else(no_lead)?;
        let (timeline, ledger, enrolments, consultations, purchases) = tokio::try_join!(
            self.tables.timeline(&lead_id),
            self.tables.engagements(&lead_id),
            self.tables.enrolments(&lead_id),
            self.tables.consultations(&lead_id),
            self.tables.customers(&lead_id),
        )?;
        let programs = programs(&self.tables, &self.funnel, &enrolments).await?;
        let person = Person { lead, ledger, timeline, enrolments };
        let story = Story { person, programs, consultations, purchases };
        let score = story.score(&self.funnel.scoring, score_on.map_or(now, |day| end_of(day, zone)));
        self.shown(&Sight::Lead { story: &story, score: score.as_ref(), score_on, now })
    }

    /// Finds a person by address or id. By POST, since addresses in URLs end in logs.
    async fn find(&self, request: &Request) -> Result<Answer, Failure> {
        let mut form = request.form()?;
        let lead_id = form.required("lead", |text| match text.contains(['@', '＠']) {
            true => EmailAddress::parse(text)
                .map(|email| self.keys.lead_id(&email))
                .map_err(|error| error.to_string()),
            false => Id::parse(text.trim()).map_err(|_| "must be a mail address or a lead's id".to_owned()),
        });
        let lead_id = form.finish(lead_id)?;
        let Lead { lead_id, .. } = self.tables.lead(&lead_id).await?.ok_or_else(no_lead)?;
        Ok(match request.wants_html() {
            true => answer::see_other(&self.lead_path(&lead_id)),
            false => answer::json(200, &json!({"lead_id": lead_id})),
        })
    }

    async fn conclude(&self, request: &Request) -> Result<Answer, Failure> {
        let mut form = request.form()?;
        let verdict = form.required("outcome", Verdict::parse);
        let verdict = form.finish(verdict)?;
        let consultation_id = Id::parse(request.path("consultation_id")).map_err(|_| no_consultation())?;
        for _ in 0..CONFLICT_RETRIES {
            let consultation =
                self.tables.consultation(&consultation_id).await?.ok_or_else(no_consultation)?;
            // Of somebody who was erased: its row goes a moment later, and nobody may write it again.
            self.tables.lead(&consultation.lead_id).await?.ok_or_else(no_consultation)?;
            // The same button again.
            if verdict.stands_in(&consultation) {
                return Ok(self.concluded(request, &consultation));
            }
            let before = Condition::version(consultation.version.into());
            let change = consultation::conclude(
                consultation,
                verdict.attended(),
                verdict.outcome(),
                self.cloud.now(),
                self.funnel.time_zone,
            )
            .map_err(|error| Problem::new(Status::Conflict, &error.to_string()))?;
            let both = self
                .tables
                .transaction()
                .put(Table::Consultations, &change.consultation, &before)?
                .event(&change.event)?;
            if both.commit("recording a consultation's outcome").await? == Commit::Done {
                tracing::info!(consultation_id = %consultation_id, lead_id = %change.consultation.lead_id, "a consultation's outcome was recorded");
                return Ok(self.concluded(request, &change.consultation));
            }
        }
        Err(Problem::new(
            Status::Unavailable,
            "this consultation is being changed by many requests at once; try again",
        )
        .into())
    }

    fn concluded(&self, request: &Request, consultation: &Consultation) -> Answer {
        let Consultation { consultation_id, lead_id, status, attended, outcome, .. } = consultation;
        match request.wants_html() {
            true => answer::see_other(&self.lead_path(lead_id)),
            false => answer::json(
                200,
                &json!({"consultation_id": consultation_id, "lead_id": lead_id, "status": status, "attended": attended, "outcome": outcome}),
            ),
        }
    }

    fn lead_path(&self, lead_id: &Id) -> String {
        format!("{}/console/leads/{lead_id}", self.base)
    }

    fn shown(&self, sight: &Sight<'_>) -> Result<Answer, Failure> {
        Ok(page(200, self.view.render(sight)?))
    }

    fn told(&self, problem: &Problem, request: &Request) -> Answer {
        let html = request.wants_html().then(|| self.view.render(&Sight::Problem(problem)));
        match html {
            Some(Ok(html)) => page(problem.status(), html),
            _ => answer::problem(problem),
        }
    }
}

/// What an operator says came of a consultation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Held(Outcome),
    Missed,
}

impl Verdict {
    fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "won" => Ok(Self::Held(Outcome::Won)),
            "thinking" => Ok(Self::Held(Outcome::Thinking)),
            "lost" => Ok(Self::Held(Outcome::Lost)),
            "missed" => Ok(Self::Missed),
            _ => Err("must be one of won, thinking, lost, missed"),
        }
    }

    fn attended(self) -> bool {
        self != Self::Missed
    }

    fn outcome(self) -> Option<Outcome> {
        match self {
            Self::Held(outcome) => Some(outcome),
            Self::Missed => None,
        }
    }

    fn stands_in(self, consultation: &Consultation) -> bool {
        match self {
            Self::Held(outcome) => {
                consultation.status == ConsultationStatus::Held && consultation.outcome == Some(outcome)
            }
            Self::Missed => consultation.status == ConsultationStatus::Missed,
        }
    }
}

/// Lets operators in: by a link, whose token shall become the cookie, or by the cookie.
fn admit<'a>(
    links: &Links,
    link: Option<&'a str>,
    cookie: Option<&str>,
    now: DateTime<Utc>,
) -> Result<Option<&'a str>, Problem> {
    let verify = |token: &str| links.verify(Purpose::Console, token, now).and_then(operator);
    if let Some(token) = link.filter(|token| verify(token).is_ok()) {
        return Ok(Some(token));
    }
    match cookie.or(link).map(verify) {
        Some(Ok(())) => Ok(None),
        Some(Err(LinkError::Expired)) => {
            Err(locked_out("the link to the console has expired; get a new one with `michi console`"))
        }
        Some(Err(LinkError::Invalid)) => {
            Err(locked_out("the link to the console is not valid; get one with `michi console`"))
        }
        None => Err(locked_out("the console needs a link; get one with `michi console`")),
    }
}

fn operator(subject: Id) -> Result<(), LinkError> {
    (subject.as_str() == OPERATOR).then_some(()).ok_or(LinkError::Invalid)
}

fn locked_out(detail: &str) -> Problem {
    Problem::new(Status::Forbidden, detail)
}

fn no_lead() -> Problem {
    Problem::field("lead", "is not known").with_status(Status::NotFound)
}

fn no_consultation() -> Problem {
    Problem::new(Status::NotFound, "there is no such consultation")
}

/// A day that has begun, in the one form that the table knows.
fn read_day(field: &str, text: &str, today: NaiveDate) -> Result<NaiveDate, Problem> {
    let date = text.parse::<NaiveDate>().ok().filter(|date| date.to_string() == text);
    let date = date.ok_or_else(|| Problem::field(field, "must be a day such as 2026-11-25"))?;
    (date <= today).then_some(date).ok_or_else(|| Problem::field(field, "must not be in the future"))
}

/// The day's last moment.
fn end_of(day: NaiveDate, zone: Tz) -> DateTime<Utc> {
    time::instant(time::plus_days(day, 1), NaiveTime::MIN, zone) - TimeDelta::milliseconds(1)
}

fn page(status: i64, html: String) -> Answer {
    answer::with_header(answer::html(status, html), "content-security-policy", POLICY)
}

/// The path under which the API is reached: links and forms stay on the host that the operator is
/// on, where the cookie is.
fn base(public_url: &str) -> String {
    let after_scheme = public_url.split_once("://").map_or(public_url, |(_, rest)| rest);
    after_scheme.find('/').map_or_else(String::new, |at| after_scheme[at..].to_owned())
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn a_link_or_its_cookie_opens_the_console_and_nothing_else_does() {
        let links = Links::new([("k1", vec![7; 32])].into_iter());
        let (made, now): (DateTime<Utc>, DateTime<Utc>) =
            ("2026-11-25T00:00:00Z".parse().unwrap(), "2026-11-25T06:00:00Z".parse().unwrap());
        let sign = |purpose, subject: &str, hours| {
            links.sign(purpose, &Id::parse(subject).unwrap(), Some(TimeDelta::hours(hours)), made)
        };
        let good = sign(Purpose::Console, OPERATOR, CONSOLE_LINK_HOURS);
        let late = sign(Purpose::Console, OPERATOR, 6);
        let (other, person) = (sign(Purpose::Book, OPERATOR, 12), sign(Purpose::Console, "l-1", 12));
        let (needed, invalid, expired) = ("needs a link", "is not valid", "has expired");
        for (what, link, cookie, expected) in [
            ("a link", Some(&good), None, Ok(Some(good.as_str()))),
            ("its cookie", None, Some(&good), Ok(None)),
            ("a link beside an old cookie", Some(&good), Some(&late), Ok(Some(good.as_str()))),
            ("an old link beside a cookie", Some(&late), Some(&good), Ok(None)),
            ("nothing", None, None, Err(needed)),
            ("an old link", Some(&late), None, Err(expired)),
            ("an old cookie", None, Some(&late), Err(expired)),
            ("a link for something else", Some(&other), None, Err(invalid)),
            ("a cookie for something else", None, Some(&other), Err(invalid)),
            ("a link for somebody else", Some(&person), None, Err(invalid)),
        ] {
            let admitted = admit(&links, link.map(String::as_str), cookie.map(String::as_str), now);
            match (admitted, expected) {
                (Ok(token), Ok(expected)) => assert_eq!(token, expected, "{what}"),
                (Err(problem), Err(expected)) => {
                    assert!(problem.status() == 403 && problem.detail().contains(expected), "{what}");
                    assert!(problem.detail().contains("michi console"), "{what}");
                }
                (admitted, _) => panic!("{what}: {admitted:?}"),
            }
        }
    }

    #[test]
    fn only_the_days_that_the_table_can_know_are_looked_up() {
        let today: NaiveDate = "2026-11-25".parse().unwrap();
        for (text, expected) in [
            ("2026-11-25", Ok(())),
            ("2026-01-05", Ok(())),
            ("2026-11-26", Err("date: must not be in the future")),
            ("2026-1-5", Err("date: must be a day such as 2026-11-25")),
            ("2026-02-30", Err("date: must be a day such as 2026-11-25")),
            ("today", Err("date: must be a day such as 2026-11-25")),
            ("", Err("date: must be a day such as 2026-11-25")),
        ] {
            let read = read_day("date", text, today);
            assert_eq!(read.as_ref().map(drop).map_err(Problem::detail), expected, "{text}");
        }
    }

    #[test]
    fn a_day_ends_at_the_funnels_midnight() {
        for (day, zone, expected) in [
            ("2027-03-01", Tz::Asia__Tokyo, "2027-03-01T14:59:59.999Z"),
            ("2027-03-28", Tz::Europe__Berlin, "2027-03-28T21:59:59.999Z"),
        ] {
            assert_eq!(time::iso(end_of(day.parse().unwrap(), zone)), expected, "{day}");
        }
    }

    #[test]
    fn an_outcome_is_one_of_the_four_buttons() {
        for (text, attended, outcome) in [
            ("won", true, Some(Outcome::Won)),
            ("thinking", true, Some(Outcome::Thinking)),
            ("lost", true, Some(Outcome::Lost)),
            ("missed", false, None),
        ] {
            let verdict = Verdict::parse(text).unwrap();
            assert_eq!((verdict.attended(), verdict.outcome()), (attended, outcome), "{text}");
        }
        assert_eq!(Verdict::parse("Won"), Err("must be one of won, thinking, lost, missed"));
    }

    #[test]
    fn the_same_outcome_again_is_no_conflict_and_another_one_is() {
        let consultation = story::tests::consultation("c-1", "2026-11-24T01:00:00Z");
        let now = "2026-11-24T02:00:00Z".parse().unwrap();
        let held = consultation::conclude(
            consultation.clone(),
            true,
            Some(Outcome::Won),
            now,
            chrono_tz::Tz::Asia__Tokyo,
        )
        .unwrap();
        let missed =
            consultation::conclude(consultation.clone(), false, None, now, chrono_tz::Tz::Asia__Tokyo)
                .unwrap();
        let all = [
            Verdict::Held(Outcome::Won),
            Verdict::Held(Outcome::Thinking),
            Verdict::Held(Outcome::Lost),
            Verdict::Missed,
        ];
        for (consultation, expected) in [
            (consultation, [false, false, false, false]),
            (held.consultation, [true, false, false, false]),
            (missed.consultation, [false, false, false, true]),
        ] {
            assert_eq!(
                all.map(|verdict| verdict.stands_in(&consultation)),
                expected,
                "{:?}",
                consultation.status
            );
        }
    }

    #[test]
    fn links_stay_under_the_path_of_the_api() {
        for (url, expected) in [
            ("https://example.com", ""),
            ("http://127.0.0.1:4000", ""),
            ("https://example.com/michi", "/michi"),
        ] {
            assert_eq!(base(url), expected, "{url}");
        }
    }
}
