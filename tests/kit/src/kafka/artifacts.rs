//! The programs and jars that Apache Kafka needs: checks whether they exist, and fetches
//! them with Maven. This module does not know a running broker.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    Child, Error, Result, Stream,
    hosts::{is_executable, workspace_root},
};

/// The oldest Java that Kafka 4 brokers run on.
const OLDEST_JAVA: u32 = 17;
const JAVA_VERSION_DEADLINE: Duration = Duration::from_secs(20);
/// The first fetch downloads some 45 MB.
const MAVEN_DEADLINE: Duration = Duration::from_secs(300);

/// The folder for all files of the brokers of this workspace.
pub(super) fn kafka_dir() -> PathBuf {
    workspace_root().join("target/kafka")
}

/// The folder of settings under version control.
pub(super) fn settings_dir() -> PathBuf {
    workspace_root().join("tests/kafka")
}

/// Checks for a Java that is new enough, and for Maven, which fetches the rest.
pub(super) fn check_tools() -> Result<()> {
    let path = env::var_os("PATH").unwrap_or_default();
    for tool in ["java", "mvn"] {
        if !env::split_paths(&path).any(|folder| is_executable(&folder.join(tool))) {
            return Err(Error::new(format!("no {tool} on PATH")));
        }
    }
    let mut command = Command::new("java");
    command.arg("-version");
    let mut java = Child::spawn(command)?;
    java.wait_for_exit(JAVA_VERSION_DEADLINE)?;
    let lines = java.lines(Stream::Any);
    match lines.iter().find_map(|line| major_version(line)) {
        Some(major) if major >= OLDEST_JAVA => Ok(()),
        Some(major) => Err(Error::new(format!(
            "java is version {major}, Kafka needs {OLDEST_JAVA}"
        ))),
        None => Err(Error::new("java -version told no version")),
    }
}

/// Returns the folder with Kafka's jars. They are fetched if they are missing or if the pom
/// has changed. This takes its own lock, because several brokers, each with its own folder,
/// share these jars.
pub(super) fn libs() -> Result<PathBuf> {
    let dir = kafka_dir();
    let _lock = super::apache::lock(&dir.join("libs.lock"))?;
    let pom = settings_dir().join("pom.xml");
    let wanted = fs::read_to_string(&pom)
        .map_err(|error| Error::new(format!("{}: {error}", pom.display())))?;
    let libs = dir.join("libs");
    // A copy of the pom beside the jars states for which pom they were fetched. It is
    // written last.
    let fetched_for = libs.join("pom.xml");
    if fs::read_to_string(&fetched_for).is_ok_and(|fetched| fetched == wanted) {
        return Ok(libs);
    }
    let _ = fs::remove_dir_all(&libs);
    fetch(&pom, &libs)?;
    fs::write(&fetched_for, wanted)
        .map_err(|error| Error::new(format!("{}: {error}", fetched_for.display())))?;
    Ok(libs)
}

/// Returns Kafka's version, from the name of its jar.
pub(super) fn version() -> String {
    let entries = fs::read_dir(kafka_dir().join("libs"));
    let names = entries.into_iter().flatten().flatten();
    let version = names.map(|entry| entry.file_name()).find_map(|name| {
        let name = name.to_string_lossy();
        let version = name.strip_prefix("kafka_2.13-")?.strip_suffix(".jar")?;
        Some(version.to_owned())
    });
    version.unwrap_or_else(|| "of unknown version".to_owned())
}

fn fetch(pom: &Path, libs: &Path) -> Result<()> {
    let mut command = Command::new("mvn");
    command
        .args(["-q", "-B", "-f"])
        .arg(pom)
        .arg("dependency:copy-dependencies")
        .arg(format!("-DoutputDirectory={}", libs.display()));
    let mut maven = Child::spawn(command)?;
    let status = maven.wait_for_exit(MAVEN_DEADLINE)?;
    if status.success() {
        return Ok(());
    }
    let output = maven.tail();
    Err(Error::new(format!(
        "Maven could not fetch Apache Kafka ({status})\n{output}"
    )))
}

/// `openjdk version "17.0.15" 2025-04-15` is 17. In the old scheme, `"1.8.0_442"` is 8.
fn major_version(line: &str) -> Option<u32> {
    let quoted = line.split_once("version \"")?.1;
    let mut numbers = quoted.split(|c: char| !c.is_ascii_digit());
    match numbers.next()?.parse().ok()? {
        1 => numbers.next()?.parse().ok(),
        major => Some(major),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_versions_in_both_schemes() {
        let major = |text: &str| major_version(text);
        assert_eq!(major(r#"openjdk version "17.0.15" 2025-04-15"#), Some(17));
        assert_eq!(major(r#"openjdk version "25" 2025-09-16"#), Some(25));
        assert_eq!(major(r#"java version "1.8.0_442""#), Some(8));
        assert_eq!(major("Picked up JAVA_TOOL_OPTIONS: -Xmx1g"), None);
    }
}
