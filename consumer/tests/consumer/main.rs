//! The consumer between a real Kafka and a real PostgreSQL, both started here: what the guide
//! of the old stack had its readers try, and what must not be lost when something dies.
//!
//! A harness of its own, because it has parts to start and to stop, and because a test that
//! could not be run must not be counted as passed.

mod bad;
mod faults;
mod flow;
mod guide;
mod places;
mod postgres;
mod restarts;
mod scene;
mod schema;
mod silence;
mod timescale;
mod tls;

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::Mutex,
    thread,
    time::Instant,
};

use scene::Stage;

/// Most of them wait most of the time.
const THREADS: usize = 4;

/// What a test saw, or why it was not run.
pub type Outcome = Result<String, String>;
type Test = (&'static str, fn(&Stage) -> Outcome);

/// The long ones first.
const TESTS: [Test; 42] = [
    ("restarts: Kafka killed", restarts::kafka_is_killed),
    ("restarts: consumer killed", restarts::consumer_is_killed),
    ("restarts: database killed", restarts::database_is_killed),
    ("flow: a slow database", flow::a_slow_database),
    ("flow: nobody reads stdout", flow::nobody_reads_stdout),
    (
        "flow: nobody reads lines alone",
        flow::nobody_reads_lines_alone,
    ),
    ("flow: a closed stdout", flow::a_closed_stdout),
    ("flow: large records", flow::large_records),
    ("flow: nobody reads the log", flow::nobody_reads_the_log),
    ("silence: while inserting", silence::while_inserting),
    ("silence: while connecting", silence::while_connecting),
    ("guide: a, records on the agent's stdout", guide::method_a),
    ("guide: b, METRIC lines from the topic", guide::method_b),
    ("guide: c, SELECT from system_metrics", guide::method_c),
    (
        "restarts: members come and go",
        restarts::members_come_and_go,
    ),
    ("restarts: SIGTERM", restarts::sigterm_finishes_the_batch),
    (
        "restarts: SIGTERM without database",
        restarts::sigterm_does_not_wait_for_a_dead_database,
    ),
    ("bad records are skipped", bad::bad_records_are_skipped),
    (
        "rows the table refuses are skipped",
        bad::refused_rows_are_skipped,
    ),
    ("dead letters", bad::dead_letters),
    ("faults: of the table", faults::of_the_table),
    (
        "faults: of one row in a thousand",
        faults::of_one_row_in_a_thousand,
    ),
    ("faults: of a lone row", faults::of_a_lone_row),
    ("keys: that comes later", faults::a_key_that_comes_later),
    ("keys: that do no harm", faults::keys_that_do_no_harm),
    ("keys: one uid on two nodes", faults::one_uid_on_two_nodes),
    ("places: behind retention", places::behind_retention),
    (
        "places: overtaken by retention",
        places::overtaken_by_retention,
    ),
    ("places: from end", places::from_end),
    ("places: past the end", places::past_the_end),
    ("settings of the command line", bad::count_timeout_and_quiet),
    ("schema: twice", schema::twice),
    ("schema: statements of the README", schema::readme),
    ("schema: old table", schema::old_table),
    ("schema: a slow change", schema::a_slow_change),
    ("schema: no right", schema::without_the_right),
    ("schema: other types", schema::other_types),
    ("schema: another schema", schema::in_another_schema),
    ("schema: another time zone", schema::in_another_time_zone),
    (
        "schema: branches for TimescaleDB, on a stand-in",
        timescale::branches,
    ),
    ("schema: hypertable of TimescaleDB", timescale::hypertable),
    ("sslmode", tls::sslmodes),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let shows_all = args
        .iter()
        .any(|arg| arg == "--nocapture" || arg == "--show-output");
    let filter: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |name: &str| filter.is_empty() || filter.iter().any(|part| name.contains(*part));
    let tests: VecDeque<Test> = TESTS.into_iter().filter(|(name, _)| wanted(name)).collect();
    if args.iter().any(|arg| arg == "--list") {
        tests.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if let Err(name) = check_readme() {
        println!("README.md names a test {name}, which there is not");
        return ExitCode::FAILURE;
    }
    println!("\nrunning {} tests", tests.len());
    if tests.is_empty() {
        return ExitCode::SUCCESS;
    }
    let (stage, _kafka) = match Stage::set_up() {
        Ok(both) => both,
        Err(lacking) => {
            for (name, _) in &tests {
                println!("test {name} ... NOT RUN: {lacking}");
            }
            println!("\n{} tests were not run", tests.len());
            return ExitCode::SUCCESS;
        }
    };
    println!("{}", stage.describe());
    let counts = run_all(&stage, tests, shows_all);
    drop(stage);
    let [passed, failed, not_run] = counts;
    println!("\ntest result: {passed} passed; {failed} failed; {not_run} not run\n");
    ExitCode::from(u8::from(failed > 0))
}

/// The tests that README.md puts beside its promises have to be there.
fn check_readme() -> Result<(), String> {
    let readme = include_str!("../../README.md");
    let (_, table) = readme.split_once("| promise | tests |").expect("a table");
    let names = table.split('`').skip(1).step_by(2);
    let mut unknown = names.filter(|named| {
        let is_it = |(name, _): &Test| name == named;
        !TESTS.iter().any(is_it)
    });
    unknown.next().map_or(Ok(()), |name| Err(name.to_owned()))
}

fn run_all(stage: &Stage, tests: VecDeque<Test>, shows_all: bool) -> [usize; 3] {
    let queue = Mutex::new(tests);
    let counts = Mutex::new([0; 3]);
    let work = || {
        loop {
            let next = queue.lock().ok().and_then(|mut queue| queue.pop_front());
            let Some((name, test)) = next else {
                return;
            };
            let begun = Instant::now();
            let outcome = catch_unwind(AssertUnwindSafe(|| test(stage)));
            let took = begun.elapsed().as_secs_f64();
            let (index, text) = match outcome {
                Ok(Ok(saw)) if shows_all => (0, format!("ok ({took:.1} s)\n{saw}")),
                Ok(Ok(_)) => (0, format!("ok ({took:.1} s)")),
                Err(_) => (1, format!("FAILED ({took:.1} s)")),
                Ok(Err(lacking)) => (2, format!("NOT RUN: {lacking}")),
            };
            println!("test {name} ... {text}");
            if let Ok(mut counts) = counts.lock() {
                counts[index] += 1;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(work);
        }
    });
    counts.into_inner().unwrap_or_default()
}
