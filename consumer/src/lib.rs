//! The consumer: it prints records from Kafka as lines on stdout, and stores them as rows in
//! PostgreSQL.
//!
//! The offset of a record is committed only after the database has its row, and a row is
//! inserted only once. Therefore no sample is lost and none is in the table twice, whatever
//! process is killed.

mod batch;
pub mod database;
pub mod dead_letters;
pub mod health;
pub mod output;
mod positions;
pub mod row;
pub mod run;
pub mod settings;
mod source;
mod writer;

pub use kubeletstats_core::record_reader::Metric;
pub use row::Row;
pub use settings::Settings;
