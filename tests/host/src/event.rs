//! Log events: from the msgpack stream that an input appends to the JSON that the outputs
//! write, and the filter between them. Keys keep their order, and numbers their type.

use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use rmpv::Value;
use wildmatch::WildMatch;

use crate::config::Section;

type Pair = (Value, Value);

pub struct Event {
    pub tag: String,
    /// Since the epoch.
    pub time: Duration,
    pub record: Vec<Pair>,
}

/// Reads a stream of `[time, map]` and `[[time, metadata], map]`.
pub fn decode(tag: &str, mut bytes: &[u8]) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let event = Event::new(tag, rmpv::decode::read_value(&mut bytes)?);
        events.push(event.context("an event is not a pair of EventTime and map")?);
    }
    Ok(events)
}

impl Event {
    fn new(tag: &str, value: Value) -> Option<Event> {
        let [head, record] = <[Value; 2]>::try_from(Vec::try_from(value).ok()?).ok()?;
        let time = head.as_array().and_then(|a| a.first()).unwrap_or(&head);
        let (_, time) = time.as_ext().filter(|(kind, _)| *kind == 0)?;
        let time = u64::from_be_bytes(time.try_into().ok()?);
        Some(Event {
            tag: tag.to_owned(),
            time: Duration::new(time >> 32, time as u32),
            record: record.try_into().ok()?,
        })
    }

    /// Returns the time as RFC 3339, or in seconds.
    pub fn date(&self, is_iso8601: bool) -> Value {
        match humantime::format_rfc3339_micros(UNIX_EPOCH + self.time) {
            text if is_iso8601 => text.to_string().into(),
            _ => self.time.as_secs_f64().into(),
        }
    }

    /// Returns the record as JSON, with `date` as the first field.
    pub fn to_json(&self, date: Option<Pair>) -> String {
        let map = date.into_iter().chain(self.record.iter().cloned());
        serde_json::to_string(&Value::Map(map.collect())).unwrap_or_default()
    }
}

/// The filter `record_modifier`, which adds fixed fields.
pub struct Filter {
    pattern: WildMatch,
    fields: Vec<Pair>,
}

impl Filter {
    pub fn new(section: &Section) -> Result<Filter> {
        let name = &section.name;
        ensure!(name == "record_modifier", "[config] unknown filter {name}");
        let mut fields = Vec::new();
        for (_, text) in section.options.iter().filter(|(key, _)| key == "record") {
            let pair = text.split_once(char::is_whitespace);
            let (key, value) = pair.with_context(|| format!("Record '{text}' has no value"))?;
            fields.push((key.into(), value.trim().trim_matches('"').into()));
        }
        let pattern = WildMatch::new(section.get("match").unwrap_or_default());
        Ok(Filter { pattern, fields })
    }

    pub fn apply(&self, event: &mut Event) {
        if self.pattern.matches(&event.tag) {
            event.record.extend_from_slice(&self.fields);
        }
    }
}
