//! Every function, by group. The book's list of functions is made from this.

use crate::def::Def;
use crate::{
    arithmetic, batch_time, building, collection, conditional, datetime, encoding, format, hash,
    json, math, nested, regexp, special, string,
};

/// A group of functions in the book.
pub(crate) struct Group {
    title: &'static str,
    defs: &'static [Def],
}

const GROUPS: &[Group] = &[
    Group { title: "Arithmetic", defs: arithmetic::DEFS },
    Group { title: "Conditions and NULL", defs: conditional::DEFS },
    Group { title: "Time of the batch", defs: batch_time::DEFS },
    Group { title: "Structs, arrays and maps", defs: nested::DEFS },
    Group { title: "Collections", defs: collection::DEFS },
    Group { title: "Collections", defs: building::DEFS },
    Group { title: "Text", defs: string::DEFS },
    Group { title: "Text", defs: encoding::DEFS },
    Group { title: "Regular expressions", defs: regexp::DEFS },
    Group { title: "Mathematics", defs: math::DEFS },
    Group { title: "Dates and times", defs: datetime::DEFS },
    Group { title: "Dates and times", defs: format::DEFS },
    Group { title: "Hashes", defs: hash::DEFS },
    Group { title: "JSON", defs: json::DEFS },
];

/// Every description.
pub(crate) fn all() -> impl Iterator<Item = &'static Def> {
    GROUPS.iter().flat_map(|group| group.defs)
}

/// One line of the book's list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FunctionInfo {
    /// Heading it stands under.
    pub group: &'static str,
    /// Name in SQL.
    pub name: &'static str,
    /// Other names of the same function.
    pub aliases: Vec<&'static str>,
}

/// Every function a user can call, by group and name. Helpers behind operators are left out.
pub fn documentation() -> Vec<FunctionInfo> {
    let mut list: Vec<FunctionInfo> = GROUPS
        .iter()
        .flat_map(|group| {
            group.defs.iter().map(|def| FunctionInfo {
                group: group.title,
                name: def.name,
                aliases: def.aliases.to_vec(),
            })
        })
        .filter(|info| !is_internal(info.name))
        .chain(special::documentation())
        .collect();
    list.sort();
    list
}

fn is_internal(name: &str) -> bool {
    name.starts_with("spark_")
        || matches!(
            name,
            "bit_not"
                | "struct_field"
                | "date_add_months"
                | "map_item"
                | "normalize_zero"
                | "subtract_dates"
                | "subtract_timestamps"
                | "timestamp_add_duration"
                | "timestamp_add_months"
                | "array_item"
                | "array_field"
        )
}
