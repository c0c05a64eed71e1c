//! The way on which a record stays on Fluent Bit's disk until Kafka has it: output
//! `kafka-rest`, the Kafka Bridge of Strimzi, Kafka. The bridge is not fetched here:
//! `KAFKA_BRIDGE` names the folder of an unpacked release, with its `libs`.

use std::{
    cell::RefCell,
    env,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use testkit::{Child, Host, kafka::BrokerOptions, wait};

use super::{By, DEADLINE, Outcome, Plan, To, outage_of};
use crate::{
    delivery::{Brokers, real_hosts},
    proc::{Scratch, Table, alone, free_port, soak},
};

/// With these the bridge waits for Kafka. Else it gives up in time, with an error inside
/// a reply of status 200, and that counts as delivered.
const PRODUCER: &str = "kafka.producer.acks=all
kafka.producer.delivery.timeout.ms=2147483647
kafka.producer.max.block.ms=9223372036854775807
";

/// An output section for a bridge at this port.
fn output(port: u16, topic: &str) -> String {
    format!(
        "[OUTPUT]\n    name kafka-rest\n    match kubeletstats\n    host 127.0.0.1\n    \
         port {port}\n    topic {topic}\n    retry_limit no_limits\n"
    )
}

/// A bridge on loopback.
struct Bridge {
    child: Child,
    jars: PathBuf,
    folder: Scratch,
    port: u16,
}

impl Bridge {
    fn start(home: &Path, brokers: &str) -> Self {
        let (folder, port, management) = (Scratch::new("bridge"), free_port(), free_port());
        let settings = format!(
            "bridge.id=bridge\nkafka.bootstrap.servers={brokers}\n{PRODUCER}\
             http.host=127.0.0.1\nhttp.port={port}\nhttp.management.port={management}\n"
        );
        folder.write("application.properties", &settings);
        let jars = home.join("libs/*");
        let child = Self::spawn(&jars, &folder);
        let bridge = Self {
            child,
            jars,
            folder,
            port,
        };
        bridge.wait();
        bridge
    }

    fn spawn(jars: &Path, folder: &Scratch) -> Child {
        let mut command = Command::new("java");
        let cache = folder.path().display();
        command
            .args(["-Xmx256m", "-XX:+UseSerialGC"])
            .arg(format!("-Dvertx.cacheDirBase={cache}"))
            .arg("-cp")
            .arg(jars)
            .args(["io.strimzi.kafka.bridge.Application", "--config-file"])
            .arg(folder.join("application.properties"));
        Child::spawn(command).expect("java")
    }

    fn wait(&self) {
        let listens = || TcpStream::connect(("127.0.0.1", self.port)).is_ok();
        wait::until("the bridge", DEADLINE, listens)
            .unwrap_or_else(|error| panic!("{error}: {}", self.child.tail()));
    }

    fn kill(&mut self) {
        self.child.kill();
    }

    fn restart(&mut self) {
        self.child = Self::spawn(&self.jars, &self.folder);
        self.wait();
    }
}

fn has_output(host: &Host) -> bool {
    let help = host.command(["--help"]).output().expect("help");
    String::from_utf8_lossy(&help.stdout).contains("kafka-rest")
}

#[test]
fn nothing_is_lost_behind_a_bridge() {
    let _alone = alone();
    let home = env::var_os("KAFKA_BRIDGE").map(PathBuf::from);
    let Some(home) = home.filter(|_| soak()) else {
        println!("NOT RUN: only with KUBELETSTATS_SOAK=1, and KAFKA_BRIDGE with a Kafka Bridge");
        return;
    };
    let brokers = Brokers::find();
    let Ok(apache) = &brokers.apache else {
        println!("NOT RUN: no Kafka that could be killed");
        return;
    };
    let title = "20 s without Kafka, then without the bridge before it";
    let mut table = Table::new(title, &Outcome::HEAD);
    for host in &real_hosts() {
        if !has_output(host) {
            println!("NOT RUN on {}: it has no output kafka-rest", host.name);
            continue;
        }
        let broker = apache.start(BrokerOptions::default()).expect("a broker");
        let bridge = RefCell::new(Bridge::start(&home, &broker.brokers));
        let plan = |to| Plan {
            host,
            room: 0,
            pods: 10,
            away: Duration::from_secs(20),
            to,
            by: By::Http,
        };
        let port = bridge.borrow().port;
        let output = |topic: &str| Some(output(port, topic));
        let kill_kafka = || assert!(apache.kill().expect("killed"));
        let restart_kafka = || drop(apache.restart().expect("a broker again"));
        let kill = || bridge.borrow_mut().kill();
        let restart = || bridge.borrow_mut().restart();
        for plan in [plan(To::Nothing), plan(To::Killed)] {
            // First without Kafka, then without the bridge.
            for outcome in [
                outage_of(&broker, &plan, output, kill_kafka, restart_kafka),
                outage_of(&broker, &plan, output, kill, restart),
            ] {
                outcome.add_to(&mut table, &plan);
                let lost = (outcome.lost, outcome.lost_from_disk);
                assert_eq!(lost, (0, 0), "{plan:?}: {outcome:?}");
                assert!(outcome.taken > 0, "{plan:?}: {outcome:?}");
            }
        }
    }
}
