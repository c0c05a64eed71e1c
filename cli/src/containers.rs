//! The wanted containers of a reply, and whether records will come of them. Both commands
//! base their verdict on it; the reply is parsed by the plugin's own code.

use kubeletstats_core::{
    catalogue::Plan,
    options::{Config, CpuSource},
    rates::Samples,
    select::{self, Selector},
    summary::{Malformed, Pod},
};

use crate::humanize;

/// A container that is wanted.
#[derive(Debug)]
pub struct WantedContainer {
    /// `namespace/pod/container`
    pub name: String,
    /// The plugin's first scrape makes a record of it.
    pub has_cpu: bool,
    /// Its second sample makes one, even if the first does not.
    has_counter: bool,
    /// Of its sample, in seconds since the epoch.
    sample_time: Option<f64>,
}

/// Whether the wanted pods of a reply give records.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RecordStatus {
    /// They do, from the first scrape on.
    Records,
    /// `cpu_source counter` needs two samples, which will come.
    AfterSecondSample,
    /// They list no containers.
    NoContainers,
    /// None of their containers has a CPU value that could be used.
    NoCpu,
    /// The newest sample is so many seconds old: the kubelet takes no new ones.
    Stale(f64),
}

/// Seconds. The kubelet takes a sample each 10 to 20 s, and of file systems each minute.
pub const STALE_AFTER: f64 = 120.0;

impl RecordStatus {
    /// `now` in seconds since the epoch, by the kubelet's clock.
    pub fn of(config: &Config, wanted: &[WantedContainer], now: f64) -> Self {
        let needs_two_samples = config.cpu_source == CpuSource::Counter;
        let newest = wanted
            .iter()
            .filter_map(|one| one.sample_time)
            .reduce(f64::max);
        match newest.map(|newest| now - newest) {
            _ if wanted.is_empty() => Self::NoContainers,
            Some(age) if age > STALE_AFTER => Self::Stale(age),
            _ if wanted.iter().any(|one| one.has_cpu) => Self::Records,
            _ if needs_two_samples && wanted.iter().any(|one| one.has_counter) => {
                Self::AfterSecondSample
            }
            _ => Self::NoCpu,
        }
    }

    /// Why no record comes, if none does.
    pub fn failure(self) -> Option<String> {
        match self {
            Self::Records | Self::AfterSecondSample => None,
            Self::NoContainers => {
                Some("the kubelet lists no containers of the wanted pods".to_owned())
            }
            Self::NoCpu => Some("the kubelet has no CPU value of the wanted containers".to_owned()),
            Self::Stale(age) => Some(format!(
                "the newest sample of the wanted containers is {} old: the kubelet takes no new ones",
                humanize::duration(age)
            )),
        }
    }
}

/// Every wanted container of a reply, as the plugin's first scrape sees it.
pub fn wanted_containers(config: &Config, body: &[u8]) -> Result<Vec<WantedContainer>, Malformed> {
    let mut summary = Selector::new(config).parse(body, Plan::CONTAINERS)?;
    select::newest_of_each_name(&mut summary.pods);
    let mut samples = Samples::new(config.cpu_source, config.repeat_samples);
    samples.begin_scrape();
    let mut wanted = Vec::new();
    for pod in &summary.pods {
        for container in &pod.containers {
            wanted.push(WantedContainer {
                name: format!("{}/{}", full_name(pod), container.name),
                has_cpu: samples.of_pod(pod).container(container).is_some(),
                has_counter: container.stats.cpu.core_nanoseconds.is_some(),
                sample_time: container
                    .stats
                    .cpu
                    .time
                    .max(container.stats.memory.time)
                    .map(|sample_time| sample_time.as_nanos() as f64 / 1e9),
            });
        }
    }
    Ok(wanted)
}

/// `namespace/pod`
pub fn full_name(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace, pod.name)
}
