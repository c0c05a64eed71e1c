//! One input of the configuration, and the functions of the host that it may use.

use std::{
    ffi::{CStr, CString, c_char, c_int, c_long, c_void},
    fmt,
    os::fd::RawFd,
    ptr,
    time::Duration,
};

use kubeletstats_core::error::{Error, Result};

use super::{log::Level, registration, symbols::Host};
use crate::ffi::{self, flb_config as HostConfig, flb_input_instance as HostInstance};

/// The number that the host gave to a collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collector(c_int);

/// The callback of a collector, as `flb_input_set_collector_*` takes it.
pub type CollectFn = unsafe extern "C" fn(*mut HostInstance, *mut HostConfig, *mut c_void) -> c_int;

/// The result of appending metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsAppended {
    Taken,
    /// The host does not take them now, for example because the input is paused.
    Refused,
    /// The host's library cannot decode them.
    Unreadable,
}

impl MetricsAppended {
    fn of(result: c_int) -> Self {
        match result {
            0.. => Self::Taken,
            _ => Self::Refused,
        }
    }
}

/// One input of the configuration, as the host knows it. It is used only on the host's
/// thread of that input: because of its pointers it is not `Send`.
pub struct Instance {
    host: &'static Host,
    ins: *mut HostInstance,
    config: *mut HostConfig,
    name: String,
    /// For example `[input:kubeletstats:kubeletstats.0]`, as in the lines of the host's own
    /// plugins.
    prefix: String,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.prefix)
    }
}

impl Instance {
    /// # Safety
    /// Both pointers are those that the host passes to `cb_init`. The value is dropped
    /// before the host frees the instance, which it does after `cb_exit`.
    pub unsafe fn new(
        host: &'static Host,
        ins: *mut HostInstance,
        config: *mut HostConfig,
    ) -> Self {
        // SAFETY: this calls the host's function with the host's instance.
        let name = host.name.map(|name| unsafe { name(ins) });
        // SAFETY: the host returns NULL or a C string that it keeps.
        let name = name.and_then(|name| unsafe { owned_text(name) });
        let name = name.unwrap_or_default();
        Self {
            host,
            ins,
            config,
            prefix: format!("[input:{}:{name}]", registration::NAME),
            name,
        }
    }

    /// The host's name for the instance: the alias, or for example `kubeletstats.0`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The host of this process.
    pub fn host(&self) -> &'static Host {
        self.host
    }

    /// The text that the user gave for an option.
    pub fn property(&self, name: &str) -> Option<String> {
        let name = CString::new(name).ok()?;
        // SAFETY: the host reads the key only during the call.
        let value = unsafe { self.host.get_property?(name.as_ptr(), self.ins) };
        // SAFETY: the host returns NULL or a C string that it keeps.
        unsafe { owned_text(value) }
    }

    /// Sets the context that the host passes to every later callback.
    ///
    /// # Safety
    /// `context` is valid for those callbacks until `cb_exit`.
    pub unsafe fn set_context(&self, context: *mut c_void) {
        if let Some(set_context) = self.host.set_context {
            // SAFETY: the host stores the pointer and gives it back.
            unsafe { set_context(self.ins, context) };
        }
    }

    /// Registers `collect` to be called at this interval. The first call is after one
    /// interval.
    pub fn collect_every(&self, interval: Duration, collect: CollectFn) -> Result<Collector> {
        let seconds = c_long::try_from(interval.as_secs()).unwrap_or(c_long::MAX);
        let nanos = c_long::from(interval.subsec_nanos());
        // SAFETY: `collect` has the type that the host requires of a collector's callback.
        let id = self
            .host
            .set_collector_time
            .map(|set| unsafe { set(self.ins, Some(collect), seconds, nanos, self.config) });
        collector(id, "timer")
    }

    /// Registers `collect` to be called whenever `fd` is readable. The caller keeps `fd`
    /// open until `cb_exit`.
    pub fn collect_when_readable(&self, fd: RawFd, collect: CollectFn) -> Result<Collector> {
        // SAFETY: `collect` has the required type; the caller keeps `fd` open until
        // `cb_exit`.
        let id = self
            .host
            .set_collector_event
            .map(|set| unsafe { set(self.ins, Some(collect), fd, self.config) });
        collector(id, "event")
    }

    /// Stops the calls of a collector's callback, as `cb_pause` has to.
    pub fn pause(&self, collector: Collector) {
        self.switch_collector(self.host.collector_pause, collector);
    }

    /// Undoes [`Instance::pause`].
    pub fn resume(&self, collector: Collector) {
        self.switch_collector(self.host.collector_resume, collector);
    }

    fn switch_collector(&self, switch: ffi::flb_input_collector_pause, collector: Collector) {
        if let Some(switch) = switch {
            // SAFETY: the host gave this number for this instance.
            unsafe { switch(collector.0, self.ins) };
        }
    }

    /// Appends `count` events to the pipeline. Returns `false` if the host does not take them,
    /// for example because the input is paused.
    pub fn append(&self, events: &[u8], count: usize) -> bool {
        self.append_as(None, events, count)
    }

    /// Appends one event under another tag than the input's own. When hosts up to 3.2 route
    /// records, they read the byte after the tag, so the tag must be a C string.
    pub fn append_tagged(&self, tag: &CStr, event: &[u8]) -> bool {
        self.append_as(Some(tag), event, 1)
    }

    fn append_as(&self, tag: Option<&CStr>, events: &[u8], count: usize) -> bool {
        let (ins, buf, size) = (self.ins, events.as_ptr().cast(), events.len());
        let tag_len = tag.map_or(0, CStr::count_bytes);
        let tag = tag.map_or(ptr::null(), CStr::as_ptr);
        let result = if let Some(append) = self.host.log_append_records {
            // SAFETY: the host copies tag and bytes during the call; a NULL tag means the
            // instance's own tag.
            unsafe { append(ins, count, tag, tag_len, buf, size) }
        } else if let Some(append) = self.host.log_append {
            // SAFETY: the same guarantee as for the other append.
            unsafe { append(ins, tag, tag_len, buf, size) }
        } else if let Some(append) = self.host.chunk_append_raw {
            // SAFETY: the same guarantee as for the other append.
            unsafe { append(ins, tag, tag_len, buf, size) }
        } else {
            -1
        };
        result >= 0
    }

    /// Appends one context of metrics to the pipeline. The host decodes it first, so the
    /// input's processors see it.
    pub fn append_metrics(&self, context: &[u8]) -> MetricsAppended {
        let host = self.host;
        let (Some(decode), Some(append), Some(destroy)) = (
            host.metrics_decode,
            host.metrics_append,
            host.metrics_destroy,
        ) else {
            return MetricsAppended::Unreadable;
        };
        let (mut decoded, mut offset) = (ptr::null_mut(), 0);
        let bytes = context.as_ptr().cast_mut().cast();
        // SAFETY: the host reads the bytes during the call, and does not write to them.
        let result = unsafe { decode(&mut decoded, bytes, context.len(), &mut offset) };
        if result != 0 || decoded.is_null() {
            return MetricsAppended::Unreadable;
        }
        // SAFETY: the host copies the context during the call and does not free it. It was
        // decoded just now, and is destroyed once.
        let result = unsafe {
            let result = append(self.ins, ptr::null(), 0, decoded);
            destroy(decoded);
            result
        };
        MetricsAppended::of(result)
    }

    /// Appends `count` contexts to the pipeline without decoding them, so no processor sees
    /// them.
    pub fn append_contexts(&self, contexts: &[u8], count: usize) -> MetricsAppended {
        let Some(append) = self.host.chunk_append_typed else {
            return MetricsAppended::Unreadable;
        };
        let event_type = ffi::FLB_INPUT_METRICS as c_int;
        let (buf, size) = (contexts.as_ptr().cast(), contexts.len());
        // SAFETY: the host copies the bytes during the call; a NULL tag means the instance's
        // own tag.
        let result = unsafe { append(self.ins, event_type, count, ptr::null(), 0, buf, size) };
        MetricsAppended::of(result)
    }

    /// Whether the host would print a line at this level, according to the `log_level` of
    /// the input or of the service.
    pub fn is_level_enabled(&self, level: Level) -> bool {
        match self.host.log_check {
            // SAFETY: this calls the host's function with the host's instance.
            Some(check) => unsafe { check(self.ins, level as c_int) != 0 },
            None => self.host.is_worker_level_enabled(level),
        }
    }

    /// Logs one line in the form of the host's own plugins, if the level is enabled.
    pub fn log(&self, level: Level, text: &str) {
        if self.is_level_enabled(level) {
            self.host.print(level, &format!("{} {text}", self.prefix));
        }
    }
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
unsafe fn owned_text(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the caller guarantees NULL or a C string, and NULL is checked above.
    Some(
        unsafe { CStr::from_ptr(text) }
            .to_string_lossy()
            .into_owned(),
    )
}
