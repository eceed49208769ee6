//! Options as users write them: names without regard to case, values as text; and the tables that
//! say which ones exist.

use crate::error::{Error, Result};
use std::fmt;

/// Options in the order they were given. Setting one again replaces it, whatever its case.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct OptionMap(Vec<(String, String)>);

impl OptionMap {
    /// No options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `name`, replacing an earlier value under the same name in any case.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let (name, value) = (name.into(), value.into());
        match self.0.iter_mut().find(|(n, _)| n.eq_ignore_ascii_case(&name)) {
            Some(slot) => *slot = (name, value),
            None => self.0.push((name, value)),
        }
    }

    /// The value of `name`, in any case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// Takes `name` out.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(n, _)| n.eq_ignore_ascii_case(name))?;
        Some(self.0.remove(at).1)
    }

    /// Names and values in the order given.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for OptionMap {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut map = OptionMap::new();
        for (name, value) in pairs {
            map.insert(name, value);
        }
        map
    }
}

/// Values stay out of debug output: any of them may hold a credential.
impl fmt::Debug for OptionMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(n, _)| n)).finish()
    }
}

/// One row of an option table. Parsing, documents and "did you mean" come from the same rows.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// Name as documented.
    pub name: &'static str,
    /// Where it applies, for the documents: `stream`, `batch`, `stream and batch`, `write`.
    pub scope: &'static str,
    /// Default as documented; empty if there is none.
    pub default: &'static str,
    /// Meaning, unit and limits in a sentence or two.
    pub meaning: &'static str,
    /// Whether the value is a credential.
    pub secret: bool,
}

/// Refuses the first option that no table knows.
///
/// # Errors
/// `OPTION_UNKNOWN`, with the nearest known name where one is near.
pub fn refuse_unknown(options: &OptionMap, tables: &[&[OptionSpec]], what: &str) -> Result<()> {
    let known = || tables.iter().flat_map(|t| t.iter());
    for (name, _) in options.iter() {
        if known().any(|spec| spec.name.eq_ignore_ascii_case(name)) {
            continue;
        }
        let mut error = Error::invalid("OPTION_UNKNOWN", format!("{what} has no option `{name}`."));
        if let Some(near) = did_you_mean(name, known().map(|s| s.name)) {
            error = error.cure(format!("Did you mean `{near}`?"));
        }
        return Err(error);
    }
    Ok(())
}

/// The candidate nearest to `word`, if one is near enough to be a slip of the fingers.
pub fn did_you_mean<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let letters = word.chars().count();
    candidates
        .filter_map(|c| {
            let most = (c.len().max(word.len()) / 3).max(1);
            // Each letter more is one edit at least: most candidates need no closer look, which
            // takes the product of the lengths.
            if c.chars().count().abs_diff(letters) > most {
                return None;
            }
            let distance = strsim::damerau_levenshtein(&word, &c.to_ascii_lowercase());
            (distance <= most).then_some((distance, c))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, c)| c)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn spec(name: &'static str) -> OptionSpec {
        OptionSpec { name, scope: "", default: "", meaning: "", secret: false }
    }
    const TABLE: &[OptionSpec] = &[spec("startingOffsets"), spec("subscribe")];

    #[test]
    fn names_have_no_case_and_the_last_value_counts() {
        let mut options: OptionMap = [("a", "1"), ("B", "2"), ("A", "3")].into_iter().collect();
        assert_eq!(options.iter().collect::<Vec<_>>(), [("A", "3"), ("B", "2")]);
        assert_eq!(
            (options.get("a"), options.get("b"), options.get("c")),
            (Some("3"), Some("2"), None)
        );
        assert!(!options.is_empty());
        assert_eq!(options.remove("b"), Some("2".to_owned()));
        assert_eq!((options.remove("b"), options.remove("a")), (None, Some("3".to_owned())));
        assert!(options.is_empty());
    }

    #[test]
    fn values_stay_out_of_debug_output() {
        let options: OptionMap = [("name", "hidden")].into_iter().collect();
        assert_eq!(format!("{options:?}"), r#"{"name"}"#);
    }

    #[test]
    fn an_unknown_option_is_refused_with_the_nearest_name() {
        let refuse = |name: &str| {
            let options: OptionMap = [("SUBSCRIBE", "t"), (name, "x")].into_iter().collect();
            refuse_unknown(&options, &[TABLE], "The source")
        };
        assert!(refuse("startingoffsets").is_ok());
        let error = refuse("startingOfsets").unwrap_err();
        assert_eq!(error.code(), "OPTION_UNKNOWN");
        assert_eq!(error.cure_text(), Some("Did you mean `startingOffsets`?"));
        assert_eq!(refuse("elephant").unwrap_err().cure_text(), None);
    }

    #[test]
    fn near_is_a_third_of_the_longer_word() {
        let near = |word| did_you_mean(word, ["abcdef", "xy"].into_iter());
        assert_eq!(near("ABCDEF"), Some("abcdef"));
        assert_eq!(near("abcd"), Some("abcdef"), "two of six");
        assert_eq!(near("abc"), None, "three of six");
        assert_eq!(near("xz"), Some("xy"), "one of two");
        assert_eq!(near("zz"), None, "two of two");
        assert_eq!(near("abcdefgh"), Some("abcdef"), "two of eight");
    }
}
