//! Reads contexts of metrics back, with a msgpack decoder of its own. It is as strict as
//! cmetrics: a key that is missing or not known is an error.
#![allow(dead_code, reason = "the fuzz targets have it too, and look at less")]

use std::collections::{BTreeMap, BTreeSet};

use rmpv::Value;

/// One context.
#[derive(Debug)]
pub struct Context {
    /// Of the resource; `None` without one.
    pub attributes: Option<BTreeMap<String, String>>,
    /// What all samples have besides their own labels.
    pub static_labels: BTreeMap<String, String>,
    pub families: Vec<Family>,
}

/// One metric.
#[derive(Debug)]
pub struct Family {
    pub name: String,
    pub unit: Option<String>,
    pub is_counter: bool,
    pub keys: Vec<String>,
    pub samples: Vec<Sample>,
}

#[derive(Debug)]
pub struct Sample {
    /// Nanoseconds since the epoch.
    pub time: u64,
    pub started: Option<u64>,
    pub value: f64,
    /// Without those that are empty.
    pub labels: BTreeMap<String, String>,
}

/// All contexts. What only hosts with units know has to be there with them, and only there.
pub fn decode(mut bytes: &[u8], count: usize, has_units: bool) -> Vec<Context> {
    let mut contexts = Vec::new();
    while !bytes.is_empty() {
        let value = rmpv::decode::read_value(&mut bytes).expect("msgpack");
        contexts.push(context(&value, has_units));
    }
    assert_eq!(contexts.len(), count, "contexts");
    contexts
}

/// The values of a map that has these keys and no other.
fn members<'v, const N: usize>(value: &'v Value, keys: [&str; N]) -> [&'v Value; N] {
    let map = value.as_map().unwrap_or_else(|| panic!("no map: {value}"));
    assert_eq!(map.len(), N, "{keys:?} and no other: {value}");
    keys.map(|key| {
        let found = map.iter().find(|(name, _)| name.as_str() == Some(key));
        &found
            .unwrap_or_else(|| panic!("{key} is missing: {value}"))
            .1
    })
}

fn has(value: &Value, key: &str) -> bool {
    let map = value.as_map().unwrap_or_else(|| panic!("no map: {value}"));
    map.iter().any(|(name, _)| name.as_str() == Some(key))
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

fn list(value: &Value) -> &Vec<Value> {
    value
        .as_array()
        .unwrap_or_else(|| panic!("no list: {value}"))
}

fn is_empty(value: &Value) -> bool {
    value.as_map().is_some_and(Vec::is_empty)
}

fn pairs(value: &Value) -> BTreeMap<String, String> {
    let map = value.as_map().expect("a map");
    let pairs: BTreeMap<_, _> = map
        .iter()
        .map(|(key, value)| (text(key), text(value)))
        .collect();
    assert_eq!(pairs.len(), map.len(), "a key stands twice");
    pairs
}

fn context(value: &Value, has_units: bool) -> Context {
    let [meta, metrics] = members(value, ["meta", "metrics"]);
    let [cmetrics, external, processing] = members(meta, ["cmetrics", "external", "processing"]);
    // Without these a processor of the host drops the context.
    let [producer] = members(cmetrics, ["producer"]);
    assert_eq!(text(producer), "fluent-bit");
    let attributes = {
        let [resource, scope] = members(external, ["resource", "scope"]);
        let [metadata, attributes] = members(resource, ["metadata", "attributes"]);
        let [of_scope, none] = members(scope, ["metadata", "attributes"]);
        assert!(is_empty(metadata) && is_empty(none));
        let [name, version] = members(of_scope, ["name", "version"]);
        assert_eq!(text(name), "kubeletstats");
        assert!(!text(version).is_empty());
        pairs(attributes)
    };
    let [labels] = members(processing, ["static_labels"]);
    assert!(list(labels).is_empty());
    let mut families: Vec<_> = list(metrics)
        .iter()
        .map(|metric| family(metric, has_units))
        .collect();
    let names: BTreeSet<_> = families.iter().map(|family| &family.name).collect();
    assert_eq!(names.len(), families.len(), "a family stands twice");
    let static_labels = common_labels(&mut families);
    Context {
        // With Prometheus' names it is about everything.
        attributes: Some(attributes).filter(|pairs| static_labels.is_empty() && !pairs.is_empty()),
        static_labels,
        families,
    }
}

/// What every sample says of node and cluster, taken out of it.
fn common_labels(families: &mut [Family]) -> BTreeMap<String, String> {
    let mut common = BTreeMap::new();
    for key in ["node", "cluster"] {
        if families
            .iter()
            .any(|family| family.keys.first().map(String::as_str) != Some(key))
        {
            continue;
        }
        for family in families.iter_mut() {
            family.keys.remove(0);
            for sample in &mut family.samples {
                let value = sample.labels.remove(key).unwrap_or_default();
                let before = common
                    .entry(key.to_owned())
                    .or_insert_with(|| value.clone());
                assert_eq!(*before, value, "{}: another {key}", family.name);
            }
        }
    }
    common.retain(|_, value| !value.is_empty());
    common
}

fn family(value: &Value, has_units: bool) -> Family {
    let [meta, values] = members(value, ["meta", "values"]);
    let is_counter = has(meta, "aggregation_type");
    let [version, kind, opts, labels] = match is_counter {
        true => {
            let keys = ["ver", "type", "opts", "labels", "aggregation_type"];
            let [ver, kind, opts, labels, aggregation] = members(meta, keys);
            assert_eq!(aggregation.as_u64(), Some(2), "cumulative");
            [ver, kind, opts, labels]
        }
        false => members(meta, ["ver", "type", "opts", "labels"]),
    };
    assert_eq!(version.as_u64(), Some(2));
    assert_eq!(kind.as_u64(), Some(u64::from(!is_counter)));
    let (opts, unit) = match has_units {
        true => {
            let [ns, ss, name, desc, unit] = members(opts, ["ns", "ss", "name", "desc", "unit"]);
            ([ns, ss, name, desc], Some(text(unit)))
        }
        false => (members(opts, ["ns", "ss", "name", "desc"]), None),
    };
    let [namespace, subsystem, name, about] = opts.map(text);
    assert_eq!(subsystem, "");
    let name = match namespace.as_str() {
        "" => name,
        namespace => format!("{namespace}_{name}"),
    };
    let keys: Vec<_> = list(labels).iter().map(text).collect();
    let distinct: BTreeSet<_> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len(), "{name}: a label stands twice");
    assert!(!keys.iter().any(String::is_empty), "{name}: {keys:?}");
    let samples: Vec<_> = list(values)
        .iter()
        .map(|sample| read_sample(sample, &keys, is_counter && has_units))
        .collect();
    assert!(
        (1..=65_535).contains(&samples.len()),
        "{name}: {}",
        samples.len()
    );
    let series: BTreeSet<_> = samples.iter().map(|sample| &sample.labels).collect();
    assert_eq!(series.len(), samples.len(), "{name}: a series stands twice");
    assert!(!about.is_empty(), "{name}");
    Family {
        name,
        unit,
        is_counter,
        keys,
        samples,
    }
}

fn read_sample(value: &Value, keys: &[String], may_have_start: bool) -> Sample {
    let (basic, started) = match has(value, "start_ts") {
        true => {
            assert!(may_have_start, "{value}");
            let keys = ["ts", "value", "labels", "hash", "start_ts"];
            let [time, number, labels, hash, started] = members(value, keys);
            ([time, number, labels, hash], started.as_u64())
        }
        false => (members(value, ["ts", "value", "labels", "hash"]), None),
    };
    let [time, number, labels, hash] = basic;
    assert_eq!(hash.as_u64(), Some(0));
    let time = time.as_u64().expect("a time");
    assert!(started.is_none_or(|started| started <= time), "{value}");
    let Value::F64(number) = number else {
        panic!("no double: {value}");
    };
    assert!(number.is_finite() && *number >= 0.0, "{number}");
    let labels = list(labels);
    assert_eq!(labels.len(), keys.len(), "{keys:?}: {value}");
    let labels = keys.iter().cloned().zip(labels.iter().map(text));
    Sample {
        time,
        started,
        value: *number,
        labels: labels.filter(|(_, value)| !value.is_empty()).collect(),
    }
}
