//! Compares the table with what it must be.

use super::{
    BRIEF,
    session::{Failure, Session},
};

pub const TABLE: &str = "system_metrics";

/// The columns that are written, and the server's names of their types.
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

/// The columns that identify a sample on all nodes. `schema.sql` makes an index of them.
pub const KEY: [&str; 6] = [
    "pod_name",
    "time",
    "namespace",
    "container_name",
    "service",
    "node_name",
];

/// A text column with a length limit is accepted if it can hold the longest name that
/// Kubernetes allows.
const LONGEST_NAME: usize = 253;

/// Returns the table that the search path finds, its columns and their types, whether it has
/// the key that makes inserts repeatable, and which of the user's unique constraints would
/// treat distinct samples as equal. A target for the conflict needs the right to read. Without
/// that right, the insert would skip the second of two such samples without an error.
///
/// Such a constraint lacks a column of the key, and has no column that differs by itself. A
/// column differs by itself if it gets no value, because NULL is not equal to NULL, or if a
/// sequence sets it.
const INSPECT: &str = "\
    WITH narrow AS (SELECT indexrelid, indrelid, conname FROM pg_index \
        LEFT JOIN pg_constraint ON conindid = indexrelid AND conrelid = indrelid AND contype IN ('p', 'u', 'x') \
        WHERE indrelid = to_regclass('system_metrics') AND (indisunique OR indisexclusion) AND indimmediate \
            AND EXISTS(SELECT FROM unnest($1::text[]) AS part WHERE part <> ALL (\
                ARRAY(SELECT attname FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY ((indkey::int2[])[0:indnkeyatts - 1])))) \
            AND NOT EXISTS(SELECT FROM pg_attribute \
                LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum \
                WHERE attrelid = indrelid AND attnum = ANY ((indkey::int2[])[0:indnkeyatts - 1]) AND attname <> ALL ($2::text[]) \
                    AND attgenerated = '' AND (attidentity <> '' \
                        OR coalesce(pg_get_expr(adbin, adrelid) ~ 'nextval|uuid', true)))) \
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
                AND relname = 'system_metrics_sample'), \
        ARRAY(SELECT CASE WHEN conname IS NULL THEN 'index ' || indexrelid::regclass \
                    ELSE 'constraint ' || quote_ident(conname) END \
                || substring(pg_get_indexdef(indexrelid) FROM ' USING [a-z]+( .*)') \
            FROM narrow ORDER BY 1), \
        ARRAY(SELECT CASE WHEN conname IS NULL THEN 'DROP INDEX ' || indexrelid::regclass \
                    ELSE 'ALTER TABLE ' || indrelid::regclass || ' DROP CONSTRAINT ' || quote_ident(conname) END \
            FROM narrow ORDER BY 1)";

/// How the table differs from what it must be.
pub enum Mismatch {
    /// `schema.sql` corrects this.
    Lacks(String),
    /// Only the owner of the table knows what its present values mean. The text says how to
    /// correct it.
    Differs(String),
}

pub async fn inspect(session: &mut Session) -> Result<Option<Mismatch>, Failure> {
    let columns = COLUMNS.map(|(name, _)| name);
    let row = session
        .run(BRIEF, async |client| {
            client
                .query_one(INSPECT, &[&KEY.as_slice(), &columns.as_slice()])
                .await
        })
        .await?;
    let Some(table) = row.try_get::<_, Option<String>>(0)? else {
        return Ok(Some(Mismatch::Lacks(format!("there is no table {TABLE}"))));
    };
    let (names, types): (Vec<String>, Vec<String>) = (row.try_get(1)?, row.try_get(2)?);
    let has_key: bool = row.try_get(3)?;
    let (narrow, drops): (Vec<String>, Vec<String>) = (row.try_get(4)?, row.try_get(5)?);
    if !narrow.is_empty() {
        let (narrow, drops) = (narrow.join(", "), drops.join("; "));
        return Ok(Some(Mismatch::Differs(format!(
            "{table}: distinct samples are the same for {narrow}, and the second would be lost; to mend it: {drops}"
        ))));
    }
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
        ([], [], false) => Some(Mismatch::Lacks(format!(
            "{TABLE} lacks index system_metrics_sample"
        ))),
        ([], missing, _) => Some(Mismatch::Lacks(format!(
            "{TABLE} lacks {}",
            missing.join(", ")
        ))),
        (different, _, _) => Some(Mismatch::Differs(remedy(&table, different))),
    })
}

/// Whether a column of this type keeps every value unchanged.
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
