//! Programs, tasks, broadcasts, and leads by page and visitor.

use chrono::TimeDelta;
use domain::{
    broadcast::{Broadcast, BroadcastCommand},
    lead::Mailing,
    sequence::{Anchor, Program},
    task::Task,
};

use crate::{
    engine::Engine,
    rows::{id, now, store_lead},
};

pub async fn a_program_is_kept_once_for_the_people_inside(engine: &Engine) {
    let tables = &engine.tables;
    let program = Program { version: "v1".into(), anchor: Anchor::At(now()), windows: vec![], steps: vec![] };
    assert_eq!(tables.program(&id("nurture"), "v1").await.unwrap(), None);
    assert!(tables.keep_program(&id("nurture"), &program).await.unwrap());
    assert!(!tables.keep_program(&id("nurture"), &program).await.unwrap());
    assert_eq!(tables.program(&id("nurture"), "v1").await.unwrap(), Some(program));
    assert_eq!(tables.program(&id("nurture"), "v2").await.unwrap(), None);
}

pub async fn tasks_are_found_by_who_has_to_do_them_until_they_are_done(engine: &Engine) {
    let tables = &engine.tables;
    let task = |number: i64, assignee: &str| Task {
        task_id: id(&format!("t-{number}")),
        lead_id: id("l-1"),
        title: "電話する".into(),
        assignee: Some(id(assignee)),
        given_to: id(assignee),
        due: now() + TimeDelta::days(number),
        created_at: now(),
        made_by: "hot/call".into(),
        done_at: None,
    };
    for task in [task(3, "owner"), task(1, "owner"), task(2, "other")] {
        assert!(tables.add_task(&task).await.unwrap());
        assert!(!tables.add_task(&task).await.unwrap(), "made once");
    }
    assert_eq!(tables.open_tasks(&id("owner")).await.unwrap(), [task(1, "owner"), task(3, "owner")]);
    let done = task(1, "owner").done(now());
    assert!(tables.put_task(&done).await.unwrap());
    assert_eq!(tables.open_tasks(&id("owner")).await.unwrap(), [task(3, "owner")]);
    assert_eq!(tables.task(&id("t-1")).await.unwrap(), Some(done));
}

pub async fn a_broadcasts_row_is_written_over_the_version_before_it_only(engine: &Engine) {
    let tables = &engine.tables;
    let planned = Broadcast::follow(None, &id("news"), BroadcastCommand::Plan, now()).unwrap();
    assert!(tables.put_broadcast(&planned).await.unwrap());
    assert!(!tables.put_broadcast(&planned).await.unwrap(), "somebody else was faster");
    let next = planned.clone().turned(Some(id("l-1")), 3, [("x".to_owned(), 2)].into(), now());
    assert!(tables.put_broadcast(&next).await.unwrap());
    assert!(!tables.put_broadcast(&next).await.unwrap());
    assert_eq!(tables.broadcast(&id("news")).await.unwrap(), Some(next));
}

pub async fn leads_come_page_by_page_and_by_their_visitor(engine: &Engine) {
    let tables = &engine.tables;
    for n in 0..130 {
        store_lead(engine, &format!("l-{n}"), Mailing::Subscribed).await;
    }
    let (first, last) = tables.leads_page(None).await.unwrap();
    assert_eq!((first.len(), &last), (100, &first.last().map(|lead| lead.lead_id.clone())));
    let (second, last) = tables.leads_page(last.as_ref()).await.unwrap();
    assert_eq!((second.len(), last), (30, None));
    let mut all: Vec<_> = first.iter().chain(&second).map(|lead| lead.lead_id.clone()).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 130, "each once");
    assert!(tables.lead_of_visitor(&id("v-1")).await.unwrap().is_some());
    assert_eq!(tables.lead_of_visitor(&id("v-9")).await.unwrap(), None);
}
