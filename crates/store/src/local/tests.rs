use super::*;
use std::os::unix::fs::PermissionsExt as _;

fn store(dir: &tempfile::TempDir) -> LocalStore {
    LocalStore::new(dir.path().join("deep/er"), Access::Owner)
}

#[tokio::test]
async fn it_conforms() {
    let dir = tempfile::tempdir().unwrap();
    crate::conformance::check(Arc::new(store(&dir))).await.unwrap();
}

#[tokio::test]
async fn checkpoints_are_for_their_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let _ = store.create("offsets/0", b"x").await.unwrap();
    let mode = |p: &str| fs::metadata(store.root().join(p)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("offsets/0"), 0o600);
    assert_eq!(mode("offsets"), 0o700);
}

#[tokio::test]
async fn leftovers_are_not_listed_and_can_be_swept() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let _ = store.create("offsets/0", b"x").await.unwrap();
    let left = store.root().join("offsets").join(crate::path::temporary_name("1"));
    fs::write(&left, b"half").unwrap();
    assert_eq!(store.list("offsets").await.unwrap(), ["0"]);
    assert_eq!(store.sweep("offsets").await.unwrap(), 1);
    assert!(!left.exists());
    assert!(store.exists("offsets/0").await.unwrap());
    // Creation itself leaves nothing behind, whether it wins or not.
    assert_eq!(store.create("offsets/0", b"y").await.unwrap(), Created::Exists);
    assert_eq!(fs::read_dir(store.root().join("offsets")).unwrap().count(), 1);
}

#[tokio::test]
async fn a_second_lock_is_refused_until_the_first_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let held = match store.try_lock("millstream/lock").await.unwrap() {
        Locked::Held(lock) => lock,
        other => panic!("{other:?}"),
    };
    match store.clone().try_lock("millstream/lock").await.unwrap() {
        Locked::Busy { holder } => {
            assert_eq!(holder, format!("process {}", std::process::id()));
        }
        other => panic!("{other:?}"),
    }
    drop(held);
    assert!(matches!(store.try_lock("millstream/lock").await.unwrap(), Locked::Held(_)));
}

#[tokio::test]
async fn a_file_in_the_way_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("deep"), b"not a directory").unwrap();
    let error = store(&dir).create("offsets/0", b"x").await.unwrap_err();
    assert_eq!(error.code(), "STORE_NOT_A_DIRECTORY");
    assert!(error.message().contains("deep"));
}

#[tokio::test]
async fn a_failed_sync_poisons_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let failed: Result<()> = store
        .change(|_| {
            Err(io_error(Operation::Sync, Path::new("f"), io::Error::from(io::ErrorKind::Other)))
        })
        .await;
    assert_eq!(failed.unwrap_err().code(), "STORE_SYNC_FAILED");
    let refused = store.create("offsets/0", b"x").await.unwrap_err();
    assert_eq!(refused.code(), "STORE_POISONED");
    assert_eq!(store.delete("offsets/0").await.unwrap_err().code(), "STORE_POISONED");
    // Looking is still allowed, and clones share the verdict.
    assert_eq!(store.read("offsets/0").await.unwrap(), None);
    assert!(store.clone().replace("a", b"b").await.is_err());
}

#[tokio::test]
async fn a_full_disk_is_said_so() {
    // /dev/full answers every write with ENOSPC.
    let Ok(mut full) = fs::OpenOptions::new().write(true).open("/dev/full") else { return };
    let source = io::Write::write_all(&mut full, b"x").unwrap_err();
    let error = io_error(Operation::Write, Path::new("/dev/full"), source);
    assert_eq!(error.code(), "STORE_FULL");
}
