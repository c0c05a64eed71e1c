//! The outputs `stdout`, `null`, `prometheus_exporter` and `kafka`. For Kafka, librdkafka queues,
//! retries and confirms. An output reads the options that it knows and ignores the others.

use std::{
    io::{Write, stdout},
    rc::Rc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rdkafka::{
    ClientConfig, ClientContext,
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext},
};
use rmpv::Value;
use wildmatch::WildMatch;

use crate::{config::Section, event::Event, metrics::Pages};

/// What to do with an event. The number is its place in the flush.
type Sink = Box<dyn Fn(usize, &Event) -> Result<()>>;

pub struct Output {
    pub name: String,
    pub pattern: WildMatch,
    pub sink: Sink,
    /// The pages of an exporter.
    pages: Option<Pages>,
    producer: Option<Rc<BaseProducer<Reports>>>,
}

struct Reports;

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        if let Err((why, _)) = result {
            log::warn!("[output:kafka] message delivery failed: {why}");
        }
    }
}

impl Output {
    pub fn new(section: &Section) -> Result<Output> {
        let (name, format) = (section.name.as_str(), section.get("format"));
        let option = |key, default| section.get(key).unwrap_or(default);
        let (mut producer, mut pages) = (None, None);
        let sink: Sink = match (name, format) {
            ("null", _) => Box::new(|_, _| Ok(())),
            ("stdout", None) => Box::new(|i, event| {
                let (seconds, nanos) = (event.time.as_secs(), event.time.subsec_nanos());
                let (tag, json) = (&event.tag, event.to_json(None));
                let line = format!("[{i}] {tag}: [[{seconds}.{nanos:09}, {{}}], {json}]");
                Ok(writeln!(stdout(), "{line}")?)
            }),
            ("stdout", Some("json_lines")) => {
                let key = section.get("json_date_key").unwrap_or("date");
                let key = Some(Value::from(key)).filter(|_| key != "false");
                Box::new(move |_, event| {
                    let date = key.clone().map(|key| (key, event.date(false)));
                    Ok(writeln!(stdout(), "{}", event.to_json(date))?)
                })
            }
            ("kafka", Some("json")) => kafka(section, producer.insert(Rc::new(connect(section)?))),
            ("prometheus_exporter", None) => {
                let address = (option("host", "0.0.0.0"), option("port", "2021"));
                pages = Some(Pages::serve(&format!("{}:{}", address.0, address.1))?);
                Box::new(|_, _| Ok(()))
            }
            _ => bail!("[config] unknown output '{name}' with format {format:?}"),
        };
        Ok(Output {
            name: name.to_owned(),
            pattern: WildMatch::new(option("match", "*")),
            sink,
            pages,
            producer,
        })
    }

    /// Handles the metrics that an input has appended: they are printed, served, or ignored by this
    /// output.
    pub fn metrics(&self, input: &str, page: &str) -> Result<()> {
        match &self.pages {
            Some(pages) => pages.put(input, page),
            None if self.name == "stdout" => {
                let lines = page.lines().filter(|line| !line.starts_with('#'));
                for line in lines {
                    writeln!(stdout(), "{}", line.replacen("} ", "} = ", 1))?;
                }
            }
            None => {}
        }
        Ok(())
    }

    /// Lets an output work between flushes. Returns how many records are not confirmed yet.
    pub fn pending(&self) -> usize {
        self.producer.as_ref().map_or(0, |producer| {
            producer.poll(Duration::ZERO);
            producer.in_flight_count().max(0) as usize
        })
    }
}

fn connect(section: &Section) -> Result<BaseProducer<Reports>> {
    let brokers = section
        .get("brokers")
        .context("[output:kafka] no brokers")?;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    for (key, value) in &section.options {
        if let Some(key) = key.strip_prefix("rdkafka.") {
            config.set(key, value);
        }
    }
    config
        .create_with_context(Reports)
        .context("[output:kafka]")
}

fn kafka(section: &Section, producer: &Rc<BaseProducer<Reports>>) -> Sink {
    let option = |key, default| section.get(key).unwrap_or(default);
    let mut topics = option("topics", "fluent-bit").split(',').map(str::trim);
    let topic = topics.next().unwrap_or_default().to_owned();
    let timestamp_key = Value::from(option("timestamp_key", "@timestamp"));
    let is_iso8601 = option("timestamp_format", "double") == "iso8601";
    let key_field = section.get("message_key_field").map(Value::from);
    let producer = Rc::clone(producer);
    Box::new(move |_, event| {
        let date = (timestamp_key.clone(), event.date(is_iso8601));
        let payload = event.to_json(Some(date));
        let mut record = BaseRecord::to(&topic).payload(&payload);
        let mut fields = event.record.iter();
        let key = fields.find(|(key, _)| Some(key) == key_field.as_ref());
        record.key = key.and_then(|(_, value)| value.as_str());
        Ok(producer.send(record).map_err(|(why, _)| why)?)
    })
}
