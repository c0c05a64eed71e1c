//! `kubeletstats once`: prints the records of the plugin's first scrape.

use std::time::Instant;

use kubeletstats_core::{
    error::{Error, Reason},
    health::{self, Health, NO_PODS},
    options::Config,
    scrape::Batch,
    text::printable,
};
use rmpv::Value;

use crate::{
    check::{self, Verdict, clock},
    humanize,
    inputs::Input,
    json, print_error,
    records::{self, Outcome, text},
    scrape::Scrape,
    screen::Screen,
    table::{self, Column},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Table,
    Json,
}

pub fn run(inputs: &[Input], output: Output, screen: &mut Screen) -> Verdict {
    let mut worst = Verdict::Arrives;
    for (at, input) in inputs.iter().enumerate() {
        if output == Output::Table && inputs.len() > 1 {
            if at > 0 {
                screen.line("");
            }
            screen.line(&format!("{}:", input.origin));
        }
        worst = worst.max(run_input(input, output, screen));
    }
    worst
}

fn run_input(input: &Input, output: Output, screen: &mut Screen) -> Verdict {
    let config = match input.config() {
        Ok(config) => config,
        Err(why) => {
            print_error(&why);
            return Verdict::Refused;
        }
    };
    let failed = |error: &Error| {
        print_error(&error.to_string());
        match error.reason() {
            Reason::File if !check::plugin_would_start(&config) => Verdict::Refused,
            _ => Verdict::Fails,
        }
    };
    match Scrape::run(&config) {
        Ok(scrape) => match &scrape.result {
            Ok(batch) => show_outcome(&config, &scrape, batch, output, screen),
            Err(error) => failed(error),
        },
        Err(error) => failed(&error),
    }
}

fn show_outcome(
    config: &Config,
    scrape: &Scrape,
    batch: &Batch,
    output: Output,
    screen: &mut Screen,
) -> Verdict {
    let selects = config.label_selector.is_some();
    let without_facts = batch.facts.as_ref().and_then(|facts| facts.as_ref().err());
    let line = without_facts
        .and_then(|error| Health::default().facts_failed(Instant::now(), error, selects));
    if let Some(line) = line {
        print_error(&line);
    }
    let body = scrape.body().unwrap_or_default();
    let wanted = scrape.wanted().unwrap_or_default();
    let now = clock::kubelet_now(&scrape.notes);
    let outcome = Outcome::of(config, batch, &wanted, body, now);
    show(config, &outcome.records, output, screen);

    // The command succeeds only if records can be expected.
    let wants_pods = batch.plan.wants_pods();
    if wants_pods && batch.pods_wanted == 0 {
        if selects && without_facts.is_some() {
            return Verdict::Fails;
        }
        print_error(&match batch.pods_on_node {
            0 => NO_PODS.to_owned(),
            all => health::none_wanted(all),
        });
        return match batch.records() {
            0 => Verdict::Fails,
            _ => Verdict::Arrives,
        };
    }
    if let Some(why) = outcome.status.failure(config) {
        print_error(&why);
        return Verdict::Fails;
    }
    let (missing, all) = (outcome.without_cpu.len(), outcome.containers);
    if missing > 0 {
        print_error(&format!(
            "{missing} of {all} selected containers have no CPU value"
        ));
    }
    Verdict::Arrives
}

fn show(config: &Config, records: &[Value], output: Output, screen: &mut Screen) {
    let lines = match output {
        Output::Json => records.iter().map(json::line).collect(),
        Output::Table => table(config, records),
    };
    for line in lines {
        screen.line(&line);
    }
}

/// A column, and how to make the text of its cells.
struct Field {
    title: &'static str,
    numeric: bool,
    cell: fn(&Value) -> Option<String>,
}

const fn words(title: &'static str, cell: fn(&Value) -> Option<String>) -> Field {
    Field {
        title,
        numeric: false,
        cell,
    }
}

const fn number(title: &'static str, cell: fn(&Value) -> Option<String>) -> Field {
    Field {
        title,
        numeric: true,
        cell,
    }
}

const KIND: Field = words("KIND", |record| shown(records::kind(record)));
const NAMESPACE: Field = words("NAMESPACE", |record| shown(text(record, "namespace")));
const POD: Field = words("POD", |record| shown(text(record, "podName")));
const CONTAINER: Field = words("CONTAINER", |record| shown(&records::name(record)));
const NAME: Field = words("NAME", |record| shown(&records::name(record)));
const CPU: Field = number("CPU %", |record| first(record, &["cpu"], 1.0));
const MEMORY: Field = number("MEMORY MiB", |record| first(record, &["memory"], 1.0));
const DISK: Field = number("DISK MiB", |record| first(record, &["disk"], 1.0));
/// A record has at most one of these values.
const USED: Field = number("USED MiB", |record| {
    let used = [
        "disk_bytes",
        "volume_used_bytes",
        "ephemeral_storage_used_bytes",
        "fs_used_bytes",
    ];
    first(record, &used, 1_048_576.0)
});
const NET_IN: Field = number("NET IN KiB", |record| {
    first(record, &["network_in", "network_rx_bytes"], 1024.0)
});
const NET_OUT: Field = number("NET OUT KiB", |record| {
    first(record, &["network_out", "network_tx_bytes"], 1024.0)
});
const AGE: Field = number("AGE", |record| {
    let taken = record["timestamp"].as_f64()? / 1e3;
    Some(format!("{:.0}s", humanize::unix_now() - taken))
});

const OF_CONTAINERS: &[Field] = &[
    NAMESPACE, POD, CONTAINER, CPU, MEMORY, DISK, NET_IN, NET_OUT, AGE,
];
const OF_ALL_KINDS: &[Field] = &[
    KIND, NAMESPACE, POD, NAME, CPU, MEMORY, USED, NET_IN, NET_OUT, AGE,
];

fn table(config: &Config, records: &[Value]) -> Vec<String> {
    let fields = match config.plan.wants_other_kinds() {
        true => OF_ALL_KINDS,
        false => OF_CONTAINERS,
    };
    let columns: Vec<_> = fields
        .iter()
        .map(|field| Column {
            title: field.title,
            numeric: field.numeric,
        })
        .collect();
    let row = |record: &Value| {
        let cells = fields.iter().map(|field| (field.cell)(record));
        cells.map(|cell| cell.unwrap_or("-".to_owned())).collect()
    };
    table::lines(&columns, &records.iter().map(row).collect::<Vec<_>>())
}

/// Returns the first of these values that the record has.
fn first(record: &Value, keys: &[&str], unit: f64) -> Option<String> {
    let value = keys.iter().find_map(|key| record[*key].as_f64())?;
    Some(format!("{:.1}", value / unit))
}

fn shown(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| printable(text, 253))
}
