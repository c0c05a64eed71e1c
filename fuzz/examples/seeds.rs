//! Writes the corpora to start from. They are generated rather than committed:
//! they would be the fixtures a second time.

use std::{fs, io, path::Path};

#[path = "../fuzz_targets/check.rs"]
mod check;
#[path = "../../core/tests/core/contexts.rs"]
mod contexts;
#[path = "../../core/tests/core/events.rs"]
mod events;
#[path = "../fuzz_targets/seeds.rs"]
mod seeds;

fn main() -> io::Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (whole, small) = seeds::summaries(&here.join("../tests/fixtures"))?;
    write(&here.join("seeds/summary-whole"), &whole)?;
    write(&here.join("seeds/summary"), &small)?;
    let values = seeds::values(&here.join("../tests/fixtures"))?;
    write(&here.join("seeds/skip"), &values)?;
    write(&here.join("seeds/options"), &seeds::options())
}

fn write(folder: &Path, seeds: &[seeds::Seed]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (name, input) in seeds {
        fs::write(folder.join(name), input)?;
    }
    let bytes: usize = seeds.iter().map(|(_, input)| input.len()).sum();
    println!(
        "{}: {} inputs, {bytes} bytes",
        folder.display(),
        seeds.len()
    );
    Ok(())
}
