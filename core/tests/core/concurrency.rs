//! Start, scrape, pick up and stop at random moments, many times over, from
//! several threads as several instances would: nothing hangs, nothing is left.
//!
//! `KUBELETSTATS_STRESS=5000` sets the rounds of each thread.

use std::{
    env, fs,
    os::fd::BorrowedFd,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use kubeletstats_core::{counters::Counters, options::Config, worker::Worker};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sim_kubelet::{Fault, SimKubelet};
use testkit::wait;

use crate::replay::{Random, config_for};

const DEADLINE: Duration = Duration::from_secs(60);
const INSTANCES: u64 = 4;

fn rounds() -> u64 {
    let given = env::var("KUBELETSTATS_STRESS").ok();
    given.map_or(60, |rounds| rounds.parse().expect("a number of rounds"))
}

/// Waits as the host does: for the descriptor, and never longer than told.
fn readable(scraper: &Worker, within: Duration) -> bool {
    // SAFETY: the scraper keeps its descriptor open, and outlives this call.
    let fd = unsafe { BorrowedFd::borrow_raw(scraper.wake_fd()) };
    let within = Timespec::try_from(within).expect("short");
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&within)), Ok(1))
}

/// One life of an instance. Returns how many outcomes it saw.
fn live(config: &Config, random: &mut Random, answers: bool) -> u64 {
    let mut scraper = Worker::start(config).expect("readable files");
    let mut outcomes = 0;
    for _ in 0..random.below(4) {
        assert!(scraper.scrape(&Counters::default()), "none is in flight");
        assert!(!scraper.scrape(&Counters::default()), "one is in flight");
        // The moment under test: anything from before the request to long after.
        let moment = Duration::from_micros(random.below(4_000));
        if !answers || random.below(3) == 0 {
            readable(&scraper, moment);
            break;
        }
        assert!(readable(&scraper, DEADLINE), "no outcome");
        let outcome = scraper.outcome().expect("it was announced");
        let batch = outcome.result.expect("a good reply");
        assert!(batch.records() > 0 && !batch.events().is_empty());
        assert!(scraper.outcome().is_none() && !readable(&scraper, Duration::ZERO));
        scraper.recycle(batch.into_memory().logs);
        outcomes += 1;
    }
    let began = Instant::now();
    drop(scraper);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "stopping took {took:?}");
    outcomes
}

/// Threads of this process that are workers of the plugin.
fn workers() -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("the threads");
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("comm")).ok())
        .filter(|name| name.trim_end() == "kubeletstats")
        .count()
}

/// All that an instance opens to stay are sockets, and of other things a
/// sanitizer may open some.
fn sockets() -> usize {
    let open = fs::read_dir("/proc/self/fd").expect("own files");
    open.flatten()
        .filter_map(|file| fs::read_link(file.path()).ok())
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count()
}

/// Both kinds of kubelet in one test: what is left over is counted by process.
#[test]
fn lives_of_any_length_leave_nothing_behind() {
    let seed = env::var("KUBELETSTATS_SEED").map_or(0x7374_7265_7373, |seed| {
        seed.parse().expect("a number as seed")
    });
    println!("{INSTANCES} threads, {} rounds each, seed {seed}", rounds());
    let before = sockets();
    for (fault, plain) in [
        (Fault::None, true),
        (Fault::None, false),
        (Fault::CloseAfterReply, false),
        (Fault::HangBeforeHeaders, true),
        (Fault::HangInBody, false),
        (Fault::HangInTls, false),
    ] {
        let answers = matches!(fault, Fault::None | Fault::CloseAfterReply);
        let kubelet = SimKubelet::builder().plain_http(plain).fault(fault.clone());
        let kubelet = kubelet.started();
        let config = Arc::new(config_for(&kubelet, &[("repeat_samples", "on")]));
        let threads: Vec<_> = (1..=INSTANCES)
            .map(|number| {
                let config = Arc::clone(&config);
                let mut random = Random(seed ^ (number << 32));
                thread::spawn(move || -> u64 {
                    let lives = (0..rounds()).map(|_| live(&config, &mut random, answers));
                    lives.sum()
                })
            })
            .collect();
        let threads = threads.into_iter().map(thread::JoinHandle::join);
        let outcomes: u64 = threads.map(|seen| seen.expect("no panic")).sum();
        assert_eq!(outcomes > 0, answers, "{fault:?}");
        wait::until("workers to end", DEADLINE, || workers() == 0)
            .unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        drop(kubelet);
        wait::until("sockets to be closed", DEADLINE, || sockets() <= before)
            .unwrap_or_else(|error| panic!("{fault:?}: {error}, {} open", sockets()));
    }
}

/// The name makes out how long it waits: half of nine seconds and more.
fn jittered(kubelet: &SimKubelet, jitter: &str) -> Config {
    let name = (0..)
        .map(|number| format!("node-{number}"))
        .find(|name| {
            let config = config_for(kubelet, &[("jitter", "9s"), ("node_name", name)]);
            config.delay() > Duration::from_millis(4_500)
        })
        .expect("one of many names");
    config_for(kubelet, &[("jitter", jitter), ("node_name", &name)])
}

#[test]
fn a_scrape_waits_for_its_nodes_turn_but_not_a_stop() {
    let kubelet = SimKubelet::builder().plain_http(true).started();
    let config = jittered(&kubelet, "400ms");
    let mut worker = Worker::start(&config).expect("readable files");
    let asked = Instant::now();
    worker.scrape(&Counters::default());
    assert!(readable(&worker, DEADLINE), "no outcome");
    assert!(asked.elapsed() >= config.delay(), "{:?}", asked.elapsed());
    let outcome = worker.outcome().expect("it was announced");
    assert!(outcome.result.is_ok() && outcome.took < DEADLINE);

    let mut worker = Worker::start(&jittered(&kubelet, "9s")).expect("readable files");
    worker.scrape(&Counters::default());
    let began = Instant::now();
    drop(worker);
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "it waits out its turn"
    );
    assert_eq!(kubelet.requests(), 1);
}
