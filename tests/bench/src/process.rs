//! Fluent Bits with one input, and what the kernel knows of a process.

use std::{fs, io, mem::MaybeUninit, path::Path, time::Duration};

use sim_kubelet::SimKubelet;
use testkit::{Child, Error, Host, Result, hosts};

/// CPU time of all its threads, those that have ended among them, in nanoseconds.
pub fn cpu(child: &Child) -> Result<Duration> {
    let failed = |what: &str| Error::new(format!("{what}: {}", io::Error::last_os_error()));
    let mut clock = 0;
    // SAFETY: the second argument is a clock id that may be written to.
    let found = unsafe { libc::clock_getcpuclockid(child.pid() as i32, &mut clock) };
    if found != 0 {
        return Err(failed("no CPU clock of a host"));
    }
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the second argument is a timespec that may be written to.
    if unsafe { libc::clock_gettime(clock, time.as_mut_ptr()) } != 0 {
        return Err(failed("no CPU time of a host"));
    }
    // SAFETY: the call above has written it.
    let time = unsafe { time.assume_init() };
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// Memory that no other process has, in KiB.
pub fn private_kib(child: &Child) -> Result<u64> {
    sum_kib(child, "Private_")
}

/// The same without what is a file's, such as its code: of that, several of one program would
/// seem to have less.
pub fn written_kib(child: &Child) -> Result<u64> {
    sum_kib(child, "Private_Dirty")
}

fn sum_kib(child: &Child, kind: &str) -> Result<u64> {
    let path = format!("/proc/{}/smaps_rollup", child.pid());
    let text = fs::read_to_string(&path).map_err(|error| Error::new(format!("{path}: {error}")))?;
    let lines = text.lines().filter(|line| line.starts_with(kind));
    let sizes = lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    Ok(sizes.sum())
}

/// An input or an output, and its options.
pub type Part<'a> = (&'a str, &'a [(&'a str, &'a str)]);

/// Where records end that are not written.
pub const NOWHERE: Part = ("null", &[]);

/// A Fluent Bit that flushes each second, with this input and output and nothing else.
pub fn fluent_bit(host: &Host, before: &[&str], input: Part, output: Part) -> Result<Child> {
    let mut args: Vec<String> = before.iter().copied().map(str::to_owned).collect();
    args.extend(["-f", "1"].map(str::to_owned));
    for (flag, (name, options)) in [("-i", input), ("-o", output)] {
        args.extend([flag, name].map(str::to_owned));
        for (key, value) in options {
            args.extend(["-p".to_owned(), format!("{key}={value}")]);
        }
    }
    args.extend(["-m", "*"].map(str::to_owned));
    Child::spawn(host.command(args))
}

/// One that scrapes this kubelet with the plugin of this repository. Its records are not written.
pub fn scraping_here(
    host: &Host,
    kubelet: &SimKubelet,
    flag: &str,
    options: &[(&str, &str)],
) -> Result<Child> {
    let plugin = hosts::plugin_path();
    scraping(host, kubelet, &plugin, &[flag], options, NOWHERE)
}

/// One that scrapes this kubelet with this build of the plugin.
pub fn scraping(
    host: &Host,
    kubelet: &SimKubelet,
    plugin: &Path,
    before: &[&str],
    options: &[(&str, &str)],
    output: Part,
) -> Result<Child> {
    let [url, ca, token] = kubelet.access();
    let plugin = plugin.display().to_string();
    let before = [before, &["-e", &plugin]].concat();
    let access = [
        ("kubelet_url", &*url),
        ("kube_ca_file", &ca),
        ("kube_token_file", &token),
    ];
    let options = [&access, options].concat();
    fluent_bit(host, &before, ("kubeletstats", &options), output)
}
