//! Reads the list of pods: which pods, and which values of each. The limits are those of the
//! [summary](crate::summary), so the memory that a reply needs depends on what a node can have, not
//! on the size of the reply.

use super::{
    Malformed, Pods, Want,
    containers::{self, resources},
    keep::{Keep, MOST_TEXT, object},
    metadata::Metadata,
};
use crate::{
    json::{Broken, Walk},
    summary::{LARGE_REPLY, LARGEST_POD, MOST_CONTAINERS, MOST_PODS},
};

/// Decodes the pods of a reply whose namespace and name `is_wanted` accepts. The others are
/// skipped. A pod that cannot be decoded is dropped, and the other pods are not affected.
pub fn parse(
    body: &[u8],
    want: &Want<'_>,
    is_wanted: impl Fn(&str, &str) -> bool,
) -> Result<Pods, Malformed> {
    let mut walk = Walk::new(body);
    if walk.peek()? != b'{' {
        return Err(match walk.value() {
            Ok(_) => Malformed::NoItems,
            Err(broken) => broken.into(),
        });
    }
    let mut reader = Reader {
        want,
        is_wanted,
        keep: Keep::default(),
        containers: 0,
        found: Pods::default(),
    };
    let mut has_items = false;
    let mut more = walk.enter(b'{', b'}')?;
    while more {
        match walk.key()? {
            b"items" => {
                reader.items(&mut walk)?;
                has_items = true;
            }
            _ => walk.skip()?,
        }
        more = walk.another(b'}')?;
    }
    walk.end()?;
    match has_items {
        true => Ok(reader.found),
        false => Err(Malformed::NoItems),
    }
}

/// Reads the pods one after the other.
struct Reader<'w, W> {
    want: &'w Want<'w>,
    is_wanted: W,
    keep: Keep,
    containers: usize,
    found: Pods,
}

impl<W: Fn(&str, &str) -> bool> Reader<'_, W> {
    /// Reads the array of pods. Go writes `null` for an empty array.
    fn items(&mut self, walk: &mut Walk<'_>) -> Result<(), Malformed> {
        if walk.peek()? != b'[' {
            return match walk.value()? {
                b"null" => Ok(()),
                _ => Err(Malformed::NoItems),
            };
        }
        let mut more = walk.enter(b'[', b']')?;
        while more {
            self.found.on_node += 1;
            if self.found.on_node > MOST_PODS {
                return Err(Malformed::TooMany(MOST_PODS, "pods"));
            }
            let start = walk.clone();
            let is_read = match Parts::read(walk) {
                Ok(parts) => {
                    let (rest, behind) = (start.rest().len(), walk.rest().len());
                    let is_large = rest > LARGE_REPLY && rest - behind > LARGEST_POD;
                    !is_large && self.pod(&parts).is_ok()
                }
                Err(_) => {
                    // Finds the pod's end by brackets and quotes, without decoding it.
                    *walk = start;
                    walk.value()?;
                    false
                }
            };
            self.found.unreadable += usize::from(!is_read);
            if self.keep.is_too_much() {
                return Err(Malformed::TooMuchText(MOST_TEXT));
            }
            if self.containers > MOST_CONTAINERS {
                return Err(Malformed::TooMany(MOST_CONTAINERS, "containers"));
            }
            more = walk.another(b']')?;
        }
        Ok(())
    }

    /// Appends the pod to the list, if it is selected.
    fn pod(&mut self, parts: &Parts<'_>) -> Result<(), Broken> {
        let metadata = Metadata::read(parts.metadata)?;
        if !metadata.is_plausible() || !(self.is_wanted)(&metadata.namespace, &metadata.name) {
            return Ok(());
        }
        let mut pod = metadata.facts(self.want, &mut self.keep)?;
        let keep = &mut self.keep;
        object(&mut Walk::new(parts.spec), |key, walk| match key {
            b"resources" => resources(&mut pod.resources, walk),
            key => containers::of_spec(&mut pod.containers, key, keep, walk),
        })?;
        // These count even if the pod turns out to be broken later, because reading them took time.
        self.containers += pod.containers.len();
        pod.containers.sort_by_key(containers::place);
        object(&mut Walk::new(parts.status), |key, walk| {
            match key {
                b"qosClass" => pod.qos_class = keep.text(walk)?,
                b"phase" => pod.phase = keep.text(walk)?,
                b"reason" => pod.reason = keep.text(walk)?,
                b"startTime" => pod.start_time = walk.time()?,
                key => containers::of_status(&mut pod.containers, key, keep, walk)?,
            }
            Ok(())
        })?;
        self.found.pods.push(pod);
        Ok(())
    }
}

/// The members of a pod, not decoded. A kubelet writes them in this order, but the order may
/// differ.
struct Parts<'a> {
    metadata: &'a [u8],
    spec: &'a [u8],
    status: &'a [u8],
}

impl<'a> Parts<'a> {
    fn read(walk: &mut Walk<'a>) -> Result<Self, Broken> {
        let mut parts = Self {
            metadata: b"null",
            spec: b"null",
            status: b"null",
        };
        object(walk, |key, walk| {
            let value = walk.value()?;
            match key {
                b"metadata" => parts.metadata = value,
                b"spec" => parts.spec = value,
                b"status" => parts.status = value,
                _ => {}
            }
            Ok(())
        })?;
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{ContainerKind, LabelSelector, Patterns, PodFacts, Resources, State};

    fn patterns(list: &str) -> Patterns {
        Patterns::parse(list).expect("names")
    }

    fn read(items: &str) -> Result<Pods, Malformed> {
        let (labels, annotations) = (patterns("app*,tier"), patterns("example.com/*"));
        let selector = LabelSelector::parse("env=prod").expect("a selector");
        let want = Want {
            labels: &labels,
            annotations: &annotations,
            selector: Some(&selector),
        };
        let body = format!(r#"{{"kind":"PodList","items":{items},"metadata":{{}}}}"#);
        parse(body.as_bytes(), &want, |_, name| name != "unwanted")
    }

    /// Reads a list with a single pod that has these members.
    fn pod(members: &str) -> PodFacts {
        let mut found = read(&format!("[{{{members}}}]")).expect("a list");
        assert_eq!((found.on_node, found.unreadable), (1, 0), "{members}");
        found.pods.pop().expect("a pod")
    }

    fn with_metadata(members: &str) -> PodFacts {
        pod(&format!(
            r#""metadata":{{"name":"p","namespace":"n","uid":"u",{members}}}"#
        ))
    }

    #[test]
    fn the_controller_is_the_owner_that_counts() {
        for (references, labels, expected) in [
            (
                r#"{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web-5d69b5c8bf","uid":"d9607e19","controller":true,"blockOwnerDeletion":true}"#,
                r#"{"app":"web","pod-template-hash":"5d69b5c8bf"}"#,
                Some(("Deployment", "web")),
            ),
            (
                r#"{"apiVersion":"v1","kind":"ConfigMap","name":"first"},{"apiVersion":"apps/v1","kind":"StatefulSet","name":"db","controller":true}"#,
                "{}",
                Some(("StatefulSet", "db")),
            ),
            (
                r#"{"apiVersion":"v1","kind":"ConfigMap","name":"first"},{"apiVersion":"v1","kind":"ConfigMap","name":"second","controller":false}"#,
                "{}",
                Some(("ConfigMap", "first")),
            ),
            (
                r#"{"apiVersion":"batch/v1","kind":"Job","name":"hello-29403360","controller":true}"#,
                "null",
                Some(("CronJob", "hello")),
            ),
            (
                r#"{"apiVersion":"v1","kind":"Node","name":"vm","controller":true}"#,
                "{}",
                None,
            ),
            ("", "{}", None),
        ] {
            let found = with_metadata(&format!(
                r#""ownerReferences":[{references}],"labels":{labels}"#
            ));
            let workload = found.workload.as_ref();
            let workload = workload.map(|of| (&*of.kind, &*of.name));
            assert_eq!(workload, expected, "{references}");
        }
        assert_eq!(with_metadata(r#""ownerReferences":null"#).workload, None);
    }

    #[test]
    fn labels_and_annotations_are_those_that_are_wanted() {
        let long = "x".repeat(4097);
        let found = with_metadata(&format!(
            r#""labels":{{"tier":"b","app":"old","app.kubernetes.io\/name":"\u00e4","env":"prod","app":"web"}},
               "annotations":{{"example.com/long":"{long}","example.com/a":"1","other":"2","kubeletstats.io/exclude":"true"}}"#
        ));
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(Box<str>, Box<str>)> {
            let pairs = pairs.iter().copied();
            pairs
                .map(|(key, value)| (key.into(), value.into()))
                .collect()
        };
        let expected = [
            ("app", "web"),
            ("app.kubernetes.io/name", "\u{e4}"),
            ("tier", "b"),
        ];
        assert_eq!(found.labels, pairs(&expected));
        assert_eq!(found.annotations, pairs(&[("example.com/a", "1")]));
        assert!(found.is_selected && found.opted_out);
        let found = with_metadata(
            r#""labels":{"env":"test"},"annotations":{"kubeletstats.io/exclude":"false"}"#,
        );
        assert!(!found.is_selected && !found.opted_out);
        assert!(found.labels.is_empty() && found.annotations.is_empty());
    }

    #[test]
    fn a_mirror_pod_is_known_by_the_hash_of_its_manifest() {
        for annotations in [
            r#"{"kubernetes.io/config.hash":"hash","kubernetes.io/config.source":"file"}"#,
            r#"{"kubernetes.io/config.mirror":"hash"}"#,
            r#"{"kubernetes.io/config.hash":"hash","kubernetes.io/config.mirror":"hash"}"#,
        ] {
            let found = with_metadata(&format!(r#""annotations":{annotations}"#));
            assert_eq!(found.config_hash.as_deref(), Some("hash"));
            assert!(found.is_of("hash") && found.is_of("u") && found.is_of(""));
            assert!(!found.is_of("other"));
        }
        let found = with_metadata(r#""annotations":null"#);
        assert!(found.config_hash.is_none() && !found.is_of("hash"));
    }

    /// The kubelet evicted this pod. The order of its members does not matter.
    #[test]
    fn a_pod_says_what_has_become_of_it() {
        let found = pod(
            r#""status":{"reason":"Evicted","message":"The node was low on resource: memory.","phase":"Failed","qosClass":"Burstable","startTime":"1970-01-01T00:00:07Z",
               "containerStatuses":[{"name":"c","restartCount":3}]},
               "spec":{"resources":{"requests":{"cpu":"1","memory":"100Mi"},"limits":{"cpu":"1500m"}},"containers":[{"image":"a","name":"c"}]},
               "metadata":{"namespace":"n","name":"p"}"#,
        );
        assert_eq!(found.reason.as_deref(), Some("Evicted"));
        assert_eq!(found.phase.as_deref(), Some("Failed"));
        assert_eq!(found.qos_class.as_deref(), Some("Burstable"));
        assert_eq!(found.start_time.map(|time| time.seconds), Some(7));
        let expected = Resources {
            cpu_request: Some(1.0),
            cpu_limit: Some(1.5),
            memory_request: Some(100 << 20),
            memory_limit: None,
        };
        assert_eq!(found.resources, expected);
        assert_eq!(found.containers[0].restart_count, Some(3));
        assert_eq!(found.containers[0].state, None);
    }

    #[test]
    fn containers_are_of_four_kinds() {
        let found = pod(r#""metadata":{"name":"p"},
               "spec":{"ephemeralContainers":[{"name":"debugger","image":"busybox:1.28","targetContainerName":"app"}],
                       "containers":[{"name":"app","image":"registry.k8s.io/pause:3.1","restartPolicy":"Always"}],
                       "initContainers":[{"name":"setup","restartPolicy":null},{"name":"logshipper","restartPolicy":"Always"},{"name":""}]},
               "status":{"ephemeralContainerStatuses":[{"name":"debugger","containerID":"cri-o://abc","state":{"running":{"startedAt":"1970-01-01T00:00:09Z"}}}],
                         "initContainerStatuses":[{"name":"setup","containerID":"def","state":{"terminated":{"exitCode":0,"reason":"Completed","startedAt":"1970-01-01T00:00:05Z"}}}],
                         "containerStatuses":[{"name":"nobody"},{"name":"app","containerID":"","restartCount":-1,"state":{},"lastState":{}}]}"#);
        use ContainerKind::{App, Ephemeral, Init, Sidecar};
        let kinds: Vec<_> = found
            .containers
            .iter()
            .map(|one| (&*one.name, one.kind))
            .collect();
        let expected = [
            ("setup", Init),
            ("logshipper", Sidecar),
            ("app", App),
            ("debugger", Ephemeral),
        ];
        assert_eq!(kinds, expected);
        let one = |name| found.container(name).expect(name);
        let (setup, app, debugger) = (one("setup"), one("app"), one("debugger"));
        assert_eq!(debugger.container_id.as_deref(), Some("abc"));
        assert_eq!(debugger.state, Some(State::Running));
        assert_eq!(debugger.started_at.map(|time| time.seconds), Some(9));
        assert_eq!(debugger.kind.as_str(), "ephemeral");
        assert_eq!(setup.container_id.as_deref(), Some("def"));
        assert_eq!(setup.state_reason.as_deref(), Some("Completed"));
        assert_eq!((setup.exit_code, setup.started_at), (Some(0), None));
        // The API reads a state without members as waiting.
        assert_eq!(app.state, Some(State::Waiting));
        assert_eq!((app.restart_count, &app.container_id), (None, &None));
        assert_eq!(
            (&app.last_termination_reason, app.last_exit_code),
            (&None, None)
        );
        assert_eq!(one("logshipper").state, None);
    }

    /// The pod was resized while it ran. The spec has the requested values, the status those in
    /// force.
    #[test]
    fn resources_are_those_in_force() {
        let read = |spec: &str, status: &str| {
            let found = pod(&format!(
                r#""metadata":{{"name":"p"}},"spec":{{"containers":[{{"name":"c","resources":{spec}}}]}},
                   "status":{{"containerStatuses":[{{"name":"c","resources":{status}}}]}}"#
            ));
            found.containers[0].resources
        };
        let of = |cpu_request, cpu_limit, memory_limit| Resources {
            cpu_request,
            cpu_limit,
            memory_request: None,
            memory_limit,
        };
        let spec = r#"{"limits":{"cpu":"800m","memory":"200Mi"},"requests":{"cpu":"700m"}}"#;
        let from_spec = of(Some(0.7), Some(0.8), Some(200 << 20));
        for (status, expected) in [
            ("null", from_spec),
            ("{}", from_spec),
            (r#"{"requests":{"nvidia.com/gpu":"1"}}"#, from_spec),
            (r#"{"limits":{"cpu":"500m"}}"#, of(None, Some(0.5), None)),
            (
                r#"{"limits":{"cpu":2,"memory":"much"}}"#,
                of(None, Some(2.0), None),
            ),
        ] {
            assert_eq!(read(spec, status), expected, "{status}");
        }
        assert_eq!(read("null", "null"), Resources::default());
    }

    #[test]
    fn one_broken_pod_costs_only_itself() {
        let good = r#"{"metadata":{"name":"good"}}"#;
        for broken in [
            "null",
            "1",
            "{}",
            r#"{"metadata":{"name":""}}"#,
            r#"{"metadata":{"name":1}}"#,
            r#"{"metadata":{"name":"p","labels":{"a":1}}}"#,
            r#"{"metadata":{"name":"p","labels":[]}}"#,
            r#"{"metadata":{"name":"p"},"spec":{"containers":{}}}"#,
            r#"{"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":{}}}}]}}"#,
            r#"{"metadata":{"name":"p"},"status":{"startTime":[]}}"#,
            r#"{"metadata":{"name":"p"},"status":{"containerStatuses":[[]]}}"#,
            r#"{"metadata":{"name":"p"} "spec":{}}"#,
        ] {
            let found = read(&format!("[{good},{broken},{good}]")).expect("a list");
            let counts = (found.pods.len(), found.unreadable, found.on_node);
            assert_eq!(counts, (2, 1, 3), "{broken}");
        }
        let long = "x".repeat(254);
        for not_wanted in [
            r#"{"metadata":{"name":"unwanted"},"spec":{"containers":{}}}"#.to_owned(),
            format!(r#"{{"metadata":{{"name":"{long}"}}}}"#),
        ] {
            let found = read(&format!("[{not_wanted}]")).expect("a list");
            let counts = (found.pods.len(), found.unreadable, found.on_node);
            assert_eq!(counts, (0, 0, 1), "{not_wanted}");
        }
    }

    #[test]
    fn what_is_no_list_of_pods_says_why() {
        let (none, want) = (Patterns::default(), LabelSelector::default());
        let want = Want {
            labels: &none,
            annotations: &none,
            selector: Some(&want),
        };
        let many = format!(r#"{{"items":[{}]}}"#, vec!["null"; 10_001].join(","));
        for (body, expected) in [
            ("", "it ends in the middle"),
            (r#"{"items":["#, "it ends in the middle"),
            (
                r#"{"items":[{"metadata":{"name":"p"}}"#,
                "it ends in the middle",
            ),
            ("Forbidden", "it is not json at byte 0"),
            (r#"{"items":[}]}"#, "it is not json at byte 10"),
            (r#"{"items":[]}}"#, "it is not json at byte 12"),
            ("[]", "it has no 'items'"),
            ("{}", "it has no 'items'"),
            (r#"{"items":{}}"#, "it has no 'items'"),
            (r#"{"kind":"Status","code":403}"#, "it has no 'items'"),
            (&many, "it has more than 10000 pods"),
        ] {
            let found = parse(body.as_bytes(), &want, |_, _| true);
            let why = found.expect_err(expected).to_string();
            assert_eq!(why, expected, "{}", body.get(..40).unwrap_or(body));
        }
        let empty = parse(br#"{"items":null}"#, &want, |_, _| true).expect("a list");
        assert_eq!((empty.pods.len(), empty.on_node), (0, 0));
    }
}
