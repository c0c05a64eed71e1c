//! One scrape with the plugin's own [`Scraper`], and what was noted on its way. No jitter:
//! that is the worker's.

use kubeletstats_core::{
    counters::Counters,
    error::{Error, Phase},
    kubelet::{
        Client, Endpoint, deadline,
        observer::{Notes, Observer},
    },
    options::{Config, Format},
    scrape::{Batch, Memory, Pipeline},
    scraper::Scraper,
    summary::Summary,
};

use crate::watchdog;

pub struct Scrape {
    /// Of the request for the summary.
    pub notes: Notes,
    /// Of the one for the pods, if that was made.
    pub pods_notes: Notes,
    /// What it was doing when it ended.
    pub phase: Phase,
    pub result: Result<Batch, Error>,
    scraper: Scraper,
}

impl Scrape {
    /// An error is one of the files that are read before anything is asked.
    pub fn run(config: &Config) -> Result<Self, Error> {
        watchdog::watch(config, || Self::run_unwatched(config))
    }

    fn run_unwatched(config: &Config) -> Result<Self, Error> {
        let (_stop, signal) = deadline::stop_pair().map_err(Error::thread)?;
        let observer = Observer::enabled();
        let client = Client::with_observer(config, signal, observer.clone())?;
        // Records show what comes, also where it is sent as metrics.
        let mut as_records = config.clone();
        as_records.format = Format::Records;
        let mut scraper = Scraper::new(&as_records, client).keeping_replies();
        let result = scraper.scrape(Memory::default(), Counters::default());
        Ok(Self {
            notes: observer.notes(Endpoint::Summary),
            pods_notes: observer.notes(Endpoint::Pods),
            phase: scraper.client().phase(),
            result,
            scraper,
        })
    }

    /// The kubelet's summary, if it came whole; it may be none.
    pub fn body(&self) -> Option<&[u8]> {
        let reply = self.notes.reply.as_ref()?;
        (reply.size > 0).then(|| self.scraper.body())
    }

    pub fn pipeline(&self) -> &Pipeline {
        self.scraper.pipeline()
    }

    /// The pods that the records are of, and the node.
    pub fn wanted(&self) -> Option<Summary<'_>> {
        self.pipeline().wanted(self.body()?).ok()
    }
}
