//! A PostgreSQL of the tests' own in a temporary folder, from the server programs that Debian
//! or anybody else installed. The server refuses to run as root: then it runs as `postgres`
//! or, failing that, `nobody`.

use std::{
    fs,
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use testkit::{Child, Stream, kafka::unique_topic, wait};

const DEADLINE: Duration = Duration::from_secs(60);
pub const USER: &str = "metrics";
/// Must never be seen in any output.
pub const PASSWORD: &str = "open-sesame";

/// Where `initdb` and `postgres` are: `POSTGRES_BIN`, else Debian's newest, else on `PATH`.
pub fn find_programs() -> Result<PathBuf, String> {
    let complete = |folder: &Path| {
        ["initdb", "postgres", "psql"]
            .iter()
            .all(|name| folder.join(name).is_file())
    };
    if let Some(named) = std::env::var_os("POSTGRES_BIN") {
        let named = PathBuf::from(named);
        assert!(
            complete(&named),
            "POSTGRES_BIN has no initdb: {}",
            named.display()
        );
        return Ok(named);
    }
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut versions: Vec<PathBuf> = versions.map(|entry| entry.path()).collect();
    versions.sort_by_key(|path| {
        let version = path
            .file_name()
            .and_then(|name| name.to_str()?.parse::<u32>().ok());
        std::cmp::Reverse(version)
    });
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = versions.into_iter().map(|version| version.join("bin"));
    folders
        .find(|folder| complete(folder))
        .or_else(|| std::env::split_paths(&on_path).find(|folder| complete(folder)))
        .ok_or_else(|| {
            "PostgreSQL's server programs are not installed (Debian: postgresql)".to_owned()
        })
}

/// Ends with this value.
pub struct Cluster {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    /// Of the unprivileged user, if this program runs as root.
    ids: Option<(u32, u32)>,
    server: Option<Child>,
}

impl Cluster {
    /// `settings` are lines of `postgresql.conf`.
    pub fn start(settings: &str) -> Result<Self, String> {
        Self::start_with(find_programs()?, settings)
    }

    pub fn start_with(programs: PathBuf, settings: &str) -> Result<Self, String> {
        // Not under the build folder: that may be in a home that others cannot enter.
        let folder = std::env::temp_dir().join(unique_topic("pg"));
        fs::create_dir_all(&folder).expect("a folder");
        let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
        let mut cluster = Self {
            programs,
            ids: unprivileged(&folder),
            port: port.expect("a free port").port(),
            folder,
            server: None,
        };
        if let Some((uid, gid)) = cluster.ids {
            chown(&cluster.folder, Some(uid), Some(gid)).expect("our own folder");
        }
        let secret = cluster.write("password", PASSWORD);
        let mut initdb = cluster.command("initdb");
        initdb.args([
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            "--no-sync",
        ]);
        initdb.args([
            "--encoding=UTF8",
            "--locale=C",
            "--username",
            USER,
            "--pwfile",
        ]);
        initdb.arg(&secret).arg("--pgdata").arg(cluster.data());
        output(initdb);
        let (socket, port) = (cluster.folder.display(), cluster.port);
        // A crash of the server is tested, not one of the machine.
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{socket}'\n\
             fsync = off\nshared_buffers = 16MB\nmax_connections = 40\nlog_min_messages = fatal\n\
             {settings}\n"
        );
        let conf = cluster.write("more.conf", &settings);
        let main = cluster.data().join("postgresql.conf");
        let text = fs::read_to_string(&main).expect("initdb has written it");
        fs::write(&main, format!("{text}\ninclude '{}'\n", conf.display())).expect("ours");
        cluster.run();
        Ok(cluster)
    }

    /// Starts the server, also again.
    pub fn run(&mut self) {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data());
        let server = Child::spawn(command).expect("postgres starts");
        let ready = wait::until("PostgreSQL to answer", DEADLINE, || {
            let mut psql = self.psql("postgres");
            psql.args(["-c", "SELECT 1"])
                .output()
                .is_ok_and(|output| output.status.success())
        });
        ready.unwrap_or_else(|error| panic!("{error}: {}", server.tail()));
        self.server = Some(server);
    }

    /// As `pg_ctl stop -m immediate`: every process ends without cleaning up, as in a crash.
    pub fn stop_immediately(&mut self) {
        let mut stop = self.command("pg_ctl");
        stop.args(["stop", "--mode=immediate", "--wait", "--pgdata"])
            .arg(self.data());
        // It only sees the end once the process is reaped, which waiting does.
        let mut stop = Child::spawn(stop).expect("pg_ctl starts");
        if let Some(mut server) = self.server.take() {
            server.wait_for_exit(DEADLINE).expect("the server ends");
        }
        assert!(stop.wait_for_exit(DEADLINE).expect("pg_ctl ends").success());
    }

    /// A new, empty database.
    pub fn database(&self) -> Database<'_> {
        let name = unique_topic("db").replace('-', "_");
        let database = Database {
            cluster: self,
            name,
        };
        let mut psql = self.psql("postgres");
        psql.args(["-c", &format!("CREATE DATABASE {}", database.name)]);
        output(psql);
        database
    }

    /// More settings, for the next start.
    pub fn append(&self, settings: &str) {
        let path = self.folder.join("more.conf");
        let text = fs::read_to_string(&path).expect("ours");
        self.write("more.conf", &format!("{text}{settings}"));
    }

    /// One that was made before.
    pub fn named(&self, name: &str) -> Database<'_> {
        let name = name.to_owned();
        Database {
            cluster: self,
            name,
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn version(&self) -> String {
        let mut command = self.command("postgres");
        command.arg("--version");
        output(command).trim().to_owned()
    }

    /// Writes a file that the server may read and nobody else.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("ours");
        if let Some((uid, gid)) = self.ids {
            chown(&path, Some(uid), Some(gid)).expect("ours");
        }
        path
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn psql(&self, database: &str) -> Command {
        let mut psql = self.command("psql");
        psql.args([
            "--no-psqlrc",
            "--quiet",
            "-v",
            "ON_ERROR_STOP=1",
            "--username",
            USER,
        ]);
        psql.args([
            "--port",
            &self.port.to_string(),
            "--dbname",
            database,
            "--host",
        ]);
        psql.arg(&self.folder);
        psql
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command
            .current_dir(&self.folder)
            .env("PGTZ", "UTC")
            .env("LC_ALL", "C");
        if let Some((uid, gid)) = self.ids {
            command.uid(uid).gid(gid);
        }
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            // Fast shutdown: it leaves no shared memory behind.
            server.signal(libc::SIGINT);
            let _ = server.wait_for_exit(DEADLINE);
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// One database of a cluster.
pub struct Database<'a> {
    cluster: &'a Cluster,
    name: String,
}

impl Database<'_> {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// For `--database`.
    pub fn url(&self) -> String {
        self.url_of(USER, "sslmode=disable")
    }

    pub fn url_of(&self, user: &str, options: &str) -> String {
        let (port, name) = (self.cluster.port, &self.name);
        format!("postgresql://{user}:{PASSWORD}@127.0.0.1:{port}/{name}?{options}")
    }

    /// As psql shows it.
    pub fn table(&self, sql: &str) -> String {
        let mut psql = self.cluster.psql(&self.name);
        psql.args(["-c", sql]);
        output(psql)
    }

    /// Bare values, a row a line, with `|` between columns.
    pub fn rows(&self, sql: &str) -> Vec<String> {
        let mut psql = self.cluster.psql(&self.name);
        psql.args(["--no-align", "--tuples-only", "-c", sql]);
        output(psql).lines().map(str::to_owned).collect()
    }

    /// A single number; 0 while there is no table yet.
    pub fn count(&self) -> usize {
        let mut psql = self.cluster.psql(&self.name);
        psql.args([
            "--no-align",
            "--tuples-only",
            "-c",
            "SELECT count(*) FROM system_metrics",
        ]);
        let output = psql.output().expect("psql");
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse().unwrap_or(0)
    }

    /// Runs a file the way its own head says; the result is all it printed.
    pub fn run_file(&self, path: &Path) -> Result<String, String> {
        // The user of the server may not enter this folder: psql reads from its input.
        let mut psql = self.cluster.psql(&self.name);
        psql.args(["-c", &fs::read_to_string(path).expect("the file")]);
        let output = psql.output().expect("psql");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            Ok(text)
        } else {
            Err(text)
        }
    }
}

/// The ids the server runs under, if it cannot run under ours.
fn unprivileged(ours: &Path) -> Option<(u32, u32)> {
    let us = fs::metadata(ours).expect("our own folder").uid();
    (us == 0).then(|| {
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let of = |name: &str| {
            let line = passwd
                .lines()
                .find(|line| line.starts_with(&format!("{name}:")))?;
            let mut fields = line.split(':').skip(2);
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        };
        of("postgres")
            .or_else(|| of("nobody"))
            .expect("a user who is not root")
    })
}

/// Runs a program that has to succeed.
fn output(command: Command) -> String {
    let mut child = Child::spawn(command).expect("it starts");
    let status = child.wait_for_exit(DEADLINE).expect("it ends");
    assert!(status.success(), "{status}: {}", child.tail());
    let lines = child.lines(Stream::Stdout);
    lines.iter().map(|line| format!("{line}\n")).collect()
}
