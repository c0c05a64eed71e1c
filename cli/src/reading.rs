//! What both commands read out of a reply, with the plugin's own types.

use flb_in_kubeletstats::{
    options::Config,
    samples::Samples,
    select::{self, Selector},
    summary::{self, Pod},
};

/// A container that is wanted.
#[derive(Debug)]
pub struct Wanted {
    /// `namespace/pod/container`
    pub name: String,
    /// The first scrape gives a record of it.
    pub has_cpu: bool,
}

/// Every wanted container of a reply, as the plugin's first scrape sees it.
pub fn wanted(config: &Config, body: &[u8]) -> serde_json::Result<Vec<Wanted>> {
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
            });
        }
    }
    Ok(wanted)
}

pub fn full_name(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace, pod.name)
}
