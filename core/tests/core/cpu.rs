//! How true `cpu` is: beside a kernel's own counters, and what other people's kubelets
//! were seen to send. `cargo test --test cpu -- --nocapture` prints the tables.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{self, File},
    io::{BufRead, BufReader},
    time::Duration,
};

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use sim_kubelet::Offline;

use crate::replay::{fixtures, pipeline, records};

/// A kubelet's, on average.
const SAMPLE_PERIOD: Duration = Duration::from_secs(15);
const NOW: u64 = 1_800_000_000_123;
const BUSY: &str = "default/log-generator-a-vm";
const BUSY_NAME: &str = "log-generator-a-vm";

/// Errors of one source, in percent of the truth.
#[derive(Debug, Default)]
struct Errors(Vec<f64>);

impl Errors {
    fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }

    fn deviation(&self) -> f64 {
        let mean = self.mean();
        let squares = self.0.iter().map(|error| (error - mean).powi(2));
        (squares.sum::<f64>() / self.0.len() as f64).sqrt()
    }

    fn worst(&self) -> f64 {
        self.0
            .iter()
            .fold(0.0, |worst, error| error.abs().max(worst))
    }

    fn beyond_2(&self) -> f64 {
        let beyond = self.0.iter().filter(|error| error.abs() > 2.0);
        100.0 * beyond.count() as f64 / self.0.len() as f64
    }
}

const SOURCES: [&str; 3] = ["counter", "instant", "auto"];

fn print(name: &str, errors: &[Errors; 3]) {
    for (source, errors) in SOURCES.iter().zip(errors) {
        println!(
            "{name:<22} {source:<8} {:>5} {:>+8.2} {:>8.2} {:>8.2} {:>8.0} %",
            errors.0.len(),
            errors.mean(),
            errors.deviation(),
            errors.worst(),
            errors.beyond_2()
        );
    }
}

fn heading(what: &str) {
    println!("\n{what}: error of cpu in percent of the truth");
    println!(
        "{:<22} {:<8} {:>5} {:>8} {:>8} {:>8} {:>10}",
        "", "source", "n", "mean", "std dev", "worst", "beyond 2 %"
    );
}

fn lines(name: &str) -> Vec<Value> {
    let file = File::open(fixtures().join(name)).expect("a fixture");
    let lines = BufReader::new(GzDecoder::new(file)).lines();
    lines
        .map(|line| serde_json::from_str(&line.expect("text")).expect("json"))
        .collect()
}

/// A container's counter as the kernel had it, every two seconds: seconds and
/// nanoseconds of CPU.
struct Kernel(Vec<(f64, f64)>);

impl Kernel {
    /// When the counter stood there; `None` outside of what was seen.
    fn when(&self, counter: f64) -> Option<f64> {
        let after = self.0.partition_point(|(_, value)| *value < counter);
        let (before, after) = (self.0.get(after.checked_sub(1)?)?, self.0.get(after)?);
        let share = (counter - before.1) / (after.1 - before.1);
        Some(before.0 + share * (after.0 - before.0))
    }
}

/// Eight minutes of a real kubelet. The exact moment of a sample is found by where the
/// kernel's counter stood at the sample's value; the truth is the kernel's rate between
/// two such moments. They are known to a fraction of the two seconds between readings,
/// so samples less than five seconds apart are left out.
#[test]
fn beside_the_kernels_counters() {
    let mut kernel: HashMap<String, Vec<(f64, f64)>> = HashMap::new();
    for line in lines("25-steady-8min.cgroup-truth.jsonl.gz") {
        let number = |key: &str| line[key].as_f64().expect("a number");
        let uid = line["uid"].as_str().expect("a uid").to_owned();
        let reading = (number("t_ns") / 1e9, number("cpu_ns"));
        kernel.entry(uid).or_default().push(reading);
    }
    let mut containers: BTreeMap<[String; 3], Vec<Value>> = BTreeMap::new();
    for line in lines("25-steady-8min.samples.jsonl.gz") {
        let key = ["pod", "container", "uid"].map(|key| line[key].as_str().expect("text").into());
        containers.entry(key).or_default().push(line);
    }

    heading("fixture 25");
    let mut all: [Errors; 3] = Default::default();
    let mut outside = 0;
    for ([pod, container, uid], samples) in containers {
        let Some(kernel) = kernel.get(&uid).cloned().map(Kernel) else {
            continue;
        };
        let mut pipelines = SOURCES.map(|source| pipeline(&[("cpu_source", source)]));
        let mut errors: [Errors; 3] = Default::default();
        let mut last: Option<(f64, f64)> = None;
        for sample in &samples {
            let reply = json!({"node": {}, "pods": [{
                "podRef": {"name": pod, "namespace": "lab", "uid": uid},
                "containers": [{
                    "name": container,
                    "startTime": sample["startTime"],
                    "cpu": sample["cpu"],
                    "memory": sample["memory"],
                }],
            }]});
            let got = pipelines
                .each_mut()
                .map(|pipeline| records(pipeline, reply.to_string().as_bytes()));
            let counter = sample["cpu"]["usageCoreNanoSeconds"].as_f64();
            let counter = counter.expect("a counter");
            let now = kernel.when(counter).map(|at| (at, counter));
            if let (Some((was, from)), Some((at, to))) = (last, now)
                && at - was >= 5.0
            {
                let truth = (to - from) / (at - was) / 1e7;
                for (errors, records) in errors.iter_mut().zip(&got) {
                    let cpu = records[0]["cpu"].as_f64().expect("a number");
                    errors.0.push((cpu / truth - 1.0) * 100.0);
                }
                let [_, instant, auto] = &got;
                outside += usize::from(instant[0]["cpu"] != auto[0]["cpu"]);
            }
            last = now.or(last);
        }
        // The others burn next to nothing: their counter does not tell the moment.
        if errors[0].0.len() >= 15 {
            print(&format!("{pod}/{container}"), &errors);
            for (all, errors) in all.iter_mut().zip(errors) {
                all.0.extend(errors.0);
            }
        }
    }
    print("all", &all);
    println!("the kubelet's rate was outside of what the counter proves {outside} times");
    let [counter, _, auto] = all;
    assert!(auto.0.len() > 100);
    assert!(auto.deviation() < 1.5 && auto.worst() < 5.5);
    assert!(counter.deviation() > 2.0, "what this is about is not seen");
    assert_eq!(outside, 0);
}

/// A thousand samples of a steady load, by a simulated kubelet that samples as unevenly as
/// a real one and cuts times as it does. The truth is what is burnt.
#[test]
fn beside_what_is_burnt() {
    for interval in [2_000, 10_000] {
        let mut node = Offline::new(2, SAMPLE_PERIOD, NOW);
        let mut pipelines = SOURCES.map(|source| pipeline(&[("cpu_source", source)]));
        let mut errors: [Errors; 3] = Default::default();
        let mut taken = 0;
        for scrape in 0.. {
            let now = NOW + scrape * interval;
            let body = node.reply(now);
            let (truth, sample) = node.sample(BUSY, now).expect("the pod");
            let burnt = truth.nanocores as f64 / 1e7;
            let got = pipelines.each_mut().map(|pipeline| {
                let records = records(pipeline, &body);
                let mut of_it = records
                    .into_iter()
                    .filter(|one| one["podName"] == BUSY_NAME);
                let cpu = of_it.next().map(|record| {
                    assert_eq!(record["timestamp"], sample / 1_000 * 1_000);
                    record["cpu"].as_f64().expect("a number")
                });
                assert!(of_it.next().is_none());
                cpu
            });
            let [counter, instant, auto] = got;
            assert!(auto.is_some() == instant.is_some() && (auto.is_some() || counter.is_none()));
            for (errors, cpu) in errors.iter_mut().zip(got) {
                errors.0.extend(cpu.map(|cpu| (cpu / burnt - 1.0) * 100.0));
            }
            taken += usize::from(auto.is_some());
            if taken > 1_000 {
                break;
            }
        }
        heading(&format!(
            "simulated kubelet, a scrape every {} s",
            interval / 1_000
        ));
        print(BUSY_NAME, &errors);
        let [counter, instant, auto] = errors;
        assert!(auto.worst() < 1e-9 && instant.worst() < 1e-9);
        assert!(counter.deviation() > 2.0 && counter.worst() < 10.0);
    }
}

/// Twenty pods of 3 to 8 s under a scrape every 10 s: whichever of them a reply holds
/// has a record, and its cpu is what was burnt, as well as start and sample are known.
#[test]
fn short_lived_pods_are_recorded() {
    let mut node = Offline::new(1, SAMPLE_PERIOD, NOW);
    let mut pipeline = pipeline(&[("pod_prefix", "job-")]);
    let (mut in_replies, mut with_rate) = (BTreeSet::new(), BTreeSet::new());
    let mut recorded = BTreeSet::new();
    let mut running: Vec<(u64, String)> = Vec::new();
    let mut next = 0;
    for ms in (0..130_000).step_by(100) {
        let now = NOW + ms;
        running.retain(|(end, pod)| {
            if *end <= now {
                node.end_pod(pod);
            }
            *end > now
        });
        if next < 20 && ms >= next * 5_700 {
            let pod = format!("default/job-{next:02}");
            node.start_pod(&pod, 100, now).expect("a pod");
            running.push((now + 3_000 + next * 1_789 % 5_000, pod));
            next += 1;
        }
        if ms % 10_000 != 0 {
            continue;
        }
        let body = node.reply(now);
        let reply: Value = serde_json::from_slice(&body).expect("json");
        for pod in reply["pods"].as_array().expect("pods") {
            let name = pod["podRef"]["name"].as_str().expect("a name");
            let cpu = &pod["containers"][0]["cpu"];
            if name.starts_with("job-") && cpu["usageCoreNanoSeconds"].as_u64() > Some(0) {
                in_replies.insert(name.to_owned());
                if cpu["usageNanoCores"].as_u64() > Some(0) {
                    with_rate.insert(name.to_owned());
                }
            }
        }
        for record in records(&mut pipeline, &body) {
            let name = record["podName"].as_str().expect("a name").to_owned();
            let (truth, sample) = node.sample(&format!("default/{name}"), now).expect("it");
            let age = (sample / 1_000 - truth.start_ms / 1_000).max(1) as f64;
            let cpu = record["cpu"].as_f64().expect("a number");
            let most = 10.0 * (age + 1.0) / age;
            assert!(cpu > 0.0 && cpu <= most, "{name}: {cpu} at {age} s");
            recorded.insert(name);
        }
    }
    println!(
        "\n20 pods of 3 to 8 s, a scrape every 10 s: {} in replies, {} with a rate of the \
         kubelet's, {} recorded",
        in_replies.len(),
        with_rate.len(),
        recorded.len()
    );
    assert!((9..=15).contains(&in_replies.len()));
    assert!(with_rate.len() < in_replies.len());
    assert_eq!(recorded, in_replies);
}

/// The replies of a report after one another, and what each gives: time and cpu.
fn report(name: &str, options: &[(&str, &str)]) -> Vec<Vec<(String, f64)>> {
    let mut found: Vec<_> = fs::read_dir(fixtures().join("field-reports"))
        .expect("the reports")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().contains(name))
        .collect();
    found.sort();
    let mut pipeline = pipeline(options);
    // The last one is asked for twice.
    found.push(found.last().expect("a report").clone());
    found
        .iter()
        .map(|path| {
            let body = fs::read(path).expect("a report");
            let records = records(&mut pipeline, &body);
            let sample = |record: &Value| {
                let time = record["timestamp_iso"].as_str().expect("a time");
                let cpu = record["cpu"].as_f64().expect("a number");
                (time[11..19].to_owned(), (cpu * 1e6).round() / 1e6)
            };
            records.iter().map(sample).collect()
        })
        .collect()
}

#[test]
fn of_two_containers_of_one_name_the_later_counts() {
    let got = report("01-same-container-twice", &[]);
    assert_eq!(got[0].len(), 1, "{got:?}");
    assert_eq!(got[1], [], "no sample twice");
}

#[test]
fn a_value_that_no_node_can_do_is_none_and_spoils_no_other() {
    let at = |time: &str, cpu| vec![(time.to_owned(), cpu)];
    let got = report("02-impossible-value", &[]);
    let expected = [
        at("09:30:40", 90.0),
        vec![],
        at("09:31:00", 90.0),
        at("09:31:10", 90.0),
        vec![],
    ];
    assert_eq!(got, expected);
}

#[test]
fn a_counter_that_stays_at_zero_is_no_counter() {
    let got = report("11-counter-stays-zero", &[]);
    let cpus: Vec<_> = got.iter().flatten().map(|(_, cpu)| *cpu).collect();
    assert_eq!(cpus, [12.0, 12.0, 12.0]);
}

/// Bridges, veths and the loopback beside the interface that leads out: the same byte
/// is counted in several of them.
#[test]
fn no_byte_is_counted_twice() {
    for name in [
        "field-reports/17-no-default-interface.summary.json",
        "23-hostnetwork-no-eth0.summary.json",
    ] {
        let body = fs::read(fixtures().join(name)).expect("a fixture");
        let reply: Value = serde_json::from_slice(&body).expect("json");
        let records = records(&mut pipeline(&[]), &body);
        let mut several = 0;
        for pod in reply["pods"].as_array().expect("pods") {
            let network = &pod["network"];
            let count = network["interfaces"].as_array().map_or(0, Vec::len);
            let expected = match network.get("rxBytes") {
                Some(bytes) => Some(bytes),
                None if count == 1 => Some(&network["interfaces"][0]["rxBytes"]),
                None => None,
            };
            let of_pod = |record: &&Value| record["podUid"] == pod["podRef"]["uid"];
            for record in records.iter().filter(of_pod) {
                assert_eq!(record.get("network_in"), expected, "{record}");
                several += usize::from(expected.is_none() && count > 1);
            }
        }
        assert!(several > 0, "{name} has no such pod");
    }
}
