//! Opt-in: landing pages, the opt-in itself, its confirmation, preferences, the way out, visits, and
//! facts that other systems tell.
//!
//! GET shows and changes nothing; POST acts (mail scanners fetch every link).

mod confirm;
mod facts;
mod preferences;

use std::{collections::BTreeMap, sync::Arc};

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use chrono_tz::Tz;
use cloud::{
    Cloud, StartError,
    keys::Keys,
    tables::{Table, Tables},
    transaction::{Commit, Condition},
};
use content::{
    Form as PageForm, FormError, Funnel, Message, OptInForm, Page, PageContext,
    funnel::{Attribute, AttributeKind},
};
use domain::{
    email_address::EmailAddress,
    erasure::Row,
    event::Event,
    id::Id,
    lead::{self, Consent, Lead, LeadChange, OptIn as OptInCommand},
    limits::{CONFLICT_RETRIES, URL_BYTES},
    text::ShortText,
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
        Ok(Self {
            tables: Tables::new(&cloud).keeping(funnel.retention),
            keys,
            links,
            funnel,
            public_url: cloud.public_url()?,
            cloud,
        })
    }

    /// Answers one request. Never fails: what goes wrong becomes an answer.
    ///
    /// # Errors
    /// None.
    pub async fn handle(&self, event: ApiGatewayV2httpRequest) -> Result<Answer, Error> {
        let request = Request::read(event);
        let answered = match request.route.as_str() {
            "GET /" => self.page("landing", &request),
            "GET /pages/{page}" => self.page(request.path("page"), &request),
            "GET /thanks" => self.page("thanks", &request),
            "POST /opt-in" => self.opt_in(&request).await,
            "POST /visits" => self.visit(&request).await,
            "GET /confirm" => self.show_confirm(&request),
            "POST /confirm" => self.confirm(&request).await,
            "GET /preferences" => self.show_preferences(&request).await,
            "POST /preferences" => self.preferences(&request).await,
            "POST /facts" => self.fact(&request).await,
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
        } else if !self.has_seen_consent(&form) {
            form.wrong("consent_text", CONSENT_CHANGED);
        }
        let email = form.required("email", EmailAddress::parse);
        let (name, phone, source) = (form.short("name"), form.short("phone"), form.short("source"));
        let (visitor_id, utm) = (form.id("visitor_id"), form.utm());
        let attributes = self.read_attributes(&mut form);
        let consent = self.consent("POST /opt-in", request);
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
            attributes,
            consent,
        });
        form.finish(command)
    }

    /// Whether the words that a form showed, if it says which, are those of the funnel: a page may lie
    /// open while they are edited.
    fn has_seen_consent(&self, form: &Form) -> bool {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        form.text("consent_text").is_none_or(|shown| words(shown) == words(&self.funnel.consent))
    }

    /// The consent that a request gives, in the funnel's words.
    fn consent(&self, place: &str, request: &Request) -> Consent {
        Consent {
            given_at: self.cloud.now(),
            text: self.funnel.consent.clone(),
            place: place.to_owned(),
            ip: request.ip.clone(),
            confirmed_at: None,
            confirmed_ip: None,
        }
    }

    /// What is told about the person, held against what the funnel declares: `attribute_industry`
    /// of an HTML form, `{"attributes": {"industry": …}}` of JSON.
    fn read_attributes(&self, form: &mut Form) -> BTreeMap<String, String> {
        let told = form.group("attribute_").into_iter().chain(form.group("attributes."));
        let mut attributes = BTreeMap::new();
        for (name, value) in told {
            let field = format!("attribute_{name}");
            let Some(attribute) = self.funnel.attribute(&name) else {
                form.wrong(&field, "is not an attribute of this funnel");
                continue;
            };
            let value = value.trim();
            match attribute_value(attribute, value) {
                Ok(value) => _ = attributes.insert(name, value),
                Err(mend) => form.wrong(&field, &mend),
            }
        }
        attributes
    }

    fn form_again(&self, form: &Form, problem: &Problem) -> Result<Answer, Failure> {
        let text = |field: &str| form.text(field).unwrap_or_default().to_owned();
        let filled = OptInForm {
            email: text("email"),
            name: text("name"),
            lead_magnet: form.text("lead_magnet_type").and_then(|text| Id::parse(text).ok()),
            source: form.text("source").map(str::to_owned),
            utm: form.clone().utm(),
            attributes: form.group("attribute_"),
        };
        let errors = problem.errors().iter().filter_map(|error| match error.field.as_str() {
            "email" => Some(FormError::Email),
            "name" => Some(FormError::Name),
            "consent" => Some(FormError::Consent),
            "consent_text" => Some(FormError::ConsentChanged),
            "lead_magnet_type" => Some(FormError::LeadMagnet),
            field => {
                field.strip_prefix("attribute_").and_then(|id| Id::parse(id).ok()).map(FormError::Attribute)
            }
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
            let (known, erased) = match self.tables.lead_row(lead_id).await? {
                Some(Row::Lead(lead)) => (Some(*lead), None),
                // Her old rows are being looked up by this very id.
                Some(Row::Erased(erased)) if erased.rest.is_some() => {
                    let told = "this address is being erased at this moment; try again in a few minutes";
                    return Err(Problem::new(Status::Unavailable, told).into());
                }
                Some(Row::Erased(erased)) => (None, Some(erased)),
                None => (None, None),
            };
            let version = known.as_ref().map(|lead| lead.version);
            let version = version.or(erased.as_ref().map(|erased| erased.version));
            let before = version.map_or(Condition::Absent, Condition::version);
            let take = if self.funnel.double_opt_in { lead::request_opt_in } else { lead::opt_in };
            let mut change = take(
                known.clone(),
                lead_id.clone(),
                command.clone(),
                self.cloud.now(),
                self.funnel.time_zone,
            );
            if let Some(erased) = &erased {
                change.lead = erased.begin_anew(change.lead);
            }
            if self.write(known.as_ref(), &change, &before).await? {
                return Ok(());
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
            false => {
                let status = if self.funnel.double_opt_in { "confirmation_asked" } else { "opted_in" };
                answer::json(200, &json!({"lead_id": lead_id, "status": status}))
            }
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
        let (visitor, (page, landing)) = form.finish(visitor.zip(page))?;
        let zone = self.funnel.time_zone;
        let visit = Event::visit(&visitor, page.as_str(), landing, referrer, utm, now, zone);
        self.tables.add_event(&visit).await?;
        if let Some(lead_id) = self.tables.lead_of_visitor(&visitor).await? {
            self.tables.add_event(&Event::page_seen(&lead_id, &page, now, zone)).await?;
        }
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
        self.change(&lead_id, |lead| lead::unsubscribe(lead, self.cloud.now(), self.funnel.time_zone))
            .await?;
        match self.funnel.page("unsubscribed").filter(|_| request.wants_html()) {
            Some(page) => self.shown(200, page, PageForm::None, vec![]),
            None => Ok(answer::json(200, &json!({"status": "unsubscribed"}))),
        }
    }

    /// Changes a lead as she stands now, with the fact in the same transaction. Nothing to change is
    /// as good as changed.
    async fn change(&self, lead_id: &Id, change: impl Fn(Lead) -> Option<LeadChange>) -> Result<(), Failure> {
        for _ in 0..CONFLICT_RETRIES {
            let Some(known) = self.tables.lead(lead_id).await? else { return Ok(()) };
            let before = Condition::version(known.version);
            let Some(change) = change(known.clone()) else { return Ok(()) };
            if self.write(Some(&known), &change, &before).await? {
                return Ok(());
            }
        }
        Err(Problem::new(
            Status::Unavailable,
            "this lead is being changed by many requests at once; try again",
        )
        .into())
    }

    /// Writes a lead's row with the fact. Where the day has that fact already, the row is written if it
    /// tells anything new (the same form again may fill in a name), and the fact all the same if she
    /// had left in between. `false` when somebody else changed the row.
    async fn write(
        &self,
        known: Option<&Lead>,
        change: &LeadChange,
        before: &Condition,
    ) -> Result<bool, Failure> {
        let row = || self.tables.transaction().put(Table::Leads, &change.lead, before);
        match row()?.event(&change.event)?.commit("changing a lead").await? {
            Commit::Done => return Ok(true),
            Commit::Refused(parts) if parts.contains(&0) => return Ok(false),
            Commit::Refused(_) => {}
        }
        if known.is_some_and(|known| tells_nothing_new(known, &change.lead)) {
            return Ok(true);
        }
        let all = match known.and_then(|known| change.return_of(known)) {
            Some(event) => row()?.event(&event)?,
            None => row()?,
        };
        Ok(all.commit("changing a lead whose fact is known").await? == Commit::Done)
    }

    /// Whom a link leads out; that to the preferences, where the way out is shown too, does.
    fn lead_of(&self, token: &str) -> Result<Id, Problem> {
        let preferences = self.links.verify(Purpose::Preferences, token, self.cloud.now());
        preferences.or_else(|_| self.lead_for(Purpose::Unsubscribe, token))
    }

    /// Whom a personal link is for.
    fn lead_for(&self, purpose: Purpose, token: &str) -> Result<Id, Problem> {
        self.links.verify(purpose, token, self.cloud.now()).map_err(|error| match error {
            LinkError::Invalid => Problem::field("t", &error.to_string()).with_status(Status::Forbidden),
            LinkError::Expired => Problem::field("t", &error.to_string()).with_status(Status::Gone),
        })
    }

    /// A page of the funnel that its loader makes sure of.
    fn own_page(&self, id: &str) -> Result<&Page, Problem> {
        self.funnel.page(id).ok_or_else(|| Problem::new(Status::NotFound, "there is no such page"))
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

/// What is wrong with a consent to words that were edited since.
const CONSENT_CHANGED: &str = "is not the funnel's consent (any more); show its present words";

/// A told value as it is kept.
fn attribute_value(attribute: &Attribute, value: &str) -> Result<String, String> {
    match &attribute.kind {
        AttributeKind::Text => {
            ShortText::parse(value).map(|text| text.as_str().to_owned()).map_err(|error| error.to_string())
        }
        AttributeKind::Number => {
            let number: Result<i64, _> = value.parse();
            number.map(|number| number.to_string()).map_err(|_| "must be a whole number".to_owned())
        }
        AttributeKind::Choice(choices) => match choices.iter().any(|choice| choice == value) {
            true => Ok(value.to_owned()),
            false => Err(format!("must be one of: {}", choices.join(", "))),
        },
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
