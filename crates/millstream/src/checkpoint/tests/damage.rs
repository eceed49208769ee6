//! Damage that the damage matrix of the real binary has found to be misnamed, or not noticed.

use super::*;

/// Batch 0 planned by Spark and completed here.
async fn completed_for_spark(dir: &Dir) -> Checkpoint {
    let checkpoint = dir.open().await.unwrap();
    log(&checkpoint, 0).await.unwrap();
    planned_by_spark(dir, 0);
    let logged = checkpoint.logged(BatchId(0)).await.unwrap();
    let entry = LedgerEntry {
        query: checkpoint.query(),
        batch: BatchId(0),
        digest: logged.digest,
        previous: None,
        planner: Planner::Other,
        attempt: None,
        epoch: checkpoint.epoch(),
        batch_time_ms: logged.batch_time_ms(),
        sources: vec![None],
        rows_in: None,
        rows_out: None,
    };
    checkpoint.complete(&entry, 0).await.unwrap();
    checkpoint
}

fn change_a_digit(dir: &Dir, path: &str) {
    let text = fs::read_to_string(dir.path.join(path)).unwrap();
    assert!(text.contains("{\"0\":10}"), "{text}");
    dir.write(path, text.replace("{\"0\":10}", "{\"0\":11}").as_bytes());
}

#[tokio::test]
async fn a_changed_digit_of_sparks_plan_is_noticed_where_the_ledger_repeats_it() {
    let dir = dir();
    let checkpoint = completed_for_spark(&dir).await;
    checkpoint.logged(BatchId(0)).await.unwrap();
    change_a_digit(&dir, "offsets/0");
    let error = checkpoint.logged(BatchId(0)).await.unwrap_err();
    assert_eq!(error.code(), "CHECKPOINT_FILE_DAMAGED");
    assert!(
        error.message().contains("offsets/0") && error.message().contains("ledger/0"),
        "{error}"
    );
    drop(checkpoint);
    let doctor = dir.doctor(&holding(Some(0)), Treatment::Describe).await;
    assert!(codes(&doctor).contains(&"CHECKPOINT_FILE_DAMAGED"), "{doctor}");
}

#[tokio::test]
async fn a_changed_digit_of_a_checkpoint_made_anew_is_noticed() {
    let dir = dir();
    rebuild(dir.store(), &made_anew(7)).await.unwrap();
    change_a_digit(&dir, "offsets/7");
    let doctor = dir.doctor(&holding(Some(7)), Treatment::Describe).await;
    assert!(codes(&doctor).contains(&"CHECKPOINT_FILE_DAMAGED"), "{doctor}");
    let checkpoint = dir.open().await.unwrap();
    let error = checkpoint.logged(BatchId(7)).await.unwrap_err();
    assert!(error.message().contains("offsets/7"), "{error}");
}

#[tokio::test]
async fn a_damaged_mark_of_a_checkpoint_made_anew_is_named() {
    let dir = dir();
    rebuild(dir.store(), &made_anew(7)).await.unwrap();
    dir.write("millstream/rebuilt", b"x");
    let log = dir.open().await.unwrap().scan().await.unwrap().log();
    assert_eq!(log.damage.len(), 1);
    assert_eq!(log.damage[0].file, "millstream/rebuilt");
}

#[tokio::test]
async fn the_last_of_all_claims_is_refused_by_name_and_the_doctor_deletes_it() {
    let dir = three_batches().await;
    let path = "millstream/lease/18446744073709551615";
    dir.write(path, b"x");
    let error = dir.open().await.unwrap_err();
    assert_eq!(error.code(), "CHECKPOINT_FILE_DAMAGED");
    assert!(error.message().contains(path), "{error}");
    let doctor = dir.doctor(&holding(Some(2)), Treatment::Apply).await;
    assert!(doctor.is_sound() && codes(&doctor) == ["CHECKPOINT_FILE_DAMAGED"], "{doctor}");
    dir.open().await.unwrap();
}

#[tokio::test]
async fn a_directory_among_old_claims_is_in_nobodys_way() {
    let dir = three_batches().await;
    drop(dir.open().await.unwrap());
    fs::remove_file(dir.path.join("millstream/lease/1")).unwrap();
    fs::create_dir(dir.path.join("millstream/lease/1")).unwrap();
    assert_eq!(dir.open().await.unwrap().epoch(), Epoch(3));
}

#[tokio::test]
async fn a_huge_number_in_a_name_makes_no_huge_diagnosis() {
    let dir = three_batches().await;
    fs::copy(dir.path.join("offsets/2"), dir.path.join("offsets/18446744073709551615")).unwrap();
    let doctor = dir.doctor(&holding(Some(2)), Treatment::Describe).await;
    assert!(codes(&doctor).contains(&"CHECKPOINT_FILE_DAMAGED"), "{:?}", codes(&doctor));
}

#[tokio::test]
async fn an_identity_of_another_query_is_set_aside_where_the_batches_say_whose_they_are() {
    let dir = three_batches().await;
    let stranger = identity_of(QueryId(Uuid::new_v4()), 0);
    dir.write("millstream/identity", &stranger.encode().unwrap());
    let doctor = dir.doctor(&holding(Some(2)), Treatment::Apply).await;
    assert_eq!(codes(&doctor), ["QUERY_CHANGED"], "{doctor}");
    assert!(doctor.is_sound() && !dir.path.join("millstream/identity").exists(), "{doctor}");
    // Without batches that say so, nothing is done to either.
    let dir = three_batches().await;
    fs::remove_dir_all(dir.path.join("millstream/ledger")).unwrap();
    fs::remove_dir_all(dir.path.join("millstream/intents")).unwrap();
    dir.write("millstream/identity", &stranger.encode().unwrap());
    let doctor = dir.doctor(&holding(Some(2)), Treatment::Apply).await;
    assert!(!doctor.is_sound() && doctor.applied.is_empty(), "{doctor}");
}

#[tokio::test]
async fn a_table_that_is_not_the_one_the_identity_knows_is_foretold() {
    let dir = three_batches().await;
    let query = query_id(&*dir.store()).await.unwrap().unwrap();
    let known = Identity { sinks: vec![json!({"tableId": "x"})], ..identity_of(query, 0) };
    dir.write("millstream/identity", &known.encode().unwrap());
    let doctor = dir.doctor(&holding(Some(2)), Treatment::Describe).await;
    assert_eq!(codes(&doctor), ["QUERY_CHANGED"], "{doctor}");
}

#[tokio::test]
async fn a_changed_digit_in_the_name_of_an_intent_names_both_files() {
    let dir = dir();
    let checkpoint = dir.open().await.unwrap();
    let logged = log(&checkpoint, 0).await.unwrap();
    let text = fs::read_to_string(dir.path.join("offsets/0")).unwrap();
    let digest = logged.digest.to_string();
    let other = Digest::of(b"another intent").to_string();
    assert!(text.contains(&digest), "{text}");
    dir.write("offsets/0", text.replace(&digest, &other).as_bytes());
    let error = checkpoint.logged(BatchId(0)).await.unwrap_err();
    assert!(error.message().contains("is not the intent that `offsets/0` names"), "{error}");
}
