//! The list of checks, in the order in which they run. Each uses topics of its own.

use crate::{by_librdkafka as rd, coordination, logs, topics, transactions};
use millstream_testkit::KafkaHarness;

/// Runs every check and names it before it runs, so that a failure says which it was.
pub async fn run(kafka: &KafkaHarness) {
    macro_rules! checks {
        ($($module:ident :: $check:ident),* $(,)?) => {
            $(
                eprintln!("{}: {}", kafka.name(), stringify!($check));
                $module::$check(kafka).await;
            )*
        };
    }
    checks![
        topics::versions_are_negotiated,
        topics::unknown_requests_close_the_connection,
        topics::topics_have_ids_that_recreation_changes,
        topics::topics_are_refused_as_kafka_refuses_them,
        topics::partitions_are_added,
        topics::topics_are_named_by_their_ids,
        logs::records_come_back_by_name_and_by_id,
        logs::batches_are_cut_and_the_first_is_whole,
        logs::partitions_share_the_limit_of_a_fetch,
        logs::emptiness_is_told_from_the_end,
        logs::fetch_waits_for_records,
        logs::fetch_sessions_need_not_be_granted,
        logs::offsets_are_found_by_time,
        logs::deleted_records_are_out_of_range,
        logs::leader_epochs_are_checked,
        coordination::group_offsets_keep_their_metadata,
        coordination::all_offsets_of_a_group_are_listed,
        coordination::repeated_batches_are_stored_once,
        logs::bad_batches_are_refused,
        logs::append_time_replaces_the_producers,
        transactions::transactions_hide_aborted_records,
        transactions::restarted_producers_fence_and_abort,
        transactions::ends_may_be_repeated_but_not_changed,
        transactions::batches_need_an_open_transaction,
        transactions::offsets_wait_for_their_transaction,
        rd::every_codec_comes_back_equal,
        rd::idempotent_producers_keep_order,
        rd::offsets_for_times_agree,
        rd::deleted_topics_are_unknown,
        rd::transactions_carry_offsets,
    ];
}
