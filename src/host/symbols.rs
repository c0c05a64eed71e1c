//! Which Fluent Bit this object finds itself in, and the functions that it exports.
//!
//! Every function is looked up by name once, so the object loads into a host that lacks
//! some of them and can say what is missing.

use std::ffi::{CStr, c_void};

use kubeletstats_core::error::{Error, Result};
use once_cell::sync::OnceCell;

use crate::ffi;

/// What the README promises.
pub const SUPPORTED: &str = "Fluent Bit 1.9 to 5.1";

/// The shape of the registration object, which changed with these releases.
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
pub enum Row {
    Bytes96,
    Bytes104,
}

/// How the host at hand wants its objects laid out.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub generation: Generation,
    pub row: Row,
}

impl Shape {
    /// Told by symbols that came with the releases which changed something.
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

/// Which hosts have to have a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Always,
    Since(Generation),
    /// Later hosts have the name too, with other arguments: there it is not looked for.
    Until(Generation),
    IfThere,
}

impl Need {
    fn is_looked_for(self, generation: Generation) -> bool {
        match self {
            Self::Always | Self::IfThere => true,
            Self::Since(first) => generation >= first,
            Self::Until(last) => generation <= last,
        }
    }
}

/// One row a function: the field, the name that the host exports and flb_abi.h declares,
/// and which hosts have to have it.
macro_rules! functions {
    ($($field:ident: $symbol:ident, $need:expr;)*) => {
        /// The host's functions, as they were found.
        #[derive(Debug)]
        pub struct Host {
            pub shape: Shape,
            missing: Vec<&'static str>,
            $(pub(super) $field: ffi::$symbol,)*
        }

        impl Host {
            fn find(symbol: impl Fn(&CStr) -> *mut c_void) -> Self {
                let shape = Shape::detect(|name| !symbol(name).is_null());
                let mut missing = Vec::new();
                let mut find = |name: &'static str, with_end: &str, need: Need| {
                    if !need.is_looked_for(shape.generation) {
                        return std::ptr::null_mut();
                    }
                    let name_of_it = CStr::from_bytes_with_nul(with_end.as_bytes());
                    let found = symbol(name_of_it.unwrap_or_default());
                    if found.is_null() && need != Need::IfThere {
                        missing.push(name);
                    }
                    found
                };
                $(
                    let found = find(stringify!($symbol), concat!(stringify!($symbol), "\0"), $need);
                    // SAFETY: the name is that of a function, whose type in flb_abi.h is the
                    // one that the host's releases of this shape give it.
                    let $field = unsafe { function(found) };
                )*
                Self { shape, missing, $($field),* }
            }
        }
    };
}

functions! {
    // The append that this host has, and never the other.
    chunk_append_raw: flb_input_chunk_append_raw, Need::Until(Generation::G1);
    log_append: flb_input_log_append, Need::Since(Generation::G2);
    get_property: flb_input_get_property, Need::Always;
    set_context: flb_input_set_context, Need::Always;
    set_collector_time: flb_input_set_collector_time, Need::Always;
    set_collector_event: flb_input_set_collector_event, Need::Always;
    collector_pause: flb_input_collector_pause, Need::Always;
    collector_resume: flb_input_collector_resume, Need::Always;
    name: flb_input_name, Need::Always;
    log_print: flb_log_print, Need::Always;
    log_check: flb_input_log_check, Need::IfThere;
    worker_get: flb_worker_get, Need::IfThere;
    worker_log_level: flb_worker_log_level, Need::IfThere;
}

static HOST: OnceCell<Host> = OnceCell::new();

impl Host {
    /// The host of this process.
    pub fn get() -> &'static Self {
        HOST.get_or_init(|| Self::find(symbol_of_process))
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
