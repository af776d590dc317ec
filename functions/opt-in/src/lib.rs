//! Opt-in: landing pages, the opt-in itself, visits, and the way out.
//!
//! GET shows and changes nothing; POST acts (mail scanners fetch every link).

use std::sync::Arc;

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use chrono_tz::Tz;
use cloud::{
    Cloud, StartError,
    keys::Keys,
    tables::{Table, Tables},
    transaction::{Commit, Condition},
};
use content::{Form as PageForm, FormError, Funnel, Message, OptInForm, Page, PageContext};
use domain::{
    email_address::EmailAddress,
    event::Event,
    id::Id,
    lead::{self, Consent, Lead, LeadChange, OptIn as OptInCommand},
    limits::{CONFLICT_RETRIES, URL_BYTES},
};
use lambda_runtime::Error;
use serde_json::json;
use web::{
    answer::{self, Answer},
    form::Form,
    link::{LinkError, Links, Purpose},
    problem::{Failure, Problem, Status},
    request::Request,
};

/// The function's clients, made once.
#[derive(Debug)]
pub struct OptIn {
    cloud: Cloud,
    tables: Tables,
    keys: Keys,
    links: Links,
    funnel: Arc<Funnel>,
    public_url: String,
}

impl OptIn {
    /// Makes the clients and reads the keys.
    ///
    /// # Errors
    /// [`StartError`] if the environment or the keys are not as the template makes them.
    pub async fn start(cloud: Cloud, funnel: Arc<Funnel>) -> Result<Self, StartError> {
        let keys = Keys::load(&cloud).await?;
        let links = Links::new(keys.link_keys());
        Ok(Self { tables: Tables::new(&cloud), keys, links, funnel, public_url: cloud.public_url()?, cloud })
    }

    /// Answers one request. Never fails: what goes wrong becomes an answer.
    ///
    /// # Errors
    /// None.
    pub async fn handle(&self, event: ApiGatewayV2httpRequest) -> Result<Answer, Error> {
        let request = match Request::read(event) {
            Ok(request) => request,
            Err(problem) => return Ok(answer::problem(&problem)),
        };
        let answered = match request.route.as_str() {
            "GET /" => self.page("landing", &request),
            "GET /pages/{page}" => self.page(request.path("page"), &request),
            "GET /thanks" => self.page("thanks", &request),
            "POST /opt-in" => self.opt_in(&request).await,
            "POST /visits" => self.visit(&request).await,
            "GET /unsubscribe" => self.show_unsubscribe(&request),
            "POST /unsubscribe" => self.unsubscribe(&request).await,
            _ => Err(Problem::new(Status::NotFound, "there is nothing here").into()),
        };
        Ok(answered.unwrap_or_else(|failure| self.told(failure.into_problem(&request.route), &request)))
    }

    fn page(&self, id: &str, request: &Request) -> Result<Answer, Failure> {
        let page = self.funnel.page(id).filter(|page| page.is_public());
        let page = page.ok_or_else(|| Problem::new(Status::NotFound, "there is no such page"))?;
        let form = match page.is_landing() {
            true => PageForm::OptIn(OptInForm {
                lead_magnet: request.query("lead_magnet_type").and_then(|text| Id::parse(text).ok()),
                source: request.query("source").map(str::to_owned),
                utm: request
                    .all_query()
                    .iter()
                    .filter(|(name, _)| name.starts_with("utm_"))
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect(),
                ..OptInForm::default()
            }),
            false => PageForm::None,
        };
        self.shown(200, page, form, vec![])
    }

    fn shown(
        &self,
        status: i64,
        page: &Page,
        form: PageForm,
        errors: Vec<FormError>,
    ) -> Result<Answer, Failure> {
        let context = PageContext { public_url: self.public_url.clone(), form, errors };
        Ok(answer::html(status, self.funnel.render_page(page, &context)?))
    }

    async fn opt_in(&self, request: &Request) -> Result<Answer, Failure> {
        let form = request.form()?;
        // People don't see this field; whoever fills it in is a robot, and may think that it worked.
        if form.text("website").is_some() {
            tracing::info!("an opt-in was dropped: the hidden field was filled in");
            return Ok(self.opted_in(request, None));
        }
        let command = match self.read_opt_in(form.clone(), request) {
            Ok(command) => command,
            Err(problem) if request.wants_html() => return self.form_again(&form, &problem),
            Err(problem) => return Err(problem.into()),
        };
        let lead_id = self.keys.lead_id(&command.email);
        self.store(&lead_id, command).await?;
        Ok(self.opted_in(request, Some(&lead_id)))
    }

    fn read_opt_in(&self, mut form: Form, request: &Request) -> Result<OptInCommand, Problem> {
        let known_magnets = || {
            self.funnel.lead_magnets.iter().map(|magnet| magnet.id.as_str()).collect::<Vec<_>>().join(", ")
        };
        let magnet = form.optional("lead_magnet_type", |text| {
            let magnet = Id::parse(text).ok().filter(|id| self.funnel.lead_magnet(id).is_some());
            magnet.ok_or_else(|| format!("is not a lead magnet of this funnel; known: {}", known_magnets()))
        });
        if !form.checked("consent") {
            form.wrong("consent", "must be given: send true, or tick the box");
        }
        let email = form.required("email", EmailAddress::parse);
        let (name, phone, source) = (form.short("name"), form.short("phone"), form.short("source"));
        let (visitor_id, utm) = (form.id("visitor_id"), form.utm());
        let consent = Consent {
            given_at: self.cloud.now(),
            text: self.funnel.consent.clone(),
            place: "POST /opt-in".to_owned(),
            ip: request.ip.clone(),
        };
        let command = email.map(|email| OptInCommand {
            email,
            name,
            phone,
            source,
            lead_magnet_type: magnet,
            visitor_id,
            locale: form.text("locale").filter(|locale| matches!(*locale, "ja" | "en")).map(str::to_owned),
            time_zone: zone(form.text("time_zone")),
            utm,
            consent,
        });
        form.finish(command)
    }

    fn form_again(&self, form: &Form, problem: &Problem) -> Result<Answer, Failure> {
        let text = |field: &str| form.text(field).unwrap_or_default().to_owned();
        let filled = OptInForm {
            email: text("email"),
            name: text("name"),
            lead_magnet: form.text("lead_magnet_type").and_then(|text| Id::parse(text).ok()),
            source: form.text("source").map(str::to_owned),
            utm: form.clone().utm(),
        };
        let errors = problem.errors().iter().filter_map(|error| match error.field.as_str() {
            "email" => Some(FormError::Email),
            "name" => Some(FormError::Name),
            "consent" => Some(FormError::Consent),
            "lead_magnet_type" => Some(FormError::LeadMagnet),
            _ => None,
        });
        let errors: Vec<FormError> = errors.collect();
        let page = self.funnel.page("landing").filter(|_| !errors.is_empty());
        match page {
            Some(page) => self.shown(problem.status(), page, PageForm::OptIn(filled), errors),
            None => Err(problem.clone().into()),
        }
    }

    async fn store(&self, lead_id: &Id, command: OptInCommand) -> Result<(), Failure> {
        for _ in 0..CONFLICT_RETRIES {
            let known = self.tables.lead(lead_id).await?;
            let before = known.as_ref().map_or(Condition::Absent, |lead| Condition::version(lead.version));
            let LeadChange { lead, event } = lead::opt_in(
                known.clone(),
                lead_id.clone(),
                command.clone(),
                self.cloud.now(),
                self.funnel.time_zone,
            );
            let both = self.tables.transaction().put(Table::Leads, &lead, &before)?.event(&event)?;
            match both.commit("opting a lead in").await? {
                Commit::Done => return Ok(()),
                Commit::Refused(parts) if parts.contains(&0) => {}
                // The same form again: the fact is known, but it may carry a corrected name.
                Commit::Refused(_) if known.as_ref().is_some_and(|known| tells_nothing_new(known, &lead)) => {
                    return Ok(());
                }
                Commit::Refused(_) => {
                    let alone = self.tables.transaction().put(Table::Leads, &lead, &before)?;
                    if alone.commit("updating a lead").await? == Commit::Done {
                        return Ok(());
                    }
                }
            }
        }
        Err(Problem::new(
            Status::Unavailable,
            "this lead is being changed by many requests at once; try again",
        )
        .into())
    }

    fn opted_in(&self, request: &Request, lead_id: Option<&Id>) -> Answer {
        match request.wants_html() {
            true => answer::see_other(&format!("{}/thanks", self.public_url)),
            // The same answer for a new and a known address: nobody can ask who is on the list.
            false => answer::json(200, &json!({"lead_id": lead_id, "status": "opted_in"})),
        }
    }

    async fn visit(&self, request: &Request) -> Result<Answer, Failure> {
        let mut form = request.form()?;
        let visitor = form.required("visitor_id", Id::parse);
        let page = form.required("page", |text| {
            self.funnel
                .page(text)
                .filter(|page| page.is_public())
                .ok_or("is not a page of this funnel")
                .map(|page| (page.id.clone(), page.is_landing()))
        });
        let utm = form.utm();
        let referrer = form.text("referrer").map(|text| text.chars().take(URL_BYTES / 4).collect());
        let now = self.cloud.now();
        let event = visitor.zip(page).map(|(visitor, (page, landing))| {
            Event::visit(&visitor, page.as_str(), landing, referrer, utm, now, self.funnel.time_zone)
        });
        self.tables.add_event(&form.finish(event)?).await?;
        Ok(answer::no_content())
    }

    fn show_unsubscribe(&self, request: &Request) -> Result<Answer, Failure> {
        let token = request.query("t").unwrap_or_default();
        self.lead_of(token)?;
        let page = self
            .funnel
            .page("unsubscribe")
            .ok_or_else(|| Problem::new(Status::NotFound, "there is no such page"))?;
        self.shown(200, page, PageForm::Unsubscribe { token: token.to_owned() }, vec![])
    }

    /// Honoured whatever the body, its type and the sender: mailboxes' one-click requests
    /// (RFC 8058) differ widely.
    async fn unsubscribe(&self, request: &Request) -> Result<Answer, Failure> {
        let form = request.form().unwrap_or_default();
        let token = request.query("t").or(form.text("t")).unwrap_or_default();
        let lead_id = self.lead_of(token)?;
        for _ in 0..CONFLICT_RETRIES {
            let Some(known) = self.tables.lead(&lead_id).await? else { break };
            let version = known.version;
            let Some(change) = lead::unsubscribe(known, self.cloud.now(), self.funnel.time_zone) else {
                break;
            };
            let both = self
                .tables
                .transaction()
                .put(Table::Leads, &change.lead, &Condition::version(version))?
                .event(&change.event)?;
            if both.commit("unsubscribing a lead").await? == Commit::Done {
                break;
            }
        }
        match self.funnel.page("unsubscribed").filter(|_| request.wants_html()) {
            Some(page) => self.shown(200, page, PageForm::None, vec![]),
            None => Ok(answer::json(200, &json!({"status": "unsubscribed"}))),
        }
    }

    fn lead_of(&self, token: &str) -> Result<Id, Problem> {
        self.links.verify(Purpose::Unsubscribe, token, self.cloud.now()).map_err(|error| match error {
            LinkError::Invalid => Problem::field("t", &error.to_string()).with_status(Status::Forbidden),
            LinkError::Expired => Problem::field("t", &error.to_string()).with_status(Status::Gone),
        })
    }

    fn told(&self, problem: Problem, request: &Request) -> Answer {
        if request.wants_html()
            && let Ok(page) =
                self.funnel.message_page(Message::for_status(problem.status()), &self.public_url)
        {
            return answer::html(problem.status(), page);
        }
        answer::problem(&problem)
    }
}

/// A zone that nobody knows must not cost us a person: the funnel's is used instead.
fn zone(text: Option<&str>) -> Option<Tz> {
    let zone = text?.trim().parse();
    if zone.is_err() {
        tracing::warn!("an opt-in came with an unknown time zone; the funnel's is used");
    }
    zone.ok()
}

fn tells_nothing_new(known: &Lead, lead: &Lead) -> bool {
    Lead { version: known.version, consent: known.consent.clone(), ..lead.clone() } == *known
}
