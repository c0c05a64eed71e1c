//! Why the database refuses a row, and whose fault that may be. Pure.

use std::error::Error as _;

use kubeletstats_core::text::printable;
use tokio_postgres::{
    Error,
    error::{DbError, SqlState},
};

use super::{COLUMNS, TABLE, session::Failure};

/// The most that a reason quotes of the server's text, in characters.
const QUOTED: usize = 200;

/// May a value of the row be to blame? It may for errors about the row alone: a value that
/// does not fit, a check, a NULL, a key too long for an index. Whether it is, another row shows.
///
/// What depends on what else is there, or is not, waits for that: a partition, the row that a
/// foreign key names, a row that a constraint of the user's own holds for the same.
pub fn may_be_of_row(failure: &Failure) -> bool {
    let Some(error) = answer(failure) else {
        return false;
    };
    let class = error.code().code().get(..2).unwrap_or_default();
    match *error.code() {
        // Without a name of a constraint it is the server's error about partitions.
        SqlState::CHECK_VIOLATION => error.constraint().is_some() || is_of_function(failure),
        SqlState::NOT_NULL_VIOLATION => wanted_column(error).is_none(),
        _ => class == "22" || class == "54",
    }
}

/// Did the server say it, and go on to listen?
pub fn is_answer(failure: &Failure) -> bool {
    answer(failure).is_some()
}

/// Was it raised in a function, such as a trigger's? What that refuses may depend on the time, as
/// where triggers stand in for partitions.
pub fn is_of_function(failure: &Failure) -> bool {
    answer(failure).is_some_and(|error| error.where_().is_some())
}

fn answer(failure: &Failure) -> Option<&DbError> {
    match failure {
        Failure::Driver(error) => error.as_db_error(),
        Failure::Other(_) => None,
    }
}

/// A column that is none of ours and wants a value: no row at all could be stored then, so it
/// is the table that has to change.
fn wanted_column(error: &DbError) -> Option<&str> {
    let column = error
        .column()
        .filter(|_| *error.code() == SqlState::NOT_NULL_VIOLATION)?;
    (!COLUMNS.iter().any(|(name, _)| *name == column)).then_some(column)
}

/// The server's own message and what to do, or the whole chain of what went wrong on the way to it.
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
