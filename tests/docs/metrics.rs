//! The tables of metrics on the pages are made of the catalogue, of the names that metrics have,
//! and of what is known of the receiver's. `GOLDEN=rewrite cargo test --test docs metrics` writes
//! them anew.

use std::{borrow::Cow, collections::BTreeMap, env, fs};

use kubeletstats_core::{
    catalogue::{Kind, Level, Part, Value},
    sink::metrics::{
        KUBE_STATE, MACHINE_MEMORY, Naming, SELF, Scope, Told,
        names::{self, ESTABLISHED, Named},
        shared_labels,
    },
};

use crate::pages::{read, root};

#[path = "../../core/tests/core/receiver.rs"]
mod receiver;

use receiver::{METRICS, Ours, Type};

/// Of which metrics there is a table, and what its scope is called.
const SCOPES: [(&str, Scope); 8] = [
    ("container", Scope::Container),
    ("pod", Scope::Pod),
    ("pod network", Scope::PodNetwork),
    ("node", Scope::Node),
    ("node network", Scope::NodeNetwork),
    ("system_container", Scope::SystemContainer),
    ("claim", Scope::Claim),
    ("volume", Scope::Volume),
];

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
    }
}

/// Pressure has the same rows for each resource, share and time: one stands for all where the
/// names follow one rule. R is the resource, S the share, N the time.
fn of_pressure(text: &str, part: &Part) -> Option<String> {
    let (resource, share) = part.json.split_once(".psi.")?;
    let mut text = text.to_owned();
    for separator in [".", "_"] {
        let these = format!("{resource}{separator}psi{separator}{share}");
        text = text.replace(&these, &format!("R{separator}psi{separator}S"));
    }
    for time in ["avg300", "avg60", "avg10"] {
        text = text.replace(time, "avgN");
    }
    text.contains("psi").then_some(text)
}

fn source(scope: Scope, part: &Part, row: &Value) -> String {
    let is_network = matches!(scope, Scope::PodNetwork | Scope::NodeNetwork);
    let path = match part.json {
        "" if is_network && !row.json.contains(' ') => format!("network.{}", row.json),
        "" => row.json.to_owned(),
        json => format!("{json}.{}", row.json),
    };
    let is_key = !path.contains(' ');
    match is_key {
        true => format!("`{path}`"),
        false => path,
    }
}

/// From which level on it is there. Ages and rates are made whatever the level is.
fn level(scope: Scope, row: &Value) -> &'static str {
    let basic = match scope {
        Scope::Container => Level::Least,
        _ => Level::Basic,
    };
    let is_age =
        row.unit == kubeletstats_core::catalogue::Unit::Seconds && row.json.contains("startTime");
    match row.level <= basic || is_age {
        true => "basic",
        false => "all",
    }
}

fn labels(named: &Named, naming: Naming) -> String {
    let shown = named.labels.iter().map(|(key, value)| match naming {
        Naming::Prometheus => format!("`{key}=\"{value}\"`"),
        Naming::OpenTelemetry => format!("`{key}` `{value}`"),
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn rows(scope: Scope, naming: Naming) -> String {
    let head = match naming {
        Naming::Prometheus => "| metric | type | unit | its own labels | source | `fields` |",
        Naming::OpenTelemetry => {
            "| metric | type | unit | attributes of the point | source | `fields` |"
        }
    };
    let mut lines = vec![head.to_owned(), "|---|---|---|---|---|---|".to_owned()];
    for part in scope.parts() {
        for row in part.values {
            let named = match naming {
                Naming::Prometheus => names::prometheus(scope, part, row),
                Naming::OpenTelemetry => names::opentelemetry(scope, part, row),
            };
            for named in named {
                let (mut name, unit) = (named.name.to_string(), named.unit);
                let (kind, labels) = (kind(row.kind), labels(&named, naming));
                let (mut source, level) = (source(scope, part, row), level(scope, row));
                if let Some(of_all) = of_pressure(&name, part) {
                    source = of_pressure(&source, part).expect("of pressure as well");
                    name = of_all;
                }
                let line =
                    format!("| `{name}` | {kind} | `{unit}` | {labels} | {source} | {level} |");
                let line = line.replace("  ", " ");
                if !lines.contains(&line) {
                    lines.push(line);
                }
            }
        }
    }
    if (scope, naming) == (Scope::Node, Naming::Prometheus) {
        let Told { name, unit, .. } = MACHINE_MEMORY;
        lines.push(format!(
            "| `{name}` | gauge | `{unit}` | | sum of `memory.availableBytes` and `memory.workingSetBytes` | basic |"
        ));
    }
    lines.join("\n")
}

fn told(all: &[&Told]) -> String {
    let mut lines = vec![
        "| metric | type | unit | labels | meaning |".to_owned(),
        "|---|---|---|---|---|".to_owned(),
    ];
    for one in all {
        let labels: Vec<_> = one.labels.iter().map(|key| format!("`{key}`")).collect();
        let labels = labels.join(" ");
        let (name, unit, about) = (one.name, one.unit, one.about);
        let line = format!(
            "| `{name}` | {} | `{unit}` | {labels} | {about} |",
            kind(one.kind)
        );
        lines.push(line.replace("  ", " "));
    }
    lines.join("\n")
}

/// The labels that all metrics of a scope have, with and without facts.
fn shared() -> String {
    let mut lines = vec![
        "| metrics of | labels of all of them |".to_owned(),
        "|---|---|".to_owned(),
    ];
    for (name, scope) in SCOPES {
        let code = |keys: &[&str]| {
            keys.iter()
                .map(|key| format!("`{key}`"))
                .collect::<Vec<_>>()
        };
        let [plain, facts] =
            [false, true].map(|has| code(shared_labels(Naming::Prometheus, scope, has)));
        let mut text = plain.join(" ");
        if facts != plain {
            text.push_str(&format!(
                "; with `pod_facts` also {}",
                facts[plain.len()..].join(" ")
            ));
        }
        lines.push(format!("| {name} | {text} |").replace("  ", " "));
    }
    lines.join("\n")
}

/// The receiver's metrics, and what there is of each.
fn of_receiver() -> String {
    let mut lines = vec![
        "| metric | on by default | type | unit | here |".to_owned(),
        "|---|---|---|---|---|".to_owned(),
    ];
    let words = |kind: Type| match kind {
        Type::Gauge => "gauge",
        Type::Counter => "counter",
        Type::UpDown => "up-down counter",
    };
    for metric in METRICS {
        let here = match metric.ours {
            Ours::Same => "the same".to_owned(),
            Ours::As(kind, why) if kind == metric.kind => format!("the same, {why}"),
            Ours::As(kind, why) => format!("the same, but a {}: {why}", words(kind)),
            Ours::None(instead) => format!("no: {instead}"),
        };
        let default = if metric.is_default { "yes" } else { "no" };
        let (name, unit, kind) = (metric.name, metric.unit, words(metric.kind));
        lines.push(format!(
            "| `{name}` | {default} | {kind} | `{unit}` | {here} |"
        ));
    }
    lines.join("\n")
}

/// The names of the kubelet's own pages, and of what each is made.
fn of_pages() -> String {
    let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for scope in Scope::ALL {
        for part in scope.parts() {
            for row in part.values {
                for named in names::prometheus(scope, part, row) {
                    let Cow::Borrowed(name) = named.name else {
                        continue;
                    };
                    let of = SCOPES.iter().find(|(_, one)| *one == scope);
                    let of = of.map_or("", |(name, _)| *name);
                    let source = source(scope, part, row);
                    found
                        .entry(name)
                        .or_default()
                        .push(format!("{of}: {source}"));
                }
            }
        }
    }
    let total: usize = found.values().map(Vec::len).sum();
    assert_eq!(total, ESTABLISHED.len());
    let mut lines = vec![
        "| metric | computed from |".to_owned(),
        "|---|---|".to_owned(),
    ];
    for (name, sources) in found {
        lines.push(format!("| `{name}` | {} |", sources.join("; ")));
    }
    lines.join("\n")
}

#[test]
fn the_tables_of_metrics_are_the_programs() {
    let mut tables = vec![
        ("docs/metrics.md", "labels".to_owned(), shared()),
        ("docs/metrics.md", "self".to_owned(), told(&SELF)),
        (
            "docs/metrics.md",
            "kube_state_metrics".to_owned(),
            told(&KUBE_STATE),
        ),
        (
            "docs/from-opentelemetry.md",
            "receiver".to_owned(),
            of_receiver(),
        ),
        ("docs/from-cadvisor.md", "pages".to_owned(), of_pages()),
    ];
    for (naming, word) in [
        (Naming::Prometheus, "prometheus"),
        (Naming::OpenTelemetry, "opentelemetry"),
    ] {
        for (name, scope) in SCOPES {
            // A claim changes no name there.
            if (naming, scope) != (Naming::OpenTelemetry, Scope::Claim) {
                let text = rows(scope, naming);
                tables.push(("docs/metrics.md", format!("{word}, {name}"), text));
            }
        }
    }
    let mut pages = BTreeMap::new();
    for (path, name, text) in &tables {
        let page = pages.entry(*path).or_insert_with(|| read(path));
        let mark = format!("<!-- table of metrics: {name} -->\n");
        let (before, rest) = page
            .split_once(&mark)
            .unwrap_or_else(|| panic!("{path}: {mark}"));
        let (found, after) = rest.split_once("\n\n").expect("an end of it");
        if env::var_os("GOLDEN").is_none() {
            assert_eq!(found, text, "{path}: {name}");
        }
        *page = format!("{before}{mark}{text}\n\n{after}");
    }
    let marks = pages
        .values()
        .map(|page| page.matches("<!-- table of metrics: ").count());
    assert_eq!(
        marks.sum::<usize>(),
        tables.len(),
        "a table that nobody writes"
    );
    if env::var_os("GOLDEN").is_some() {
        for (path, page) in pages {
            fs::write(root().join(path), page).expect("the page can be written");
        }
    }
}
