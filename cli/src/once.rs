//! `kubeletstats once`: the records of the plugin's first scrape.

use kubeletstats_core::{
    error::{Error, Reason},
    health::NO_PODS,
    kubelet::{Client, deadline, observer::Observer},
    options::Config,
    scrape::{Batch, Pipeline},
    text::printable,
};
use rmpv::Value;

use crate::{
    check::{self, Verdict, clock},
    complain,
    inputs::Input,
    json, limit,
    reading::{self, Yield},
    screen::Screen,
    table::{self, Column},
    words,
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
        worst = worst.max(one(input, output, screen));
    }
    worst
}

fn one(input: &Input, output: Output, screen: &mut Screen) -> Verdict {
    let config = match input.config() {
        Ok(config) => config,
        Err(why) => {
            complain(&why);
            return Verdict::Refused;
        }
    };
    let _limit = limit::start(&config);
    match scrape(&config) {
        Ok((batch, came, records)) => {
            show(&records, output, screen);
            verdict(&batch, came)
        }
        Err(error) => {
            complain(&error.to_string());
            match error.reason() {
                Reason::File if !check::starts(&config) => Verdict::Refused,
                _ => Verdict::Fails,
            }
        }
    }
}

/// Success is never made of nothing.
fn verdict(batch: &Batch, came: Yield) -> Verdict {
    let why = match (batch.pods_wanted, batch.pods_on_node) {
        (0, 0) => Some(NO_PODS.to_owned()),
        (0, all) => Some(format!(
            "none of the node's {all} pods is wanted: check namespace and pod_prefix"
        )),
        _ => came.failure(),
    };
    match why {
        Some(why) => {
            complain(&why);
            Verdict::Fails
        }
        None => Verdict::Arrives,
    }
}

fn scrape(config: &Config) -> Result<(Batch, Yield, Vec<Value>), Error> {
    let (_stop, signal) = deadline::stop_pair().map_err(Error::thread)?;
    let observer = Observer::enabled();
    let mut client = Client::with_observer(config, signal, observer.clone())?;
    let body = client.summary()?;
    let failed = |error| Error::unparsable(&config.url.summary, body.len(), &error);
    let batch = Pipeline::new(config)
        .run(body, Vec::new())
        .map_err(failed)?;
    let wanted = reading::wanted(config, body).map_err(failed)?;
    let came = Yield::of(config, &wanted, clock::there(&observer.notes()));
    let missing = wanted.len().saturating_sub(batch.records);
    if missing > 0 && came.failure().is_none() {
        let all = wanted.len();
        complain(&format!(
            "{missing} of {all} wanted containers have no CPU value"
        ));
    }
    let records = decode(&batch.bytes);
    Ok((batch, came, records))
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
    let now = words::now();
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
