//! The database: a connection to it, its table, and inserts that may be repeated. Blocking;
//! decides nothing about trying again.

mod address;
mod session;
mod tls;

pub use address::Address;

use crate::Row;
use crate::record::shown;
use session::{Failure, Session};
use std::error::Error as _;
use std::time::Duration;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

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

/// A transaction that is reported as done has to outlast a crash of the server. And a statement
/// that takes too long, behind somebody's lock for instance, has to end on the server as well:
/// given up here alone, it would go on there, and the next ones would queue up behind it.
const SESSION: &str = "\
    SELECT set_config('synchronous_commit', 'on', false) \
    WHERE current_setting('synchronous_commit') = 'off'; \
    SELECT set_config('statement_timeout', '60s', false) \
    WHERE current_setting('statement_timeout') = '0'";

/// What `statement_timeout` is in the end, in milliseconds.
const STATEMENT: &str = "SELECT setting::int8 FROM pg_settings WHERE name = 'statement_timeout'";

/// How long the server's answer to a statement is waited for: what is little work, ...
const BRIEF: Duration = Duration::from_secs(30);
/// ... an insert, beyond the time after which the server itself ends it, ...
const BEYOND: Duration = Duration::from_secs(10);
/// ... and a change of the schema, which may have to rewrite a table of years. If even this was
/// too short, the server finishes it all the same, and the next attempt waits for that.
const MIGRATION: Duration = Duration::from_secs(3600);

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Written {
    /// Rows that were not there before.
    pub inserted: u64,
    /// Rows that the table refuses whenever they come, by their index, and why.
    pub refused: Vec<(usize, String)>,
}

/// A connection to a database whose table is as it should be.
pub struct Store {
    session: Session,
    /// For one insert.
    limit: Duration,
}

impl Store {
    pub fn connect(address: &Address) -> Result<Self, String> {
        let mut session = Session::open(address).map_err(|failure| describe(&failure))?;
        let lacks = lacks(&mut session).map_err(|failure| describe(&failure))?;
        if let Some(lacks) = lacks {
            session
                .run(MIGRATION, async |client| client.batch_execute(SCHEMA).await)
                .map_err(|failure| {
                    let reason = describe(&failure);
                    format!(
                        "{lacks}, and it cannot be changed: {reason}; run schema.sql as its owner"
                    )
                })?;
        }
        let settings = session.run(BRIEF, async |client| {
            client.batch_execute(SESSION).await?;
            client.query_one(STATEMENT, &[]).await?.try_get::<_, i64>(0)
        });
        let milliseconds = settings.map_err(|failure| describe(&failure))?;
        let statement = Duration::from_millis(u64::try_from(milliseconds).unwrap_or_default());
        Ok(Self {
            session,
            limit: statement + BEYOND,
        })
    }

    /// All rows but those that the table refuses. After an error some of them may be there:
    /// the same call again is right, however it ended.
    pub fn insert(&mut self, rows: &[Row]) -> Result<Written, String> {
        if rows.is_empty() {
            return Ok(Written::default());
        }
        match self.try_insert(rows) {
            Ok(inserted) => Ok(Written {
                inserted,
                refused: Vec::new(),
            }),
            Err(failure) if is_of_data(&failure) => self.insert_each(rows),
            Err(failure) => Err(describe(&failure)),
        }
    }

    /// Finds the rows that spoil a batch.
    fn insert_each(&mut self, rows: &[Row]) -> Result<Written, String> {
        let mut written = Written::default();
        for (index, row) in rows.iter().enumerate() {
            match self.try_insert(std::slice::from_ref(row)) {
                Ok(inserted) => written.inserted += inserted,
                Err(failure) if is_of_data(&failure) => {
                    let reason = format!("the database refuses it: {}", describe(&failure));
                    written.refused.push((index, reason));
                }
                Err(failure) => return Err(describe(&failure)),
            }
        }
        Ok(written)
    }

    fn try_insert(&mut self, rows: &[Row]) -> Result<u64, Failure> {
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
        self.session.run(self.limit, async |client| {
            client.execute(INSERT, &columns).await
        })
    }
}

/// What the table lacks, in words.
fn lacks(session: &mut Session) -> Result<Option<String>, Failure> {
    let row = session.run(BRIEF, async |client| client.query_one(LOOK, &[]).await)?;
    let (there, has_key): (Vec<String>, bool) = (row.try_get(0)?, row.try_get(1)?);
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
fn is_of_data(failure: &Failure) -> bool {
    let Failure::Driver(error) = failure else {
        return false;
    };
    let state = error.code().map_or("", |code| code.code());
    let of_data = ["22", "23", "54"]
        .iter()
        .any(|class| state.starts_with(class));
    of_data && wanted_column(error).is_none()
}

/// A column that is none of ours and wants a value: no row at all could be stored then, so it
/// is the table that has to change.
fn wanted_column(error: &Error) -> Option<&str> {
    let error = error.as_db_error()?;
    let column = error
        .column()
        .filter(|_| *error.code() == SqlState::NOT_NULL_VIOLATION)?;
    (!COLUMNS.contains(&column)).then_some(column)
}

/// The server's own words, or the whole chain of what went wrong on the way to it.
fn describe(failure: &Failure) -> String {
    let error = match failure {
        Failure::Driver(error) => error,
        Failure::Other(reason) => return reason.clone(),
    };
    if let Some(column) = wanted_column(error) {
        return format!(
            "system_metrics has a column {} that may not be NULL: give it a default",
            shown(column)
        );
    }
    if let Some(error) = error.as_db_error() {
        let detail = error.detail();
        let detail = detail.map(|detail| format!(" ({})", shown(detail)));
        return shown(error.message()) + &detail.unwrap_or_default();
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
