//! The documentation against the program: options, log lines, links, targets. What is
//! added to the one and not to the other fails here. Blocks that can be copied are run.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use kubeletstats_core::{
    error::Error,
    options::{Config, OPTIONS},
};

mod blocks;
mod lines;
mod metrics;
mod pages;
mod promises;
mod values;
mod workflows;

use pages::{Makefiles, anchors, code, files, pages, read, root};

fn config(given: &[(String, String)]) -> Result<Config, Error> {
    Config::read(|name| {
        let found = given
            .iter()
            .rfind(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone())
    })
}

fn one(name: &str, value: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), value.to_owned())]
}

#[test]
fn every_option_has_its_section_and_its_default() {
    let page = read("docs/options.md");
    let sections: Vec<_> = page.split("\n### ").skip(1).collect();
    let titles: BTreeSet<_> = sections
        .iter()
        .map(|section| section.lines().next().unwrap_or_default().trim_matches('`'))
        .collect();
    let names: BTreeSet<_> = OPTIONS.iter().map(|option| option.name).collect();
    assert_eq!(titles, names);
    for option in OPTIONS {
        let title = format!("`{}`", option.name);
        let section = sections.iter().find(|text| text.starts_with(&title));
        let section = section.expect("found above");
        let default = match option.default {
            Some(default) => format!("\nDefault: `{default}`\n"),
            None => "\nDefault: not set".to_owned(),
        };
        assert!(section.contains(&default), "{title}: {default}");
    }
}

#[test]
fn the_options_table_is_on_one_page() {
    let page = read("docs/options.md");
    let rows: Vec<_> = page
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
    let first = &expected[0];
    let has_table = |path: &PathBuf| read(path).contains(first);
    assert_eq!(pages().iter().filter(|path| has_table(path)).count(), 1);
}

/// Each quoted refusal is what the option says to the value it quotes, and each option
/// that can refuse one has a quotation.
#[test]
fn refusals_are_quoted_as_they_are() {
    let page = read("docs/options.md");
    let quoted: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .collect();
    for line in &quoted {
        let words: Vec<_> = line
            .splitn(3, ' ')
            .map(|word| word.trim_end_matches(':'))
            .collect();
        let value = line.split('\'').nth(1).unwrap_or("a file");
        let error = config(&one(words[1], value)).expect_err(line);
        assert_eq!(error.to_string(), *line);
    }
    for option in OPTIONS {
        let refused = config(&one(option.name, "no such value")).is_err();
        let line = format!("option {}", option.name);
        let has_line = quoted.iter().any(|text| text.starts_with(&line));
        assert_eq!(has_line, refused, "{line}");
    }
}

#[test]
fn links_lead_somewhere() {
    let mut checked = 0;
    for path in pages() {
        let page = read(&path);
        for link in page
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            checked += 1;
            let (file, part) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().unwrap_or(Path::new("")).join(file),
            };
            let shown = path.display();
            assert!(root().join(&target).exists(), "{shown}: {link}");
            assert!(
                part.is_empty() || anchors(&read(&target)).contains(part),
                "{shown}: {link}: no such heading"
            );
        }
    }
    assert!(checked >= 20, "only {checked} links");
}

#[test]
fn make_targets_on_the_pages_exist() {
    let makefiles = Makefiles::read();
    let mut checked = 0;
    for path in pages() {
        for text in code(&read(&path)) {
            let command = text.split("&& ").last().unwrap_or_default();
            let Some(rest) = command.strip_prefix("make ") else {
                continue;
            };
            for target in rest.split_whitespace().take_while(|word| *word != "#") {
                checked += 1;
                let known = target.contains('=') || makefiles.has(target);
                assert!(known, "{}: make {target}", path.display());
            }
        }
    }
    assert!(checked >= 5, "only {checked} targets");
}

/// Flags of the command `kubeletstats` are looked for where it reads them.
#[test]
fn flags_of_the_command_exist() {
    let source: String = files("cli/src", ".rs").iter().map(read).collect();
    let mut checked = 0;
    for path in pages() {
        for text in code(&read(&path)) {
            let mut words = text
                .split_whitespace()
                .skip_while(|word| *word != "kubeletstats" && !word.ends_with("/kubeletstats"));
            let (Some(_), Some(verb @ ("check" | "once"))) = (words.next(), words.next()) else {
                continue;
            };
            checked += 1;
            assert!(source.contains(&format!("\"{verb}\"")), "{verb}");
            for word in words.take_while(|word| !["|", "#", ">", "&&"].contains(word)) {
                let Some(flag) = word.strip_prefix("--") else {
                    continue;
                };
                let flag = flag.split('=').next().unwrap_or_default();
                let option = OPTIONS
                    .iter()
                    .any(|option| option.name.replace('_', "-") == flag);
                let known = option || source.contains(&format!("\"{flag}\""));
                assert!(known, "{}: --{flag}", path.display());
            }
        }
    }
    assert!(checked > 0, "the command is on no page");
}

#[test]
fn the_version_stands_in_one_place() {
    let script = root().join("packaging/version.sh");
    let output = Command::new(script).arg("--check").output().expect("bash");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}: run packaging/version.sh");
}
