//! The conformance suite of commit logs. Each test runs on the log in memory and on DynamoDB (embedded,
//! through the real SDK), and is named after the trouble it prevents.

#![allow(clippy::disallowed_methods, reason = "tests spawn writers that race")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod evolution;
mod idempotency;
mod items;
mod ledger;
mod load;
mod past;
mod property;
mod race;
mod scan;
mod size;
mod unknown;
mod world;

/// Makes two tests of each function: one per log. A function that is missing here is dead code, so the
/// compiler says so.
macro_rules! both_logs {
    ($($room:ident: $($test:ident),* $(,)?;)*) => {
        both_logs!(memory, $($room: $($test),*;)*);
        both_logs!(dynamo, $($room: $($test),*;)*);
    };
    ($log:ident, $($room:ident: $($test:ident),*;)*) => {
        mod $log {
            $(mod $room {
                $(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $test() {
                        crate::$room::$test(crate::world::World::$log().await).await;
                    }
                )*
            })*
        }
    };
}

both_logs! {
    race:
        of_64_writers_of_one_version_exactly_one_wins_and_all_others_learn_who,
        of_64_commands_at_once_none_is_lost_and_none_counts_twice,
        nobody_spends_what_another_writer_has_already_spent,
        d25_what_one_command_decides_is_one_commit_however_many_events,
        commits_that_overlap_cannot_both_land,
        a_writer_who_expects_a_version_is_told_when_another_one_stands,
        a_writer_who_expects_a_version_is_told_when_it_is_overtaken,
        a_command_that_is_always_overtaken_gives_up_in_the_end;
    idempotency:
        the_same_command_again_gets_the_first_result_and_writes_nothing,
        a_repeated_create_gets_the_first_result,
        a_repeat_is_recognised_under_every_expectation,
        a_repeat_with_an_outdated_if_match_gets_the_first_result,
        the_same_key_with_another_payload_is_refused,
        a_twin_request_that_was_faster_is_not_done_twice,
        a_repeat_is_recognised_as_far_back_as_promised_and_no_further,
        a_repeat_is_recognised_as_far_back_when_the_answer_is_cut_short,
        a_repeat_is_told_what_its_first_execution_decided_whatever_happened_since,
        a_twin_that_was_faster_tells_what_was_decided,
        a_command_that_changes_nothing_writes_nothing,
        a_repeat_is_answered_without_another_look_up,
        after_a_lost_race_the_look_up_is_made_again_on_what_the_winner_left,
        a_look_up_that_fails_on_an_asserted_new_stream_does_not_hide_a_repeat,
        a_command_that_changed_nothing_is_not_remembered_and_its_repeat_is_decided_anew,
        a_commit_with_a_fingerprint_of_another_version_is_known_by_its_command_alone;
    unknown:
        a_lost_answer_still_gives_the_committed_result_once,
        a_lost_request_is_sent_again,
        an_unknown_outcome_is_called_unknown_and_the_repeat_settles_it,
        a_late_request_never_counts_twice,
        a_late_request_makes_a_later_failure_unknown_too,
        a_late_request_never_overwrites_the_faster_writer,
        a_throttled_write_is_not_called_unknown,
        a_read_that_fails_decides_nothing,
        commands_that_are_repeated_until_they_are_answered_count_once;
    load:
        a_stream_over_1_mb_loads_whole,
        a_stream_of_10_000_events_loads_in_one_bounded_read,
        a_snapshot_of_another_schema_version_is_never_misread,
        an_unreadable_snapshot_is_ignored,
        an_ignored_snapshot_is_replaced_by_the_next_commit,
        a_stream_with_a_hole_is_not_loaded,
        a_stream_without_its_beginning_is_not_loaded,
        an_answer_cut_anywhere_loads_the_same,
        a_command_on_an_asserted_new_stream_is_refused_only_on_what_was_read,
        a_wrong_assertion_of_a_new_stream_is_decided_on_its_end_not_its_beginning,
        a_wrong_assertion_of_a_new_stream_is_not_answered_with_nothing;
    past:
        every_version_of_the_past_is_what_it_was,
        every_moment_of_the_past_is_what_it_was,
        any_moment_of_20_000_commits_is_found_in_a_few_reads,
        a_search_that_meets_a_hole_says_so,
        a_clock_that_runs_backwards_does_not_turn_the_past_around,
        a_clock_that_is_far_ahead_does_not_date_later_commits,
        a_past_with_a_hole_is_not_loaded,
        a_reader_inside_a_commit_gets_the_rest_of_it,
        a_reader_is_told_of_a_hole_instead_of_skipping_it,
        one_event_is_found_inside_its_commit;
    evolution:
        old_events_load_as_new_ones,
        an_event_that_nobody_knows_is_an_error_and_never_skipped,
        an_event_from_the_future_is_an_error_and_never_skipped,
        an_event_that_no_upcaster_reads_is_an_error_and_never_skipped;
    size:
        a_commit_over_400_kb_is_refused_before_the_write_with_its_size,
        the_largest_commit_that_is_let_through_is_taken,
        a_snapshot_that_does_not_fit_is_left_out_and_the_events_are_kept,
        what_is_stored_deflated_reads_back_the_same,
        a_body_that_could_not_be_inflated_again_is_refused;
    scan:
        a_segmented_scan_sees_every_commit_once_and_each_stream_in_order,
        a_scan_goes_on_where_it_stopped,
        an_empty_table_is_scanned_in_one_page;
}
