//! The consumer: records from Kafka, as lines on stdout and as rows in PostgreSQL.
//!
//! A record's offset is committed only after the database has its row, and a row is inserted
//! only once; so whatever is killed, no sample is lost and none is in the table twice.

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
