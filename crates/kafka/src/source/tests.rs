use super::*;
use crate::config::ReadMode;
use millstream_core::env::SystemEnv;

fn source(pairs: &[(&str, &str)]) -> Arc<KafkaSource> {
    let always = [("kafka.bootstrap.servers", "h:1"), ("subscribe", "t")];
    let options = always.iter().chain(pairs).copied().collect();
    let config = KafkaConfig::from_options(&options, ReadMode::Stream).unwrap();
    KafkaSource::new(config, Arc::new(SystemEnv))
}

#[test]
fn sizes_are_learnt_from_what_was_read_and_recent_data_counts_more() {
    let tp = TopicPartition::new("t", 0);
    let known = |source: &KafkaSource| source.state.lock().bytes_per_offset.get(&tp).copied();

    let limited = source(&[("maxBytesPerTrigger", "100")]);
    for nothing in [0, -3] {
        limited.observe(&tp, 100, nothing);
        assert_eq!(known(&limited), None);
    }
    limited.observe(&tp, 1000, 10);
    assert_eq!(known(&limited), Some(100.0));
    limited.observe(&tp, 2000, 10);
    let learnt = known(&limited).unwrap();
    assert!((learnt - 130.0).abs() < 1e-9, "{learnt}");

    let unlimited = source(&[]);
    unlimited.observe(&tp, 1000, 10);
    assert_eq!(known(&unlimited), None);
}
