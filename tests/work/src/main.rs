//! `scrape-work SCRAPES PODS SUMMARY... -- OPTION=VALUE...`: makes what the options ask for of
//! each summary in turn, so many times, with the facts of the list of pods if they are wanted.
//! Prints how many bytes that was, and writes them to the file that `SCRAPE_WORK_OUT` names, if
//! it does. It is run under a tool that counts instructions, and on other processors.

use std::{env, error::Error, fs, io::Write, time::Instant};

use kubeletstats_core::{
    counters::Counters,
    options::Config,
    scrape::{About, Memory, Pipeline, PodsReply},
    select::Selector,
    sieve::{PIECE, Sieve},
    timestamp::Timestamp,
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let mut halves = arguments.split(|argument| argument == "--");
    let (files, options) = (halves.next(), halves.next().unwrap_or_default());
    let [scrapes, pods, summaries @ ..] = files.unwrap_or_default() else {
        return Err("scrape-work SCRAPES PODS SUMMARY... -- OPTION=VALUE...".into());
    };
    let config = Config::read(|name| {
        let values = options.iter().filter_map(|option| option.split_once('='));
        let mut values = values.filter(|(key, _)| *key == name);
        values.next().map(|(_, value)| value.to_owned())
    })?;
    let pods = fs::read(pods)?;
    let summaries = summaries.iter().map(fs::read);
    let summaries = summaries.collect::<Result<Vec<_>, _>>()?;
    let mut pipeline = Pipeline::new(&config);
    let mut sieve = Sieve::new(Selector::new(&config));
    let mut rest = Vec::new();
    let mut memory = Memory::default();
    let mut bytes = 0;
    let out = env::var_os("SCRAPE_WORK_OUT").map(fs::File::create);
    let mut out = out.transpose()?;
    let bodies = summaries.iter().cycle();
    for reply in bodies.take(scrapes.parse()?) {
        let body = sieve.pass(reply, PIECE, &mut rest);
        let summary = pipeline.decode(body).map_err(|why| why.to_string())?;
        let now = Instant::now();
        if pipeline.wants_facts(&summary, now) {
            let reply = PodsReply {
                body: &pods,
                url: "",
                came: Timestamp::default(),
            };
            pipeline.learn(&summary, now, Ok(reply))?;
        }
        let about = About {
            counters: Counters::default(),
            began: now,
            now: Timestamp::default(),
            reply_bytes: reply.len(),
        };
        let batch = pipeline.encode(summary, memory, Some(about));
        let metrics = batch.metrics().map_or(&[][..], |metrics| &metrics.bytes);
        for part in [batch.events(), metrics] {
            bytes += part.len();
            if let Some(out) = &mut out {
                out.write_all(part)?;
            }
        }
        memory = batch.into_memory();
    }
    println!("{bytes}");
    Ok(())
}
