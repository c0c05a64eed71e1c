//! What the workflows do is done by make targets, so that everybody can run it.

use std::collections::BTreeSet;

use crate::pages::{files, read};

#[test]
fn each_step_of_a_workflow_is_a_target_that_there_is() {
    let makefiles = ["Makefile", "packaging/dist.mk", "tests/tools.mk"].map(read);
    let text = makefiles.concat();
    let targets: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix(".PHONY: "))
        .collect();
    let has = |tool: &str| {
        let rules = ["deb", "get"].map(|kind| format!("\n{kind}.{tool} "));
        rules.iter().any(|rule| text.contains(rule))
    };
    let mut checked = 0;
    for file in files(".github/workflows", ".yaml") {
        for line in read(&file).lines() {
            let Some((_, command)) = line.split_once("run: ") else {
                continue;
            };
            let shown = format!("{}: {command}", file.display());
            let words = command.strip_prefix("make ").expect(&shown);
            for word in words.split(' ').filter(|word| !word.contains('=')) {
                checked += 1;
                let known = match word.strip_prefix("get-") {
                    Some(tools) => tools.split(',').all(has),
                    None => targets.contains(word),
                };
                assert!(known, "{shown}: no {word}");
            }
        }
    }
    assert!(checked >= 30, "only {checked} targets");
}
