//! Which Fluent Bit loaded the plugin, and the functions that it exports.
//!
//! The plugin links to no symbol of the host. Rust links with `-z now`, so a single
//! `flb_*` that an old host lacks would make `dlopen` fail, and Fluent Bit would say no
//! more than that the plugin cannot be loaded. Instead every function is looked up with
//! `dlsym`, once a process ([`Host::get`]), and is an `Option` from there on.
//! [`Host::check_symbols`] names what is missing, and the load goes on to a failed init.
//!
//! The convention, for whoever needs another function of the host:
//!
//! - Declare its type in `include/flb_abi.h`, as the releases from 1.9 on have it, and
//!   add a row to the table below. The [`Requirement`] says which releases have to have
//!   it. Where a name was given other arguments later, two rows split the releases.
//! - Call it in `host/instance.rs` or `host/log.rs`, behind a safe method. No pointer of
//!   the host's leaves this module but the two in [`Instance`](super::Instance).
//! - What an older host lacks is not an error, if the plugin can do without.
//!
//! The host does not tell its version to plugins. [`Layout::detect`] infers what matters
//! of it, how the registration object and the option table are laid out, from symbols
//! that came with the releases that changed them.

use std::ffi::{CStr, c_void};

use kubeletstats_core::error::{Error, Result};
use once_cell::sync::OnceCell;

use crate::ffi;

/// The releases that docs/versions.md promises, for the line that refuses another host.
pub const SUPPORTED: &str = "Fluent Bit 1.9 to 5.1";

/// Which `struct flb_input_plugin` the host has; it changed with these releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
pub enum OptionRow {
    Bytes96,
    Bytes104,
}

/// What the host can do with metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsSupport {
    /// Nothing.
    None,
    /// It joins the parts of a name by `_`, as 2.x does, or cannot be told from a host that
    /// does: 3.0 and 3.1 have the interface of 2.x.
    PrometheusNames,
    /// It leaves a name as it is.
    AllNames,
}

/// How the host that loaded the plugin lays out what it reads from it.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    pub generation: Generation,
    pub row: OptionRow,
}

impl Layout {
    /// Infers the layout from marker symbols, newest release first.
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
            true => OptionRow::Bytes104,
            false => OptionRow::Bytes96,
        };
        Self { generation, row }
    }
}

/// Which hosts have to export a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Requirement {
    /// Every supported release.
    Required,
    /// From this generation on; earlier hosts are not asked for it.
    Since(Generation),
    /// Later hosts have the name too, with other arguments: there it is not looked for.
    Until(Generation),
    /// None: the plugin can do without.
    Optional,
    /// The same, and earlier hosts are not asked for it.
    OptionalSince(Generation),
}

impl Requirement {
    fn is_needed(self) -> bool {
        !matches!(self, Self::Optional | Self::OptionalSince(_))
    }

    fn applies_to(self, generation: Generation) -> bool {
        match self {
            Self::Required | Self::Optional => true,
            Self::Since(first) | Self::OptionalSince(first) => generation >= first,
            Self::Until(last) => generation <= last,
        }
    }
}

/// One row a function: the field, the name that the host exports and flb_abi.h declares,
/// and which hosts have to have it.
macro_rules! functions {
    ($($field:ident: $symbol:ident $(= $name:literal)?, $requirement:expr;)*) => {
        /// The host's functions, as they were found.
        #[derive(Debug)]
        pub struct Host {
            pub layout: Layout,
            missing: Vec<&'static str>,
            $(pub(super) $field: ffi::$symbol,)*
        }

        impl Host {
            fn find(symbol: impl Fn(&CStr) -> *mut c_void) -> Self {
                let layout = Layout::detect(|name| !symbol(name).is_null());
                let mut missing = Vec::new();
                let mut find = |name: &'static str, with_nul: &str, requirement: Requirement| {
                    if !requirement.applies_to(layout.generation) {
                        return std::ptr::null_mut();
                    }
                    let c_name = CStr::from_bytes_with_nul(with_nul.as_bytes());
                    let found = symbol(c_name.unwrap_or_default());
                    if found.is_null() && requirement.is_needed() {
                        missing.push(name);
                    }
                    found
                };
                $(
                    let found = find(
                        functions!(@name $symbol $($name)?),
                        concat!(functions!(@name $symbol $($name)?), "\0"),
                        $requirement,
                    );
                    // SAFETY: the name is that of a function, whose type in flb_abi.h is the
                    // one that the host's releases of this shape give it.
                    let $field = unsafe { as_function(found) };
                )*
                Self { layout, missing, $($field),* }
            }
        }
    };
    (@name $symbol:ident) => { stringify!($symbol) };
    (@name $symbol:ident $name:literal) => { $name };
}

functions! {
    // The append that this host has, and never the other.
    chunk_append_raw: flb_input_chunk_append_raw, Requirement::Until(Generation::G1);
    log_append: flb_input_log_append, Requirement::Since(Generation::G2);
    // Native metrics; a host that lacks any of these has none.
    chunk_append_typed: flb_input_chunk_append_raw_2 = "flb_input_chunk_append_raw", Requirement::OptionalSince(Generation::G2);
    metrics_decode: cmt_decode_msgpack_create, Requirement::OptionalSince(Generation::G2);
    metrics_destroy: cmt_decode_msgpack_destroy, Requirement::OptionalSince(Generation::G2);
    metrics_append: flb_input_metrics_append, Requirement::OptionalSince(Generation::G2);
    get_property: flb_input_get_property, Requirement::Required;
    set_context: flb_input_set_context, Requirement::Required;
    set_collector_time: flb_input_set_collector_time, Requirement::Required;
    set_collector_event: flb_input_set_collector_event, Requirement::Required;
    collector_pause: flb_input_collector_pause, Requirement::Required;
    collector_resume: flb_input_collector_resume, Requirement::Required;
    name: flb_input_name, Requirement::Required;
    log_print: flb_log_print, Requirement::Required;
    log_check: flb_input_log_check, Requirement::Optional;
    worker_get: flb_worker_get, Requirement::Optional;
    worker_log_level: flb_worker_log_level, Requirement::Optional;
}

static HOST: OnceCell<Host> = OnceCell::new();

impl Host {
    /// The host of this process.
    pub fn get() -> &'static Self {
        HOST.get_or_init(|| Self::find(symbol_of_process))
    }

    /// Whether it takes metrics, and names with points in them.
    pub fn metrics(&self) -> MetricsSupport {
        let has_all = self.metrics_decode.is_some()
            && self.metrics_destroy.is_some()
            && self.metrics_append.is_some()
            && self.chunk_append_typed.is_some();
        match self.layout.generation {
            _ if !has_all => MetricsSupport::None,
            Generation::G2 => MetricsSupport::PrometheusNames,
            Generation::G1 | Generation::G3 | Generation::G4 => MetricsSupport::AllNames,
        }
    }

    /// Whether its metrics have units and starts. Both came with 5.0; this is known of 5.0.3
    /// and later.
    pub fn has_units(&self) -> bool {
        self.layout.row == OptionRow::Bytes104
    }

    /// An error that names the required functions which the host does not export.
    pub fn check_symbols(&self) -> Result<()> {
        if self.missing.is_empty() {
            return Ok(());
        }
        Err(Error::host(format!(
            "this host cannot run the plugin: it lacks {}: supported is {SUPPORTED}",
            self.missing.join(", ")
        )))
    }
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
unsafe fn as_function<F>(found: *mut c_void) -> F {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) }
    // SAFETY: of equal size; NULL is `None`, the rest is the caller's promise.
    unsafe { std::mem::transmute_copy(&found) }
}

#[cfg(test)]
mod tests {
    use std::ptr;

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
        let cases: [(&[&CStr], Generation, OptionRow); 5] = [
            (
                &[c"flb_input_chunk_append_raw"],
                Generation::G1,
                OptionRow::Bytes96,
            ),
            (
                &[c"flb_input_log_append"],
                Generation::G2,
                OptionRow::Bytes96,
            ),
            (
                &[c"flb_input_log_append", c"flb_notification_enqueue"],
                Generation::G3,
                OptionRow::Bytes96,
            ),
            (
                &[
                    c"flb_input_log_append",
                    c"flb_notification_enqueue",
                    c"flb_config_map_get_raw",
                ],
                Generation::G3,
                OptionRow::Bytes104,
            ),
            (
                &[
                    c"flb_input_log_append",
                    c"flb_notification_enqueue",
                    c"flb_config_map_get_raw",
                    c"flb_input_plugin_pause",
                ],
                Generation::G4,
                OptionRow::Bytes104,
            ),
        ];
        for (markers, generation, row) in cases {
            let host = host(&with(markers));
            assert_eq!((host.layout.generation, host.layout.row), (generation, row));
            host.check_symbols().expect("nothing is missing");
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
            host.check_symbols()
                .expect_err("a symbol is missing")
                .to_string(),
            "this host cannot run the plugin: it lacks flb_input_chunk_append_raw, \
             flb_input_get_property: supported is Fluent Bit 1.9 to 5.1"
        );
    }
}
