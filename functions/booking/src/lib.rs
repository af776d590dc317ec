//! Booking: free slots, and one person's consultation of them. A host's time is never sold twice.
//!
//! Every page and form here needs a personal link from a mail: whoever has it owns the address.

use std::sync::Arc;

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use chrono::{DateTime, NaiveDate, SecondsFormat, TimeDelta, Utc};
use cloud::{
    Cloud, StartError,
    keys::Keys,
    tables::{Table, Tables},
    transaction::{Commit, Condition},
};
use content::{
    BookedForm, BookingForm, Form as PageForm, FormError, Funnel, Message, Moving, Page, PageContext,
    SlotChoice,
};
use domain::{
    consultation::{
        self, Agenda, Consultation, ConsultationChange, ConsultationError, ConsultationStatus, Slot,
    },
    id::Id,
    lead::Lead,
    limits::{CONFLICT_RETRIES, PERSONAL_LINK_DAYS, SLOT_DAYS, SLOTS_PER_REQUEST},
    time,
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
pub struct Booking {
    cloud: Cloud,
    tables: Tables,
    links: Links,
    funnel: Arc<Funnel>,
    public_url: String,
}

impl Booking {
    /// Makes the clients and reads the keys.
    ///
    /// # Errors
    /// [`StartError`] if the environment or the keys are not as the template makes them.
    pub async fn start(cloud: Cloud, funnel: Arc<Funnel>) -> Result<Self, StartError> {
        let links = Links::new(Keys::load(&cloud).await?.link_keys());
        Ok(Self { tables: Tables::new(&cloud), links, funnel, public_url: cloud.public_url()?, cloud })
    }

    /// Answers one request. Never fails: what goes wrong becomes an answer.
    ///
    /// # Errors
    /// None.
    pub async fn handle(&self, event: ApiGatewayV2httpRequest) -> Result<Answer, Error> {
        let request = Request::read(event);
        let answered = match request.route.as_str() {
            "GET /booking" => self.show_form(&request).await,
            "GET /slots" => self.slots(&request).await,
            "POST /bookings" => self.book(&request).await,
            "GET /bookings/{consultation_id}" => self.show_booking(&request).await,
            "POST /bookings/{consultation_id}/cancel" => self.cancel(&request).await,
            "POST /bookings/{consultation_id}/reschedule" => self.reschedule(&request).await,
            _ => Err(Problem::new(Status::NotFound, "there is nothing here").into()),
        };
        Ok(answered.unwrap_or_else(|failure| self.told(failure.into_problem(&request.route), &request)))
    }

    async fn show_form(&self, request: &Request) -> Result<Answer, Failure> {
        let token = request.query("t").unwrap_or_default();
        if let Ok((consultation_id, version)) = self.links.verify_manage(token, self.cloud.now()) {
            let consultation = self.own_consultation(&consultation_id).await?;
            still_so(&consultation, version)?;
            return self.form_page(200, token, Some(&consultation), None, vec![]).await;
        }
        self.known_lead(token).await?;
        self.form_page(200, token, None, None, vec![]).await
    }

    async fn form_page(
        &self,
        status: i64,
        token: &str,
        moved: Option<&Consultation>,
        sent: Option<&Form>,
        errors: Vec<FormError>,
    ) -> Result<Answer, Failure> {
        let today = time::day(self.cloud.now(), self.funnel.time_zone);
        let free = self.free(today, time::plus_days(today, SLOT_DAYS)).await?;
        let mut slots: Vec<SlotChoice> =
            free.iter().map(|slot| SlotChoice { value: slot_value(slot), start: slot.start }).collect();
        // Several hosts may be free at one time; a guest chooses the time.
        slots.dedup_by_key(|slot| slot.start);
        let text = |field: &str| sent.and_then(|form| form.text(field)).unwrap_or_default().to_owned();
        let form = BookingForm {
            token: token.to_owned(),
            moving: moved.map(|consultation| Moving {
                consultation_id: consultation.consultation_id.clone(),
                start: consultation.scheduled_date,
            }),
            slots,
            chosen: Some(text("slot")).filter(|slot| !slot.is_empty()),
            name: text("name"),
            note: text("note"),
            time_zone: self.funnel.time_zone,
        };
        self.shown(status, self.page("booking")?, PageForm::Booking(form), errors)
    }

    async fn slots(&self, request: &Request) -> Result<Answer, Failure> {
        let zone = self.funnel.time_zone;
        let today = time::day(self.cloud.now(), zone);
        let day = |name: &str, otherwise: NaiveDate| match request.query(name) {
            None => Ok(otherwise),
            Some(text) => text
                .parse::<NaiveDate>()
                .map_err(|_| Problem::field(name, "must be a day such as 2026-11-25")),
        };
        let from = day("from", today)?;
        let until = day("until", time::plus_days(from, 14))?;
        if from < today || until < from || until > time::plus_days(today, SLOT_DAYS) {
            return Err(Problem::field(
                "until",
                &format!("days must run from today to at most {SLOT_DAYS} days ahead"),
            )
            .into());
        }
        let free = self.free(from, until).await?;
        let slots: Vec<_> = free
            .iter()
            .map(|slot| json!({"slot": slot_value(slot), "start": instant(slot.start), "end": instant(slot.end), "local": slot.start.with_timezone(&zone).to_rfc3339(), "host": slot.host}))
            .collect();
        Ok(answer::json(200, &json!({"time_zone": zone.name(), "slots": slots})))
    }

    /// Free slots, of at most [`SLOTS_PER_REQUEST`] that are offered.
    async fn free(&self, from: NaiveDate, until: NaiveDate) -> Result<Vec<Slot>, Failure> {
        let offer = self
            .funnel
            .consultation
            .as_ref()
            .ok_or_else(|| Problem::new(Status::NotFound, "this business offers no consultations"))?;
        let mut offered = offer.availability.slots(from, until, self.cloud.now(), self.funnel.time_zone);
        offered.truncate(SLOTS_PER_REQUEST);
        let agendas = self.tables.agendas(offered.iter().flat_map(Slot::agenda_keys)).await?;
        offered.retain(|slot| slot.is_free(&agendas));
        Ok(offered)
    }

    async fn book(&self, request: &Request) -> Result<Answer, Failure> {
        let mut form = request.form()?;
        let token = form.text("t").or(request.query("t")).unwrap_or_default().to_owned();
        let lead = self.known_lead(&token).await?;
        let sent = form.clone();
        let (name, note, slot) = (form.short("name"), form.long("note"), self.read_slot(&mut form));
        let slot = match form.finish(slot) {
            Ok(slot) => slot,
            Err(problem) => return self.form_again(request, &token, None, &sent, problem).await,
        };
        if name.is_some() && lead.name.is_none() {
            let version = lead.version;
            let named = Lead { name, version: version + 1, ..lead.clone() };
            // A courtesy: when somebody else writes the lead just now, the name can wait.
            self.tables
                .transaction()
                .put(Table::Leads, &named, &Condition::version(version))?
                .commit("naming a lead")
                .await?;
        }
        let (mut round, mut refused) = (0, 0);
        while refused < CONFLICT_RETRIES {
            let (now, zone) = (self.cloud.now(), self.funnel.time_zone);
            let change = consultation::book(&lead.lead_id, &slot, round, note.clone(), now, zone);
            let Consultation { consultation_id, lead_id, .. } = &change.consultation;
            match self.tables.consultation(consultation_id).await? {
                // The same form again.
                Some(known) if known.status == ConsultationStatus::Booked && known.is_at(&slot) => {
                    return self.booked(request, &known);
                }
                // That one was called off, or moved to another time.
                Some(_) => {
                    round += 1;
                    continue;
                }
                None => {}
            }
            let agendas = self.tables.agendas(slot.agenda_keys()).await?;
            let Some(agendas) = consultation::arrange(&agendas, consultation_id, &slot) else {
                return self.form_again(request, &token, None, &sent, taken()).await;
            };
            if self.store(&change, &Condition::Absent, &agendas, "booking a consultation").await? {
                tracing::info!(%lead_id, %consultation_id, "a consultation was booked");
                return self.booked(request, &change.consultation);
            }
            refused += 1;
        }
        Err(busy().into())
    }

    /// Stores a consultation, what happened, and the agendas as they are then. `false` when one of the
    /// rows is not what it was any more: look again.
    async fn store(
        &self,
        change: &ConsultationChange,
        before: &Condition,
        agendas: &[Agenda],
        doing: &'static str,
    ) -> Result<bool, Failure> {
        let all = self.tables.transaction().agendas(agendas)?;
        let all = all.put(Table::Consultations, &change.consultation, before)?.event(&change.event)?;
        Ok(all.commit(doing).await? == Commit::Done)
    }

    async fn show_booking(&self, request: &Request) -> Result<Answer, Failure> {
        let (token, consultation, version) = self.managed(request, request.query("t")).await?;
        still_so(&consultation, version)?;
        self.booking_page(&token, &consultation, request.query("fresh").is_some())
    }

    async fn cancel(&self, request: &Request) -> Result<Answer, Failure> {
        let form = request.form().unwrap_or_default();
        let token = form.text("t").or(request.query("t"));
        for _ in 0..CONFLICT_RETRIES {
            let (_, consultation, version) = self.managed(request, token).await?;
            if consultation.status == ConsultationStatus::Cancelled {
                return self.cancelled(request, &consultation);
            }
            still_so(&consultation, version)?;
            let before = Condition::version(consultation.version.into());
            let agendas = self.tables.agendas(consultation.agenda_keys()).await?;
            let agendas = consultation::vacate(&agendas, &consultation.consultation_id);
            let change = consultation::cancel(consultation, self.cloud.now(), self.funnel.time_zone)
                .map_err(closed)?;
            if self.store(&change, &before, &agendas, "cancelling a consultation").await? {
                return self.cancelled(request, &change.consultation);
            }
        }
        Err(busy().into())
    }

    async fn reschedule(&self, request: &Request) -> Result<Answer, Failure> {
        let mut form = request.form()?;
        let sent = form.clone();
        let token = sent.text("t").or(request.query("t"));
        let slot = self.read_slot(&mut form);
        let slot = form.finish(slot);
        for _ in 0..CONFLICT_RETRIES {
            let (token, consultation, version) = self.managed(request, token).await?;
            // The same form again, whose link its own first sending has outdated.
            if let Ok(slot) = &slot
                && consultation.is_at(slot)
                && consultation.status == ConsultationStatus::Booked
            {
                return self.booked(request, &consultation);
            }
            still_so(&consultation, version)?;
            let slot = match &slot {
                Ok(slot) => slot,
                Err(problem) => {
                    let problem = problem.clone();
                    return self.form_again(request, &token, Some(&consultation), &sent, problem).await;
                }
            };
            let before = Condition::version(consultation.version.into());
            let (now, zone) = (self.cloud.now(), self.funnel.time_zone);
            let change = consultation::reschedule(consultation.clone(), slot, now, zone).map_err(closed)?;
            let keys = slot.agenda_keys().into_iter().chain(consultation.agenda_keys());
            let agendas = self.tables.agendas(keys).await?;
            let Some(agendas) = consultation::arrange(&agendas, &consultation.consultation_id, slot) else {
                return self.form_again(request, &token, Some(&consultation), &sent, taken()).await;
            };
            if self.store(&change, &before, &agendas, "moving a consultation").await? {
                return self.booked(request, &change.consultation);
            }
        }
        Err(busy().into())
    }

    /// A slot that the calendar offers at this moment; one that is gone was taken or too late.
    fn read_slot(&self, form: &mut Form) -> Option<Slot> {
        form.required("slot", |text| {
            let (start, host) = text.split_once('/').ok_or("must be a slot from GET /slots")?;
            let start =
                DateTime::parse_from_rfc3339(start).map_err(|_| "must be a slot from GET /slots")?.to_utc();
            let host = Id::parse(host).map_err(|_| "must be a slot from GET /slots")?;
            let offered = self.funnel.consultation.as_ref().and_then(|offer| {
                offer.availability.slot_at(start, &host, self.cloud.now(), self.funnel.time_zone)
            });
            offered.ok_or("is not offered (any more); choose another time")
        })
    }

    async fn form_again(
        &self,
        request: &Request,
        token: &str,
        moved: Option<&Consultation>,
        sent: &Form,
        problem: Problem,
    ) -> Result<Answer, Failure> {
        if !request.wants_html() {
            return Err(problem.into());
        }
        let errors = problem.errors().iter().filter_map(|error| match error.field.as_str() {
            "slot" if problem.status() == Status::Conflict.code() => Some(FormError::SlotTaken),
            "slot" => Some(FormError::Slot),
            "name" => Some(FormError::Name),
            "note" => Some(FormError::Note),
            _ => None,
        });
        self.form_page(problem.status(), token, moved, Some(sent), errors.collect()).await
    }

    fn booked(&self, request: &Request, consultation: &Consultation) -> Result<Answer, Failure> {
        let token = self.manage_token(consultation);
        let id = &consultation.consultation_id;
        Ok(match request.wants_html() {
            true => answer::see_other(&format!("{}/bookings/{id}?t={token}&fresh=1", self.public_url)),
            false => answer::json(
                200,
                &told_booking(consultation, &format!("{}/bookings/{id}?t={token}", self.public_url)),
            ),
        })
    }

    fn booking_page(&self, token: &str, consultation: &Consultation, fresh: bool) -> Result<Answer, Failure> {
        let open = consultation.status == ConsultationStatus::Booked
            && self.cloud.now() < consultation.scheduled_date;
        if consultation.status == ConsultationStatus::Cancelled {
            return self.cancelled_page(consultation);
        }
        let form = BookedForm {
            token: token.to_owned(),
            consultation_id: consultation.consultation_id.clone(),
            start: consultation.scheduled_date,
            time_zone: self.funnel.time_zone,
            fresh,
            open,
            reschedule_url: format!("{}/booking?t={token}", self.public_url),
        };
        self.shown(200, self.page("booked")?, PageForm::Booked(form), vec![])
    }

    fn cancelled(&self, request: &Request, consultation: &Consultation) -> Result<Answer, Failure> {
        match request.wants_html() {
            true => self.cancelled_page(consultation),
            false => Ok(answer::json(200, &told_booking(consultation, ""))),
        }
    }

    fn cancelled_page(&self, consultation: &Consultation) -> Result<Answer, Failure> {
        let again = self.links.sign(
            Purpose::Book,
            &consultation.lead_id,
            Some(TimeDelta::days(PERSONAL_LINK_DAYS)),
            self.cloud.now(),
        );
        let booking_url = format!("{}/booking?t={again}", self.public_url);
        self.shown(200, self.page("cancelled")?, PageForm::Cancelled { booking_url }, vec![])
    }

    /// The consultation that a link manages, and the version that it stood at then.
    async fn managed(
        &self,
        request: &Request,
        token: Option<&str>,
    ) -> Result<(String, Consultation, u32), Failure> {
        let token = token.unwrap_or_default();
        let (consultation_id, version) =
            self.links.verify_manage(token, self.cloud.now()).map_err(no_way_in)?;
        if request.path("consultation_id") != consultation_id.as_str() {
            return Err(no_way_in(LinkError::Invalid).into());
        }
        Ok((token.to_owned(), self.own_consultation(&consultation_id).await?, version))
    }

    async fn own_consultation(&self, consultation_id: &Id) -> Result<Consultation, Failure> {
        let gone = || Problem::new(Status::NotFound, "this booking does not exist any more");
        let consultation = self.tables.consultation(consultation_id).await?.ok_or_else(gone)?;
        // Of somebody who was erased: its row goes a moment later, and nobody may write it again.
        self.tables.lead(&consultation.lead_id).await?.ok_or_else(gone)?;
        Ok(consultation)
    }

    async fn known_lead(&self, token: &str) -> Result<Lead, Failure> {
        let lead_id = self.links.verify(Purpose::Book, token, self.cloud.now()).map_err(no_way_in)?;
        let lead = self.tables.lead(&lead_id).await?;
        lead.ok_or_else(|| Problem::new(Status::NotFound, "this person is not known any more").into())
    }

    fn manage_token(&self, consultation: &Consultation) -> String {
        self.links.sign_manage(&consultation.consultation_id, consultation.version, self.cloud.now())
    }

    fn page(&self, id: &str) -> Result<&Page, Problem> {
        self.funnel.page(id).ok_or_else(|| Problem::new(Status::NotFound, "there is no such page"))
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

fn told_booking(consultation: &Consultation, manage_url: &str) -> serde_json::Value {
    json!({
        "consultation_id": consultation.consultation_id,
        "status": consultation.status,
        "start": instant(consultation.scheduled_date),
        "end": instant(consultation.ends_at),
        "host": consultation.host,
        "manage_url": manage_url,
    })
}

fn no_way_in(error: LinkError) -> Problem {
    let status = match error {
        LinkError::Invalid => Status::Forbidden,
        LinkError::Expired => Status::Gone,
    };
    Problem::field("t", &error.to_string()).with_status(status)
}

/// Refuses the link of a consultation that was moved since: whoever follows it has the earlier time
/// in mind. One that was cancelled or is over can be looked at by any of its links.
fn still_so(consultation: &Consultation, version: u32) -> Result<(), Problem> {
    let moved = consultation.status == ConsultationStatus::Booked && consultation.version != version;
    let told = "this booking was moved since; open the link in your latest mail";
    if moved { Err(Problem::field("t", told).with_status(Status::Outdated)) } else { Ok(()) }
}

fn taken() -> Problem {
    Problem::field("slot", "was taken just now; choose another time").with_status(Status::Conflict)
}

fn busy() -> Problem {
    let told = "this time is being booked or changed by many requests at once; try again";
    Problem::new(Status::Unavailable, told)
}

fn closed(error: ConsultationError) -> Problem {
    Problem::new(Status::Conflict, &error.to_string())
}

fn slot_value(slot: &Slot) -> String {
    format!("{}/{}", instant(slot.start), slot.host)
}

fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
