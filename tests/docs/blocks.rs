//! Every fenced block of the pages for users, as a reader would use it: configurations and
//! commands run in each host that is found, in namespaces of their own where the simulated
//! kubelet has a kubelet's address and a node's files. So not a letter of a block is changed.
//!
//! A comment before a block says where it belongs (`<!-- test: on a node -->`, `<!-- test: in
//! a pod -->`), or what it needs that is not to be had here (`<!-- test: needs a cluster -->`).

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;
use testkit::{Child, Host, Stream, hosts};

use crate::pages::{read, root};

/// For a host to come up and bring a record.
const DEADLINE: Duration = Duration::from_secs(60);

/// What may be missing here, as a mark names it.
const NEEDS: &[&str] = &[
    "a cluster",
    "docker",
    "Kafka",
    "PostgreSQL",
    "Kafka and PostgreSQL",
    "the Kafka Bridge",
    "the stack that is replaced",
    "a release",
    "minutes",
];

/// The pages whose blocks are copied.
fn pages_for_users() -> Vec<PathBuf> {
    let mut found = [
        "README.md",
        "CONTRIBUTING.md",
        "RELEASING.md",
        "consumer/README.md",
        "packaging/INSTALL.md",
    ]
    .map(PathBuf::from)
    .to_vec();
    found.extend(crate::files("docs", ".md"));
    found.extend(crate::files("deploy", ".md"));
    found
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scene {
    /// The simulated kubelet, started as the quick start says.
    Machine,
    /// A kubelet that signs for itself, its files where a kubelet has them.
    Node,
    /// A service account, and the variables that the DaemonSet sets.
    Pod,
}

#[derive(Debug)]
struct Block {
    place: String,
    language: String,
    mark: Option<String>,
    text: String,
}

impl Block {
    fn scene(&self) -> Scene {
        match self.mark.as_deref() {
            None => Scene::Machine,
            Some("on a node") => Scene::Node,
            Some("in a pod") => Scene::Pod,
            Some(mark) => panic!("{}: no such mark: {mark}", self.place),
        }
    }

    fn needs(&self) -> Option<&str> {
        let rest = self.mark.as_deref()?.strip_prefix("needs ")?;
        let need = rest.split(':').next().unwrap_or_default();
        assert!(NEEDS.contains(&need), "{}: needs {need}?", self.place);
        Some(need)
    }
}

fn blocks(path: &Path) -> Vec<Block> {
    let page = read(path);
    let (mut found, mut mark, mut open) = (Vec::new(), None, None);
    for (number, line) in (1..).zip(page.lines()) {
        let trimmed = line.trim();
        match (&mut open, trimmed.strip_prefix("```")) {
            (None, Some(language)) => {
                open = Some(Block {
                    place: format!("{}:{number}", path.display()),
                    language: language.to_owned(),
                    mark: mark.take(),
                    text: String::new(),
                });
            }
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {
                let said = trimmed.strip_prefix("<!-- test: ");
                if let Some(said) = said.and_then(|said| said.strip_suffix(" -->")) {
                    mark = Some(said.to_owned());
                } else if !trimmed.is_empty() {
                    assert_eq!(mark, None, "{}:{number}: no block follows", path.display());
                }
            }
        }
    }
    assert!(open.is_none(), "{}: a block without end", path.display());
    found
}

#[test]
fn every_block_works_as_it_stands() {
    let all: Vec<_> = pages_for_users().iter().flat_map(|p| blocks(p)).collect();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut to_run: BTreeMap<(String, Scene, String), Vec<String>> = BTreeMap::new();
    for block in &all {
        let place = &block.place;
        // The mark of another YAML block says what it is part of: tests/deploy/pages.py reads it.
        let is_other_yaml = block.language == "yaml" && !is_configuration(&block.text);
        let needs = if is_other_yaml { None } else { block.needs() };
        let what = match (&*block.language, needs) {
            ("text", None) => "output or picture, nothing to copy".to_owned(),
            ("json", None) => {
                let values = serde_json::Deserializer::from_str(&block.text).into_iter();
                let values: Result<Vec<Value>, _> = values.collect();
                let count = values.unwrap_or_else(|error| panic!("{place}: {error}"));
                assert!(!count.is_empty(), "{place}");
                "parsed (json)".to_owned()
            }
            ("yaml", None) if is_other_yaml => "validated by `make manifests` (yaml)".to_owned(),
            ("ini" | "yaml" | "sh", None) => {
                let key = (block.language.clone(), block.scene(), block.text.clone());
                to_run.entry(key).or_default().push(place.clone());
                "to run".to_owned()
            }
            ("sh", Some(need)) => {
                let mut shell = Command::new("sh");
                let syntax = shell.args(["-n", "-c", &block.text]).status();
                assert!(syntax.is_ok_and(|status| status.success()), "{place}");
                format!("marked: needs {need}")
            }
            (_, Some(need)) => format!("marked: needs {need}"),
            (language, None) => panic!(
                "{place}: a block of {language:?} is not run here: mark what it needs, \
                 or call it text"
            ),
        };
        *counts.entry(what).or_default() += 1;
    }
    println!("{} blocks", all.len());
    for (what, count) in &counts {
        println!("{count:5}  {what}");
    }
    assert!(to_run.len() >= 8, "only {} to run", to_run.len());

    if let Err(why) = namespaces() {
        println!("blocks NOT RUN: {}: {why}", to_run.len());
        return;
    }
    let mut failed = String::new();
    for host in hosts::to_test() {
        for ((language, scene, text), places) in &to_run {
            let places = places.join(", ");
            if let Some(lack) = lacks(&host, language, text) {
                println!("{}: {places}: not run: {lack}", host.name);
                continue;
            }
            match run(&host, language, *scene, text) {
                Ok(seen) => println!("{}: {places}: {seen}", host.name),
                Err(why) => {
                    writeln!(failed, "{}: {places}:\n{text}{why}\n", host.name).expect("text");
                }
            }
        }
    }
    assert!(failed.is_empty(), "\n{failed}");
}

/// Both quick starts give the same commands; only what stands behind `#` is translated.
#[test]
fn the_korean_quick_start_has_the_same_blocks() {
    let of = |path: &str| -> Vec<_> {
        let found = blocks(Path::new(path)).into_iter();
        let code = |line: &str| line.split(" # ").next().map(|code| code.trim().to_owned());
        found
            .map(|block| block.text.lines().map(code).collect::<Vec<_>>())
            .collect()
    };
    assert_eq!(of("docs/quickstart.md"), of("docs/quickstart.ko.md"));
}

/// Root of a user namespace, with mounts, a loopback and processes of its own.
fn namespace() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "--net"]);
    command.args(["--pid", "--fork", "--kill-child", "sh", "-c"]);
    command
}

fn namespaces() -> Result<(), String> {
    let tried = namespace()
        .arg("ip link set lo up && mount -t tmpfs none /mnt")
        .output();
    match tried {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(format!("unshare: {error}")),
    }
}

/// What comes before the block. `$HERE` is a copy of the repository as after `make build tools`.
fn scenery(scene: Scene, text: &str) -> &'static str {
    match scene {
        Scene::Machine if text.contains("sim-kubelet") => "",
        Scene::Machine => "kubelet target/kubelet",
        Scene::Node => {
            "mount -t tmpfs none /var/lib
             mkdir -p /var/lib/kubelet/pki
             kubelet /var/lib/kubelet/pki --server-name \"$(hostname)\"
             cp /var/lib/kubelet/pki/token ../token-of-the-cluster"
        }
        Scene::Pod => {
            "mount -t tmpfs none /var/lib
             mkdir -p /var/lib/kubelet/pki
             kubelet /var/lib/kubelet/pki --server-name node-7
             mount -t tmpfs none \"$(readlink -f /var/run)\"
             account=/var/run/secrets/kubernetes.io/serviceaccount
             mkdir -p $account
             cp /var/lib/kubelet/pki/ca.crt /var/lib/kubelet/pki/token $account
             export NODE_NAME=node-7 NODE_IP=127.0.0.1 KUBELET_SERVER_NAME=node-7
             export KUBELET_URL=https://127.0.0.1:10250 TARGET_NAMESPACE=default
             export TARGET_POD_PREFIX=log-generator SCRAPE_INTERVAL_MS=10000
             export KUBELET_TIMEOUT_MS=5000 ALLOW_INSECURE_TLS=false KAFKA_BROKERS=127.0.0.1:9092"
        }
    }
}

const START: &str = r#"set -e
ip link set lo up
export PATH="$HERE/bin:$PATH"
cd "$HERE/clone"
kubelet() {
    target/debug/sim-kubelet --dir "$@" > ../kubelet.out &
    until grep -q 'listening on' ../kubelet.out; do kill -0 $!; sleep 0.1; done
}
"#;

/// Programs that a block finds on the `PATH`, but for the host.
const STUBS: &[(&str, &str)] = &[
    ("sudo", "while [ \"${1#-}\" != \"$1\" ]; do shift; done\nexec \"$@\""),
    ("make", "case \"$*\" in build|tools|'build tools') ;; *) exit 1;; esac"),
    (
        "kubectl",
        "case \"$1 $2\" in 'create token') cat \"$HERE/token-of-the-cluster\";;
            'create serviceaccount'|'create clusterrole'|'create clusterrolebinding') ;; *) exit 1;; esac",
    ),
];

/// A clone after `make build tools`, and a `PATH`; removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(host: &Host) -> Self {
        let folder = env::temp_dir().join(format!("blocks-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        for inner in ["bin", "clone/target/release", "clone/target/debug"] {
            fs::create_dir_all(folder.join(inner)).expect("a folder");
        }
        let here = Self(folder);
        for entry in fs::read_dir(root()).expect("the repository") {
            let name = entry.expect("an entry").file_name();
            if name != "target" && !name.to_string_lossy().starts_with('.') {
                here.link(&root().join(&name), &Path::new("clone").join(&name));
            }
        }
        let built = Path::new("clone/target");
        here.link(
            &hosts::plugin_path(),
            &built.join("release/flb-in_kubeletstats.so"),
        );
        here.link(
            &hosts::built("sim-kubelet"),
            &built.join("debug/sim-kubelet"),
        );
        here.link(
            &hosts::built("kubeletstats"),
            &built.join("debug/kubeletstats"),
        );
        here.link(&host.path, Path::new("bin/fluent-bit"));
        for (name, script) in STUBS {
            let path = here.0.join("bin").join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a stub");
            let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(&path, executable).expect("a mode");
        }
        here
    }

    fn link(&self, target: &Path, name: &Path) {
        assert!(
            target.exists(),
            "{}: run `make build tools`",
            target.display()
        );
        symlink(target, self.0.join(name)).expect("a link");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a block until it has shown what it is for: a record where there is a host, else that
/// the kubelet listens, else an end with 0.
fn run(host: &Host, language: &str, scene: Scene, text: &str) -> Result<String, String> {
    let here = Folder::new(host);
    let block = here.0.join(format!("clone/block.{language}"));
    fs::write(&block, text).expect("the block");
    let mut script = format!("{START}{}\n", scenery(scene, text));
    if language == "sh" {
        script.push_str("exec sh -e block.sh\n");
    } else {
        script.push_str(&configured(language, text));
    }
    let mut command = namespace();
    command.arg(script).env("HERE", &here.0);
    for variable in ["NODE_NAME", "NODE_IP", "KAFKA_BROKERS"] {
        command.env_remove(variable);
    }
    let mut child = Child::spawn(command).map_err(|error| error.to_string())?;
    let scrapes = language != "sh" || text.contains("fluent-bit -");
    let seen = if !scrapes && !text.contains("sim-kubelet") {
        let status = child.wait_for_exit(DEADLINE);
        status
            .ok()
            .filter(|status| status.success())
            .map(|_| "ended with 0".to_owned())
    } else {
        let listens = |line: &str| line.starts_with("listening on https://");
        let wanted = |line: &str| {
            if scrapes {
                is_record(line)
            } else {
                listens(line)
            }
        };
        let shown = child.wait_for_line(Stream::Stdout, wanted, DEADLINE);
        shown.ok().map(|line| line.chars().take(60).collect())
    };
    let tail = child.tail();
    child.kill();
    seen.ok_or(tail)
}

/// A YAML block for Fluent Bit, and not for Kubernetes.
fn is_configuration(text: &str) -> bool {
    text.lines().any(|line| line == "pipeline:")
}

/// The command for a configuration. A block that shows a part is completed by the command
/// line with the plugin, an input or an output; what it says itself stays.
fn configured(language: &str, text: &str) -> String {
    let lower = text.to_lowercase();
    let says = |words: [&str; 2]| words.iter().any(|word| lower.contains(word));
    let mut command = format!("exec fluent-bit -c block.{language}");
    if !says(["plugins_file", "plugins:"]) {
        command.push_str(" -e target/release/flb-in_kubeletstats.so");
    }
    if !says(["[input]", "inputs:"]) {
        command.push_str(" -i kubeletstats -t kubeletstats");
        command.push_str(" -p kube_token_file=target/kubelet/token");
        command.push_str(" -p kube_ca_file=target/kubelet/ca.crt");
    }
    if !lower.contains("stdout") {
        command.push_str(" -o stdout -m '*' -p format=json_lines");
    }
    command
}

/// What a block needs that this host has not: native metrics came with 2.0.
fn lacks(host: &Host, language: &str, text: &str) -> Option<&'static str> {
    // The shipped file is YAML as well.
    if (language == "yaml" || text.contains("-c fluent-bit.yaml")) && !host.takes_yaml() {
        return Some("no YAML with plugins");
    }
    let lower = text.to_lowercase();
    let mut lines = lower.lines().map(|line| line.split_whitespace().collect());
    let wants_metrics = lines
        .any(|words: Vec<&str>| matches!(&words[..], ["format" | "format:", "metrics" | "both"]));
    let has_metrics = host.embedded || host.version >= Some((2, 0, 0));
    (wants_metrics && !has_metrics).then_some("no metrics for plugins")
}

/// A container's record, the plugin's own of records that were taken, or its metric of a scrape
/// that succeeded.
fn is_record(line: &str) -> bool {
    if line.contains("kubeletstats_up{") && line.ends_with("= 1") {
        return true;
    }
    let Ok(record) = serde_json::from_str::<Value>(line) else {
        return false;
    };
    record["cpu"].is_number() || record["records"].as_u64() > Some(0)
}
