//! The way in and out: the callbacks as the host calls them, the boundary that no panic
//! crosses, and at the foot the object that the host finds.

use std::{
    cell::UnsafeCell,
    ffi::{c_int, c_void},
    ptr,
    time::{Duration, Instant},
};

use kubeletstats_core::panics;

use crate::{
    host::{
        Host, HostConfig, HostInstance, Instance, Level, let_the_logger_print,
        registration::{self, Callbacks},
    },
    plugin::{Collects, Plugin},
};

const OK: c_int = 0;
const FAILED: c_int = -1;

/// Every callback but init and exit comes through here: no NULL, no panic.
///
/// # Safety
/// `context` is NULL or what `cb_init` gave the host, and `cb_exit` is yet to come.
unsafe fn boundary(context: *mut c_void, place: &str, callback: impl FnOnce(&mut Plugin)) -> c_int {
    // SAFETY: the caller's promise. The host calls an instance's callbacks from
    // one thread, one after the other, so this is the only reference.
    let Some(plugin) = (unsafe { context.cast::<Plugin>().as_mut() }) else {
        return FAILED;
    };
    match panics::catch(place, || callback(plugin)) {
        Ok(()) => OK,
        Err(panic) => {
            plugin.report(Instant::now(), Duration::ZERO, &panic);
            FAILED
        }
    }
}

/// After a failed init the host never calls exit: nothing is left behind.
fn init(ins: *mut HostInstance, config: *mut HostConfig) -> c_int {
    let host = Host::get();
    if ins.is_null() || host.check().is_err() {
        // What is missing was said when the object was loaded.
        return FAILED;
    }
    // SAFETY: the host's own pointers in its own call; `exit` drops the value.
    let instance = unsafe { Instance::new(host, ins, config) };
    let collects = Collects {
        timer: collect,
        outcome: collect_outcome,
    };
    match Plugin::start(instance, collects) {
        Ok(plugin) => {
            let context = Box::into_raw(plugin);
            // SAFETY: just made from a box, valid until `cb_exit` takes it
            // back, and what every callback below expects.
            unsafe { (*context).instance.set_context(context.cast()) };
            OK
        }
        Err(failed) => {
            let (instance, error) = *failed;
            instance.log(Level::Error, &error.to_string());
            let_the_logger_print();
            FAILED
        }
    }
}

unsafe extern "C" fn cb_init(
    ins: *mut HostInstance,
    config: *mut HostConfig,
    _: *mut c_void,
) -> c_int {
    panics::catch("init", || init(ins, config)).unwrap_or_else(|error| {
        Host::get().print(
            Level::Error,
            &format!("[input:{}] {error}", registration::NAME),
        );
        let_the_logger_print();
        FAILED
    })
}

unsafe extern "C" fn collect(
    _: *mut HostInstance,
    _: *mut HostConfig,
    context: *mut c_void,
) -> c_int {
    // SAFETY: the host calls collectors with the context that `cb_init` set.
    unsafe { boundary(context, "the timer", Plugin::tick) }
}

unsafe extern "C" fn collect_outcome(
    _: *mut HostInstance,
    _: *mut HostConfig,
    context: *mut c_void,
) -> c_int {
    // SAFETY: as above.
    unsafe { boundary(context, "the collector", Plugin::pick_up) }
}

unsafe extern "C" fn cb_pause(context: *mut c_void, _: *mut HostConfig) {
    // SAFETY: the host calls this between init and exit with our context.
    let pause = || unsafe { boundary(context, "pause", Plugin::pause) };
    if pause() == FAILED {
        // Collectors left running would make the host wait out its grace.
        pause();
    }
}

unsafe extern "C" fn cb_resume(context: *mut c_void, _: *mut HostConfig) {
    // SAFETY: as above.
    unsafe { boundary(context, "resume", Plugin::resume) };
}

unsafe extern "C" fn cb_exit(context: *mut c_void, _: *mut HostConfig) -> c_int {
    if context.is_null() {
        return OK;
    }
    // SAFETY: made by `init`, given back once, and used by no callback after.
    let plugin = unsafe { Box::from_raw(context.cast::<Plugin>()) };
    match panics::catch("exit", || plugin.end()) {
        Ok(()) => OK,
        Err(error) => {
            Host::get().print(
                Level::Error,
                &format!("[input:{}] {error}", registration::NAME),
            );
            FAILED
        }
    }
}

/// Runs inside `dlopen`, before the host looks for the object below: lays it
/// out for this host. Without that the host would copy what it cannot read.
extern "C" fn lay_out() {
    panics::install_hook();
    let laid_out = panics::catch("load", || {
        let host = Host::get();
        if let Err(error) = host.check() {
            // The object is still laid out: a host that goes on to use the
            // plugin gets a failed init, not a crash.
            host.print(
                Level::Error,
                &format!("[plugin] {}: {error}", registration::NAME),
            );
        }
        let callbacks = Callbacks {
            init: cb_init,
            collect,
            pause: cb_pause,
            resume: cb_resume,
            exit: cb_exit,
        };
        registration::object(host.shape, callbacks)
    });
    if let Ok(object) = laid_out {
        // SAFETY: the loader runs constructors once, before anyone can know
        // the object's address.
        unsafe { ptr::write(in_kubeletstats_plugin.0.get(), object) };
    }
}

/// Not in the plugin's own unit tests, which no host loads.
#[cfg(not(test))]
#[used]
#[unsafe(link_section = ".init_array")]
static LAY_OUT: extern "C" fn() = lay_out;

/// What the host finds by name, copies, and never writes to.
#[repr(C, align(16))]
pub struct Registration(UnsafeCell<[u8; registration::SIZE]>);

// SAFETY: written once, by the constructor, before the object can be reached.
unsafe impl Sync for Registration {}

#[allow(non_upper_case_globals)]
#[unsafe(no_mangle)]
pub static in_kubeletstats_plugin: Registration =
    Registration(UnsafeCell::new([0; registration::SIZE]));
