//! What the workflows do is done by make targets, so that everybody can run it.

use crate::pages::{Makefiles, files, read};

#[test]
fn each_step_of_a_workflow_is_a_target_that_there_is() {
    let makefiles = Makefiles::read();
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
                assert!(makefiles.has(word), "{shown}: no {word}");
            }
        }
    }
    assert!(checked >= 30, "only {checked} targets");
}
