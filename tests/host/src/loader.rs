//! Loads shared objects by Fluent Bit's rules, and describes them for `-h`.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use libloading::Library;

use crate::abi::InputPlugin;

/// The names of the types, in the order of the ABI's numbers.
const TYPES: &str = "string prefix integer boolean double size time";

/// Opens the object, and copies the plugin object in the size that this host has.
pub fn load(path: &Path) -> Result<InputPlugin> {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = file.strip_suffix(".so").unwrap_or_default();
    let stem = stem.strip_prefix("flb-").filter(|s| s.starts_with("in_"));
    let stem = stem.context("invalid plugin name, expected flb-in_*.so")?;
    let symbol = format!("{stem}_plugin");
    // SAFETY: loading runs the constructors of the object, as intended. The name of the
    // symbol guarantees a plugin object that has at least this host's size.
    let plugin = unsafe {
        // It is never unloaded, because the plugin's code and tables are used until the
        // end.
        let library = Box::leak(Box::new(Library::new(path).context("dlopen()")?));
        let object = library.get::<*const InputPlugin>(symbol.as_bytes());
        let missing = || format!("registration structure is missing '{symbol}'");
        object.with_context(missing)?.read_unaligned()
    };
    ensure!(!plugin.name.as_str().is_empty(), "'{symbol}' is blank");
    Ok(plugin)
}

/// Returns the output of `-i NAME -h`: the description and the option table.
pub fn describe(plugin: &InputPlugin) -> String {
    let (name, about) = (plugin.name.as_str(), plugin.description.as_str());
    let mut out = format!("{name}: {about}\n");
    for row in plugin.options() {
        let kind = TYPES.split(' ').nth(row.kind as usize).unwrap_or("list");
        let (name, about) = (row.name.as_str(), row.description.as_str());
        let default = row.default.as_str();
        out += &format!("\n{name}\n    {about}\n    > default: {default}, type: {kind}\n");
    }
    out
}
