//! The numbers of the hosts' own headers, on the Rust side. `include/layout.c`
//! asserts the same ones on the C side when the crate is built.

use std::mem::offset_of;

use flb_in_kubeletstats::ffi::{
    flb_config_map_96 as Row96, flb_config_map_104 as Row104, flb_input_plugin_g1 as G1,
    flb_input_plugin_g2 as G2, flb_input_plugin_g3 as G3, flb_input_plugin_g4 as G4,
};

macro_rules! offsets {
    ($layout:ty: $($member:ident)*) => { [$(offset_of!($layout, $member)),*] };
}

macro_rules! callbacks {
    ($layout:ty) => {
        offsets!($layout: flags name description config_map cb_init cb_pre_run cb_collect
            cb_flush_buf cb_flush_end cb_pause cb_resume cb_ingest cb_exit)
    };
}

#[test]
fn registration_objects() {
    assert_eq!(
        callbacks!(G1),
        [0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96]
    );
    assert_eq!(
        callbacks!(G2),
        [16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112]
    );
    assert_eq!(
        callbacks!(G3),
        [16, 24, 32, 40, 48, 56, 64, 80, 88, 96, 104, 112, 120]
    );
    assert_eq!(
        callbacks!(G4),
        [16, 24, 32, 40, 48, 56, 64, 80, 88, 96, 104, 128, 144]
    );
    assert_eq!(
        offsets!(G4: cb_notification cb_pause_checked cb_resume_checked cb_pre_exit),
        [72, 112, 120, 136]
    );
    assert_eq!(
        [
            size_of::<G1>(),
            size_of::<G2>(),
            size_of::<G3>(),
            size_of::<G4>()
        ],
        [128, 152, 208, 232]
    );
}

#[test]
fn option_table_rows() {
    let members = [0, 8, 16, 24, 28, 32, 40];
    assert_eq!(
        offsets!(Row96: type_ name def_value flags set_property offset desc),
        members
    );
    assert_eq!(
        offsets!(Row104: type_ name def_value flags set_property offset desc),
        members
    );
    assert_eq!([size_of::<Row96>(), size_of::<Row104>()], [96, 104]);
}

#[cfg(target_os = "linux")]
mod object {
    use std::ffi::{CStr, c_char, c_int, c_void};

    use flb_in_kubeletstats::{
        host::{
            Generation, HostConfig, HostInstance, Row, Shape,
            registration::{self, Callbacks},
        },
        options::OPTIONS,
    };

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

    /// Reads the object as a host of that generation would: by offset.
    #[test]
    fn is_laid_out_for_the_host() {
        for (generation, name_at, pause_at, exit_at, size) in [
            (Generation::G1, 8, 72, 96, 128),
            (Generation::G2, 24, 88, 112, 152),
            (Generation::G3, 24, 96, 120, 208),
            (Generation::G4, 24, 96, 144, 232),
        ] {
            let row = Row::Bytes96;
            let object = registration::object(Shape { generation, row }, CALLBACKS);
            let pointer =
                |at: usize| usize::from_ne_bytes(object[at..at + 8].try_into().expect("8 bytes"));
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
        for (row, size) in [(Row::Bytes96, 96), (Row::Bytes104, 104)] {
            let generation = Generation::G4;
            let object = registration::object(Shape { generation, row }, CALLBACKS);
            let table = usize::from_ne_bytes(object[40..48].try_into().expect("8 bytes"));
            let text = |row: usize, at: usize| {
                // SAFETY: the table has a row for each option and one more, of
                // this size, each with C strings or NULL at these offsets.
                unsafe {
                    let text = *((table + row * size + at) as *const *const c_char);
                    (!text.is_null()).then(|| CStr::from_ptr(text).to_str().expect("utf-8"))
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
