//! A fixed part of the damage matrix on the real binary: in three of its eleven states all cells but
//! cuts and flips, in all states every 1597th cut and flip of each file of the checkpoint, and a
//! checkpoint that is lost as a whole at each step of a later batch. `millstream-campaign` runs all
//! of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use millstream_campaign::{Topic, Workplace, damage};
use millstream_testkit::skip_or_fail;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_refused_by_name_or_changes_nothing() {
    let topic = Topic::start().await;
    let workplace = Workplace::new(env!("CARGO_BIN_EXE_millstream"), &topic);
    let Some(place) = skip_or_fail("the deltalake reader", workplace) else { return };
    let report = damage::run(&place, damage::Part::Fixed, None, "cargo test --test damage");
    let cells = report.figures["cells"].as_u64().unwrap();
    assert!(cells > 1000, "only {cells} cells were run");
    assert_eq!(report.violations, 0, "{:#?}", report.broken());
}
