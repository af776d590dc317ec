//! Payment: application, checkout, and the webhook that says that money arrived.

use std::sync::Arc;

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use cloud::{
    Cloud, StartError,
    keys::{Keys, parameter},
    queues::DeadLetters,
    tables::{Table, Tables},
    transaction::{Commit, Condition},
};
use content::{ApplyForm, Form as PageForm, FormError, Funnel, Message, PageContext};
use domain::{
    customer::{self, Payment, Plan},
    id::Id,
    lead::{self, Lead},
    limits::CONFLICT_RETRIES,
};
use integrations::stripe::{Checkout, Stripe, StripeSecrets, Webhook, WebhookError};
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
pub struct Payments {
    cloud: Cloud,
    tables: Tables,
    dead_letters: DeadLetters,
    links: Links,
    stripe: Stripe,
    funnel: Arc<Funnel>,
    public_url: String,
}

impl Payments {
    /// Makes the clients and reads the keys and Stripe's secrets.
    ///
    /// # Errors
    /// [`StartError`] if the environment, the keys or the secrets are not as expected.
    pub async fn start(cloud: Cloud, funnel: Arc<Funnel>) -> Result<Self, StartError> {
        let links = Links::new(Keys::load(&cloud).await?.link_keys());
        let name = cloud.env.get("STRIPE_PARAMETER")?;
        let secrets: StripeSecrets = serde_json::from_str(&parameter(&cloud, &name).await?)
            .map_err(|error| StartError::Parameter { name, reason: error.to_string() })?;
        let stripe = Stripe::new(cloud.http.clone(), secrets);
        let dead_letters = DeadLetters::new(&cloud, "payment")?;
        Ok(Self {
            tables: Tables::new(&cloud),
            dead_letters,
            links,
            stripe,
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
            "GET /apply" => self.show_form(&request).await,
            "POST /applications" => self.apply(&request).await,
            "GET /paid" => self.shown(200, "paid", PageForm::None, vec![]),
            "POST /webhooks/stripe" => self.webhook(&request).await,
            _ => Err(Problem::new(Status::NotFound, "there is nothing here").into()),
        };
        Ok(answered.unwrap_or_else(|failure| self.told(failure.into_problem(&request.route), &request)))
    }

    async fn show_form(&self, request: &Request) -> Result<Answer, Failure> {
        let token = request.query("t").unwrap_or_default();
        self.known_lead(token).await?;
        let chosen = request.query("plan").filter(|plan| self.funnel.plan(plan).is_some()).map(str::to_owned);
        self.shown(200, "apply", PageForm::Apply(ApplyForm { token: token.to_owned(), chosen }), vec![])
    }

    async fn apply(&self, request: &Request) -> Result<Answer, Failure> {
        let mut form = request.form()?;
        let token = form.text("t").or(request.query("t")).unwrap_or_default().to_owned();
        let lead = self.known_lead(&token).await?;
        let plan = self.read_plan(&mut form);
        let plan = match form.finish(plan) {
            Ok(plan) => plan,
            Err(_) if request.wants_html() => {
                return self.shown(
                    422,
                    "apply",
                    PageForm::Apply(ApplyForm { token, chosen: None }),
                    vec![FormError::Plan],
                );
            }
            Err(problem) => return Err(problem.into()),
        };
        let (application_id, event) =
            customer::apply(&lead.lead_id, plan, self.cloud.now(), self.funnel.time_zone);
        self.tables.add_event(&event).await?;
        let checkout = Checkout {
            lead_id: &lead.lead_id,
            application_id: &application_id,
            plan,
            currency: &self.funnel.currency,
            email: lead.email.as_str(),
            success_url: &format!("{}/paid", self.public_url),
            cancel_url: &format!("{}/apply?t={token}&plan={}", self.public_url, plan.id),
        };
        let url = self.stripe.open_checkout(&checkout).await?;
        Ok(match request.wants_html() {
            true => answer::see_other(&url),
            false => answer::json(
                200,
                &json!({"application_id": application_id, "plan": plan.id, "price": plan.price, "currency": self.funnel.currency, "checkout_url": url}),
            ),
        })
    }

    fn read_plan(&self, form: &mut Form) -> Option<&Plan> {
        form.required("plan", |text| {
            let known =
                || self.funnel.plans.iter().map(|plan| plan.id.as_str()).collect::<Vec<_>>().join(", ");
            self.funnel.plan(text).ok_or_else(|| format!("is not a plan of this funnel; known: {}", known()))
        })
    }

    async fn webhook(&self, request: &Request) -> Result<Answer, Failure> {
        match self.stripe.read_webhook(request.header("stripe-signature"), request.body()?, self.cloud.now())
        {
            Ok(Webhook::Paid(payment)) => self.paid(payment, request).await,
            Ok(Webhook::Other(kind)) => {
                tracing::info!(kind, "a webhook of Stripe's that changes nothing here");
                Ok(answer::json(200, &json!({"status": "ignored"})))
            }
            Err(WebhookError::Unreadable(reason)) => self.put_aside(&reason, request).await,
            Err(error) => Err(Problem::field("stripe-signature", &error.to_string())
                .with_status(Status::BadRequest)
                .into()),
        }
    }

    async fn paid(&self, payment: Payment, request: &Request) -> Result<Answer, Failure> {
        let Some(plan) = self.funnel.plan(payment.plan.as_str()) else {
            return self.put_aside("the plan is not one of this funnel's", request).await;
        };
        let (customer, event) = customer::pay(payment, plan, self.funnel.time_zone);
        for _ in 0..CONFLICT_RETRIES {
            let Some(known) = self.tables.lead(&customer.lead_id).await? else {
                return self.put_aside("the lead who paid is not known", request).await;
            };
            let version = Condition::version(known.version);
            let all = self.tables.transaction().put(Table::Customers, &customer, &Condition::Absent)?.put(
                Table::Leads,
                &lead::convert(known),
                &version,
            )?;
            match all.event(&event)?.commit("recording a payment").await? {
                Commit::Refused(parts) if parts == [1] => {}
                // Done, or reported before: either way it is counted once.
                Commit::Done | Commit::Refused(_) => {
                    tracing::info!(lead_id = %customer.lead_id, customer_id = %customer.customer_id, "a payment is recorded");
                    return Ok(answer::json(
                        200,
                        &json!({"status": "recorded", "customer_id": customer.customer_id}),
                    ));
                }
            }
        }
        Err(Problem::new(
            Status::Unavailable,
            "this lead is being changed by many requests at once; try again",
        )
        .into())
    }

    /// Money that can't be matched must not be lost: a person looks at it. Stripe is told that it
    /// arrived, since sending it again would change nothing.
    ///
    /// Put aside is what finds it at Stripe, not who paid: an account that sells by other means too tells
    /// of people who have nothing to do with this funnel.
    async fn put_aside(&self, reason: &str, request: &Request) -> Result<Answer, Failure> {
        let event: serde_json::Value = serde_json::from_slice(request.body()?).unwrap_or_default();
        let paid = &event["data"]["object"];
        let kept = json!({
            "id": event["id"],
            "type": event["type"],
            "created": event["created"],
            "data": {"object": {
                "id": paid["id"],
                "payment_intent": paid["payment_intent"],
                "amount_total": paid["amount_total"],
                "currency": paid["currency"],
                "metadata": {
                    "lead_id": paid["metadata"]["lead_id"],
                    "application_id": paid["metadata"]["application_id"],
                    "plan": paid["metadata"]["plan"],
                },
            }},
        });
        self.dead_letters.put(reason, kept).await?;
        Ok(answer::json(202, &json!({"status": "put aside", "reason": reason})))
    }

    async fn known_lead(&self, token: &str) -> Result<Lead, Failure> {
        let lead = self.tables.lead(&self.lead_of(token)?).await?;
        lead.ok_or_else(|| Problem::new(Status::NotFound, "this person is not known any more").into())
    }

    fn lead_of(&self, token: &str) -> Result<Id, Problem> {
        self.links.verify(Purpose::Apply, token, self.cloud.now()).map_err(|error| match error {
            LinkError::Invalid => Problem::field("t", &error.to_string()).with_status(Status::Forbidden),
            LinkError::Expired => Problem::field("t", &error.to_string()).with_status(Status::Gone),
        })
    }

    fn shown(
        &self,
        status: i64,
        page: &str,
        form: PageForm,
        errors: Vec<FormError>,
    ) -> Result<Answer, Failure> {
        let page =
            self.funnel.page(page).ok_or_else(|| Problem::new(Status::NotFound, "there is no such page"))?;
        let context = PageContext { public_url: self.public_url.clone(), form, errors };
        Ok(answer::html(status, self.funnel.render_page(page, &context)?))
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
