//! Where a group begins, and what it is told of records that are gone.

use rdkafka::{
    ClientConfig,
    admin::{AdminOptions, NewPartitions},
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    topic_partition_list::{Offset, TopicPartitionList},
};
use testkit::wait;

use crate::{
    Outcome,
    restarts::{admin, block_on, create_topic},
    scene::{DEADLINE, Stage, records, topic, wait_for_rows},
};

fn at(topic: &str, offset: i64) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(offset))
        .expect("an offset");
    list
}

/// As retention does: what is before this offset is gone.
fn delete_before(stage: &Stage, topic: &str, offset: i64) {
    let (admin, options) = (admin(stage.brokers()), AdminOptions::new());
    let deleted = block_on(admin.delete_records(&at(topic, offset), &options));
    deleted.expect("Kafka deletes the records");
}

/// A group that has a place reads all that is still there, also with `--from end`.
pub fn behind_retention(stage: &Stage) -> Outcome {
    stage.needs_no_mock()?;
    let (topic, database) = (topic(), stage.cluster.database());
    stage.produce(&topic, &records(0, 100));
    let args = ["--from=end", "--quiet"];
    let first = stage.consumer(&topic, Some(&database), &["--count=30", "--quiet"]);
    assert_eq!(first.ended().0, Some(0));
    delete_before(stage, &topic, 80);
    let consumer = stage.consumer(&topic, Some(&database), &args);
    wait_for_rows(&database, 50, &consumer);
    let line = consumer.wait_for_log("records are gone, ");
    let begins = format!(
        "partition 0 of topic {topic}: records are gone, 50 at most, offset 30 to 79, written since 20"
    );
    assert!(line.starts_with(&begins), "{line}");
    assert_eq!(
        consumer.stop(),
        "ended: 20 records, 20 rows stored, 0 known before, 0 skipped"
    );
    // Told once.
    stage.produce(&topic, &records(100, 1));
    let consumer = stage.consumer(&topic, Some(&database), &args);
    wait_for_rows(&database, 51, &consumer);
    assert_eq!(consumer.times("are gone"), 0, "{:?}", consumer.log());
    consumer.stop();
    Ok(format!("  {line}"))
}

/// The same while it runs: the database is away for longer than Kafka keeps records.
pub fn overtaken_by_retention(stage: &Stage) -> Outcome {
    stage.needs_no_mock()?;
    const RECORDS: usize = 30_000;
    const KEPT: usize = 1_000;
    let (topic, database) = (topic(), stage.cluster.database());
    database
        .run_file(&crate::schema::file())
        .expect("the schema");
    database
        .rows("ALTER TABLE system_metrics RENAME TO away; CREATE VIEW system_metrics AS SELECT 1");
    stage.produce(&topic, &records(0, RECORDS));
    let args = ["--quiet", "--kafka-option=debug=topic"];
    let consumer = stage.consumer(&topic, Some(&database), &args);
    consumer.wait_for_log("database db_");
    // The buffer is full, and what was read ahead is thrown away.
    consumer.wait_for_log("librdkafka: PAUSE ");
    delete_before(stage, &topic, (RECORDS - KEPT) as i64);
    database.rows("DROP VIEW system_metrics; ALTER TABLE away RENAME TO system_metrics");
    let line = consumer.wait_for_log("records are gone, ");
    let (_, text) = line.split_once("are gone, ").expect("so many");
    let gone: usize = text
        .split(' ')
        .next()
        .and_then(|text| text.parse().ok())
        .expect("a number");
    // Nothing but those is missing, and each is told.
    wait_for_rows(&database, RECORDS - gone, &consumer);
    let (read, first_kept) = (RECORDS - gone - KEPT, RECORDS - KEPT);
    assert!(
        text.contains(&format!(
            "offset {read} to {}, written since 20",
            first_kept - 1
        )),
        "{line}"
    );
    let last = consumer.stop();
    assert!(
        last.starts_with(&format!("ended: {} records, ", RECORDS - gone)),
        "{last}"
    );
    let found = format!(
        "SELECT count(*) FROM system_metrics WHERE network_in < {read} OR network_in >= {first_kept}"
    );
    assert_eq!(database.rows(&found), [(RECORDS - gone).to_string()]);
    Ok(format!("  {line}\n  {last}"))
}

/// `--from end` is for a group that has no place yet, and only for records of before.
pub fn from_end(stage: &Stage) -> Outcome {
    stage.needs_no_mock()?;
    let (topic, database) = (topic(), stage.cluster.database());
    let args = ["--from=end", "--quiet"];
    let start = |topic: &str| stage.consumer(topic, Some(&database), &args);
    stage.produce(&topic, &records(0, 10));
    let consumer = start(&topic);
    consumer.wait_for_log("is ours");
    assert_eq!(
        consumer.stop(),
        "ended: 0 records, 0 rows stored, 0 known before, 0 skipped"
    );
    // It has a place from then on, though it has read nothing.
    stage.produce(&topic, &records(10, 5));
    let consumer = start(&topic);
    wait_for_rows(&database, 5, &consumer);
    consumer.stop();
    assert_eq!(
        database.rows("SELECT min(network_in) FROM system_metrics"),
        ["10"]
    );

    // A partition that was added while nobody read.
    let (admin, options) = (admin(stage.brokers()), AdminOptions::new());
    let more = NewPartitions::new(&topic, 8);
    let made = block_on(admin.create_partitions([&more], &options)).expect("an answer");
    made[0].as_ref().expect("more partitions");
    let spread = || {
        let found = admin.inner().fetch_metadata(Some(&topic), DEADLINE);
        found.is_ok_and(|found| found.topics()[0].partitions().len() == 8)
    };
    wait::until("the partitions", DEADLINE, spread).expect("made");
    for number in 15..75 {
        // Each by a client of its own, which picks a partition of its own.
        stage.produce(&topic, &records(number, 1));
    }
    let consumer = start(&topic);
    wait_for_rows(&database, 65, &consumer);
    consumer.stop();

    // A topic that is not there yet: whatever is in it came later.
    let later = crate::scene::topic();
    let consumer = start(&later);
    consumer.wait_for_log("does not exist yet, waiting for it");
    create_topic(stage.brokers(), &later, 1);
    stage.produce(&later, &records(75, 5));
    wait_for_rows(&database, 70, &consumer);
    consumer.stop();
    Ok(String::new())
}

/// The topic was made anew: it ends before the group's place.
pub fn past_the_end(stage: &Stage) -> Outcome {
    stage.needs_no_mock()?;
    let (topic, database) = (topic(), stage.cluster.database());
    stage.produce(&topic, &records(0, 10));
    let other: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", stage.brokers())
        .set("group.id", format!("group-of-{topic}"))
        .create()
        .expect("a client");
    other
        .commit(&at(&topic, 50), CommitMode::Sync)
        .expect("a place");
    drop(other);
    let consumer = stage.consumer(&topic, Some(&database), &["--from=end"]);
    wait_for_rows(&database, 10, &consumer);
    let line = consumer.wait_for_log("it ends at offset 10, before the group's place 50");
    consumer.stop();
    Ok(format!("  {line}"))
}
