//! Slots: two people never get one.

use chrono::TimeDelta;
use cloud::transaction::Commit;
use domain::consultation::Slot;

use crate::{
    engine::Engine,
    rows::{id, now, slot},
};

pub async fn one_slot_is_claimed_by_one_person_until_she_gives_it_back(engine: &Engine) {
    let wanted = slot("michino", now());
    let same_time = slot("hayashi", now());
    assert_eq!(claim(engine, &wanted, "c-1").await, Commit::Done);
    assert_eq!(claim(engine, &wanted, "c-2").await, Commit::Refused(vec![0]));
    assert_eq!(claim(engine, &same_time, "c-2").await, Commit::Done, "another host is free");
    assert_eq!(free(engine, &wanted, "c-2").await, Commit::Refused(vec![0]), "it is not hers");
    assert_eq!(free(engine, &wanted, "c-1").await, Commit::Done);
    assert_eq!(free(engine, &wanted, "c-1").await, Commit::Refused(vec![0]), "it is free already");
    assert_eq!(claim(engine, &wanted, "c-2").await, Commit::Done);
    for hour in 1..6 {
        let wanted = slot("michino", now() + TimeDelta::hours(hour));
        let (one, other) = tokio::join!(claim(engine, &wanted, "c-3"), claim(engine, &wanted, "c-4"));
        assert_ne!(one, other, "of two at once, one gets it");
    }
}

pub async fn taken_slots_are_found_however_many_are_asked_for(engine: &Engine) {
    // More than two of BatchGetItem's hundreds.
    let slots: Vec<Slot> = (0..250).map(|number| slot("michino", now() + TimeDelta::hours(number))).collect();
    assert_eq!(engine.tables.taken(&slots).await.unwrap(), []);
    assert_eq!(engine.tables.taken(&[]).await.unwrap(), []);
    let chosen: Vec<Slot> = [0, 99, 100, 101, 200, 249].map(|at| slots[at].clone()).to_vec();
    for slot in &chosen {
        assert_eq!(claim(engine, slot, "c-1").await, Commit::Done);
    }
    assert_eq!(engine.tables.taken(&slots).await.unwrap(), chosen);
}

async fn claim(engine: &Engine, slot: &Slot, consultation_id: &str) -> Commit {
    let transaction = engine.tables.transaction().claim_slot(slot, &id(consultation_id)).unwrap();
    transaction.commit("claiming a slot").await.unwrap()
}

async fn free(engine: &Engine, slot: &Slot, consultation_id: &str) -> Commit {
    engine.tables.transaction().free_slot(slot, &id(consultation_id)).commit("freeing a slot").await.unwrap()
}
