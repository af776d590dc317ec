//! `simulation.toml`.

use super::Problems;
use crate::funnel::Funnel;
use crate::problem::{Problem, Source, suggest};
use crate::reader::{Reader, parse};
use crate::simulation::{ConsultationRates, MailRates, People, SaleRates, Simulation};

pub(super) fn read(source: &Source, problems: &mut Problems) -> Option<Simulation> {
    let table = parse(source, problems)?;
    let mut file = Reader::file(source, &table);
    let visits = file.table("visits", problems).and_then(|reader| visits(reader, problems));
    let sources = file.table("sources", problems).map(|reader| weights(reader, problems));
    let people: Vec<People> =
        file.tables("people", problems).into_iter().filter_map(|reader| people(reader, problems)).collect();
    let shares: u32 = people.iter().map(|people| people.share).sum();
    if shares != 1000 {
        problems.push(source.problem_of_file(
            format!("the shares of [[people]] add up to {shares}"),
            "make them add up to 1000",
        ));
    }
    let mails = file.table("mails", problems).and_then(|reader| mails(reader, problems));
    let consultations =
        file.table("consultations", problems).and_then(|reader| consultations(reader, problems));
    let sales = file.table("sales", problems).and_then(|reader| sales(reader, problems));
    file.finish(problems);
    let (visitors_opt_in, hours) = visits?;
    Some(Simulation {
        visitors_opt_in,
        hours,
        sources: sources?,
        people,
        mails: mails?,
        consultations: consultations?,
        sales: sales?,
    })
}

fn rate(reader: &mut Reader<'_>, key: &'static str, problems: &mut Problems) -> Option<u32> {
    reader.number(key, 0..=1000, problems).and_then(|rate| u32::try_from(rate.value).ok())
}

fn span(reader: &mut Reader<'_>, key: &'static str, problems: &mut Problems) -> Option<(i64, i64)> {
    let pair = reader.numbers(key, 2, 0..=100_000, problems)?;
    match pair.value.as_slice() {
        [from, until] if from <= until => Some((*from, *until)),
        _ => {
            problems.push(reader.source().problem(
                &pair.span,
                format!("`{key}` ends before it begins"),
                "write the smaller number first",
            ));
            None
        }
    }
}

fn weights(reader: Reader<'_>, problems: &mut Problems) -> Vec<(String, u32)> {
    let (source, place) = (reader.source(), reader.span());
    let weights = reader.weights(problems);
    if weights.iter().all(|(_, weight)| *weight == 0) {
        problems.push(source.problem(
            &place,
            "nothing to choose from",
            "give at least one name a weight: `instagram = 40`",
        ));
    }
    weights
}

fn visits(mut reader: Reader<'_>, problems: &mut Problems) -> Option<(u32, Vec<u32>)> {
    let opt_in = reader.number("opt_in", 1..=1000, problems).and_then(|rate| u32::try_from(rate.value).ok());
    let hours = reader.numbers("hours", 24, 0..=1000, problems);
    if let Some(none) = hours.as_ref().filter(|hours| hours.value.iter().all(|weight| *weight == 0)) {
        problems.push(reader.source().problem(
            &none.span,
            "nobody ever arrives",
            "give at least one hour a weight",
        ));
    }
    reader.finish(problems);
    let hours = hours?;
    Some((opt_in?, hours.value.into_iter().filter_map(|weight| u32::try_from(weight).ok()).collect()))
}

fn people(mut reader: Reader<'_>, problems: &mut Problems) -> Option<People> {
    let name = reader.text("name", "熱心", problems);
    let share = rate(&mut reader, "share", problems);
    let open = rate(&mut reader, "open", problems);
    let click = rate(&mut reader, "click", problems);
    let unsubscribe = rate(&mut reader, "unsubscribe", problems);
    let book = rate(&mut reader, "book", problems);
    if let (Some(open), Some(click)) = (open, click)
        && click > open
    {
        problems.push(reader.source().problem(
            &reader.span(),
            "more mails are clicked than opened",
            "make `click` at most `open`; both are of all mails",
        ));
    }
    reader.finish(problems);
    Some(People {
        name: name?.value,
        share: share?,
        open: open?,
        click: click?,
        unsubscribe: unsubscribe?,
        book: book?,
    })
}

fn mails(mut reader: Reader<'_>, problems: &mut Problems) -> Option<MailRates> {
    let machine_open = rate(&mut reader, "machine_open", problems);
    let bounce = rate(&mut reader, "bounce", problems);
    let complaint = rate(&mut reader, "complaint", problems);
    let open_after_minutes = span(&mut reader, "open_after_minutes", problems);
    let click_after_minutes = span(&mut reader, "click_after_minutes", problems);
    reader.finish(problems);
    Some(MailRates {
        machine_open: machine_open?,
        bounce: bounce?,
        complaint: complaint?,
        open_after_minutes: open_after_minutes?,
        click_after_minutes: click_after_minutes?,
    })
}

fn consultations(mut reader: Reader<'_>, problems: &mut Problems) -> Option<ConsultationRates> {
    let book_after_hours = span(&mut reader, "book_after_hours", problems);
    let slot_after_hours = span(&mut reader, "slot_after_hours", problems);
    let cancel = rate(&mut reader, "cancel", problems);
    let reschedule = rate(&mut reader, "reschedule", problems);
    let attend = rate(&mut reader, "attend", problems);
    reader.finish(problems);
    Some(ConsultationRates {
        book_after_hours: book_after_hours?,
        slot_after_hours: slot_after_hours?,
        cancel: cancel?,
        reschedule: reschedule?,
        attend: attend?,
    })
}

/// The plans that people take must be on sale.
pub(super) fn check_plans(funnel: &Funnel, problems: &mut Problems) {
    for (plan, _) in &funnel.simulation.sales.plans {
        if funnel.plan(plan).is_none() {
            let known = funnel.plans.iter().map(|plan| plan.id.as_str());
            problems.push(Problem {
                file: "simulation.toml".into(),
                line: None,
                column: None,
                what: format!("[sales.plans]: there is no plan `{plan}`"),
                mend: suggest(plan, known),
            });
        }
    }
}

fn sales(mut reader: Reader<'_>, problems: &mut Problems) -> Option<SaleRates> {
    let buy = rate(&mut reader, "buy", problems);
    let buy_after_hours = span(&mut reader, "buy_after_hours", problems);
    let mix = reader.table("plans", problems).map(|table| weights(table, problems));
    reader.finish(problems);
    Some(SaleRates { buy: buy?, buy_after_hours: buy_after_hours?, plans: mix? })
}
