//! The calendar file of a consultation (RFC 5545, RFC 5546).

use chrono::{DateTime, Utc};
use content::{Funnel, funnel::ConsultationOffer};
use domain::consultation::Consultation;
use icalendar::{Calendar, Component, Event, EventLike, EventStatus, Property};

/// An invitation. Its UID stays and its SEQUENCE grows with every move, so that calendars replace
/// the earlier time instead of showing both.
pub fn invitation(
    consultation: &Consultation,
    offer: &ConsultationOffer,
    attendee: &str,
    funnel: &Funnel,
    now: DateTime<Utc>,
) -> String {
    let sender = &funnel.sender;
    let organizer = Property::new("ORGANIZER", format!("mailto:{}", sender.address.as_str()))
        .add_parameter("CN", &quoted(&sender.name))
        .done();
    let guest =
        Property::new("ATTENDEE", format!("mailto:{attendee}")).add_parameter("PARTSTAT", "ACCEPTED").done();
    let domain = sender.address.as_str().rsplit('@').next().unwrap_or_default();
    let event = Event::new()
        .uid(&format!("{}@{domain}", consultation.consultation_id))
        .timestamp(now)
        .sequence(consultation.version - 1)
        .summary(&offer.title)
        .description(&offer.meeting_note)
        .location(&offer.meeting_url)
        .starts(consultation.scheduled_date)
        .ends(consultation.ends_at)
        .status(EventStatus::Confirmed)
        .append_property(organizer)
        .append_property(guest)
        .done();
    Calendar::new().append_property(Property::new("METHOD", "REQUEST").done()).push(event).done().to_string()
}

/// A parameter's value may hold no quotation marks, and needs them around commas.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "'"))
}
