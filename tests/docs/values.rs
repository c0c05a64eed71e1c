//! The tables of values in `docs/record.md` are the catalogue's. `GOLDEN=rewrite cargo test --test docs values`
//! writes them anew.

use std::{collections::BTreeSet, env, fs};

use kubeletstats_core::catalogue::{
    Age, Allotment, ContainerStats, Filesystem, Kind, Level, NodeStats, OF_CONTAINER_RECORD, Part,
    PodStats, Rate, Restarts, RuntimeStats, Traffic, TrafficRate, Unit, Utilization, Value,
    VolumeHealth,
};

use crate::pages::{read, root};

const HEAD: &str = "| field | type, unit | source | |\n|---|---|---|---|\n";
const FACTS_HEAD: &str = "| field | type, unit | source | | absent when |\n|---|---|---|---|---|\n";
const LONG_HEAD: &str =
    "| field | type, unit | source | | `fields` | absent when |\n|---|---|---|---|---|---|\n";

/// What a table has of each value.
#[derive(Clone, Copy)]
enum Form {
    /// The default record's.
    Short,
    /// And what is known of its absence.
    Facts,
    /// With `basic` or `all`, and what is known of its absence.
    Long {
        /// The level of `fields basic` for this kind of record.
        basic: Level,
    },
}

/// A table of the page: its name in the comment before it, and its text.
struct Table {
    name: &'static str,
    text: String,
}

/// A group that has no place in the reply of its own, or one that is not in a list of parts.
const fn part(json: &'static str, prefix: &'static str, values: &'static [Value]) -> Part {
    Part {
        json,
        prefix,
        opentelemetry: "",
        values,
    }
}

/// Paths in code, the words between them not.
fn source(part: &Part, value: &Value) -> String {
    let path = match part.json {
        "" => value.json.to_owned(),
        json => format!("{json}.{}", value.json),
    };
    let parts = path.split(' ').map(|word| {
        let (bare, comma) = match word.strip_suffix(',') {
            Some(bare) => (bare, ","),
            None => (word, ""),
        };
        let is_name = bare.contains(['.', '_']) || bare.contains(char::is_uppercase);
        match is_name || !path.contains(' ') {
            true => format!("`{bare}`{comma}"),
            false => word.to_owned(),
        }
    });
    parts.collect::<Vec<_>>().join(" ")
}

fn unit(value: &Value, made: &str) -> &'static str {
    match (made, value.unit) {
        ("whole", Unit::Bytes) => "integer, bytes",
        ("whole", Unit::CoreNanoseconds) => "integer, nanoseconds of one core",
        ("whole", _) => "integer",
        ("mebibytes", _) => "number, MiB",
        ("percent", _) => "number, percent of one core",
        ("cores", _) => "number, cores",
        ("seconds", _) => "number, seconds",
        ("real", Unit::Percent) => "number, percent of the time",
        ("real", Unit::BytesPerSecond) => "number, bytes a second",
        ("real", Unit::Seconds) => "number, seconds",
        ("real", Unit::Cores) => "number, cores",
        ("real", Unit::Ratio) => "number, from 0; 1 is all of it",
        (other, unit) => panic!("{other} of {unit:?} has no words"),
    }
}

/// What is known of when the kubelet leaves a value out, besides what the page says of all.
fn absent(kind: &str, field: &str) -> &'static str {
    let ends = |end: &str| field.ends_with(end);
    let begins = |start: &str| field.starts_with(start);
    match (kind, field) {
        ("container", "cpu" | "cpu_cores") => "never: without it there is no record",
        (_, "cpu" | "cpu_cores") => "this sample [gives no rate](#cpu)",
        _ if field.contains("_psi_") => {
            "cgroup v1; a kubelet without `KubeletPSI` (a feature gate of 1.33, on in 1.36)"
        }
        (_, "memory_available_bytes") if kind != "node" => "no memory limit",
        ("container" | "pod", "memory" | "memory_bytes") => "more than the node has",
        _ if begins("swap_") => "the kubelet does not report it at times",
        ("system_container", _) if begins("rootfs_") || begins("logs_") => {
            "always, in every captured reply"
        }
        (_, "process_count") => "the first seconds of a pod",
        (_, "disk" | "disk_bytes") => "not measured yet",
        _ if ends("_bytes_per_second") => "[the first sample](#network)",
        ("container" | "pod" | "node", _) if begins("network_") => {
            "several interfaces and none is the default"
        }
        (_, "uptime_seconds") => "no `startTime`",
        (_, "volume_health_abnormal") => "a kubelet without `CSIVolumeHealth`",
        _ if ends("_utilization") => "the usage is absent, or the request or limit is absent or 0",
        _ if begins("cpu_request") || begins("cpu_limit") => "none is set",
        _ if begins("memory_request") || begins("memory_limit") => "none is set",
        _ => "",
    }
}

/// Those of pressure are the same for every resource and kind: they have a table of their own.
fn is_pressure(part: &Part) -> bool {
    part.prefix.contains("_psi_")
}

/// The rows of these parts with fields from `least` to `most`.
fn rows(kind: &str, parts: &[Part], form: Form, (least, most): (Level, Level)) -> String {
    let mut text = String::new();
    for part in parts {
        if is_pressure(part) && kind != "pressure" {
            let (resource, _) = part.prefix.split_once("_psi_").expect("pressure");
            let (json, share) = part.json.rsplit_once('.').expect("some or full");
            if share == "some" && most == Level::All {
                text.push_str(&format!(
                    "| `{resource}_psi_…` | eight fields of [pressure](#pressure) | `{json}` | | all | |\n"
                ));
            }
            continue;
        }
        for value in part.values {
            let mut source = source(part, value);
            if kind == "interface" {
                // It is one of those in `network`, and stands beside the pod's own counters.
                source = source.replace("network.", "");
            }
            let wanted = |of: &Level| *of >= least && *of <= most;
            for (of, suffix, made) in value.fields.iter().filter(|(of, ..)| wanted(of)) {
                let count = match value.kind {
                    Kind::Counter => "counter",
                    Kind::Gauge => "gauge",
                };
                let (prefix, unit) = (part.prefix, unit(value, made));
                text.push_str(&format!(
                    "| `{prefix}{suffix}` | {unit} | {source} | {count} |"
                ));
                if let Form::Long { basic } = form {
                    let level = if *of <= basic { "basic" } else { "all" };
                    text.push_str(&format!(" {level} |"));
                }
                if !matches!(form, Form::Short) {
                    let absent = absent(kind, &format!("{prefix}{suffix}"));
                    text.push_str(&format!(" {absent} |").replace("  ", " "));
                }
                text.push('\n');
                source = "the same".to_owned();
            }
        }
    }
    text
}

/// Everything that a record of this kind can have, in its order.
fn parts(kind: &str) -> Vec<Part> {
    let copy = |parts: &[Part]| -> Vec<Part> {
        let copies = parts
            .iter()
            .map(|one| part(one.json, one.prefix, one.values));
        copies.collect()
    };
    let rate = part("", "cpu", Rate::VALUES);
    let traffic = || {
        vec![
            part("network", "network", Traffic::VALUES),
            part("", "network", TrafficRate::VALUES),
        ]
    };
    let mut found = match kind {
        "container" => {
            let [rate, others @ ..] = OF_CONTAINER_RECORD else {
                panic!("a rate comes first");
            };
            let rate = std::slice::from_ref(rate);
            [copy(rate), copy(ContainerStats::PARTS), copy(others)].concat_parts()
        }
        "pod" => [vec![rate], copy(PodStats::PARTS), traffic()].concat_parts(),
        "node" => {
            let of_runtime = RuntimeStats::PARTS.iter().map(|one| match one.json {
                "imageFs" => part("runtime.imageFs", one.prefix, one.values),
                "containerFs" => part("runtime.containerFs", one.prefix, one.values),
                other => panic!("{other} has no place"),
            });
            let of_runtime = of_runtime.collect();
            [vec![rate], copy(NodeStats::PARTS), traffic(), of_runtime].concat_parts()
        }
        "system_container" => [vec![rate], copy(ContainerStats::PARTS)].concat_parts(),
        "volume" => vec![
            part("", "volume", Filesystem::VALUES),
            part("", "volume_health", VolumeHealth::VALUES),
        ],
        "interface" => vec![
            part("", "network", Traffic::VALUES),
            part("", "network", TrafficRate::VALUES),
        ],
        other => panic!("no such kind: {other}"),
    };
    found.push(part("", "uptime", Age::VALUES));
    found
}

trait Concat {
    fn concat_parts(self) -> Vec<Part>;
}

impl<const N: usize> Concat for [Vec<Part>; N] {
    fn concat_parts(self) -> Vec<Part> {
        self.into_iter().flatten().collect()
    }
}

/// Of one resource, which the page calls R.
fn pressure() -> String {
    let of_cpu = ContainerStats::PARTS
        .iter()
        .filter(|part| part.prefix.starts_with("cpu_psi_"))
        .map(|one| part(one.json, one.prefix, one.values));
    let of_cpu: Vec<_> = of_cpu.collect();
    let text = rows("pressure", &of_cpu, Form::Facts, (Level::Least, Level::All));
    // Every resource has the same, wherever there is pressure at all.
    for kind in ["container", "pod", "node", "system_container"] {
        for one in parts(kind).iter().filter(|part| is_pressure(part)) {
            let (resource, _) = one.prefix.split_once("_psi_").expect("pressure");
            let same = of_cpu.iter().any(|cpu| {
                cpu.prefix.replacen("cpu", resource, 1) == one.prefix
                    && cpu.json.replacen("cpu", resource, 1) == one.json
                    && std::ptr::eq(cpu.values, one.values)
            });
            assert!(same, "{kind}: {}", one.prefix);
        }
    }
    text.replace("`cpu", "`R")
}

/// All tables, by the name that the page has for them.
fn tables() -> Vec<Table> {
    let container = parts("container");
    let short = rows(
        "container",
        &container,
        Form::Short,
        (Level::Least, Level::Least),
    );
    let long = |kind: &'static str, levels| {
        let basic = match kind {
            "container" => Level::Least,
            _ => Level::Basic,
        };
        let (least, most) = levels;
        let parts = parts(kind);
        let form = Form::Long { basic };
        let mut text = String::new();
        if least <= basic {
            text.push_str(&rows(kind, &parts, form, (least, basic)));
        }
        let rest = if least <= basic { Level::All } else { least };
        text.push_str(&rows(kind, &parts, form, (rest, most)));
        Table {
            name: kind,
            text: format!("{LONG_HEAD}{text}"),
        }
    };
    let everything = (Level::Least, Level::All);
    let facts = [
        part("", "", Restarts::VALUES),
        part("", "", Allotment::VALUES),
        part("", "", Utilization::VALUES),
    ];
    let facts = rows("facts", &facts, Form::Facts, everything);
    vec![
        Table {
            name: "default",
            text: format!("{HEAD}{short}"),
        },
        long("container", (Level::Basic, Level::All)),
        long("pod", everything),
        long("node", everything),
        long("system_container", everything),
        long("volume", everything),
        long("interface", everything),
        Table {
            name: "pressure",
            text: format!("{FACTS_HEAD}{}", pressure()),
        },
        Table {
            name: "facts",
            text: format!("{FACTS_HEAD}{facts}"),
        },
    ]
}

#[test]
fn the_tables_of_values_are_the_catalogues() {
    let mut page = read("docs/record.md");
    let mut names = BTreeSet::new();
    for Table { name, text } in tables() {
        let mark = format!("<!-- table of the catalogue: {name} -->\n");
        names.insert(name);
        let (before, rest) = page.split_once(&mark).expect(&mark);
        let (found, after) = rest.split_once("\n\n").expect("an end of it");
        if env::var_os("GOLDEN").is_none() {
            assert_eq!(format!("{found}\n"), text, "{name}");
        }
        page = format!("{before}{mark}{text}\n{after}");
    }
    let marks = page.matches("<!-- table of the catalogue: ").count();
    assert_eq!(marks, names.len(), "a table that nobody writes");
    if env::var_os("GOLDEN").is_some() {
        fs::write(root().join("docs/record.md"), page).expect("the page can be written");
    }
}

/// The text fields that `pod_facts` adds, and whom a record is about, stand on the page by
/// hand: each that the source writes is in one of its tables.
#[test]
fn every_text_field_of_a_record_is_on_the_page() {
    let page = read("docs/record.md");
    let source = read("core/src/sink/record.rs");
    let mut checked = 0;
    for call in [
        "out.text(\"",
        "out.rfc3339(\"",
        "out.int(\"",
        "out.uint(\"",
        "optional(out, \"",
        "optional(&mut out, \"",
        "\n        (\"",
    ] {
        for rest in source.split(call).skip(1) {
            let field = rest.split('"').next().unwrap_or_default();
            let is_field = field.chars().all(|c| c.is_alphanumeric() || c == '_');
            let ends_key = rest[field.len()..].starts_with("\",");
            if field.is_empty() || !is_field || !ends_key {
                continue;
            }
            checked += 1;
            let shown = page.contains(&format!("`{field}`"))
                || page.contains(&format!("`metadata.{field}`"));
            assert!(shown, "{field}");
        }
    }
    assert!(checked >= 25, "only {checked} fields");
}
