//! What else may be wrong with a lake: files that do not belong there, directories that are gone,
//! files of two batches exchanged, tables that lost something.

use super::check::{Excuse, Names};
use super::stage::{File, Stage, remove, tree, write};
use crate::lake::names;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// One change of a lake.
#[derive(Debug)]
pub(super) struct Act {
    /// Its name in cells.
    pub(super) name: &'static str,
    /// Does it, and says by which names an error may speak of it; `None` where this state has no
    /// such thing.
    pub(super) change: fn(&Stage<'_>) -> Option<Names>,
    /// Whether rows may be gone, as only `verify` can tell.
    pub(super) excuse: Excuse,
}

const fn act(name: &'static str, change: fn(&Stage<'_>) -> Option<Names>) -> Act {
    Act { name, change, excuse: Excuse::None }
}

const fn table(name: &'static str, change: fn(&Stage<'_>) -> Option<Names>) -> Act {
    Act { name, change, excuse: Excuse::OfTables }
}

const UUID: &str = "0b0e3fe5-7a4f-4d4a-9a5b-0f2d3c4b5a69";

/// All of them.
pub(super) const ACTS: &[Act] = &[
    act("extra: offsets/.7.tmp", |s| extra(s, "offsets/.7.tmp", b"v1\n")),
    act("extra: offsets/.7.crc", |s| extra(s, "offsets/.7.crc", b"crc\0")),
    act("extra: offsets/00000003", |s| extra(s, "offsets/00000003", b"v1\n")),
    act("extra: offsets/+9", |s| extra(s, "offsets/+9", b"v1\n")),
    act("extra: offsets/9999, empty", |s| extra(s, "offsets/9999", b"")),
    act("extra: offsets/9999, the newest", |s| twice(s, "offsets", "9999")),
    act("extra: offsets/18446744073709551615", |s| twice(s, "offsets", "18446744073709551615")),
    act("extra: offsets/18446744073709551616", |s| twice(s, "offsets", "18446744073709551616")),
    act("extra: the next offsets", |s| {
        let next = newest(s, "offsets")? + 1;
        twice(s, "offsets", &next.to_string())
    }),
    act("extra: commits/9999", |s| twice(s, "commits", "9999")),
    act("extra: the next commits", |s| {
        let next = newest(s, "commits")? + 1;
        twice(s, "commits", &next.to_string())
    }),
    act("extra: commits/18446744073709551615", |s| twice(s, "commits", "18446744073709551615")),
    act("extra: lease/9999", |s| twice(s, "millstream/lease", "9999")),
    act("extra: lease/18446744073709551615", |s| {
        twice(s, "millstream/lease", "18446744073709551615")
    }),
    act("extra: lease/garbage", |s| extra(s, "millstream/lease/garbage", b"x")),
    act("extra: intents/garbage", |s| extra(s, "millstream/intents/garbage", b"x")),
    act("extra: an intent that says nothing", |s| {
        extra(s, &format!("millstream/intents/{UUID}"), b"x")
    }),
    act("extra: prepared/N/garbage", |s| {
        extra(s, &format!("millstream/prepared/{}/garbage", newest(s, "offsets")?), b"x")
    }),
    act("extra: a prepared attempt that says nothing", |s| {
        extra(s, &format!("millstream/prepared/{}/{UUID}", newest(s, "offsets")?), b"x")
    }),
    act("extra: prepared/9999", |s| extra(s, &format!("millstream/prepared/9999/{UUID}"), b"x")),
    act("extra: ledger/9999", |s| extra(s, "millstream/ledger/9999", b"x")),
    act("extra: ledger/0-99", |s| extra(s, "millstream/ledger/0-99", b"x")),
    act("extra: identity.9999 that says nothing", |s| extra(s, "millstream/identity.9999", b"x")),
    act("extra: identity.01", |s| extra(s, "millstream/identity.01", b"x")),
    act("extra: identity.9999, the newest", |s| {
        let name = names(&s.lake.checkpoint().join("millstream"));
        let name = name.iter().filter(|n| n.starts_with("identity")).max()?;
        let bytes = fs::read(s.lake.checkpoint().join("millstream").join(name)).ok()?;
        extra(s, "millstream/identity.9999", &bytes)
    }),
    act("extra: `rebuilt` that says nothing", |s| {
        let path = "millstream/rebuilt";
        (!s.lake.checkpoint().join(path).exists()).then_some(())?;
        extra(s, path, b"x")
    }),
    act("extra: sources/1/0", |s| extra(s, "sources/1/0", b"x")),
    act("extra: sources/garbage", |s| extra(s, "sources/garbage", b"x")),
    act("extra: state/0/0/1.delta", |s| extra(s, "state/0/0/1.delta", b"x")),
    act("extra: names that are not UTF-8", |s| {
        for dir in ["", "offsets", "commits", "sources", "millstream", "millstream/ledger"] {
            write(&s.lake.checkpoint().join(dir).join(OsStr::from_bytes(b"\xff1")), b"x");
        }
        Some(vec!["\u{fffd}1".to_owned()])
    }),
    act("extra: leftovers of interrupted creations", |s| {
        for dir in ["", "offsets", "commits", "sources/0", "millstream", "millstream/intents"] {
            let path = s.lake.checkpoint().join(dir).join(format!(".3.{UUID}.tmp"));
            write(&path, b"v1\n");
        }
        Some(vec![UUID.to_owned()])
    }),
    act("gone: offsets", |s| gone(s, "offsets")),
    act("gone: commits", |s| gone(s, "commits")),
    act("gone: sources", |s| gone(s, "sources")),
    act("gone: millstream", |s| gone(s, "millstream")),
    act("gone: millstream/lease", |s| gone(s, "millstream/lease")),
    act("gone: millstream/intents", |s| {
        gone(s, "millstream/intents")?;
        Some(vec!["millstream/intents".to_owned(), "offsets".to_owned()])
    }),
    act("gone: millstream/prepared", |s| {
        gone(s, "millstream/prepared")?;
        Some(vec!["prepared".to_owned()])
    }),
    act("gone: millstream/ledger", |s| gone(s, "millstream/ledger")),
    act("gone: the newest batch", |s| {
        let n = newest(s, "offsets")?;
        for dir in ["offsets", "commits"] {
            remove(&s.lake.checkpoint().join(dir).join(n.to_string()));
        }
        let kept = n.checked_sub(1).map(|before| format!("offsets/{}", before.saturating_sub(1)));
        Some(
            [vec![format!("batch {n}"), "has no logs".to_owned()], kept.into_iter().collect()]
                .concat(),
        )
    }),
    act("exchanged: the two newest offsets", |s| exchange(s, "offsets")),
    act("exchanged: the two newest completions", |s| exchange(s, "commits")),
    act("exchanged: the two newest intents", exchange_intents),
    table("table: a `_last_checkpoint` that says nothing", |s| {
        write(&s.lake.path("lake/t/_delta_log/_last_checkpoint"), b"x");
        Some(vec!["_last_checkpoint".to_owned()])
    }),
    table("table: a `_last_checkpoint` of a checkpoint that is not there", |s| {
        let text = b"{\"version\":1,\"size\":3}";
        write(&s.lake.path("lake/t/_delta_log/_last_checkpoint"), text);
        Some(vec!["_last_checkpoint".to_owned(), "/t".to_owned()])
    }),
    table("table: an entry beyond a hole", |s| {
        let log = s.lake.path("lake/t/_delta_log");
        let entry = fs::read(log.join(names(&log).into_iter().max()?)).ok()?;
        write(&log.join("00000000000000000009.json"), &entry);
        Some(vec!["/t".to_owned()])
    }),
    table("table: gone", |s| {
        remove(&s.lake.path("lake/t"));
        Some(vec!["/t".to_owned()])
    }),
    table("table: the first data file is torn", |s| {
        let file = data(s)?;
        write(&s.lake.storage().join(&file.path), &file.bytes[..file.bytes.len() / 2]);
        Some(vec![file.path.display().to_string(), "millstream/prepared/".to_owned()])
    }),
    table("table: the first data file is missing", |s| {
        let file = data(s)?;
        remove(&s.lake.storage().join(&file.path));
        Some(vec![file.path.display().to_string(), "millstream/prepared/".to_owned()])
    }),
];

/// A data file of the table, if there is one.
fn data<'a>(stage: &'a Stage<'_>) -> Option<&'a File> {
    stage.files.iter().find(|file| file.is_data() && file.path.starts_with("t"))
}

fn extra(stage: &Stage<'_>, path: &str, bytes: &[u8]) -> Option<Names> {
    write(&stage.lake.checkpoint().join(path), bytes);
    Some(vec![path.to_owned()])
}

/// The newest file of a directory, under another name as well.
fn twice(stage: &Stage<'_>, dir: &str, name: &str) -> Option<Names> {
    let from = newest(stage, dir)?;
    let bytes = fs::read(stage.lake.checkpoint().join(dir).join(from.to_string())).ok()?;
    extra(stage, &format!("{dir}/{name}"), &bytes)?;
    // A log that does not go up to this number has a hole just before it.
    let before = name.parse::<u64>().ok()?.checked_sub(1)?;
    let next = from + 1;
    let logs = [format!("offsets/{next}"), format!("commits/{next}"), format!("batch {next} ")];
    Some([vec![format!("{dir}/{name}"), format!("batch {before}")], logs.to_vec()].concat())
}

fn newest(stage: &Stage<'_>, dir: &str) -> Option<u64> {
    let names = names(&stage.lake.checkpoint().join(dir));
    names.iter().filter_map(|name| name.parse().ok()).max()
}

fn gone(stage: &Stage<'_>, dir: &str) -> Option<Names> {
    let path = stage.lake.checkpoint().join(dir);
    path.is_dir().then(|| remove(&path))?;
    Some(vec![format!("/{dir}"), dir.to_owned()])
}

fn exchange(stage: &Stage<'_>, dir: &str) -> Option<Names> {
    let newest = newest(stage, dir)?;
    let dir = format!("{}/{dir}", stage.lake.checkpoint().display());
    let [a, b] = [newest, newest.checked_sub(1)?].map(|n| PathBuf::from(format!("{dir}/{n}")));
    let (one, other) = (fs::read(&a).ok()?, fs::read(&b).ok()?);
    write(&a, &other);
    write(&b, &one);
    Some(vec![format!("offsets/{newest}"), format!("commits/{newest}")])
}

fn exchange_intents(stage: &Stage<'_>) -> Option<Names> {
    let dir = stage.lake.checkpoint().join("millstream/intents");
    let mut intents = tree(&dir).into_iter();
    let ((a, one), (b, other)) = (intents.next()?, intents.next()?);
    write(&dir.join(&a), &other);
    write(&dir.join(&b), &one);
    Some(vec![a.display().to_string(), b.display().to_string(), "offsets/".to_owned()])
}
