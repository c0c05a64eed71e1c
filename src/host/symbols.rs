//! Which Fluent Bit loaded the plugin, and the functions that it exports.
//!
//! The plugin links to no symbol of the host. Rust links with `-z now`, so `dlopen` would
//! fail for a single `flb_*` that an old host lacks, and Fluent Bit would only log that the
//! plugin cannot be loaded. Instead, every function is looked up with `dlsym`, once per
//! process ([`Host::get`]), and is an `Option` after that. [`Host::check_symbols`] names the
//! missing functions. Then the load succeeds, but init fails.
//!
//! To use another function of the host:
//!
//! - Declare its type in `include/flb_abi.h`, as the releases from 1.9 on have it, and add a
//!   row to the table below. The [`Requirement`] states which releases must have it. If a
//!   later release changed the arguments of a name, use two rows for the two ranges of
//!   releases.
//! - Call it in `host/instance.rs` or `host/log.rs`, in a safe method. No pointer of the
//!   host leaves this module, except the two in [`Instance`](super::Instance).
//! - A function that an older host lacks is not an error, if the plugin can work without it.
//!
//! The host does not tell plugins its version. The plugin needs to know only the layout of
//! the registration object and of the option table. [`Layout::detect`] infers it from
//! symbols that were added in the same releases.

use std::ffi::{CStr, c_void};

use kubeletstats_core::error::{Error, Result};
use once_cell::sync::OnceCell;

use crate::ffi;

/// The releases that docs/versions.md promises, for the error line on another host.
pub const SUPPORTED: &str = "Fluent Bit 1.9 to 5.1";

/// Which `struct flb_input_plugin` the host has. It changed with these releases.
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

/// What metrics the host accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsSupport {
    /// No metrics.
    None,
    /// Names without points only. 2.x joins the parts of a name by `_`. 3.0 and 3.1 have the
    /// same interface, so the plugin cannot distinguish them from 2.x.
    PrometheusNames,
    /// All names. The host does not change a name.
    AllNames,
}

/// How the host that loaded the plugin lays out the data that it reads from the plugin.
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

/// Which hosts must export a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Requirement {
    /// Every supported release.
    Required,
    /// Every release from this generation on. In earlier hosts it is not looked up.
    Since(Generation),
    /// Every release up to this generation. Later hosts have the name with other arguments,
    /// so it is not looked up there.
    Until(Generation),
    /// No release, because the plugin works without it.
    Optional,
    /// The same as `Optional`, but in hosts before this generation it is not looked up.
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

/// Each row has a field, the name that the host exports and that flb_abi.h declares, and
/// which hosts must have it.
macro_rules! functions {
    ($($field:ident: $symbol:ident $(= $name:literal)?, $requirement:expr;)*) => {
        /// The functions of the host that were found.
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
                    // SAFETY: the name is that of a function, and flb_abi.h declares the
                    // type that the host's releases with this layout give it.
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
    // The append functions of 1.x and of later hosts. If a host has the one with a number of
    // records, it is used.
    chunk_append_raw: flb_input_chunk_append_raw, Requirement::Until(Generation::G1);
    log_append: flb_input_log_append, Requirement::Since(Generation::G2);
    log_append_records: flb_input_log_append_records, Requirement::OptionalSince(Generation::G2);
    // Metrics. If a host lacks any of these functions, the plugin offers no metrics there.
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

    /// Whether the host accepts metrics, and which names it keeps.
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

    /// Whether the host's metrics have units and start times. Both were added in 5.0, but
    /// they can be detected only from 5.0.3 on.
    pub fn has_units(&self) -> bool {
        self.layout.row == OptionRow::Bytes104
    }

    /// Returns an error that names the required functions that the host does not export.
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

/// Returns NULL if neither the host's executable nor its libraries have the symbol.
fn symbol_of_process(name: &CStr) -> *mut c_void {
    // SAFETY: the name is a C string, and RTLD_DEFAULT is a valid handle.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }
}

/// Converts what `dlsym` found to a function of type `F`, which is an `Option` of a function
/// pointer.
///
/// # Safety
/// `found` is NULL or a function of that type.
unsafe fn as_function<F>(found: *mut c_void) -> F {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) }
    // SAFETY: both have the same size. NULL becomes `None`; the caller guarantees the type
    // of the rest.
    unsafe { std::mem::transmute_copy(&found) }
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use super::*;

    /// A host that exports only these names.
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
