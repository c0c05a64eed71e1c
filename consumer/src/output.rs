//! What is printed. Each stream is written by a thread of its own, so that a pipe that nobody
//! reads stops that thread and nothing else: what does not fit into memory meanwhile is dropped,
//! by whole lines, and counted.

use kubeletstats_core::text::printable;
use std::io::{self, Write};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

/// Kept for a reader that is slow: some 40,000 lines.
const KEPT: usize = 4 << 20;

/// The near end of the thread, which lasts as long as the program.
pub struct Output(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    pending: String,
    /// Bytes that the thread is writing now.
    writing: usize,
    dropped: u64,
    failed: Option<io::Error>,
}

impl Output {
    pub fn start(mut stream: impl Write + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let far = Arc::clone(&shared);
        thread::spawn(move || {
            loop {
                let text = far.next();
                let result = stream
                    .write_all(text.as_bytes())
                    .and_then(|()| stream.flush());
                let mut state = far.state();
                state.writing = 0;
                if result.is_err() {
                    state.dropped += lines(&text);
                }
                state.failed = result.err();
                far.changed.notify_all();
            }
        });
        Self(shared)
    }

    /// Takes whole lines, or counts them as dropped if those before them fill the memory.
    pub fn print(&self, text: &str) {
        let mut state = self.0.state();
        if state.is_full() {
            state.dropped += lines(text);
        } else {
            state.pending.push_str(text);
            self.0.changed.notify_all();
        }
    }

    pub fn is_full(&self) -> bool {
        self.0.state().is_full()
    }

    /// Has the stream taken everything?
    pub fn is_done(&self) -> bool {
        self.0.state().waiting() == 0
    }

    /// Lines that were never written.
    pub fn dropped(&self) -> u64 {
        self.0.state().dropped
    }

    /// Why the last write failed, if it did.
    pub fn failure(&self) -> Option<String> {
        self.0.state().failed.as_ref().map(ToString::to_string)
    }

    /// Waits until all is written, for a limited time.
    pub fn flush(&self, within: Duration) {
        let waits = |state: &mut State| state.waiting() > 0;
        let state = self.0.state();
        drop(self.0.changed.wait_timeout_while(state, within, waits));
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> String {
        let state = self.state();
        let waits = |state: &mut State| state.pending.is_empty();
        let state = self.changed.wait_while(state, waits);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.writing = state.pending.len();
        mem::take(&mut state.pending)
    }
}

impl State {
    fn waiting(&self) -> usize {
        self.pending.len() + self.writing
    }

    fn is_full(&self) -> bool {
        self.waiting() >= KEPT
    }
}

fn lines(text: &str) -> u64 {
    text.lines().count() as u64
}

fn log() -> &'static Output {
    static LOG: OnceLock<Output> = OnceLock::new();
    LOG.get_or_init(|| Output::start(io::stderr()))
}

/// A line of the log, and no more than one: keys of records and the words of servers stand in
/// it. A log that nobody reads stops nothing.
pub fn say(line: impl AsRef<str>) {
    static TOLD: AtomicU64 = AtomicU64::new(0);
    let (log, mut text) = (log(), String::new());
    let dropped = log.dropped();
    if !log.is_full() && TOLD.swap(dropped, Ordering::Relaxed) < dropped {
        text = format!("log: {dropped} lines were dropped, nobody read them\n");
    }
    text.push_str(&printable(line.as_ref(), usize::MAX));
    text.push('\n');
    log.print(&text);
}

/// Gives the log's last lines a moment to be written.
pub fn finish_log(within: Duration) {
    log().flush(within);
}
