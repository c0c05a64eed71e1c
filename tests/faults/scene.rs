//! What a row plays against: a kubelet, where needed another one and a gate in
//! front, and the options that lead there.

use std::time::Duration;

use sim_kubelet::{SimKubelet, SimKubeletBuilder};
use testkit::wait;

use super::{
    metrics,
    run::{DEADLINE, Stats, TOKEN},
};
use crate::common::{gate::Gate, run::Line};

/// A choice of pods that every kubelet of this suite can serve.
const PODS: [(&str, &str); 2] = [("namespace", "default"), ("pod_prefix", "log-generator")];

/// Often, so that a row is short.
const SAMPLES: Duration = Duration::from_millis(200);

/// Who is there, and how the plugin is led to them.
#[derive(Clone, Copy)]
pub struct Setting {
    pub kubelet: fn(SimKubeletBuilder) -> SimKubeletBuilder,
    /// Plain HTTP and no token.
    pub plain: bool,
    /// A gate stands in front, refusing until it is opened.
    pub gated: bool,
    /// Instead of `https` or `http`, host and port of the above.
    pub url: Option<fn(&Scene) -> String>,
    pub options: &'static [(&'static str, &'static str)],
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            kubelet: |kubelet| kubelet,
            plain: false,
            gated: false,
            url: None,
            options: &[],
        }
    }
}

pub struct Scene {
    pub kubelet: SimKubelet,
    /// One that speaks TLS where `kubelet` does not, and the other way round.
    pub other: SimKubelet,
    pub gate: Gate,
    /// With the path.
    pub url: String,
    base: String,
    setting: Setting,
}

impl Scene {
    pub fn new(setting: Setting) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("no kubelet: {error}");
        let start = |plain: bool, change: fn(SimKubeletBuilder) -> SimKubeletBuilder| {
            let kubelet = SimKubelet::builder().sample_period(SAMPLES);
            let kubelet = match plain {
                true => kubelet.plain_http(true),
                false => kubelet.token(TOKEN),
            };
            change(kubelet).start().map_err(failed)
        };
        let mut scene = Self {
            kubelet: start(setting.plain, setting.kubelet)?,
            other: start(!setting.plain, |kubelet| kubelet)?,
            gate: Gate::new().map_err(failed)?,
            url: String::new(),
            base: String::new(),
            setting,
        };
        let scheme = if setting.plain { "http" } else { "https" };
        scene.base = match setting.url {
            Some(url) => url(&scene),
            None if setting.gated => format!("{scheme}://{}", scene.gate.address()),
            None => scene.kubelet.url(),
        };
        scene.url = format!("{}/stats/summary", scene.base);
        Ok(scene)
    }

    /// The usual one, with options more.
    pub fn with(options: &'static [(&'static str, &'static str)]) -> Result<Self, String> {
        Self::new(Setting {
            options,
            ..Setting::default()
        })
    }

    /// Adds an input to the line.
    pub fn input(&self, line: Line) -> Line {
        let [_, ca, token] = self.kubelet.access();
        let mut options = vec![
            ("kubelet_url", self.base.as_str()),
            ("interval", "100ms"),
            ("stats_tag", "self"),
        ];
        if self.base.starts_with("https:") {
            options.extend([("kube_ca_file", &*ca), ("kube_token_file", &token)]);
        }
        options.extend(PODS);
        // Metrics beside the records, for a host that has them: nothing else may change.
        if metrics::wanted() {
            options.extend([("format", "both"), ("fields", "all")]);
            if self.setting.options.contains(&("pod_facts", "on")) {
                options.push(("kube_state_metrics", "on"));
            }
        }
        options.retain(|(name, _)| !self.setting.options.iter().any(|(other, _)| other == name));
        options.extend(self.setting.options);
        line.input(&options)
    }

    /// A pattern of a row with the names of this scene in it.
    pub fn named(&self, pattern: &str) -> String {
        let [_, ca, token] = self.kubelet.access();
        pattern
            .replace("{url}", &self.url)
            .replace("{gate}", &self.gate.address().to_string())
            .replace("{ca}", &ca)
            .replace("{token}", &token)
    }

    /// A moment at which no request is on its way: right after a reply.
    pub fn between_scrapes(&self) -> Result<(), String> {
        let replies = self.kubelet.replies();
        wait::until("the next reply", DEADLINE, || {
            self.kubelet.replies() > replies
        })
        .map_err(|error| error.to_string())
    }

    /// Every scrape was one request, but for one that the end cut short.
    pub fn one_request_a_scrape(&self, stats: &Stats) -> Result<(), String> {
        let requests = self.kubelet.requests();
        match requests.checked_sub(stats.scrapes) {
            Some(0 | 1) => Ok(()),
            _ => Err(format!("{requests} requests in {} scrapes", stats.scrapes)),
        }
    }
}
