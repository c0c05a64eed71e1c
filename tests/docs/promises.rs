//! A promise that names a test names one that exists: a function of the suite it names, or
//! a row of the fault table.

use crate::pages::{files, pages, read, root};

/// The source of a suite: its file and the folder of that name, or all of a folder.
fn suite(path: &str) -> String {
    let folder = path.strip_suffix(".rs").unwrap_or(path);
    let inside = match root().join(folder).is_dir() {
        true => files(folder, ".rs"),
        false => Vec::new(),
    };
    let own = (folder != path).then(|| path.into());
    let source: String = own.into_iter().chain(inside).map(read).collect();
    assert!(!source.is_empty(), "{path} is no suite");
    source
}

/// Tests stand behind their suite: `suite`: `test`, `test`; `another suite`: ...
#[test]
fn tests_that_pages_name_exist() {
    let mut checked = 0;
    for page in pages() {
        let text = read(&page);
        let rows = text.lines().filter(|line| line.starts_with('|'));
        for claim in rows.flat_map(|row| row.split(['|', ';'])) {
            let Some((of, tests)) = claim.split_once("`: `") else {
                continue;
            };
            let of = of.rsplit('`').next().unwrap_or_default();
            let (source, is_table) = match of {
                "make faults" => (suite("tests/faults"), true),
                path if path.contains("tests/") => (suite(path), false),
                _ => continue,
            };
            for test in tests.split('`').step_by(2).filter(|test| !test.is_empty()) {
                let named = match (is_table, test.strip_suffix('…')) {
                    (true, Some(start)) => format!("\"{start}"),
                    (true, None) => format!("\"{test}\""),
                    (false, _) => format!("fn {test}("),
                };
                checked += 1;
                assert!(source.contains(&named), "{}: {of}: {test}", page.display());
            }
        }
    }
    assert!(checked >= 30, "only {checked} tests are named");
}

/// Each row of the comparison that says yes of this plugin names the test that shows it.
#[test]
fn every_yes_of_the_comparison_names_its_test() {
    let page = read("docs/comparison.md");
    let mut checked = 0;
    for row in page.lines().filter(|line| line.starts_with('|')) {
        let ours = row.split('|').nth(2).unwrap_or_default().trim();
        if !ours.starts_with("yes") {
            continue;
        }
        checked += 1;
        let names_a_test = ours.contains("`: `") && ours.contains("tests/");
        assert!(names_a_test, "{row}");
    }
    assert!(checked >= 30, "only {checked} rows say yes");
}
