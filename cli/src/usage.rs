//! The flags and commands, in one table. The arguments are parsed with it, and `--help` and
//! the manual page are generated from it.

use kubeletstats_core::options::OPTIONS;

/// The meaning of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    Config,
    Prop,
    Output,
    Help,
    Version,
}

pub struct Row {
    pub flag: Flag,
    short: char,
    long: &'static str,
    /// The name of the flag's value. It is empty if the flag has no value.
    value: &'static str,
    /// The commands that accept the flag. `repeats` is whether it may be given more than
    /// once.
    of: &'static [&'static str],
    repeats: bool,
    help: &'static [&'static str],
}

const fn row(flag: Flag, short: char, long: &'static str) -> Row {
    Row {
        flag,
        short,
        long,
        value: "",
        of: &[],
        repeats: false,
        help: &[],
    }
}

const FLAGS: [Row; 5] = [
    Row {
        value: "FILE",
        of: &["check", "once"],
        help: &[
            "a configuration of Fluent Bit, YAML (.yaml, .yml) or classic:",
            "every input whose name is kubeletstats",
        ],
        ..row(Flag::Config, 'c', "config")
    },
    Row {
        value: "OPTION=VALUE",
        of: &["check", "once"],
        repeats: true,
        help: &[
            "an option of the plugin, as for fluent-bit -i kubeletstats;",
            "overrides what FILE says",
        ],
        ..row(Flag::Prop, 'p', "prop")
    },
    Row {
        value: "table|json",
        of: &["once"],
        help: &["table is the default; json prints one record a line"],
        ..row(Flag::Output, 'o', "output")
    },
    Row {
        help: &["prints this help"],
        ..row(Flag::Help, 'h', "help")
    },
    Row {
        help: &["prints the version"],
        ..row(Flag::Version, 'V', "version")
    },
];

pub const COMMANDS: [(&str, &str); 2] = [
    (
        "check",
        "does one scrape step by step, and says what happened at each step and which right is missing",
    ),
    (
        "once",
        "shows the records of the plugin's first scrape; with metric_groups those of all its kinds",
    ),
];

const NOTES: [&str; 2] = [
    "Without -c and -p it reads fluent-bit.yaml or else fluent-bit.conf of /fluent-bit/etc, if there is one.",
    "With pod_facts both ask for /pods too. Neither waits for jitter.",
];

const STATUS: &str = "0 metrics arrive, 1 they do not, 2 bad arguments or configuration.";

pub fn short(name: char) -> Option<Flag> {
    let row = FLAGS.iter().find(|row| row.short == name);
    row.map(|row| row.flag)
}

pub fn long(name: &str) -> Option<Flag> {
    let row = FLAGS.iter().find(|row| row.long == name);
    row.map(|row| row.flag)
}

/// Returns the flags of this command as in a synopsis, for example `[-c FILE]`.
fn synopsis(command: &str) -> impl Iterator<Item = (&'static Row, String)> {
    let rows = FLAGS.iter().filter(move |row| row.of.contains(&command));
    rows.map(|row| {
        let dots = if row.repeats { "..." } else { "" };
        (row, format!("[-{} {}]{dots}", row.short, row.value))
    })
}

pub fn help() -> String {
    let mut text = String::new();
    let mut line = |line: &str| text.push_str(&format!("{line}\n"));
    for (at, (command, _)) in COMMANDS.iter().enumerate() {
        let head = if at == 0 { "Usage:" } else { "" };
        let flags: String = synopsis(command)
            .map(|(_, flag)| format!(" {flag}"))
            .collect();
        line(&format!("{head:<6} kubeletstats {command}{flags}"));
    }
    line("");
    for (command, help) in COMMANDS {
        line(&format!("  {command:<6} {help}"));
    }
    line("");
    for row in &FLAGS {
        let mut head = format!("-{}, --{} {}", row.short, row.long, row.value);
        for help in row.help {
            line(&format!("  {head:<24} {help}"));
            head.clear();
        }
    }
    line("");
    NOTES.into_iter().for_each(&mut line);
    line(&format!("Exit status: {STATUS}"));
    line("\nOptions of the plugin:");
    for option in OPTIONS {
        let default = option.default.map(|default| format!(" Default: {default}"));
        let default = default.unwrap_or_default();
        line(&format!("  {:<19} {}{default}", option.name, option.help));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{env, fs};

    use roff::{Inline, Roff, bold, italic, roman};

    use super::*;

    const PAGE: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../packaging/debian/kubeletstats.1"
    );

    /// For example `-c, --config FILE`.
    fn head(row: &Row) -> Vec<Inline> {
        let mut head = vec![
            bold(format!("-{}", row.short)),
            roman(", "),
            bold(format!("--{}", row.long)),
        ];
        if !row.value.is_empty() {
            head.extend([roman(" "), italic(row.value)]);
        }
        head
    }

    fn manual() -> String {
        let mut page = Roff::new();
        let section = |page: &mut Roff, name| {
            page.control("SH", [name]);
        };
        page.control("TH", ["KUBELETSTATS", "1"]);
        section(&mut page, "NAME");
        page.text([roman(
            "kubeletstats - say why no container metrics arrive, or show what would be sent",
        )]);
        section(&mut page, "SYNOPSIS");
        for (at, (command, _)) in COMMANDS.iter().enumerate() {
            if at > 0 {
                page.control("br", []);
            }
            let flags = synopsis(command).map(|(_, flag)| roman(format!(" {flag}")));
            let name = bold(format!("kubeletstats {command}"));
            page.text([vec![name], flags.collect()].concat());
        }
        section(&mut page, "DESCRIPTION");
        for (command, help) in COMMANDS {
            page.control("TP", []).text([bold(command)]);
            page.text([roman(help)]);
        }
        page.control("PP", []).text([roman(
            "Both run the plugin's own code with the options of FILE and of the command line.",
        )]);
        for note in NOTES {
            page.text([roman(note)]);
        }
        section(&mut page, "OPTIONS");
        for row in &FLAGS {
            page.control("TP", []).text(head(row));
            page.text([roman(row.help.join(" "))]);
        }
        section(&mut page, "OPTIONS OF THE PLUGIN");
        for option in OPTIONS {
            let default = option.default.map(|text| format!(" (default: {text})"));
            let default = roman(default.unwrap_or_default());
            page.control("TP", []).text([bold(option.name), default]);
            page.text([roman(option.help)]);
        }
        section(&mut page, "EXIT STATUS");
        page.text([roman(STATUS)]);
        section(&mut page, "EXAMPLE");
        page.text([roman(
            "kubeletstats check -c /etc/fluent-bit/kubeletstats.yaml",
        )]);
        section(&mut page, "SEE ALSO");
        page.text([roman("/usr/share/doc/fluent-bit-kubeletstats/README.md")]);
        page.render()
    }

    /// With `GOLDEN=rewrite`, this test writes the page.
    #[test]
    fn the_manual_page_is_what_the_table_makes() {
        let made = manual();
        if env::var_os("GOLDEN").is_some() {
            fs::write(PAGE, made).expect("the page can be written");
            return;
        }
        let page = fs::read_to_string(PAGE).expect("the page");
        assert_eq!(page, made, "`make man` writes it anew");
    }
}
