//! What one input of the configuration does in the host's callbacks. Knows no HTTP, JSON
//! or msgpack.

use std::{
    cell::Cell,
    ffi::CString,
    rc::Rc,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use kubeletstats_core::{
    counters::Counters,
    delivery::Delivery,
    error::{Error, Phase, Result},
    health::{Health, Missing},
    options::{Config, OPTIONS},
    timestamp::Timestamp,
    worker::Worker,
};

use crate::host::{Collect, Collector, Instance, Level, let_the_logger_print, without_signals};

/// What the host calls for an input between init and exit.
pub struct Collects {
    /// At every interval.
    pub timer: Collect,
    /// When the worker has something.
    pub outcome: Collect,
}

/// The input that was started last with none of its options set, if it still runs. Where
/// the plugin is loaded twice, the host makes such a one before each input that is meant.
static WITHOUT_OPTIONS: Mutex<Option<String>> = Mutex::new(None);

/// Whom to warn of: the input without options before this one, which has some.
fn started_without_options(name: &str, has_options: bool) -> Option<String> {
    let mut last = WITHOUT_OPTIONS
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    match has_options {
        true => last.take(),
        false => {
            *last = Some(name.to_owned());
            None
        }
    }
}

/// One input of the configuration. Lives from `cb_init` to `cb_exit`, on the
/// host thread that runs this input.
pub struct Plugin {
    pub instance: Instance,
    worker: Worker,
    collectors: Vec<Collector>,
    health: Health,
    interval: Duration,
    counters: Counters,
    stats_tag: Option<CString>,
    /// Between `cb_pause` and `cb_resume`. An outcome can still come in: the
    /// host may have had it in hand already. Shared, since the host can call `cb_pause`
    /// within an append.
    paused: Rc<Cell<bool>>,
    /// What the host did not take yet.
    delivery: Delivery,
}

impl Plugin {
    /// Options, worker, collectors, and the first scrape on its way.
    pub fn start(
        instance: Instance,
        collects: Collects,
    ) -> std::result::Result<Box<Self>, Box<(Instance, Error)>> {
        let config = match Config::read(|name| instance.property(name)) {
            Ok(config) => config,
            Err(error) => return Err(Box::new((instance, error))),
        };
        let worker = match without_signals(|| Worker::start(&config)) {
            Ok(worker) => worker,
            Err(error) => return Err(Box::new((instance, error))),
        };
        let mut plugin = Box::new(Self {
            instance,
            worker,
            collectors: Vec::new(),
            health: Health::default(),
            interval: config.interval,
            counters: Counters::default(),
            // From a C string of the host's, so there is no NUL in it.
            stats_tag: config
                .stats_tag
                .as_deref()
                .and_then(|tag| CString::new(tag).ok()),
            paused: Rc::default(),
            delivery: Delivery::default(),
        });
        match plugin.watch(&config, collects) {
            Ok(()) => Ok(plugin),
            Err(error) => Err(Box::new((plugin.instance, error))),
        }
    }

    fn watch(&mut self, config: &Config, collects: Collects) -> Result<()> {
        let fd = self.worker.wake_fd();
        self.collectors = vec![
            self.instance
                .collect_every(config.interval, collects.timer)?,
            self.instance.collect_when_readable(fd, collects.outcome)?,
        ];
        self.instance.log(Level::Info, &config.announcement());
        for warning in config.warnings() {
            self.instance.log(Level::Warn, warning);
        }
        let has_options = OPTIONS
            .iter()
            .any(|option| self.instance.property(option.name).is_some());
        let other = started_without_options(self.instance.name(), has_options);
        if let Some(other) = other {
            let line = format!(
                "{other} runs with no option set: if it is not in the configuration, the plugin is loaded twice, by -e and in plugins_file: load it once"
            );
            self.instance.log(Level::Warn, &line);
        }
        self.worker.scrape();
        Ok(())
    }

    /// The timer: time for a scrape, unless the last one hangs.
    pub fn tick(&mut self) {
        let now = Instant::now();
        if let Some((error, took)) = self.worker.overdue(now) {
            self.counters.scraped(took);
            self.report(now, took, &error);
            self.append_stats();
        } else if self.deliver() && !self.worker.scrape() {
            self.counters.overran();
            let line = "the last scrape is still on its way: this one is left out";
            self.instance.log(Level::Debug, line);
        }
    }

    /// The worker has something.
    pub fn pick_up(&mut self) {
        while let Some(outcome) = self.worker.outcome() {
            let now = Instant::now();
            self.counters.scraped(outcome.took);
            match outcome.result {
                Ok(batch) => {
                    let line = self.health.succeeded(now);
                    self.say(Level::Info, line);
                    let (wanted, all) = (batch.pods_wanted, batch.pods_on_node);
                    // What cannot be read is not known to be unwanted.
                    if wanted > 0 || batch.pods_unreadable == 0 {
                        let line = self.health.wanted(now, wanted, all);
                        let level = if wanted > 0 { Level::Info } else { Level::Warn };
                        self.say(level, line);
                    }
                    let line = self.health.unreadable(now, batch.pods_unreadable, all);
                    self.say(Level::Warn, line);
                    if batch.records > 0 {
                        let line = self.health.recorded(now);
                        self.say(Level::Info, line);
                    } else {
                        let missing = Some(&batch).filter(|_| wanted > 0);
                        let missing = missing.and_then(Missing::of);
                        let line = self.health.silence(now, self.interval, missing);
                        self.say(Level::Warn, line);
                    }
                    if self.instance.logs(Level::Debug) {
                        let (records, bytes) = (batch.records, batch.bytes.len());
                        let took = outcome.took;
                        let line = format!("{records} records, {bytes} bytes, in {took:.1?}");
                        self.instance.log(Level::Debug, &line);
                    }
                    self.delivery.enqueue(batch);
                    self.deliver();
                }
                Err(error) => self.report(now, outcome.took, &error),
            }
            self.append_stats();
        }
    }

    /// What [`Health`] finds worth a line.
    fn say(&self, level: Level, line: Option<String>) {
        if let Some(line) = line {
            self.instance.log(level, &line);
        }
    }

    fn append_stats(&self) {
        let Some(tag) = &self.stats_tag else { return };
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        if let Some(now) = since_epoch.ok().and_then(Timestamp::since_epoch) {
            // The next one says what this one would have said.
            let event = self.counters.event(self.instance.name(), now);
            self.instance.append_tagged(tag, &event);
        }
    }

    /// What failed, and how long it took to.
    pub fn report(&mut self, now: Instant, took: Duration, error: &Error) {
        self.counters.failed(error.reason());
        let line = self.health.failed(now, took, error);
        self.say(Level::Error, line);
    }

    /// Hands the host what it has still to take; `true` once that is nothing. Asked while
    /// it has us paused it would refuse with a line of its own.
    fn deliver(&mut self) -> bool {
        if self.paused.get() || self.delivery.is_empty() {
            return self.delivery.is_empty();
        }
        let now = Instant::now();
        let (instance, paused) = (&self.instance, Rc::clone(&self.paused));
        let append = |part: &[u8]| instance.append(part);
        let appended = self.delivery.try_append(now, || paused.get(), append);
        self.counters.appended(appended.records, appended.bytes);
        if appended.split {
            let line = self.health.split(now);
            self.say(Level::Warn, line);
        }
        if appended.refused {
            let kept = self.delivery.records().max(appended.given_up);
            let line = self.health.refused(now, kept);
            self.say(Level::Warn, line);
        } else if appended.records > 0 {
            let line = self.health.taken(now);
            self.say(Level::Info, line);
        }
        if appended.given_up > 0 {
            let line = self.health.given_up(now, appended.given_up);
            self.say(Level::Warn, line);
        }
        if let Some(buffer) = appended.buffer {
            self.worker.recycle(buffer);
        }
        self.delivery.is_empty()
    }

    pub fn pause(&mut self) {
        self.paused.set(true);
        for collector in &self.collectors {
            self.instance.pause(*collector);
        }
    }

    pub fn resume(&mut self) {
        self.paused.set(false);
        for collector in &self.collectors {
            self.instance.resume(*collector);
        }
        self.deliver();
    }

    /// The last words on a batch that is kept.
    pub fn end(mut self: Box<Self>) {
        let kept = self.delivery.records();
        let lost = Some(kept).filter(|records| *records > 0);
        if let Some(line) = lost.and_then(|records| self.health.lost(records)) {
            self.instance.log(Level::Warn, &line);
            let_the_logger_print();
        }
        if let Err(phase) = self.worker.stop() {
            let line = match phase {
                Phase::Token | Phase::Certificates => LEFT_READING,
                _ => LEFT,
            };
            self.instance.log(Level::Warn, line);
        }
    }
}

const LEFT_READING: &str =
    "the worker thread is left behind: it waits for a file, and ends when that answers";
const LEFT: &str = "the worker thread is left behind: it ends by itself as soon as it can";
