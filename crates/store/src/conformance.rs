//! What any implementation of [`Store`] has to pass. Run it against an empty store.

use crate::store::{Created, Store};
use millstream_core::{Error, Result};
use std::sync::Arc;

/// Creators that race for one path.
const RACERS: usize = 16;

/// Runs every check and returns the first one that does not hold.
///
/// # Errors
/// `STORE_NONCONFORMING` with the rule that was broken, or the store's own error.
pub async fn check(store: Arc<dyn Store>) -> Result<()> {
    absent_things_are_not_errors(&*store).await?;
    creation_is_exclusive(&*store).await?;
    one_racer_wins(&store).await?;
    replacing_shows_the_new_bytes(&*store).await?;
    listing_is_sorted_and_shallow(&*store).await?;
    deleting_is_idempotent(&*store).await?;
    paths_cannot_escape(&*store).await
}

fn hold(rule: &str, held: bool) -> Result<()> {
    if held {
        return Ok(());
    }
    Err(Error::internal(format!("The store breaks the rule: {rule}.")).context("conformance"))
}

async fn absent_things_are_not_errors(store: &dyn Store) -> Result<()> {
    hold("reading an absent file gives None", store.read("none/x").await?.is_none())?;
    hold("an absent directory lists as empty", store.list("none").await?.is_empty())?;
    hold("an absent file does not exist", !store.exists("none/x").await?)?;
    hold("sweeping an absent directory finds nothing", store.sweep("none").await? == 0)?;
    hold("deleting an absent directory is false", !store.delete_dir("none").await?)
}

async fn creation_is_exclusive(store: &dyn Store) -> Result<()> {
    for bytes in [&b"first"[..], b"", &[0u8, 255, 10]] {
        let path = format!("c/{}", bytes.len());
        let first = store.create(&path, bytes).await?;
        hold("the first creation succeeds", first == Created::Created)?;
        let second = store.create(&path, b"second").await?;
        hold("the second creation finds it", second == Created::Exists)?;
        let read = store.read(&path).await?;
        hold("the first bytes stay", read.as_deref() == Some(bytes))?;
        hold("it exists", store.exists(&path).await?)?;
        store.settle(&path).await?;
    }
    Ok(())
}

async fn one_racer_wins(store: &Arc<dyn Store>) -> Result<()> {
    let racers: Vec<_> = (0..RACERS)
        .map(|n| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let bytes = format!("racer {n}").repeat(100);
                (store.create("race/0", bytes.as_bytes()).await, bytes)
            })
        })
        .collect();
    let mut winners = Vec::new();
    for racer in racers {
        let (answer, bytes) = racer.await.map_err(|e| Error::internal(e.to_string()))?;
        if answer? == Created::Created {
            winners.push(bytes);
        }
    }
    hold("exactly one racer creates", winners.len() == 1)?;
    let read = store.read("race/0").await?;
    hold("the winner's bytes are there", read == winners.pop().map(String::into_bytes))
}

async fn replacing_shows_the_new_bytes(store: &dyn Store) -> Result<()> {
    store.replace("r/0", b"one").await?;
    store.replace("r/0", b"two, and longer").await?;
    let read = store.read("r/0").await?;
    hold("replaced bytes are read", read.as_deref() == Some(b"two, and longer"))
}

async fn listing_is_sorted_and_shallow(store: &dyn Store) -> Result<()> {
    for path in ["l/10", "l/9", "l/sub/x", "l/.9.crc"] {
        let _ = store.create(path, b"x").await?;
    }
    let names = store.list("l").await?;
    hold("names are sorted, with directories, hidden files included", {
        names == [".9.crc", "10", "9", "sub"]
    })?;
    let root = store.list("").await?;
    hold("the root lists its directories", root.iter().any(|n| n == "l"))
}

async fn deleting_is_idempotent(store: &dyn Store) -> Result<()> {
    let _ = store.create("d/0", b"x").await?;
    hold("deleting answers true once", store.delete("d/0").await?)?;
    hold("deleting again answers false", !store.delete("d/0").await?)?;
    hold("a deleted file is gone", store.read("d/0").await?.is_none())?;
    let again = store.create("d/0", b"y").await?;
    hold("a deleted path can be created again", again == Created::Created)?;
    hold("forgetting deletes", store.forget("d/0").await? && !store.exists("d/0").await?)?;
    hold("forgetting again answers false", !store.forget("d/0").await?)
}

async fn paths_cannot_escape(store: &dyn Store) -> Result<()> {
    for path in ["../x", "/x", "a/../../x", "", "a//b"] {
        hold("bad paths are refused when creating", store.create(path, b"x").await.is_err())?;
        hold("bad paths are refused when reading", store.read(path).await.is_err())?;
        hold("bad paths are refused when deleting", store.delete(path).await.is_err())?;
    }
    hold("bad directories are refused", store.list("..").await.is_err())
}
