//! The host's side of Fluent Bit 5.1's plugin ABI: the layout of the plugin object, and
//! the functions that a plugin finds with `dlsym(RTLD_DEFAULT, …)`. This file has the
//! functions that do not concern an instance; `input` has the others.

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    mem::offset_of,
};

use log::{Level, Record};

use crate::input::Input;

/// A plugin's context, or the `struct flb_config *` that plugins only pass back.
pub type Opaque = *mut c_void;
pub type Callback = unsafe extern "C" fn(&Input, Opaque, Opaque) -> c_int;

/// A C string that a plugin lends for as long as this value is used, or NULL.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Text(*const c_char);

impl Text {
    pub fn as_str(&self) -> &str {
        if self.0.is_null() {
            return "";
        }
        // SAFETY: a plugin's strings end in NUL. Those of its tables live as long as the
        // process, because the host unloads no plugin, and arguments live for the
        // duration of the call.
        unsafe { CStr::from_ptr(self.0) }.to_str().unwrap_or("?")
    }
}

/// The object to which a plugin's exported symbol points. Members that are not used here
/// have no names.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct InputPlugin {
    _type_to_flags: [usize; 3],
    pub name: Text,
    pub description: Text,
    config_map: *const ConfigMap,
    pub cb_init: Option<Callback>,
    _pre_run_to_flush_end: [usize; 5],
    pub cb_pause: Option<unsafe extern "C" fn(Opaque, Opaque)>,
    pub cb_resume: Option<unsafe extern "C" fn(Opaque, Opaque)>,
    _pause_checked_to_pre_exit: [usize; 4],
    pub cb_exit: Option<unsafe extern "C" fn(Opaque, Opaque) -> c_int>,
    _rest: [usize; 10],
}

/// One row of a plugin's option table. A row without a name ends the table.
#[repr(C)]
pub struct ConfigMap {
    pub kind: c_int,
    pub name: Text,
    pub default: Text,
    _flags_to_offset: [usize; 2],
    pub description: Text,
    _rest: [usize; 7],
}

const _: () = {
    assert!(size_of::<InputPlugin>() == 232);
    assert!(offset_of!(InputPlugin, name) == 24);
    assert!(offset_of!(InputPlugin, description) == 32);
    assert!(offset_of!(InputPlugin, config_map) == 40);
    assert!(offset_of!(InputPlugin, cb_init) == 48);
    assert!(offset_of!(InputPlugin, cb_pause) == 96);
    assert!(offset_of!(InputPlugin, cb_resume) == 104);
    assert!(offset_of!(InputPlugin, cb_exit) == 144);
    assert!(size_of::<ConfigMap>() == 104);
    assert!(offset_of!(ConfigMap, name) == 8);
    assert!(offset_of!(ConfigMap, default) == 16);
    assert!(offset_of!(ConfigMap, description) == 40);
};

impl InputPlugin {
    /// The option table without its closing row.
    pub fn options(&self) -> impl Iterator<Item = &ConfigMap> {
        let table = self.config_map;
        // SAFETY: the table is NULL or ends with a row without a name, where this stops.
        let rows = (0..).map_while(move |i| unsafe { table.wrapping_add(i).as_ref() });
        rows.take_while(|row| !row.name.0.is_null())
    }
}

/// This function is variadic in C. Stable Rust cannot define such a function. But on
/// x86_64 and aarch64 (Linux), the first variadic pointer is passed in the register of a
/// fifth fixed argument. So this works for the only form that is promised: `"%s"` and a
/// string.
#[unsafe(no_mangle)]
extern "C" fn flb_log_print(level: c_int, _file: Text, _line: c_int, format: Text, text: Text) {
    let level = Level::iter().find(|known| *known as c_int == level);
    let level = level.unwrap_or(Level::Error);
    let text = match format.as_str() {
        "%s" => text.as_str(),
        plain => plain,
    };
    // The service's level is not checked here, because the caller has checked the level
    // of its instance.
    let mut record = Record::builder();
    log::logger().log(&record.level(level).args(format_args!("{text}")).build());
}

#[unsafe(no_mangle)]
extern "C" fn flb_worker_get() -> *const u8 {
    std::ptr::dangling()
}

#[unsafe(no_mangle)]
extern "C" fn flb_worker_log_level(_worker: *const u8) -> c_int {
    log::max_level() as c_int
}

// These functions are never called. They mark a host of 3.2, 5.1 and 5.0.3 or later.
#[unsafe(no_mangle)]
extern "C" fn flb_notification_enqueue() {}
#[unsafe(no_mangle)]
extern "C" fn flb_input_plugin_pause() {}
#[unsafe(no_mangle)]
extern "C" fn flb_config_map_get_raw() {}
