//! The FFI boundary: the callbacks that Fluent Bit calls, and the object in which it finds
//! them.
//!
//! The life of an input, in the order of this file:
//!
//! 1. `dlopen` runs [`write_registration`], an ELF constructor, before the host looks up
//!    `in_kubeletstats_plugin`. It fills that object for the running host.
//! 2. [`cb_init`] makes a [`Plugin`], boxes it, and gives the host the raw pointer as the
//!    instance's context. From then on the host owns it. If init fails, it frees
//!    everything, because the host never calls exit for such an instance.
//! 3. The two collectors, pause and resume borrow the plugin through [`ffi_boundary`], each
//!    for the duration of its call.
//! 4. [`cb_exit`] takes the box back and drops it. No callback follows.
//!
//! All `unsafe` code in this file relies on this: the host runs all callbacks of an
//! instance on one thread, and passes the context that was set. The calls may be nested:
//! the host may call `cb_pause` inside an append, and so within a collector. Therefore a
//! callback has only a shared reference to the [`Plugin`], which guards its state itself.
//!
//! No panic crosses into C. Each callback catches it ([`panics::catch`]), logs it like any
//! other error, and returns a failure. The input continues with the next call.

use std::{
    cell::UnsafeCell,
    ffi::{c_int, c_void},
    ptr,
};

use kubeletstats_core::{error::Error, panics};

use crate::{
    host::{
        Host, HostConfig, HostInstance, Instance, Level,
        registration::{self, Callbacks},
        wait_for_logger,
    },
    plugin::{CollectorCallbacks, Plugin},
};

const OK: c_int = 0;
const FAILED: c_int = -1;

/// Runs a callback on the plugin behind `context`. NULL and a panic become [`FAILED`]. Init
/// and exit do not use this function, because the plugin does not exist before the one and
/// after the other.
///
/// # Safety
/// `context` is NULL or what `cb_init` gave the host, and `cb_exit` has not run yet.
unsafe fn ffi_boundary(context: *mut c_void, place: &str, callback: impl FnOnce(&Plugin)) -> c_int {
    // SAFETY: the caller guarantees the pointer; all callbacks have only shared references
    // (see the top of this file).
    let Some(plugin) = (unsafe { context.cast::<Plugin>().as_ref() }) else {
        return FAILED;
    };
    match panics::catch(place, || callback(plugin)) {
        Ok(()) => OK,
        Err(panic) => {
            plugin.report(&panic);
            FAILED
        }
    }
}

/// Does what [`cb_init`] has to do. Panics are caught in [`cb_init`].
fn init(ins: *mut HostInstance, config: *mut HostConfig) -> c_int {
    let host = Host::get();
    if ins.is_null() || host.check_symbols().is_err() {
        // The missing symbols were logged when the object was loaded.
        return FAILED;
    }
    // SAFETY: the host passes its own pointers in its own call; `cb_exit` drops the value.
    let instance = unsafe { Instance::new(host, ins, config) };
    let collector_callbacks = CollectorCallbacks {
        timer: cb_collect_timer,
        outcome: cb_collect_outcome,
    };
    match Plugin::start(instance, collector_callbacks) {
        Ok(plugin) => {
            let context = Box::into_raw(plugin);
            // SAFETY: the pointer was just made from a box, and is valid until `cb_exit`
            // takes it back.
            unsafe { (*context).instance().set_context(context.cast()) };
            OK
        }
        Err(failed) => {
            let (instance, error) = *failed;
            instance.log(Level::Error, &error.to_string());
            wait_for_logger();
            FAILED
        }
    }
}

unsafe extern "C" fn cb_init(
    ins: *mut HostInstance,
    config: *mut HostConfig,
    _: *mut c_void,
) -> c_int {
    panics::catch("init", || init(ins, config)).unwrap_or_else(|panic| {
        print_without_instance(&panic);
        wait_for_logger();
        FAILED
    })
}

unsafe extern "C" fn cb_collect_timer(
    _: *mut HostInstance,
    _: *mut HostConfig,
    context: *mut c_void,
) -> c_int {
    // SAFETY: the host calls collectors with the context that `cb_init` set.
    unsafe { ffi_boundary(context, "the timer", Plugin::on_timer) }
}

unsafe extern "C" fn cb_collect_outcome(
    _: *mut HostInstance,
    _: *mut HostConfig,
    context: *mut c_void,
) -> c_int {
    // SAFETY: the same guarantee as for the timer.
    unsafe { ffi_boundary(context, "the collector", Plugin::on_outcome) }
}

unsafe extern "C" fn cb_pause(context: *mut c_void, _: *mut HostConfig) {
    // SAFETY: the host calls this between init and exit with our context.
    let pause = || unsafe { ffi_boundary(context, "pause", Plugin::pause) };
    if pause() == FAILED {
        // If the collectors kept running, the host would wait until its grace period ends.
        pause();
    }
}

unsafe extern "C" fn cb_resume(context: *mut c_void, _: *mut HostConfig) {
    // SAFETY: the same guarantee as for pause.
    unsafe { ffi_boundary(context, "resume", Plugin::resume) };
}

unsafe extern "C" fn cb_exit(context: *mut c_void, _: *mut HostConfig) -> c_int {
    if context.is_null() {
        return OK;
    }
    // SAFETY: `init` made the pointer, the host gives it back once, and calls no callback
    // after that.
    let plugin = unsafe { Box::from_raw(context.cast::<Plugin>()) };
    match panics::catch("exit", || plugin.shut_down()) {
        Ok(()) => OK,
        Err(panic) => {
            print_without_instance(&panic);
            FAILED
        }
    }
}

/// For an error outside the life of an instance.
fn print_without_instance(error: &Error) {
    let text = format!("[input:{}] {error}", registration::NAME);
    Host::get().print(Level::Error, &text);
}

/// Fills the object below for this host; see [`registration`]. If it stayed empty, a host
/// would copy a plugin without a name.
extern "C" fn write_registration() {
    panics::install_hook();
    let registration = panics::catch("load", || {
        let host = Host::get();
        if let Err(error) = host.check_symbols() {
            // The object is filled all the same. If a host then uses the plugin, init
            // fails, and the host does not crash.
            host.print(
                Level::Error,
                &format!("[plugin] {}: {error}", registration::NAME),
            );
        }
        let callbacks = Callbacks {
            init: cb_init,
            collect: cb_collect_timer,
            pause: cb_pause,
            resume: cb_resume,
            exit: cb_exit,
        };
        registration::object(host.layout, callbacks)
    });
    if let Ok(object) = registration {
        // SAFETY: the loader runs constructors once, before anything can know the address
        // of the object.
        unsafe { ptr::write(in_kubeletstats_plugin.0.get(), object) };
    }
}

/// Absent in the plugin's own unit tests, because no host loads them.
#[cfg(not(test))]
#[used]
#[unsafe(link_section = ".init_array")]
static WRITE_REGISTRATION: extern "C" fn() = write_registration;

/// The object that the host finds by its name and copies. The host never writes to it.
#[repr(C, align(16))]
pub struct Registration(UnsafeCell<[u8; registration::SIZE]>);

// SAFETY: the constructor writes the object once, before the host can reach it.
unsafe impl Sync for Registration {}

#[allow(non_upper_case_globals)]
#[unsafe(no_mangle)]
pub static in_kubeletstats_plugin: Registration =
    Registration(UnsafeCell::new([0; registration::SIZE]));
