//! The kubelet of the demo: the simulated one, or the user's own at `KUBELET_URL`.

use std::{env, process::Command, time::Duration};

use testkit::{Child, Deadline, Result, Stream, hosts};

const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(5);
/// The two pods of interest on the simulated node, and the CPU that the first one uses.
const PODS: [&str; 2] = ["log-generator-a-vm", "log-generator-b-vm"];
const BURN: &str = "default/log-generator-a-vm=785";
/// A name in the simulated kubelet's certificate that is not its address. As with real
/// kubelets, verification only works with the node's name.
const SERVER_NAME: &str = "vm";

pub enum Kubelet {
    Own {
        url: String,
    },
    Simulated {
        process: Child,
        url: String,
        ca_file: String,
        token_file: String,
    },
}

impl Kubelet {
    pub fn find_or_start(deadline: Deadline) -> Result<Self> {
        if let Some(url) = env::var("KUBELET_URL").ok().filter(|url| !url.is_empty()) {
            return Ok(Self::Own { url });
        }
        let mut command = Command::new(hosts::built("sim-kubelet"));
        command.args(["--listen", "127.0.0.1:0", "--sample-period", "1s"]);
        command.args(["--burn", BURN]);
        let process = Child::spawn(command)?;
        let start = Deadline::after(START.min(deadline.remaining()));
        let told = |what: &str| -> Result<String> {
            let found = |line: &str| line.strip_prefix(what).map(str::to_owned);
            let line =
                process.wait_for_line(Stream::Stdout, |line| found(line).is_some(), start)?;
            Ok(found(&line).unwrap_or_default())
        };
        let url = told("listening on ")?;
        let ca_file = told("ca file ")?;
        let token_file = told("token file ")?;
        Ok(Self::Simulated {
            process,
            url,
            ca_file,
            token_file,
        })
    }

    pub fn describe(&self) -> String {
        match self {
            Self::Own { url } => format!("the one at {url} (KUBELET_URL)"),
            Self::Simulated { url, .. } => {
                format!("simulated at {url}, where {} burns 785m", PODS[0])
            }
        }
    }

    /// The pods whose records must arrive. It is empty if that is not known.
    pub fn expected_pods(&self) -> &'static [&'static str] {
        match self {
            Self::Own { .. } => &[],
            Self::Simulated { .. } => &PODS,
        }
    }

    /// The variables of the shipped configuration that depend on the kubelet. For the user's
    /// own kubelet, these are defaults, and the user's environment overrides them.
    pub fn environment(&self) -> Vec<(&'static str, &str)> {
        match self {
            Self::Own { url } => vec![
                ("KUBELET_URL", url),
                ("KUBELET_CA_FILE", ""),
                ("KUBELET_TOKEN_FILE", ""),
                ("KUBELET_SERVER_NAME", ""),
                ("TARGET_NAMESPACE", ""),
                ("TARGET_POD_PREFIX", ""),
                ("SERVICE_NAME", ""),
                ("NODE_NAME", ""),
                ("SCRAPE_INTERVAL_MS", "2000"),
            ],
            Self::Simulated {
                url,
                ca_file,
                token_file,
                ..
            } => vec![
                ("KUBELET_URL", url),
                ("KUBELET_CA_FILE", ca_file),
                ("KUBELET_TOKEN_FILE", token_file),
                ("KUBELET_SERVER_NAME", SERVER_NAME),
                ("TARGET_NAMESPACE", "default"),
                ("TARGET_POD_PREFIX", "log-generator-"),
                ("SERVICE_NAME", "log-generator"),
                ("NODE_NAME", "vm"),
                ("SCRAPE_INTERVAL_MS", "1000"),
            ],
        }
    }

    /// Asks the simulated kubelet to end, so that it removes its temporary folder.
    pub fn stop(&mut self) {
        if let Self::Simulated { process, .. } = self {
            process.terminate(STOP);
        }
    }
}
