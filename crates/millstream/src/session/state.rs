//! How DataFusion is set up.

use super::Conf;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::prelude::SessionConfig;
use millstream_functions::Functions;
use std::sync::Arc;

/// Rows of one Arrow batch.
const BATCH_ROWS: usize = 8_192;

/// For templates of streaming queries: one partition while planning, so that the optimiser inserts
/// no repartitioning; nothing that carries state from one execution to the next.
pub(super) fn streaming(
    conf: &Conf,
    functions: &Functions,
    runtime: &Arc<RuntimeEnv>,
) -> SessionState {
    build(base(conf).with_target_partitions(1), functions, runtime)
}

/// For batch queries.
pub(super) fn batch(conf: &Conf, functions: &Functions, runtime: &Arc<RuntimeEnv>) -> SessionState {
    build(base(conf).with_target_partitions(conf.parallelism.max(1)), functions, runtime)
}

fn base(conf: &Conf) -> SessionConfig {
    let mut config = SessionConfig::new().with_batch_size(BATCH_ROWS);
    let options = config.options_mut();
    options.execution.time_zone = Some(conf.time_zone.clone());
    options.execution.enable_ansi_mode = conf.ansi;
    options.execution.collect_statistics = false;
    options.execution.parquet.schema_force_view_types = false;
    options.optimizer.enable_dynamic_filter_pushdown = false;
    options.optimizer.enable_join_dynamic_filter_pushdown = false;
    options.optimizer.enable_topk_dynamic_filter_pushdown = false;
    options.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
    config
}

fn build(config: SessionConfig, functions: &Functions, runtime: &Arc<RuntimeEnv>) -> SessionState {
    SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(Arc::clone(runtime))
        .with_default_features()
        .with_scalar_functions(functions.scalar_udfs())
        .build()
}
