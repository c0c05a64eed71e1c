//! A replacement for Fluent Bit 5.1 on machines that have none. It loads a native input
//! plugin by Fluent Bit's rules and runs it, with a command line and a configuration file
//! of the same form. It supports only what the demo and the tests need.

mod abi;
mod config;
mod dummy;
mod engine;
mod event;
mod input;
mod loader;
mod metrics;
mod output;

use std::{env, io, os::unix::net::UnixStream, path::Path, process::ExitCode, time::SystemTime};

use anyhow::{Context, Result, bail};
use config::Section;
use log::{LevelFilter, error, info};

const USAGE: &str = "Usage: embedded-host [-c CONFIGURATION] [-e PLUGIN]... [-f FLUSH_SECONDS]
    [-i INPUT | -o OUTPUT [-t TAG] [-m MATCH] [-p KEY=VALUE]...]...
    [-v (log more) | -q (log nothing)] [--dry-run] [--version]
    [-h (this help, or the options of the input before it)]";

fn main() -> ExitCode {
    match start_log().and_then(|()| run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            error!("{why:#}");
            ExitCode::FAILURE
        }
    }
}

/// Logs lines in Fluent Bit's form, in UTC. The levels of `log` have Fluent Bit's
/// numbers.
fn start_log() -> Result<()> {
    let format = fern::Dispatch::new().format(|out, text, record| {
        let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let time = time.replace('-', "/").replace('T', " ").replace('Z', "");
        let level = record.level().as_str().to_ascii_lowercase();
        out.finish(format_args!("[{time}] [{level:>5}] {text}"));
    });
    Ok(format.chain(io::stderr()).apply()?)
}

fn run() -> Result<()> {
    // Settings from the command line are first in the list, so they override the file.
    let mut sections = vec![Section::new("service", ""), Section::new("plugins", "")];
    let (mut help, mut dry_run) = (false, false);
    let mut args = env::args().skip(1);
    while let Some(flag) = args.next() {
        let last = sections.len() - 1;
        let mut value = || args.next().with_context(|| format!("{flag} takes a value"));
        match flag.as_str() {
            "-c" => sections.extend(config::read(Path::new(&value()?))?),
            "-e" => sections[1].set("path", &value()?),
            "-i" => sections.push(Section::new("input", &value()?)),
            "-o" => sections.push(Section::new("output", &value()?)),
            "-t" => sections[last].set("tag", &value()?),
            "-m" => sections[last].set("match", &value()?),
            "-p" => {
                let pair = value()?;
                let (key, value) = pair.split_once('=').context("-p takes KEY=VALUE")?;
                sections[last].set(key, value);
            }
            "-f" => sections[0].set("flush", &value()?),
            "-v" => sections[0].set("log_level", "debug"),
            "-q" => sections[0].set("log_level", "off"),
            "--dry-run" => dry_run = true,
            "--version" => {
                println!("Fluent Bit v5.1.0 (embedded host)");
                return Ok(());
            }
            "-h" => help = true,
            _ => bail!("unrecognized option '{flag}'\n{USAGE}"),
        }
    }
    let level = config::service(&sections, "log_level")?;
    log::set_max_level(level.unwrap_or(LevelFilter::Info));
    let mut plugins = Vec::new();
    let sources = sections.iter().filter(|s| s.kind == "plugins");
    for (_, path) in sources.flat_map(|section| &section.options) {
        let plugin = loader::load(Path::new(path));
        plugins.push(plugin.with_context(|| format!("[plugin] cannot load {path}"))?);
    }
    if help {
        let name = sections.last().map(|section| section.name.as_str());
        let plugin = plugins.iter().find(|p| Some(p.name.as_str()) == name);
        println!("{}", plugin.map_or(USAGE.into(), loader::describe));
        return Ok(());
    }
    let engine = engine::Engine::new(&sections, &plugins)?;
    if dry_run {
        println!("configuration test is successful");
        return Ok(());
    }
    let (signals, sender) = UnixStream::pair()?;
    for signal in [libc::SIGTERM, libc::SIGINT] {
        signal_hook::low_level::pipe::register(signal, sender.try_clone()?)?;
    }
    info!("[embedded host] mimics Fluent Bit 5.1");
    engine.run(&signals)
}
