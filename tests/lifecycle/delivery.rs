//! What reaches Kafka when Kafka dies, and when Fluent Bit does: every sample
//! that was taken is looked for in the topic. `KUBELETSTATS_SOAK=1` takes longer,
//! on every host, and compares.

use std::{collections::BTreeMap, time::Duration};

use testkit::{
    Host, Kafka, hosts,
    kafka::{self, Apache},
};

mod disk;
mod outage;

use outage::{By, Outcome, Plan, Run, Sample, To, moved, outage, shipped_room};

use crate::{
    proc::{self, Scratch, Table, alone, sized, soak},
    sink,
};

/// What the room of Kafka's client is without the shipped configuration.
const ROOM_BY_DEFAULT: usize = 100_000;

/// A broker of these tests' own, stopped at the end; or why there is none.
struct Brokers {
    apache: Result<Apache, String>,
    _folder: Scratch,
}

impl Brokers {
    fn find() -> Self {
        let folder = Scratch::new("kafka");
        let possible = kafka::apache_is_possible().map_err(|error| error.to_string());
        let apache = possible.map(|()| Apache::at(folder.path()));
        let _folder = folder;
        Self { apache, _folder }
    }
}

impl Drop for Brokers {
    fn drop(&mut self) {
        if let Ok(apache) = &self.apache {
            let _ = apache.kill();
        }
    }
}

/// Those with storage on disk: the newest, and in a soak all.
fn real_hosts() -> Vec<Host> {
    let mut real = hosts::to_test();
    real.retain(|host| !host.embedded);
    real.sort_by_key(|host| std::cmp::Reverse(host.version));
    real.truncate(sized(1, real.len()));
    real
}

#[test]
fn a_killed_kafka_loses_nothing() {
    let _alone = alone();
    let mut hosts = real_hosts();
    if hosts.is_empty() {
        hosts.extend(hosts::to_test());
    }
    if hosts.is_empty() {
        return;
    }
    let brokers = Brokers::find();
    let Ok(apache) = &brokers.apache else {
        let why = brokers.apache.as_ref().err();
        return println!("NOT RUN: no Kafka that could be killed: {why:?}");
    };
    let away = Duration::from_secs(sized(5, 60));
    let mut table = Table::new(
        &format!(
            "Kafka killed for {} s and as long as it takes to start",
            away.as_secs()
        ),
        &Outcome::HEAD,
    );
    for host in &hosts {
        let plan = Plan {
            host,
            room: shipped_room(),
            // Few enough for the client to hold what they bring meanwhile.
            pods: 4,
            away,
            to: To::Nothing,
            by: By::Kafka,
        };
        let outcome = outage(apache, &plan);
        outcome.add_to(&mut table, &plan);
        assert_eq!(
            (outcome.lost, outcome.late),
            (0, 0),
            "{plan:?}: {outcome:?}"
        );
        if soak() {
            // Too many for it: the rest comes from disk, and in no order.
            let plan = Plan {
                pods: 40,
                room: shipped_room() / 2,
                ..plan
            };
            let outcome = outage(apache, &plan);
            outcome.add_to(&mut table, &plan);
            assert_eq!(outcome.lost, 0, "{plan:?}: {outcome:?}");
        }
    }
}

#[test]
fn a_killed_fluent_bit_loses_no_more_than_kafkas_client_holds() {
    let _alone = alone();
    let hosts = real_hosts();
    if hosts.is_empty() {
        return println!("NOT RUN: no Fluent Bit, and the embedded host keeps nothing on disk");
    }
    let brokers = Brokers::find();
    let kafka = match &brokers.apache {
        Ok(_) => None,
        Err(_) => Some(Kafka::find_or_start().expect("a Kafka")),
    };
    if let Some(kafka) = &kafka {
        println!("without a Kafka to kill, into {}", kafka.describe());
    }
    let run = |plan: &Plan| match (&brokers.apache, &kafka) {
        (Ok(apache), _) => outage(apache, plan),
        (_, Some(kafka)) => moved(kafka, plan),
        _ => panic!("no Kafka"),
    };
    let away = Duration::from_secs(sized(5, 20));
    let title = format!("Fluent Bit ended after {} s without Kafka", away.as_secs());
    let mut table = Table::new(&title, &Outcome::HEAD);
    for host in &hosts {
        let plan = |room, to| Plan {
            host,
            room,
            pods: 10,
            away,
            to,
            by: By::Kafka,
        };
        let mut plans = vec![plan(50, To::Killed)];
        if soak() {
            plans.push(plan(50, To::Stopped));
            plans.push(plan(shipped_room(), To::Killed));
            plans.push(plan(ROOM_BY_DEFAULT, To::Killed));
            // No more messages a second go through it than it holds.
            plans.push(Plan {
                pods: 1,
                ..plan(5, To::Killed)
            });
        }
        if soak() && brokers.apache.is_ok() {
            // Nothing leaves the disk before the brokers have it.
            plans.push(Plan {
                by: By::Http,
                ..plan(0, To::Killed)
            });
        }
        for plan in plans {
            let outcome = run(&plan);
            outcome.add_to(&mut table, &plan);
            let most = match plan.by {
                By::Kafka => plan.room,
                By::Http => 0,
            };
            assert!(outcome.lost <= most, "{plan:?}: {outcome:?}");
            assert_eq!(outcome.lost_from_disk, 0, "{plan:?}: {outcome:?}");
            assert!(outcome.taken > 0, "{plan:?}: {outcome:?}");
        }
    }
}

/// Nothing could be delivered: all that was taken is on disk when Fluent Bit is killed,
/// and arrives from there.
#[test]
fn what_is_on_disk_when_fluent_bit_is_killed_arrives() {
    let _alone = alone();
    let away = Duration::from_secs(sized(2, 20));
    let mut table = Table::new(
        &format!(
            "Fluent Bit killed after {} s without its receiver",
            away.as_secs()
        ),
        &["host", "taken", "on disk", "arrived", "twice"],
    );
    for host in hosts::to_test() {
        if host.embedded {
            continue;
        }
        let sink = sink::Sink::start();
        let run = Run::of(&host, 10, 50, String::new(), Some(sink.port));
        let mut child = run.start("");
        outage::wait_for_sample(&mut child, outage::now_ms() + away.as_millis() as u64);
        child.kill();
        let (taken, on_disk) = (outage::printed(&child), run.on_disk());
        assert!(!taken.is_empty(), "{}: {}", host.name, child.tail());
        assert!(
            taken.is_subset(&on_disk),
            "{}: taken and nowhere",
            host.name
        );

        let child = run.start("");
        sink.set_open(true);
        let arrived = || {
            let mut times: BTreeMap<Sample, usize> = BTreeMap::new();
            for record in sink.records() {
                *times.entry(outage::sample(&record)).or_default() += 1;
            }
            times
        };
        proc::until(&child, "all from disk", Duration::from_secs(60), || {
            let arrived = arrived();
            on_disk.iter().all(|sample| arrived.contains_key(sample))
        });
        let arrived = arrived();
        let twice: usize = arrived.values().map(|times| times - 1).sum();
        let of_disk = on_disk
            .iter()
            .filter(|sample| arrived.contains_key(*sample));
        table.row(&[
            &host.name,
            &taken.len(),
            &on_disk.len(),
            &of_disk.count(),
            &twice,
        ]);
    }
}
