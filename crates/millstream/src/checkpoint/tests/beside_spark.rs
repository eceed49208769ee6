//! Checkpoints that Spark left on a local disk, with Hadoop's checksum files beside.

use super::*;
use millstream_core::protocol::Finding;

/// As Spark leaves a checkpoint on a local disk: batch 0 complete, batch 1 planned, twins beside.
fn by_spark() -> Dir {
    let dir = dir();
    let offsets = |batch: u64| {
        let metadata = OffsetsMetadata {
            watermark_ms: 0,
            timestamp_ms: 1000 + batch as i64,
            conf: Conf::spark(200),
            source_info: None,
        };
        OffsetsFile::new(metadata, vec![Some(position(10 * batch + 10))]).encode()
    };
    for (path, bytes) in [
        ("metadata", Metadata { id: QueryId(Uuid::new_v4()) }.encode()),
        ("sources/0/0", SourceStart { position: position(0) }.encode()),
        ("offsets/0", offsets(0)),
        ("commits/0", b"v1\n{\"nextBatchWatermarkMs\":0}".to_vec()),
        ("offsets/1", offsets(1)),
    ] {
        fs::create_dir_all(dir.path.join(path).parent().unwrap()).unwrap();
        dir.write(path, &bytes);
        dir.write(&twins::twin_of(path), &twins::made_of(&bytes));
    }
    dir
}

/// What a start reads of it.
async fn read_by_a_start(dir: &Dir) -> Result<()> {
    let checkpoint = dir.open().await?;
    checkpoint.source_start(0).await?;
    checkpoint.logged(BatchId(0)).await?;
    checkpoint.completion(BatchId(0)).await?;
    checkpoint.logged(BatchId(1)).await.map(|_| ())
}

#[tokio::test]
async fn a_changed_digit_in_a_file_of_sparks_is_refused_by_its_twin() {
    for (path, from, to) in [
        ("metadata", "-4", "-5"),
        ("sources/0/0", ":0}", ":3}"),
        ("offsets/0", ":10}", ":11}"),
        ("commits/0", ":0}", ":1}"),
        ("offsets/1", ":20}", ":21}"),
    ] {
        let dir = by_spark();
        read_by_a_start(&dir).await.unwrap();
        let text = fs::read_to_string(dir.path.join(path)).unwrap();
        assert!(text.contains(from), "{path}: {text}");
        dir.write(path, text.replace(from, to).as_bytes());
        let error = read_by_a_start(&dir).await.unwrap_err();
        let twin = twins::twin_of(path);
        assert_eq!((error.code(), error.kind()), ("CHECKPOINT_FILE_DAMAGED", ErrorKind::Corrupt));
        let said = error.to_string();
        assert!(said.contains(&format!("/{path}`")) && said.contains(&twin), "{said}");
        assert!(said.contains("Restore the file from a backup"), "{said}");

        // Which of the two is right is not for the doctor to say.
        let doctor = dir.doctor(&holding(Some(0)), Treatment::Apply).await;
        let named = |f: &&Finding| f.code == "CHECKPOINT_FILE_DAMAGED" && f.what.contains(&twin);
        assert_eq!(doctor.findings.iter().filter(named).count(), 1, "{path}: {doctor}");
        assert!(!doctor.is_sound(), "{path}: {doctor}");
        assert!(dir.path.join(&twin).exists(), "{path}");
        let seen = Inspection::of(&*dir.store()).await.unwrap();
        assert!(seen.problems.iter().any(|p| p.contains(&twin)), "{path}: {:?}", seen.problems);

        // A file without a twin, or with one that a power failure emptied, is as good as any.
        for twins in [Some(b"".as_slice()), None] {
            match twins {
                Some(bytes) => dir.write(&twin, bytes),
                None => fs::remove_file(dir.path.join(&twin)).unwrap(),
            }
            read_by_a_start(&dir).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_damaged_batch_of_sparks_gets_no_history() {
    let dir = by_spark();
    let path = dir.path.join("offsets/0");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace(":10}", ":11}")).unwrap();
    let checkpoint = dir.open().await.unwrap();
    checkpoint.note_batches_of_others(BatchId(0)).await.unwrap();
    assert!(!dir.path.join("millstream/ledger/0").exists());
    fs::write(&path, text).unwrap();
    checkpoint.note_batches_of_others(BatchId(0)).await.unwrap();
    assert!(dir.path.join("millstream/ledger/0").exists());

    // From now on the history repeats it, whatever becomes of the twin.
    dir.write("offsets/.0.crc", &twins::made_of(b"something else"));
    checkpoint.logged(BatchId(0)).await.unwrap();
    drop(checkpoint);
    let doctor = dir.doctor(&holding(Some(0)), Treatment::Apply).await;
    assert_eq!(doctor.applied, [Repair::Delete { path: "offsets/.0.crc".into() }]);
    assert!(doctor.is_sound(), "{doctor}");
}

#[tokio::test]
async fn a_twin_says_nothing_about_what_millstream_planned() {
    let dir = dir();
    let checkpoint = dir.open().await.unwrap();
    whole_batch(&checkpoint, 0).await;
    dir.write("offsets/.0.crc", &twins::made_of(b"something else"));
    checkpoint.logged(BatchId(0)).await.unwrap();
    drop(checkpoint);
    let doctor = dir.doctor(&holding(Some(0)), Treatment::Apply).await;
    assert_eq!(doctor.applied, [Repair::Delete { path: "offsets/.0.crc".into() }]);
    assert!(doctor.is_sound(), "{doctor}");
}
