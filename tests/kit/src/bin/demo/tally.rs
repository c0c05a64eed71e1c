//! Counts records on both outputs, and decides when the demo has shown enough. A record
//! counts as delivered if the same line was seen on both sides. So another program's record
//! in a shared topic proves nothing. This module is pure.

use std::collections::BTreeMap;

/// How many records of each pod must arrive on both sides.
const ENOUGH: usize = 3;

#[derive(Clone, Copy, Debug)]
pub enum Side {
    Stdout,
    Kafka,
}

/// The lines of one pod, and how often each side showed each line.
type Lines = BTreeMap<String, [usize; 2]>;

pub struct Tally {
    expected: &'static [&'static str],
    pods: BTreeMap<String, Lines>,
}

impl Tally {
    /// If no pods are expected by name, any one pod is enough.
    pub fn new(expected: &'static [&'static str]) -> Self {
        let pods = expected.iter().map(|&pod| (pod.to_owned(), Lines::new()));
        Self {
            expected,
            pods: pods.collect(),
        }
    }

    pub fn add(&mut self, side: Side, pod: &str, line: String) {
        let lines = self.pods.entry(pod.to_owned()).or_default();
        lines.entry(line).or_default()[side as usize] += 1;
    }

    pub fn is_enough(&self) -> bool {
        let enough = |lines: &Lines| delivered(lines) >= ENOUGH;
        if self.expected.is_empty() {
            return self.pods.values().any(enough);
        }
        let mut expected = self.expected.iter();
        expected.all(|&pod| self.pods.get(pod).is_some_and(enough))
    }

    /// Describes what each output showed of each pod, one line per pod.
    pub fn describe(&self) -> String {
        if self.pods.is_empty() {
            return "no record was seen on stdout or in Kafka".to_owned();
        }
        let of = |(pod, lines): (&String, &Lines)| {
            let stdout: usize = lines.values().map(|seen| seen[0]).sum();
            let kafka: usize = lines.values().map(|seen| seen[1]).sum();
            let both = delivered(lines);
            format!("{pod} records: {stdout} on stdout, {kafka} in Kafka, {both} on both")
        };
        let text: Vec<String> = self.pods.iter().map(of).collect();
        text.join("\n      ")
    }
}

fn delivered(lines: &Lines) -> usize {
    lines
        .values()
        .map(|[stdout, kafka]| stdout.min(kafka))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(tally: &mut Tally, side: Side, pod: &str, numbers: std::ops::Range<usize>) {
        for number in numbers {
            tally.add(side, pod, format!("{pod} {number}"));
        }
    }

    #[test]
    fn every_expected_pod_has_to_arrive_on_both_sides() {
        let mut tally = Tally::new(&["a", "b"]);
        add(&mut tally, Side::Stdout, "a", 0..3);
        add(&mut tally, Side::Kafka, "a", 0..3);
        add(&mut tally, Side::Stdout, "b", 0..4);
        add(&mut tally, Side::Kafka, "b", 0..2);
        assert!(!tally.is_enough());
        assert_eq!(
            tally.describe(),
            "a records: 3 on stdout, 3 in Kafka, 3 on both\n      \
             b records: 4 on stdout, 2 in Kafka, 2 on both"
        );
        add(&mut tally, Side::Kafka, "b", 2..3);
        assert!(tally.is_enough());
    }

    #[test]
    fn other_records_do_not_count() {
        let mut tally = Tally::new(&["a"]);
        add(&mut tally, Side::Stdout, "a", 0..3);
        add(&mut tally, Side::Kafka, "a", 5..9);
        assert!(!tally.is_enough());
    }

    #[test]
    fn a_kubelet_of_the_users_own_may_have_any_pod() {
        let mut tally = Tally::new(&[]);
        assert!(!tally.is_enough());
        assert_eq!(tally.describe(), "no record was seen on stdout or in Kafka");
        add(&mut tally, Side::Stdout, "web", 0..3);
        add(&mut tally, Side::Kafka, "web", 0..3);
        add(&mut tally, Side::Stdout, "slow", 0..1);
        assert!(tally.is_enough());
    }
}
