use super::*;
use crate::client::{Metadata, PartitionInfo, TopicInfo};
use crate::detail::GapReason::*;

const RULES: Rules<'static> = Rules { fail_on_data_loss: true, has_group_id: false, group: "g" };
const LENIENT: Rules<'static> = Rules { fail_on_data_loss: false, ..RULES };

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn offsets(values: &[(i32, i64)]) -> BTreeMap<TopicPartition, i64> {
    values.iter().map(|(p, o)| (tp(*p), *o)).collect()
}

/// Partitions of topic `t` under `id` with their first and last offsets.
fn seen(id: u128, partitions: &[(i32, i64, i64)]) -> Snapshot {
    let info = PartitionInfo { leader: Some(1), epoch: Some(3) };
    let topic = TopicInfo {
        id: Some(Uuid::from_u128(id)).filter(|i| !i.is_nil()),
        internal: false,
        partitions: partitions.iter().map(|(p, _, _)| (*p, info)).collect(),
    };
    let topics = if partitions.is_empty() { None } else { Some(("t".to_owned(), topic)) };
    Snapshot {
        metadata: Metadata { topics: topics.into_iter().collect(), ..Metadata::default() },
        partitions: partitions.iter().map(|(p, _, _)| tp(*p)).collect(),
        earliest: partitions.iter().map(|(p, first, _)| (tp(*p), *first)).collect(),
        latest: partitions.iter().map(|(p, _, last)| (tp(*p), *last)).collect(),
        written: BTreeMap::new(),
    }
}

fn detail(id: u128) -> Detail {
    let mut detail = Detail::default();
    detail.topics.insert("t".into(), Uuid::from_u128(id));
    detail.epochs.insert("t".into(), BTreeMap::from([(0, 2)]));
    detail
}

struct Case<'a> {
    end: &'a [(i32, i64)],
    detail: Option<&'a Detail>,
    truncated: &'a [(i32, i64)],
    waiting: &'a [i32],
}

impl Case<'_> {
    fn plan(&self, seen: &Snapshot, rules: Rules<'_>) -> Result<Start> {
        let (end, truncated) = (offsets(self.end), offsets(self.truncated));
        let waiting = self.waiting.iter().map(|p| tp(*p)).collect();
        let before = Before {
            end: &end,
            detail: self.detail,
            ids: &BTreeMap::new(),
            truncated: &truncated,
            waiting: &waiting,
        };
        start(before, seen, rules)
    }
}

fn case<'a>(end: &'a [(i32, i64)], detail: Option<&'a Detail>) -> Case<'a> {
    Case { end, detail, truncated: &[], waiting: &[] }
}

fn gap(partition: i32, from: i64, to: i64, reason: GapReason) -> Gap {
    Gap { topic: "t".into(), partition, from, to, reason }
}

#[test]
fn reading_goes_on_where_it_ended() {
    let known = detail(1);
    let start =
        case(&[(0, 5), (1, 7)], Some(&known)).plan(&seen(1, &[(0, 0, 9), (1, 7, 7)]), RULES);
    let start = start.unwrap();
    assert_eq!(start.from, offsets(&[(0, 5), (1, 7)]));
    assert!(start.gaps.is_empty() && start.gone.is_empty());
}

#[test]
fn a_new_partition_starts_at_its_beginning() {
    let first = case(&[(0, 5)], None).plan(&seen(1, &[(0, 0, 9), (1, 0, 3)]), RULES).unwrap();
    assert_eq!(first.from, offsets(&[(0, 5), (1, 0)]));
    let late = seen(1, &[(0, 0, 9), (1, 2, 3)]);
    let error = case(&[(0, 5)], None).plan(&late, RULES).unwrap_err();
    assert_eq!(error.code(), "KAFKA_DATA_LOSS_ADDED_PARTITION_DOES_NOT_START_FROM_OFFSET_ZERO");
    assert!(error.message().ends_with("Added partition t-1 starts from 2 instead of 0."));
    let start = case(&[(0, 5)], None).plan(&late, LENIENT).unwrap();
    assert_eq!(start.from, offsets(&[(0, 5), (1, 2)]));
    assert_eq!(start.gaps, [gap(1, 0, 2, AddedLate)]);
}

#[test]
fn a_partition_that_vanishes_while_it_is_asked_for() {
    let mut seen = seen(1, &[(0, 0, 9), (1, 0, 3)]);
    seen.earliest.remove(&tp(1));
    let error = case(&[(0, 5)], None).plan(&seen, RULES).unwrap_err();
    assert_eq!(error.code(), "KAFKA_DATA_LOSS_INITIAL_OFFSET_NOT_FOUND_FOR_PARTITIONS");
    assert!(error.message().ends_with(
        "Cannot find initial offsets for partitions [t-1]. They may have been deleted."
    ));
    let start = case(&[(0, 5)], None).plan(&seen, LENIENT).unwrap();
    assert_eq!(start.from, offsets(&[(0, 5)]));
}

#[test]
fn deleted_partitions_are_refused_or_remembered() {
    let known = detail(1);
    let left = seen(1, &[(0, 0, 9)]);
    let before = case(&[(0, 5), (1, 7)], Some(&known));
    let error = before.plan(&left, RULES).unwrap_err();
    assert_eq!(error.code(), "KAFKA_DATA_LOSS_PARTITIONS_DELETED");
    assert!(error.message().ends_with("Partitions [t-1] have been deleted."), "{error}");
    let error = before.plan(&left, Rules { has_group_id: true, ..RULES }).unwrap_err();
    assert_eq!(error.code(), "KAFKA_DATA_LOSS_PARTITIONS_DELETED_AND_GROUP_ID_CONFIG_PRESENT");
    assert!(error.message().contains("Kafka option 'kafka.group.id' has been set on this query"));
    let start = before.plan(&left, LENIENT).unwrap();
    assert_eq!(start.from, offsets(&[(0, 5)]));
    assert_eq!(start.gaps, [gap(1, 7, 7, Deleted)]);
    let back = Gone { topic: "t".into(), partition: 1, offset: 7, id: Some(Uuid::from_u128(1)) };
    assert_eq!(start.gone, std::slice::from_ref(&back));

    let mut known = detail(1);
    known.gone = vec![back];
    let still = case(&[(0, 5)], Some(&known)).plan(&left, LENIENT).unwrap();
    assert_eq!(still.gone, known.gone, "it is remembered on");
    let returned = seen(1, &[(0, 0, 9), (1, 0, 12)]);
    let start = case(&[(0, 5)], Some(&known)).plan(&returned, LENIENT).unwrap();
    assert_eq!(start.from, offsets(&[(0, 5), (1, 7)]), "the same topic goes on");
    assert!(start.gone.is_empty());
    known.gone[0].id = Some(Uuid::from_u128(9));
    let start = case(&[(0, 5)], Some(&known)).plan(&returned, LENIENT).unwrap();
    assert_eq!(start.from, offsets(&[(0, 5), (1, 0)]), "another topic starts at its beginning");
}

#[test]
fn each_partition_that_comes_back_goes_on_at_its_own_offset() {
    let gone = |topic: &str, partition: i32, offset: i64| Gone {
        topic: topic.into(),
        partition,
        offset,
        id: Some(Uuid::from_u128(1)),
    };
    let mut known = detail(1);
    known.gone = vec![gone("u", 2, 3), gone("t", 1, 7), gone("t", 2, 9)];
    let returned = seen(1, &[(0, 0, 9), (1, 0, 12), (2, 0, 12)]);
    let start = case(&[(0, 5)], Some(&known)).plan(&returned, LENIENT).unwrap();
    assert_eq!(start.from, offsets(&[(0, 5), (1, 7), (2, 9)]));
    assert_eq!(start.gone, [gone("u", 2, 3)]);
    // Without an id nobody knows whether it is the same topic.
    known.gone = vec![Gone { id: None, ..gone("t", 1, 7) }];
    let unknown = seen(0, &[(0, 0, 9), (1, 0, 12)]);
    let start = case(&[(0, 5)], Some(&known)).plan(&unknown, LENIENT).unwrap();
    assert_eq!(start.from, offsets(&[(0, 5), (1, 0)]));
}

#[test]
fn partitions_that_vanished_are_remembered_up_to_a_bound() {
    let mut known = detail(1);
    let gone = |partition: i32| Gone { topic: "u".into(), partition, offset: 1, id: None };
    known.gone = (0..=GONE_MAX as i32).map(gone).collect();
    let start = case(&[(0, 5)], Some(&known)).plan(&seen(1, &[(0, 0, 9)]), LENIENT).unwrap();
    assert_eq!(start.gone, known.gone[..GONE_MAX]);
}

#[test]
fn a_new_partition_of_a_recreated_topic_loses_nothing() {
    let known = detail(1);
    let now = seen(2, &[(0, 0, 9), (1, 3, 9)]);
    let start = case(&[(0, 5)], Some(&known)).plan(&now, LENIENT).unwrap();
    assert_eq!(start.from, offsets(&[(0, 0), (1, 3)]));
    assert_eq!(start.gaps, [gap(0, 5, 0, Recreated)]);
}

#[test]
fn a_recreated_topic_is_noticed_whatever_its_size() {
    let known = detail(1);
    for (latest, size) in [(3, "smaller"), (5, "equal"), (90, "larger")] {
        let now = seen(2, &[(0, 0, latest)]);
        let error = case(&[(0, 5)], Some(&known)).plan(&now, RULES).unwrap_err();
        assert_eq!(error.code(), "KAFKA_DATA_LOSS_TOPIC_RECREATED", "{size}");
        let start = case(&[(0, 5), (1, 4)], Some(&known)).plan(&now, LENIENT).unwrap();
        assert_eq!(start.from, offsets(&[(0, 0)]), "{size}");
        assert_eq!(start.gaps[0], gap(0, 5, 0, Recreated));
        assert_eq!(start.gaps[1], gap(1, 4, 4, Deleted), "it has fewer partitions");
    }
    let ids = BTreeMap::from([("t".to_owned(), Uuid::from_u128(1))]);
    let end = offsets(&[(0, 5)]);
    let before = Before {
        end: &end,
        detail: None,
        ids: &ids,
        truncated: &BTreeMap::new(),
        waiting: &BTreeSet::new(),
    };
    let error = start(before, &seen(2, &[(0, 0, 9)]), RULES).unwrap_err();
    assert_eq!(error.code(), "KAFKA_DATA_LOSS_TOPIC_RECREATED", "seen by this process");
}

#[test]
fn brokers_without_topic_ids_are_tolerated() {
    let start = case(&[(0, 5)], Some(&Detail::default())).plan(&seen(0, &[(0, 0, 9)]), RULES);
    assert_eq!(start.unwrap().from, offsets(&[(0, 5)]));
    let known = detail(1);
    let start = case(&[(0, 5)], Some(&known)).plan(&seen(0, &[(0, 0, 9)]), RULES);
    assert_eq!(start.unwrap().from, offsets(&[(0, 5)]), "a downgraded broker says nothing");
}

#[test]
fn expired_records_are_refused_or_stepped_over() {
    let now = seen(1, &[(0, 8, 9)]);
    let error = case(&[(0, 5)], None).plan(&now, RULES).unwrap_err();
    assert_eq!(error.code(), "KAFKA_DATA_LOSS_COULD_NOT_READ_OFFSET_RANGE");
    assert!(error.message().ends_with(
        "Could not read records in offset [5, 8) for topic partition t-0 with consumer group g. \
         The first offset that is still there is 8."
    ));
    let start = case(&[(0, 5)], None).plan(&now, LENIENT).unwrap();
    assert_eq!((start.from, start.gaps), (offsets(&[(0, 8)]), vec![gap(0, 5, 8, Expired)]));
}

#[test]
fn an_end_before_the_start_is_loss_unless_it_only_lags() {
    let now = seen(1, &[(0, 0, 3)]);
    let error = case(&[(0, 5)], None).plan(&now, RULES).unwrap_err();
    assert_eq!(error.code(), "KAFKA_DATA_LOSS_PARTITION_OFFSET_CHANGED");
    assert!(error.message().contains(
        "Partition t-0 offset was changed from 5 to 3. This could either be a user error that \
         the start offset is set too high and this is the first batch"
    ));
    let start = case(&[(0, 5)], None).plan(&now, LENIENT).unwrap();
    assert_eq!((start.from, start.gaps), (offsets(&[(0, 3)]), vec![gap(0, 5, 3, Truncated)]));
    let waiting = Case { waiting: &[0], ..case(&[(0, 5)], None) };
    let start = waiting.plan(&now, RULES).unwrap();
    assert_eq!((start.from, start.gaps), (offsets(&[(0, 5)]), vec![]));
}

#[test]
fn a_truncated_log_is_noticed_although_it_grew_past_us() {
    let known = detail(1);
    let grown = seen(1, &[(0, 0, 50)]);
    let truncated = Case { truncated: &[(0, 4)], ..case(&[(0, 5)], Some(&known)) };
    let error = truncated.plan(&grown, RULES).unwrap_err();
    assert_eq!(error.code(), "KAFKA_DATA_LOSS_PARTITION_OFFSET_CHANGED");
    assert!(error.message().contains("reached to offset 5 under leader epoch 2"), "{error}");
    let start = truncated.plan(&grown, LENIENT).unwrap();
    assert_eq!((start.from, start.gaps), (offsets(&[(0, 4)]), vec![gap(0, 5, 4, Truncated)]));
}

#[test]
fn the_detail_survives_its_json_and_tolerates_more_fields() {
    let mut known = detail(7);
    known.gaps.push(gap(0, 1, 2, Expired));
    known.without_topic_ids = true;
    let mut json = known.to_json();
    assert_eq!(Detail::from_json(&json).unwrap(), known);
    json["later"] = serde_json::json!(1);
    assert_eq!(Detail::from_json(&json).unwrap(), known);
    assert!(Detail::from_json(&serde_json::json!({"topics": 7})).is_err());
}
