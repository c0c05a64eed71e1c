//! Summaries of any size, made from the captured one: its pods under new names.

use serde::Deserialize;
use serde_json::value::RawValue;

const CAPTURED: &str = include_str!("../../fixtures/02-steady-open.summary.json");

#[derive(Deserialize)]
struct Captured<'a> {
    #[serde(borrow)]
    node: &'a RawValue,
    #[serde(borrow)]
    pods: Vec<&'a RawValue>,
}

/// Returns the reply of a node with this many pods, in the layout of a kubelet. Two of
/// them are log generators. A larger `sample` gives every container a later time.
pub fn of_node(pods: usize, sample: usize) -> Vec<u8> {
    let captured: Captured = serde_json::from_str(CAPTURED).expect("the captured summary");
    let (wanted, others): (Vec<&RawValue>, Vec<&RawValue>) = captured
        .pods
        .iter()
        .copied()
        .partition(|pod: &&RawValue| pod.get().contains("\"log-generator-"));
    let copies = (wanted.len()..pods).map(|i| {
        let pod = others[i % others.len()].get();
        pod.replacen("-vm\"", &format!("-{i}\""), 1).replacen(
            "\"uid\": \"",
            &format!("\"uid\": \"{i:08x}"),
            1,
        )
    });
    let all: Vec<String> = wanted
        .iter()
        .map(|pod| pod.get().to_owned())
        .chain(copies)
        .collect();
    let text = format!(
        "{{\n \"node\": {},\n \"pods\": [\n  {}\n ]\n}}",
        captured.node.get(),
        all.join(",\n  ")
    );
    // All sample times in the captured reply are between 09:30 and 09:31.
    text.replace("T09:30:", &format!("T10:{sample:02}:"))
        .into_bytes()
}
