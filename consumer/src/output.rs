//! What is printed. Each stream has its own thread for writing, so a pipe that nobody reads
//! blocks only that thread. Lines that do not fit into memory in the meantime are dropped and
//! counted.

use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
        mpsc::{self, Sender},
    },
    thread,
    time::Duration,
};

use kubeletstats_core::text::printable;
use tokio::{sync::Notify, time::timeout};

/// In bytes. This is kept for a slow reader, about 40,000 lines.
const CAPACITY: usize = 4 << 20;

/// The thread of an output runs as long as the program.
#[derive(Clone)]
pub struct Output {
    queue: Sender<String>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// The number of bytes that are not written yet.
    pending: AtomicUsize,
    dropped: AtomicU64,
    failure: Mutex<Option<String>>,
    written: Notify,
}

impl Output {
    pub fn start(mut stream: impl Write + Send + 'static) -> Self {
        let (queue, texts) = mpsc::channel::<String>();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for text in texts {
                let written = stream.write_all(text.as_bytes());
                let written = written.and_then(|()| stream.flush());
                if written.is_err() {
                    shared.dropped.fetch_add(lines(&text), SeqCst);
                }
                *shared.failure() = written.err().map(|error| error.to_string());
                shared.pending.fetch_sub(text.len(), SeqCst);
                shared.written.notify_one();
            }
        });
        Self { queue, state }
    }

    /// Takes whole lines. If the memory is full, they are dropped and counted.
    pub fn print(&self, text: String) {
        match self.is_full() {
            true => drop(self.state.dropped.fetch_add(lines(&text), SeqCst)),
            false => self.keep(text),
        }
    }

    /// Takes lines in any case. The caller must not read more input while [`Self::is_full`].
    pub fn keep(&self, text: String) {
        self.state.pending.fetch_add(text.len(), SeqCst);
        let _ = self.queue.send(text);
    }

    pub fn is_full(&self) -> bool {
        self.state.pending.load(SeqCst) >= CAPACITY
    }

    /// Whether everything has been written.
    pub fn is_done(&self) -> bool {
        self.state.pending.load(SeqCst) == 0
    }

    /// The number of lines that were never written.
    pub fn dropped(&self) -> u64 {
        self.state.dropped.load(SeqCst)
    }

    /// Returns why the last write failed, if it did.
    pub fn failure(&self) -> Option<String> {
        self.state.failure().clone()
    }

    /// Resolves if something was written since the last call.
    pub async fn written(&self) {
        self.state.written.notified().await;
    }

    /// Waits until everything is written, but not longer than `limit`.
    pub async fn flush(&self, limit: Duration) {
        let all_written = async {
            while !self.is_done() {
                self.written().await;
            }
        };
        let _ = timeout(limit, all_written).await;
    }
}

impl State {
    fn failure(&self) -> MutexGuard<'_, Option<String>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lines(text: &str) -> u64 {
    text.lines().count() as u64
}

/// Starts the log on stderr. A log that nobody reads blocks nothing.
pub fn start_log() -> Output {
    let stderr = Output::start(io::stderr());
    let log = Log {
        output: stderr.clone(),
        told: Arc::default(),
    };
    tracing_subscriber::fmt()
        .with_writer(move || log.clone())
        .without_time()
        .with_level(false)
        .with_target(false)
        .init();
    stderr
}

#[derive(Clone)]
struct Log {
    output: Output,
    /// The number of dropped lines that the log has reported.
    told: Arc<AtomicU64>,
}

/// Each call writes one line. It may contain keys of records and text from servers.
impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let (output, dropped) = (&self.output, self.output.dropped());
        if !output.is_full() && self.told.swap(dropped, SeqCst) < dropped {
            output.print(format!(
                "log: {dropped} lines were dropped, nobody read them\n"
            ));
        }
        let text = String::from_utf8_lossy(line);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        output.print(printable(text, usize::MAX) + "\n");
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
