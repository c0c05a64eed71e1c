//! The callbacks, the boundary no panic crosses, and the exported object.

use std::{
    cell::{Cell, UnsafeCell},
    ffi::{CString, c_int, c_void},
    ptr,
    rc::Rc,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    counters::Counters,
    delivery::Delivery,
    error::{Error, Phase, Result},
    health::{Health, Missing},
    host::{
        Collector, Host, HostConfig, HostInstance, Instance, Level, let_the_logger_print,
        linked_statically,
        registration::{self, Callbacks},
        without_signals,
    },
    options::{Config, OPTIONS},
    panics,
    scraper::Scraper,
    summary,
};

const OK: c_int = 0;
const FAILED: c_int = -1;

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
struct Plugin {
    instance: Instance,
    scraper: Scraper,
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
    fn start(instance: Instance) -> std::result::Result<Box<Self>, Box<(Instance, Error)>> {
        let config = match Config::read(|name| instance.property(name)) {
            Ok(config) => config,
            Err(error) => return Err(Box::new((instance, error))),
        };
        let scraper = match without_signals(|| Scraper::start(&config)) {
            Ok(scraper) => scraper,
            Err(error) => return Err(Box::new((instance, error))),
        };
        let mut plugin = Box::new(Self {
            instance,
            scraper,
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
        match plugin.watch(&config) {
            Ok(()) => Ok(plugin),
            Err(error) => Err(Box::new((plugin.instance, error))),
        }
    }

    fn watch(&mut self, config: &Config) -> Result<()> {
        let fd = self.scraper.wake_fd();
        self.collectors = vec![
            self.instance.collect_every(config.interval, collect)?,
            self.instance.collect_when_readable(fd, collect_outcome)?,
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
        self.scraper.scrape();
        Ok(())
    }

    /// The timer: time for a scrape, unless the last one hangs.
    fn tick(&mut self) {
        let now = Instant::now();
        if let Some((error, took)) = self.scraper.overdue(now) {
            self.counters.scraped(took);
            self.report(now, took, &error);
            self.append_stats();
        } else if self.deliver() && !self.scraper.scrape() {
            self.counters.overran();
            let line = "the last scrape is still on its way: this one is left out";
            self.instance.log(Level::Debug, line);
        }
    }

    /// The worker has something.
    fn pick_up(&mut self) {
        while let Some(outcome) = self.scraper.outcome() {
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
                    self.delivery.put(batch);
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
        if let Some(now) = since_epoch.ok().and_then(summary::Instant::since_epoch) {
            // The next one says what this one would have said.
            let event = self.counters.event(self.instance.name(), now);
            self.instance.append_tagged(tag, &event);
        }
    }

    /// What failed, and how long it took to.
    fn report(&mut self, now: Instant, took: Duration, error: &Error) {
        self.counters.failed(error.reason());
        let line = self.health.failed(now, took, error);
        self.say(Level::Error, line);
    }

    /// Hands the host what it has still to take; `true` once that is nothing. Asked while
    /// it has us paused it would refuse with a line of its own.
    fn deliver(&mut self) -> bool {
        if self.paused.get() || self.delivery.is_done() {
            return self.delivery.is_done();
        }
        let now = Instant::now();
        let (instance, paused) = (&self.instance, Rc::clone(&self.paused));
        let append = |part: &[u8]| instance.append(part);
        let offered = self.delivery.offer(now, || paused.get(), append);
        self.counters.appended(offered.records, offered.bytes);
        if offered.split {
            let line = self.health.split(now);
            self.say(Level::Warn, line);
        }
        if offered.refused {
            let kept = self.delivery.records().max(offered.lost);
            let line = self.health.refused(now, kept);
            self.say(Level::Warn, line);
        } else if offered.records > 0 {
            let line = self.health.taken(now);
            self.say(Level::Info, line);
        }
        if offered.lost > 0 {
            let line = self.health.given_up(now, offered.lost);
            self.say(Level::Warn, line);
        }
        if let Some(memory) = offered.memory {
            self.scraper.recycle(memory);
        }
        self.delivery.is_done()
    }

    fn pause(&mut self) {
        self.paused.set(true);
        for collector in &self.collectors {
            self.instance.pause(*collector);
        }
    }

    fn resume(&mut self) {
        self.paused.set(false);
        for collector in &self.collectors {
            self.instance.resume(*collector);
        }
        self.deliver();
    }

    /// The last words on a batch that is kept.
    fn end(mut self: Box<Self>) {
        let kept = self.delivery.records();
        let lost = Some(kept).filter(|records| *records > 0);
        if let Some(line) = lost.and_then(|records| self.health.lost(records)) {
            self.instance.log(Level::Warn, &line);
            let_the_logger_print();
        }
        if let Err(phase) = self.scraper.stop() {
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

/// Every callback but init and exit comes through here: no NULL, no panic.
///
/// # Safety
/// `context` is NULL or what `cb_init` gave the host, and `cb_exit` is yet to come.
unsafe fn boundary(context: *mut c_void, place: &str, callback: impl FnOnce(&mut Plugin)) -> c_int {
    // SAFETY: the caller's promise. The host calls an instance's callbacks from
    // one thread, one after the other, so this is the only reference.
    let Some(plugin) = (unsafe { context.cast::<Plugin>().as_mut() }) else {
        return FAILED;
    };
    match panics::caught(place, || callback(plugin)) {
        Ok(()) => OK,
        Err(panic) => {
            plugin.report(Instant::now(), Duration::ZERO, &panic);
            FAILED
        }
    }
}

/// After a failed init the host never calls exit: nothing is left behind.
fn init(ins: *mut HostInstance, config: *mut HostConfig) -> c_int {
    let host = Host::get();
    if ins.is_null() || host.check().is_err() {
        // What is missing was said when the object was loaded.
        return FAILED;
    }
    // SAFETY: the host's own pointers in its own call; `exit` drops the value.
    let instance = unsafe { Instance::new(host, ins, config) };
    match Plugin::start(instance) {
        Ok(plugin) => {
            let context = Box::into_raw(plugin);
            // SAFETY: just made from a box, valid until `cb_exit` takes it
            // back, and what every callback below expects.
            unsafe { (*context).instance.set_context(context.cast()) };
            OK
        }
        Err(failed) => {
            let (instance, error) = *failed;
            instance.log(Level::Error, &error.to_string());
            let_the_logger_print();
            FAILED
        }
    }
}

unsafe extern "C" fn cb_init(
    ins: *mut HostInstance,
    config: *mut HostConfig,
    _: *mut c_void,
) -> c_int {
    panics::caught("init", || init(ins, config)).unwrap_or_else(|error| {
        Host::get().print(
            Level::Error,
            &format!("[input:{}] {error}", registration::NAME),
        );
        let_the_logger_print();
        FAILED
    })
}

unsafe extern "C" fn collect(
    _: *mut HostInstance,
    _: *mut HostConfig,
    context: *mut c_void,
) -> c_int {
    // SAFETY: the host calls collectors with the context that `cb_init` set.
    unsafe { boundary(context, "the timer", Plugin::tick) }
}

unsafe extern "C" fn collect_outcome(
    _: *mut HostInstance,
    _: *mut HostConfig,
    context: *mut c_void,
) -> c_int {
    // SAFETY: as above.
    unsafe { boundary(context, "the collector", Plugin::pick_up) }
}

unsafe extern "C" fn cb_pause(context: *mut c_void, _: *mut HostConfig) {
    // SAFETY: the host calls this between init and exit with our context.
    let pause = || unsafe { boundary(context, "pause", Plugin::pause) };
    if pause() == FAILED {
        // Collectors left running would make the host wait out its grace.
        pause();
    }
}

unsafe extern "C" fn cb_resume(context: *mut c_void, _: *mut HostConfig) {
    // SAFETY: as above.
    unsafe { boundary(context, "resume", Plugin::resume) };
}

unsafe extern "C" fn cb_exit(context: *mut c_void, _: *mut HostConfig) -> c_int {
    if context.is_null() {
        return OK;
    }
    // SAFETY: made by `init`, given back once, and used by no callback after.
    let plugin = unsafe { Box::from_raw(context.cast::<Plugin>()) };
    match panics::caught("exit", || plugin.end()) {
        Ok(()) => OK,
        Err(error) => {
            Host::get().print(
                Level::Error,
                &format!("[input:{}] {error}", registration::NAME),
            );
            FAILED
        }
    }
}

/// Runs inside `dlopen`, before the host looks for the object below: lays it
/// out for this host. Without that the host would copy what it cannot read.
extern "C" fn lay_out() {
    if linked_statically() {
        return;
    }
    panics::install_hook();
    let laid_out = panics::caught("load", || {
        let host = Host::get();
        if let Err(error) = host.check() {
            // The object is still laid out: a host that goes on to use the
            // plugin gets a failed init, not a crash.
            host.print(
                Level::Error,
                &format!("[plugin] {}: {error}", registration::NAME),
            );
        }
        let callbacks = Callbacks {
            init: cb_init,
            collect,
            pause: cb_pause,
            resume: cb_resume,
            exit: cb_exit,
        };
        registration::object(host.shape, callbacks)
    });
    if let Ok(object) = laid_out {
        // SAFETY: the loader runs constructors once, before anyone can know
        // the object's address.
        unsafe { ptr::write(in_kubeletstats_plugin.0.get(), object) };
    }
}

#[used]
#[unsafe(link_section = ".init_array")]
static LAY_OUT: extern "C" fn() = lay_out;

/// What the host finds by name, copies, and never writes to.
#[repr(C, align(16))]
pub struct Registration(UnsafeCell<[u8; registration::SIZE]>);

// SAFETY: written once, by the constructor, before the object can be reached.
unsafe impl Sync for Registration {}

#[allow(non_upper_case_globals)]
#[unsafe(no_mangle)]
pub static in_kubeletstats_plugin: Registration =
    Registration(UnsafeCell::new([0; registration::SIZE]));
