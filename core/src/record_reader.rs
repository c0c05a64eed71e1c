//! Reads one delivered record from its JSON and shows it as one line: `[METRIC] service=… pod=…
//! CPU=…% …`. This module is pure: it takes text and returns values or a reason. It is as strict as
//! consumers that expect numbers to be numbers. It is stricter than most JSON readers: a key must
//! not occur twice.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::text::printable;

/// The fields of a record that its readers use. A value that the kubelet did not report is absent
/// from the record, and `None` here.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// The container's name, unless the option `service` is set.
    pub service: String,
    /// The pod's name, without its namespace.
    pub pod: String,
    /// The CPU in percent of one core.
    pub cpu: f64,
    /// The memory in MiB.
    pub memory: Option<f64>,
    /// The time in milliseconds since the epoch.
    pub timestamp: i64,
    /// The pod's namespace.
    pub namespace: Option<String>,
    /// The node's name, from the kubelet or the option `node_name`.
    pub node_name: Option<String>,
    /// The container's own name, even if the option `service` is set.
    pub container: Option<String>,
    /// The bytes received since the pod started.
    pub network_in: Option<i64>,
    /// The bytes sent since the pod started.
    pub network_out: Option<i64>,
}

impl Metric {
    /// Reads a record. The error says which field is wrong, and what its value is.
    pub fn from_json(json: &str) -> Result<Self, String> {
        let record: NoDuplicateKeys =
            serde_json::from_str(json).map_err(|error| format!("not a record: {error}"))?;
        let Value::Object(record) = record.0 else {
            return Err("not a record: expected a JSON object".to_owned());
        };
        Ok(Self {
            service: text(&record, "service")?,
            pod: text(&record, "podName")?,
            cpu: number(&record, "cpu")?,
            memory: optional(&record, "memory", number)?,
            timestamp: integer(&record, "timestamp")?,
            namespace: optional(&record, "namespace", text)?,
            node_name: optional(&record, "nodeName", text)?,
            container: optional(&record, "containerName", text)?,
            network_in: optional(&record, "network_in", integer)?,
            network_out: optional(&record, "network_out", integer)?,
        })
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |text| printable(text, MAX_NAME_CHARS);
        let (service, pod, cpu) = (name(&self.service), name(&self.pod), self.cpu);
        write!(out, "[METRIC] service={service} pod={pod} CPU={cpu:.2}% ")?;
        match self.memory {
            Some(memory) => write!(out, "Memory={memory:.2}Mi ")?,
            None => write!(out, "Memory=-Mi ")?,
        }
        write!(out, "timestamp={}", self.timestamp)
    }
}

/// The longest name that Kubernetes allows, in characters.
const MAX_NAME_CHARS: usize = 253;

/// The limit for quoted text of a record in a reason, in characters.
const MAX_QUOTED_CHARS: usize = 200;

/// Returns the line for a JSON record.
pub fn metric_line(json: &str) -> Result<String, String> {
    Metric::from_json(json).map(|metric| metric.to_string())
}

type Record = Map<String, Value>;

/// Reads a field that may be absent. A value of the wrong type is an error.
fn optional<T>(
    record: &Record,
    key: &str,
    read: impl FnOnce(&Record, &str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    let is_present = record.contains_key(key);
    is_present.then(|| read(record, key)).transpose()
}

fn field<'a, T>(
    record: &'a Record,
    key: &str,
    expected: &str,
    read: impl FnOnce(&'a Value) -> Option<T>,
) -> Result<T, String> {
    let value = record.get(key).ok_or_else(|| format!("{key} is missing"))?;
    read(value).ok_or_else(|| {
        let value = printable(&value.to_string(), MAX_QUOTED_CHARS);
        format!("{key} is {value}: expected {expected}")
    })
}

fn text(record: &Record, key: &str) -> Result<String, String> {
    field(record, key, "a string", Value::as_str).map(str::to_owned)
}

fn number(record: &Record, key: &str) -> Result<f64, String> {
    field(record, key, "a number", Value::as_f64)
}

fn integer(record: &Record, key: &str) -> Result<i64, String> {
    field(record, key, "an integer", Value::as_i64)
}

/// A JSON value in which no object has the same key twice, at any depth. `serde_json::Value`
/// silently keeps the last of two, and so would hide what a stricter consumer refuses.
struct NoDuplicateKeys(Value);

impl<'de> Deserialize<'de> for NoDuplicateKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(NoDuplicateKeysVisitor)
            .map(NoDuplicateKeys)
    }
}

struct NoDuplicateKeysVisitor;

impl<'de> Visitor<'de> for NoDuplicateKeysVisitor {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(NoDuplicateKeys(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((key, NoDuplicateKeys(value))) =
            entries.next_entry::<String, NoDuplicateKeys>()?
        {
            if object.contains_key(&key) {
                let key = printable(&key, MAX_QUOTED_CHARS);
                return Err(de::Error::custom(format!("key {key} stands twice")));
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = r#"{"@timestamp":"2026-11-21T09:37:26.000Z","timestamp":1795253446000,
        "service":"log-generator","podName":"log-generator-a","namespace":"default","cpu":78.5,
        "memory":512.3,"disk":null,"metadata":{"node":"vm","namespace":"default"},"tags":[1,true]}"#;

    fn without(from: &str, to: &str) -> String {
        assert!(RECORD.contains(from));
        metric_line(&RECORD.replace(from, to)).expect_err("the record is refused")
    }

    #[test]
    fn a_record_becomes_its_line() {
        assert_eq!(
            metric_line(RECORD).expect("the record is valid"),
            "[METRIC] service=log-generator pod=log-generator-a CPU=78.50% Memory=512.30Mi \
             timestamp=1795253446000"
        );
    }

    #[test]
    fn a_record_is_one_line_whatever_its_names() {
        let hostile = r"a\n[METRIC] service=\u001b[31m";
        let line =
            metric_line(&RECORD.replace("log-generator-a", hostile)).expect("the record is valid");
        assert!(
            line.contains(" pod=a?[METRIC] service=?[31m CPU="),
            "{line}"
        );
    }

    #[test]
    fn whole_numbers_are_numbers_too() {
        let line = metric_line(&RECORD.replace("78.5", "0").replace("512.3", "12"))
            .expect("the record is valid");
        assert!(line.contains("CPU=0.00% Memory=12.00Mi"), "{line}");
    }

    #[test]
    fn a_number_in_quotes_is_refused() {
        assert_eq!(
            without("78.5", r#""78.5""#),
            r#"cpu is "78.5": expected a number"#
        );
        assert_eq!(
            without("512.3", "null"),
            "memory is null: expected a number"
        );
    }

    #[test]
    fn a_timestamp_has_to_be_an_integer() {
        let error = without("1795253446000", "1795253446000.5");
        assert_eq!(error, "timestamp is 1795253446000.5: expected an integer");
        let error = without("1795253446000", r#""1795253446000""#);
        assert!(error.starts_with("timestamp is"), "{error}");
    }

    #[test]
    fn a_missing_field_is_named() {
        assert_eq!(without("\"podName\"", "\"pod\""), "podName is missing");
        assert_eq!(without("\"cpu\"", "\"CPU\""), "cpu is missing");
    }

    #[test]
    fn what_the_kubelet_does_not_know_may_be_missing() {
        let short = RECORD.replace("\"memory\"", "\"unknown\"");
        let metric = Metric::from_json(&short).expect("the record is valid");
        assert_eq!((metric.memory, metric.network_in), (None, None));
        assert_eq!(metric.namespace.as_deref(), Some("default"));
        let line = metric.to_string();
        assert!(line.contains(" Memory=-Mi timestamp="), "{line}");
        for (key, value) in [
            ("network_in", "-0.5"),
            ("network_out", "18446744073709551615"),
            ("nodeName", "7"),
            ("containerName", "null"),
        ] {
            let error = without("\"tags\"", &format!("\"{key}\":{value},\"tags\""));
            assert!(error.starts_with(&format!("{key} is {value}: ")), "{error}");
        }
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_at_any_depth() {
        let error = without("\"disk\":null", "\"cpu\":78.5");
        assert!(error.contains("key cpu stands twice"), "{error}");
        let error = without("\"node\":\"vm\"", "\"namespace\":\"default\"");
        assert!(error.contains("key namespace stands twice"), "{error}");
        let error = without("[1,true]", r#"[{"a":1,"a":1}]"#);
        assert!(error.contains("key a stands twice"), "{error}");
    }

    #[test]
    fn a_reason_quotes_no_more_than_the_beginning() {
        let (long, begins) = ("ü".repeat(9_000), "ü".repeat(199));
        let error = without("78.5", &format!("\"{long}\""));
        assert_eq!(error, format!("cpu is \"{begins}…: expected a number"));
        let error = without("\"disk\":null", &format!("\"{long}\":1,\"{long}\":2"));
        assert!(
            error.contains(&format!("key {begins}ü… stands twice")),
            "{error}"
        );
    }

    #[test]
    fn anything_else_is_not_a_record() {
        for text in [
            "",
            "[1]",
            "7",
            "{\"cpu\":",
            "[2026/11/21 10:19:31] [ info] ready",
        ] {
            let error = metric_line(text).expect_err("the record is refused");
            assert!(error.starts_with("not a record"), "{text}: {error}");
        }
    }
}
