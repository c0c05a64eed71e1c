//! Owns the command line of the simulated kubelet: it reads the flags, runs one kubelet,
//! and ends on a signal.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    process::ExitCode,
    str::FromStr,
    time::Duration,
};

use kubeletstats_core::duration;
use sim_kubelet::{Fault, SimKubelet, SimKubeletBuilder};

fn help() -> String {
    let faults: Vec<String> = Fault::all().iter().map(Fault::name).collect();
    format!(
        "\
Serves a kubelet's /stats/summary, /pods and /metrics/resource for tests and demos.

Usage: sim-kubelet [flags]

  --listen ADDRESS:PORT    where to listen; default 127.0.0.1:10250, port 0 takes a free one
  --pods N                 pods on the node; default the seven of a captured reply
  --full                   also pressure stalls, swap, and figures of node and pods that move
  --without-eth0           no interface of the node is called eth0
  --sample-period TIME     mean time between two samples of a container; 500ms, 15s (default), 1m
  --burn NS/POD=MILLICORES what every container of a pod burns; repeatable
  --token TOKEN            accept this bearer token; repeatable; default a random one
  --anonymous              ask for no credentials
  --pods-forbidden         refuse /pods to everybody
  --client-auth            accept certificates of the client CA instead of a token
  --server-name NAME       a DNS name in the serving certificate instead of vm, localhost; repeatable
  --dir DIR                put ca.crt, kubelet.crt, token, client.crt and client.key here;
                           default a temporary folder that is removed at the end
  --fault NAME             misbehave; a value follows a colon: status:429, huge-body:1000000
  --plain-http             speak HTTP without TLS
  --help                   this text

Faults: {}

Prints where it listens and the files a client needs, and serves until SIGTERM or SIGINT.
",
        faults.join(", ")
    )
}

struct Flags {
    builder: SimKubeletBuilder,
    tokens: Vec<String>,
    anonymous: bool,
    client_auth: bool,
    server_names: Vec<String>,
    help: bool,
}

fn parse(arguments: impl Iterator<Item = String>) -> Result<Flags, String> {
    let mut flags = Flags {
        builder: SimKubelet::builder().port(10_250),
        tokens: Vec::new(),
        anonymous: false,
        client_auth: false,
        server_names: Vec::new(),
        help: false,
    };
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        // Both `--flag value` and `--flag=value` are valid. A burn has an equals sign of
        // its own.
        let (flag, attached) = match argument.split_once('=') {
            Some((flag, value)) => (flag.to_owned(), Some(value.to_owned())),
            None => (argument, None),
        };
        let mut value = || {
            attached
                .clone()
                .or_else(|| arguments.next())
                .ok_or_else(|| format!("{flag} needs a value"))
        };
        let builder = flags.builder.clone();
        match flag.as_str() {
            "--listen" => flags.builder = builder.listen(typed::<SocketAddr>(&flag, &value()?)?),
            "--pods" => flags.builder = builder.pods(typed(&flag, &value()?)?),
            "--full" => flags.builder = builder.full(true),
            "--without-eth0" => flags.builder = builder.without_eth0(true),
            "--sample-period" => flags.builder = builder.sample_period(duration(&value()?)?),
            "--burn" => {
                let text = value()?;
                let wrong = || format!("--burn {text:?}: expected NAMESPACE/POD=MILLICORES");
                let (pod, millicores) = text.rsplit_once('=').ok_or_else(wrong)?;
                flags.builder = builder.burn(pod, millicores.parse().map_err(|_| wrong())?);
            }
            "--token" => flags.tokens.push(value()?),
            "--anonymous" => flags.anonymous = true,
            "--pods-forbidden" => flags.builder = builder.pods_forbidden(true),
            "--client-auth" => flags.client_auth = true,
            "--server-name" => flags.server_names.push(value()?),
            "--dir" => flags.builder = builder.dir(value()?),
            "--fault" => flags.builder = builder.fault(value()?.parse()?),
            "--plain-http" => flags.builder = builder.plain_http(true),
            "--help" | "-h" => flags.help = true,
            _ => return Err(format!("unknown flag {flag}; --help lists them")),
        }
    }
    Ok(flags)
}

fn typed<T: FromStr>(flag: &str, text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("{flag} does not take {text:?}"))
}

fn duration(text: &str) -> Result<Duration, String> {
    duration::parse(text)
        .filter(|time| !time.is_zero())
        .ok_or_else(|| format!("{text:?} is no time; expected {}", duration::EXPECTED))
}

/// Returns 128 random bits from the system, in hexadecimal.
fn random_token() -> io::Result<String> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Blocks SIGTERM and SIGINT in every thread that is made after this, so that `sigwait`
/// gets them.
fn block_signals() -> libc::sigset_t {
    // SAFETY: `sigemptyset` fills the set before its first use, and all three calls get
    // pointers to it that are valid for the call.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        libc::sigaddset(&raw mut set, libc::SIGINT);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        set
    }
}

fn wait_for_signal(set: &libc::sigset_t) {
    let mut signal = 0;
    // SAFETY: both pointers are valid for the call.
    unsafe {
        libc::sigwait(set, &raw mut signal);
    }
}

fn run(flags: Flags) -> io::Result<()> {
    let mut builder = flags.builder.client_auth_ca(flags.client_auth);
    let mut tokens = flags.tokens;
    if tokens.is_empty() && !flags.anonymous {
        tokens.push(random_token()?);
    }
    for token in &tokens {
        builder = builder.token(token);
    }
    if !flags.server_names.is_empty() {
        let names: Vec<&str> = flags.server_names.iter().map(String::as_str).collect();
        builder = builder.server_names(&names);
    }
    let signals = block_signals();
    let kubelet = builder.start()?;
    let mut out = io::stdout();
    writeln!(out, "listening on {}", kubelet.url())?;
    writeln!(out, "ca file {}", kubelet.ca_file().display())?;
    writeln!(out, "token file {}", kubelet.token_file().display())?;
    writeln!(
        out,
        "client certificate {}",
        kubelet.client_cert_file().display()
    )?;
    writeln!(out, "client key {}", kubelet.client_key_file().display())?;
    out.flush()?;
    wait_for_signal(&signals);
    Ok(())
}

fn main() -> ExitCode {
    let flags = match parse(std::env::args().skip(1)) {
        Ok(flags) => flags,
        Err(message) => {
            eprintln!("sim-kubelet: {message}");
            return ExitCode::from(2);
        }
    };
    if flags.help {
        print!("{}", help());
        return ExitCode::SUCCESS;
    }
    match run(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("sim-kubelet: {err}");
            ExitCode::FAILURE
        }
    }
}
