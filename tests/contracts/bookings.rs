//! Agendas: a host's time is never sold twice.

use chrono::TimeDelta;
use cloud::transaction::Commit;
use domain::consultation::{Agendas, Slot, arrange, vacate};

use crate::{
    engine::Engine,
    rows::{id, now, slot},
};

pub async fn a_hosts_time_is_one_persons_until_she_gives_it_back(engine: &Engine) {
    let wanted = slot("michino", now());
    let half_an_hour_later = slot("michino", now() + TimeDelta::minutes(30));
    let same_time = slot("hayashi", now());
    let nobody = read(engine, &wanted).await;
    assert_eq!(nobody, Agendas::new());
    assert_eq!(take(engine, &nobody, &wanted, "c-1").await, Commit::Done);
    // Who had read the agenda before can't write it any more, and finds the time taken.
    assert_eq!(take(engine, &nobody, &wanted, "c-2").await, Commit::Refused(vec![0]));
    let taken = read(engine, &wanted).await;
    assert!(!wanted.is_free(&taken) && !half_an_hour_later.is_free(&taken) && same_time.is_free(&taken));
    assert_eq!(take(engine, &nobody, &same_time, "c-2").await, Commit::Done, "another host is free");

    let left = vacate(&taken, &id("c-1"));
    let leave = async || {
        let transaction = engine.tables.transaction().agendas(&left).unwrap();
        transaction.commit("leaving an agenda").await.unwrap()
    };
    assert_eq!(leave().await, Commit::Done);
    assert_eq!(leave().await, Commit::Refused(vec![0]), "it is free already");
    let free = read(engine, &wanted).await;
    assert_eq!(vacate(&free, &id("c-1")), []);
    assert_eq!(take(engine, &free, &half_an_hour_later, "c-2").await, Commit::Done);
    for hour in 2..6 {
        let wanted = slot("michino", now() + TimeDelta::hours(hour));
        let agendas = read(engine, &wanted).await;
        let (one, other) =
            tokio::join!(take(engine, &agendas, &wanted, "c-3"), take(engine, &agendas, &wanted, "c-4"));
        assert_ne!(one, other, "of two at once, one gets it");
    }
}

pub async fn agendas_are_found_however_many_are_asked_for(engine: &Engine) {
    // More than two of BatchGetItem's hundreds.
    let slots: Vec<Slot> = (0..250).map(|number| slot("michino", now() + TimeDelta::days(number))).collect();
    let agendas = async || engine.tables.agendas(slots.iter().flat_map(Slot::agenda_keys)).await.unwrap();
    assert_eq!(agendas().await, Agendas::new());
    assert_eq!(engine.tables.agendas([]).await.unwrap(), Agendas::new());
    let chosen: Vec<Slot> = [0, 99, 100, 101, 200, 249].map(|at| slots[at].clone()).to_vec();
    for slot in &chosen {
        assert_eq!(take(engine, &Agendas::new(), slot, "c-1").await, Commit::Done);
    }
    let agendas = agendas().await;
    let taken: Vec<Slot> = slots.iter().filter(|slot| !slot.is_free(&agendas)).cloned().collect();
    assert_eq!(taken, chosen);
}

async fn read(engine: &Engine, slot: &Slot) -> Agendas {
    engine.tables.agendas(slot.agenda_keys()).await.unwrap()
}

async fn take(engine: &Engine, agendas: &Agendas, slot: &Slot, consultation_id: &str) -> Commit {
    let agendas = arrange(agendas, &id(consultation_id), slot).expect("a free time");
    let transaction = engine.tables.transaction().agendas(&agendas).unwrap();
    transaction.commit("taking a time").await.unwrap()
}
