//! Code for the suites that watch a host for a longer time: the size of a run, what a
//! process uses, a folder for a test, and plain tables.

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

/// Whether `KUBELETSTATS_SOAK=1` is set. Then tests run at full size and print their
/// measurements.
pub fn soak() -> bool {
    env::var("KUBELETSTATS_SOAK").is_ok_and(|value| value == "1")
}

/// Returns `full` in a soak, and `short` otherwise.
pub fn sized<T>(short: T, full: T) -> T {
    if soak() { full } else { short }
}

/// Tests that measure times or count memory run one after the other.
pub fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns every host, real ones first. A short run uses only the newest and the oldest
/// real one, and prints that.
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

/// The memory and other resources that a process uses.
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

    /// The MiB gained since `before`. The value is negative if memory was freed.
    pub fn gained_mib(&self, before: &Self) -> f64 {
        (self.rss_kib as f64 - before.rss_kib as f64) / 1024.0
    }

    pub fn rss_mib(&self) -> f64 {
        self.rss_kib as f64 / 1024.0
    }
}

/// Waits for something that must happen. If it does not, this shows the host's log.
pub fn until(child: &Child, what: &str, within: Duration, condition: impl FnMut() -> bool) {
    wait::until(what, within, condition)
        .unwrap_or_else(|error| panic!("{error}: {}", child.tail()));
}

/// The file name of the configuration that [`Scratch::command`] writes.
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

    /// Returns a command that runs `host` in this folder with this configuration, which
    /// must contain `plugins_file plugins.conf`. Fluent Bit first looks for that file in
    /// its working directory, and the folder of this repository has such a file too.
    pub fn command(&self, host: &Host, configuration: &str) -> Command {
        let plugin = path::absolute(hosts::plugin_path()).expect("a folder to start from");
        let plugins = format!("[PLUGINS]\n    Path {}\n", plugin.display());
        self.write("plugins.conf", &plugins);
        self.running(host, CONFIGURATION, configuration)
    }

    /// Returns a command that runs `host` in this folder. The configuration is written to
    /// a file with this name.
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

/// Sends one HTTP/1.0 request on loopback, and returns the reply with its JSON object.
/// Some hosts announce the end of the connection but leave it open.
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

/// Returns a port that was free just now.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Rows of text under a title. The columns are as wide as necessary. It is printed when
/// dropped, so a test that fails also prints its rows.
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
    /// The table is printed in one piece, so that lines of another test do not come
    /// between.
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
