//! `millstream/identity`: what the checkpoint belongs to.

use super::Record;
use crate::ids::QueryId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// What a checkpoint remembers of its query, to recognise it at the next start. Values are those
/// of [`crate::contract::Source::identity`] and [`crate::contract::Sink::identity`], and the
/// engine's description of its plan. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The checkpoint's id.
    pub query: QueryId,
    /// 0 for the first; each accepted change of the query adds one.
    pub revision: u64,
    /// Release that wrote it, for messages only.
    pub engine: String,
    /// Description of the plan: at least its fingerprint.
    pub plan: Value,
    /// One value a source, in the order of the plan.
    pub sources: Vec<Value>,
    /// One value a sink, in commit order.
    pub sinks: Vec<Value>,
    /// Layout of the state; null for stateless plans.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub state: Value,
}

impl Record for Identity {
    const KIND: &'static str = "identity";
}

/// One place where two identities differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Where: `sources[0].subscribe`.
    pub path: String,
    /// What the checkpoint says; `None` if it says nothing there.
    pub then: Option<Value>,
    /// What the query says; `None` if it says nothing there.
    pub now: Option<Value>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |v: &Option<Value>| v.as_ref().map_or("nothing".to_owned(), Value::to_string);
        write!(f, "{}: was {}, is {}", self.path, show(&self.then), show(&self.now))
    }
}

impl Identity {
    /// Every place where the query as it is (`now`) differs from what the checkpoint remembers.
    /// Release and revision do not count; neither does the order of keys.
    pub fn differences(&self, now: &Identity) -> Vec<Difference> {
        let mut found = Vec::new();
        let list = |values: &[Value]| Value::Array(values.to_vec());
        if self.query != now.query {
            let text = |q: QueryId| Some(Value::from(q.to_string()));
            found.push(Difference {
                path: "query".to_owned(),
                then: text(self.query),
                now: text(now.query),
            });
        }
        compare("plan", Some(&self.plan), Some(&now.plan), &mut found);
        compare("sources", Some(&list(&self.sources)), Some(&list(&now.sources)), &mut found);
        compare("sinks", Some(&list(&self.sinks)), Some(&list(&now.sinks)), &mut found);
        compare("state", Some(&self.state), Some(&now.state), &mut found);
        found
    }
}

fn compare(path: &str, then: Option<&Value>, now: Option<&Value>, found: &mut Vec<Difference>) {
    match (then, now) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let added = b.keys().filter(|k| !a.contains_key(*k));
            for key in a.keys().chain(added) {
                compare(&format!("{path}.{key}"), a.get(key), b.get(key), found);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            for at in 0..a.len().max(b.len()) {
                compare(&format!("{path}[{at}]"), a.get(at), b.get(at), found);
            }
        }
        (then, now) if then == now => {}
        (then, now) => {
            found.push(Difference { path: path.to_owned(), then: then.cloned(), now: now.cloned() })
        }
    }
}
