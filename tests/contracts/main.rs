//! What the product demands of its tables, on every engine that plays DynamoDB: dynoxide, which the
//! local cloud is built on, and AWS's own DynamoDB Local. The same cases, through the product's own
//! `Tables`; an engine that answers otherwise fails here before anything else believes it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod bookings;
mod engine;
mod enrolments;
mod events;
mod figures;
mod kept;
mod rows;
mod sends;
mod server;
mod stored;
mod transactions;
mod units;
mod wire;

/// Each case becomes one test per engine.
macro_rules! on_every_engine {
    ($($room:ident::$case:ident,)*) => {
        mod on_dynoxide {
            $(#[tokio::test]
            async fn $case() {
                crate::$room::$case(&crate::engine::Engine::dynoxide()).await;
            })*
        }

        mod on_dynamodb_local {
            $(#[tokio::test]
            async fn $case() {
                crate::$room::$case(&crate::engine::Engine::dynamodb_local().await).await;
            })*
        }
    };
}

on_every_engine! {
    sends::a_send_is_claimed_once,
    sends::only_one_of_two_simultaneous_claims_wins,
    sends::a_claim_holds_only_if_the_person_still_is_as_she_was_seen,
    sends::a_claim_that_is_taken_back_is_not_counted,
    sends::opens_and_clicks_are_written_over_what_was_known_and_nothing_else,
    kept::a_program_is_kept_once_for_the_people_inside,
    kept::tasks_are_found_by_who_has_to_do_them_until_they_are_done,
    kept::a_broadcasts_row_is_written_over_the_version_before_it_only,
    kept::leads_come_page_by_page_and_by_their_visitor,
    sends::a_send_that_is_skipped_is_not_claimed_any_more,
    sends::the_ledger_learns_only_in_the_states_it_is_told_of,
    sends::the_ledger_never_forgets_what_came_first,
    sends::a_note_never_makes_a_row,
    sends::a_claim_is_taken_back_only_by_its_own_attempt_and_before_it_settles,
    transactions::a_refused_transaction_names_its_parts_and_writes_nothing,
    transactions::of_two_writers_who_read_the_same_version_one_wins,
    transactions::a_lead_is_written_alone_over_the_version_before_it_only,
    transactions::a_transaction_that_can_never_be_done_is_an_error_and_no_refusal,
    events::a_fact_is_written_once_and_never_changed,
    events::every_kind_of_fact_reads_back_as_it_was_written,
    events::a_timeline_is_one_persons_own_facts_in_order_of_time,
    events::a_days_facts_come_in_pages_each_fact_once,
    enrolments::a_person_is_enrolled_once_and_again_only_with_a_later_generation,
    enrolments::an_enrolment_moves_only_from_the_step_where_it_was_read,
    bookings::a_hosts_time_is_one_persons_until_she_gives_it_back,
    bookings::agendas_are_found_however_many_are_asked_for,
    figures::a_days_figures_are_written_over_and_come_month_by_month,
    stored::full_rows_read_back_as_they_were_written,
    stored::one_persons_rows_are_found_by_her_id_alone,
    stored::lists_longer_than_a_page_come_whole,
}
