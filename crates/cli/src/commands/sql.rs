//! `millstream sql`: one read-only query over tables and topics.

use crate::args::{SqlArgs, SqlFormat};
use crate::commands::pipeline::{overrides, read, session, storage};
use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::json::LineDelimitedWriter;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use millstream_core::{Error, Result};
use std::io::{BufWriter, Write};
use std::process::ExitCode;

/// Runs the query and prints its rows.
///
/// # Errors
/// What is wrong with the query, or what reading reports.
pub async fn run(args: &SqlArgs) -> Result<ExitCode> {
    let text = match (&args.execute, &args.file) {
        (Some(text), _) => text.clone(),
        (None, Some(file)) => read(file)?,
        (None, None) => return Err(Error::invalid("SQL_NO_QUERY", "There is no query to run.")),
    };
    let session = session(&storage(&args.storage)?)?;
    let data = session.query_script(&text, &overrides(&args.set))?;
    let names = data.columns();
    let batches = data.collect().await?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let written = match args.format {
        SqlFormat::Table => table(&mut out, &names, &batches),
        SqlFormat::Csv => csv(&mut out, &names, &batches),
        SqlFormat::Json => json(&mut out, &batches),
    };
    match written.and_then(|()| Ok(out.flush()?)) {
        // Whoever reads the answer has had enough of it.
        Err(error) if closed(&*error) => Ok(ExitCode::SUCCESS),
        Err(error) if error.is::<ArrowError>() => {
            Err(Error::invalid("SQL_VALUE_UNPRINTABLE", "A value of the answer has no text.")
                .caused_by(error)
                .cure("Select something else of it, for example a CAST to BIGINT of a timestamp."))
        }
        Err(error) => Err(Error::unavailable("OUTPUT_UNWRITABLE", "The answer cannot be written.")
            .caused_by(error)),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

type Written = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn closed(error: &(dyn std::error::Error + 'static)) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Calls `take` with the cells of each row.
fn rows(
    batches: &[RecordBatch],
    null: &str,
    mut take: impl FnMut(Vec<String>) -> Written,
) -> Written {
    let format = FormatOptions::default().with_null(null);
    for batch in batches {
        let columns = batch
            .columns()
            .iter()
            .map(|c| ArrayFormatter::try_new(c.as_ref(), &format))
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            // Displayed, a value that has no text would be the words of an error.
            let cells = columns.iter().map(|column| column.value(row).try_to_string());
            take(cells.collect::<Result<Vec<_>, _>>()?)?;
        }
    }
    Ok(())
}

fn table(out: &mut impl Write, names: &[String], batches: &[RecordBatch]) -> Written {
    let mut widths: Vec<usize> = names.iter().map(|n| n.chars().count()).collect();
    rows(batches, "NULL", |row| {
        for (width, cell) in widths.iter_mut().zip(&row) {
            *width = (*width).max(cell.chars().count());
        }
        Ok(())
    })?;
    let rule = widths.iter().map(|w| format!("+{}", "-".repeat(w + 2))).collect::<String>() + "+";
    let line = |cells: &[String]| {
        let cells = widths.iter().zip(cells).map(|(w, c)| format!("| {c:<width$} ", width = *w));
        cells.collect::<String>() + "|"
    };
    writeln!(out, "{rule}\n{}\n{rule}", line(names))?;
    let mut count = 0u64;
    rows(batches, "NULL", |row| {
        count += 1;
        Ok(writeln!(out, "{}", line(&row))?)
    })?;
    let noun = if count == 1 { "row" } else { "rows" };
    Ok(writeln!(out, "{rule}\n{count} {noun}")?)
}

fn csv(out: &mut impl Write, names: &[String], batches: &[RecordBatch]) -> Written {
    let line = |cells: &[String]| cells.iter().map(|c| quoted(c)).collect::<Vec<_>>().join(",");
    writeln!(out, "{}", line(names))?;
    rows(batches, "", |row| Ok(writeln!(out, "{}", line(&row))?))
}

/// RFC 4180: quotes around what needs them.
fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

fn json(out: &mut impl Write, batches: &[RecordBatch]) -> Written {
    let mut writer = LineDelimitedWriter::new(out);
    // The writer takes an error's words for the value, quotes and all.
    rows(batches, "", |_| Ok(()))?;
    for batch in batches {
        writer.write(batch)?;
    }
    Ok(writer.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};
    use std::sync::Arc;

    fn batch() -> RecordBatch {
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
        let names: ArrayRef = Arc::new(StringArray::from(vec!["a,\"b\"", "c"]));
        RecordBatch::try_from_iter([("id", ids), ("name", names)]).unwrap()
    }

    fn printed(print: impl FnOnce(&mut Vec<u8>) -> Written) -> String {
        let mut out = Vec::new();
        print(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn answers_have_three_forms() {
        let names = ["id".to_owned(), "name".to_owned()];
        let text = printed(|out| table(out, &names, &[batch()]));
        assert!(text.contains("| 1    | a,\"b\" |"), "{text}");
        assert!(text.ends_with("2 rows\n"), "{text}");
        let text = printed(|out| csv(out, &names, &[batch()]));
        assert_eq!(text, "id,name\n1,\"a,\"\"b\"\"\"\n,c\n");
        let text = printed(|out| json(out, &[batch()]));
        assert_eq!(text, "{\"id\":1,\"name\":\"a,\\\"b\\\"\"}\n{\"name\":\"c\"}\n");
    }
    #[test]
    fn a_value_without_a_text_is_an_error_in_every_form() {
        let times = TimestampMicrosecondArray::from(vec![0, i64::MAX]).with_timezone("UTC");
        let times: ArrayRef = Arc::new(times);
        let batch = RecordBatch::try_from_iter([("time", times)]).unwrap();
        let names = ["time".to_owned()];
        let mut out = Vec::new();
        let answers = [
            table(&mut out, &names, std::slice::from_ref(&batch)),
            csv(&mut out, &names, std::slice::from_ref(&batch)),
            json(&mut out, std::slice::from_ref(&batch)),
        ];
        for answer in answers {
            assert!(answer.unwrap_err().is::<ArrowError>());
        }
        let out = String::from_utf8(out).unwrap();
        assert!(!out.contains("ERROR"), "{out}");
    }
}
