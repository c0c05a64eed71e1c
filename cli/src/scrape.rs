//! Does one scrape with the plugin's own [`Scraper`], and keeps the notes about it. There
//! is no jitter, because the worker adds that.

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
    /// Notes about the request for the summary.
    pub notes: Notes,
    /// Notes about the request for the pods, if it was made.
    pub pods_notes: Notes,
    /// The phase in which the scrape ended.
    pub phase: Phase,
    pub result: Result<Batch, Error>,
    scraper: Scraper,
}

impl Scrape {
    /// An error is about one of the files that are read before the first request.
    pub fn run(config: &Config) -> Result<Self, Error> {
        watchdog::watch(config, || Self::run_unwatched(config))
    }

    fn run_unwatched(config: &Config) -> Result<Self, Error> {
        let (_stop, signal) = deadline::stop_pair().map_err(Error::thread)?;
        let observer = Observer::enabled();
        let client = Client::with_observer(config, signal, observer.clone())?;
        // The records show what was scraped, even if the options send it as metrics.
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

    /// Returns the body of the reply, if it is complete. It may be no summary.
    pub fn body(&self) -> Option<&[u8]> {
        let reply = self.notes.reply.as_ref()?;
        (reply.size > 0).then(|| self.scraper.body())
    }

    pub fn pipeline(&self) -> &Pipeline {
        self.scraper.pipeline()
    }

    /// Returns the selected pods and the node.
    pub fn wanted(&self) -> Option<Summary<'_>> {
        self.pipeline().wanted(self.body()?).ok()
    }
}
