//! Bytes per second beside the truth. The series are shaped as captures are: samples 10 to
//! 20 s apart at any moment, times cut to whole seconds.

use std::fs;

use serde_json::{Value, json};

use crate::replay::{Random, fixtures, pipeline, records};

const EPOCH: f64 = 1_800_000_000.0;

/// A reply with one pod that has received so many bytes at a sample taken at `second`.
fn reply(second: f64, received: u64) -> Vec<u8> {
    let time = time::OffsetDateTime::from_unix_timestamp((EPOCH + second) as i64)
        .expect("a time")
        .format(&time::format_description::well_known::Rfc3339)
        .expect("a time");
    let counters =
        json!({"name": "eth0", "rxBytes": received, "txBytes": 7, "rxErrors": 0, "txErrors": 0});
    let mut network = counters.clone();
    network["time"] = json!(time);
    network["interfaces"] = json!([counters]);
    json!({
        "node": {"nodeName": "n"},
        "pods": [{
            "podRef": {"name": "p", "namespace": "d", "uid": "u"},
            "startTime": "2026-01-01T00:00:00Z",
            "containers": [],
            "network": network,
        }],
    })
    .to_string()
    .into_bytes()
}

/// What the pod's record says of each sample, and the interface's.
fn rates(series: &[(f64, u64)]) -> Vec<Option<f64>> {
    let mut pipeline = pipeline(&[("metric_groups", "pod,interface")]);
    let of = |(second, received): &(f64, u64)| {
        let records = records(&mut pipeline, &reply(*second, *received));
        let rates: Vec<_> = ["pod", "interface"]
            .iter()
            .map(|kind| {
                let record = records.iter().find(|record| record["kind"] == *kind);
                record.expect("a new sample")["network_rx_bytes_per_second"].as_f64()
            })
            .collect();
        assert_eq!(rates[0], rates[1], "of one interface");
        rates[0]
    };
    series.iter().map(of).collect()
}

/// Moments of samples, as a kubelet's housekeeping takes them.
fn moments(count: usize) -> Vec<f64> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut at = 0.5;
    let mut next = || {
        at += 10.0 + random.below(10_000) as f64 / 1e3;
        at
    };
    (0..count).map(|_| next()).collect()
}

/// `cargo test -p kubeletstats-core --test core network -- --nocapture` prints the table.
#[test]
fn a_steady_rate_is_within_its_bound() {
    const TRUTH: f64 = 1e6;
    let series: Vec<_> = moments(2_000)
        .into_iter()
        .map(|at| (at, (at * TRUTH) as u64))
        .collect();
    let errors: Vec<f64> = rates(&series)
        .into_iter()
        .flatten()
        .map(|rate| (rate / TRUTH - 1.0) * 100.0)
        .collect();
    let neighbours: Vec<f64> = series
        .windows(2)
        .map(|pair| (pair[1].1 - pair[0].1) as f64 / (pair[1].0.floor() - pair[0].0.floor()))
        .map(|rate| (rate / TRUTH - 1.0) * 100.0)
        .collect();
    let row = |name: &str, errors: &[f64]| {
        let count = errors.len() as f64;
        let mean = errors.iter().sum::<f64>() / count;
        let sd = (errors
            .iter()
            .map(|error| (error - mean).powi(2))
            .sum::<f64>()
            / count)
            .sqrt();
        let worst = errors
            .iter()
            .fold(0.0_f64, |worst, error| worst.max(error.abs()));
        println!("{name:24} n {count:5}  mean {mean:+.2}  sd {sd:.2}  worst {worst:.2}");
        worst
    };
    row("neighbouring samples", &neighbours);
    row("ours", &errors);
    // The first comes from samples 10 s apart or more, the others from 30 s or more.
    assert!(errors.len() >= series.len() - 2);
    let settled = row("ours, after a minute", &errors[4..]);
    assert!(errors[0].abs() <= 100.0 / 10.0, "{}", errors[0]);
    assert!(settled <= 100.0 / 30.0, "{settled}");
}

/// No rate says more than went through, and none comes of a counter that fell.
#[test]
fn one_wrong_counter_spoils_no_other_sample() {
    let moments = moments(12);
    let right: Vec<_> = moments
        .iter()
        .map(|at| (*at, 5_000_000_000 + (at * 1e6) as u64))
        .collect();
    for wrong in [0, 17, u64::MAX - 1] {
        let mut series = right.clone();
        series[6].1 = wrong;
        let rates = rates(&series);
        assert_eq!(rates[6], None, "{wrong}");
        for (at, rate) in rates
            .iter()
            .enumerate()
            .filter(|(at, _)| ![0, 6].contains(at))
        {
            let rate = rate.expect("a rate");
            assert!((9e5..1.1e6).contains(&rate), "{wrong}: {at}: {rate}");
        }
    }
    // The counters began anew, with the pod's sandbox.
    let fallen: Vec<_> = right
        .iter()
        .enumerate()
        .map(|(index, (at, bytes))| {
            (
                *at,
                if index < 6 {
                    *bytes
                } else {
                    bytes - right[5].1
                },
            )
        })
        .collect();
    let rates = rates(&fallen);
    assert_eq!(rates[6], None);
    for rate in &rates[7..] {
        assert!((9e5..1.1e6).contains(&rate.expect("a rate")), "{rates:?}");
    }
}

/// A burst of ten seconds in each minute: over an hour the rates add up to what went through.
#[test]
fn bursts_are_neither_lost_nor_doubled() {
    let received = |at: f64| {
        let (minutes, second) = ((at / 60.0).floor(), at % 60.0);
        ((minutes * 10.0 + second.min(10.0)) * 1e6) as u64
    };
    let series: Vec<_> = moments(240)
        .into_iter()
        .map(|at| (at, received(at)))
        .collect();
    let rates = rates(&series);
    let rates: Vec<f64> = rates.into_iter().flatten().collect();
    let mean = rates.iter().sum::<f64>() / rates.len() as f64;
    assert!((mean / (1e6 / 6.0) - 1.0).abs() < 0.05, "{mean}");
    assert!(
        rates.iter().all(|rate| *rate <= 1e6),
        "more than went through"
    );
}

#[test]
fn what_was_left_out_gives_no_rate() {
    let mut pipeline = pipeline(&[("metric_groups", "pod")]);
    for second in [0.0, 40.0, 80.0] {
        let mut json: Value = serde_json::from_slice(&reply(second, 5)).expect("json");
        json["pods"][0]["network"]
            .as_object_mut()
            .expect("a map")
            .remove("rxBytes");
        let records = records(&mut pipeline, json.to_string().as_bytes());
        let record = &records[0];
        assert_eq!(record["network_rx_bytes_per_second"], Value::Null);
        let sent = record["network_tx_bytes_per_second"].as_f64();
        assert_eq!(sent, (second > 0.0).then_some(0.0), "{record}");
    }
}

/// Of the node as well, also where nothing else of it is wanted.
#[test]
fn interfaces_alone_are_those_of_pods_and_node() {
    let body = fs::read(fixtures().join("23-hostnetwork-no-eth0.summary.json")).expect("a capture");
    let records = records(&mut pipeline(&[("metric_groups", "interface")]), &body);
    let of_node = records.iter().filter(|record| record["podName"].is_null());
    assert_eq!(of_node.count(), 3);
    assert!(records.iter().all(|record| record["kind"] == "interface"));
    assert!(records.len() > 10, "{}", records.len());
}
