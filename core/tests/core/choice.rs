//! What is left out, and whom a volume belongs to, in records of every kind.

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};

use crate::replay::{fixtures, pipeline, records};

fn of(options: &[(&str, &str)]) -> Vec<Value> {
    let body = fs::read(fixtures().join("02-steady-open.summary.json")).expect("a fixture");
    let all = [("metric_groups", "all")];
    records(&mut pipeline(&[options, &all].concat()), &body)
}

fn texts<'r>(records: &'r [Value], field: &str) -> BTreeSet<&'r str> {
    let values = records.iter().filter_map(|record| record[field].as_str());
    values.collect()
}

/// What is excluded overrides what is kept, in records of every kind.
#[test]
fn what_is_excluded_has_no_record() {
    let all = of(&[]);
    assert!(texts(&all, "namespace").contains("default") && texts(&all, "kind").len() == 6);

    let without = of(&[
        ("exclude_namespace", "default"),
        ("namespace", "default,other"),
    ]);
    assert_eq!(texts(&without, "namespace"), BTreeSet::from(["other"]));

    let without = of(&[
        ("exclude_pod_prefix", "log-generator"),
        ("pod_prefix", "log-,web-"),
    ]);
    assert_eq!(
        texts(&without, "podName"),
        BTreeSet::from(["web-with-sidecar-vm"])
    );

    let without = of(&[("exclude_container", "app,kubelet")]);
    let containers = texts(&without, "containerName");
    assert!(!containers.contains("app") && !containers.contains("kubelet"));
    assert!(containers.contains("log-shipper") && containers.contains("pods"));
    assert_eq!(texts(&without, "podName"), texts(&all, "podName"));
}

#[test]
fn a_volume_names_its_claim() {
    let volume = |name: &str| {
        json!({
            "time": "2026-11-21T09:30:40Z", "name": name,
            "usedBytes": 4096, "capacityBytes": 8192, "availableBytes": 4096,
        })
    };
    let mut claimed = volume("data");
    claimed["pvcRef"] = json!({"name": "data-db-0", "namespace": "shop"});
    let reply = json!({"node": {"nodeName": "n"}, "pods": [{
        "podRef": {"name": "db-0", "namespace": "shop", "uid": "u"},
        "containers": [],
        "volume": [claimed, volume("cache")],
    }]});
    let records = records(
        &mut pipeline(&[("metric_groups", "volume")]),
        reply.to_string().as_bytes(),
    );
    let claims = records
        .iter()
        .map(|record| (record["volumeName"].as_str(), record["pvcName"].as_str()));
    assert_eq!(
        claims.collect::<BTreeSet<_>>(),
        BTreeSet::from([(Some("data"), Some("data-db-0")), (Some("cache"), None)])
    );
}
