//! Planning a write before the first batch: what the table will look like, and what each of its
//! columns is filled with.

use crate::features;
use crate::log::actions::{Format, Metadata, Protocol};
use crate::log::snapshot::Snapshot;
use crate::options::DeltaSinkOptions;
use crate::properties;
use crate::schema::{self, Conversion};
use millstream_core::env::Env;
use millstream_core::{Error, Result};
use millstream_types::{DataType, StructType};

/// What a column of the table is filled with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnSource {
    /// A column of the query, by position, converted.
    Query {
        /// Position in the query's schema.
        index: usize,
        /// How its values become the table's.
        conversion: Conversion,
    },
    /// Nulls: the query does not have the column.
    Null,
}

/// The table that the first commit creates.
#[derive(Debug, Clone)]
pub(crate) struct NewTable {
    pub protocol: Protocol,
    pub metadata: Metadata,
}

/// What a sink writes and how.
#[derive(Debug, Clone)]
pub(crate) struct WritePlan {
    /// The table's schema as the write needs it: with the columns that `mergeSchema` adds.
    pub schema: StructType,
    pub partition_columns: Vec<String>,
    /// One per column of `schema`.
    pub columns: Vec<ColumnSource>,
    pub properties: std::collections::BTreeMap<String, String>,
    pub create: Option<NewTable>,
}

/// Plans a write of `query` into `table`, or into a new table.
///
/// # Errors
/// The codes of the schema rules; see [`crate::DeltaSink::prepare`].
pub(crate) fn plan(
    table: Option<&Snapshot>,
    options: &DeltaSinkOptions,
    query: &StructType,
    env: &dyn Env,
) -> Result<WritePlan> {
    schema::check_query_schema(query)?;
    match table {
        Some(table) => plan_existing(table, options, query),
        None => plan_new(options, query, env),
    }
}

fn plan_existing(
    table: &Snapshot,
    options: &DeltaSinkOptions,
    query: &StructType,
) -> Result<WritePlan> {
    features::check_writable(&table.protocol, &table.metadata, &table.schema)
        .map_err(|e| e.context(options.path.display()))?;
    let partition_columns = table.metadata.partition_columns.clone();
    if let Some(given) = &options.partition_by {
        check_same_partitioning(given, &partition_columns)?;
    }
    let schema = target_schema(table, options.merge_schema, query)
        .map_err(|e| e.context(options.path.display()))?;
    check_definition(table, options)?;
    Ok(WritePlan {
        columns: columns_for(&schema, query)?,
        schema,
        partition_columns,
        properties: table.metadata.configuration.clone(),
        create: None,
    })
}

/// Whether an existing table keeps what its definition promises. A constraint that it lacks would be
/// broken in silence; other differences change no row, and are only said.
fn check_definition(table: &Snapshot, options: &DeltaSinkOptions) -> Result<()> {
    let path = options.path.display();
    for column in options.declared.iter().flat_map(|declared| &declared.fields) {
        let known = table.schema.fields.iter().find(|f| schema::same_name(&f.name, &column.name));
        let Some(known) = known else { continue };
        if known.nullable && !column.nullable {
            return Err(Error::invalid(
                "DELTA_NOT_NULL_COLUMN_NULLABLE",
                format!(
                    "The column `{}` is defined as NOT NULL, and in the table at `{path}` it may be \
                     NULL.",
                    column.name
                ),
            )
            .cure(
                "Leave NOT NULL out, or start the table over with --full-refresh: a constraint is \
                 not added to a table that exists.",
            ));
        }
        if known.data_type.as_nullable() != column.data_type.as_nullable() {
            tracing::warn!(
                table = %path, column = known.name, defined = column.data_type.sql(),
                is = known.data_type.sql(), "the table keeps its type of the column"
            );
        }
    }
    for (name, value) in properties::accept(&options.properties)? {
        if table.metadata.configuration.get(&name) != Some(&value) {
            tracing::warn!(
                table = %path, property = name, defined = value,
                is = table.metadata.configuration.get(&name), "the table keeps its property"
            );
        }
    }
    if options.comment.is_some() && options.comment != table.metadata.description {
        tracing::warn!(table = %path, "the table keeps its comment");
    }
    Ok(())
}

fn plan_new(options: &DeltaSinkOptions, query: &StructType, env: &dyn Env) -> Result<WritePlan> {
    if !options.create {
        return Err(Error::invalid(
            "DELTA_TABLE_NOT_FOUND",
            format!("`{}` is not a Delta table.", options.path.display()),
        )
        .cure("Check the path."));
    }
    let schema = match &options.declared {
        Some(declared) => {
            schema::check_query_schema(declared)?;
            refuse_extra(declared, query, options.merge_schema, None)?;
            if options.merge_schema { schema::merge(declared, query) } else { declared.clone() }
        }
        None => schema::for_new_table(query),
    };
    let partition_columns =
        resolve_partitioning(&schema, options.partition_by.as_deref().unwrap_or_default())?;
    let properties = properties::accept(&options.properties)?;
    let change_data_feed = properties::flag(&properties, "delta.enableChangeDataFeed", false);
    let metadata = Metadata {
        id: env.uuid().to_string(),
        name: options.name.clone(),
        description: options.comment.clone(),
        format: Format::default(),
        schema_string: schema.to_json(),
        partition_columns: partition_columns.clone(),
        configuration: properties.clone(),
        created_time: Some(env.now_ms()),
    };
    let protocol = features::protocol_for(&schema, change_data_feed);
    features::check_writable(&protocol, &metadata, &schema)?;
    Ok(WritePlan {
        columns: columns_for(&schema, query)?,
        schema,
        partition_columns,
        properties,
        create: Some(NewTable { protocol, metadata }),
    })
}

/// The table's schema after this write, or the refusal of what the query has too much.
fn target_schema(table: &Snapshot, merge: bool, query: &StructType) -> Result<StructType> {
    refuse_extra(&table.schema, query, merge, Some(&table.metadata.id))?;
    if !merge {
        return Ok(table.schema.clone());
    }
    let merged = schema::merge(&table.schema, query);
    if features::uses_timestamp_ntz(&merged) && !features::uses_timestamp_ntz(&table.schema) {
        let has = table.protocol.writer_features.iter().flatten();
        if !has.into_iter().any(|feature| feature == features::TIMESTAMP_NTZ) {
            return Err(features::unsupported(
                "timestampNtz (mergeSchema would have to upgrade the table's protocol)",
            ));
        }
    }
    Ok(merged)
}

fn refuse_extra(
    table: &StructType,
    query: &StructType,
    merge: bool,
    id: Option<&str>,
) -> Result<()> {
    if merge {
        return Ok(());
    }
    let extra = schema::extra_columns(table, query);
    if extra.is_empty() {
        return Ok(());
    }
    let table_id = id.map_or_else(String::new, |id| format!(" (Table ID: {id})"));
    Err(Error::invalid(
        "DELTA_SCHEMA_MISMATCH",
        format!(
            "A schema mismatch detected when writing to the Delta table{table_id}: the table has \
             no column {}.\nTable schema:\n{}\nData schema:\n{}",
            extra.join(", "),
            table.tree_string(),
            query.tree_string()
        ),
    )
    .cure("To add the columns to the table, set the option mergeSchema to true."))
}

/// Matches the query's columns to the table's.
fn columns_for(table: &StructType, query: &StructType) -> Result<Vec<ColumnSource>> {
    let mut columns = Vec::with_capacity(table.fields.len());
    for target in &table.fields {
        let found = query
            .fields
            .iter()
            .enumerate()
            .find(|(_, field)| schema::same_name(&field.name, &target.name));
        let Some((index, field)) = found else {
            if !target.nullable {
                return Err(Error::invalid(
                    "DELTA_MISSING_NOT_NULL_COLUMN_VALUE",
                    format!(
                        "Column {}, which has a NOT NULL constraint, is missing from the data \
                         being written into the table.",
                        target.name
                    ),
                )
                .cure("Select a value for it."));
            }
            columns.push(ColumnSource::Null);
            continue;
        };
        let Some(conversion) = schema::store_assignment(&field.data_type, &target.data_type) else {
            return Err(Error::invalid(
                "DELTA_FAILED_TO_MERGE_FIELDS",
                format!(
                    "Failed to merge fields '{}' and '{}': the table's column is {}, the data's \
                     is {}, which is not converted when it is stored.",
                    target.name,
                    field.name,
                    target.data_type.sql(),
                    field.data_type.sql()
                ),
            )
            .cure("Cast the column in the query."));
        };
        columns.push(ColumnSource::Query { index, conversion });
    }
    Ok(columns)
}

/// Finds the partition columns in the schema and takes over its spelling.
fn resolve_partitioning(schema: &StructType, given: &[String]) -> Result<Vec<String>> {
    let mut resolved: Vec<String> = Vec::with_capacity(given.len());
    for name in given {
        let Some(field) = schema::find(schema, name) else {
            let known: Vec<&str> = schema.fields.iter().map(|f| f.name.as_str()).collect();
            return Err(Error::invalid(
                "DELTA_PARTITION_COLUMN_NOT_FOUND",
                format!("Partition column `{name}` not found in schema [{}].", known.join(", ")),
            )
            .cure("Name a column of the query."));
        };
        if field.data_type.is_nested() || field.data_type == DataType::Binary {
            return Err(Error::invalid(
                "DELTA_INVALID_PARTITION_COLUMN_TYPE",
                format!(
                    "Using column {} of type {} as a partition column is not supported.",
                    field.name,
                    field.data_type.sql()
                ),
            )
            .cure("Partition by a column of a simple type."));
        }
        if resolved.contains(&field.name) {
            return Err(Error::invalid(
                "DELTA_DUPLICATE_COLUMNS_FOUND",
                format!("Found duplicate column(s) in the partition columns: {}.", field.name),
            ));
        }
        resolved.push(field.name.clone());
    }
    if !resolved.is_empty() && resolved.len() == schema.fields.len() {
        return Err(Error::invalid(
            "DELTA_CANNOT_USE_ALL_COLUMNS_FOR_PARTITION",
            "Cannot use all columns for partition columns.",
        )
        .cure("Leave at least one column in the files."));
    }
    Ok(resolved)
}

fn check_same_partitioning(given: &[String], table: &[String]) -> Result<()> {
    let same = given.len() == table.len()
        && given.iter().zip(table).all(|(given, table)| schema::same_name(given, table));
    if same {
        return Ok(());
    }
    Err(Error::invalid(
        "DELTA_PARTITION_MISMATCH",
        format!(
            "Partition columns do not match the partition columns of the table.\nGiven: [{}]\n\
             Table: [{}]",
            given.join(", "),
            table.join(", ")
        ),
    )
    .cure("Leave partitionBy out, or give the table's own columns."))
}
