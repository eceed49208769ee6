//! The demo's orders: seeded, so that the same seed gives the same topic, with the kinds of record
//! that go wrong in life: malformed JSON, values of a wrong type, repeated keys, tombstones.

use chrono::{DateTime, SecondsFormat};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// What becomes of a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Fate {
    /// A row of the table, with these values.
    Row(Order),
    /// A row of the dead letters.
    DeadLetter,
    /// Nowhere: the pipeline filters tombstones out.
    Tombstone,
}

/// An order as the table holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// `order_id`
    pub id: String,
    /// `customer`
    pub customer: String,
    /// `amount`, in cents
    pub cents: i64,
}

/// One record to produce, and what must become of it.
#[derive(Debug, Clone)]
pub struct Record {
    /// Kafka key.
    pub key: Vec<u8>,
    /// Kafka value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// What must become of it.
    pub fate: Fate,
}

/// Makes records, one after the other.
pub struct Generator {
    random: SmallRng,
    next: u64,
}

const COUNTRIES: [&str; 6] = ["DE", "FR", "IT", "NL", "PT", "SE"];
/// First instant of the orders: 2026-01-01T00:00:00Z in milliseconds.
const START_MS: i64 = 1_767_225_600_000;

impl Generator {
    /// A generator with its own stream of chance.
    pub fn new(seed: u64) -> Self {
        Generator { random: SmallRng::seed_from_u64(seed), next: 0 }
    }

    /// The next record: two in a hundred malformed, one with a wrong type, two tombstones.
    pub fn record(&mut self) -> Record {
        let number = self.next;
        self.next += 1;
        // One order in ten speaks of an order that came before: keys repeat.
        let repeated = number > 0 && self.random.random_ratio(1, 10);
        let about = if repeated { self.random.random_range(0..number) } else { number };
        let order = Order {
            id: format!("o-{about:08}"),
            customer: format!("c-{:05}", self.random.random_range(0..20_000)),
            cents: self.random.random_range(100..1_000_000),
        };
        let key = order.id.clone().into_bytes();
        let json = self.json(&order, number);
        let (value, fate) = match self.random.random_range(0..100u32) {
            0 | 1 => (Some(self.broken(&json)), Fate::DeadLetter),
            2 => (Some(wrong_type(&order).into_bytes()), Fate::DeadLetter),
            3 | 4 => (None, Fate::Tombstone),
            _ => (Some(json.into_bytes()), Fate::Row(order)),
        };
        Record { key, value, fate }
    }

    fn json(&mut self, order: &Order, number: u64) -> String {
        let country = COUNTRIES[self.random.random_range(0..COUNTRIES.len())];
        let ordered_at = instant(number);
        format!(
            r#"{{"id":"{}","customer":"{}","amount":{}.{:02},"country":"{country}","ordered_at":"{ordered_at}"}}"#,
            order.id,
            order.customer,
            order.cents / 100,
            order.cents % 100,
        )
    }

    /// The document with its end cut off, as a producer that died would leave it.
    fn broken(&mut self, json: &str) -> Vec<u8> {
        let keep = self.random.random_range(1..json.len());
        json.as_bytes().iter().take(keep).copied().collect()
    }
}

/// When order `number` came, four a second.
fn instant(number: u64) -> String {
    let after_ms = i64::try_from(number).unwrap_or(i64::MAX).saturating_mul(250);
    DateTime::from_timestamp_millis(START_MS.saturating_add(after_ms))
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn wrong_type(order: &Order) -> String {
    format!(r#"{{"id":"{}","customer":"{}","amount":"a lot"}}"#, order.id, order.customer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_records() {
        let (mut a, mut b) = (Generator::new(7), Generator::new(7));
        for _ in 0..1_000 {
            let (a, b) = (a.record(), b.record());
            assert_eq!((a.key, a.value, a.fate), (b.key, b.value, b.fate));
        }
    }

    #[test]
    fn every_kind_of_record_comes_up_and_says_the_truth() {
        let mut generator = Generator::new(1);
        let mut kinds = [0; 3];
        for _ in 0..10_000 {
            let record = generator.record();
            let parsed = record.value.as_deref().map(serde_json::from_slice::<serde_json::Value>);
            match (&record.fate, parsed) {
                (Fate::Row(order), Some(Ok(json))) => {
                    kinds[0] += 1;
                    assert_eq!(json["id"], order.id);
                    let amount = json["amount"].as_f64().unwrap();
                    assert_eq!((amount * 100.0).round() as i64, order.cents);
                }
                (Fate::DeadLetter, Some(parsed)) => {
                    kinds[1] += 1;
                    assert!(parsed.is_err() || parsed.unwrap()["amount"].is_string());
                }
                (Fate::Tombstone, None) => kinds[2] += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!(kinds.iter().all(|n| *n > 100), "{kinds:?}");
    }
}
