//! One row of the table: what goes wrong, what has to come of it, and the
//! script that most rows share.

use serde_json::Value;
use sim_kubelet::{Fault, SimKubeletBuilder, Stage};
use testkit::{Host, wait};

use super::{
    run::{DEADLINE, Ended, Run, Said, Site, Stats, matches},
    scene::{Scene, Setting},
    truth::Truth,
};
use crate::common::run::Line;

/// What was seen, or how it differs.
pub type Outcome = Result<String, String>;
pub type Act = fn(&Scene) -> Result<(), String>;
type Cannot = fn(&Host) -> bool;
type Check = fn(&Scene, &Ended) -> Result<(), String>;
/// Asked for with each scrape or so, so that a row is short.
pub const FACTS: &[(&str, &str)] = &[("pod_facts", "on"), ("pod_facts_interval", "150ms")];
const FACTS_AGAIN: &str = "facts of pods arrive again: there were no new ones *";
pub const AGAIN: &str = "scraping works again: it failed for *s, * scrape*";
const ANNOUNCED: &str = "scraping * every *, timeout *, namespaces *, pod prefixes *";
const WANTED: &str = "* of the node's * pods are selected";

#[derive(Clone)]
enum Script {
    /// Several scrapes fail, this line says so once, and nothing is recorded.
    Fails(&'static str),
    /// Goes on as if nothing were wrong.
    Works,
    /// Neither records nor errors; this warning, unless it is empty.
    Silent(&'static str),
    /// Goes on, says this as a warning, and says when it is over.
    Degrades(&'static str),
    /// Stopped while this holds.
    Stops(fn(&Scene) -> bool),
    Own(fn(&Site) -> Result<Seen, String>),
}

#[derive(Clone)]
pub struct Row {
    pub name: &'static str,
    pub expected: String,
    script: Script,
    setting: Setting,
    fault: Fault,
    from_start: bool,
    breaking: Option<Act>,
    mending: Option<Act>,
    lasting: bool,
    /// Scrapes under the fault, after the first.
    more: u64,
    check: Check,
    unless: Option<(Cannot, &'static str)>,
}

/// `line` may hold `{url}`, `{gate}`, `{ca}` and `{token}`; `*` stands for anything.
pub fn fails(name: &'static str, line: &'static str) -> Row {
    let expected = format!("one line, no record, then again: {line}");
    Row::new(name, expected, Script::Fails(line))
}

pub fn works(name: &'static str, expected: &str) -> Row {
    Row::new(name, format!("works: {expected}"), Script::Works)
}

/// Records go on without facts of pods: `line` says so once, and another that they are back.
pub fn degrades(name: &'static str, line: &'static str) -> Row {
    let expected = format!("one warning, records without facts, then with them: {line}");
    Row::new(name, expected, Script::Degrades(line)).options(FACTS)
}

pub fn silent(name: &'static str, warning: &'static str) -> Row {
    let expected = match warning {
        "" => "no line, no record, then again".to_owned(),
        warning => format!("no error, no record, then again: {warning}"),
    };
    Row::new(name, expected, Script::Silent(warning))
}

/// `hanging` tells when there is something to be stopped.
pub fn stops(name: &'static str, hanging: fn(&Scene) -> bool) -> Row {
    let expected = "stops as fast as dummy alone, without a line".to_owned();
    Row::new(name, expected, Script::Stops(hanging))
        .at_start()
        .options(&[("timeout", "1h")])
}

pub fn own(name: &'static str, expected: &str, script: fn(&Site) -> Result<Seen, String>) -> Row {
    Row::new(name, expected.to_owned(), Script::Own(script))
}

impl Row {
    fn new(name: &'static str, expected: String, script: Script) -> Self {
        Self {
            name,
            expected,
            script,
            setting: Setting::default(),
            fault: Fault::None,
            from_start: false,
            breaking: None,
            mending: None,
            lasting: false,
            more: 3,
            check: |_, _| Ok(()),
            unless: None,
        }
    }

    /// This fault of the kubelet: of requests once it has worked, of
    /// connections from the start.
    pub fn by(mut self, fault: Fault) -> Self {
        self.from_start |= fault.stage() == Stage::Connection;
        self.fault = fault;
        self
    }

    pub fn breaking(mut self, act: Act) -> Self {
        self.breaking = Some(act);
        self
    }

    pub fn mending(mut self, act: Act) -> Self {
        self.mending = Some(act);
        self
    }

    /// Broken before the host starts.
    pub fn at_start(mut self) -> Self {
        self.from_start = true;
        self
    }

    /// Nothing here can mend it.
    pub fn lasting(mut self) -> Self {
        self.lasting = true;
        self.expected = self.expected.replace(", then again:", ":");
        self
    }

    pub fn options(mut self, options: &'static [(&'static str, &'static str)]) -> Self {
        self.setting.options = options;
        self
    }

    pub fn kubelet(mut self, change: fn(SimKubeletBuilder) -> SimKubeletBuilder) -> Self {
        self.setting.kubelet = change;
        self
    }

    pub fn plain(mut self) -> Self {
        self.setting.plain = true;
        self
    }

    pub fn gated(mut self) -> Self {
        self.setting.gated = true;
        self
    }

    pub fn url(mut self, url: fn(&Scene) -> String) -> Self {
        self.setting.url = Some(url);
        self
    }

    pub fn more(mut self, scrapes: u64) -> Self {
        self.more = scrapes;
        self
    }

    /// Looked at when all is over.
    pub fn check(mut self, check: Check) -> Self {
        self.check = check;
        self
    }

    /// Left out on hosts that cannot have it, with the reason.
    pub fn unless(mut self, cannot: Cannot, reason: &'static str) -> Self {
        self.unless = Some((cannot, reason));
        self
    }

    /// Why the row does not apply to this host, if so.
    pub fn left_out(&self, host: &Host) -> Option<&'static str> {
        let (cannot, reason) = self.unless?;
        cannot(host).then_some(reason)
    }

    pub fn run(&self, site: &Site) -> Outcome {
        let (ended, seen) = self.seen(site)?;
        let (metrics, stop) = (ended.metrics.seen(), ended.stop.as_secs_f64());
        Ok(format!("{seen}{metrics}, stop {stop:.2} s"))
    }

    pub fn seen(&self, site: &Site) -> Result<Seen, String> {
        if let Script::Own(script) = self.script {
            return script(site);
        }
        let scene = Scene::new(self.setting)?;
        let mut truth = Truth::of([&scene.kubelet, &scene.other]);
        if self.from_start {
            self.start_fault(&scene)?;
        } else if self.setting.gated {
            let led = scene.gate.lead_to(scene.kubelet.port());
            led.map_err(|error| error.to_string())?;
        }
        let run = Run::start(site, scene.input(Line::new()))?;
        if !self.from_start {
            run.stats("records before", |stats| stats.records > 0)?;
            self.start_fault(&scene)?;
        }
        let (ended, seen) = match self.script {
            Script::Fails(line) => self.fails(site, &scene, run, &scene.named(line))?,
            Script::Works => self.works(site, &scene, run)?,
            Script::Degrades(line) => self.degrades(site, &scene, run, line)?,
            Script::Silent(warning) => self.silent(site, &scene, run, warning)?,
            Script::Stops(hanging) => self.stops(site, &scene, run, hanging)?,
            Script::Own(_) => unreachable!("it was run above"),
        };
        truth.learn(&scene.kubelet);
        truth.check_all(&ended.records)?;
        (self.check)(&scene, &ended)?;
        Ok((ended, seen))
    }

    fn start_fault(&self, scene: &Scene) -> Result<(), String> {
        scene.kubelet.set_fault(self.fault.clone());
        self.breaking.map_or(Ok(()), |act| act(scene))
    }

    fn end_fault(&self, scene: &Scene) -> Result<(), String> {
        scene.kubelet.clear_fault();
        self.mending.map_or(Ok(()), |act| act(scene))
    }

    fn fails(&self, site: &Site, scene: &Scene, run: Run, line: &str) -> Result<Seen, String> {
        run.said(line)?;
        let first = run.stats("a failure", |stats| stats.failures > 0)?;
        let enough = first.failures + self.more;
        let later = run.stats("more failures", |stats| stats.failures >= enough)?;
        if (later.records, later.replies()) != (first.records, first.replies()) {
            return Err(format!("not all failed: {first:?}, then {later:?}"));
        }
        run.is_up(0)?;
        let mut expected = vec![("error", line)];
        if !self.lasting {
            self.end_fault(scene)?;
            run.said(AGAIN)?;
            run.stats("records again", |stats| stats.records > later.records)?;
            run.is_up(1)?;
            expected.push(("info", AGAIN));
        }
        let ended = run.stop(site)?;
        only(&ended.said, &expected)?;
        let ups: &[u8] = match (self.from_start, self.lasting) {
            (false, false) => &[1, 0, 1],
            (false, true) => &[1, 0],
            (true, false) => &[0, 1],
            (true, true) => &[0],
        };
        ended.metrics.ups_are(ups)?;
        let failures = ended.stats.failures;
        if let Some(again) = ended.said.iter().find(|said| matches(AGAIN, &said.text))
            && !again.text.contains(&format!("s, {failures} scrape"))
        {
            return Err(format!("{failures} scrapes failed, but: {}", again.text));
        }
        let mut seen = format!("1 line for {failures} failures, no record");
        if !self.lasting {
            seen.push_str(", then again");
        }
        // The part of the line that the expectation leaves open.
        if let Some((head, _)) = line.split_once('*')
            && let Some(said) = ended.said.iter().find(|said| said.level == "error")
        {
            seen.push_str(&format!(" ('{}')", &said.text[head.len()..]));
        }
        Ok((ended, seen))
    }

    /// The record of the plugin about itself that covers at least one whole
    /// scrape under the fault, and one of some scrapes later.
    fn during(&self, scene: &Scene, run: &Run) -> Result<(Stats, Stats), String> {
        let begun = scene.kubelet.requests().max(scene.gate.connections());
        let first = run.stats("a scrape", |stats| stats.scrapes > begun)?;
        let enough = first.scrapes + self.more;
        let later = run.stats("more scrapes", |stats| stats.scrapes >= enough)?;
        Ok((first, later))
    }

    fn works(&self, site: &Site, scene: &Scene, run: Run) -> Result<Seen, String> {
        let (first, _) = self.during(scene, &run)?;
        let later = run.stats("more records", |stats| stats.records > first.records)?;
        self.end_fault(scene)?;
        run.stats("more records still", |stats| stats.records > later.records)?;
        let ended = run.stop(site)?;
        only(&ended.said, &[])?;
        ended.metrics.ups_are(&[1])?;
        let seen = format!("{} records, no line", ended.records.len());
        Ok((ended, seen))
    }

    fn degrades(
        &self,
        site: &Site,
        scene: &Scene,
        run: Run,
        line: &'static str,
    ) -> Result<Seen, String> {
        run.said(line)?;
        let told = run.stats("records", |stats| stats.records > 0)?;
        let enough = told.records + self.more;
        let during = run.stats("more records", |stats| stats.records >= enough)?;
        self.end_fault(scene)?;
        run.said(FACTS_AGAIN)?;
        run.stats("records still", |stats| stats.records > during.records)?;
        let has_facts = |record: &Value| record["qos_class"].is_string();
        run.record("a record with facts", has_facts)?;
        let ended = run.stop(site)?;
        only(&ended.said, &[("warn", line), ("info", FACTS_AGAIN)])?;
        ended.metrics.ups_are(&[1])?;
        let count = ended
            .records
            .iter()
            .filter(|record| has_facts(record))
            .count();
        if self.from_start && count == ended.records.len() {
            return Err(format!(
                "{count} of {} records have facts",
                ended.records.len()
            ));
        }
        if ended.stats.failures > 0 {
            return Err(format!("{} scrapes failed", ended.stats.failures));
        }
        let seen = format!(
            "1 warning, {} records, {count} with facts",
            ended.records.len()
        );
        Ok((ended, seen))
    }

    fn silent(
        &self,
        site: &Site,
        scene: &Scene,
        run: Run,
        warning: &'static str,
    ) -> Result<Seen, String> {
        let (first, later) = self.during(scene, &run)?;
        if (first.records, first.failures) != (later.records, 0) {
            return Err(format!("not silent: {first:?}, then {later:?}"));
        }
        self.end_fault(scene)?;
        run.stats("records again", |stats| stats.records > later.records)?;
        let ended = run.stop(site)?;
        let warning = Some(("warn", warning)).filter(|(_, line)| !line.is_empty());
        only(&ended.said, warning.as_slice())?;
        ended.metrics.ups_are(&[1])?;
        let scrapes = later.scrapes - first.scrapes;
        let seen = format!("{scrapes} scrapes without record or error, then records");
        Ok((ended, seen))
    }

    fn stops(
        &self,
        site: &Site,
        scene: &Scene,
        run: Run,
        hanging: fn(&Scene) -> bool,
    ) -> Result<Seen, String> {
        wait::until("something that hangs", DEADLINE, || hanging(scene))
            .map_err(|error| error.to_string())?;
        run.dummy_goes_on()?;
        if !hanging(scene) {
            return Err("it does not hang any more".to_owned());
        }
        let ended = run.stop(site)?;
        only(&ended.said, &[])?;
        let alone = site.dummy_stop.as_secs_f64();
        Ok((ended, format!("no line, dummy alone {alone:.2} s")))
    }
}

/// How it ended, and what was seen.
pub type Seen = (Ended, String);

/// What a step on the way came to, for [`Outcome`].
pub fn text<T>(result: std::io::Result<T>) -> Result<(), String> {
    result.map(drop).map_err(|error| error.to_string())
}

/// The plugin has said this, with this level and in this order, and nothing
/// else but what it announces.
pub fn only(said: &[Said], expected: &[(&str, &str)]) -> Result<(), String> {
    let announced = |said: &&Said| {
        said.level == "info" && (matches(ANNOUNCED, &said.text) || matches(WANTED, &said.text))
    };
    let rest: Vec<&Said> = said.iter().filter(|said| !announced(said)).collect();
    let as_expected = rest.len() == expected.len()
        && std::iter::zip(&rest, expected)
            .all(|(said, (level, line))| said.level == *level && matches(line, &said.text));
    let announcements = said.iter().filter(|said| matches(ANNOUNCED, &said.text));
    match (as_expected, announcements.count()) {
        (true, 1) => Ok(()),
        (true, count) => Err(format!("announced {count} times: {said:#?}")),
        _ => Err(format!("expected {expected:#?}, said {rest:#?}")),
    }
}
