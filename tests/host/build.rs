//! Exports the host functions: a plugin finds them with `dlsym(RTLD_DEFAULT, …)`,
//! which sees an executable's symbols only when they are in its dynamic table.

fn main() {
    println!("cargo::rustc-link-arg-bins=-rdynamic");
}
