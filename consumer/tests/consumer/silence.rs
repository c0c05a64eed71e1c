//! A database that is there and says nothing: one that takes connections only, one that stops
//! in the middle, and one that waits for somebody's lock.

use std::{
    net::{TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use testkit::wait;

use crate::{
    Outcome,
    postgres::{Cluster, Database},
    scene::{Consumer, DEADLINE, Stage, assert_complete, records, topic, wait_for_rows},
};

/// Accepts connections, keeps them, and says nothing.
struct Silent {
    port: u16,
    ends: Arc<AtomicBool>,
    accepted: Arc<Mutex<Vec<TcpStream>>>,
    accepting: Option<JoinHandle<()>>,
}

impl Silent {
    fn on(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the server's port");
        let port = listener.local_addr().expect("an address").port();
        let ends = Arc::new(AtomicBool::new(false));
        let accepted = Arc::new(Mutex::new(Vec::new()));
        let (end, list) = (Arc::clone(&ends), Arc::clone(&accepted));
        let accepting = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                list.lock().expect("no panic").push(stream);
            }
        });
        Self {
            port,
            ends,
            accepted,
            accepting: Some(accepting),
        }
    }

    fn accepted(&self) -> usize {
        self.accepted.lock().expect("no panic").len()
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

pub fn while_connecting(stage: &Stage) -> Outcome {
    let mut cluster = Cluster::start("")?;
    let (topic, name) = (topic(), cluster.database().name().to_owned());
    let url = |options: &str| {
        let options = format!("connect_timeout=1&{options}");
        cluster.named(&name).url_of("metrics", &options)
    };
    let (plain, tls) = (url("sslmode=disable"), url("sslmode=require"));
    cluster.stop_immediately();
    stage.produce(&topic, &records(0, 10));

    let silent = Silent::on(cluster.port());
    let consumer = Consumer::start(stage.brokers(), &topic, Some(&plain), &[]);
    let line = consumer.wait_for_log("database db_");
    assert!(
        line.ends_with(": no answer when connecting for 1 s"),
        "{line}"
    );
    // The same where the server's word on TLS is waited for.
    let other = crate::scene::topic();
    let with_tls = Consumer::start(stage.brokers(), &other, Some(&tls), &[]);
    let said = with_tls.wait_for_log("database db_");
    assert!(
        said.contains(": no answer when connecting for 1 s"),
        "{said}"
    );
    with_tls.stop();
    let tried = silent.accepted();
    wait::until("one more attempt", DEADLINE, || silent.accepted() > tried).expect("it tries");
    let tried = silent.accepted();
    drop(silent);

    cluster.run();
    let works = consumer.wait_for_recovery("database db_");
    let database = cluster.named(&name);
    wait_for_rows(&database, 10, &consumer);
    assert_complete(&database, 10);

    // A silent host does not hide the next one.
    let silent = Silent::on(0);
    let hosts = format!("127.0.0.1:{},127.0.0.1:{}", silent.port, cluster.port());
    let both = plain.replace(&format!("127.0.0.1:{}", cluster.port()), &hosts);
    assert_ne!(both, plain);
    consumer.stop();
    stage.produce(&topic, &records(10, 10));
    let consumer = Consumer::start(stage.brokers(), &topic, Some(&both), &[]);
    wait_for_rows(&database, 20, &consumer);
    assert_eq!(silent.accepted(), 1);
    let last = consumer.stop();
    assert_complete(&database, 20);
    Ok(format!("  {line}\n  {tried} attempts\n  {works}\n  {last}"))
}

/// A process of the server's, stopped as long as this value lives.
struct Stopped(String);

impl Stopped {
    fn writer_of(database: &Database<'_>) -> Self {
        let name = database.name();
        let find = format!(
            "SELECT pid FROM pg_stat_activity WHERE datname = '{name}' \
             AND application_name = 'metrics-consumer'"
        );
        let pids = database.rows(&find);
        assert_eq!(pids.len(), 1, "{pids:?}");
        let stopped = Self(pids[0].clone());
        stopped.signal("-STOP");
        stopped
    }

    fn signal(&self, signal: &str) {
        let kill = format!("kill {signal} {}", self.0);
        let status = Command::new("sh").args(["-c", &kill]).status();
        assert!(status.expect("a shell").success(), "{kill}");
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.signal("-CONT");
    }
}

pub fn while_inserting(stage: &Stage) -> Outcome {
    let (topic, database) = (topic(), stage.cluster.database());
    // The server's own limit for a statement, and what the consumer adds to it.
    let url = database.url_of(
        "metrics",
        "sslmode=disable&options=-c%20statement_timeout%3D1s",
    );
    let consumer = Consumer::start(stage.brokers(), &topic, Some(&url), &[]);
    stage.produce(&topic, &records(0, 10));
    wait_for_rows(&database, 10, &consumer);
    let stopped = Stopped::writer_of(&database);
    stage.produce(&topic, &records(10, 10));
    // The one that is stopped never answers: a second connection stores them.
    wait_for_rows(&database, 20, &consumer);
    drop(stopped);
    assert_eq!(consumer.times("database db_"), 0, "{:?}", consumer.log());

    // Behind a lock the server ends the statement, each time: nothing queues up there.
    thread::scope(|scope| {
        let lock = "BEGIN; LOCK TABLE system_metrics; SELECT pg_sleep(5); COMMIT";
        let holder = scope.spawn(|| database.rows(lock));
        let is_locked = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' \
             AND granted AND relation = to_regclass('system_metrics')";
        wait::until("the lock", DEADLINE, || database.rows(is_locked) == ["1"]).expect("locked");
        stage.produce(&topic, &records(20, 10));
        let line = consumer.wait_for_log("database db_");
        assert!(
            line.ends_with(": canceling statement due to statement timeout"),
            "{line}"
        );
        holder.join().expect("no panic");
        consumer.wait_for_recovery("database db_");
        wait_for_rows(&database, 30, &consumer);
    });
    let last = consumer.stop();
    assert_complete(&database, 30);
    Ok(format!("  {last}"))
}
