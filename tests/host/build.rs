//! Exports the host functions. A plugin finds them with `dlsym(RTLD_DEFAULT, …)`, which
//! sees the symbols of an executable only if they are in its dynamic table.

fn main() {
    println!("cargo::rustc-link-arg-bins=-rdynamic");
}
