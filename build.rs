//! Turns `include/flb_abi.h` into Rust types and has the C compiler confirm its layout.

use std::{env, path::PathBuf};

fn main() {
    println!("cargo:rerun-if-changed=include");

    if clang_sys::load().is_err() {
        println!("cargo::error=libclang is missing: `make deps`, or install libclang-dev");
        return;
    }

    cc::Build::new()
        .file("include/layout.c")
        .std("c11")
        .warnings_into_errors(true)
        .cargo_metadata(false)
        .compile("kubeletstats_layout");

    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    bindgen::Builder::default()
        .header("include/flb_abi.h")
        .allowlist_file(".*flb_abi.h")
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .derive_copy(false)
        .layout_tests(true)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .generate()
        .expect("bindgen reads include/flb_abi.h")
        .write_to_file(out.join("flb_abi.rs"))
        .expect("OUT_DIR is writable");

    // A name lookup that hangs keeps its thread inside this object after exit. The host
    // closes the object then, so it must stay mapped.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
