//! `kubeletstats`: `check` explains why no metrics arrive, and `once` shows what would be
//! sent. Both scrape with the plugin's own code, so they get the same results as the
//! plugin.

mod certificate;
mod check;
mod humanize;
mod inputs;
mod json;
mod once;
mod records;
mod scrape;
mod screen;
mod table;
mod token;
mod usage;
mod watchdog;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use kubeletstats_core::text::{printable, redact_url};
use lexopt::{Arg, Parser, ValueExt};

use self::{check::Verdict, inputs::Input, once::Output, screen::Screen, usage::Flag};

struct Arguments {
    /// The output of `once`; `None` for `check`.
    once: Option<Output>,
    inputs: Vec<Input>,
}

enum Request {
    Run(Arguments),
    Print(String),
}

fn main() -> ExitCode {
    let arguments = match read_arguments() {
        Ok(Request::Run(arguments)) => arguments,
        Ok(Request::Print(text)) => {
            // It is no error if nobody reads the output.
            let _ = io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            print_error(&why);
            return ExitCode::from(2);
        }
    };
    let mut screen = Screen::new();
    let verdict = match arguments.once {
        Some(output) => once::run(&arguments.inputs, output, &mut screen),
        None => check_all(&arguments.inputs, &mut screen),
    };
    ExitCode::from(match verdict {
        Verdict::Arrives => 0,
        Verdict::Fails => 1,
        Verdict::Refused => 2,
    })
}

fn check_all(inputs: &[Input], screen: &mut Screen) -> Verdict {
    let mut worst = Verdict::Arrives;
    for (at, input) in inputs.iter().enumerate() {
        if at > 0 {
            screen.line("");
        }
        worst = worst.max(check::run(input, screen));
    }
    worst
}

/// Prints one line to standard error. It is no error if standard error is closed.
fn print_error(why: &str) {
    let _ = writeln!(io::stderr(), "kubeletstats: {why}");
}

fn read_arguments() -> Result<Request, String> {
    let mut parser = Parser::from_env();
    let mut command = None;
    let mut output = None;
    let mut file = None;
    let mut given = Vec::new();
    let plain = |error: lexopt::Error| printable(&error.to_string(), 200);
    while let Some(argument) = parser.next().map_err(plain)? {
        let flag = match &argument {
            Arg::Short(name) => usage::short(*name),
            Arg::Long(name) => usage::long(name),
            Arg::Value(_) => None,
        };
        match (flag, argument) {
            (Some(Flag::Help), _) => return Ok(Request::Print(usage::help())),
            (Some(Flag::Version), _) => {
                let version = env!("CARGO_PKG_VERSION");
                return Ok(Request::Print(format!("kubeletstats {version}\n")));
            }
            (Some(Flag::Config), _) => {
                file = Some(PathBuf::from(parser.value().map_err(plain)?));
            }
            (Some(Flag::Prop), _) => {
                let text = parser.value().and_then(|v| v.string()).map_err(plain)?;
                let (name, value) = text.split_once('=').ok_or_else(|| {
                    // The user may have forgotten the option's name before a URL, so the
                    // text may be a URL.
                    let text = printable(&redact_url(&text), 80);
                    format!("-p {text}: expected OPTION=VALUE")
                })?;
                given.push((name.trim().to_owned(), value.to_owned()));
            }
            (Some(Flag::Output), _) => {
                let form = parser.value().and_then(|v| v.string()).map_err(plain)?;
                output = Some(match form.as_str() {
                    "table" => Output::Table,
                    "json" => Output::Json,
                    _ => {
                        return Err(format!(
                            "--output {}: expected table or json",
                            printable(&form, 80)
                        ));
                    }
                });
            }
            (None, Arg::Value(word)) if command.is_none() => {
                let word = word.string().map_err(plain)?;
                if !usage::COMMANDS.iter().any(|(name, _)| *name == word) {
                    return Err(format!("{}: expected check or once", printable(&word, 80)));
                }
                command = Some(word);
            }
            (None, other) => return Err(plain(other.unexpected())),
        }
    }
    let once = match (command.as_deref(), output) {
        (Some("once"), output) => Some(output.unwrap_or(Output::Table)),
        (Some(_), None) => None,
        (Some(_), Some(_)) => return Err("--output is of once only".to_owned()),
        (None, _) => return Err("expected check or once: see kubeletstats --help".to_owned()),
    };
    let inputs = inputs::find(file, &given)?;
    Ok(Request::Run(Arguments { once, inputs }))
}
