//! Summaries to generate, the JSON they are written as, and the records that
//! the documentation promises for them, worked out without the plugin's code.

use kubeletstats_core::options::{Config, CpuSource};
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// What stands where a number is expected: its JSON, unless it is left out, and
/// what it is worth.
#[derive(Debug, Clone, Default)]
pub struct Number {
    pub json: Option<String>,
    pub value: Option<u64>,
}

impl Number {
    pub fn of(value: u64) -> Self {
        Self {
            json: Some(value.to_string()),
            value: Some(value),
        }
    }
}

fn number() -> impl Strategy<Value = Number> {
    let whole = prop_oneof![0_u64..3, 0_u64..1 << 40, 0..u64::MAX, Just(u64::MAX - 1)];
    let odd = select(vec![
        "null",
        "-1",
        "-0.5",
        "0.25",
        "1e400",
        "1e-400",
        "15e-1",
        "0.99999999999999999999",
        "18446744073709551615",
        "18446744073709551616",
        "1844674407370955162e1",
        "\"12\"",
        "true",
        "{}",
        "[1]",
    ]);
    prop_oneof![
        5 => whole.prop_map(Number::of),
        2 => Just(Number::default()),
        2 => odd.prop_map(|odd| Number { json: Some(odd.to_owned()), value: None }),
        // As a proxy in between may write it.
        1 => any::<u32>().prop_map(|n| Number { json: Some(format!("{n}.0")), value: Some(n.into()) }),
        1 => (1_u64..10, 0_u32..15).prop_map(|(digit, power)| Number {
            json: Some(format!("{digit}e{power}")),
            value: Some(digit * 10_u64.pow(power)),
        }),
    ]
}

/// What stands where a time is expected.
#[derive(Debug, Clone, Default)]
pub struct Time {
    pub json: Option<String>,
    /// Nanoseconds since the epoch.
    pub value: Option<u64>,
}

impl Time {
    pub fn of(nanos: u64) -> Self {
        Self {
            json: Some(format!("{:?}", rfc3339(nanos))),
            value: Some(nanos),
        }
    }
}

pub fn rfc3339(nanos: u64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(nanos.into())
        .expect("in range")
        .format(&Rfc3339)
        .expect("in range")
}

fn time() -> impl Strategy<Value = Time> {
    let odd = select(vec![
        "null",
        "\"\"",
        "\"yesterday\"",
        "\"1969-12-31T23:59:59Z\"",
        "\"2106-02-07T06:28:16Z\"",
        "\"2026-13-01T00:00:00Z\"",
    ]);
    prop_oneof![
        4 => any::<u32>().prop_map(|seconds| Time::of(u64::from(seconds) * 1_000_000_000)),
        4 => (any::<u32>(), 0_u64..1_000_000_000)
            .prop_map(|(seconds, nanos)| Time::of(u64::from(seconds) * 1_000_000_000 + nanos)),
        1 => Just(Time::default()),
        1 => odd.prop_map(|odd| Time { json: Some(odd.to_owned()), value: None }),
    ]
}

#[derive(Debug, Clone, Default)]
pub struct Container {
    pub name: String,
    pub start: Time,
    pub cpu_time: Time,
    pub nano_cores: Number,
    pub counter: Number,
    pub memory_time: Time,
    pub working_set: Number,
    pub rootfs: Number,
    pub logs: Number,
}

#[derive(Debug, Clone, Default)]
pub struct Pod {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    /// Nanoseconds since the epoch.
    pub start: Option<u64>,
    pub containers: Vec<Container>,
    /// Received and sent, of the default interface and of the others.
    pub network: [Number; 2],
    pub interfaces: Option<Vec<[Number; 2]>>,
}

#[derive(Debug, Clone, Default)]
pub struct Summary {
    pub node: Option<String>,
    pub pods: Vec<Pod>,
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => select(vec!["log-a", "log-b", "web", "w", "a.b"]).prop_map(str::to_owned),
        1 => ".{1,8}",
    ]
}

prop_compose! {
    fn container()(
        (name, start, cpu_time, memory_time) in (name(), time(), time(), time()),
        (nano_cores, counter) in (number(), number()),
        (working_set, rootfs, logs) in (number(), number(), number()),
    ) -> Container {
        Container { name, start, cpu_time, nano_cores, counter, memory_time, working_set, rootfs, logs }
    }
}

prop_compose! {
    fn pod()(
        name in name(),
        namespace in select(vec!["default", "other", "default-2", ""]),
        start in option::of(0_u64..1 << 61),
        mut containers in vec(container(), 0..4),
        network in [number(), number()],
        interfaces in option::of(vec([number(), number()], 0..3)),
    ) -> Pod {
        // A pod's containers have names of their own.
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        containers.dedup_by(|a, b| a.name == b.name);
        let (namespace, uid) = (namespace.to_owned(), String::new());
        Pod { name, namespace, uid, start, containers, network, interfaces }
    }
}

/// Up to six pods. Some share a name, as while one is replaced; then they
/// started at different times. All have a uid but perhaps the first.
pub fn summary() -> impl Strategy<Value = Summary> {
    (option::of(name()), vec(pod(), 0..6), any::<bool>()).prop_map(|(node, mut pods, anonymous)| {
        let mut starts = Vec::new();
        for (place, pod) in pods.iter_mut().enumerate() {
            if place > 0 || !anonymous {
                pod.uid = format!("uid-{place}");
            }
            while starts.contains(&pod.start) {
                pod.start = Some(pod.start.map_or(1, |start| start + 1));
            }
            starts.push(pod.start);
        }
        Summary { node, pods }
    })
}

/// How a summary is written: kubelets and proxies keep no order.
#[derive(Debug, Clone, Copy)]
pub enum Order {
    /// As a kubelet does: `podRef` before the rest of a pod.
    Kubelet,
    PodRefLast,
    /// Everything shuffled, by this seed.
    Shuffled(u64),
}

struct Json {
    order: Order,
    seed: u64,
}

impl Json {
    fn shuffle<T>(&mut self, items: &mut [T]) {
        if let Order::Shuffled(_) = self.order {
            for last in (1..items.len()).rev() {
                self.seed = self
                    .seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                items.swap(last, (self.seed >> 33) as usize % (last + 1));
            }
        }
    }

    fn object(
        &mut self,
        fields: impl IntoIterator<Item = (&'static str, Option<String>)>,
    ) -> String {
        let mut fields: Vec<_> = fields
            .into_iter()
            .filter_map(|(name, json)| Some(format!("\"{name}\": {}", json?)))
            .collect();
        self.shuffle(&mut fields);
        format!("{{{}}}", fields.join(",\n "))
    }

    fn array(&mut self, mut items: Vec<String>) -> String {
        self.shuffle(&mut items);
        format!("[{}]", items.join(", "))
    }

    fn counters(&mut self, [rx, tx]: &[Number; 2], more: Option<String>) -> String {
        let (rx, tx) = (rx.json.clone(), tx.json.clone());
        self.object([("rxBytes", rx), ("txBytes", tx), ("interfaces", more)])
    }

    fn container(&mut self, it: &Container) -> String {
        let it = it.clone();
        let cpu = self.object([
            ("time", it.cpu_time.json),
            ("usageNanoCores", it.nano_cores.json),
            ("usageCoreNanoSeconds", it.counter.json),
        ]);
        let memory = self.object([
            ("time", it.memory_time.json),
            ("usageBytes", Some("1".to_owned())),
            ("workingSetBytes", it.working_set.json),
        ]);
        let rootfs = self.object([
            ("inodes", Some("2".to_owned())),
            ("usedBytes", it.rootfs.json),
        ]);
        let logs = it
            .logs
            .json
            .map(|used| self.object([("usedBytes", Some(used))]));
        self.object([
            ("name", Some(quoted(&it.name))),
            ("startTime", it.start.json),
            ("cpu", Some(cpu)),
            ("memory", Some(memory)),
            ("rootfs", Some(rootfs)),
            ("logs", logs),
        ])
    }

    fn pod(&mut self, pod: &Pod) -> String {
        let uid = (!pod.uid.is_empty()).then(|| quoted(&pod.uid));
        let reference = self.object([
            ("name", Some(quoted(&pod.name))),
            ("namespace", Some(quoted(&pod.namespace))),
            ("uid", uid),
        ]);
        let containers = pod.containers.iter().map(|it| self.container(it)).collect();
        let interfaces = pod.interfaces.as_ref().map(|all| {
            let all = all
                .iter()
                .map(|counters| self.counters(counters, None))
                .collect();
            self.array(all)
        });
        let mut fields = [
            ("podRef", Some(reference)),
            ("startTime", pod.start.map(|at| quoted(&rfc3339(at)))),
            ("containers", Some(self.array(containers))),
            ("network", Some(self.counters(&pod.network, interfaces))),
            ("process_stats", Some("{\"process_count\": 1}".to_owned())),
        ];
        if let Order::PodRefLast = self.order {
            fields.reverse();
        }
        self.object(fields)
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

impl Summary {
    pub fn json(&self, order: Order) -> Vec<u8> {
        let seed = match order {
            Order::Shuffled(seed) => seed,
            _ => 0,
        };
        let mut json = Json { order, seed };
        let pods = self.pods.iter().map(|pod| json.pod(pod)).collect();
        let pods = json.array(pods);
        let node = self.node.as_deref().map(quoted);
        let node = json.object([("nodeName", node)]);
        json.object([("node", Some(node)), ("pods", Some(pods))])
            .into_bytes()
    }

    /// The records of a first scrape.
    pub fn records(&self, config: &Config) -> Vec<Value> {
        let mut records = Vec::new();
        for pod in &self.pods {
            let replaced = self.pods.iter().any(|other| {
                let same = (&other.namespace, &other.name) == (&pod.namespace, &pod.name);
                same && other.start > pod.start
            });
            if !replaced && wanted(config, pod) {
                let containers = pod.containers.iter();
                records.extend(containers.filter_map(|it| self.record(config, pod, it)));
            }
        }
        records
    }

    fn record(&self, config: &Config, pod: &Pod, it: &Container) -> Option<Value> {
        let at = it.cpu_time.value.or(it.memory_time.value)?;
        let nano_cores = it.first_nano_cores(at, config.cpu_source)?;
        let mut record = json!({
            "timestamp": at / 1_000_000,
            "timestamp_iso": rfc3339(at),
            "service": config.service.as_ref().unwrap_or(&it.name),
            "podName": pod.name,
            "namespace": pod.namespace,
            "podUid": pod.uid,
            "containerName": it.name,
            "cpu": nano_cores / 1e7,
            "cpu_cores": nano_cores / 1e9,
            "metadata": {"namespace": pod.namespace},
        });
        if let Some(node) = config.node_name.as_ref().or(self.node.as_ref()) {
            record["nodeName"] = json!(node);
            record["metadata"]["node"] = json!(node);
        }
        if let Some(region) = &config.region {
            record["metadata"]["region"] = json!(region);
        }
        let disk = it.rootfs.value.or(it.logs.value);
        let sizes = [("memory", it.working_set.value), ("disk", disk)];
        for (name, bytes) in sizes {
            if let Some(bytes) = bytes {
                record[name] = json!(bytes as f64 / 1_048_576.0);
                record[format!("{name}_bytes")] = json!(bytes);
            }
        }
        for (which, name) in ["network_in", "network_out"].into_iter().enumerate() {
            let only = || match (&pod.network, pod.interfaces.as_deref()) {
                ([rx, tx], Some([only])) if rx.value.or(tx.value).is_none() => only[which].value,
                _ => None,
            };
            if let Some(bytes) = pod.network[which].value.or_else(only) {
                record[name] = json!(bytes);
            }
        }
        Some(record)
    }
}

impl Container {
    /// Of a first sample: there is no counter to compare with.
    fn first_nano_cores(&self, at: u64, source: CpuSource) -> Option<f64> {
        const MOST: f64 = 8_192.0;
        let instant = self.nano_cores.value.map(|value| value as f64);
        let instant = instant.filter(|value| *value <= MOST * 1e9);
        let age = self.start.value.and_then(|start| at.checked_sub(start));
        let age = age.map(|nanos| nanos as f64 / 1e9);
        let counter = self.cpu_time.value.and(self.counter.value);
        let counter = counter.filter(|value| {
            let possible = age.is_none_or(|age| *value as f64 <= MOST * (age + 1.0) * 1e9);
            *value > 0 && possible
        });
        let is_idle = counter.is_some() && age.is_some_and(|age| age > 60.0);
        let is_young = age.is_some_and(|age| age <= 120.0);
        match (source, instant) {
            (CpuSource::Counter, _) => None,
            (_, Some(instant)) if instant > 0.0 => Some(instant),
            (CpuSource::Auto, _) if is_young && counter.is_some() => {
                Some(counter? as f64 / age?.max(1.0))
            }
            (_, instant) => instant.filter(|_| is_idle),
        }
    }
}

fn wanted(config: &Config, pod: &Pod) -> bool {
    let (namespaces, prefixes) = (&config.namespaces, &config.pod_prefixes);
    (namespaces.is_empty() || namespaces.contains(&pod.namespace))
        && (prefixes.is_empty() || prefixes.iter().any(|prefix| pod.name.starts_with(prefix)))
}
