//! The FFI boundary: the callbacks that Fluent Bit calls, and the object it finds them in.
//!
//! The life of an input, in the order of this file:
//!
//! 1. `dlopen` runs [`write_registration`], an ELF constructor, before the host looks up
//!    `in_kubeletstats_plugin`. It fills that object for the host at hand.
//! 2. [`cb_init`] makes a [`Plugin`], boxes it, and gives the host the raw pointer as the
//!    instance's context. From here on the host owns it. If init fails, nothing of it is
//!    left: the host never calls exit for such an instance.
//! 3. The two collectors, pause and resume borrow the plugin back through
//!    [`ffi_boundary`], each for the time of its call.
//! 4. [`cb_exit`] takes the box back and drops it. No callback comes after it.
//!
//! What every `unsafe` in here rests on: the host runs all callbacks of an instance on
//! one thread, and passes the context that was set. Not always one after the other: it may
//! call `cb_pause` from inside an append, that is within a collector. So a callback only
//! ever has a shared reference to the [`Plugin`], which guards its state itself.
//!
//! No panic crosses into C. Each callback catches it ([`panics::catch`]), logs it as an
//! error like any other, and returns a failure. The input goes on with the next call.

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

/// Runs a callback on the plugin behind `context`; NULL and a panic become [`FAILED`].
/// Init and exit do without, as the plugin is made in the one and gone after the other.
///
/// # Safety
/// `context` is NULL or what `cb_init` gave the host, and `cb_exit` is yet to come.
unsafe fn ffi_boundary(context: *mut c_void, place: &str, callback: impl FnOnce(&Plugin)) -> c_int {
    // SAFETY: the caller's promise; nobody has more than a shared reference, as said above.
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

/// [`cb_init`] without its guard against panics.
fn init(ins: *mut HostInstance, config: *mut HostConfig) -> c_int {
    let host = Host::get();
    if ins.is_null() || host.check_symbols().is_err() {
        // What is missing was logged when the object was loaded.
        return FAILED;
    }
    // SAFETY: the host's own pointers in its own call; `exit` drops the value.
    let instance = unsafe { Instance::new(host, ins, config) };
    let collector_callbacks = CollectorCallbacks {
        timer: cb_collect_timer,
        outcome: cb_collect_outcome,
    };
    match Plugin::start(instance, collector_callbacks) {
        Ok(plugin) => {
            let context = Box::into_raw(plugin);
            // SAFETY: just made from a box, and valid until `cb_exit` takes it back.
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
    // SAFETY: as above.
    unsafe { ffi_boundary(context, "the collector", Plugin::on_outcome) }
}

unsafe extern "C" fn cb_pause(context: *mut c_void, _: *mut HostConfig) {
    // SAFETY: the host calls this between init and exit with our context.
    let pause = || unsafe { ffi_boundary(context, "pause", Plugin::pause) };
    if pause() == FAILED {
        // Collectors left running would make the host wait out its grace.
        pause();
    }
}

unsafe extern "C" fn cb_resume(context: *mut c_void, _: *mut HostConfig) {
    // SAFETY: as above.
    unsafe { ffi_boundary(context, "resume", Plugin::resume) };
}

unsafe extern "C" fn cb_exit(context: *mut c_void, _: *mut HostConfig) -> c_int {
    if context.is_null() {
        return OK;
    }
    // SAFETY: made by `init`, given back once, and used by no callback after.
    let plugin = unsafe { Box::from_raw(context.cast::<Plugin>()) };
    match panics::catch("exit", || plugin.shut_down()) {
        Ok(()) => OK,
        Err(panic) => {
            print_without_instance(&panic);
            FAILED
        }
    }
}

/// Where there is no instance yet, or none any more.
fn print_without_instance(error: &Error) {
    let text = format!("[input:{}] {error}", registration::NAME);
    Host::get().print(Level::Error, &text);
}

/// Fills the object below for this host; see [`registration`]. A host that copied it
/// unfilled would read a plugin without a name.
extern "C" fn write_registration() {
    panics::install_hook();
    let registration = panics::catch("load", || {
        let host = Host::get();
        if let Err(error) = host.check_symbols() {
            // The object is still laid out: a host that goes on to use the
            // plugin gets a failed init, not a crash.
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
        // SAFETY: the loader runs constructors once, before anyone can know
        // the object's address.
        unsafe { ptr::write(in_kubeletstats_plugin.0.get(), object) };
    }
}

/// Not in the plugin's own unit tests, which no host loads.
#[cfg(not(test))]
#[used]
#[unsafe(link_section = ".init_array")]
static WRITE_REGISTRATION: extern "C" fn() = write_registration;

/// What the host finds by name, copies, and never writes to.
#[repr(C, align(16))]
pub struct Registration(UnsafeCell<[u8; registration::SIZE]>);

// SAFETY: written once, by the constructor, before the object can be reached.
unsafe impl Sync for Registration {}

#[allow(non_upper_case_globals)]
#[unsafe(no_mangle)]
pub static in_kubeletstats_plugin: Registration =
    Registration(UnsafeCell::new([0; registration::SIZE]));
