//! What the documentation says about the options is what the table holds.

use std::{fs, process::Command};

use kubeletstats_core::options::OPTIONS;

fn read(name: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/").to_owned() + name;
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_options_table_of_the_readme() {
    let readme = read("README.md");
    let rows: Vec<_> = readme
        .lines()
        .skip_while(|line| *line != "| option | default | meaning |")
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    let expected: Vec<_> = OPTIONS
        .iter()
        .map(|option| {
            let default = option.default.map(|default| format!("`{default}`"));
            let default = default.unwrap_or_else(|| "–".to_owned());
            format!("| `{}` | {default} | {} |", option.name, option.help)
        })
        .collect();
    assert_eq!(rows, expected);
}

/// Fluent Bit refuses a configuration with an option nobody knows.
#[test]
fn the_shipped_configuration_uses_options_that_exist() {
    let conf = read("fluent-bit.conf");
    let input = conf
        .split("[INPUT]")
        .nth(1)
        .and_then(|rest| rest.split("\n[").next())
        .expect("an input");
    let keys = input
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        // Those with a dot are the host's own.
        .filter(|key| !matches!(*key, "Name" | "Tag") && !key.contains(['#', '.']));
    let mut used = 0;
    for key in keys {
        used += 1;
        let known = OPTIONS
            .iter()
            .any(|option| option.name.eq_ignore_ascii_case(key));
        assert!(known, "{key}");
    }
    assert!(used > 5, "only {used} options");
}

#[test]
fn the_version_stands_in_one_place() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/version.sh");
    let output = Command::new(script).arg("--check").output().expect("bash");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}: run packaging/version.sh");
}
