//! Tables that a pipeline file defines, and what their definitions ask of the queries.

use millstream_sql::ast::{CreateStreamingTable, Ident};
use millstream_sql::{Diagnostic, Span};
use millstream_types::{DataType, StructField, StructType};

/// Characters that no column of a Delta table may have in its name.
const FORBIDDEN: &[char] = &[' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '='];

/// A streaming table.
#[derive(Debug, Clone, PartialEq)]
pub struct PipelineTable {
    /// Name, with dots where it was written in parts.
    pub name: String,
    /// `LOCATION`, as written.
    pub location: Option<String>,
    /// `PARTITIONED BY`.
    pub partition_by: Option<Vec<String>>,
    /// `COMMENT`.
    pub comment: Option<String>,
    /// `TBLPROPERTIES`.
    pub properties: Vec<(String, String)>,
    /// Columns, where the statement declares them.
    pub declared: Option<StructType>,
}

/// The table of a statement.
pub(super) fn define(create: &CreateStreamingTable) -> Result<PipelineTable, Diagnostic> {
    if let Some(format) = &create.using
        && !format.name.eq_ignore_ascii_case("delta")
    {
        let message = format!("Streaming tables are Delta tables, not `{}`.", format.name);
        return Err(Diagnostic::new("UNSUPPORTED_TABLE_FORMAT", message, format.span)
            .cure("Write USING delta, or leave USING out."));
    }
    let mut declared = Vec::new();
    for column in &create.columns {
        let data_type = crate::plan::analyze::data_type(&column.data_type)?;
        let taken = declared.iter().any(|f: &StructField| super::same(&f.name, &column.name.name));
        if taken {
            let message = format!("The column `{}` already exists.", column.name.name);
            return Err(Diagnostic::new("COLUMN_ALREADY_EXISTS", message, column.name.span));
        }
        let mut field = StructField::new(&column.name.name, data_type, column.nullable);
        if let Some(comment) = &column.comment {
            field = field.with_comment(comment);
        }
        declared.push(field);
    }
    let name: Vec<&str> = create.name.iter().map(|n| n.name.as_str()).collect();
    let name = name.join(".");
    if !is_directory_name(&name) {
        let span = create.name.first().map_or(Span::NONE, |n| n.span);
        let message = format!("`{name}` cannot be a table's name: it names the table's directory.");
        return Err(Diagnostic::new("INVALID_TABLE_NAME", message, span));
    }
    Ok(PipelineTable {
        name,
        location: create.location.clone(),
        partition_by: create
            .partitioned_by
            .as_ref()
            .map(|columns| columns.iter().map(|c| c.name.clone()).collect()),
        comment: create.comment.clone(),
        properties: create.properties.iter().map(|(n, v)| (n.name.clone(), v.clone())).collect(),
        declared: (!declared.is_empty()).then(|| StructType::new(declared)),
    })
}

/// Whether a name can be that of a directory of its own, below the one it is meant for.
pub(super) fn is_directory_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 200
        && !name.contains(['/', '\\', '\0'])
        && !name.starts_with(['.', '_'])
        && !name.chars().any(char::is_control)
}

/// Whether a query's rows can go into the table.
pub(super) fn check_schema(
    table: &PipelineTable,
    schema: &StructType,
    query: Span,
    create: Option<&CreateStreamingTable>,
) -> Result<(), Diagnostic> {
    for field in &schema.fields {
        if field.data_type == DataType::Null {
            let message = format!("The column `{}` has no type: it is always NULL.", field.name);
            return Err(Diagnostic::new("DELTA_NULL_SCHEMA_IN_STREAMING_WRITE", message, query)
                .cure(format!("Write CAST(NULL AS STRING) AS {}.", field.name)));
        }
        if field.name.contains(FORBIDDEN) || field.name.is_empty() {
            let message = format!(
                "The column name \"{}\" contains one of the characters ` ,;{{}}()\\n\\t=`, which \
                 Delta does not allow.",
                field.name
            );
            return Err(Diagnostic::new(
                "DELTA_INVALID_CHARACTERS_IN_COLUMN_NAMES",
                message,
                query,
            )
            .cure("Give the column a name with AS."));
        }
    }
    if let Some(declared) = &table.declared {
        check_declared(table, declared, schema, query)?;
    }
    let columns = table.declared.as_ref().unwrap_or(schema);
    let written: &[Ident] = create.and_then(|c| c.partitioned_by.as_deref()).unwrap_or_default();
    for (at, partition) in table.partition_by.iter().flatten().enumerate() {
        let span = written.get(at).map_or(query, |i| i.span);
        let known = || columns.fields.iter().map(|f| f.name.as_str());
        let Some(at) = columns.index_of_ignoring_case(partition) else {
            let message = format!("The partition column `{partition}` is no column of the table.");
            return Err(Diagnostic::new("PARTITION_COLUMN_NOT_FOUND", message, span)
                .suggest(partition, known()));
        };
        let field = columns.fields.get(at);
        if field.is_some_and(|f| f.data_type.is_nested()) {
            let message = format!("The column `{partition}` is nested and cannot partition.");
            return Err(Diagnostic::new("INVALID_PARTITION_COLUMN_DATA_TYPE", message, span));
        }
    }
    let partitions = table.partition_by.as_ref().map_or(0, Vec::len);
    if partitions > 0 && partitions >= columns.fields.len() {
        let message = "Cannot use all columns for partition columns.";
        return Err(Diagnostic::new("ALL_PARTITION_COLUMNS_NOT_ALLOWED", message, query));
    }
    Ok(())
}

fn check_declared(
    table: &PipelineTable,
    declared: &StructType,
    schema: &StructType,
    query: Span,
) -> Result<(), Diagnostic> {
    for field in &schema.fields {
        let found = declared.index_of_ignoring_case(&field.name);
        let Some(column) = found.and_then(|at| declared.fields.get(at)) else {
            let message = format!(
                "The query yields a column `{}` that the table `{}` does not declare.",
                field.name, table.name
            );
            let names = declared.fields.iter().map(|f| f.name.as_str());
            return Err(Diagnostic::new("INCOMPATIBLE_DATA_FOR_TABLE", message, query)
                .suggest(&field.name, names));
        };
        if millstream_delta::store_assignment(&field.data_type, &column.data_type).is_none() {
            let message = format!(
                "Cannot safely cast `{}` \"{}\" to \"{}\".",
                field.name,
                field.data_type.sql(),
                column.data_type.sql()
            );
            return Err(Diagnostic::new("INCOMPATIBLE_DATA_FOR_TABLE", message, query)
                .cure("Cast it in the query."));
        }
    }
    Ok(())
}
