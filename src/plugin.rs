//! What one input of the configuration does in the host's callbacks.
//!
//! All of it runs on the host's thread, which other inputs may share. Therefore nothing here
//! waits, except for the worker's start and end (see [`kubeletstats_core::worker`]). The timer
//! requests a scrape from the worker and returns. When the worker has an outcome, its wake
//! descriptor becomes readable, and the second collector appends the batch. Records that the
//! host does not accept are kept in [`Delivery`], and no scrape starts while any are left.

use std::{
    cell::{Cell, RefCell},
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
    scrape::{Batch, Part},
    sink::metrics::{self, Contexts, Naming},
    timestamp::Timestamp,
    worker::Worker,
};

use crate::host::{
    CollectFn, Collector, Host, Instance, Level, MetricsAppended, MetricsSupport, wait_for_logger,
    with_signals_blocked,
};

/// The two collectors of an input. The host calls them between init and exit.
pub struct CollectorCallbacks {
    /// Called at every interval.
    pub timer: CollectFn,
    /// Called when the worker has an outcome.
    pub outcome: CollectFn,
}

/// The name of the last input that was started with none of its options set. A host that has
/// loaded the plugin twice (by `-e` and in `plugins_file`) starts such an input before each
/// input of the configuration.
static LAST_WITHOUT_OPTIONS: Mutex<Option<String>> = Mutex::new(None);

/// Returns the input without options that was started before this one, if this one has options.
fn started_without_options(name: &str, has_options: bool) -> Option<String> {
    let mut last = LAST_WITHOUT_OPTIONS
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

/// One input of the configuration. It exists from `cb_init` to `cb_exit`, on the host's thread
/// that runs this input.
///
/// The host can call `cb_pause` during an append of this input. Therefore the data that pausing
/// needs is separate from the state that the append uses.
pub struct Plugin {
    input: Rc<Input>,
    state: RefCell<State>,
}

/// The data of an input that changes only through a cell.
struct Input {
    instance: Instance,
    collectors: [Collector; 2],
    /// Set between `cb_pause` and `cb_resume`. An outcome can still arrive in that time, because
    /// the host may have noticed the wake before the pause.
    is_paused: Cell<bool>,
}

struct State {
    input: Rc<Input>,
    worker: Worker,
    health: Health,
    interval: Duration,
    begun: Instant,
    selects_by_labels: bool,
    has_records: bool,
    /// The options for the metrics of a failed scrape. `None` if the input has no metrics.
    metrics: Option<Config>,
    /// The node's name in the last metrics.
    node: Option<String>,
    unreadable_logged: bool,
    counters: Counters,
    stats_tag: Option<CString>,
    /// What the host has not accepted yet.
    delivery: Delivery,
}

impl Plugin {
    /// Reads the options, starts the worker, registers the collectors, and requests the first
    /// scrape. An error contains the instance, so that the caller can log with it.
    pub fn start(
        instance: Instance,
        callbacks: CollectorCallbacks,
    ) -> std::result::Result<Box<Self>, Box<(Instance, Error)>> {
        let config = match Config::read(|name| instance.property(name)) {
            Ok(config) => config,
            Err(error) => return Err(Box::new((instance, error))),
        };
        let config = match for_host(config, instance.host()) {
            Ok(config) => config,
            Err(error) => return Err(Box::new((instance, error))),
        };
        let worker = match with_signals_blocked(|| Worker::start(&config)) {
            Ok(worker) => worker,
            Err(error) => return Err(Box::new((instance, error))),
        };
        let collectors = match register(&instance, &config, &worker, callbacks) {
            Ok(collectors) => collectors,
            Err(error) => return Err(Box::new((instance, error))),
        };
        let input = Rc::new(Input {
            instance,
            collectors,
            is_paused: Cell::new(false),
        });
        let mut state = State {
            input: Rc::clone(&input),
            worker,
            health: Health::new(config.format.has_records()),
            has_records: config.format.has_records(),
            interval: config.interval,
            begun: Instant::now(),
            selects_by_labels: config.label_selector.is_some(),
            unreadable_logged: false,
            node: None,
            metrics: Some(config.clone()).filter(|config| config.format.has_metrics()),
            counters: Counters::default(),
            // The text is from a C string of the host, so it contains no NUL.
            stats_tag: config
                .stats_tag
                .as_deref()
                .and_then(|tag| CString::new(tag).ok()),
            delivery: Delivery::default(),
        };
        state.begin(&config);
        let state = RefCell::new(state);
        Ok(Box::new(Self { input, state }))
    }

    /// The input, as the host knows it.
    pub fn instance(&self) -> &Instance {
        &self.input.instance
    }

    /// Called by the timer. If a scrape hangs, this reports it. Otherwise it offers the host
    /// what the host has not accepted yet. If no record is left then, it requests the next
    /// scrape.
    pub fn on_timer(&self) {
        self.with_state(State::on_timer);
    }

    /// Called when the worker has an outcome.
    pub fn on_outcome(&self) {
        self.with_state(State::on_outcome);
    }

    /// The host wants no records for now, for example because `mem_buf_limit` is exceeded.
    pub fn pause(&self) {
        self.input.is_paused.set(true);
        for collector in &self.input.collectors {
            self.input.instance.pause(*collector);
        }
    }

    /// The host wants records again.
    pub fn resume(&self) {
        self.input.is_paused.set(false);
        for collector in &self.input.collectors {
            self.input.instance.resume(*collector);
        }
        self.with_state(|state| {
            state.deliver();
        });
    }

    /// Counts and logs a failure that took no time.
    pub fn report(&self, error: &Error) {
        self.with_state(|state| state.report(Instant::now(), Duration::ZERO, error));
    }

    /// Stops the worker, and logs what is lost with the input.
    pub fn shut_down(self: Box<Self>) {
        self.state.into_inner().shut_down();
    }

    /// Runs `work` on the state. A callback that runs inside another one does nothing, because
    /// the outer one continues with the same state.
    fn with_state(&self, work: impl FnOnce(&mut State)) {
        if let Ok(mut state) = self.state.try_borrow_mut() {
            work(&mut state);
        }
    }
}

/// Adapts the options of metrics to this host. Fails if the host cannot accept such metrics.
fn for_host(mut config: Config, host: &Host) -> Result<Config> {
    if config.format.has_metrics() {
        let support = host.metrics();
        if support == MetricsSupport::None {
            return Err(Error::host(
                "this host has no metrics for plugins: format metrics and both need Fluent Bit 2.0 or later",
            ));
        }
        let has_points = config.metric_names == Naming::OpenTelemetry;
        if has_points && support == MetricsSupport::PrometheusNames {
            return Err(Error::host(
                "this host cannot take opentelemetry's names: metric_names opentelemetry needs Fluent Bit 3.2 or later",
            ));
        }
        config.dialect.has_units = host.has_units();
    }
    Ok(config)
}

fn register(
    instance: &Instance,
    config: &Config,
    worker: &Worker,
    callbacks: CollectorCallbacks,
) -> Result<[Collector; 2]> {
    Ok([
        instance.collect_every(config.interval, callbacks.timer)?,
        instance.collect_when_readable(worker.wake_fd(), callbacks.outcome)?,
    ])
}

impl State {
    /// Logs the options in force and requests the first scrape.
    fn begin(&mut self, config: &Config) {
        self.input.instance.log(Level::Info, &config.announcement());
        for warning in config.warnings() {
            self.input.instance.log(Level::Warn, warning);
        }
        let has_options = OPTIONS
            .iter()
            .any(|option| self.input.instance.property(option.name).is_some());
        let other = started_without_options(self.input.instance.name(), has_options);
        if let Some(other) = other {
            let line = format!(
                "{other} runs with no option set: if it is not in the configuration, the plugin is loaded twice, by -e and in plugins_file: load it once"
            );
            self.input.instance.log(Level::Warn, &line);
        }
        self.worker.scrape(&self.counters);
    }

    /// Called by the timer. If a scrape hangs, this reports it. Otherwise it offers the host
    /// what the host has not accepted yet. If no record is left then, it requests the next
    /// scrape.
    fn on_timer(&mut self) {
        let now = Instant::now();
        if let Some((error, took)) = self.worker.overdue(now) {
            self.counters.scraped(took);
            self.report(now, took, &error);
            self.append_stats();
        } else if self.deliver() && !self.worker.scrape(&self.counters) {
            // Hosts also call this as soon as they run, while the first scrape is still running.
            if now.duration_since(self.begun) < self.interval / 2 {
                return;
            }
            self.counters.overran();
            let line = "the last scrape is still running: this one is skipped";
            self.input.instance.log(Level::Debug, line);
        }
    }

    /// Called when the worker's wake descriptor is readable. Logs, counts and delivers the
    /// outcomes.
    fn on_outcome(&mut self) {
        while let Some(outcome) = self.worker.outcome() {
            let now = Instant::now();
            self.counters.scraped(outcome.took);
            match outcome.result {
                Ok(batch) => {
                    self.log_batch(now, outcome.took, &batch);
                    self.node = batch.node.or(self.node.take());
                    self.delivery.enqueue(batch.parts);
                    self.deliver();
                }
                Err(error) => self.report(now, outcome.took, &error),
            }
            self.append_stats();
        }
    }

    /// Logs what a successful scrape shows about the state of the kubelet and the options.
    fn log_batch(&mut self, now: Instant, took: Duration, batch: &Batch) {
        let line = self.health.succeeded(now);
        self.log_line(Level::Info, line);
        let (wanted, all) = (batch.pods_wanted, batch.pods_on_node);
        // A pod that cannot be read may be a selected one.
        if batch.plan.wants_pods() && (wanted > 0 || batch.pods_unreadable == 0) {
            let line = self.health.wanted(now, wanted, all);
            let level = if wanted > 0 { Level::Info } else { Level::Warn };
            self.log_line(level, line);
        }
        let line = self.health.unreadable(now, batch.pods_unreadable, all);
        self.log_line(Level::Warn, line);
        match &batch.facts {
            Some(Ok(unreadable)) => {
                let line = self.health.facts_came(now);
                self.log_line(Level::Info, line);
                let line = self.health.facts_unreadable(now, *unreadable);
                self.log_line(Level::Warn, line);
            }
            Some(Err(error)) => {
                let line = self.health.facts_failed(now, error, self.selects_by_labels);
                self.log_line(Level::Warn, line);
            }
            None => {}
        }
        let missing = Missing::of(batch);
        // If the input has only metrics, a new sample counts as a record.
        if missing.is_none() && batch.news > 0 {
            let line = self.health.recorded(now);
            self.log_line(Level::Info, line);
        } else {
            let line = self.health.no_records(now, self.interval, missing);
            self.log_line(Level::Warn, line);
        }
        if self.input.instance.is_level_enabled(Level::Debug) {
            let (records, bytes) = (batch.records(), batch.events().len());
            if self.has_records {
                let line = format!("{records} records, {bytes} bytes, in {took:.1?}");
                self.input.instance.log(Level::Debug, &line);
            }
            if let Some(Contexts { bytes, count }) = batch.metrics() {
                let bytes = bytes.len();
                let line = format!("metrics: {count} contexts, {bytes} bytes, in {took:.1?}");
                self.input.instance.log(Level::Debug, &line);
            }
        }
    }

    /// Logs a line, if [`Health`] returned one.
    fn log_line(&self, level: Level, line: Option<String>) {
        if let Some(line) = line {
            self.input.instance.log(level, &line);
        }
    }

    /// Appends the record about the plugin itself, if `stats_tag` is set.
    fn append_stats(&self) {
        let Some(tag) = &self.stats_tag else { return };
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        if let Some(now) = since_epoch.ok().and_then(Timestamp::since_epoch) {
            // If the host refuses it, it is not retried, because the next record has the same
            // counters.
            let event = self.counters.event(self.input.instance.name(), now);
            self.input.instance.append_tagged(tag, &event);
        }
    }

    /// Counts a failed scrape, and logs it if a line is due. `took` is how long the scrape ran.
    fn report(&mut self, now: Instant, took: Duration, error: &Error) {
        self.counters.failed(error.reason());
        let line = self.health.failed(now, took, error);
        self.log_line(Level::Error, line);
        self.append_failure();
    }

    /// Appends metrics that only state that the kubelet does not answer. They replace the
    /// metrics of the last successful scrape.
    fn append_failure(&mut self) {
        let Some(config) = &self.metrics else { return };
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        if let Some(now) = since_epoch.ok().and_then(Timestamp::since_epoch) {
            let node = self.node.as_deref();
            let contexts = metrics::failed(config, node, &self.counters, now);
            self.delivery.enqueue(vec![Part::Metrics(contexts)]);
            self.deliver_metrics();
        }
    }

    /// Offers the host the metrics, if there are any. Those that it refuses are offered again
    /// until those of the next scrape replace them.
    fn deliver_metrics(&mut self) {
        let Some(config) = &self.metrics else { return };
        let input = &self.input;
        let mut came_of_it = None;
        let offered = self
            .delivery
            .try_metrics(input.is_paused.get(), |contexts| {
                let Contexts { bytes, count } = contexts;
                // Only one context can be decoded at a time.
                let is_raw = config.skip_processors || config.metric_names == Naming::OpenTelemetry;
                let appended = match is_raw {
                    true => input.instance.append_contexts(bytes, *count),
                    false => input.instance.append_metrics(bytes),
                };
                came_of_it = Some(appended);
                // Metrics that the host cannot decode are not retried.
                appended != MetricsAppended::Refused
            });
        if let Some(Ok(contexts)) = offered {
            self.worker.recycle_metrics(contexts.bytes);
        }
        if came_of_it == Some(MetricsAppended::Unreadable) && !self.unreadable_logged {
            self.unreadable_logged = true;
            let line = "fluent bit cannot decode the plugin's metrics: please report its version";
            self.input.instance.log(Level::Error, line);
        }
        let now = Instant::now();
        match came_of_it {
            Some(MetricsAppended::Refused) => {
                let line = self.health.metrics_refused(now);
                self.log_line(Level::Warn, line);
            }
            Some(MetricsAppended::Taken) => {
                let line = self.health.metrics_accepted(now);
                self.log_line(Level::Info, line);
            }
            Some(MetricsAppended::Unreadable) | None => {}
        }
    }

    /// Offers the host what it has not accepted yet. Returns `true` if no record is left.
    /// Records are offered first: records and metrics share the input's limit, and metrics are
    /// made again at the next scrape.
    fn deliver(&mut self) -> bool {
        self.deliver_records();
        self.deliver_metrics();
        self.delivery.is_empty()
    }

    /// Offers the records, unless the input is paused. A paused host would refuse them, and log
    /// an error for each attempt.
    fn deliver_records(&mut self) {
        if self.input.is_paused.get() || self.delivery.is_empty() {
            return;
        }
        let now = Instant::now();
        let input = &self.input;
        let append = |part: &[u8], count| input.instance.append(part, count);
        let is_paused = || input.is_paused.get();
        let appended = self.delivery.try_append(now, is_paused, append);
        self.counters.appended(appended.records, appended.bytes);
        if appended.split {
            let line = self.health.split(now);
            self.log_line(Level::Warn, line);
        }
        if appended.refused {
            let kept = self.delivery.records().max(appended.given_up);
            let line = self.health.refused(now, kept);
            self.log_line(Level::Warn, line);
        } else if appended.records > 0 {
            let line = self.health.accepted(now);
            self.log_line(Level::Info, line);
        }
        if appended.given_up > 0 {
            let line = self.health.given_up(now, appended.given_up);
            self.log_line(Level::Warn, line);
        }
        if let Some(buffer) = appended.buffer {
            self.worker.recycle(buffer);
        }
    }

    /// Stops the worker, and logs what is lost with the input.
    fn shut_down(mut self) {
        let kept = self.delivery.records();
        let lost = Some(kept).filter(|records| *records > 0);
        if let Some(line) = lost.and_then(|records| self.health.lost(records)) {
            self.input.instance.log(Level::Warn, &line);
            wait_for_logger();
        }
        if let Err(phase) = self.worker.stop() {
            let line = match phase {
                Phase::Token | Phase::Certificates => LEFT_BEHIND_READING,
                _ => LEFT_BEHIND,
            };
            self.input.instance.log(Level::Warn, line);
        }
    }
}

const LEFT_BEHIND_READING: &str =
    "the worker thread still waits for a file: it ends when the file system answers";
const LEFT_BEHIND: &str = "the worker thread still runs: it ends by itself as soon as it can";
