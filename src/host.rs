//! The host: which Fluent Bit this object finds itself in, the functions it
//! exports, and a safe [`Instance`] over them.
//!
//! Knows no kubelet. Every function is looked up by name once, so the object
//! loads into a host that lacks some of them and can say what is missing.

pub mod registration;

use std::{
    ffi::{CStr, CString, c_int, c_long, c_void},
    fmt,
    os::fd::RawFd,
    ptr,
    time::Duration,
};

use once_cell::sync::OnceCell;

use crate::{
    error::{Error, Result},
    ffi,
};

pub use crate::ffi::{flb_config as HostConfig, flb_input_instance as HostInstance};

/// What the README promises.
pub const SUPPORTED: &str = "Fluent Bit 1.9 to 5.1";

/// The shape of the registration object, which changed with these releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// 1.8.0 to 1.9.x
    G1,
    /// 2.0.0 to 3.1.x
    G2,
    /// 3.2.0 to 5.0.x
    G3,
    /// 5.1.0 and later
    G4,
}

/// The size of a row of the option table, which changed with 5.0.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    Bytes96,
    Bytes104,
}

/// Symbols that tell releases apart.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub generation: Generation,
    pub row: Row,
}

impl Shape {
    fn detect(has: impl Fn(&CStr) -> bool) -> Self {
        let generation = if has(c"flb_input_plugin_pause") {
            Generation::G4
        } else if has(c"flb_notification_enqueue") {
            Generation::G3
        } else if has(c"flb_input_log_append") {
            Generation::G2
        } else {
            Generation::G1
        };
        let row = match has(c"flb_config_map_get_raw") {
            true => Row::Bytes104,
            false => Row::Bytes96,
        };
        Self { generation, row }
    }
}

/// How severe a line of the log is, in the host's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Error = ffi::FLB_LOG_ERROR as isize,
    Warn = ffi::FLB_LOG_WARN as isize,
    Info = ffi::FLB_LOG_INFO as isize,
    Debug = ffi::FLB_LOG_DEBUG as isize,
}

/// The host's functions, as they were found.
#[derive(Debug)]
pub struct Host {
    pub shape: Shape,
    missing: Vec<&'static str>,
    get_property: ffi::flb_input_get_property_fn,
    set_context: ffi::flb_input_set_context_fn,
    set_collector_time: ffi::flb_input_set_collector_time_fn,
    set_collector_event: ffi::flb_input_set_collector_event_fn,
    collector_pause: ffi::flb_input_collector_switch_fn,
    collector_resume: ffi::flb_input_collector_switch_fn,
    name: ffi::flb_input_name_fn,
    log_append: ffi::flb_input_log_append_fn,
    chunk_append_raw: ffi::flb_input_chunk_append_raw_fn,
    log_print: ffi::flb_log_print_fn,
    log_check: ffi::flb_input_log_check_fn,
    worker_get: ffi::flb_worker_get_fn,
    worker_log_level: ffi::flb_worker_log_level_fn,
}

static HOST: OnceCell<Host> = OnceCell::new();

impl Host {
    /// The host of this process.
    pub fn get() -> &'static Self {
        HOST.get_or_init(|| Self::find(symbol_of_process))
    }

    fn find(symbol: impl Fn(&CStr) -> *mut c_void) -> Self {
        let shape = Shape::detect(|name| !symbol(name).is_null());
        let mut missing = Vec::new();
        let required = |name: &'static CStr, missing: &mut Vec<&'static str>| {
            let found = symbol(name);
            if found.is_null() {
                missing.push(name.to_str().unwrap_or_default());
            }
            found
        };
        let missing = &mut missing;
        // The append that this host has, and never the other: the later hosts
        // have the older name too, with other arguments.
        let (append, raw_append) = match shape.generation {
            Generation::G1 => (
                ptr::null_mut(),
                required(c"flb_input_chunk_append_raw", missing),
            ),
            _ => (required(c"flb_input_log_append", missing), ptr::null_mut()),
        };
        // SAFETY: each name is that of a function, whose type in flb_abi.h is
        // the one the host's releases of this shape give it.
        unsafe {
            Self {
                shape,
                get_property: function(required(c"flb_input_get_property", missing)),
                set_context: function(required(c"flb_input_set_context", missing)),
                set_collector_time: function(required(c"flb_input_set_collector_time", missing)),
                set_collector_event: function(required(c"flb_input_set_collector_event", missing)),
                collector_pause: function(required(c"flb_input_collector_pause", missing)),
                collector_resume: function(required(c"flb_input_collector_resume", missing)),
                name: function(required(c"flb_input_name", missing)),
                log_append: function(append),
                chunk_append_raw: function(raw_append),
                log_print: function(required(c"flb_log_print", missing)),
                log_check: function(symbol(c"flb_input_log_check")),
                worker_get: function(symbol(c"flb_worker_get")),
                worker_log_level: function(symbol(c"flb_worker_log_level")),
                missing: std::mem::take(missing),
            }
        }
    }

    /// An error unless the host has all that the plugin needs.
    pub fn check(&self) -> Result<()> {
        if self.missing.is_empty() {
            return Ok(());
        }
        Err(Error::host(format!(
            "this host cannot run the plugin: it lacks {}: supported is {SUPPORTED}",
            self.missing.join(", ")
        )))
    }

    /// A line outside any instance, as for a failed load: always printed.
    pub fn print(&self, level: Level, text: &str) {
        // A log line has no room for a NUL, and neither has a C string.
        let text = CString::new(text.replace('\0', "?")).unwrap_or_default();
        match self.log_print {
            // SAFETY: format and text are C strings, and the format takes one.
            Some(print) => unsafe {
                print(
                    level as c_int,
                    ptr::null(),
                    0,
                    c"%s".as_ptr(),
                    text.as_ptr(),
                );
            },
            None => eprintln!("{}", text.to_string_lossy()),
        }
    }

    /// Does a worker of the host log at this level? Old hosts know no more.
    fn worker_logs(&self, level: Level) -> bool {
        let (Some(worker), Some(worker_level)) = (self.worker_get, self.worker_log_level) else {
            return true;
        };
        // SAFETY: both take what the other gives; the host returns NULL on
        // threads that are not its own, which is checked.
        unsafe {
            let worker = worker();
            worker.is_null() || worker_level(worker) >= level as c_int
        }
    }
}

/// Is this code part of the executable, as in this crate's own tests, and not
/// an object that a host has loaded?
pub fn linked_statically() -> bool {
    let base_of = |address: *const c_void| {
        // SAFETY: plain data that dladdr fills when it knows the address.
        unsafe {
            let mut found: libc::Dl_info = std::mem::zeroed();
            (libc::dladdr(address, &mut found) != 0).then_some(found.dli_fbase)
        }
    };
    // SAFETY: reads the auxiliary vector, where the kernel put the address of
    // the executable's program headers.
    let executable = unsafe { libc::getauxval(libc::AT_PHDR) } as *const c_void;
    let here = ptr::from_ref(&HOST).cast();
    base_of(here).is_some() && base_of(here) == base_of(executable)
}

/// NULL where neither the host's executable nor what it linked has the symbol.
fn symbol_of_process(name: &CStr) -> *mut c_void {
    // SAFETY: the name is a C string, and RTLD_DEFAULT is a handle.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }
}

/// What `dlsym` found as a function of type `F`, an `Option` of a pointer.
///
/// # Safety
/// `found` is NULL or a function of that type.
unsafe fn function<F>(found: *mut c_void) -> F {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) }
    // SAFETY: of equal size; NULL is `None`, the rest is the caller's promise.
    unsafe { std::mem::transmute_copy(&found) }
}

/// A collector's number at the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collector(c_int);

pub type Collect = unsafe extern "C" fn(*mut HostInstance, *mut HostConfig, *mut c_void) -> c_int;

/// One input of the configuration, as the host knows it. Used on the host's
/// thread of that input only: the pointers keep it from being `Send`.
pub struct Instance {
    host: &'static Host,
    ins: *mut HostInstance,
    config: *mut HostConfig,
    name: String,
    /// `[input:kubeletstats:kubeletstats.0]`, as the host's own plugins write.
    prefix: String,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.prefix)
    }
}

impl Instance {
    /// # Safety
    /// Both pointers are those the host passes to `cb_init`, and the value is
    /// dropped before the host frees the instance, which is after `cb_exit`.
    pub unsafe fn new(
        host: &'static Host,
        ins: *mut HostInstance,
        config: *mut HostConfig,
    ) -> Self {
        // SAFETY: the host's function on the host's instance.
        let name = host.name.map(|name| unsafe { name(ins) });
        // SAFETY: the host returns NULL or a C string that it keeps.
        let name = name.and_then(|name| unsafe { text(name) });
        let name = name.unwrap_or_default();
        Self {
            host,
            ins,
            config,
            prefix: format!("[input:{}:{name}]", registration::NAME),
            name,
        }
    }

    /// As the host calls it: the alias, or `kubeletstats.0`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The user's text for an option.
    pub fn property(&self, name: &str) -> Option<String> {
        let name = CString::new(name).ok()?;
        // SAFETY: the host reads the key during the call only.
        let value = unsafe { self.host.get_property?(name.as_ptr(), self.ins) };
        // SAFETY: the host returns NULL or a C string that it keeps.
        unsafe { text(value) }
    }

    /// What the host passes to every later callback.
    ///
    /// # Safety
    /// `context` is what those callbacks expect, until `cb_exit`.
    pub unsafe fn set_context(&self, context: *mut c_void) {
        if let Some(set_context) = self.host.set_context {
            // SAFETY: the host stores the pointer and gives it back.
            unsafe { set_context(self.ins, context) };
        }
    }

    pub fn collect_every(&self, interval: Duration, collect: Collect) -> Result<Collector> {
        let seconds = c_long::try_from(interval.as_secs()).unwrap_or(c_long::MAX);
        let nanos = c_long::from(interval.subsec_nanos());
        // SAFETY: `collect` has the type of a collector's callback.
        let id = self
            .host
            .set_collector_time
            .map(|set| unsafe { set(self.ins, Some(collect), seconds, nanos, self.config) });
        collector(id, "timer")
    }

    pub fn collect_when_readable(&self, fd: RawFd, collect: Collect) -> Result<Collector> {
        // SAFETY: as above; the caller keeps `fd` open until `cb_exit`.
        let id = self
            .host
            .set_collector_event
            .map(|set| unsafe { set(self.ins, Some(collect), fd, self.config) });
        collector(id, "event")
    }

    pub fn pause(&self, collector: Collector) {
        self.switch(self.host.collector_pause, collector);
    }

    pub fn resume(&self, collector: Collector) {
        self.switch(self.host.collector_resume, collector);
    }

    fn switch(&self, switch: ffi::flb_input_collector_switch_fn, collector: Collector) {
        if let Some(switch) = switch {
            // SAFETY: the number came from the host for this instance.
            unsafe { switch(collector.0, self.ins) };
        }
    }

    /// Hands events to the pipeline; `false` when the host does not take them,
    /// as while the input is paused.
    pub fn append(&self, events: &[u8]) -> bool {
        self.append_as(None, events)
    }

    /// The same under a tag other than the input's own. Hosts up to 3.2 read
    /// the byte behind the tag when they route: it has to be a C string.
    pub fn append_tagged(&self, tag: &CStr, events: &[u8]) -> bool {
        self.append_as(Some(tag), events)
    }

    fn append_as(&self, tag: Option<&CStr>, events: &[u8]) -> bool {
        let (ins, buf, size) = (self.ins, events.as_ptr().cast(), events.len());
        let tag_len = tag.map_or(0, CStr::count_bytes);
        let tag = tag.map_or(ptr::null(), CStr::as_ptr);
        let result = if let Some(append) = self.host.log_append {
            // SAFETY: the host copies tag and bytes during the call; a NULL tag
            // stands for the instance's own.
            unsafe { append(ins, tag, tag_len, buf, size) }
        } else if let Some(append) = self.host.chunk_append_raw {
            // SAFETY: as above.
            unsafe { append(ins, tag, tag_len, buf, size) }
        } else {
            -1
        };
        result >= 0
    }

    /// Would a line at this level be seen?
    pub fn logs(&self, level: Level) -> bool {
        match self.host.log_check {
            // SAFETY: the host's function on the host's instance.
            Some(check) => unsafe { check(self.ins, level as c_int) != 0 },
            None => self.host.worker_logs(level),
        }
    }

    pub fn log(&self, level: Level, text: &str) {
        if self.logs(level) {
            self.host.print(level, &format!("{} {text}", self.prefix));
        }
    }
}

/// For the last line before an end, why init failed or what is lost: the host may
/// go before its logger thread has printed it. Nothing else runs then that could be
/// held up.
pub fn let_the_logger_print() {
    std::thread::sleep(Duration::from_millis(50));
}

fn collector(id: Option<c_int>, kind: &str) -> Result<Collector> {
    match id {
        Some(id) if id >= 0 => Ok(Collector(id)),
        _ => Err(Error::host(format!(
            "the host did not accept the {kind} collector"
        ))),
    }
}

/// # Safety
/// `text` is NULL or a C string.
unsafe fn text(text: *const std::ffi::c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    Some(
        unsafe { CStr::from_ptr(text) }
            .to_string_lossy()
            .into_owned(),
    )
}

/// Runs `f` so that threads it starts take no signals: those are the host's,
/// and its handlers expect its own threads.
pub fn without_signals<T>(f: impl FnOnce() -> T) -> T {
    // SAFETY: both sets are initialised by the calls that fill them, and the
    // mask that was in force is put back on the same thread.
    unsafe {
        let mut all = std::mem::zeroed();
        let mut before = std::mem::zeroed();
        libc::sigfillset(&mut all);
        let blocked = libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before) == 0;
        let result = f();
        if blocked {
            libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut());
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host that exports these names and nothing else.
    fn host(names: &[&CStr]) -> Host {
        Host::find(|name| match names.contains(&name) {
            true => ptr::dangling_mut(),
            false => ptr::null_mut(),
        })
    }

    const REQUIRED: [&CStr; 8] = [
        c"flb_input_get_property",
        c"flb_input_set_context",
        c"flb_input_set_collector_time",
        c"flb_input_set_collector_event",
        c"flb_input_collector_pause",
        c"flb_input_collector_resume",
        c"flb_input_name",
        c"flb_log_print",
    ];

    fn with<'a>(more: &[&'a CStr]) -> Vec<&'a CStr> {
        REQUIRED.iter().chain(more).copied().collect()
    }

    #[test]
    fn symbols_tell_the_releases_apart() {
        let cases: [(&[&CStr], Generation, Row); 5] = [
            (
                &[c"flb_input_chunk_append_raw"],
                Generation::G1,
                Row::Bytes96,
            ),
            (&[c"flb_input_log_append"], Generation::G2, Row::Bytes96),
            (
                &[c"flb_input_log_append", c"flb_notification_enqueue"],
                Generation::G3,
                Row::Bytes96,
            ),
            (
                &[
                    c"flb_input_log_append",
                    c"flb_notification_enqueue",
                    c"flb_config_map_get_raw",
                ],
                Generation::G3,
                Row::Bytes104,
            ),
            (
                &[
                    c"flb_input_log_append",
                    c"flb_notification_enqueue",
                    c"flb_config_map_get_raw",
                    c"flb_input_plugin_pause",
                ],
                Generation::G4,
                Row::Bytes104,
            ),
        ];
        for (markers, generation, row) in cases {
            let host = host(&with(markers));
            assert_eq!((host.shape.generation, host.shape.row), (generation, row));
            host.check().expect("nothing is missing");
        }
    }

    #[test]
    fn later_hosts_are_never_given_the_old_append() {
        let host = host(&with(&[
            c"flb_input_log_append",
            c"flb_input_chunk_append_raw",
        ]));
        assert!(host.log_append.is_some() && host.chunk_append_raw.is_none());
    }

    #[test]
    fn what_is_missing_is_named() {
        let host = host(&REQUIRED[1..]);
        assert_eq!(
            host.check().expect_err("incomplete").to_string(),
            "this host cannot run the plugin: it lacks flb_input_chunk_append_raw, \
             flb_input_get_property: supported is Fluent Bit 1.9 to 5.1"
        );
    }
}
