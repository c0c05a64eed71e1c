//! A record as a row of `system_metrics`. This module is pure. It refuses values that the
//! table cannot hold.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::Metric;

/// The last millisecond of the year 9999. PostgreSQL could store later times, but a later
/// time here is wrong: for example it is in nanoseconds instead of milliseconds.
const LATEST: i64 = 253_402_300_799_999;

#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub time: SystemTime,
    pub service: String,
    pub pod_name: String,
    pub cpu: f64,
    pub memory: Option<f64>,
    /// These three are part of the key. There NULL would not be equal to NULL, so a text that
    /// is absent in the record is empty here.
    pub namespace: String,
    pub node_name: String,
    pub container_name: String,
    pub network_in: Option<i64>,
    pub network_out: Option<i64>,
}

impl TryFrom<Metric> for Row {
    type Error = String;

    fn try_from(metric: Metric) -> Result<Self, String> {
        let millis = u64::try_from(metric.timestamp).ok();
        let millis = millis.filter(|_| metric.timestamp <= LATEST).ok_or_else(|| {
            let timestamp = metric.timestamp;
            format!("timestamp is {timestamp}: expected milliseconds since 1970, up to the year 9999")
        })?;
        Ok(Self {
            time: UNIX_EPOCH + Duration::from_millis(millis),
            service: storable("service", metric.service)?,
            pod_name: storable("podName", metric.pod)?,
            cpu: metric.cpu,
            memory: metric.memory,
            namespace: storable("namespace", metric.namespace.unwrap_or_default())?,
            node_name: storable("nodeName", metric.node_name.unwrap_or_default())?,
            container_name: storable("containerName", metric.container.unwrap_or_default())?,
            network_in: metric.network_in,
            network_out: metric.network_out,
        })
    }
}

/// JSON text may contain a NUL character, but text in PostgreSQL may not.
fn storable(key: &str, text: String) -> Result<String, String> {
    if text.contains('\0') {
        return Err(format!("{key} holds a NUL character"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = r#"{"timestamp":1795253446123,"service":"log-generator",
        "podName":"log-generator-a","namespace":"default","containerName":"main","nodeName":"vm",
        "cpu":78.5,"memory":512.3,"network_in":9007199254740993,"network_out":7}"#;

    fn row(json: &str) -> Result<Row, String> {
        Metric::from_json(json).and_then(Row::try_from)
    }

    #[test]
    fn every_column_has_its_field() {
        let expected = Row {
            time: UNIX_EPOCH + Duration::from_millis(1_795_253_446_123),
            service: "log-generator".to_owned(),
            pod_name: "log-generator-a".to_owned(),
            cpu: 78.5,
            memory: Some(512.3),
            namespace: "default".to_owned(),
            node_name: "vm".to_owned(),
            container_name: "main".to_owned(),
            // This is more than a double can represent exactly.
            network_in: Some(9_007_199_254_740_993),
            network_out: Some(7),
        };
        assert_eq!(row(RECORD).expect("a row"), expected);
    }

    #[test]
    fn an_absent_number_is_no_zero() {
        let short = r#"{"timestamp":0,"service":"s","podName":"p","cpu":0}"#;
        let row = row(short).expect("a row");
        assert_eq!(
            (row.memory, row.network_in, row.network_out),
            (None, None, None)
        );
        assert_eq!(
            (row.namespace.as_str(), row.container_name.as_str()),
            ("", "")
        );
        assert_eq!(row.time, UNIX_EPOCH);
    }

    #[test]
    fn what_no_row_can_hold_is_refused() {
        for timestamp in ["-1", "253402300800000", "1795253446123000000"] {
            let error = row(&RECORD.replace("1795253446123", timestamp)).expect_err("no row");
            assert!(
                error.starts_with(&format!("timestamp is {timestamp}: ")),
                "{error}"
            );
        }
        let error = row(&RECORD.replace("\"vm\"", "\"v\\u0000m\"")).expect_err("no row");
        assert_eq!(error, "nodeName holds a NUL character");
        // JSON allows this number, but a double cannot represent it.
        let error = row(&RECORD.replace("78.5", "1e999")).expect_err("no row");
        assert!(error.starts_with("not a record: "), "{error}");
    }
}
