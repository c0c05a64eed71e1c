//! Decides which pods and containers are selected. It is pure: it does no I/O and has no clock.

use crate::{
    catalogue::Plan,
    facts::PodFacts,
    options::{Config, Exclude},
    summary::{self, Body, Container, Malformed, Pod, PodRef, Spare, Summary},
};

/// The user's selection of pods.
#[derive(Debug, Clone, Default)]
pub struct Selector {
    namespaces: Vec<String>,
    pod_prefixes: Vec<String>,
    exclude: Exclude,
    by_labels: bool,
}

impl Selector {
    /// Makes the selection from the options.
    pub fn new(config: &Config) -> Self {
        Self {
            namespaces: config.namespaces.clone(),
            pod_prefixes: config.pod_prefixes.clone(),
            exclude: config.exclude.clone(),
            by_labels: config.label_selector.is_some(),
        }
    }

    /// Whether a pod is selected. An empty list selects all. The exclude options override the
    /// lists.
    pub fn wants(&self, namespace: &str, pod: &str) -> bool {
        let is_named = |names: &[String]| names.iter().any(|name| name == namespace);
        let begins = |prefixes: &[String]| prefixes.iter().any(|one| pod.starts_with(one.as_str()));
        (self.namespaces.is_empty() || is_named(&self.namespaces))
            && (self.pod_prefixes.is_empty() || begins(&self.pod_prefixes))
            && !is_named(&self.exclude.namespaces)
            && !begins(&self.exclude.pod_prefixes)
    }

    /// Whether it selects every pod, as far as names decide.
    pub fn wants_all_names(&self) -> bool {
        let lists = [
            &self.namespaces,
            &self.pod_prefixes,
            &self.exclude.namespaces,
            &self.exclude.pod_prefixes,
        ];
        lists.iter().all(|list| list.is_empty())
    }

    /// Whether `exclude_container` drops a container of this name.
    pub fn excludes(&self, container: &str) -> bool {
        self.exclude.containers.iter().any(|name| name == container)
    }

    /// Whether `exclude_container` is set.
    pub fn excludes_containers(&self) -> bool {
        !self.exclude.containers.is_empty()
    }

    /// Whether a pod with these facts is selected. If there is a label selector, a pod without
    /// facts is not selected, because its labels are not known.
    pub fn keeps(&self, facts: Option<&PodFacts>) -> bool {
        facts.map_or(!self.by_labels, |facts| {
            facts.is_selected && !facts.opted_out
        })
    }

    /// Decodes a reply, but only the selected pods and their containers.
    pub fn parse<'a>(
        &self,
        body: impl Into<Body<'a>>,
        plan: Plan,
    ) -> Result<Summary<'a>, Malformed> {
        self.parse_but(&mut Spare::default(), body.into(), plan, |_| false)
    }

    /// Does the same without the pods that `is_dropped` accepts, in the memory of earlier
    /// summaries.
    pub fn parse_but<'a>(
        &self,
        spare: &mut Spare,
        body: Body<'a>,
        plan: Plan,
        is_dropped: impl Fn(&PodRef) -> bool,
    ) -> Result<Summary<'a>, Malformed> {
        let plan = Plan {
            excluded_containers: &self.exclude.containers,
            ..plan
        };
        summary::parse_into(spare, body, plan, |pod| {
            self.wants(&pod.namespace, &pod.name) && !is_dropped(pod)
        })
    }
}

/// While one pod replaces another, two entries can have the same name. The one that started later
/// is kept. The order is not kept, because the kubelet's order has no meaning. The same is done for
/// the containers of each pod.
pub fn newest_of_each_name(pods: &mut Vec<Pod<'_>>) {
    pods.sort_unstable_by(|a, b| {
        (&a.namespace, &a.name)
            .cmp(&(&b.namespace, &b.name))
            .then(b.start_time.cmp(&a.start_time))
    });
    pods.dedup_by(|later, first| later.namespace == first.namespace && later.name == first.name);
    for pod in pods {
        newest_of_each_container(&mut pod.containers);
    }
}

/// Does the same for the other named objects of a reply. Of these, the first of each name is kept.
pub fn first_of_each_name(summary: &mut Summary) {
    newest_of_each_container(&mut summary.node.system_containers);
    first_of(&mut summary.node.network.interfaces, |one| &one.name);
    for pod in &mut summary.pods {
        first_of(&mut pod.volumes, |one| &one.name);
        first_of(&mut pod.network.interfaces, |one| &one.name);
    }
}

/// Keeps the first of each name. The order changes only if the list is long or a name occurs twice.
fn first_of<T>(list: &mut Vec<T>, name: impl Fn(&T) -> &str) {
    let comes_again = |(at, one): (usize, &T)| {
        let before = &list[..at];
        before.iter().any(|other| name(other) == name(one))
    };
    if list.len() > FEW || list.iter().enumerate().any(comes_again) {
        list.sort_by(|a, b| name(a).cmp(name(b)));
        list.dedup_by(|later, first| name(later) == name(first));
    }
}

/// Up to this length, it is faster to compare each entry with each other.
const FEW: usize = 32;

/// Keeps the newest of each name, because a container that has ended can still be listed next to
/// its replacement. The order changes only if the list is long or a name occurs twice.
fn newest_of_each_container(containers: &mut Vec<Container<'_>>) {
    let comes_again = |(at, container): (usize, &Container)| {
        let before = &containers[..at];
        before.iter().any(|other| other.name == container.name)
    };
    if containers.len() <= FEW && !containers.iter().enumerate().any(comes_again) {
        return;
    }
    containers.sort_unstable_by(|a, b| {
        let latest = |container: &Container| (container.start_time, container.stats.cpu.time);
        a.name.cmp(&b.name).then(latest(b).cmp(&latest(a)))
    });
    containers.dedup_by(|later, first| later.name == first.name);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timestamp::Timestamp;

    fn selector(namespaces: &[&str], prefixes: &[&str]) -> Selector {
        let owned = |list: &[&str]| list.iter().map(|s| s.to_string()).collect();
        Selector {
            namespaces: owned(namespaces),
            pod_prefixes: owned(prefixes),
            exclude: Exclude::default(),
            by_labels: false,
        }
    }

    #[test]
    fn namespaces_match_whole_and_prefixes_at_the_start() {
        let all = selector(&[], &[]);
        assert!(all.wants("kube-system", "anything"));
        let some = selector(&["default", "other"], &["log-", "web"]);
        assert!(some.wants("default", "log-generator-a"));
        assert!(some.wants("other", "web"));
        assert!(!some.wants("default-2", "log-generator-a"));
        assert!(!some.wants("default", "a-log-generator"));
    }

    #[test]
    fn the_pod_that_started_later_stays() {
        let pod = |uid: &'static str, seconds| Pod {
            name: "p".into(),
            namespace: "n".into(),
            uid: uid.into(),
            start_time: Some(Timestamp { seconds, nanos: 0 }),
            ..Pod::default()
        };
        for mut pods in [
            vec![pod("old", 1), pod("new", 2)],
            vec![pod("new", 2), pod("old", 1)],
        ] {
            newest_of_each_name(&mut pods);
            assert_eq!(pods.len(), 1);
            assert_eq!(pods[0].uid, "new");
        }
    }
}
