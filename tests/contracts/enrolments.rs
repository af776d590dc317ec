//! Where people are in their sequences.

use domain::{id::Id, sequence::Enrolment};

use crate::{
    engine::Engine,
    rows::{enrolment, id},
};

pub async fn a_person_is_enrolled_once_and_again_only_with_a_later_generation(engine: &Engine) {
    for (generation, step, again, expected) in [
        (5, "welcome", false, true),
        (5, "other", false, false),
        (6, "other", false, false),
        (5, "other", true, false), // the same fact again
        (4, "other", true, false), // an older fact, late
        (6, "restarted", true, true),
    ] {
        let wanted = enrolment("l-1", generation, step);
        assert_eq!(
            engine.tables.enrol(&wanted, again).await.unwrap(),
            expected,
            "{generation} {step} {again}"
        );
    }
    assert_eq!(stored(engine).await, Some(enrolment("l-1", 6, "restarted")));
    assert!(engine.tables.enrol(&enrolment("l-2", 1, "welcome"), true).await.unwrap(), "somebody else");
}

pub async fn an_enrolment_moves_only_from_the_step_where_it_was_read(engine: &Engine) {
    let tables = &engine.tables;
    let (welcome, day_1, day_2) =
        (enrolment("l-1", 5, "welcome"), enrolment("l-1", 5, "day-1"), enrolment("l-1", 5, "day-2"));
    assert!(!tables.move_enrolment(&welcome, &day_1).await.unwrap(), "nobody is enrolled");
    assert_eq!(stored(engine).await, None);
    assert!(tables.enrol(&welcome, false).await.unwrap());
    assert!(tables.move_enrolment(&welcome, &day_1).await.unwrap());
    assert!(!tables.move_enrolment(&welcome, &day_2).await.unwrap(), "it has moved on");
    let earlier = enrolment("l-1", 4, "day-1");
    assert!(!tables.move_enrolment(&earlier, &day_2).await.unwrap(), "it was restarted");
    assert_eq!(stored(engine).await, Some(day_1.clone()));
    let over = day_1.clone().stop("customer_paid").unwrap();
    assert!(tables.move_enrolment(&day_1, &over).await.unwrap());
    assert_eq!(stored(engine).await, Some(over.clone()));
    assert!(!tables.move_enrolment(&over, &day_2).await.unwrap(), "it is over");
}

async fn stored(engine: &Engine) -> Option<Enrolment> {
    let lead_id: Id = id("l-1");
    engine.tables.enrolment(&lead_id, "nurture").await.unwrap()
}
