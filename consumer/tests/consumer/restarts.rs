//! Whatever is killed or stopped while records flow: no row is lost, and none stands twice.

use std::{
    ops::Range,
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};
use testkit::{Stream, wait};
use tokio::runtime::Builder;

use crate::{
    Outcome,
    postgres::Cluster,
    scene::{Consumer, DEADLINE, OwnKafka, Stage, assert_complete, records, topic, wait_for_rows},
};

/// A member that comes back under this name need not wait until its dead self is forgotten.
const SAME_MEMBER: &str = "group.instance.id=the-one";

/// Small batches: many moments at which a batch is half done.
const SMALL: [&str; 5] = [
    "--quiet",
    "--batch-rows=50",
    "--batch-wait=20ms",
    "--kafka-option",
    SAME_MEMBER,
];

/// Writes records in the background, some at a time.
fn produce_in_background<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    stage: &'scope Stage,
    topic: &'scope str,
    numbers: Range<usize>,
) -> thread::ScopedJoinHandle<'scope, ()> {
    let at_once = numbers.len().div_ceil(48);
    scope.spawn(move || {
        for from in numbers.clone().step_by(at_once) {
            stage.produce(topic, &records(from, at_once.min(numbers.end - from)));
        }
    })
}

pub fn consumer_is_killed(stage: &Stage) -> Outcome {
    const RECORDS: usize = 12_000;
    const KILLS: usize = 10;
    let (topic, database) = (topic(), stage.cluster.database());
    // Transactions that take a while, so that most kills come in the middle of one: the
    // database finishes it, and nobody is left to hear of that.
    crate::flow::slow_down(&database, 20);
    let begun = Instant::now();
    let (mut at, mut printed) = (Vec::new(), 0);
    let args = &SMALL[1..];
    thread::scope(|scope| {
        let producing = produce_in_background(scope, stage, &topic, 0..RECORDS);
        for kill in 0..KILLS {
            let mut consumer = stage.consumer(&topic, Some(&database), args);
            // More rows than before: it is in the middle of its work.
            wait_for_rows(
                &database,
                at.last().unwrap_or(&0) + 200 + 37 * kill,
                &consumer,
            );
            if kill % 2 == 0 {
                // About the moment between the database's commit and Kafka's: that is when it prints.
                let seen = consumer.0.line_count();
                let next = |_: &str| true;
                let line = consumer
                    .0
                    .wait_for_line_from(seen, Stream::Stdout, next, DEADLINE);
                line.expect("the next batch");
            }
            consumer.0.signal(libc::SIGKILL);
            consumer.0.wait_for_exit(DEADLINE).expect("killed");
            at.push(database.count());
            printed += consumer.0.lines(Stream::Stdout).len();
        }
        producing.join().expect("all is produced");
    });
    let consumer = stage.consumer(&topic, Some(&database), args);
    wait_for_rows(&database, RECORDS, &consumer);
    wait::until("the last lines", DEADLINE, || {
        consumer
            .0
            .lines(Stream::Stdout)
            .last()
            .is_some_and(|line| line.contains(&last_timestamp(RECORDS)))
    })
    .unwrap_or_else(|error| panic!("{error}: {}", consumer.0.tail()));
    printed += consumer.0.lines(Stream::Stdout).len();
    let last = consumer.stop();
    let took = begun.elapsed().as_secs_f64();
    assert_complete(&database, RECORDS);
    // Once more, from the beginning: everything is known.
    let group = ["--group=another", "--quiet", &format!("--count={RECORDS}")];
    let again = stage.consumer(&topic, Some(&database), &group);
    let (code, child) = again.ended();
    assert_eq!(code, Some(0), "{}", child.tail());
    let text = child.lines(Stream::Stderr);
    let expected =
        format!("ended: {RECORDS} records, 0 rows stored, {RECORDS} known before, 0 skipped");
    assert_eq!(text.last(), Some(&expected));
    assert_complete(&database, RECORDS);
    let rows = database.count();
    Ok(format!(
        "  {RECORDS} records, {KILLS} kills at {at:?} rows, {took:.1} s\n  \
         {printed} records processed, so some twice; the last consumer {last}\n  \
         {rows} rows in the table, all keys distinct; the topic read once more: {expected}"
    ))
}

fn last_timestamp(records: usize) -> String {
    let last = crate::scene::record(records - 1);
    let metric = kubeletstats_consumer::Metric::from_json(&last).expect("a record");
    format!("timestamp={}", metric.timestamp)
}

pub fn database_is_killed(stage: &Stage) -> Outcome {
    const RECORDS: usize = 15_000;
    /// Past the time after which a member that does not poll is thrown out.
    const AWAY: Duration = Duration::from_millis(6_500);
    let mut cluster = Cluster::start("")?;
    let topic = topic();
    let (url, name) = {
        let database = cluster.database();
        (database.url(), database.name().to_owned())
    };
    let mut args = SMALL.to_vec();
    args.extend(["--kafka-option", "session.timeout.ms=6000"]);
    args.extend(["--kafka-option", "max.poll.interval.ms=6000"]);
    let consumer = Consumer::start(stage.brokers(), &topic, Some(&url), &args);
    stage.produce(&topic, &records(0, 1_000));
    wait_for_rows(&cluster.named(&name), 300, &consumer);
    cluster.stop_immediately();
    // More than it may collect meanwhile.
    stage.produce(&topic, &records(1_000, RECORDS - 1_000));
    let failing = consumer.wait_for_log("database db_");
    let stopped = Instant::now();
    wait::until("the outage to last", DEADLINE, || stopped.elapsed() >= AWAY).expect("time");
    let rss = consumer.0.rss_kib().expect("it runs");
    cluster.run();
    let database = cluster.named(&name);
    let works = consumer.wait_for_recovery("database db_");
    wait_for_rows(&database, RECORDS, &consumer);
    assert_complete(&database, RECORDS);
    assert_eq!(consumer.times("database db_"), 2, "{:?}", consumer.log());
    assert_eq!(
        consumer.times("is ours"),
        1,
        "it stayed in the group: {:?}",
        consumer.log()
    );
    let last = consumer.stop();
    Ok(format!(
        "  {failing}\n  {works}\n  {last}; {rss} KiB resident while it waited"
    ))
}

pub fn kafka_is_killed(stage: &Stage) -> Outcome {
    testkit::kafka::apache_is_possible().map_err(|error| error.to_string())?;
    const RECORDS: usize = 2_000;
    let kafka = OwnKafka::start();
    let (topic, database) = (topic(), stage.cluster.database());
    let produce = |from, count| {
        let records = records(from, count);
        let records: Vec<&str> = records.iter().map(String::as_str).collect();
        testkit::kafka::produce(&kafka.brokers, &topic, &records, DEADLINE).expect("taken");
    };
    let consumer = Consumer::start(&kafka.brokers, &topic, Some(&database.url()), &SMALL);
    produce(0, 1_000);
    wait_for_rows(&database, 1, &consumer);
    kafka.apache.kill().expect("killed");
    let failing = consumer.wait_for_log("Kafka at ");
    kafka.apache.restart().expect("it comes back");
    // Said without a record to tell it.
    let works = consumer.wait_for_recovery("Kafka at ");
    produce(1_000, RECORDS - 1_000);
    wait_for_rows(&database, RECORDS, &consumer);
    assert_complete(&database, RECORDS);
    assert_eq!(consumer.times("Kafka at "), 2, "{:?}", consumer.log());
    let last = consumer.stop();

    // Kafka away for good: the end does not wait for it.
    let consumer = Consumer::start(&kafka.brokers, &topic, Some(&database.url()), &SMALL);
    consumer.wait_for_log("is ours");
    kafka.apache.kill().expect("killed");
    consumer.wait_for_log("Kafka at ");
    let asked = Instant::now();
    consumer.stop();
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(6), "{took:?}");
    Ok(format!(
        "  {failing}\n  {works}\n  {last}; without Kafka it stops in {took:.1?}"
    ))
}

/// One member is killed in the middle of its work, one is told to stop, one is there to the end.
pub fn members_come_and_go(stage: &Stage) -> Outcome {
    stage.needs_no_mock()?;
    const RECORDS: usize = 60_000;
    let (topic, database) = (topic(), stage.cluster.database());
    create_topic(stage.brokers(), &topic, 4);
    crate::flow::slow_down(&database, 10);
    let args = [
        "--batch-rows=200",
        "--batch-wait=20ms",
        "--kafka-option=session.timeout.ms=6000",
    ];
    let start = || stage.consumer(&topic, Some(&database), &args);
    let (mut ends, mut at) = (Vec::new(), 0);
    thread::scope(|scope| {
        // A third of the records for each number of members: all of them have work.
        let produce = |part| {
            let numbers = part * RECORDS / 3..(part + 1) * RECORDS / 3;
            produce_in_background(scope, stage, &topic, numbers)
        };
        let mut producing = vec![produce(0)];
        let first = start();
        first.wait_for_printed(1_000);
        let second = start();
        second.wait_for_log("is ours");
        producing.push(produce(1));
        second.wait_for_printed(1);
        let mut killed = first.0;
        killed.signal(libc::SIGKILL);
        killed.wait_for_exit(DEADLINE).expect("killed");
        at = database.count();
        let third = start();
        third.wait_for_log("is ours");
        producing.push(produce(2));
        third.wait_for_printed(1);
        ends.push(third.stop());
        for part in producing {
            part.join().expect("all is produced");
        }
        wait_for_rows(&database, RECORDS, &second);
        ends.push(second.stop());
    });
    assert!(at < RECORDS, "it was killed after all was done");
    assert_complete(&database, RECORDS);
    let ends: String = ends.iter().map(|end| format!("  {end}\n")).collect();
    Ok(format!("  killed at {at} of {RECORDS} rows\n{ends}"))
}

pub fn sigterm_finishes_the_batch(stage: &Stage) -> Outcome {
    const RECORDS: usize = 1_600;
    let (topic, database) = (topic(), stage.cluster.database());
    stage.produce(&topic, &records(0, RECORDS));
    // The second batch waits for more records than there are.
    let args = ["--quiet", "--batch-rows=1000", "--batch-wait=10m"];
    let consumer = stage.consumer(&topic, Some(&database), &args);
    wait_for_rows(&database, 1_000, &consumer);
    let asked = Instant::now();
    let first = consumer.stop();
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    let stored = database.count();
    // What was stored was committed as well: the next one reads what comes after, and one more,
    // by which it is known to have read.
    stage.produce(&topic, &records(RECORDS, 1));
    let rest = stage.consumer(&topic, Some(&database), &["--quiet"]);
    wait_for_rows(&database, RECORDS + 1, &rest);
    let left = RECORDS + 1 - stored;
    let expected = format!("ended: {left} records, {left} rows stored, 0 known before, 0 skipped");
    assert_eq!(rest.stop(), expected);
    assert_complete(&database, RECORDS + 1);
    Ok(format!(
        "  after 1000 of {RECORDS} rows, in {took:.1?}: {first}"
    ))
}

pub fn sigterm_does_not_wait_for_a_dead_database(stage: &Stage) -> Outcome {
    stage.needs_no_mock()?;
    let (topic, database) = (topic(), stage.cluster.database());
    let mut all = records(0, 10);
    all.push("said at once, and so tells that those before it are in hand".to_owned());
    stage.produce(&topic, &all);
    let nowhere = "host=127.0.0.1 port=1 user=metrics dbname=metrics";
    let consumer = Consumer::start(stage.brokers(), &topic, Some(nowhere), &[]);
    let line = consumer.wait_for_log("database metrics at 127.0.0.1:1: ");
    consumer.wait_for_log("skipped partition 0 offset 10: ");
    assert!(
        line.ends_with("Connection refused (os error 111)"),
        "{line}"
    );
    let asked = Instant::now();
    consumer.stop();
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
    let consumer = stage.consumer(&topic, Some(&database), &[]);
    wait_for_rows(&database, 10, &consumer);
    consumer.stop();
    assert_complete(&database, 10);
    Ok(format!("  in {took:.1?}; {line}"))
}

pub fn admin(brokers: &str) -> AdminClient<DefaultClientContext> {
    let mut config = ClientConfig::new();
    let config = config.set("bootstrap.servers", brokers);
    config.create().expect("a client")
}

pub fn create_topic(brokers: &str, topic: &str, partitions: i32) {
    let admin = admin(brokers);
    let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let options = AdminOptions::new();
    let made = block_on(admin.create_topics([&topic], &options)).expect("an answer");
    made[0].as_ref().expect("the topic is made");
}

pub fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(future)
}
