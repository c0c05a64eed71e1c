//! What a record may say: the kubelet's own truth, and nothing else. A number
//! that was made up, in any row, is found here.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use sim_kubelet::SimKubelet;

const MIB: f64 = 1_048_576.0;

/// Of the pods that every kubelet has, in MiB. The kubelet's figure swings a little.
const WORKING_SETS: [(&str, f64); 2] = [
    ("default/log-generator-a-vm", 512.0),
    ("default/log-generator-b-vm", 64.0),
];

#[derive(Debug, Default)]
pub struct Truth {
    /// What every container burns, in percent of one core, by pod uid and name, and when
    /// it started, in milliseconds.
    burns: HashMap<(String, String), (f64, Vec<u64>)>,
    /// By pod uid, in MiB, where it is known.
    working_sets: HashMap<String, f64>,
}

impl Truth {
    /// The pods of these kubelets.
    pub fn of<'k>(kubelets: impl IntoIterator<Item = &'k SimKubelet>) -> Self {
        let mut truth = Self::default();
        for kubelet in kubelets {
            truth.learn(kubelet);
            truth.learn_working_sets(kubelet);
        }
        truth
    }

    /// The pods of today; those of before are remembered.
    pub fn learn(&mut self, kubelet: &SimKubelet) {
        for pod in kubelet.pod_names() {
            self.learn_pod(kubelet, &pod);
        }
    }

    /// Only these, of a kubelet with many.
    pub fn of_pods(kubelet: &SimKubelet, pods: &[&str]) -> Self {
        let mut truth = Self::default();
        for pod in pods {
            truth.learn_pod(kubelet, pod);
        }
        truth.learn_working_sets(kubelet);
        truth
    }

    fn learn_working_sets(&mut self, kubelet: &SimKubelet) {
        for (pod, mib) in WORKING_SETS {
            let truth = kubelet.truth(pod);
            self.working_sets
                .extend(truth.map(|truth| (truth.uid, mib)));
        }
    }

    fn learn_pod(&mut self, kubelet: &SimKubelet, pod: &str) {
        let Some(truth) = kubelet.truth(pod) else {
            return;
        };
        for container in truth.containers {
            let key = (truth.uid.clone(), container.name);
            let (percent, starts) = self.burns.entry(key).or_default();
            *percent = container.nanocores as f64 / 1e7;
            starts.push(container.start_ms);
        }
    }

    pub fn check_all(&self, records: &[Value]) -> Result<(), String> {
        records.iter().try_for_each(|record| self.check(record))
    }

    /// The record's CPU is what was burnt, and all else is sound.
    pub fn check(&self, record: &Value) -> Result<(), String> {
        sound(record)?;
        let uid = text(record, "podUid")?.to_owned();
        let container = text(record, "containerName")?.to_owned();
        let working_set = self.working_sets.get(&uid);
        let (burnt, starts) = self
            .burns
            .get(&(uid, container))
            .ok_or_else(|| format!("nobody has that pod uid: {record}"))?;
        let cpu = number(record, "cpu")?;
        let at = number(record, "timestamp")?;
        // A first sample: what was burnt since the start, which is known to a second.
        let since_start = |start: &u64| {
            let age = at - (start / 1_000 * 1_000) as f64;
            burnt * (at - *start as f64) / age.max(1_000.0)
        };
        let is_first = |start: &u64| near(cpu, since_start(start));
        if !near(cpu, *burnt) && !starts.iter().any(is_first) {
            return Err(format!("cpu is {cpu}, and {burnt} was burnt: {record}"));
        }
        let memory = record.get("memory").and_then(Value::as_f64);
        let Some((nominal, memory)) = working_set.zip(memory) else {
            return Ok(());
        };
        if (memory / nominal - 1.0).abs() > 0.04 {
            return Err(format!("memory is {memory} MiB of {nominal}: {record}"));
        }
        Ok(())
    }
}

/// Types and units, whatever the numbers are.
pub fn sound(record: &Value) -> Result<(), String> {
    for name in ["service", "podName", "namespace", "podUid", "containerName"] {
        text(record, name)?;
    }
    for name in ["memory_bytes", "disk_bytes", "network_in", "network_out"] {
        let value = record.get(name);
        if value.is_some_and(|value| !value.is_u64()) {
            return Err(format!("{name} is no whole number: {record}"));
        }
    }
    for (mib, bytes) in [("memory", "memory_bytes"), ("disk", "disk_bytes")] {
        let values = [mib, bytes].map(|name| record.get(name).and_then(Value::as_f64));
        let agree = match values {
            [Some(mib), Some(bytes)] => near(mib * MIB, bytes),
            values => values == [None, None],
        };
        if !agree {
            return Err(format!("{mib} and {bytes} do not agree: {record}"));
        }
    }
    let (cpu, cores) = (number(record, "cpu")?, number(record, "cpu_cores")?);
    if cpu < 0.0 || !near(cpu, cores * 100.0) {
        return Err(format!("cpu is {cpu} with {cores} cores: {record}"));
    }
    match record.get("timestamp") {
        Some(time) if time.is_u64() => Ok(()),
        _ => Err(format!("timestamp is no integer: {record}")),
    }
}

/// The same sample twice would be counted twice.
pub fn unique(records: &[Value]) -> Result<(), String> {
    let mut seen = HashSet::new();
    for record in records {
        let sample = [
            "kind",
            "service",
            "podUid",
            "containerName",
            "volumeName",
            "interface",
            "timestamp",
        ];
        let sample = sample.map(|name| record[name].to_string());
        if !seen.insert(sample) {
            return Err(format!("twice: {record}"));
        }
    }
    Ok(())
}

/// As near as text with some digits can be: old hosts print few of them.
pub fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-5 * a.abs().max(b.abs()).max(1e-3)
}

pub fn text<'r>(record: &'r Value, name: &str) -> Result<&'r str, String> {
    let value = record.get(name).and_then(Value::as_str);
    value.ok_or_else(|| format!("{name} is no text: {record}"))
}

pub fn number(record: &Value, name: &str) -> Result<f64, String> {
    let value = record.get(name).and_then(Value::as_f64);
    value.ok_or_else(|| format!("{name} is no number: {record}"))
}
