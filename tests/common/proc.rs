//! What the suites that watch a host for longer share: how long they run, what
//! a process uses, a folder of their own, and plain tables.

use std::{
    env, fs,
    io::{self, Read, Write},
    net::TcpStream,
    path::{self, Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use testkit::{Child, Host, hosts, kafka::unique_topic, wait};

/// `KUBELETSTATS_SOAK=1`: the full size, with its measurements printed.
pub fn soak() -> bool {
    env::var("KUBELETSTATS_SOAK").is_ok_and(|value| value == "1")
}

/// The second one in a soak, else the first.
pub fn sized<T>(short: T, full: T) -> T {
    if soak() { full } else { short }
}

/// Tests that take times or count memory run one after the other.
pub fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every host, real ones first; a short run is content with the newest and the
/// oldest real one, and says so.
pub fn some_hosts() -> Vec<Host> {
    let all = hosts::to_test();
    if soak() {
        return all;
    }
    let real: Vec<_> = all.iter().filter(|host| !host.embedded).collect();
    let newest = real.iter().map(|host| host.version).max();
    let oldest = real.iter().map(|host| host.version).min();
    let (kept, left): (Vec<_>, Vec<_>) = all.iter().cloned().partition(|host| {
        host.embedded || Some(host.version) == newest || Some(host.version) == oldest
    });
    for host in &left {
        println!("{}: only with KUBELETSTATS_SOAK=1", host.name);
    }
    kept
}

/// What a process uses of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    pub rss_kib: u64,
    pub threads: usize,
    pub fds: usize,
}

impl Usage {
    pub fn of(child: &Child) -> Self {
        let seen = child.rss_kib().and_then(|rss_kib| {
            Ok(Self {
                rss_kib,
                threads: child.threads()?,
                fds: child.fds()?,
            })
        });
        seen.unwrap_or_else(|error| panic!("{error}: {}", child.tail()))
    }

    /// MiB gained since `before`, less than zero if some was given back.
    pub fn gained_mib(&self, before: &Self) -> f64 {
        (self.rss_kib as f64 - before.rss_kib as f64) / 1024.0
    }

    pub fn rss_mib(&self) -> f64 {
        self.rss_kib as f64 / 1024.0
    }
}

/// Waits for something that has to happen, and shows the host's log if it does not.
pub fn until(child: &Child, what: &str, within: Duration, condition: impl FnMut() -> bool) {
    wait::until(what, within, condition)
        .unwrap_or_else(|error| panic!("{error}: {}", child.tail()));
}

/// What [`Scratch::command`] calls the configuration.
pub const CONFIGURATION: &str = "fluent-bit.conf";

/// A folder that is removed at the end.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique_topic(name));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.join(name);
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// A command that runs `host` here with this configuration, which is to say
    /// `plugins_file plugins.conf`. Fluent Bit looks for that file where it is started
    /// first, and the folder of this repository has one of its own.
    pub fn command(&self, host: &Host, configuration: &str) -> Command {
        let plugin = path::absolute(hosts::plugin_path()).expect("a folder to start from");
        let plugins = format!("[PLUGINS]\n    Path {}\n", plugin.display());
        self.write("plugins.conf", &plugins);
        self.running(host, CONFIGURATION, configuration)
    }

    /// A command that runs `host` here with this configuration under this name.
    pub fn running(&self, host: &Host, name: &str, configuration: &str) -> Command {
        self.write(name, configuration);
        let host = path::absolute(&host.path).expect("a folder to start from");
        let mut command = Command::new(host);
        command.args(["-c", name]);
        command.current_dir(&self.0);
        command
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// One HTTP/1.0 request on loopback, and the reply with its JSON object. Some hosts
/// announce the end of the connection and leave it open.
pub fn http(port: u16, method: &str, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    )?;
    let mut reply = Vec::new();
    let mut part = [0; 1024];
    while !reply.ends_with(b"}") {
        match stream.read(&mut part)? {
            0 => break,
            length => reply.extend(&part[..length]),
        }
    }
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

/// A port nobody listens on, free when it was looked for.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Rows of text under a title, as wide as they need to be; printed when dropped,
/// and so as far as it came also when a test fails.
pub struct Table {
    title: String,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(title: &str, head: &[&str]) -> Self {
        Self {
            title: title.to_owned(),
            rows: vec![head.iter().map(ToString::to_string).collect()],
        }
    }

    pub fn row(&mut self, cells: &[&dyn std::fmt::Display]) {
        self.rows
            .push(cells.iter().map(ToString::to_string).collect());
    }
}

impl Drop for Table {
    /// In one piece, so that lines of another test do not come between.
    fn drop(&mut self) {
        let columns = self.rows[0].len();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        let mut text = format!("\n{}\n", self.title);
        for row in &self.rows {
            let cells = row.iter().zip(&widths);
            let cells: Vec<_> = cells
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            text.push_str(&format!("  {}\n", cells.join("  ").trim_end()));
        }
        println!("{text}");
    }
}
