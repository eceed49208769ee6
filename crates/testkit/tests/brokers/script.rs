//! The list of checks, in the order in which they run. Each uses topics of its own.

use crate::{by_librdkafka as rd, by_protocol as wire};
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
        wire::versions_are_negotiated,
        wire::unknown_requests_close_the_connection,
        wire::topics_have_ids_that_recreation_changes,
        wire::topics_are_refused_as_kafka_refuses_them,
        wire::partitions_are_added,
        wire::records_come_back_by_name_and_by_id,
        wire::batches_are_cut_and_the_first_is_whole,
        wire::fetch_waits_for_records,
        wire::fetch_sessions_need_not_be_granted,
        wire::offsets_are_found_by_time,
        wire::deleted_records_are_out_of_range,
        wire::leader_epochs_are_checked,
        wire::group_offsets_keep_their_metadata,
        wire::repeated_batches_are_stored_once,
        wire::bad_batches_are_refused,
        wire::append_time_replaces_the_producers,
        wire::transactions_hide_aborted_records,
        rd::every_codec_comes_back_equal,
        rd::idempotent_producers_keep_order,
        rd::offsets_for_times_agree,
        rd::deleted_topics_are_unknown,
        rd::transactions_carry_offsets,
    ];
}
