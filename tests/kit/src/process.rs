//! A started process that is always stopped: its output by line, its end, and what `/proc`
//! shows about it. Signals are sent only to the process that was started here and to its
//! process group.

use std::{
    fs, io,
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    process::{Command, ExitStatus, Stdio},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        mpsc::{self, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{Deadline, Error, Result};

/// How many of the last lines an error quotes.
const TAIL: usize = 40;

/// How long the output of an ended process may take to arrive.
const DRAIN: Duration = Duration::from_secs(2);

/// Selects an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
    Any,
}

/// One line of output, without its line break.
#[derive(Clone, Debug)]
pub struct Line {
    /// This is never `Any`.
    pub stream: Stream,
    pub text: String,
    pub at: Instant,
}

/// How a process ended after it was asked to end.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub status: ExitStatus,
    /// Whether it was killed, because it did not end by its deadline.
    pub killed: bool,
    pub took: Duration,
}

/// A running child process; dropping it kills and reaps it.
pub struct Child {
    name: String,
    process: std::process::Child,
    output: Arc<Output>,
    /// Set when the process was reaped. After that, its id may belong to another process.
    reaped: Option<ExitStatus>,
}

#[derive(Default)]
struct Output {
    state: Mutex<OutputState>,
    changed: Condvar,
}

#[derive(Default)]
struct OutputState {
    lines: Vec<Line>,
    open_streams: usize,
}

impl Child {
    /// Starts `command` as the leader of its own process group. Both outputs are captured, and
    /// there is no input. If this program dies without cleaning up, the kernel kills the child.
    pub fn spawn(mut command: Command) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let name = program.rsplit('/').next().unwrap_or(&program).to_owned();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        // SAFETY: between fork and exec, only prctl is called. It is async-signal-safe, takes no
        // pointer here, and allocates nothing.
        unsafe {
            command.pre_exec(|| {
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == -1 {
                    return Err(io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let mut process = spawn_from_lasting_thread(command)
            .map_err(|error| Error::new(format!("cannot start {program}: {error}")))?;

        let output = Arc::new(Output::default());
        output.lock().open_streams = 2;
        read_lines(process.stdout.take(), Stream::Stdout, &output);
        read_lines(process.stderr.take(), Stream::Stderr, &output);
        Ok(Self {
            name,
            process,
            output,
            reaped: None,
        })
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Returns the first line that `wanted` accepts, of all lines so far and to come. Fails at
    /// the deadline, or as soon as the process has closed its output. The error quotes its last
    /// lines.
    pub fn wait_for_line(
        &self,
        stream: Stream,
        wanted: impl FnMut(&str) -> bool,
        deadline: impl Into<Deadline>,
    ) -> Result<String> {
        self.wait_for_line_from(0, stream, wanted, deadline)
    }

    /// Does the same, but only for lines from index `first` on. If `first` is the `line_count`
    /// from before an action, the line that the action causes is not confused with an earlier
    /// one.
    pub fn wait_for_line_from(
        &self,
        first: usize,
        stream: Stream,
        mut wanted: impl FnMut(&str) -> bool,
        deadline: impl Into<Deadline>,
    ) -> Result<String> {
        let deadline = deadline.into();
        let mut seen = first;
        let mut state = self.output.lock();
        loop {
            let fresh = state.lines.get(seen..).unwrap_or_default();
            if let Some(line) = fresh
                .iter()
                .find(|line| line.is_of(stream) && wanted(&line.text))
            {
                return Ok(line.text.clone());
            }
            seen = seen.max(state.lines.len());
            let reason = if state.open_streams == 0 {
                format!("{} closed its output without the line", self.name)
            } else if deadline.passed() {
                format!(
                    "waited {:.1} s in vain for a line of {}",
                    deadline.allowed().as_secs_f64(),
                    self.name
                )
            } else {
                state = self.output.wait(state, deadline.remaining());
                continue;
            };
            return Err(Error::new(format!("{reason}\n{}", tail(&state.lines))));
        }
    }

    /// Returns all lines of a stream so far, in order of arrival.
    pub fn lines(&self, stream: Stream) -> Vec<String> {
        let state = self.output.lock();
        let wanted = state.lines.iter().filter(|line| line.is_of(stream));
        wanted.map(|line| line.text.clone()).collect()
    }

    /// Returns the lines from index `first` on, with stream and time of arrival.
    pub fn lines_from(&self, first: usize) -> Vec<Line> {
        let state = self.output.lock();
        state.lines.get(first..).unwrap_or_default().to_vec()
    }

    /// Returns the number of lines of both streams so far.
    pub fn line_count(&self) -> usize {
        self.output.lock().lines.len()
    }

    /// Returns the last lines of both streams, ready to print.
    pub fn tail(&self) -> String {
        tail(&self.output.lock().lines)
    }

    /// Returns how the process ended, or `None` while it runs.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        if self.reaped.is_none() && self.has_ended() {
            self.reap();
        }
        self.reaped
    }

    /// Waits for the process to end by itself.
    pub fn wait_for_exit(&mut self, deadline: impl Into<Deadline>) -> Result<ExitStatus> {
        let what = format!("{} to end", self.name);
        crate::wait::until_some(&what, deadline, || self.exit_status())
            .map_err(|error| Error::new(format!("{error}\n{}", self.tail())))
    }

    /// Sends a signal to the process, if it still runs.
    pub fn signal(&self, signal: i32) {
        if self.reaped.is_none() {
            send(self.pid() as i32, signal);
        }
    }

    /// Asks the process to end (SIGTERM), and kills it at the deadline.
    pub fn terminate(&mut self, deadline: impl Into<Deadline>) -> Ended {
        let begun = Instant::now();
        self.signal(libc::SIGTERM);
        let ended = crate::wait::until("", deadline, || self.reaped.is_some() || self.has_ended());
        let took = begun.elapsed();
        Ended {
            status: self.kill(),
            killed: ended.is_err(),
            took,
        }
    }

    /// Kills the process and the rest of its group, and waits for its end.
    pub fn kill(&mut self) -> ExitStatus {
        if let Some(status) = self.reaped {
            return status;
        }
        self.reap()
    }

    /// Returns the resident memory now.
    pub fn rss_kib(&self) -> Result<u64> {
        let status = self.proc_file("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse().ok())
            .ok_or_else(|| Error::new(format!("no VmRSS for {}: it has ended", self.name)))
    }

    pub fn threads(&self) -> Result<usize> {
        self.proc_entries("task")
    }

    /// Returns the number of open file descriptors.
    pub fn fds(&self) -> Result<usize> {
        self.proc_entries("fd")
    }

    fn proc_file(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.pid());
        fs::read_to_string(&path).map_err(|error| Error::new(format!("{path}: {error}")))
    }

    fn proc_entries(&self, folder: &str) -> Result<usize> {
        let path = format!("/proc/{}/{folder}", self.pid());
        let entries = fs::read_dir(&path);
        Ok(entries
            .map_err(|error| Error::new(format!("{path}: {error}")))?
            .count())
    }

    /// Checks whether the process has ended, without reaping it. So its id stays reserved, and
    /// the group can still be signalled safely.
    fn has_ended(&self) -> bool {
        // SAFETY: siginfo_t is plain data for which all zeroes is a valid value.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: the kernel gets the id of our own child, which is not reaped yet, and `info`
        // lives longer than the call.
        let result = unsafe { libc::waitid(libc::P_PID, self.pid(), &mut info, flags) };
        // SAFETY: waitid succeeded, so the kernel has filled in the fields of a child's state,
        // or left them zero while the child runs.
        result == 0 && unsafe { info.si_pid() } != 0
    }

    fn reap(&mut self) -> ExitStatus {
        // The process is not reaped yet, so no other group can have its id.
        send(-(self.pid() as i32), libc::SIGKILL);
        let status = self
            .process
            .wait()
            .expect("our own child can be waited for");
        self.reaped = Some(status);
        // When the whole group has ended, the pipes are closed, unless a member left the group.
        let _ = crate::wait::until("", DRAIN, || self.output.lock().open_streams == 0);
        status
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Line {
    fn is_of(&self, stream: Stream) -> bool {
        stream == Stream::Any || stream == self.stream
    }
}

impl Output {
    // A panic in a test's closure must not hide the output in the following message.
    fn lock(&self) -> MutexGuard<'_, OutputState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, OutputState>,
        at_most: Duration,
    ) -> MutexGuard<'a, OutputState> {
        let waited = self.changed.wait_timeout(state, at_most);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

fn read_lines(pipe: Option<impl Read + Send + 'static>, stream: Stream, output: &Arc<Output>) {
    let mut reader = BufReader::new(pipe.expect("both outputs are piped"));
    let output = Arc::clone(output);
    thread::spawn(move || {
        let mut bytes = Vec::new();
        while matches!(reader.read_until(b'\n', &mut bytes), Ok(1..)) {
            let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
            let text = String::from_utf8_lossy(line).into_owned();
            let at = Instant::now();
            output.lock().lines.push(Line { stream, text, at });
            output.changed.notify_all();
            bytes.clear();
        }
        output.lock().open_streams -= 1;
        output.changed.notify_all();
    });
}

fn tail(lines: &[Line]) -> String {
    let skipped = lines.len().saturating_sub(TAIL);
    let mut text = match (lines.len(), skipped) {
        (0, _) => "it printed nothing".to_owned(),
        (_, 0) => "it printed:".to_owned(),
        _ => format!("it printed (after {skipped} lines more):"),
    };
    for line in &lines[skipped..] {
        let stream = match line.stream {
            Stream::Stdout => "out",
            Stream::Stderr | Stream::Any => "err",
        };
        text.push_str(&format!("\n  {stream} | {}", line.text));
    }
    text
}

fn send(pid: i32, signal: i32) {
    // SAFETY: the kernel gets no pointers in kill; the callers ensure that the id, or the group
    // of that id, is one of our own. If the process has ended in the meantime, that is not an
    // error.
    unsafe { libc::kill(pid, signal) };
}

type SpawnRequest = (Command, Sender<io::Result<std::process::Child>>);

/// The kernel sends the parent-death signal when the *thread* that forked ends, and the threads
/// of a test harness end early. This one thread runs as long as the program.
fn spawn_from_lasting_thread(command: Command) -> io::Result<std::process::Child> {
    static SPAWNER: OnceLock<Sender<SpawnRequest>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (requests, queue) = mpsc::channel::<SpawnRequest>();
        thread::spawn(move || {
            for (mut command, answer) in queue {
                let _ = answer.send(command.spawn());
            }
        });
        requests
    });
    let (answer, result) = mpsc::channel();
    let lost = |_| io::Error::other("the thread that starts processes has ended");
    spawner
        .send((command, answer))
        .map_err(|_| lost(mpsc::RecvError))?;
    result.recv().map_err(lost)?
}
