//! Reads appended events back, with a msgpack decoder of its own.

use rmpv::Value as Msgpack;
use serde_json::Value;

/// Seconds and nanoseconds.
pub type Time = (u32, u32);

/// Every event of a batch; panics at anything that is not `[EventTime, map]`.
pub fn decode(mut bytes: &[u8]) -> Vec<(Time, Value)> {
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let event = rmpv::decode::read_value(&mut bytes).expect("msgpack");
        let Msgpack::Array(parts) = event else {
            panic!("not an array: {event}");
        };
        let [Msgpack::Ext(0, time), Msgpack::Map(_)] = parts.as_slice() else {
            panic!("not a time and a map: {parts:?}");
        };
        let word = |at: usize| u32::from_be_bytes(time[at..at + 4].try_into().expect("8 bytes"));
        events.push(((word(0), word(4)), json(&parts[1])));
    }
    events
}

fn json(value: &Msgpack) -> Value {
    match value {
        Msgpack::Map(entries) => {
            let mut object = serde_json::Map::new();
            for (key, value) in entries {
                let key = key.as_str().expect("keys are text").to_owned();
                assert!(
                    object.insert(key.clone(), json(value)).is_none(),
                    "{key} stands twice"
                );
            }
            Value::Object(object)
        }
        Msgpack::String(text) => text.as_str().expect("utf-8").into(),
        Msgpack::Integer(number) => number.as_u64().expect("not negative").into(),
        Msgpack::F64(number) => (*number).into(),
        other => panic!("no record holds {other}"),
    }
}
