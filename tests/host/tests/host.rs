//! Drives the embedded host with a plugin written in C, compiled here: loading, options,
//! the pipeline, backpressure, shutdown, and delivery to a mock Kafka cluster.

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::mocking::MockCluster;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// One folder a test process, with the compiled plugin in it.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(std::process::id().to_string());
    std::fs::create_dir_all(&folder).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-Wl,-z,now", &asset("probe.c"), "-o"]);
    let status = cc.arg(folder.join("flb-in_probe.so")).status();
    assert!(status.unwrap().success());
    folder
});

fn probe() -> String {
    FOLDER.join("flb-in_probe.so").to_str().unwrap().to_owned()
}

fn asset(name: &str) -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/assets/").to_owned() + name
}

/// A running host; what it prints is gathered as it comes, and it never outlives the test.
struct Host {
    child: Child,
    out: Arc<Mutex<String>>,
    err: Arc<Mutex<String>>,
}

fn gather(mut from: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let shared = Arc::clone(&text);
    std::thread::spawn(move || {
        let mut buf = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut buf) {
            let read = String::from_utf8_lossy(&buf[..n]);
            shared.lock().unwrap().push_str(&read);
        }
    });
    text
}

impl Host {
    /// With arguments that are split at blanks.
    fn start(args: &str) -> Host {
        Host::with_mode(None, args)
    }

    /// With the plugin, and a short time between flushes.
    fn with_probe(args: &str) -> Host {
        Host::start(&format!("-e {} -f 0.05 -i probe {args}", probe()))
    }

    /// With variables that the configuration refers to.
    fn with_mode(mode: Option<&str>, args: &str) -> Host {
        let mut command = Command::new(env!("CARGO_BIN_EXE_embedded-host"));
        command.args(args.split_whitespace()).env("PROBE", probe());
        command.envs(mode.map(|mode| ("PROBE_MODE", mode)));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = gather(child.stdout.take().unwrap());
        let err = gather(child.stderr.take().unwrap());
        Host { child, out, err }
    }

    fn out(&self) -> String {
        self.out.lock().unwrap().clone()
    }

    fn err(&self) -> String {
        self.err.lock().unwrap().clone()
    }

    fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            let (out, err) = (self.out(), self.err());
            let late = Instant::now() >= deadline;
            assert!(!late, "no {what}; stdout:\n{out}\nstderr:\n{err}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn wait_out(&self, text: &str) {
        self.wait(text, || self.out().contains(text));
    }

    fn wait_err(&self, text: &str) {
        self.wait(text, || self.err().contains(text));
    }

    fn exit_code(&mut self) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().expect("ended by a signal");
            }
            assert!(Instant::now() < deadline, "still runs:\n{}", self.err());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it by a signal; returns how long that took.
    fn stop(&mut self, signal: libc::c_int) -> Duration {
        let asked = Instant::now();
        // SAFETY: the child has not been waited for, so its id is still its own.
        unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
        assert_eq!(self.exit_code(), 0, "{}", self.err());
        asked.elapsed()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Fails when it has ended, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn loads_the_plugin_and_prints_json_lines() {
    let mut host = Host::with_probe("-t a.b -o stdout -m a.* -p format=json_lines");
    host.wait_out(r#"{"date":1694498817.0,"from":"timer","n":3}"#);
    host.wait_out(r#"{"date":1694498817.0,"from":"event","f":0.30000000000000004}"#);
    host.wait_err("[ info] probe: mode=(null)\n");
    assert!(host.stop(libc::SIGTERM) < Duration::from_secs(2));
    host.wait_err("probe: exit");
    let err = host.err();
    let (pause, exit) = (err.find("probe: pause"), err.find("probe: exit"));
    assert!(pause.unwrap() < exit.unwrap(), "{err}");
}

#[test]
fn prints_the_default_form_and_keeps_the_options_of_the_instance() {
    let own = "-p alias=named -p storage.type=memory -p tls=on -p tls.verify=off \
               -p net.keepalive=on -p threaded=on -p routable=on -p host=h -p port=1";
    let host = Host::with_probe(&format!("{own} -o stdout"));
    host.wait_out(r#"named: [[1694498817.000000002, {}], {"from":"timer","n":0}]"#);
    host.wait_out(r#"{"from":"event","f":0.30000000000000004}]"#);
}

#[test]
fn describes_options_on_help() {
    let mut host = Host::with_probe("-h");
    assert_eq!(host.exit_code(), 0);
    host.wait_out("Appends fixed records");
    host.wait_out("fail: refuse to start; stubborn: go on when paused");
    host.wait_out("> default: plain, type: string");
    host.wait_out("type: integer");
}

#[test]
fn refuses_an_unknown_property() {
    for more in ["", " --dry-run"] {
        let mut host = Host::with_probe(&format!("-p bogus=1 -o null{more}"));
        assert_ne!(host.exit_code(), 0);
        host.wait_err("[error] [config] probe.0: unknown configuration property 'bogus'");
        assert!(!host.err().contains("probe: mode"));
    }
}

#[test]
fn a_failed_init_ends_the_host_without_exit() {
    let mut host = Host::with_probe("-p mode=fail");
    assert_ne!(host.exit_code(), 0);
    host.wait_err("[error] [engine] failed to initialize input probe.0");
    assert!(!host.err().contains("probe: exit"));
}

#[test]
fn refuses_files_that_are_no_plugin() {
    std::fs::copy(probe(), FOLDER.join("flb-in_renamed.so")).unwrap();
    let missing = "registration structure is missing 'in_renamed_plugin'";
    for (name, why) in [
        ("in_other.so", "invalid plugin name, expected flb-in_*.so"),
        ("flb-in_missing.so", "dlopen()"),
        ("flb-in_renamed.so", missing),
    ] {
        let mut host = Host::start(&format!("-e {}", FOLDER.join(name).display()));
        assert_ne!(host.exit_code(), 0);
        host.wait_err(why);
        host.wait_err(name);
    }
}

#[test]
fn reads_a_configuration_with_plugins_a_filter_and_environment() {
    let args = format!("-c {}", asset("main.conf"));
    for (mode, seen) in [(Some("a mode"), "a mode"), (None, "(null)")] {
        let host = Host::with_mode(mode, &args);
        host.wait_out(r#"{"from":"timer","n":1,"source":"two words"}"#);
        host.wait_err(&format!("probe: mode={seen}\n"));
    }
}

#[test]
fn points_at_the_line_of_a_broken_configuration() {
    let mut host = Host::start(&format!("-c {}", asset("broken.conf")));
    assert_ne!(host.exit_code(), 0);
    host.wait_err("broken.conf:3: neither a section nor a property");
}

#[test]
fn pauses_over_the_memory_limit_and_resumes_below_it() {
    let host = Host::with_probe("-p mem_buf_limit=100 -o stdout -f 0.5");
    host.wait_err("[ warn] [input] probe.0 paused (mem buf overlimit");
    host.wait_err("[ info] [input] pausing probe.0");
    host.wait_err("probe: pause");
    host.wait_err("probe: resume");
    let records = || host.out().matches("probe.0: ").count();
    let before = records();
    host.wait("more records", || records() > before);
}

#[test]
fn refuses_appends_while_paused() {
    let mut host = Host::with_probe("-p mode=stubborn -p mem_buf_limit=100 -o null -f 60");
    host.wait_err("probe: append refused");
    host.stop(libc::SIGTERM);
}

#[test]
fn runs_the_dummy_input_and_writes_files() {
    let record = r#"{"z":1.5,"a":[null,"é"]}"#;
    let input = format!("-i dummy -p dummy={record} -p rate=100 -p samples=2");
    let folder = FOLDER.display();
    let output = format!("-o file -p path={folder} -p file=dummy.out -p format=plain");
    let mut host = Host::start(&format!("{input} {output} -f 0.05"));
    let read = || std::fs::read_to_string(FOLDER.join("dummy.out"));
    let expected = format!("{record}\n").repeat(2);
    host.wait("two lines", || read().is_ok_and(|text| text == expected));
    host.stop(libc::SIGINT);
}

#[test]
fn obeys_the_levels_of_the_log() {
    let host = Host::with_probe("-q -o stdout");
    host.wait_out("probe.0: ");
    assert!(!host.err().contains("[embedded host]"), "{}", host.err());
    Host::with_probe("-o null").wait_err("[ info] [embedded host]");
}

#[test]
fn delivers_to_kafka() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("metrics", 1, 1).unwrap();
    let brokers = cluster.bootstrap_servers();
    let mut host = Host::with_probe(&format!(
        "-o kafka -p brokers={brokers} -p topics=metrics,other -p format=json \
         -p timestamp_format=iso8601 -p message_key_field=from -p rdkafka.linger.ms=1 \
         -p workers=1"
    ));
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &brokers);
    let consumer: BaseConsumer = config.set("group.id", "test").create().unwrap();
    let mut start = TopicPartitionList::new();
    let added = start.add_partition_offset("metrics", 0, Offset::Beginning);
    added.and_then(|()| consumer.assign(&start)).unwrap();
    let mut seen = Vec::new();
    host.wait("five messages", || {
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            let message = message.unwrap();
            let text = |b: Option<&[u8]>| String::from_utf8(b.unwrap().to_vec()).unwrap();
            seen.push((text(message.key()), text(message.payload())));
        }
        seen.len() >= 5
    });
    let time = r#""@timestamp":"2023-09-12T06:06:57.000000Z""#;
    let timer = format!(r#"{{{time},"from":"timer","n":0}}"#);
    let event = format!(r#"{{{time},"from":"event","f":0.30000000000000004}}"#);
    assert!(seen.contains(&("timer".into(), timer)), "{seen:?}");
    assert!(seen.contains(&("event".into(), event)), "{seen:?}");
    host.stop(libc::SIGTERM);
    host.wait_err("service has stopped, 0 records were not delivered");
}

#[test]
fn waits_out_the_grace_for_an_absent_kafka_and_says_so() {
    let mut host = Host::start(&format!("-c {}", asset("absent-kafka.conf")));
    host.wait_out("dummy.0: ");
    assert!(host.stop(libc::SIGTERM) > Duration::from_millis(900));
    host.wait_err("1 records were not delivered");
}
