//! Patterns of topic names: what Java has and we have not is refused by name.

use crate::input::Input;
use millstream_kafka::{Subscription, TopicPattern};

/// Compiling a pattern takes the regex library its time, which grows with the pattern.
const PATTERN_MAX: usize = 40;

/// One execution: a pattern up to the first line end, then a topic.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let pattern = std::str::from_utf8(input.until(b'\n'));
    let (Ok(pattern), Some(topic)) = (pattern, input.text()) else { return };
    if pattern.len() > PATTERN_MAX {
        return;
    }
    let known = ["KAFKA_PATTERN_UNSUPPORTED", "KAFKA_PATTERN_INVALID"];
    match TopicPattern::parse(pattern) {
        Ok(parsed) => {
            let found = parsed.matches(topic);
            // Found anywhere: text in front and behind hides nothing that has no anchor.
            if found && !pattern.contains(['^', '$', '\\', '(']) {
                assert!(parsed.matches(&format!("x{topic}x")));
            }
            let shown = Subscription::Pattern(Box::new(parsed)).to_string();
            assert_eq!(shown, format!("SubscribePattern[{pattern}]"));
        }
        Err(error) => assert!(known.contains(&error.code()), "{error}"),
    }
}
