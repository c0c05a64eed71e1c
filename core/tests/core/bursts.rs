//! What `cpu` says of a load that comes in bursts, beside the truth. The series are shaped as
//! captures are: samples 10 to 20 s apart at any moment, times cut to whole seconds, and the
//! kubelet's own rate made of the exact times of its last two samples.
//!
//! `cargo test -p kubeletstats-core --test core bursts -- --nocapture` prints the table.

use std::collections::BTreeMap;

use serde_json::json;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::replay::{Random, pipeline, records};

const EPOCH: f64 = 1_800_000_000.0;
/// In seconds.
const PERIOD: f64 = 60.0;
const BUSY: f64 = 10.0;
const HOUR: f64 = 3_600.0;
/// Hours that begin at different moments of the load and of the kubelet's samples.
const HOURS: usize = 30;

const SOURCES: [&str; 3] = ["auto", "counter", "instant"];

/// Seconds of CPU that a core has burnt, `at` seconds from the beginning of a burst.
fn burnt(at: f64) -> f64 {
    (at / PERIOD).floor() * BUSY + at.rem_euclid(PERIOD).min(BUSY)
}

/// A sample: when it was really taken, and the moment of the one before.
#[derive(Debug, Clone, Copy)]
struct Sample {
    before: f64,
    at: f64,
}

/// All samples of an hour and some minutes.
fn samples(random: &mut Random) -> Vec<Sample> {
    let mut before = random.below(15_000) as f64 / 1e3 - 60.0;
    let mut found = Vec::new();
    while before < HOUR + 2.0 * PERIOD {
        let at = before + 10.0 + random.below(10_000) as f64 / 1e3;
        found.push(Sample { before, at });
        before = at;
    }
    found
}

/// The kubelet's reply while this is its last sample. The load began `phase` seconds before.
fn reply(sample: Sample, phase: f64) -> Vec<u8> {
    let counter = |at: f64| 1_000.0 + burnt(at + phase);
    let rate = (counter(sample.at) - counter(sample.before)) / (sample.at - sample.before);
    let time = OffsetDateTime::from_unix_timestamp((EPOCH + sample.at) as i64)
        .expect("a time")
        .format(&Rfc3339)
        .expect("a time");
    json!({"node": {"nodeName": "n"}, "pods": [{
        "podRef": {"name": "p", "namespace": "d", "uid": "u"},
        "containers": [{
            "name": "c",
            "startTime": "2026-01-01T00:00:00Z",
            "cpu": {
                "time": time,
                "usageNanoCores": (rate * 1e9) as u64,
                "usageCoreNanoSeconds": (counter(sample.at) * 1e9) as u64,
            },
        }],
    }]})
    .to_string()
    .into_bytes()
}

/// What the records of one hour say.
#[derive(Debug, Default)]
struct Hour {
    /// What they add up to, each for the time since the record before, of what was burnt.
    share: f64,
    records: usize,
    /// The highest record that a burst has a part in, in percent of one core.
    peaks: Vec<f64>,
    /// Of each record, beside what was burnt since the record before: in points of percent.
    errors: Vec<f64>,
}

fn watch(source: &str, interval: f64, random: &mut Random) -> Hour {
    let phase = random.below(60_000) as f64 / 1e3;
    let mut scrape = random.below((interval * 1e3) as u64) as f64 / 1e3;
    let samples = samples(random);
    let mut pipeline = pipeline(&[("cpu_source", source)]);
    let mut hour = Hour::default();
    let mut peaks = BTreeMap::<u64, f64>::new();
    let (mut said, mut truth) = (0.0, 0.0);
    let mut last: Option<f64> = None;
    while scrape < HOUR {
        let before = samples.partition_point(|sample| sample.at <= scrape);
        let sample = samples[before - 1];
        let records = records(&mut pipeline, &reply(sample, phase));
        if let Some(record) = records.first() {
            let cpu = record["cpu"].as_f64().expect("a number");
            let to = sample.at + phase;
            if let Some(from) = last {
                let rise = burnt(to) - burnt(from);
                hour.errors.push(cpu - 100.0 * rise / (to - from));
                said += cpu / 100.0 * (to - from);
                truth += rise;
                for burst in (from.max(0.0) / PERIOD) as u64..=(to / PERIOD) as u64 {
                    let begin = burst as f64 * PERIOD;
                    if from < begin + BUSY && to > begin {
                        let peak = peaks.entry(burst).or_default();
                        *peak = peak.max(cpu);
                    }
                }
            }
            hour.records += 1;
            last = Some(to);
        }
        scrape += interval;
    }
    hour.share = 100.0 * said / truth;
    hour.peaks = peaks.into_values().collect();
    hour
}

fn rms(errors: &[f64]) -> f64 {
    let squares: f64 = errors.iter().map(|error| error.powi(2)).sum();
    (squares / errors.len() as f64).sqrt()
}

/// Where every sample is seen a burst is as high as the kubelet's own window lets it be;
/// where samples are skipped `auto` and `counter` keep the sum, and `instant` does not.
#[test]
fn bursts_are_flattened_and_their_sum_is_kept() {
    println!(
        "\n10 s of one core, 50 s of none, {HOURS} hours each\n\
         {:>8} {:<8} {:>15} {:>18} {:>28} {:>24}",
        "interval",
        "source",
        "records an hour",
        "sum, of the truth",
        "a burst shows as: 10 %, half, 90 %",
        "off its time: rms, worst"
    );
    for interval in [10.0, 60.0] {
        for source in SOURCES {
            let mut random = Random(0x9e37_79b9_7f4a_7c15);
            let hours: Vec<_> = (0..HOURS)
                .map(|_| watch(source, interval, &mut random))
                .collect();
            let shares = || hours.iter().map(|hour| hour.share);
            let lowest = shares().fold(f64::INFINITY, f64::min);
            let highest = shares().fold(0.0, f64::max);
            let records = hours.iter().map(|hour| hour.records).sum::<usize>() / HOURS;
            let mut peaks: Vec<f64> = hours.iter().flat_map(|hour| hour.peaks.clone()).collect();
            peaks.sort_by(f64::total_cmp);
            let of_ten = |tenth: usize| peaks[peaks.len() * tenth / 10];
            let errors: Vec<f64> = hours.iter().flat_map(|hour| hour.errors.clone()).collect();
            let worst = errors
                .iter()
                .fold(0.0_f64, |worst, error| worst.max(error.abs()));
            println!(
                "{interval:>6} s {source:<8} {records:>15} {lowest:>7.1} to {highest:>5.1} % \
                 {:>20.0} {:>4.0} {:>4.0} % {:>14.1} {worst:>7.1}",
                of_ten(1),
                of_ten(5),
                of_ten(9),
                rms(&errors),
            );
            let is_kept = (lowest - 100.0).abs() < 3.0 && (highest - 100.0).abs() < 3.0;
            let skips = interval > 30.0;
            assert_eq!(is_kept, source != "instant" || !skips, "{source}");
            match (skips, source) {
                (false, _) => assert!((50.0..90.0).contains(&of_ten(5)), "{source}"),
                (true, "instant") => assert!(worst > 50.0, "{source}"),
                (true, _) => assert!(of_ten(9) < 30.0 && worst < 2.0, "{source}"),
            }
        }
    }
}
