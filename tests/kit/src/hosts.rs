//! Finds the Fluent Bits of this machine and the built parts of this workspace. A Fluent Bit
//! that was named but cannot be run is an error. It is never skipped silently.

use std::{
    collections::HashSet,
    env,
    ffi::OsStr,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{Child, Error, Result, Stream};

const PACKAGED: &str = "/opt/fluent-bit/bin/fluent-bit";
const VERSION_DEADLINE: Duration = Duration::from_secs(20);

/// One release for each interface that Fluent Bit has had for plugins, as promised in
/// docs/versions.md, newest first.
const PROMISED: [(u32, u32); 5] = [(5, 1), (4, 2), (3, 2), (2, 2), (1, 9)];

/// A program that loads the plugin: a Fluent Bit, or the embedded host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The name in messages: for example `Fluent Bit v5.1.1`, or `embedded host`.
    pub name: String,
    pub path: PathBuf,
    /// The version of a real Fluent Bit.
    pub version: Option<(u32, u32, u32)>,
    pub embedded: bool,
}

impl Host {
    /// Asks the Fluent Bit at `path` for its version.
    pub fn fluent_bit(path: &Path) -> Result<Self> {
        let mut command = Command::new(path);
        command.arg("--version");
        let mut child = Child::spawn(command)?;
        let status = child.wait_for_exit(VERSION_DEADLINE)?;
        let version = child
            .lines(Stream::Stdout)
            .iter()
            .find_map(|line| parse_version(line));
        let Some(version) = version.filter(|_| status.success()) else {
            let path = path.display();
            let seen = child.tail();
            return Err(Error::new(format!(
                "{path} --version told no version: {seen}"
            )));
        };
        let (major, minor, patch) = version;
        Ok(Self {
            name: format!("Fluent Bit v{major}.{minor}.{patch}"),
            path: path.to_owned(),
            version: Some(version),
            embedded: false,
        })
    }

    /// Returns a command that runs this host.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(&self.path);
        command.args(args);
        command
    }

    /// Whether it supports YAML in which `plugins` names the plugin.
    pub fn takes_yaml(&self) -> bool {
        self.embedded || self.version >= Some((3, 2, 0))
    }

    /// The text that a test or the demo prints before it uses this host.
    pub fn describe(&self) -> String {
        format!("{} ({})", self.name, self.path.display())
    }
}

/// Returns every host, for tests. If a part is missing that `cargo test` does not build, it
/// returns none and prints that. With `KUBELETSTATS_REQUIRE=1`, a missing part is a failure.
pub fn to_test() -> Vec<Host> {
    if !is_built() {
        return Vec::new();
    }
    all().expect("hosts that run")
}

/// Whether everything exists that the tests of hosts run. Otherwise this prints what is
/// missing, past the test harness, because the harness hides the output of a test that passes.
pub fn is_built() -> bool {
    let built = ["embedded-host", "sim-kubelet", "kubeletstats"].map(built);
    let mut parts = vec![plugin_path(), panicking_plugin_path()];
    parts.extend(built);
    let Some(missing) = parts.iter().find(|part| !part.exists()) else {
        return true;
    };
    let thread = std::thread::current();
    let said = format!(
        "NOT RUN: {}: there is no {} (make build tools panicking)",
        thread.name().unwrap_or("main"),
        missing.display()
    );
    assert!(env::var_os("KUBELETSTATS_REQUIRE").is_none(), "{said}");
    let _ = writeln!(std::io::stderr(), "{said}");
    false
}

/// Returns every host: all real ones in the order in which they were found, then the embedded
/// one.
pub fn all() -> Result<Vec<Host>> {
    let mut hosts = real()?;
    hosts.push(embedded()?);
    Ok(hosts)
}

/// The last line of a run in these hosts: which they were, and which promised releases were not
/// among them.
pub fn coverage(ran: &[Host]) -> String {
    let on: Vec<_> = ran
        .iter()
        .map(|host| match host.embedded {
            true => host.name.clone(),
            false => host.describe(),
        })
        .collect();
    let had = |(major, minor): &(u32, u32)| {
        let same =
            |host: &Host| matches!(host.version, Some((a, b, _)) if (a, b) == (*major, *minor));
        ran.iter().any(same)
    };
    let missing: Vec<_> = PROMISED
        .iter()
        .filter(|release| !had(release))
        .map(|(major, minor)| format!("{major}.{minor}"))
        .collect();
    let not_on = match missing.is_empty() {
        true => "none of the supported releases is missing".to_owned(),
        false => format!(
            "NOT run on Fluent Bit {} (FLUENT_BIT names more)",
            missing.join(", ")
        ),
    };
    format!("ran on {}; {not_on}", on.join(", "))
}

/// Returns the newest real Fluent Bit, or the embedded host if there is none.
pub fn best() -> Result<Host> {
    let newest = real()?.into_iter().max_by_key(|host| host.version);
    newest.map_or_else(embedded, Ok)
}

/// Returns the Fluent Bits named in `FLUENT_BIT`. Without that, it is the one on `PATH`, and
/// without that the packaged one.
pub fn real() -> Result<Vec<Host>> {
    let named = env::var_os("FLUENT_BIT");
    let path = env::var_os("PATH");
    let found = candidates(named.as_deref(), path.as_deref(), Path::new(PACKAGED))?;
    found.iter().map(|path| Host::fluent_bit(path)).collect()
}

/// Returns the embedded host, from `EMBEDDED_HOST` or as `make tools` built it.
pub fn embedded() -> Result<Host> {
    let path = built("embedded-host");
    if !is_executable(&path) {
        return Err(Error::new(format!(
            "no embedded host at {}: run `make tools` first, or set EMBEDDED_HOST",
            path.display()
        )));
    }
    Ok(Host {
        name: "embedded host".to_owned(),
        path,
        version: None,
        embedded: true,
    })
}

/// Returns the plugin to load, from `KUBELETSTATS_SO` or as `make build` built it.
pub fn plugin_path() -> PathBuf {
    from_env_or_build("KUBELETSTATS_SO", "target/release/flb-in_kubeletstats.so")
}

/// Returns the plugin that panics at the place that `KUBELETSTATS_PANIC` names, from
/// `KUBELETSTATS_PANICKING_SO` or as `make panicking` built it.
pub fn panicking_plugin_path() -> PathBuf {
    let built = "target/panic/flb-in_kubeletstats.so";
    from_env_or_build("KUBELETSTATS_PANICKING_SO", built)
}

/// Returns a program of this repository, from the variable of its name (for example
/// `SIM_KUBELET`) or as `make tools` built it.
pub fn built(name: &str) -> PathBuf {
    let variable = name.to_uppercase().replace('-', "_");
    from_env_or_build(&variable, &format!("target/debug/{name}"))
}

/// Returns the root of this workspace.
pub fn workspace_root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().unwrap_or(root)
}

fn from_env_or_build(variable: &str, built: &str) -> PathBuf {
    let named = env::var_os(variable).filter(|path| !path.is_empty());
    named.map_or_else(|| workspace_root().join(built), PathBuf::from)
}

fn candidates(
    named: Option<&OsStr>,
    path: Option<&OsStr>,
    packaged: &Path,
) -> Result<Vec<PathBuf>> {
    if let Some(named) = named.filter(|named| !named.is_empty()) {
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        for path in env::split_paths(named).filter(|path| !path.as_os_str().is_empty()) {
            if !is_executable(&path) {
                return Err(Error::new(format!(
                    "FLUENT_BIT names {}, which is not a program",
                    path.display()
                )));
            }
            if seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())) {
                found.push(path);
            }
        }
        return Ok(found);
    }
    let on_path = path.and_then(|path| {
        let folders = env::split_paths(path).map(|folder| folder.join("fluent-bit"));
        folders.into_iter().find(|file| is_executable(file))
    });
    let packaged = || is_executable(packaged).then(|| packaged.to_owned());
    Ok(on_path.or_else(packaged).into_iter().collect())
}

pub(crate) fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Returns the first word of the form `v1.2.3` or `1.2.3`. Text after the last number is
/// ignored.
fn parse_version(line: &str) -> Option<(u32, u32, u32)> {
    line.split_whitespace().find_map(|word| {
        let mut parts = word.trim_start_matches('v').splitn(3, '.');
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next()?.parse().ok()?;
        let rest = parts.next()?;
        let digits = rest.find(|c: char| !c.is_ascii_digit());
        let patch = rest[..digits.unwrap_or(rest.len())].parse().ok()?;
        Some((major, minor, patch))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_fluent_bit_prints_them() {
        assert_eq!(parse_version("Fluent Bit v5.1.1"), Some((5, 1, 1)));
        assert_eq!(parse_version("Fluent Bit v1.9.10"), Some((1, 9, 10)));
        assert_eq!(parse_version("Fluent Bit v4.0.0-rc1"), Some((4, 0, 0)));
        assert_eq!(parse_version("Git commit: 12.ab.3"), None);
        assert_eq!(parse_version("Fluent Bit"), None);
    }

    #[test]
    fn what_was_not_run_is_said() {
        let host = |version: Option<(u32, u32, u32)>| Host {
            name: version.map_or("embedded host".to_owned(), |v| {
                format!("Fluent Bit v{}", v.0)
            }),
            path: PathBuf::from("/f"),
            embedded: version.is_none(),
            version,
        };
        let some = [Some((5, 1, 9)), Some((2, 0, 14)), Some((1, 9, 10)), None].map(host);
        assert_eq!(
            coverage(&some),
            "ran on Fluent Bit v5 (/f), Fluent Bit v2 (/f), Fluent Bit v1 (/f), embedded host; \
             NOT run on Fluent Bit 4.2, 3.2, 2.2 (FLUENT_BIT names more)"
        );
        let all = PROMISED.map(|(major, minor)| host(Some((major, minor, 0))));
        assert!(coverage(&all).ends_with("; none of the supported releases is missing"));
    }

    #[test]
    fn a_named_host_that_is_no_program_is_an_error() {
        let named = OsStr::new("/bin/sh:/nowhere/fluent-bit");
        let error = candidates(Some(named), None, Path::new("/nowhere")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "FLUENT_BIT names /nowhere/fluent-bit, which is not a program"
        );
    }

    #[test]
    fn named_hosts_go_before_the_path_and_the_package() {
        let shell = Path::new("/bin/sh");
        let twice = OsStr::new("/bin/sh::/bin/sh");
        let found = candidates(Some(twice), Some(OsStr::new("/bin")), shell).unwrap();
        assert_eq!(found, [PathBuf::from("/bin/sh")]);

        let nothing = OsStr::new("");
        let found = candidates(Some(nothing), Some(OsStr::new("/nowhere")), shell).unwrap();
        assert_eq!(found, [PathBuf::from("/bin/sh")]);

        let found = candidates(None, None, Path::new("/nowhere")).unwrap();
        assert!(found.is_empty());
    }
}
