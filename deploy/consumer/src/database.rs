//! The database: a connection to it, its table, and inserts that may be repeated. Blocking;
//! decides nothing about trying again.

mod address;
mod tls;

pub use address::Address;

use crate::Row;
use postgres::Client;
use postgres::types::ToSql;
use std::error::Error as _;

/// The file that makes the table; it is also shipped for psql.
pub const SCHEMA: &str = include_str!("../schema.sql");

const COLUMNS: [&str; 10] = [
    "time",
    "service",
    "pod_name",
    "cpu",
    "memory",
    "namespace",
    "node_name",
    "container_name",
    "network_in",
    "network_out",
];

/// One statement is one transaction. Rows that are there already stay as they are.
const INSERT: &str = "\
    INSERT INTO system_metrics (time, service, pod_name, cpu, memory, \
        namespace, node_name, container_name, network_in, network_out) \
    SELECT * FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::float8[], $5::float8[], \
        $6::text[], $7::text[], $8::text[], $9::int8[], $10::int8[]) \
    ON CONFLICT DO NOTHING";

/// Columns of the table, and whether it has the key that makes inserts repeatable.
const LOOK: &str = "\
    SELECT ARRAY(SELECT attname::text FROM pg_attribute \
            WHERE attrelid = to_regclass('system_metrics') AND attnum > 0 AND NOT attisdropped), \
        EXISTS(SELECT FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid \
            WHERE indrelid = to_regclass('system_metrics') AND indisunique AND indisvalid \
                AND relname = 'system_metrics_sample')";

/// A transaction that is reported as done has to outlast a crash of the server.
const DURABLE: &str = "\
    SELECT set_config('synchronous_commit', 'on', false) \
    WHERE current_setting('synchronous_commit') = 'off'";

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Written {
    /// Rows that were not there before.
    pub inserted: u64,
    /// Rows that the table refuses whenever they come, by their index, and why.
    pub refused: Vec<(usize, String)>,
}

/// A connection to a database whose table is as it should be.
pub struct Store(Client);

impl Store {
    pub fn connect(address: &Address) -> Result<Self, String> {
        let mut client = address.connect().map_err(|error| describe(&error))?;
        client
            .batch_execute(DURABLE)
            .map_err(|error| describe(&error))?;
        let lacks = lacks(&mut client).map_err(|error| describe(&error))?;
        if let Some(lacks) = lacks {
            client.batch_execute(SCHEMA).map_err(|error| {
                let reason = describe(&error);
                format!("{lacks}, and it cannot be changed: {reason}; run schema.sql as its owner")
            })?;
        }
        Ok(Self(client))
    }

    /// All rows but those that the table refuses. After an error some of them may be there:
    /// the same call again is right, however it ended.
    pub fn insert(&mut self, rows: &[Row]) -> Result<Written, String> {
        match self.try_insert(rows) {
            Ok(inserted) => Ok(Written {
                inserted,
                refused: Vec::new(),
            }),
            Err(error) if is_of_data(&error) => self.insert_each(rows),
            Err(error) => Err(describe(&error)),
        }
    }

    /// Finds the rows that spoil a batch.
    fn insert_each(&mut self, rows: &[Row]) -> Result<Written, String> {
        let mut written = Written::default();
        for (index, row) in rows.iter().enumerate() {
            match self.try_insert(std::slice::from_ref(row)) {
                Ok(inserted) => written.inserted += inserted,
                Err(error) if is_of_data(&error) => {
                    let reason = format!("the database refuses it: {}", describe(&error));
                    written.refused.push((index, reason));
                }
                Err(error) => return Err(describe(&error)),
            }
        }
        Ok(written)
    }

    fn try_insert(&mut self, rows: &[Row]) -> Result<u64, postgres::Error> {
        fn column<'a, T>(rows: &'a [Row], of: impl Fn(&'a Row) -> T) -> Vec<T> {
            rows.iter().map(of).collect()
        }
        let columns: [&(dyn ToSql + Sync); COLUMNS.len()] = [
            &column(rows, |row| row.time),
            &column(rows, |row| row.service.as_str()),
            &column(rows, |row| row.pod_name.as_str()),
            &column(rows, |row| row.cpu),
            &column(rows, |row| row.memory),
            &column(rows, |row| row.namespace.as_str()),
            &column(rows, |row| row.node_name.as_str()),
            &column(rows, |row| row.container_name.as_str()),
            &column(rows, |row| row.network_in),
            &column(rows, |row| row.network_out),
        ];
        self.0.execute(INSERT, &columns)
    }
}

/// What the table lacks, in words.
fn lacks(client: &mut Client) -> Result<Option<String>, postgres::Error> {
    let row = client.query_one(LOOK, &[])?;
    let (there, has_key): (Vec<String>, bool) = (row.get(0), row.get(1));
    if there.is_empty() {
        return Ok(Some("there is no table system_metrics".to_owned()));
    }
    let missing: Vec<&str> = COLUMNS
        .into_iter()
        .filter(|column| !there.iter().any(|name| name == column))
        .collect();
    Ok(match (missing.as_slice(), has_key) {
        ([], true) => None,
        ([], false) => Some("system_metrics lacks index system_metrics_sample".to_owned()),
        (missing, _) => Some(format!("system_metrics lacks {}", missing.join(", "))),
    })
}

/// Is it the fault of a value, so that the same row would fail whenever it comes? Data
/// exceptions, violated constraints, and a key too long for an index.
fn is_of_data(error: &postgres::Error) -> bool {
    let state = error.code().map(|code| code.code().to_owned());
    let state = state.unwrap_or_default();
    ["22", "23", "54"]
        .iter()
        .any(|class| state.starts_with(class))
}

/// The server's own words, or the whole chain of what went wrong on the way to it.
fn describe(error: &postgres::Error) -> String {
    if let Some(error) = error.as_db_error() {
        let detail = error.detail().map(|detail| format!(" ({detail})"));
        return format!("{}{}", error.message(), detail.unwrap_or_default());
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}
