//! What both commands read out of a reply, with the plugin's own types.

use kubeletstats_core::{
    options::{Config, CpuSource},
    rates::Samples,
    select::{self, Selector},
    summary::{self, Malformed, Pod},
};

use crate::words::span;

/// A container that is wanted.
#[derive(Debug)]
pub struct Wanted {
    /// `namespace/pod/container`
    pub name: String,
    /// The first scrape gives a record of it.
    pub has_cpu: bool,
    /// Two samples give one, whatever the first does.
    has_counter: bool,
    /// Of its sample, in seconds since the epoch.
    time: Option<f64>,
}

/// What the wanted pods of a reply come to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Yield {
    Records,
    /// `cpu_source counter` needs two samples, which will come.
    LaterRecords,
    NoContainers,
    NoCpu,
    /// Every sample is so many seconds old, or more: it is the last.
    Stale(f64),
}

/// The kubelet takes a sample each 10 to 20 s, and of file systems each minute.
pub const STALE: f64 = 120.0;

impl Yield {
    /// `now` by the kubelet's clock.
    pub fn of(config: &Config, wanted: &[Wanted], now: f64) -> Self {
        let by_counter = config.cpu_source == CpuSource::Counter;
        let newest = wanted.iter().filter_map(|one| one.time).reduce(f64::max);
        match newest.map(|newest| now - newest) {
            _ if wanted.is_empty() => Self::NoContainers,
            Some(age) if age > STALE => Self::Stale(age),
            _ if wanted.iter().any(|one| one.has_cpu) => Self::Records,
            _ if by_counter && wanted.iter().any(|one| one.has_counter) => Self::LaterRecords,
            _ => Self::NoCpu,
        }
    }

    /// Why no record comes, if none does.
    pub fn failure(self) -> Option<String> {
        match self {
            Self::Records | Self::LaterRecords => None,
            Self::NoContainers => {
                Some("the kubelet lists no containers of the wanted pods".to_owned())
            }
            Self::NoCpu => Some("the kubelet has no CPU value of the wanted containers".to_owned()),
            Self::Stale(age) => Some(format!(
                "the newest sample of the wanted containers is {} old: the kubelet takes no new ones",
                span(age)
            )),
        }
    }
}

/// Every wanted container of a reply, as the plugin's first scrape sees it.
pub fn wanted(config: &Config, body: &[u8]) -> Result<Vec<Wanted>, Malformed> {
    let mut summary = summary::parse(body, &Selector::new(config))?;
    select::newest_of_each_name(&mut summary.pods);
    let mut samples = Samples::new(config.cpu_source, config.repeat_samples);
    samples.begin_scrape();
    let mut wanted = Vec::new();
    for pod in &summary.pods {
        for container in &pod.containers {
            wanted.push(Wanted {
                name: format!("{}/{}", full_name(pod), container.name),
                has_cpu: samples.observe(pod, container).is_some(),
                has_counter: container.cpu.usage_core_nano_seconds.is_some(),
                time: container
                    .cpu
                    .time
                    .max(container.memory.time)
                    .map(|time| time.as_nanos() as f64 / 1e9),
            });
        }
    }
    Ok(wanted)
}

pub fn full_name(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace, pod.name)
}
