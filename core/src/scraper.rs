//! Runs one scrape after the other: it sends the requests, and the [pipeline](crate::scrape)
//! processes their replies.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::{
    counters::Counters,
    error::{Error, Result},
    kubelet::{Client, Endpoint},
    options::{Config, KubeletUrl},
    scrape::{About, Batch, Memory, Pipeline, PodsReply},
    select::Selector,
    sieve::Sieve,
    summary::Summary,
    timestamp::Timestamp,
};

/// A larger body is not kept as spare memory for the next one. The body of a node with a thousand
/// pods is smaller.
const MAX_SPARE_BODY: usize = 4 << 20;

/// The client of the kubelet, and what is kept between scrapes.
#[derive(Debug)]
pub struct Scraper {
    url: KubeletUrl,
    client: Client,
    sieve: Sieve,
    /// What the sieve left of the last reply. Its memory is used for the next one.
    summary: Vec<u8>,
    most_spare: usize,
    pipeline: Pipeline,
}

impl Scraper {
    /// Makes the state before the first scrape.
    pub fn new(config: &Config, client: Client) -> Self {
        Self {
            url: config.url.clone(),
            client,
            sieve: Sieve::new(Selector::new(config)),
            summary: Vec::new(),
            most_spare: MAX_SPARE_BODY,
            pipeline: Pipeline::new(config),
        }
    }

    /// Keeps each reply of any size until the next one, so that it can be read.
    pub fn keeping_replies(mut self) -> Self {
        self.sieve = Sieve::default();
        self.most_spare = usize::MAX;
        self
    }

    /// Does one scrape, in the memory of an earlier batch.
    pub fn scrape(&mut self, memory: Memory, counters: Counters) -> Result<Batch> {
        let began = Instant::now();
        self.client.begin();
        self.sieve.begin();
        let mut keep = |bytes: &mut [u8]| self.sieve.examine(bytes);
        let received = self
            .client
            .get_rest(Endpoint::Summary, &mut self.summary, &mut keep);
        let batch = received.and_then(|size| self.encode(size, memory, counters, began));
        if self.summary.capacity() > self.most_spare {
            self.summary = Vec::new();
        }
        batch
    }

    fn encode(
        &mut self,
        size: usize,
        memory: Memory,
        counters: Counters,
        began: Instant,
    ) -> Result<Batch> {
        let body = self.sieve.body(&self.summary);
        let unparsable =
            |why| Error::unparsable(&self.url.summary, size, &self.sieve.in_whole(why));
        let mut summary = self.pipeline.decode(body).map_err(unparsable)?;
        let mut facts = None;
        if self.pipeline.wants_facts(&summary, Instant::now()) {
            let learnt = learn(&mut self.pipeline, &mut self.client, &self.url, &summary);
            // A pod that was dropped because of older facts may be selected now.
            if learnt.is_ok() {
                summary = self.pipeline.decode(body).map_err(unparsable)?;
            }
            facts = Some(learnt);
        }
        let about = About {
            counters,
            began,
            now: now(),
            reply_bytes: size,
        };
        let mut batch = self.pipeline.encode(summary, memory, Some(about));
        batch.facts = facts;
        Ok(batch)
    }

    /// Returns what the sieve left of the last reply. It is the whole reply after
    /// [`Scraper::keeping_replies`].
    pub fn body(&self) -> &[u8] {
        &self.summary
    }

    /// Returns the pipeline that made the last batch.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Returns the client of the kubelet.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

/// Requests the pods. Returns the number of pods whose facts cannot be read. If this fails, the
/// scrape continues without new facts.
fn learn(
    pipeline: &mut Pipeline,
    client: &mut Client,
    url: &KubeletUrl,
    summary: &Summary,
) -> Result<usize> {
    // This request is rare, so its memory is not kept.
    let mut body = Vec::new();
    let received = client.get(Endpoint::Pods, &mut body);
    let reply = received.map(|()| PodsReply {
        body: &body,
        url: url.of(Endpoint::Pods),
        came: now(),
    });
    pipeline.learn(summary, Instant::now(), reply)
}

/// The time of the machine's clock.
fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    let since_epoch = since_epoch.unwrap_or_default();
    Timestamp::since_epoch(since_epoch).unwrap_or_default()
}
