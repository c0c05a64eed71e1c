//! Keeps the facts of the last good reply between scrapes, and knows which facts are missing in it.

use std::{
    cmp::Ordering,
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    time::{Duration, Instant},
};

use super::{
    ContainerFacts, PodFacts,
    refresh::{Missing, Refresh},
};
use crate::{summary, timestamp::Timestamp};

/// A pod or a container in a summary.
#[derive(Debug, Clone, Copy)]
pub struct Sighting<'a> {
    /// The namespace, as it is in the summary.
    pub namespace: &'a str,
    /// The pod's name, as it is in the summary.
    pub name: &'a str,
    /// The pod's uid, as it is in the summary.
    pub uid: &'a str,
    /// The container's name and its start, or `None` for the pod itself.
    pub container: Option<(&'a str, Option<Timestamp>)>,
}

/// Returns all pods and containers of a summary.
pub fn sightings<'a>(pods: &'a [summary::Pod<'_>]) -> impl Iterator<Item = Sighting<'a>> + Clone {
    pods.iter().flat_map(|pod| {
        let this = Sighting {
            namespace: &pod.namespace,
            name: &pod.name,
            uid: &pod.uid,
            container: None,
        };
        let containers = pod.containers.iter().map(move |one| Sighting {
            container: Some((&one.name, one.start_time)),
            ..this
        });
        std::iter::once(this).chain(containers)
    })
}

/// The facts of one good reply.
#[derive(Debug)]
pub struct FactStore {
    /// Sorted by namespace and name. Of pods with one name, the pod that started last is the first.
    pods: Vec<PodFacts>,
    refresh: Refresh,
    /// What no reply has had after repeated requests. It no longer causes requests, which would
    /// delay those for new pods. Hashes of sightings are kept, because there may be many.
    given_up: HashSet<u64>,
    /// What the last good reply did not have, but one of the next replies may have.
    asked: HashSet<u64>,
    hasher: RandomState,
}

impl FactStore {
    /// Makes an empty store. Its facts are fetched again after `interval` at the latest.
    pub fn new(interval: Duration) -> Self {
        Self {
            pods: Vec::new(),
            refresh: Refresh::new(interval),
            given_up: HashSet::new(),
            asked: HashSet::new(),
            hasher: RandomState::new(),
        }
    }

    /// Whether to ask the kubelet now, when its summary has `seen`. New pods and containers are
    /// asked for at once. They do not wait for others that are still absent from the replies.
    pub fn is_due<'a>(&self, now: Instant, seen: impl IntoIterator<Item = Sighting<'a>>) -> bool {
        let missing = seen.into_iter().filter(|one| self.has_no_facts(one));
        let missing = missing.map(|one| match self.hash(&one) {
            hash if self.given_up.contains(&hash) => Missing::Nothing,
            hash if self.asked.contains(&hash) => Missing::AskedBefore,
            _ => Missing::New,
        });
        let worst = missing.max().unwrap_or(Missing::Nothing);
        self.refresh.is_due(now, worst)
    }

    /// A good reply has arrived and replaces all facts. `seen` is what the summary before the
    /// request has. If some of it still has no facts, the next request waits, because a start is in
    /// the list of pods a moment later than in the summary.
    pub fn replace<'a>(
        &mut self,
        now: Instant,
        mut pods: Vec<PodFacts>,
        seen: impl IntoIterator<Item = Sighting<'a>>,
    ) {
        pods.sort_by(|a, b| {
            let by_name = a.by_name(&b.namespace, &b.name);
            by_name.then(b.start_time.cmp(&a.start_time))
        });
        self.pods = pods;
        let gives_up = self.refresh.waits_longest();
        let (mut given_up, mut asked) = (HashSet::new(), HashSet::new());
        for sighting in seen.into_iter().filter(|one| self.has_no_facts(one)) {
            let hash = self.hash(&sighting);
            let waited_longest = gives_up && self.asked.contains(&hash);
            match waited_longest || self.given_up.contains(&hash) {
                true => given_up.insert(hash),
                false => asked.insert(hash),
            };
        }
        let is_missing = !asked.is_empty();
        (self.given_up, self.asked) = (given_up, asked);
        self.refresh.succeeded(now, is_missing);
    }

    /// A request has failed. The known facts are kept, and the next request waits.
    pub fn failed(&mut self, now: Instant) {
        self.refresh.failed(now);
    }

    /// Whether this pod or container has no facts, or only facts of an earlier run.
    pub fn has_no_facts(&self, sighting: &Sighting<'_>) -> bool {
        let Some(pod) = self.get(sighting.namespace, sighting.name, sighting.uid) else {
            return true;
        };
        let Some((name, start)) = sighting.container else {
            return false;
        };
        pod.container(name).is_none_or(|one| one.is_behind(start))
    }

    fn hash(&self, sighting: &Sighting<'_>) -> u64 {
        let container = sighting.container;
        let container = container.map(|(name, start)| (name, start.map(Timestamp::as_nanos)));
        let pod = (sighting.namespace, sighting.name, sighting.uid);
        self.hasher.hash_one((pod, container))
    }

    /// Drops the facts if they are older than ten intervals. Returns whether it dropped them.
    pub fn expire(&mut self, now: Instant) -> bool {
        let is_expired = self.refresh.expire(now);
        if is_expired {
            self.pods = Vec::new();
        }
        is_expired
    }

    /// Returns the facts of a pod of the summary.
    pub fn get(&self, namespace: &str, name: &str, uid: &str) -> Option<&PodFacts> {
        let at = self.position(namespace, name, uid)?;
        self.pods.get(at)
    }

    /// Returns all selected pods of the reply, including those that no summary has.
    pub fn pods(&self) -> impl ExactSizeIterator<Item = &PodFacts> {
        self.pods.iter()
    }

    /// While one pod replaces another, two pods can have the same name.
    fn position(&self, namespace: &str, name: &str, uid: &str) -> Option<usize> {
        let first = self
            .pods
            .partition_point(|pod| pod.by_name(namespace, name) == Ordering::Less);
        let mut of_this_name = self.pods[first..]
            .iter()
            .take_while(|pod| pod.by_name(namespace, name) == Ordering::Equal);
        of_this_name
            .position(|pod| pod.is_of(uid))
            .map(|at| first + at)
    }
}

impl ContainerFacts {
    /// Whether a run that began at `start` is later than all runs known here. The summary's start
    /// time is the time when the container was created. That is before it is started, so for the
    /// same run it is never the later time.
    pub(crate) fn is_behind(&self, start: Option<Timestamp>) -> bool {
        start > self.latest_start
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::State;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn time(seconds: u32) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos: 0 })
    }

    /// Makes a pod with one container `c` that started at second 10.
    fn pod(name: &str, uid: &str, start: u32) -> PodFacts {
        let container = ContainerFacts {
            name: "c".into(),
            state: Some(State::Running),
            latest_start: time(10),
            ..ContainerFacts::default()
        };
        PodFacts {
            namespace: "n".into(),
            name: name.into(),
            uid: uid.into(),
            start_time: time(start),
            containers: vec![container],
            ..PodFacts::default()
        }
    }

    fn seen<'a>(name: &'a str, container: Option<(&'a str, Option<Timestamp>)>) -> Sighting<'a> {
        Sighting {
            namespace: "n",
            name,
            uid: "u",
            container,
        }
    }

    #[test]
    fn facts_are_kept_for_ten_intervals() {
        let start = Instant::now();
        let mut store = FactStore::new(seconds(60));
        assert!(!store.expire(start + seconds(10_000)));
        store.replace(start, vec![pod("p", "u", 1)], []);
        store.failed(start + seconds(599));
        assert!(!store.expire(start + seconds(600)));
        assert_eq!(store.pods().len(), 1);
        assert!(store.expire(start + seconds(601)));
        assert_eq!(store.pods().len(), 0);
        assert_eq!(store.get("n", "p", "u"), None);
        assert!(store.is_due(start + seconds(601), []));
    }

    #[test]
    fn a_pod_is_known_by_its_name_and_uid() {
        let mut store = FactStore::new(seconds(60));
        let other = PodFacts {
            namespace: "m".into(),
            ..pod("p", "w", 9)
        };
        let mirror = PodFacts {
            config_hash: Some("hash".into()),
            ..pod("static", "api", 1)
        };
        let pods = vec![
            pod("p", "old", 1),
            mirror,
            pod("q", "x", 1),
            pod("p", "new", 2),
            other,
        ];
        store.replace(Instant::now(), pods, []);
        let uid = |name, uid| store.get("n", name, uid).map(|pod| &*pod.uid);
        assert_eq!(uid("p", "old"), Some("old"));
        assert_eq!(uid("p", "new"), Some("new"));
        assert_eq!(uid("p", "other"), None);
        // This is the pod that started last.
        assert_eq!(uid("p", ""), Some("new"));
        assert_eq!(uid("static", "hash"), Some("api"));
        assert_eq!(uid("static", "api"), Some("api"));
        assert_eq!(uid("r", ""), None);
        assert_eq!(uid("", ""), None);
        assert_eq!(store.get("m", "p", "").map(|pod| &*pod.uid), Some("w"));
    }

    #[test]
    fn facts_of_an_earlier_run_are_none() {
        let mut store = FactStore::new(seconds(60));
        store.replace(Instant::now(), vec![pod("p", "u", 1)], []);
        for (name, container, lacks) in [
            ("p", None, false),
            ("q", None, true),
            ("p", Some(("c", None)), false),
            ("p", Some(("c", time(9))), false),
            ("p", Some(("c", time(10))), false),
            ("p", Some(("c", time(11))), true),
            ("p", Some(("d", None)), true),
            ("q", Some(("c", time(9))), true),
        ] {
            let sighting = seen(name, container);
            assert_eq!(store.has_no_facts(&sighting), lacks, "{sighting:?}");
        }
        let mut never_ran = pod("p", "u", 1);
        never_ran.containers[0].latest_start = None;
        store.replace(Instant::now(), vec![never_ran], []);
        assert!(store.has_no_facts(&seen("p", Some(("c", time(1))))));
    }

    /// Otherwise a pod that cannot be read would delay the requests for all others.
    #[test]
    fn what_is_never_told_is_given_up() {
        let start = Instant::now();
        for never_told in [seen("p", Some(("c", time(11)))), seen("unreadable", None)] {
            let mut store = FactStore::new(seconds(4));
            let is_asked_for = |store: &FactStore| {
                let hash = store.hash(&never_told);
                store.has_no_facts(&never_told) && !store.given_up.contains(&hash)
            };
            for at in [0, 1, 3] {
                assert!(
                    store.is_due(start + seconds(at), [never_told, seen("new", None)]),
                    "{at}"
                );
                assert!(is_asked_for(&store), "{at}");
                store.replace(start + seconds(at), vec![pod("p", "u", 1)], [never_told]);
            }
            for at in [3, 7] {
                assert!(!is_asked_for(&store), "{at}");
                // New pods do not wait for it.
                assert!(
                    store.is_due(start + seconds(at), [never_told, seen("new", None)]),
                    "{at}"
                );
                store.replace(start + seconds(at), vec![pod("p", "u", 1)], [never_told]);
            }
            // It is asked for again after it was absent from a summary.
            store.replace(start + seconds(8), vec![pod("p", "u", 1)], []);
            assert!(is_asked_for(&store));
        }
    }
}
