//! `simulation.toml`.

use domain::id::Id;

use super::config::Config;
use super::{Files, Problems, known_id};
use crate::problem::{Source, suggest};
use crate::reader::{At, Reader, parse};
use crate::simulation::{
    Behaviour, ConsultationRates, Doing, Expect, FIGURES, HAPPENINGS, MailRates, People, SaleRates,
    Simulation,
};

pub(super) fn read(
    source: &Source,
    config: &Config,
    files: &Files,
    problems: &mut Problems,
) -> Option<Simulation> {
    let table = parse(source, problems)?;
    let mut file = Reader::file(source, &table);
    let visits = file.table("visits", problems).and_then(|reader| visits(reader, problems));
    let sources = file.table("sources", problems).map(|reader| weights(reader, problems));
    let people: Vec<People> = file
        .tables("people", problems)
        .into_iter()
        .filter_map(|reader| people(reader, config.has_consultation, problems))
        .collect();
    let shares: u32 = people.iter().map(|people| people.share).sum();
    if shares != 1000 {
        problems.push(source.problem_of_file(
            format!("the shares of [[people]] add up to {shares}"),
            "make them add up to 1000",
        ));
    }
    let mails = file.table("mails", problems).and_then(|reader| mails(reader, problems));
    let behaviour = behaviours(&mut file, config, files, problems);
    let wanted = (config.has_consultation, !config.plans.is_empty());
    let consultations = part(&mut file, "consultations", wanted.0, "[consultation]", problems)
        .map(|reader| consultations(reader, problems));
    let sales = part(&mut file, "sales", wanted.1, "[[plans]]", problems)
        .map(|reader| sales(reader, config, problems));
    let expect =
        file.optional_table("expect", problems).map(|reader| expect(reader, config, files, problems));
    file.finish(problems);
    let (visitors_opt_in, confirm, hours) = visits?;
    Some(Simulation {
        visitors_opt_in,
        confirm,
        hours,
        sources: sources?.into_iter().map(|(name, weight)| (name.value, weight)).collect(),
        people,
        mails: mails?,
        behaviour,
        consultations: all_or_none(consultations)?,
        sales: all_or_none(sales)?,
        expect: all_or_none(expect)?,
    })
}

/// A table that can't be read is no table that is missing.
fn all_or_none<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        Some(Some(value)) => Some(Some(value)),
        Some(None) => None,
        None => Some(None),
    }
}

/// A table that must be there if the funnel has something, and only then.
fn part<'a>(
    file: &mut Reader<'a>,
    key: &'static str,
    wanted: bool,
    because: &str,
    problems: &mut Problems,
) -> Option<Reader<'a>> {
    if wanted {
        return file.table(key, problems);
    }
    if let Some(reader) = file.optional_table(key, problems) {
        problems.push(file.source().problem(
            &reader.span(),
            format!("funnel.toml has no {because}"),
            format!("delete `[{key}]`"),
        ));
    }
    None
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

fn weights(reader: Reader<'_>, problems: &mut Problems) -> Vec<(At<String>, u32)> {
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

/// How many visitors opt in, how many of those confirm their address, and when people arrive.
fn visits(mut reader: Reader<'_>, problems: &mut Problems) -> Option<(u32, u32, Vec<u32>)> {
    let opt_in = reader.number("opt_in", 1..=1000, problems).and_then(|rate| u32::try_from(rate.value).ok());
    let confirm = match reader.has("confirm") {
        true => rate(&mut reader, "confirm", problems),
        false => Some(1000),
    };
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
    Some((
        opt_in?,
        confirm?,
        hours.value.into_iter().filter_map(|weight| u32::try_from(weight).ok()).collect(),
    ))
}

fn people(mut reader: Reader<'_>, may_book: bool, problems: &mut Problems) -> Option<People> {
    let name = reader.text("name", "熱心", problems);
    let share = rate(&mut reader, "share", problems);
    let open = rate(&mut reader, "open", problems);
    let click = rate(&mut reader, "click", problems);
    let unsubscribe = rate(&mut reader, "unsubscribe", problems);
    let book = if may_book { rate(&mut reader, "book", problems) } else { Some(0) };
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

fn sales(mut reader: Reader<'_>, config: &Config, problems: &mut Problems) -> Option<SaleRates> {
    let buy = rate(&mut reader, "buy", problems);
    let buy_after_hours = span(&mut reader, "buy_after_hours", problems);
    let mix = reader.table("plans", problems).map(|table| weights(table, problems));
    let source = reader.source();
    reader.finish(problems);
    let known = || config.plans.iter().map(|plan| plan.id.as_str());
    for (plan, _) in mix.iter().flatten().filter(|(plan, _)| !known().any(|known| known == plan.value)) {
        let what = format!("there is no plan `{}`", plan.value);
        problems.push(source.problem(&plan.span, what, suggest(&plan.value, known())));
    }
    let plans = mix?.into_iter().map(|(plan, weight)| (plan.value, weight)).collect();
    Some(SaleRates { buy: buy?, buy_after_hours: buy_after_hours?, plans })
}

fn behaviours(
    file: &mut Reader<'_>,
    config: &Config,
    files: &Files,
    problems: &mut Problems,
) -> Vec<Behaviour> {
    let source = file.source();
    let mut behaviours: Vec<Behaviour> = vec![];
    let mut awaited: Vec<At<String>> = vec![];
    for mut reader in file.tables("behaviour", problems) {
        let what = doing(&mut reader, config, files, problems);
        let of = rate(&mut reader, "of", problems);
        let after = reader.text("after", "opted_in", problems);
        let after_hours = span(&mut reader, "after_hours", problems);
        let times = reader.optional_number("times", 1..=100, problems);
        let times = times.map_or(Some(1), |times| u32::try_from(times.value).ok());
        let unless = reader.optional_text("unless", "ordered", problems);
        reader.finish(problems);
        awaited.extend(after.iter().chain(&unless).cloned());
        let (after, unless) = (after.map(|after| after.value), unless.map(|unless| unless.value));
        if let (Some(what), Some(of), Some(after), Some(after_hours), Some(times)) =
            (what, of, after, after_hours, times)
        {
            behaviours.push(Behaviour { what, of, after, after_hours, times, unless });
        }
    }
    let done = behaviours.iter().map(|behaviour| match &behaviour.what {
        Doing::Fact(id) | Doing::Page(id) => id.as_str(),
    });
    let known: Vec<&str> = HAPPENINGS.into_iter().chain(done).collect();
    for name in awaited.iter().filter(|name| !known.contains(&name.value.as_str())) {
        let what = format!("nothing called `{}` happens in a simulation", name.value);
        problems.push(source.problem(&name.span, what, suggest(&name.value, known.iter().copied())));
    }
    behaviours
}

fn doing(reader: &mut Reader<'_>, config: &Config, files: &Files, problems: &mut Problems) -> Option<Doing> {
    match (reader.has("fact"), reader.has("page")) {
        (true, false) => {
            let facts = config.facts.iter().map(|fact| &fact.value.id);
            Some(Doing::Fact(known_id(reader, "fact", "fact", facts, problems)?))
        }
        (false, true) => {
            let pages = files.pages.iter().map(|(id, _)| id);
            Some(Doing::Page(known_id(reader, "page", "page", pages, problems)?))
        }
        (true, true) | (false, false) => {
            problems.push(reader.source().problem(
                &reader.span(),
                "what do people do?",
                "write `fact = \"…\"` or `page = \"…\"`, and a [[behaviour]] for each",
            ));
            None
        }
    }
}

fn expect(mut reader: Reader<'_>, config: &Config, files: &Files, problems: &mut Problems) -> Option<Expect> {
    let leads = reader.number("leads", 1..=100_000, problems);
    let days = reader.number("days", 1..=3650, problems);
    let seed = reader.number("seed", 0..=i64::MAX, problems);
    let figures = reader.table("figures", problems);
    let source = reader.source();
    reader.finish(problems);
    let ids = |kind: &str, files: &[(Id, Source)]| -> Vec<String> {
        files.iter().map(|(id, _)| format!("{kind}.{id}")).collect()
    };
    let mut known: Vec<String> = FIGURES.iter().map(|figure| (*figure).to_owned()).collect();
    known.extend(config.facts.iter().map(|fact| fact.value.id.to_string()));
    known.extend(ids("sequence", &files.sequences));
    known.extend(ids("mail", &files.mails));
    let mut bounds = vec![];
    for (name, pair) in figures?.pairs(&(0..=1_000_000_000), problems) {
        if !known.contains(&name.value) {
            let mend = suggest(&name.value, known.iter().map(String::as_str));
            problems.push(source.problem(&name.span, format!("no figure is called `{}`", name.value), mend));
        }
        let numbers: Vec<u64> = pair.value.iter().filter_map(|number| u64::try_from(*number).ok()).collect();
        match numbers.as_slice() {
            [least, most] if least <= most => bounds.push((name.value, (*least, *most))),
            _ => problems.push(source.problem(
                &pair.span,
                format!("nothing lies between the bounds of `{}`", name.value),
                "write the smaller number first",
            )),
        }
    }
    Some(Expect {
        leads: u32::try_from(leads?.value).ok()?,
        days: u32::try_from(days?.value).ok()?,
        seed: u64::try_from(seed?.value).ok()?,
        figures: bounds,
    })
}
