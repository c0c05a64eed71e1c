//! One input instance: its options, its collectors, the events that it has appended, and
//! when it is paused. Everything here runs on the host's only thread. A plugin calls
//! these functions from inside its own callbacks, so no borrow is held while plugin code
//! runs.

use std::{
    cell::{Cell, RefCell},
    ffi::{CString, c_char, c_int},
    fs,
    os::fd::RawFd,
    path::{Path, PathBuf},
    ptr::{null, null_mut},
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytesize::ByteSize;
use kubeletstats_cli::properties::{Handling, handling};
use log::{LevelFilter, debug, error, info, warn};

use crate::{
    abi::{Callback, InputPlugin, Opaque, Text},
    config::Section,
    dummy,
    event::{self, Event},
};

pub type Collect = Rc<dyn Fn(&Input) -> c_int>;

#[derive(Clone)]
pub struct Collector {
    /// None for a timer.
    pub fd: Option<RawFd>,
    /// When a timer is due; None while paused.
    pub next: Option<Instant>,
    period: Duration,
    collect: Collect,
}

pub struct Input {
    name: String,
    c_name: CString,
    pub tag: String,
    log_level: LevelFilter,
    context: Cell<Opaque>,
    pub collectors: RefCell<Vec<Collector>>,
    events: RefCell<Vec<Event>>,
    /// One text for each append.
    metrics: RefCell<Vec<String>>,
    /// None for the host's own input.
    plugin: Option<InputPlugin>,
    properties: Vec<(String, CString)>,
    mem_buf_limit: u64,
    buffered: Cell<u64>,
    /// Set with `storage.type filesystem`. No data is stored there. But if the folder is
    /// missing, the input takes no events, because Fluent Bit could not make its files
    /// there either.
    storage: Option<PathBuf>,
}

impl Input {
    pub fn new(
        number: usize,
        section: &Section,
        plugins: &[InputPlugin],
        storage: Option<&Path>,
    ) -> Result<Input> {
        let name = format!("{}.{number}", section.name);
        let name = section.get("alias").unwrap_or(&name);
        let mut named = plugins.iter().filter(|p| p.name.as_str() == section.name);
        let plugin = named.next().copied();
        let limit = section.parse("mem_buf_limit")?;
        let on_disk = section.get("storage.type") == Some("filesystem");
        let storage = storage.filter(|_| on_disk).map(|path| path.join(name));
        if let Some(folder) = &storage {
            let cannot = || format!("[storage] cannot create {}", folder.display());
            fs::create_dir_all(folder).with_context(cannot)?;
        }
        let mut input = Input {
            name: name.to_owned(),
            c_name: CString::new(name)?,
            tag: section.get("tag").unwrap_or(name).to_owned(),
            log_level: section.parse("log_level")?.unwrap_or(log::max_level()),
            context: Cell::new(null_mut()),
            collectors: RefCell::default(),
            events: RefCell::default(),
            metrics: RefCell::default(),
            plugin,
            properties: Vec::new(),
            mem_buf_limit: limit.map_or(u64::MAX, |ByteSize(bytes)| bytes),
            buffered: Cell::new(0),
            storage,
        };
        let known: Vec<_> = match &plugin {
            Some(plugin) => plugin.options().map(|row| row.name.as_str()).collect(),
            None if section.name == "dummy" => dummy::OPTIONS.to_vec(),
            None => bail!("[config] no plugin has the input '{}'", section.name),
        };
        for (key, value) in &section.options {
            // The plugin never sees the host's own properties.
            if handling(key, value) != Handling::Plugin {
                continue;
            }
            ensure!(
                known.iter().any(|known| known.eq_ignore_ascii_case(key)),
                "[config] {name}: unknown configuration property '{key}', allowed are {known:?}",
            );
            let times = section.options.iter().filter(|(k, _)| k == key).count();
            ensure!(
                times == 1,
                "[config] {name}: configuration property '{key}' is set {times} times",
            );
            let value = CString::new(value.as_str())?;
            input.properties.push((key.clone(), value));
        }
        if plugin.is_none() {
            let (period, collect) = dummy::collector(section)?;
            input.add_collector(None, period, collect);
        }
        Ok(input)
    }

    fn call(&self, callback: Callback) -> c_int {
        // SAFETY: the callback is the plugin's own. The host passes its instance and the
        // context that the plugin set.
        unsafe { callback(self, null_mut(), self.context.get()) }
    }

    /// Lets the plugin start, and starts the collectors it has set.
    pub fn init(&self) -> Result<()> {
        let init = self.plugin.and_then(|plugin| plugin.cb_init);
        if init.is_some_and(|init| self.call(init) != 0) {
            // The plugin has freed its state, so its exit is not called.
            self.context.set(null_mut());
            bail!("[engine] failed to initialize input {}", self.name);
        }
        self.run_collectors(true);
        Ok(())
    }

    pub fn exit(&self) {
        let context = self.context.replace(null_mut());
        let exit = self.plugin.and_then(|plugin| plugin.cb_exit);
        if let Some(exit) = exit.filter(|_| !context.is_null()) {
            // SAFETY: the host passes the context as in `call`; it calls exit once, after
            // every other callback.
            unsafe { exit(context, null_mut()) };
        }
    }

    /// Resumes or pauses the input. A plugin resumes or pauses its own collectors.
    pub fn run(&self, running: bool) {
        let verb = if running { "resume" } else { "pausing" };
        info!("[input] {verb} {}", self.name);
        let of = |p: InputPlugin| if running { p.cb_resume } else { p.cb_pause };
        match self.plugin.and_then(of) {
            // SAFETY: the host passes the context as in `call`.
            Some(callback) => unsafe { callback(self.context.get(), null_mut()) },
            None => self.run_collectors(running),
        }
    }

    /// Buffers events until the next flush. Returns -1 while the limit is reached, if the folder
    /// of the storage is missing, or if the announced number of events is wrong. A real host
    /// believes that number.
    pub fn append(&self, tag: &str, bytes: &[u8], announced: Option<usize>) -> c_int {
        let (name, limit) = (&self.name, self.mem_buf_limit);
        if self.buffered.get() >= limit {
            debug!("[input] {name} is paused, cannot append records");
            return -1;
        }
        if self.storage.as_ref().is_some_and(|folder| !folder.is_dir()) {
            error!("[input chunk] could not create chunk file: {name}");
            return -1;
        }
        match event::decode(tag, bytes) {
            Ok(events) if announced.is_some_and(|count| count != events.len()) => {
                error!(
                    "[input] {name} announced {announced:?} of {} events",
                    events.len()
                );
                return -1;
            }
            Ok(events) => self.events.borrow_mut().extend(events),
            Err(why) => error!("[input] {name} lost what is no event: {why}"),
        }
        let total = self.buffered.get() + bytes.len() as u64;
        self.buffered.set(total);
        if total >= limit {
            warn!("[input] {name} paused (mem buf overlimit: {total} of {limit} bytes)");
            self.run(false);
        }
        0
    }

    /// Keeps metrics until the next flush. Returns -1 while the limit is reached.
    pub fn append_metrics(&self, page: &str) -> c_int {
        if self.buffered.get() >= self.mem_buf_limit {
            return -1;
        }
        self.metrics.borrow_mut().push(page.to_owned());
        0
    }

    /// Returns the metrics and empties the buffer.
    pub fn take_metrics(&self) -> Vec<String> {
        self.metrics.take()
    }

    /// The name in the log.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the appended events and empties the buffer. A paused input is resumed,
    /// because there is room again.
    pub fn take_events(&self, stopping: bool) -> Vec<Event> {
        let events = self.events.take();
        if self.buffered.replace(0) >= self.mem_buf_limit && !stopping {
            self.run(true);
        }
        events
    }

    /// Adds a collector for a descriptor or for a period, and returns its number.
    fn add_collector(&self, fd: Option<RawFd>, period: Duration, collect: Collect) -> c_int {
        let mut all = self.collectors.borrow_mut();
        all.push(Collector {
            fd,
            next: None,
            period,
            collect,
        });
        all.len() as c_int - 1
    }

    fn run_collectors(&self, running: bool) {
        for collector in self.collectors.borrow_mut().iter_mut() {
            collector.run(running);
        }
    }

    /// Runs the collectors that are due: timers by the clock, and the others if their
    /// descriptor is ready.
    pub fn collect(&self, ready: &[RawFd]) {
        let (now, count) = (Instant::now(), self.collectors.borrow().len());
        for i in 0..count {
            // The state is read again for each collector, because an earlier callback may
            // have paused it.
            let collector = self.collectors.borrow()[i].clone();
            if let Some(next) = collector.next
                && collector.fd.map_or(now >= next, |fd| ready.contains(&fd))
            {
                self.collectors.borrow_mut()[i].next = Some((next + collector.period).max(now));
                (collector.collect)(self);
            }
        }
    }
}

impl Collector {
    /// Resumes or pauses the collector. A timer that is resumed waits for a whole period.
    fn run(&mut self, running: bool) -> c_int {
        self.next = running.then(|| Instant::now() + self.period);
        0
    }
}

// The functions of the host that concern an instance. Plugins find them by name. Some
// callers pass the config as the last argument. These functions do not declare it,
// because they do not read it.

#[unsafe(no_mangle)]
extern "C" fn flb_input_get_property(key: Text, ins: &Input) -> *const c_char {
    let mut all = ins.properties.iter();
    let found = all.find(|(k, v)| k.eq_ignore_ascii_case(key.as_str()) && !v.is_empty());
    found.map_or(null(), |(_, value)| value.as_ptr())
}

#[unsafe(no_mangle)]
extern "C" fn flb_input_set_context(ins: &Input, context: Opaque) {
    ins.context.set(context);
}

#[unsafe(no_mangle)]
extern "C" fn flb_input_set_collector_time(ins: &Input, cb: Callback, sec: i64, ns: i64) -> c_int {
    let period = Duration::new(sec as u64, ns as u32);
    ins.add_collector(None, period, Rc::new(move |ins| ins.call(cb)))
}

#[unsafe(no_mangle)]
extern "C" fn flb_input_set_collector_event(ins: &Input, cb: Callback, fd: c_int) -> c_int {
    ins.add_collector(Some(fd), Duration::ZERO, Rc::new(move |ins| ins.call(cb)))
}

#[unsafe(no_mangle)]
extern "C" fn flb_input_collector_pause(id: c_int, ins: &Input) -> c_int {
    let mut all = ins.collectors.borrow_mut();
    all.get_mut(id as usize).map_or(-1, |c| c.run(false))
}

#[unsafe(no_mangle)]
extern "C" fn flb_input_collector_resume(id: c_int, ins: &Input) -> c_int {
    let mut all = ins.collectors.borrow_mut();
    all.get_mut(id as usize).map_or(-1, |c| c.run(true))
}

#[unsafe(no_mangle)]
extern "C" fn flb_input_log_append(
    ins: &Input,
    tag: *const u8,
    tag_len: usize,
    buf: *const u8,
    size: usize,
) -> c_int {
    append(ins, None, (tag, tag_len), (buf, size))
}

#[unsafe(no_mangle)]
extern "C" fn flb_input_log_append_records(
    ins: &Input,
    records: usize,
    tag: *const u8,
    tag_len: usize,
    buf: *const u8,
    size: usize,
) -> c_int {
    append(ins, Some(records), (tag, tag_len), (buf, size))
}

fn append(
    ins: &Input,
    announced: Option<usize>,
    (tag, tag_len): (*const u8, usize),
    (buf, size): (*const u8, usize),
) -> c_int {
    // SAFETY: the caller's bytes at `start` are valid for `size` bytes during the call.
    let bytes = |start, size| unsafe { std::slice::from_raw_parts(start, size) };
    let own = ins.tag.as_bytes();
    let tag = if tag.is_null() {
        own
    } else {
        bytes(tag, tag_len)
    };
    ins.append(&String::from_utf8_lossy(tag), bytes(buf, size), announced)
}

#[unsafe(no_mangle)]
extern "C" fn flb_input_name(ins: &Input) -> *const c_char {
    ins.c_name.as_ptr()
}

#[unsafe(no_mangle)]
extern "C" fn flb_input_log_check(ins: &Input, level: c_int) -> c_int {
    (level <= ins.log_level as c_int).into()
}
