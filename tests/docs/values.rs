//! The table of values in `docs/record.md` is the catalogue's, and the manual page's list of
//! options that of the code. `GOLDEN=rewrite cargo test --test docs values` writes both anew.

use std::{env, fs};

use kubeletstats_core::{
    catalogue::{ContainerStats, Kind, Level, OF_CONTAINER_RECORD, Part, Unit, Value},
    options::OPTIONS,
};

use crate::pages::{read, root};

const HEAD: &str = "| value | type, unit | source | |\n|---|---|---|---|\n";

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
        match bare.contains('.') {
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
        (other, unit) => panic!("{other} of {unit:?} has no words"),
    }
}

fn rows(parts: &[Part], level: Level) -> String {
    let mut text = String::new();
    for part in parts {
        for value in part.values {
            let mut source = source(part, value);
            for (of, suffix, made) in value.fields.iter().filter(|(of, ..)| *of <= level) {
                let _ = of;
                let kind = match value.kind {
                    Kind::Counter => "counter",
                    Kind::Gauge => "gauge",
                };
                let (prefix, unit) = (part.prefix, unit(value, made));
                text.push_str(&format!(
                    "| `{prefix}{suffix}` | {unit} | {source} | {kind} |\n"
                ));
                source = "the same".to_owned();
            }
        }
    }
    text
}

#[test]
fn the_table_of_values_is_the_catalogues() {
    let [rate, others @ ..] = OF_CONTAINER_RECORD else {
        panic!("a rate comes first");
    };
    let level = Level::Least;
    let expected = [
        rows(std::slice::from_ref(rate), level),
        rows(ContainerStats::PARTS, level),
        rows(others, level),
    ]
    .concat();
    let page = read("docs/record.md");
    let (before, rest) = page.split_once(HEAD).expect("the table");
    let (found, after) = rest.split_once("\n\n").expect("an end of it");
    if env::var_os("GOLDEN").is_some() {
        let page = format!("{before}{HEAD}{expected}\n{after}");
        fs::write(root().join("docs/record.md"), page).expect("the page can be written");
        return;
    }
    assert_eq!(format!("{found}\n"), expected);
}

#[test]
fn the_manual_page_lists_the_options() {
    const PAGE: &str = "packaging/debian/kubeletstats.1";
    const HEAD: &str = ".SH OPTIONS OF THE PLUGIN\n";
    let expected: String = OPTIONS
        .iter()
        .map(|option| {
            let default = option
                .default
                .map(|default| format!(" (default: {default})"));
            let (name, help) = (option.name, option.help.replace('\'', "\\(aq"));
            let default = default.unwrap_or_default();
            format!(".TP\n\\fB{name}\\fR{default}\n{help}\n")
        })
        .collect();
    let page = read(PAGE);
    let (before, rest) = page.split_once(HEAD).expect("the section");
    let (found, after) = rest.split_once(".SH ").expect("another behind it");
    if env::var_os("GOLDEN").is_some() {
        let page = format!("{before}{HEAD}{expected}.SH {after}");
        fs::write(root().join(PAGE), page).expect("the page can be written");
        return;
    }
    assert_eq!(found, expected);
}
