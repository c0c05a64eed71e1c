//! Apache Kafka as one KRaft node on loopback, with its own folder for settings, data, log,
//! and a file from which another test binary learns which process is the broker.

use std::{
    fs::{self, File, OpenOptions},
    io,
    net::TcpListener,
    os::{fd::AsRawFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    ptr,
    time::Duration,
};

use super::{
    artifacts,
    client::{Probe, answers},
};
use crate::{Child, Deadline, Error, Result, wait};

/// Kafka's usual port. It is used if it is free and no other was requested.
const USUAL_PORT: u16 = 9092;
/// The name of the cluster in formatted storage. Any 16 bytes in this base64 are valid.
const CLUSTER_ID: &str = "a3ViZWxldHN0YXRzLXRlcw";
/// A concurrent collector and the optimizing compiler have no advantage for one small node. It
/// starts a third faster without them.
const JVM: [&str; 4] = [
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
];

const READY_DEADLINE: Duration = Duration::from_secs(60);
const FORMAT_DEADLINE: Duration = Duration::from_secs(60);
const RUNNING_ANSWER: Duration = Duration::from_secs(15);
const STOP_DEADLINE: Duration = Duration::from_secs(20);
const KILL_DEADLINE: Duration = Duration::from_secs(10);
/// Another process may be downloading Kafka at the same time.
const LOCK_DEADLINE: Duration = Duration::from_secs(400);

/// How a broker is started.
#[derive(Clone, Copy, Debug, Default)]
pub struct BrokerOptions {
    /// Without it, the port is 9092 if that is free, and otherwise any free one.
    pub port: Option<u16>,
    /// Whether to keep the topics of the last run. Otherwise the broker starts empty.
    pub keep_data: bool,
}

/// A running broker.
#[derive(Clone, Debug)]
pub struct Broker {
    pub pid: u32,
    /// For example `127.0.0.1:PORT`.
    pub brokers: String,
    /// Whether the call that returned this value started it. Otherwise it was already running.
    pub started_here: bool,
}

/// The broker of one folder, running or not.
pub struct Apache {
    dir: PathBuf,
}

impl Apache {
    /// The broker that all test binaries share.
    pub fn shared() -> Self {
        Self::at(artifacts::kafka_dir())
    }

    /// A separate broker, for tests that stop or kill it.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Returns the running broker, or starts one and waits until it answers.
    pub fn start(&self, options: BrokerOptions) -> Result<Broker> {
        let _lock = lock(&self.dir.join("lock"))?;
        if let Some(process) = self.running() {
            return reuse(&process, options);
        }
        if !options.keep_data {
            remove(&self.dir.join("data"))?;
        }
        let libs = artifacts::libs()?;
        let port = match options.port {
            Some(port) => port,
            None => free_port(USUAL_PORT)?,
        };
        self.write_settings(port)?;
        if !self.dir.join("data/meta.properties").exists() {
            self.format(&libs)?;
        }
        self.launch(&libs, port)
    }

    /// Asks the broker to end, and kills it if it does not. Returns `false` if it was not
    /// running.
    pub fn stop(&self) -> Result<bool> {
        let _lock = lock(&self.dir.join("lock"))?;
        let Some(process) = self.running() else {
            return Ok(false);
        };
        process.signal(libc::SIGTERM);
        let what = format!("the broker with pid {} to end", process.pid);
        if wait::until(&what, STOP_DEADLINE, || !process.is_alive()).is_err() {
            process.kill()?;
        }
        Ok(true)
    }

    /// Ends the broker with SIGKILL, as in a crash. Returns `false` if it was not running.
    pub fn kill(&self) -> Result<bool> {
        let _lock = lock(&self.dir.join("lock"))?;
        match self.running() {
            Some(process) => process.kill().map(|()| true),
            None => Ok(false),
        }
    }

    /// Starts the broker again on its former port with its former data. It is stopped first if
    /// it still runs.
    pub fn restart(&self) -> Result<Broker> {
        self.stop()?;
        let _lock = lock(&self.dir.join("lock"))?;
        let last = Process::read(&self.pid_file());
        let last = last.ok_or_else(|| Error::new("no broker was ever started here"))?;
        self.launch(&artifacts::libs()?, last.port)
    }

    fn pid_file(&self) -> PathBuf {
        self.dir.join("broker.pid")
    }

    fn settings(&self) -> PathBuf {
        self.dir.join("server.properties")
    }

    fn running(&self) -> Option<Process> {
        Process::read(&self.pid_file()).filter(Process::is_alive)
    }

    fn write_settings(&self, port: u16) -> Result<()> {
        let template = artifacts::settings_dir().join("server.properties");
        let text = fs::read_to_string(&template).map_err(|error| at(&template, error))?;
        let data = self.dir.join("data");
        let text = text
            .replace("@PORT@", &port.to_string())
            .replace("@CONTROLLER_PORT@", &free_port(0)?.to_string())
            .replace("@DATA@", &data.display().to_string());
        fs::write(self.settings(), text).map_err(|error| at(&self.settings(), error))
    }

    /// KRaft does not start on storage that was not formatted for the cluster.
    fn format(&self, libs: &Path) -> Result<()> {
        remove(&self.dir.join("data"))?;
        let mut command = java(libs, "kafka.tools.StorageTool");
        command
            .args(["format", "--cluster-id", CLUSTER_ID, "--config"])
            .arg(self.settings());
        let mut tool = Child::spawn(command)?;
        let status = tool.wait_for_exit(FORMAT_DEADLINE)?;
        if !status.success() {
            let output = tool.tail();
            return Err(Error::new(format!(
                "Kafka's storage could not be formatted ({status})\n{output}"
            )));
        }
        Ok(())
    }

    fn launch(&self, libs: &Path, port: u16) -> Result<Broker> {
        let log_path = self.dir.join("broker.log");
        let log = File::create(&log_path).map_err(|error| at(&log_path, error))?;
        let second = log.try_clone().map_err(|error| at(&log_path, error))?;
        let mut command = java(libs, "kafka.Kafka");
        command
            .arg(self.settings())
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(second);
        // SAFETY: between fork and exec only setsid is called, which is async-signal-safe
        // and takes no arguments.
        unsafe {
            // The broker gets its own session, so it continues when this program and its
            // terminal end.
            command.pre_exec(|| match libc::setsid() {
                -1 => Err(io::Error::last_os_error()),
                _ => Ok(()),
            });
        }
        let child = command
            .spawn()
            .map_err(|error| Error::new(format!("cannot start java: {error}")))?;
        let pid = child.id();
        let (started, _) = stat(pid).ok_or_else(|| self.failed("ended at once"))?;
        let process = Process { pid, started, port };
        process.write(&self.pid_file())?;

        let broker = process.broker(true);
        let probe = Probe::new(&broker.brokers)?;
        let mut alive = true;
        let what = format!("Kafka to answer at {}", broker.brokers);
        let ready = wait::until(&what, READY_DEADLINE, || {
            alive = process.is_alive();
            !alive || probe.is_answered()
        });
        if let Err(error) = ready {
            process.kill()?;
            return Err(self.failed(&error.to_string()));
        }
        if !alive {
            return Err(self.failed("ended before it answered"));
        }
        Ok(broker)
    }

    fn failed(&self, reason: &str) -> Error {
        let log = self.dir.join("broker.log");
        let text = fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(25)..].join("\n  ");
        let log = log.display();
        Error::new(format!(
            "Kafka failed: {reason}\n{log} ends with:\n  {last}"
        ))
    }
}

fn reuse(process: &Process, options: BrokerOptions) -> Result<Broker> {
    let broker = process.broker(false);
    if options.port.is_some_and(|wanted| wanted != process.port) {
        return Err(Error::new(format!(
            "Kafka already runs at {}: stop it before it can move to another port",
            broker.brokers
        )));
    }
    answers(&broker.brokers, RUNNING_ANSWER).map_err(|error| {
        let pid = broker.pid;
        error.context(format!("Kafka runs as pid {pid} but needs a restart"))
    })?;
    Ok(broker)
}

/// A process that was started as a broker. It is identified by id *and* start time, because
/// the kernel reuses ids.
struct Process {
    pid: u32,
    started: u64,
    port: u16,
}

impl Process {
    fn read(path: &Path) -> Option<Self> {
        let text = fs::read_to_string(path).ok()?;
        let mut words = text.split_whitespace();
        Some(Self {
            pid: words.next()?.parse().ok()?,
            started: words.next()?.parse().ok()?,
            port: words.next()?.parse().ok()?,
        })
    }

    fn write(&self, path: &Path) -> Result<()> {
        let text = format!("{} {} {}\n", self.pid, self.started, self.port);
        fs::write(path, text).map_err(|error| at(path, error))
    }

    fn broker(&self, started_here: bool) -> Broker {
        Broker {
            pid: self.pid,
            brokers: format!("127.0.0.1:{}", self.port),
            started_here,
        }
    }

    fn is_alive(&self) -> bool {
        match stat(self.pid) {
            Some((started, zombie)) if started == self.started => !(zombie && self.has_ended()),
            _ => false,
        }
    }

    /// The first thread of the process has ended. Returns whether all others have ended too.
    /// Only then its port and its files are free.
    fn has_ended(&self) -> bool {
        // If this program started the broker, no other process will reap it.
        // SAFETY: the kernel allows a null status; an id that is not our child's is only an
        // error.
        unsafe { libc::waitpid(self.pid as i32, ptr::null_mut(), libc::WNOHANG) };
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid));
        threads.map_or(0, Iterator::count) <= 1
    }

    fn signal(&self, signal: i32) {
        if self.is_alive() {
            // SAFETY: the kernel gets no pointers; the process was just seen to be the broker.
            unsafe { libc::kill(self.pid as i32, signal) };
        }
    }

    fn kill(&self) -> Result<()> {
        self.signal(libc::SIGKILL);
        let what = format!("the killed broker with pid {} to vanish", self.pid);
        wait::until(&what, KILL_DEADLINE, || !self.is_alive())
    }
}

/// Returns when a process was started, in clock ticks since boot, and whether it only waits to
/// be reaped. Returns `None` if there is no such process.
fn stat(pid: u32) -> Option<(u64, bool)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name is in parentheses and may contain anything, even spaces.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let started = fields.nth(18)?.parse().ok()?;
    Some((started, state == "Z"))
}

fn java(libs: &Path, main_class: &str) -> Command {
    let mut command = Command::new("java");
    command
        .args(JVM)
        .arg("-cp")
        .arg(libs.join("*"))
        .arg(main_class);
    command
}

/// Returns a free loopback port, the preferred one if possible.
fn free_port(preferred: u16) -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", preferred))
        .or_else(|_| TcpListener::bind(("127.0.0.1", 0)))
        .and_then(|listener| listener.local_addr());
    listener
        .map(|address| address.port())
        .map_err(|error| Error::new(format!("no free port on loopback: {error}")))
}

/// Locks a file across processes and threads, until the returned handle is dropped.
pub(super) fn lock(path: &Path) -> Result<File> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(|error| at(dir, error))?;
    }
    let mut options = OpenOptions::new();
    let file = options.create(true).append(true).open(path);
    let file = file.map_err(|error| at(path, error))?;
    let what = format!("the lock {}", path.display());
    wait::until(&what, Deadline::after(LOCK_DEADLINE), || {
        // SAFETY: the descriptor is open for as long as `file` lives.
        unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) == 0 }
    })?;
    Ok(file)
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(dir, error)),
        _ => Ok(()),
    }
}

fn at(path: &Path, error: io::Error) -> Error {
    Error::new(format!("{}: {error}", path.display()))
}
