//! Why the database refuses a row, and what may be the cause. This module is pure.

use std::error::Error as _;

use kubeletstats_core::text::printable;
use tokio_postgres::{
    Error,
    error::{DbError, SqlState},
};

use super::{COLUMNS, TABLE, session::Failure};

/// How many characters of the server's text a reason quotes at most.
const QUOTED: usize = 200;

/// Whether a value of the row may be the cause. This is so for errors about the row alone: a value
/// that does not fit, a check, a NULL, a key that is too long for an index. To be sure, the caller
/// tries another row.
///
/// Other errors depend on other data, such as a partition, the row of a foreign key, or a row that
/// is the same for one of the user's constraints. With them, the record waits.
pub fn may_be_of_row(failure: &Failure) -> bool {
    let Some(error) = answer(failure) else {
        return false;
    };
    let class = error.code().code().get(..2).unwrap_or_default();
    match *error.code() {
        // If the error has no name of a constraint, it is the server's error about partitions.
        SqlState::CHECK_VIOLATION => error.constraint().is_some() || is_of_function(failure),
        SqlState::NOT_NULL_VIOLATION => wanted_column(error).is_none(),
        _ => class == "22" || class == "54",
    }
}

/// Whether this is an answer of the server, after which the connection can still be used.
pub fn is_answer(failure: &Failure) -> bool {
    answer(failure).is_some()
}

/// Whether the error was raised in a function, for example in a trigger. Such an error may depend
/// on the time of the row, for example if triggers do the work of partitions.
pub fn is_of_function(failure: &Failure) -> bool {
    answer(failure).is_some_and(|error| error.where_().is_some())
}

fn answer(failure: &Failure) -> Option<&DbError> {
    match failure {
        Failure::Driver(error) => error.as_db_error(),
        Failure::Other(_) => None,
    }
}

/// Returns a column that does not belong to this program but requires a value. Then no row can be
/// stored, so the table must be changed.
fn wanted_column(error: &DbError) -> Option<&str> {
    let column = error
        .column()
        .filter(|_| *error.code() == SqlState::NOT_NULL_VIOLATION)?;
    (!COLUMNS.iter().any(|(name, _)| *name == column)).then_some(column)
}

/// Returns the server's own message and what to do, or the whole chain of errors of the connection.
pub fn describe(failure: &Failure) -> String {
    match failure {
        Failure::Driver(error) => error.as_db_error().map_or_else(|| chain(error), answered),
        Failure::Other(reason) => reason.clone(),
    }
}

fn answered(error: &DbError) -> String {
    if let Some(column) = wanted_column(error) {
        return format!(
            "{TABLE} has a column {} that may not be NULL: give it a default",
            printable(column, QUOTED)
        );
    }
    let detail = error.detail();
    let detail = detail.map(|detail| format!(" ({})", printable(detail, QUOTED)));
    let remedy = match *error.code() {
        SqlState::CHECK_VIOLATION if error.routine() == Some("ExecFindPartition") => {
            "; create the partition, or a default one"
        }
        SqlState::UNIQUE_VIOLATION | SqlState::EXCLUSION_VIOLATION => {
            "; it is none of ours: drop it, or mend what makes its values"
        }
        SqlState::INVALID_COLUMN_REFERENCE => {
            "; drop index system_metrics_sample and run schema.sql, which makes it anew"
        }
        _ => "",
    };
    printable(error.message(), QUOTED) + &detail.unwrap_or_default() + remedy
}

fn chain(error: &Error) -> String {
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
