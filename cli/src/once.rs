//! `kubeletstats once`: the records of the plugin's first scrape.

use kubeletstats_core::{
    error::{Error, Reason},
    health::{self, NO_PODS},
    kubelet::{Client, deadline, observer::Observer},
    options::Config,
    scrape::{Batch, Pipeline},
    text::printable,
};
use rmpv::Value;

use crate::{
    check::{self, Verdict, clock},
    containers::{self, RecordStatus},
    humanize,
    inputs::Input,
    json, print_error,
    screen::Screen,
    table::{self, Column},
    watchdog,
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
    match scrape(&config) {
        Ok((batch, status, records)) => {
            show(&records, output, screen);
            verdict(&batch, status)
        }
        Err(error) => {
            print_error(&error.to_string());
            match error.reason() {
                Reason::File if !check::plugin_would_start(&config) => Verdict::Refused,
                _ => Verdict::Fails,
            }
        }
    }
}

/// Success is never made of nothing.
fn verdict(batch: &Batch, status: RecordStatus) -> Verdict {
    let why = match (batch.pods_wanted, batch.pods_on_node) {
        (0, 0) => Some(NO_PODS.to_owned()),
        (0, all) => Some(health::none_wanted(all)),
        _ => status.failure(),
    };
    match why {
        Some(why) => {
            print_error(&why);
            Verdict::Fails
        }
        None => Verdict::Arrives,
    }
}

fn scrape(config: &Config) -> Result<(Batch, RecordStatus, Vec<Value>), Error> {
    let observer = Observer::enabled();
    let body = watchdog::watch(config, || {
        let (_stop, signal) = deadline::stop_pair().map_err(Error::thread)?;
        Client::with_observer(config, signal, observer.clone())?.summary()
    })?;
    let failed = |error| Error::unparsable(&config.url.summary, body.len(), &error);
    let batch = Pipeline::new(config)
        .run(&body, Vec::new())
        .map_err(failed)?;
    let wanted = containers::wanted_containers(config, &body).map_err(failed)?;
    let status = RecordStatus::of(config, &wanted, clock::kubelet_now(&observer.notes()));
    let missing = wanted.len().saturating_sub(batch.records());
    if missing > 0 && status.failure().is_none() {
        let all = wanted.len();
        print_error(&format!(
            "{missing} of {all} wanted containers have no CPU value"
        ));
    }
    let records = decode(batch.events());
    Ok((batch, status, records))
}

/// The maps of a batch, by namespace, pod and container.
fn decode(mut bytes: &[u8]) -> Vec<Value> {
    let mut records = Vec::new();
    // What the pipeline has just written can be read.
    while let Ok(Value::Array(mut event)) = rmpv::decode::read_value(&mut bytes) {
        records.extend(event.pop());
    }
    records.sort_by_key(|record| {
        ["namespace", "podName", "containerName"].map(|key| text(record, key))
    });
    records
}

fn show(records: &[Value], output: Output, screen: &mut Screen) {
    let lines = match output {
        Output::Json => records.iter().map(json::line).collect(),
        Output::Table => table::lines(COLUMNS, &rows(records)),
    };
    for line in lines {
        screen.line(&line);
    }
}

const fn column(title: &'static str, numeric: bool) -> Column {
    Column { title, numeric }
}

const COLUMNS: &[Column] = &[
    column("NAMESPACE", false),
    column("POD", false),
    column("CONTAINER", false),
    column("CPU %", true),
    column("MEMORY MiB", true),
    column("DISK MiB", true),
    column("NET IN KiB", true),
    column("NET OUT KiB", true),
    column("AGE", true),
];

fn rows(records: &[Value]) -> Vec<Vec<String>> {
    let now = humanize::unix_now();
    let number = |record: &Value, key: &str, unit: f64| match record[key].as_f64() {
        Some(value) => format!("{:.1}", value / unit),
        None => "-".to_owned(),
    };
    let row = |record: &Value| {
        let taken = record["timestamp"].as_f64().unwrap_or_default() / 1e3;
        vec![
            text(record, "namespace"),
            text(record, "podName"),
            text(record, "containerName"),
            number(record, "cpu", 1.0),
            number(record, "memory", 1.0),
            number(record, "disk", 1.0),
            number(record, "network_in", 1024.0),
            number(record, "network_out", 1024.0),
            format!("{:.0}s", now - taken),
        ]
    };
    records.iter().map(row).collect()
}

fn text(record: &Value, key: &str) -> String {
    printable(record[key].as_str().unwrap_or_default(), 253)
}
