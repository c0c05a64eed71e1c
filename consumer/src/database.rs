//! The database: a connection to it, its table, and inserts that may be repeated. This module does
//! not decide whether to retry.

mod address;
mod refusal;
mod session;
mod table;
mod tls;

use std::time::Duration;

use tokio_postgres::{Statement, types::ToSql};

pub use self::address::Address;
use self::{
    refusal::{describe, is_answer, is_of_function, may_be_of_row},
    session::{Failure, Session},
    table::{COLUMNS, KEY, Mismatch, TABLE},
};
use crate::Row;

/// The file that makes the table. It is also shipped for use with psql.
pub const SCHEMA: &str = include_str!("../schema.sql");

/// One statement is one transaction. Rows that already exist do not change.
const INSERT: &str = "\
    INSERT INTO system_metrics (time, service, pod_name, cpu, memory, \
        namespace, node_name, container_name, network_in, network_out) \
    SELECT * FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::float8[], $5::float8[], \
        $6::text[], $7::text[], $8::text[], $9::int8[], $10::int8[])";

/// A transaction that is reported as committed must survive a crash of the server. A statement that
/// takes too long, for example because of a lock, must end on the server as well. If only this
/// program gave up, the statement would continue there, and the next ones would queue behind it.
/// And the result of triggers, defaults and partitions for a time must not depend on the server's
/// time zone.
const SESSION: &str = "\
    SELECT set_config('TimeZone', 'UTC', false); \
    SELECT set_config('synchronous_commit', 'on', false) \
    WHERE current_setting('synchronous_commit') = 'off'; \
    SELECT set_config('statement_timeout', '60s', false) \
    WHERE current_setting('statement_timeout') = '0'";

/// Returns the `statement_timeout` in force, in milliseconds, and whether the key may be read. With
/// that right, a conflict with another constraint than ours is an error, and is not mistaken for an
/// existing row.
const STATEMENT: &str = "\
    SELECT setting::int8, (SELECT bool_and(has_column_privilege('system_metrics', part, 'SELECT')) \
        FROM unnest($1::text[]) AS part) \
    FROM pg_settings WHERE name = 'statement_timeout'";

/// How long to wait for the server's answer to a short statement.
const BRIEF: Duration = Duration::from_secs(30);
/// How long to wait for an insert, in addition to the time after which the server itself ends it.
const BEYOND: Duration = Duration::from_secs(10);
/// How long to wait for a change of the schema, which may have to rewrite a table with years of
/// data. If this is too short, the server still finishes it, and the next attempt waits for that.
const MIGRATION: Duration = Duration::from_secs(3600);

/// The result of writing a batch.
#[derive(Debug, Default)]
pub struct Written {
    /// The number of rows that did not exist before.
    pub inserted: u64,
    /// The rows that the table always refuses, by index, and why.
    pub refused: Vec<(usize, String)>,
}

/// A connection to a database whose table is correct.
pub struct Store {
    session: Session,
    insert: Statement,
    /// How long one insert may take.
    limit: Duration,
}

impl Store {
    pub async fn connect(address: &Address) -> Result<Self, String> {
        let mut session = Session::open(address)
            .await
            .map_err(|failure| describe(&failure))?;
        let mismatch = table::inspect(&mut session).await;
        match mismatch.map_err(|failure| describe(&failure))? {
            None => {}
            Some(Mismatch::Differs(remedy)) => return Err(remedy),
            Some(Mismatch::Lacks(lacks)) => session
                .run(MIGRATION, async |client| {
                    // The address or the role may set a limit for a statement. It does not apply to
                    // a change of the table.
                    client.batch_execute("SET statement_timeout = 0").await?;
                    client.batch_execute(SCHEMA).await?;
                    client.batch_execute("RESET statement_timeout").await
                })
                .await
                .map_err(|failure| {
                    let reason = describe(&failure);
                    format!(
                        "{lacks}, and it cannot be changed: {reason}; run schema.sql as its owner"
                    )
                })?,
        }
        let settings = session.run(BRIEF, async |client| {
            client.batch_execute(SESSION).await?;
            let row = client.query_one(STATEMENT, &[&KEY.as_slice()]).await?;
            let (limit, may_read): (i64, bool) = (row.try_get(0)?, row.try_get(1)?);
            let target = match may_read {
                true => format!("({})", KEY.join(", ")),
                false => String::new(),
            };
            let insert = format!("{INSERT} ON CONFLICT {target} DO NOTHING");
            Ok((limit, client.prepare(&insert).await?))
        });
        let (milliseconds, insert) = settings.await.map_err(|failure| describe(&failure))?;
        let statement = Duration::from_millis(u64::try_from(milliseconds).unwrap_or_default());
        Ok(Self {
            session,
            insert,
            limit: statement + BEYOND,
        })
    }

    /// Inserts all rows except those that the table refuses because of their own values. After an
    /// error, some of the rows may exist, and they are counted. It is always correct to repeat the
    /// call.
    pub async fn insert(&mut self, rows: &[Row], written: &mut Written) -> Result<(), String> {
        written.refused.clear();
        // A part that fails is split in half until the row that causes it is alone. The next part
        // is the last of the vector.
        let mut left = vec![rows];
        let mut index = 0;
        while let Some(part) = left.pop().filter(|part| !part.is_empty()) {
            match self.try_insert(part).await {
                Ok(inserted) => {
                    written.inserted += inserted;
                    index += part.len();
                }
                Err(failure) if !may_be_of_row(&failure) => return Err(describe(&failure)),
                Err(_) if part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    left.extend([second, first]);
                }
                Err(failure) => {
                    let reason = describe(&failure);
                    let takes_another = self.takes_another(&part[0], &failure).await;
                    if !takes_another.map_err(|failure| describe(&failure))? {
                        return Err(format!("{reason}; no other row is taken either"));
                    }
                    let reason = format!("the database refuses it: {reason}");
                    written.refused.push((index, reason));
                    index += 1;
                }
            }
        }
        Ok(())
    }

    /// Whether the table accepts another row now. If so, the row that failed alone was refused
    /// because of its own values. This tries a copy of the newest row and a made-up row, and rolls
    /// back.
    async fn takes_another(&mut self, refused: &Row, failure: &Failure) -> Result<bool, Failure> {
        // This time differs from that of every existing row, because kubelets give whole seconds.
        let time = refused.time + Duration::from_micros(1);
        // If the time may be what was refused, the other row has the time of the refused one.
        let time = is_of_function(failure).then_some(time);
        for (probe, least) in &probes() {
            let inserted = self.session.run(self.limit, async |client| {
                client.batch_execute("BEGIN").await?;
                let result = client.execute(probe, &[&time]).await;
                // Constraints that are checked at the end of a transaction count too.
                let checked = match &result {
                    Ok(_) => client.batch_execute("SET CONSTRAINTS ALL IMMEDIATE").await,
                    Err(_) => Ok(()),
                };
                client.batch_execute("ROLLBACK").await?;
                checked.and(result)
            });
            match inserted.await {
                Ok(inserted) if inserted >= *least => return Ok(true),
                Ok(_) => {}
                Err(failure) if is_answer(&failure) => {}
                // A transaction may still be open on this connection, so it is not used again.
                Err(failure) => return Err(failure),
            }
        }
        Ok(false)
    }

    async fn try_insert(&mut self, rows: &[Row]) -> Result<u64, Failure> {
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
        let insert = &self.insert;
        self.session
            .run(self.limit, async |client| {
                client.execute(insert, &columns).await
            })
            .await
    }
}

/// The statements that insert another row, and how many rows each must insert to prove something.
/// The row's time is the parameter, unless that is NULL.
fn probes() -> [(String, u64); 2] {
    let names = COLUMNS.map(|(name, _)| name).join(", ");
    let values = |time: &str, value: &dyn Fn(&str, &str) -> String| {
        let others = COLUMNS[1..].iter().map(|(name, kind)| value(name, kind));
        let others: Vec<String> = others.collect();
        format!(
            "INSERT INTO {TABLE} ({names}) SELECT coalesce($1, {time}), {}",
            others.join(", ")
        )
    };
    let newest = values("time + interval '1 microsecond'", &|name, _| {
        name.to_owned()
    });
    let made_up = values("now()", &|_, kind| match kind {
        "text" => "'probe'".to_owned(),
        _ => "1".to_owned(),
    });
    [
        (
            format!("{newest} FROM {TABLE} ORDER BY time DESC LIMIT 1"),
            1,
        ),
        (made_up, 0),
    ]
}
