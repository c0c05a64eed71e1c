//! A process that loads the plugin and is no Fluent Bit: one clear line and a
//! plugin that refuses to start, never a crash.

use std::{
    env,
    ffi::{CString, c_char, c_int, c_void},
    process::Command,
};

const SELF: &str = "no_host::a_process_without_the_hosts_symbols";
const CHILD: &str = "KUBELETSTATS_TEST_LOADS_PLUGIN";

#[test]
fn a_process_without_the_hosts_symbols() {
    if env::var_os(CHILD).is_some() {
        return load();
    }
    if !testkit::hosts::is_built() {
        return;
    }
    let this = env::current_exe().expect("this test");
    let output = Command::new(this)
        .args(["--exact", SELF, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .expect("runs itself");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    let lines: Vec<_> = said
        .lines()
        .filter(|l| l.contains("kubeletstats:"))
        .collect();
    assert_eq!(
        lines,
        [
            "[plugin] kubeletstats: this host cannot run the plugin: it lacks \
             flb_input_chunk_append_raw, flb_input_get_property, flb_input_set_context, \
             flb_input_set_collector_time, flb_input_set_collector_event, \
             flb_input_collector_pause, flb_input_collector_resume, flb_input_name, \
             flb_log_print: supported is Fluent Bit 1.9 to 5.1"
        ]
    );
}

/// As a host of the first generation would: load, look the object up, init.
fn load() {
    type Init = unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_void) -> c_int;
    let path = testkit::hosts::plugin_path();
    let path = CString::new(path.to_str().expect("utf-8")).expect("no NUL");
    // SAFETY: the object is ours, made to be loaded; its symbol is at least as
    // large as the members read here, which the first generation has there.
    unsafe {
        let object = libc::dlopen(path.as_ptr(), libc::RTLD_LAZY);
        assert!(!object.is_null(), "it loads");
        let symbol = libc::dlsym(object, c"in_kubeletstats_plugin".as_ptr()).cast::<u8>();
        assert!(!symbol.is_null(), "it has its object");
        let name = *symbol.add(8).cast::<*const c_char>();
        assert_eq!(std::ffi::CStr::from_ptr(name), c"kubeletstats");
        let init = *symbol.add(32).cast::<Init>();
        let mut instance = [0_u8; 64];
        let nothing = std::ptr::null_mut();
        assert_eq!(init(instance.as_mut_ptr().cast(), nothing, nothing), -1);
        assert_eq!(init(nothing, nothing, nothing), -1);
    }
}
