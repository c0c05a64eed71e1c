//! The registration object, which the host copies when it loads the plugin, and the
//! option table to which it points.
//!
//! Fluent Bit finds a plugin by the name of an object, `in_kubeletstats_plugin`, and
//! copies as many bytes of it as its own `struct flb_input_plugin` has. That struct has
//! changed between releases, but one file must load into all of them. Therefore the
//! object has no fixed Rust type: [`object`] makes its bytes for the [`Layout`] that
//! [`symbols`](super::symbols) detected, from one of the structs in `include/flb_abi.h`.
//! `layout.c` asserts the offsets of these structs when the plugin is built.
//!
//! The size of a row of the option table has changed too. The rows in both sizes are made
//! from the same table, [`OPTIONS`], so `-h` of the host always agrees with the plugin.
//!
//! The host keeps pointers into all of this until the process ends. The plugin is linked
//! with `-z nodelete`, so it is never unmapped. Names, texts and rows are therefore
//! leaked on purpose, once per process.

use std::{
    ffi::{CString, c_char, c_int, c_void},
    ptr,
};

use kubeletstats_core::options::{Kind, OPTIONS, OptionSpec};

use super::{Generation, HostConfig, HostInstance, Layout, OptionRow};
use crate::ffi;

/// The name of the plugin, as in `-i kubeletstats`.
pub const NAME: &str = "kubeletstats";
const DESCRIPTION: &str = "Container metrics from the node's kubelet";

/// The host copies at most 232 bytes today. The rest is reserved for later releases.
pub const SIZE: usize = 512;

/// The callbacks of `struct flb_input_plugin` that this plugin sets. The host calls all
/// of them on its thread of the input.
#[derive(Clone, Copy)]
pub struct Callbacks {
    pub init: unsafe extern "C" fn(*mut HostInstance, *mut HostConfig, *mut c_void) -> c_int,
    pub collect: unsafe extern "C" fn(*mut HostInstance, *mut HostConfig, *mut c_void) -> c_int,
    pub pause: unsafe extern "C" fn(*mut c_void, *mut HostConfig),
    pub resume: unsafe extern "C" fn(*mut c_void, *mut HostConfig),
    pub exit: unsafe extern "C" fn(*mut c_void, *mut HostConfig) -> c_int,
}

/// Returns the bytes of the registration object for a host with this layout. Call it
/// once, because it leaks the data to which the object points.
pub fn object(layout: Layout, callbacks: Callbacks) -> [u8; SIZE] {
    let name = leak_c_string(NAME);
    let description = leak_c_string(DESCRIPTION);
    let config_map = option_table(layout.row);
    let mut object = [0; SIZE];

    // The other members stay zero. For every host that means that they are absent.
    macro_rules! fill {
        ($layout:ty) => {{
            // SAFETY: the structs that the host reads contain only integers, pointers and
            // optional functions, and zero is a valid value for all of them.
            let mut plugin: $layout = unsafe { std::mem::zeroed() };
            plugin.name = name;
            plugin.description = description;
            plugin.config_map = config_map;
            plugin.cb_init = Some(callbacks.init);
            plugin.cb_collect = Some(callbacks.collect);
            plugin.cb_pause = Some(callbacks.pause);
            plugin.cb_resume = Some(callbacks.resume);
            plugin.cb_exit = Some(callbacks.exit);
            const { assert!(size_of::<$layout>() <= SIZE) }
            // SAFETY: the object is large enough, as asserted above; the write needs no
            // alignment, and the struct that the host reads is plain data.
            unsafe { ptr::write_unaligned(object.as_mut_ptr().cast(), plugin) };
        }};
    }
    match layout.generation {
        Generation::G1 => fill!(ffi::flb_input_plugin_g1),
        Generation::G2 => fill!(ffi::flb_input_plugin_g2),
        Generation::G3 => fill!(ffi::flb_input_plugin_g3),
        Generation::G4 => fill!(ffi::flb_input_plugin_g4),
    }
    object
}

fn option_table(row: OptionRow) -> *const c_void {
    macro_rules! table {
        ($row:ty) => {{
            let rows = OPTIONS.iter().map(|option| {
                // SAFETY: the row that the host reads contains only integers and
                // pointers, and zero is a valid value for them.
                let mut row: $row = unsafe { std::mem::zeroed() };
                row.type_ = host_type(option);
                row.name = leak_c_string(option.name);
                row.def_value = option.default.map_or(ptr::null(), leak_c_string);
                row.desc = leak_c_string(option.help);
                row
            });
            // SAFETY: zero is a valid value, as above; for the host, a row without a name
            // ends the table.
            let end: $row = unsafe { std::mem::zeroed() };
            let table: Vec<$row> = rows.chain([end]).collect();
            Vec::leak(table).as_ptr().cast()
        }};
    }
    match row {
        OptionRow::Bytes96 => table!(ffi::flb_config_map_96),
        OptionRow::Bytes104 => table!(ffi::flb_config_map_104),
    }
}

fn host_type(option: &OptionSpec) -> c_int {
    let kind = match option.kind {
        Kind::Text => ffi::FLB_CONFIG_MAP_STR,
        Kind::Bool => ffi::FLB_CONFIG_MAP_BOOL,
        Kind::Time => ffi::FLB_CONFIG_MAP_TIME,
    };
    kind as c_int
}

fn leak_c_string(text: &str) -> *const c_char {
    CString::new(text)
        .expect("the option table holds no NUL")
        .into_raw()
}

#[cfg(test)]
mod tests {
    use std::{ffi::CStr, mem::offset_of};

    use super::*;

    unsafe extern "C" fn start(_: *mut HostInstance, _: *mut HostConfig, _: *mut c_void) -> c_int {
        0
    }
    unsafe extern "C" fn state(_: *mut c_void, _: *mut HostConfig) {}
    unsafe extern "C" fn exit(_: *mut c_void, _: *mut HostConfig) -> c_int {
        0
    }

    const CALLBACKS: Callbacks = Callbacks {
        init: start,
        collect: start,
        pause: state,
        resume: state,
        exit,
    };

    /// Reads the object as a host of that generation does: by offset.
    #[test]
    fn is_laid_out_for_the_host() {
        macro_rules! of {
            ($generation:ident, $layout:ty) => {
                (
                    Generation::$generation,
                    offset_of!($layout, name),
                    offset_of!($layout, cb_pause),
                    offset_of!($layout, cb_exit),
                    size_of::<$layout>(),
                )
            };
        }
        for (generation, name_at, pause_at, exit_at, size) in [
            of!(G1, ffi::flb_input_plugin_g1),
            of!(G2, ffi::flb_input_plugin_g2),
            of!(G3, ffi::flb_input_plugin_g3),
            of!(G4, ffi::flb_input_plugin_g4),
        ] {
            let row = OptionRow::Bytes96;
            let object = object(Layout { generation, row }, CALLBACKS);
            let pointer = |at: usize| {
                usize::from_ne_bytes(
                    object[at..at + 8]
                        .try_into()
                        .expect("the slice has 8 bytes"),
                )
            };
            // SAFETY: the object holds a pointer to a C string there.
            let name = unsafe { CStr::from_ptr(pointer(name_at) as *const c_char) };
            assert_eq!(name, c"kubeletstats");
            assert_eq!(pointer(pause_at), state as *const () as usize);
            assert_eq!(pointer(exit_at), exit as *const () as usize);
            assert!(object[size..].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn option_table_has_every_option_and_an_end() {
        for (row, size) in [(OptionRow::Bytes96, 96), (OptionRow::Bytes104, 104)] {
            let generation = Generation::G4;
            let object = object(Layout { generation, row }, CALLBACKS);
            let table =
                usize::from_ne_bytes(object[40..48].try_into().expect("the slice has 8 bytes"));
            let text = |row: usize, at: usize| {
                // SAFETY: the table has a row for each option and one more, of
                // this size, each with C strings or NULL at these offsets.
                unsafe {
                    let text = *((table + row * size + at) as *const *const c_char);
                    (!text.is_null())
                        .then(|| CStr::from_ptr(text).to_str().expect("the text is utf-8"))
                }
            };
            for (i, option) in OPTIONS.iter().enumerate() {
                assert_eq!(text(i, 8), Some(option.name));
                assert_eq!(text(i, 16), option.default);
                assert_eq!(text(i, 40), Some(option.help));
            }
            assert_eq!(text(OPTIONS.len(), 8), None);
        }
    }
}
