//! Names of files in `_delta_log`.

/// What a file name in `_delta_log` means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LogName {
    /// `<version>.json`
    Entry(u64),
    /// `<version>.checkpoint.parquet`
    Checkpoint(u64),
    /// `<version>.checkpoint.<part>.<parts>.parquet`
    CheckpointPart { version: u64, part: u32, parts: u32 },
    /// `<version>.checkpoint.<uuid>.{json,parquet}`: the V2 form
    CheckpointV2(u64),
    /// `<version>.crc` and `<from>.<to>.compacted.json`: derived, never needed
    Derived(u64),
    /// Anything else.
    Other,
}

/// `<version>.json`.
pub(crate) fn entry(version: u64) -> String {
    format!("{version:020}.json")
}

/// `<version>.checkpoint.parquet`.
pub(crate) fn checkpoint(version: u64) -> String {
    format!("{version:020}.checkpoint.parquet")
}

/// `<version>.checkpoint.<part>.<parts>.parquet`.
pub(crate) fn checkpoint_part(version: u64, part: u32, parts: u32) -> String {
    format!("{version:020}.checkpoint.{part:010}.{parts:010}.parquet")
}

/// The hint that names the newest checkpoint.
pub(crate) const LAST_CHECKPOINT: &str = "_last_checkpoint";

/// Reads a file name.
pub(crate) fn parse(name: &str) -> LogName {
    let Some((number, rest)) = name.split_once('.') else { return LogName::Other };
    if number.len() != 20 || !number.bytes().all(|b| b.is_ascii_digit()) {
        return LogName::Other;
    }
    // Versions are Java's longs; there is always a next one.
    let version = number.parse().ok().filter(|v| *v < i64::MAX as u64);
    let Some(version) = version else { return LogName::Other };
    let parts: Vec<&str> = rest.split('.').collect();
    match parts.as_slice() {
        ["json"] => LogName::Entry(version),
        ["crc"] => LogName::Derived(version),
        [_, "compacted" | "compact", "json"] => LogName::Derived(version),
        ["checkpoint", "parquet"] => LogName::Checkpoint(version),
        ["checkpoint", part, parts, "parquet"] => match (part.parse(), parts.parse()) {
            (Ok(part), Ok(parts)) => LogName::CheckpointPart { version, part, parts },
            _ => LogName::Other,
        },
        ["checkpoint", _, "json" | "parquet"] => LogName::CheckpointV2(version),
        _ => LogName::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        assert_eq!(parse(&entry(7)), LogName::Entry(7));
        assert_eq!(parse(&checkpoint(10)), LogName::Checkpoint(10));
        assert_eq!(
            parse(&checkpoint_part(10, 2, 3)),
            LogName::CheckpointPart { version: 10, part: 2, parts: 3 }
        );
        let v2 = "00000000000000000010.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.json";
        assert_eq!(parse(v2), LogName::CheckpointV2(10));
        assert_eq!(parse("00000000000000000010.crc"), LogName::Derived(10));
        let range = "00000000000000000010.00000000000000000019";
        for derived in ["compacted", "compact"] {
            assert_eq!(parse(&format!("{range}.{derived}.json")), LogName::Derived(10));
        }
        let newest = i64::MAX as u64 - 1;
        assert_eq!(parse(&entry(newest)), LogName::Entry(newest));
        let (last, endless) = (entry(newest + 1), format!("{}.json", u64::MAX));
        let part = "00000000000000000010.checkpoint.one.two.parquet";
        let letters = "0000000000000000001x.json";
        for other in [
            "_last_checkpoint",
            "7.json",
            ".00000000000000000000.json.crc",
            "x.json",
            "00000000000000000010",
            "00000000000000000010.txt",
            letters,
            part,
            &last,
            &endless,
        ] {
            assert_eq!(parse(other), LogName::Other, "{other}");
        }
    }
}
