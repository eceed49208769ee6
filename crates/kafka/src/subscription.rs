//! Which partitions a source reads: Spark's three consumer strategies.

use millstream_core::offsets::TopicPartition;
use millstream_core::{Error, Result};
use regex::Regex;
use std::collections::BTreeMap;
use std::fmt;

/// What the source is subscribed to.
#[derive(Debug, Clone)]
pub enum Subscription {
    /// Exactly these partitions.
    Assign(Vec<TopicPartition>),
    /// Every partition of these topics, in the order given.
    Subscribe(Vec<String>),
    /// Every partition of the topics in whose name the pattern is found.
    Pattern(Box<TopicPattern>),
}

/// A pattern of topic names with its source text.
#[derive(Debug, Clone)]
pub struct TopicPattern {
    text: String,
    regex: Regex,
}

impl TopicPattern {
    /// Compiles `text`, refusing by name what Java's regular expressions have and ours have not.
    ///
    /// # Errors
    /// `KAFKA_PATTERN_UNSUPPORTED`, `KAFKA_PATTERN_INVALID`.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some(feature) = java_only_feature(text) {
            return Err(Error::invalid(
                "KAFKA_PATTERN_UNSUPPORTED",
                format!("The pattern '{text}' uses {feature}, which is not supported."),
            )
            .cure("Write the pattern without it, or list the topics with `subscribe`."));
        }
        let regex = Regex::new(text).map_err(|e| {
            Error::invalid(
                "KAFKA_PATTERN_INVALID",
                format!("The pattern '{text}' is not a regular expression."),
            )
            .caused_by(e)
        })?;
        Ok(TopicPattern { text: text.to_owned(), regex })
    }

    /// Whether the pattern is found in `topic` (unanchored, as Spark's `findFirstIn`).
    pub fn matches(&self, topic: &str) -> bool {
        self.regex.is_match(topic)
    }
}

/// Java features that the `regex` crate lacks or reads differently. Escapes and classes are
/// skipped over as Java would.
fn java_only_feature(text: &str) -> Option<&'static str> {
    let bytes = text.as_bytes();
    let at = |i: usize| bytes.get(i).copied();
    let (mut i, mut depth, mut after_atom) = (0, 0_usize, false);
    while let Some(byte) = at(i) {
        if byte == b'\\' {
            match at(i + 1) {
                Some(b'1'..=b'9') | Some(b'k') => return Some("a back-reference"),
                Some(b'Q') | Some(b'E') => return Some("quoting (\\Q..\\E)"),
                Some(b'G') => return Some("\\G"),
                Some(b'Z') => return Some("\\Z"),
                Some(b'R') | Some(b'X') | Some(b'h') | Some(b'H') => {
                    return Some("a class of Java's own (\\R, \\X, \\h, \\H)");
                }
                _ => {}
            }
            (i, after_atom) = (i + 2, true);
            continue;
        }
        if depth > 0 {
            match byte {
                b'[' => depth += 1,
                b']' => depth -= 1,
                _ => {}
            }
            (i, after_atom) = (i + 1, true);
            continue;
        }
        match byte {
            b'[' => {
                // A `]` straight behind the opening bracket stands for itself.
                i += if at(i + 1) == Some(b'^') { 1 } else { 0 };
                i += if at(i + 1) == Some(b']') { 1 } else { 0 };
                depth = 1;
            }
            b'(' if at(i + 1) == Some(b'?') => match (at(i + 2), at(i + 3)) {
                (Some(b'=' | b'!'), _) => return Some("a look-ahead"),
                (Some(b'<'), Some(b'=' | b'!')) => return Some("a look-behind"),
                (Some(b'>'), _) => return Some("an atomic group"),
                _ => {}
            },
            b'*' | b'+' | b'?' | b'}' if after_atom && at(i + 1) == Some(b'+') => {
                return Some("a possessive quantifier");
            }
            _ => {}
        }
        after_atom = true;
        i += 1;
    }
    None
}

impl Subscription {
    /// The topics to ask metadata for; `None` for all of them.
    pub(crate) fn topics(&self) -> Option<Vec<String>> {
        match self {
            Subscription::Pattern(_) => None,
            Subscription::Subscribe(topics) => {
                let mut names = topics.clone();
                names.sort();
                names.dedup();
                Some(names)
            }
            Subscription::Assign(partitions) => {
                let mut names: Vec<String> = partitions.iter().map(|p| p.topic.clone()).collect();
                names.sort();
                names.dedup();
                Some(names)
            }
        }
    }

    /// What a checkpoint remembers of it.
    pub(crate) fn identity(&self) -> serde_json::Value {
        match self {
            Subscription::Pattern(pattern) => serde_json::json!({"subscribePattern": pattern.text}),
            Subscription::Subscribe(_) => serde_json::json!({"subscribe": self.topics()}),
            Subscription::Assign(partitions) => {
                let mut by_topic: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
                for tp in partitions {
                    by_topic.entry(&tp.topic).or_default().push(tp.partition);
                }
                by_topic.values_mut().for_each(|p| p.sort_unstable());
                serde_json::json!({"assign": by_topic})
            }
        }
    }
}

/// Spark's words, as in `KafkaV2[Subscribe[a, b]]`.
impl fmt::Display for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subscription::Assign(partitions) => {
                let names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
                write!(f, "Assign[{}]", names.join(", "))
            }
            Subscription::Subscribe(topics) => write!(f, "Subscribe[{}]", topics.join(", ")),
            Subscription::Pattern(pattern) => write!(f, "SubscribePattern[{}]", pattern.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_found_anywhere() {
        let pattern = TopicPattern::parse("ev.nts").unwrap();
        assert!(pattern.matches("events") && pattern.matches("my-events-2"));
        assert!(!pattern.matches("event"));
        assert!(!TopicPattern::parse("^events$").unwrap().matches("my-events"));
    }

    #[test]
    fn java_only_features_are_refused_by_name() {
        for (pattern, feature) in [
            ("a(?=b)", "look-ahead"),
            ("a(?!b)", "look-ahead"),
            ("(?<=a)b", "look-behind"),
            ("(?<!a)b", "look-behind"),
            ("(?>a)b", "atomic group"),
            ("(a)\\1", "back-reference"),
            ("(?<n>a)\\k<n>", "back-reference"),
            ("a++", "possessive"),
            ("a*+b", "possessive"),
            ("a{2}+", "possessive"),
            ("\\Qa.b\\E", "quoting"),
            ("\\Ga", "\\G"),
            ("a\\Z", "\\Z"),
            ("\\h+", "\\h"),
        ] {
            let error = TopicPattern::parse(pattern).unwrap_err();
            assert_eq!(error.code(), "KAFKA_PATTERN_UNSUPPORTED", "{pattern}");
            assert!(error.message().contains(feature), "{pattern}: {error}");
        }
        assert_eq!(TopicPattern::parse("a(").unwrap_err().code(), "KAFKA_PATTERN_INVALID");
    }

    #[test]
    fn what_only_looks_like_them_is_accepted() {
        for pattern in
            ["[(?=]x", "a\\(?=b", "[]+]+", "[^]*+]", "(?:a|b)", "(?i)x", "a+\\+", "x{2,3}"]
        {
            TopicPattern::parse(pattern).unwrap();
        }
    }
}
