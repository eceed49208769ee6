use super::*;

fn offsets(values: &[(i32, i64)]) -> PartitionOffsets {
    values.iter().map(|(p, o)| (TopicPartition::new("t", *p), *o)).collect()
}

type Ends<'a> = &'a [(i32, i64)];

#[test]
fn each_of_the_four_checks_of_available_now_has_its_class() {
    let check = |pinned: Ends<'_>, end: Ends<'_>, latest: Ends<'_>| {
        let outcome = verify_available_now(
            &offsets(pinned),
            &offsets(end),
            &offsets(latest),
            &BTreeSet::new(),
        );
        outcome.err().map_or("fine", |e| e.code())
    };
    let both = &[(0, 9), (1, 5)];
    assert_eq!(check(both, both, both), "fine");
    assert_eq!(check(both, &[(0, 4), (1, 5)], &[(0, 9), (1, 6), (2, 1)]), "fine");
    assert_eq!(
        check(both, &[(0, 9)], both),
        "MISMATCHED_TOPIC_PARTITIONS_BETWEEN_END_OFFSET_AND_PREFETCHED"
    );
    assert_eq!(
        check(both, &[(0, 10), (1, 5)], &[(0, 10), (1, 5)]),
        "END_OFFSET_HAS_GREATER_OFFSET_FOR_TOPIC_PARTITION_THAN_PREFETCHED"
    );
    assert_eq!(
        check(both, both, &[(0, 9)]),
        "LOST_TOPIC_PARTITIONS_IN_END_OFFSET_WITH_TRIGGER_AVAILABLENOW"
    );
    assert_eq!(
        check(both, both, &[(0, 8), (1, 5)]),
        "END_OFFSET_HAS_GREATER_OFFSET_FOR_TOPIC_PARTITION_THAN_LATEST_WITH_TRIGGER_AVAILABLENOW"
    );
}

#[test]
fn an_end_that_only_lags_is_no_loss_of_available_now() {
    let (pinned, latest) = (offsets(&[(0, 9)]), offsets(&[(0, 8)]));
    let waiting = BTreeSet::from([TopicPartition::new("t", 0)]);
    verify_available_now(&pinned, &pinned, &latest, &waiting).unwrap();
}
