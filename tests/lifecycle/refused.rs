//! A host that refuses records without having paused the input first: its storage has
//! lost the folder of the input, and what was scraped is kept until the folder is back; or
//! it may keep less than one scrape gives, and gets it in parts, or not at all.

use std::fs;

use sim_kubelet::SimKubelet;
use testkit::{Child, Host, Stream};

use crate::{
    proc::{Scratch, soak, some_hosts, until},
    run::{DEADLINE, plugin_lines, record_lines, section, stop},
    samples::{INTERVAL, SILENCE, assert_whole, kubelet, wait_for},
};

const REFUSED: &str = "fluent bit accepts no records now: ";
const TAKEN: &str = "fluent bit accepts records again: it accepted none for ";

fn start(host: &Host, kubelet: &SimKubelet, folder: &Scratch) -> Child {
    let command = folder.command(host, &configuration(kubelet));
    Child::spawn(command).expect("the host starts")
}

fn configuration(kubelet: &SimKubelet) -> String {
    format!(
        "[SERVICE]\n    flush 0.2\n    grace 5\n    plugins_file plugins.conf\n    \
         storage.path storage\n\
         [INPUT]\n{}    interval {}ms\n    storage.type filesystem\n\
         [OUTPUT]\n    name stdout\n    match *\n    format json_lines\n    json_date_key false\n",
        section(kubelet),
        INTERVAL.as_millis(),
    )
}

/// Where the host makes a file for each chunk of the input, or does not.
struct Storage<'a>(&'a Scratch);

impl Storage<'_> {
    fn rename(&self, from: &str, to: &str) {
        let path = |name| self.0.join("storage").join(name);
        fs::rename(path(from), path(to)).unwrap_or_else(|error| panic!("{from}: {error}"));
    }

    fn lose(&self) {
        self.rename("kubeletstats.0", "lost");
    }

    fn find(&self) {
        self.rename("lost", "kubeletstats.0");
    }
}

/// The lines of the plugin but the two that it begins with.
fn said(child: &Child) -> Vec<String> {
    plugin_lines(child).split_off(2)
}

/// The storage is lost, and the plugin has noticed; returns the requests by then.
fn refuse(child: &Child, kubelet: &SimKubelet, storage: &Storage) -> u64 {
    let seen = child.line_count();
    storage.lose();
    wait_for(child, seen, REFUSED);
    // Long enough for many tries.
    let requests = kubelet.requests();
    let more = kubelet.wait_for_requests(requests + 1, SILENCE);
    assert!(!more, "scraped all the same: {}", child.tail());
    requests
}

#[test]
fn what_the_host_refuses_is_kept_and_arrives_once() {
    for host in some_hosts() {
        let (kubelet, folder) = (kubelet(), Scratch::new("refused"));
        let child = start(&host, &kubelet, &folder);
        let storage = Storage(&folder);
        let scraped = |requests| {
            let scraped = kubelet.wait_for_requests(requests, DEADLINE);
            assert!(scraped, "{}: {}", host.name, child.tail());
        };
        scraped(10);
        for _ in 0..2 {
            let requests = refuse(&child, &kubelet, &storage);
            let seen = child.line_count();
            storage.find();
            wait_for(&child, seen, TAKEN);
            scraped(requests + 10);
        }
        let child = stop(child);
        let said = said(&child);
        let begins = [REFUSED, TAKEN, REFUSED, TAKEN];
        let as_expected = said.len() == begins.len()
            && std::iter::zip(&said, begins).all(|(line, begin)| line.starts_with(begin));
        assert!(as_expected, "{}: {said:#?}", host.name);
        for line in &said {
            println!("{}: {line}", host.name);
        }
        assert_whole(&host, &record_lines(&child), kubelet.replies());
    }
}

/// Of one scrape of this kubelet the output may keep so much on disk.
fn limited(host: &Host, limit: &str) -> (SimKubelet, Scratch, Child) {
    let kubelet = SimKubelet::builder().pods(40).sample_period(INTERVAL);
    let kubelet = kubelet.started();
    let folder = Scratch::new("limited");
    let configuration =
        configuration(&kubelet) + &format!("    storage.total_limit_size {limit}\n");
    let child = Child::spawn(folder.command(host, &configuration)).expect("the host starts");
    (kubelet, folder, child)
}

/// 2.2 ends itself instead and 3.2 drops what it takes, whatever the input; the embedded
/// host has no such limit.
fn hosts_with_a_limit() -> Vec<Host> {
    let refuses = |host: &Host| !host.embedded && !matches!(host.version, Some((2..=3, ..)));
    let (refusing, others): (Vec<_>, Vec<_>) = some_hosts().into_iter().partition(refuses);
    for host in others {
        println!("{} refuses nothing for its size", host.name);
    }
    refusing
}

#[test]
fn what_never_fits_at_once_comes_in_parts() {
    const PARTS: &str = "fluent bit does not accept the records of one scrape at once, and gets them in parts: \
                         raise the output's storage.total_limit_size";
    for host in hosts_with_a_limit() {
        let (kubelet, _folder, child) = limited(&host, "10k");
        wait_for(&child, 0, PARTS);
        until(&child, "scraping to go on", DEADLINE, || {
            kubelet.requests() > 3
        });
        let records = || record_lines(&child).len();
        // 1.9 drops all that waits as soon as more comes; later ones deliver what has room.
        if host.version >= Some((4, 0, 0)) {
            until(&child, "records of several scrapes", DEADLINE, || {
                records() > 60
            });
        }
        stop(child);
    }
}

/// Not even one record fits: the batch makes room for what is newer.
#[test]
fn what_never_fits_at_all_is_given_up() {
    const GIVEN_UP: &str = "dropped 52 records that fluent bit did not accept for a minute or more: \
                            scraping goes on: see its own lines about storage";
    if !soak() {
        return println!("takes a minute: only with KUBELETSTATS_SOAK=1");
    }
    for host in hosts_with_a_limit() {
        let (kubelet, _folder, child) = limited(&host, "100");
        wait_for(&child, 0, REFUSED);
        assert_eq!(kubelet.requests(), 1, "{}", child.tail());
        child
            .wait_for_line(
                Stream::Stderr,
                |line| line.ends_with(GIVEN_UP),
                3 * DEADLINE,
            )
            .unwrap_or_else(|error| panic!("{error}"));
        until(&child, "another scrape", DEADLINE, || {
            kubelet.requests() > 1
        });
        stop(child);
    }
}

/// It cannot be kept for longer than the input is there.
#[test]
fn what_is_refused_until_the_end_is_said_to_be_lost() {
    for host in some_hosts() {
        let (kubelet, folder) = (kubelet(), Scratch::new("lost"));
        let child = start(&host, &kubelet, &folder);
        assert!(kubelet.wait_for_requests(10, DEADLINE), "{}", child.tail());
        refuse(&child, &kubelet, &Storage(&folder));
        let said = said(&stop(child));
        let [refused, lost] = said.as_slice() else {
            panic!("{}: {said:#?}", host.name);
        };
        let kept = refused
            .strip_prefix(REFUSED)
            .and_then(|rest| rest.split_once(' '));
        let (kept, _) = kept.unwrap_or_else(|| panic!("{}: {refused}", host.name));
        let expected =
            format!("lost {kept} records that fluent bit had not accepted when this input ended");
        assert_eq!(*lost, expected, "{}", host.name);
    }
}
