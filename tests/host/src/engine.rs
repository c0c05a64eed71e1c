//! The pipeline: it builds the instances, runs the event loop, and stops everything in
//! Fluent Bit's order.

use std::{
    io::Read,
    os::{
        fd::{AsRawFd, RawFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use libc::c_int;
use log::{error, info};

use crate::{
    abi::InputPlugin,
    config::{self, Section},
    event::Filter,
    input::Input,
    output::Output,
};

/// When stopping, how often the outputs are asked whether they are finished.
const DRAIN_STEP: Duration = Duration::from_millis(20);

pub struct Engine {
    flush: Duration,
    grace: Duration,
    /// This never grows, because plugins keep pointers to its items.
    inputs: Box<[Input]>,
    filters: Vec<Filter>,
    outputs: Vec<Output>,
}

impl Engine {
    pub fn new(sections: &[Section], plugins: &[InputPlugin]) -> Result<Engine> {
        let of = |kind| sections.iter().filter(move |s| s.kind == kind);
        let seconds = |key, default| -> Result<Duration> {
            let seconds = config::service(sections, key)?.unwrap_or(default);
            Duration::try_from_secs_f64(seconds).with_context(|| format!("[config] {key}"))
        };
        let storage: Option<PathBuf> = config::service(sections, "storage.path")?;
        let inputs = of("input").enumerate();
        let inputs = inputs.map(|(number, s)| Input::new(number, s, plugins, storage.as_deref()));
        Ok(Engine {
            flush: seconds("flush", 1.0)?,
            grace: seconds("grace", 5.0)?,
            inputs: inputs.collect::<Result<_>>()?,
            filters: of("filter").map(Filter::new).collect::<Result<_>>()?,
            outputs: of("output").map(Output::new).collect::<Result<_>>()?,
        })
    }

    /// Runs until a byte arrives in `signals`. If an input does not start, it ends with
    /// that error.
    pub fn run(&self, signals: &UnixStream) -> Result<()> {
        let started = self.inputs.iter().try_for_each(Input::init);
        if started.is_ok() {
            self.serve(signals);
        }
        self.inputs.iter().for_each(Input::exit);
        started
    }

    fn serve(&self, mut signals: &UnixStream) {
        let (mut next_flush, mut deadline) = (Instant::now() + self.flush, None);
        loop {
            let ready = self.wait(next_flush, signals.as_raw_fd());
            self.inputs.iter().for_each(|input| input.collect(&ready));
            let now = Instant::now();
            if ready.contains(&signals.as_raw_fd()) && signals.read(&mut [0; 8]).is_ok() {
                info!("[engine] signal caught, stopping in max {:?}", self.grace);
                self.inputs.iter().for_each(|input| input.run(false));
                (next_flush, deadline) = (now, Some(now + self.grace));
            }
            if now >= next_flush {
                let pending = self.flush(deadline.is_some());
                if deadline.is_some_and(|deadline| pending == 0 || now >= deadline) {
                    info!("[engine] service has stopped, {pending} records were not delivered");
                    return;
                }
                next_flush = now + deadline.map_or(self.flush, |_| DRAIN_STEP);
            }
        }
    }

    /// Moves events from the inputs to the outputs. Returns how many the outputs have not
    /// delivered yet.
    fn flush(&self, stopping: bool) -> usize {
        let events = self.inputs.iter().map(|input| input.take_events(stopping));
        for (i, mut event) in events.flat_map(|events| events.into_iter().enumerate()) {
            self.filters.iter().for_each(|f| f.apply(&mut event));
            for output in &self.outputs {
                if output.pattern.matches(&event.tag)
                    && let Err(why) = (output.sink)(i, &event)
                {
                    error!("[output:{}] {why:#}", output.name);
                }
            }
        }
        for input in &self.inputs {
            for page in input.take_metrics() {
                for output in &self.outputs {
                    if output.pattern.matches(&input.tag)
                        && let Err(why) = output.metrics(input.name(), &page)
                    {
                        error!("[output:{}] {why:#}", output.name);
                    }
                }
            }
        }
        self.outputs.iter().map(Output::pending).sum()
    }

    /// Waits for a time, a signal or a collector. Returns the descriptors that are ready.
    fn wait(&self, mut until: Instant, signals: RawFd) -> Vec<RawFd> {
        let watch = |fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        let mut fds = vec![watch(signals)];
        for input in &self.inputs {
            for collector in input.collectors.borrow().iter() {
                match (collector.next, collector.fd) {
                    (Some(_), Some(fd)) => fds.push(watch(fd)),
                    (Some(next), None) => until = until.min(next),
                    (None, _) => {}
                }
            }
        }
        let left = until.saturating_duration_since(Instant::now());
        // The time is rounded up, so that the wait does not end too early.
        let millis = c_int::try_from(left.as_millis() + 1).unwrap_or(c_int::MAX);
        // SAFETY: the array lives for the duration of the call, and the length is that of
        // the array.
        unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, millis) };
        fds.retain(|fd| fd.revents != 0);
        fds.iter().map(|fd| fd.fd).collect()
    }
}
