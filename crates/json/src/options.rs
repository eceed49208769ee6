//! Options of `from_json`, `to_json` and `schema_of_json`.

use crate::pattern::Pattern;
use crate::text::Escapes;
use crate::zone::Zone;
use millstream_core::options::{OptionMap, OptionSpec, refuse_unknown};
use millstream_core::{Error, Result};

/// What the session contributes to the formats of JSON.
#[derive(Debug, Clone)]
pub struct SessionFormat {
    /// `spark.sql.session.timeZone`.
    pub time_zone: String,
    /// `spark.sql.columnNameOfCorruptRecord`.
    pub corrupt_column_default: String,
}

impl Default for SessionFormat {
    fn default() -> Self {
        SessionFormat { time_zone: "UTC".into(), corrupt_column_default: "_corrupt_record".into() }
    }
}

/// What to do with a record that does not match the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nulls for what cannot be read.
    Permissive,
    /// The first such record is an error.
    FailFast,
}

/// Which texts count as JSON, beyond the standard's.
#[derive(Debug, Clone)]
pub(crate) struct Syntax {
    pub(crate) comments: bool,
    pub(crate) unquoted_names: bool,
    pub(crate) single_quotes: bool,
    pub(crate) leading_zeros: bool,
    pub(crate) non_numeric_numbers: bool,
    pub(crate) any_escape: bool,
    pub(crate) control_characters: bool,
    pub(crate) nesting_depth_max: usize,
    pub(crate) number_length_max: usize,
    pub(crate) string_length_max: usize,
}

impl Default for Syntax {
    fn default() -> Self {
        Syntax {
            comments: false,
            unquoted_names: false,
            single_quotes: true,
            leading_zeros: false,
            non_numeric_numbers: true,
            any_escape: false,
            control_characters: false,
            nesting_depth_max: 1000,
            number_length_max: 1000,
            string_length_max: 0x7fff_ffff,
        }
    }
}

/// Options of [`crate::FromJson`].
#[derive(Debug, Clone)]
pub struct FromJsonOptions {
    pub(crate) mode: Mode,
    pub(crate) corrupt_column: String,
    pub(crate) zone: Zone,
    pub(crate) timestamp: Option<Pattern>,
    pub(crate) timestamp_ntz: Option<Pattern>,
    pub(crate) date: Option<Pattern>,
    pub(crate) fallback: Option<bool>,
    pub(crate) syntax: Syntax,
}

/// Options of [`crate::to_json`].
#[derive(Debug, Clone)]
pub struct ToJsonOptions {
    pub(crate) zone: Zone,
    pub(crate) timestamp: Pattern,
    pub(crate) timestamp_ntz: Pattern,
    pub(crate) date: Pattern,
    pub(crate) ignore_null_fields: bool,
    pub(crate) escapes: Escapes,
}

/// Options of [`crate::schema_of_json`].
#[derive(Debug, Clone)]
pub struct SchemaOfJsonOptions {
    pub(crate) syntax: Syntax,
    pub(crate) primitives_as_string: bool,
    pub(crate) prefers_decimal: bool,
    pub(crate) drop_field_if_all_null: bool,
}

const fn spec(name: &'static str, default: &'static str, meaning: &'static str) -> OptionSpec {
    OptionSpec { name, scope: "from_json", default, meaning, secret: false }
}

/// The same for another function.
const fn of(function: &'static str, spec: OptionSpec) -> OptionSpec {
    OptionSpec { scope: function, ..spec }
}

/// The options that `from_json` knows.
pub const FROM_JSON_OPTIONS: &[OptionSpec] = &[
    spec(
        "mode",
        "PERMISSIVE",
        "PERMISSIVE gives nulls for what cannot be read; FAILFAST ends the query. \
         DROPMALFORMED is refused, as in Spark.",
    ),
    spec(
        "columnNameOfCorruptRecord",
        "spark.sql.columnNameOfCorruptRecord",
        "Name of the STRING field of the schema that takes the text of records with errors.",
    ),
    spec("timeZone", "spark.sql.session.timeZone", "Zone of timestamps without one."),
    spec("timestampFormat", "", "Java pattern of TIMESTAMP; without it ISO 8601 forms are read."),
    spec("timestampNTZFormat", "", "Java pattern of TIMESTAMP_NTZ."),
    spec("dateFormat", "", "Java pattern of DATE."),
    spec(
        "enableDateTimeParsingFallback",
        "true without a pattern",
        "Whether text that does not match a pattern is tried as an ISO 8601 form.",
    ),
    spec("allowComments", "false", "Accepts Java comments."),
    spec("allowUnquotedFieldNames", "false", "Accepts names without quotes."),
    spec("allowSingleQuotes", "true", "Accepts single quotes in place of double ones."),
    spec("allowNumericLeadingZeros", "false", "Accepts numbers such as 007."),
    spec("allowNonNumericNumbers", "true", "Accepts NaN, Infinity and -Infinity as numbers."),
    spec("allowBackslashEscapingAnyCharacter", "false", "Accepts a backslash before anything."),
    spec("allowUnquotedControlChars", "false", "Accepts control characters inside strings."),
    spec("maxNestingDepth", "1000", "Deeper documents are malformed."),
    spec("maxNumLen", "1000", "A number with more digits is malformed."),
    spec("maxStringLen", "2147483647", "A longer string does not match its field."),
    spec("primitivesAsString", "false", "Only for inferring a schema; no effect on from_json."),
    spec("prefersDecimal", "false", "Only for inferring a schema; no effect on from_json."),
    spec("dropFieldIfAllNull", "false", "Only for inferring a schema; no effect on from_json."),
    spec("inferTimestamp", "false", "Only for inferring a schema; no effect on from_json."),
    spec("samplingRatio", "1.0", "Only for inferring a schema; no effect on from_json."),
    spec("multiLine", "false", "Only for files; no effect on from_json."),
    spec("lineSep", "", "Only for files; no effect on from_json."),
    spec("locale", "en-US", "Language of month names and AM/PM; only en-US."),
];

/// The options that `to_json` knows.
pub const TO_JSON_OPTIONS: &[OptionSpec] = &[
    of(
        "to_json",
        spec("timeZone", "spark.sql.session.timeZone", "Zone in which timestamps are printed."),
    ),
    of(
        "to_json",
        spec("timestampFormat", "yyyy-MM-dd'T'HH:mm:ss[.SSS][XXX]", "Java pattern of TIMESTAMP."),
    ),
    of(
        "to_json",
        spec("timestampNTZFormat", "yyyy-MM-dd'T'HH:mm:ss[.SSS]", "Java pattern of TIMESTAMP_NTZ."),
    ),
    of("to_json", spec("dateFormat", "yyyy-MM-dd", "Java pattern of DATE.")),
    of("to_json", spec("ignoreNullFields", "true", "Leaves null fields of structs out.")),
    of(
        "to_json",
        spec("writeNonAsciiCharacterAsCodePoint", "false", "Escapes characters outside ASCII."),
    ),
    of("to_json", spec("pretty", "false", "Printing over several lines; only false.")),
    of("to_json", spec("locale", "en-US", "Language of month names and AM/PM; only en-US.")),
];

/// The options that `schema_of_json` knows.
pub const SCHEMA_OF_JSON_OPTIONS: &[OptionSpec] = &[
    of(
        "schema_of_json",
        spec("primitivesAsString", "false", "Infers STRING for numbers and booleans."),
    ),
    of(
        "schema_of_json",
        spec("prefersDecimal", "false", "Infers DECIMAL for numbers with a fraction."),
    ),
    of(
        "schema_of_json",
        spec("dropFieldIfAllNull", "false", "Leaves out fields that are only null or empty."),
    ),
    of("schema_of_json", spec("allowComments", "false", "Accepts Java comments.")),
    of("schema_of_json", spec("allowUnquotedFieldNames", "false", "Accepts names without quotes.")),
    of(
        "schema_of_json",
        spec("allowSingleQuotes", "true", "Accepts single quotes in place of double ones."),
    ),
    of("schema_of_json", spec("allowNumericLeadingZeros", "false", "Accepts numbers such as 007.")),
    of(
        "schema_of_json",
        spec("allowNonNumericNumbers", "true", "Accepts NaN, Infinity and -Infinity as numbers."),
    ),
    of(
        "schema_of_json",
        spec("allowBackslashEscapingAnyCharacter", "false", "Accepts a backslash before anything."),
    ),
    of(
        "schema_of_json",
        spec("allowUnquotedControlChars", "false", "Accepts control characters inside strings."),
    ),
    of("schema_of_json", spec("maxNestingDepth", "1000", "Deeper documents are malformed.")),
    of("schema_of_json", spec("maxNumLen", "1000", "A number with more digits is malformed.")),
    of("schema_of_json", spec("maxStringLen", "2147483647", "A longer string is malformed.")),
];

impl FromJsonOptions {
    /// Checks and reads the options.
    ///
    /// # Errors
    /// `OPTION_UNKNOWN`, `OPTION_INVALID`, `PARSE_MODE_UNSUPPORTED`, and
    /// `DATETIME_PATTERN_UNSUPPORTED` for a pattern letter that is not supported.
    pub fn parse(options: &OptionMap, session: &SessionFormat) -> Result<Self> {
        refuse_unknown(options, &[FROM_JSON_OPTIONS], "from_json")?;
        refuse_locale(options)?;
        let read = |name: &str| options.get(name).map(|p| Pattern::for_reading(name, p));
        let corrupt = options.get("columnNameOfCorruptRecord");
        Ok(FromJsonOptions {
            mode: mode(options)?,
            corrupt_column: corrupt.unwrap_or(&session.corrupt_column_default).into(),
            zone: zone(options, session)?,
            timestamp: read("timestampFormat").transpose()?,
            timestamp_ntz: read("timestampNTZFormat").transpose()?,
            date: read("dateFormat").transpose()?,
            fallback: flag_if_given(options, "enableDateTimeParsingFallback")?,
            syntax: Syntax::parse(options)?,
        })
    }

    /// The mode.
    pub fn mode(&self) -> Mode {
        self.mode
    }
}

impl Default for FromJsonOptions {
    fn default() -> Self {
        FromJsonOptions {
            mode: Mode::Permissive,
            corrupt_column: SessionFormat::default().corrupt_column_default,
            zone: Zone::UTC,
            timestamp: None,
            timestamp_ntz: None,
            date: None,
            fallback: None,
            syntax: Syntax::default(),
        }
    }
}

impl ToJsonOptions {
    /// Checks and reads the options.
    ///
    /// # Errors
    /// As [`FromJsonOptions::parse`].
    pub fn parse(options: &OptionMap, session: &SessionFormat) -> Result<Self> {
        refuse_unknown(options, &[TO_JSON_OPTIONS], "to_json")?;
        refuse_locale(options)?;
        if flag(options, "pretty", false)? {
            let cause = "to_json does not support the option `pretty`.";
            return Err(Error::invalid("OPTION_INVALID", cause));
        }
        let pattern = |name: &str, default: &str| {
            Pattern::for_writing(name, options.get(name).unwrap_or(default))
        };
        Ok(ToJsonOptions {
            zone: zone(options, session)?,
            timestamp: pattern("timestampFormat", "yyyy-MM-dd'T'HH:mm:ss[.SSS][XXX]")?,
            timestamp_ntz: pattern("timestampNTZFormat", "yyyy-MM-dd'T'HH:mm:ss[.SSS]")?,
            date: pattern("dateFormat", "yyyy-MM-dd")?,
            ignore_null_fields: flag(options, "ignoreNullFields", true)?,
            escapes: match flag(options, "writeNonAsciiCharacterAsCodePoint", false)? {
                true => Escapes::NonAscii,
                false => Escapes::None,
            },
        })
    }
}

impl SchemaOfJsonOptions {
    /// Checks and reads the options.
    ///
    /// # Errors
    /// `OPTION_UNKNOWN`, `OPTION_INVALID`.
    pub fn parse(options: &OptionMap) -> Result<Self> {
        refuse_unknown(options, &[SCHEMA_OF_JSON_OPTIONS], "schema_of_json")?;
        Ok(SchemaOfJsonOptions {
            syntax: Syntax::parse(options)?,
            primitives_as_string: flag(options, "primitivesAsString", false)?,
            prefers_decimal: flag(options, "prefersDecimal", false)?,
            drop_field_if_all_null: flag(options, "dropFieldIfAllNull", false)?,
        })
    }
}

impl Syntax {
    fn parse(options: &OptionMap) -> Result<Self> {
        let default = Syntax::default();
        Ok(Syntax {
            comments: flag(options, "allowComments", default.comments)?,
            unquoted_names: flag(options, "allowUnquotedFieldNames", default.unquoted_names)?,
            single_quotes: flag(options, "allowSingleQuotes", default.single_quotes)?,
            leading_zeros: flag(options, "allowNumericLeadingZeros", default.leading_zeros)?,
            non_numeric_numbers: flag(options, "allowNonNumericNumbers", true)?,
            any_escape: flag(options, "allowBackslashEscapingAnyCharacter", default.any_escape)?,
            control_characters: flag(options, "allowUnquotedControlChars", false)?,
            nesting_depth_max: limit(options, "maxNestingDepth", default.nesting_depth_max)?,
            number_length_max: limit(options, "maxNumLen", default.number_length_max)?,
            string_length_max: limit(options, "maxStringLen", default.string_length_max)?,
        })
    }
}

fn mode(options: &OptionMap) -> Result<Mode> {
    match options.get("mode").unwrap_or("PERMISSIVE").to_ascii_uppercase().as_str() {
        "FAILFAST" => Ok(Mode::FailFast),
        "DROPMALFORMED" => Err(Error::invalid(
            "PARSE_MODE_UNSUPPORTED",
            "The function `from_json` doesn't support the DROPMALFORMED mode.",
        )
        .cure("Acceptable modes are PERMISSIVE and FAILFAST.")),
        // Spark takes every other text for PERMISSIVE.
        _ => Ok(Mode::Permissive),
    }
}

fn zone(options: &OptionMap, session: &SessionFormat) -> Result<Zone> {
    let name = options.get("timeZone").unwrap_or(&session.time_zone);
    Zone::parse(name).ok_or_else(|| {
        Error::invalid("OPTION_INVALID", format!("`timeZone`: `{name}` is not a time zone."))
            .cure("Use a name such as `Europe/Berlin`, or an offset such as `+01:00`.")
    })
}

fn refuse_locale(options: &OptionMap) -> Result<()> {
    match options.get("locale") {
        Some(locale) if !locale.eq_ignore_ascii_case("en-US") => Err(Error::invalid(
            "OPTION_INVALID",
            format!("`locale`: only `en-US` is supported, not `{locale}`."),
        )),
        _ => Ok(()),
    }
}

fn flag(options: &OptionMap, name: &str, default: bool) -> Result<bool> {
    Ok(flag_if_given(options, name)?.unwrap_or(default))
}

fn flag_if_given(options: &OptionMap, name: &str) -> Result<Option<bool>> {
    match options.get(name).map(str::to_ascii_lowercase).as_deref() {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(other) => Err(Error::invalid(
            "OPTION_INVALID",
            format!("`{name}` must be true or false, not `{other}`."),
        )),
    }
}

fn limit(options: &OptionMap, name: &str, default: usize) -> Result<usize> {
    let Some(text) = options.get(name) else { return Ok(default) };
    text.parse::<u32>().ok().and_then(|n| usize::try_from(n).ok()).ok_or_else(|| {
        Error::invalid("OPTION_INVALID", format!("`{name}` must be a number, not `{text}`."))
    })
}
