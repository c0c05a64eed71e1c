//! The host's own input `dummy`: a fixed record at a fixed rate.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use rmpv::Value;

use crate::{
    config::Section,
    input::{Collect, Input},
};

pub const OPTIONS: [&str; 3] = ["dummy", "rate", "samples"];

/// Returns the period of the input's only collector, and its callback.
pub fn collector(section: &Section) -> Result<(Duration, Collect)> {
    let json = section.get("dummy").unwrap_or(r#"{"message":"dummy"}"#);
    let record: Value = serde_json::from_str(json).context("[input:dummy] dummy")?;
    ensure!(record.is_map(), "[input:dummy] dummy is not a JSON object");
    let samples = section.parse("samples")?.filter(|n| *n > 0);
    let left = Cell::new(samples.unwrap_or(u64::MAX));
    let collect = move |input: &Input| {
        let now = UNIX_EPOCH.elapsed().unwrap_or_default();
        let time = [now.as_secs() as u32, now.subsec_nanos()].map(u32::to_be_bytes);
        let event = Value::Array(vec![Value::Ext(0, time.concat()), record.clone()]);
        let mut bytes = Vec::new();
        if left.get() == 0 || rmpv::encode::write_value(&mut bytes, &event).is_err() {
            return 0;
        }
        left.set(left.get() - 1);
        input.append(&input.tag, &bytes, None)
    };
    let rate: u32 = section.parse("rate")?.unwrap_or(1);
    Ok((Duration::from_secs(1) / rate.max(1), Rc::new(collect)))
}
