//! What the table has to be, and what it is.

use super::BRIEF;
use super::session::{Failure, Session};

pub const TABLE: &str = "system_metrics";

/// The columns that are written, and their types as the server calls them.
pub const COLUMNS: [(&str, &str); 10] = [
    ("time", "timestamp with time zone"),
    ("service", "text"),
    ("pod_name", "text"),
    ("cpu", "double precision"),
    ("memory", "double precision"),
    ("namespace", "text"),
    ("node_name", "text"),
    ("container_name", "text"),
    ("network_in", "bigint"),
    ("network_out", "bigint"),
];

/// Text of a limited length does if it holds the longest name that Kubernetes allows.
const LONGEST_NAME: usize = 253;

/// The table that the search path finds, its columns and their types, and whether it has the
/// key that makes inserts repeatable.
const LOOK: &str = "\
    SELECT (SELECT quote_ident(nspname) || '.system_metrics' FROM pg_class \
            JOIN pg_namespace ON pg_namespace.oid = relnamespace \
            WHERE pg_class.oid = to_regclass('system_metrics')), \
        ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass('system_metrics') \
            AND attnum > 0 AND NOT attisdropped ORDER BY attnum), \
        ARRAY(SELECT format_type(atttypid, atttypmod) FROM pg_attribute \
            WHERE attrelid = to_regclass('system_metrics') \
            AND attnum > 0 AND NOT attisdropped ORDER BY attnum), \
        EXISTS(SELECT FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid \
            WHERE indrelid = to_regclass('system_metrics') AND indisunique AND indisvalid \
                AND relname = 'system_metrics_sample')";

/// What is wrong with the table, in words.
pub enum Wrong {
    /// `schema.sql` mends it.
    Lacks(String),
    /// Only its owner knows what the values of before are: the remedy is in the words.
    Differs(String),
}

pub fn look(session: &mut Session) -> Result<Option<Wrong>, Failure> {
    let row = session.run(BRIEF, async |client| client.query_one(LOOK, &[]).await)?;
    let Some(table) = row.try_get::<_, Option<String>>(0)? else {
        return Ok(Some(Wrong::Lacks(format!("there is no table {TABLE}"))));
    };
    let (names, types): (Vec<String>, Vec<String>) = (row.try_get(1)?, row.try_get(2)?);
    let has_key: bool = row.try_get(3)?;
    let type_of = |column: &str| {
        let index = names.iter().position(|name| name == column)?;
        types.get(index).map(String::as_str)
    };
    let different: Vec<(&str, &str, &str)> = COLUMNS
        .into_iter()
        .filter_map(|(column, expected)| Some((column, expected, type_of(column)?)))
        .filter(|(_, expected, found)| !holds(expected, found))
        .collect();
    let missing: Vec<&str> = COLUMNS
        .into_iter()
        .map(|(column, _)| column)
        .filter(|column| type_of(column).is_none())
        .collect();
    Ok(match (different.as_slice(), missing.as_slice(), has_key) {
        ([], [], true) => None,
        ([], [], false) => Some(Wrong::Lacks(format!(
            "{TABLE} lacks index system_metrics_sample"
        ))),
        ([], missing, _) => Some(Wrong::Lacks(format!(
            "{TABLE} lacks {}",
            missing.join(", ")
        ))),
        (different, _, _) => Some(Wrong::Differs(remedy(&table, different))),
    })
}

/// Does a column of this type keep every value as it is?
fn holds(expected: &str, found: &str) -> bool {
    let limit = || {
        let limit = found
            .strip_prefix("character varying(")?
            .strip_suffix(')')?;
        limit.parse::<usize>().ok()
    };
    found == expected
        || expected == "text"
            && (found == "character varying" || limit().is_some_and(|limit| limit >= LONGEST_NAME))
}

fn remedy(table: &str, different: &[(&str, &str, &str)]) -> String {
    let (mut faults, mut changes) = (Vec::new(), Vec::new());
    for (column, expected, found) in different {
        faults.push(format!("{column} is {found}, expected {expected}"));
        let using = match *found {
            "timestamp without time zone" => format!("{column} AT TIME ZONE 'UTC'"),
            _ => format!("{column}::{expected}"),
        };
        changes.push(format!(
            "ALTER COLUMN {column} TYPE {expected} USING {using}"
        ));
    }
    let (faults, changes) = (faults.join("; "), changes.join(", "));
    format!("{table}: {faults}; to mend it: ALTER TABLE {table} {changes}")
}

#[cfg(test)]
mod tests {
    use super::holds;

    #[test]
    fn a_type_has_to_hold_every_value() {
        for (expected, found, does) in [
            ("text", "text", true),
            ("text", "character varying", true),
            ("text", "character varying(255)", true),
            ("text", "character varying(63)", false),
            ("text", "character(255)", false),
            ("bigint", "integer", false),
            ("double precision", "numeric(5,2)", false),
            (
                "timestamp with time zone",
                "timestamp(0) with time zone",
                false,
            ),
        ] {
            assert_eq!(holds(expected, found), does, "{found} for {expected}");
        }
    }
}
