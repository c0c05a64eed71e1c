//! The list of pods: which are read, and what of each. Limits as of the
//! [summary](crate::summary), so that what a reply becomes in memory follows what a node can
//! have, and not its bytes.

use std::borrow::Cow;

use super::{
    Malformed, PodFacts, Pods, Want,
    containers::{self, resources},
    keep::{Keep, MOST_TEXT, array, object, text, texts},
    owner::Owner,
};
use crate::json::{Broken, Walk};

const MOST_PODS: usize = 10_000;
const MOST_CONTAINERS: usize = 20_000;
/// The longest name of an object in Kubernetes, in bytes.
pub(super) const LONGEST_NAME: usize = 253;

/// The hash of the manifest of a static pod.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// The same hash, at its mirror in the API.
const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";
const TEMPLATE_HASH: &str = "pod-template-hash";
const EXCLUDE: &str = "kubeletstats.io/exclude";

/// Decodes a reply, of the pods those of which `is_wanted` says so of namespace and name. The
/// others are stepped over. A pod that cannot be decoded is left out, and costs no other.
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

/// Reads one pod after the other.
struct Reader<'w, W> {
    want: &'w Want<'w>,
    is_wanted: W,
    keep: Keep,
    containers: usize,
    found: Pods,
}

impl<W: Fn(&str, &str) -> bool> Reader<'_, W> {
    /// An array; `null` is what Go writes for an empty one.
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
            match Parts::read(walk).and_then(|parts| self.pod(&parts)) {
                Ok(()) => {}
                Err(_) => {
                    // Its end is found without understanding it.
                    *walk = start;
                    walk.value()?;
                    self.found.unreadable += 1;
                }
            }
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

    /// Puts the pod behind the others, if it is wanted.
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
        // Those of a pod that turns out to be broken took their time all the same.
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

/// A pod, undecoded. A kubelet writes them in this order, and needs not.
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

/// Whom a pod's facts are about. Labels and annotations are looked at where they stand: a
/// hostile reply may have any number of them.
struct Metadata<'a> {
    name: Cow<'a, str>,
    namespace: Cow<'a, str>,
    uid: Cow<'a, str>,
    owner: Option<Reference<'a>>,
    labels: &'a [u8],
    annotations: &'a [u8],
}

impl<'a> Metadata<'a> {
    /// One without a name is an error.
    fn read(metadata: &'a [u8]) -> Result<Self, Broken> {
        let mut read = Self {
            name: Cow::default(),
            namespace: Cow::default(),
            uid: Cow::default(),
            owner: None,
            labels: b"null",
            annotations: b"null",
        };
        let mut walk = Walk::new(metadata);
        object(&mut walk, |key, walk| {
            match key {
                b"name" => read.name = text(walk)?,
                b"namespace" => read.namespace = text(walk)?,
                b"uid" => read.uid = text(walk)?,
                b"labels" => read.labels = walk.value()?,
                b"annotations" => read.annotations = walk.value()?,
                b"ownerReferences" => read.owner = Reference::of_list(walk)?,
                _ => walk.skip()?,
            }
            Ok(())
        })?;
        match read.name.is_empty() {
            true => Err(walk.broken()),
            false => Ok(read),
        }
    }

    /// What Kubernetes would not have let be created is not passed on.
    fn is_plausible(&self) -> bool {
        [&self.name, &self.namespace, &self.uid]
            .iter()
            .all(|text| text.len() <= LONGEST_NAME)
    }

    fn facts(&self, want: &Want<'_>, keep: &mut Keep) -> Result<PodFacts, Broken> {
        let (mut hash, mut mirror, mut template_hash, mut opted_out) = (None, None, None, false);
        let labels = allowed(
            self.labels,
            |key| want.labels.allows(key),
            keep,
            |key, value| {
                if key == TEMPLATE_HASH {
                    template_hash = Some(value.clone());
                }
            },
        )?;
        let allows = |key: &str| want.annotations.allows(key);
        let annotations = allowed(self.annotations, allows, keep, |key, value| match key {
            CONFIG_HASH => hash = Some(value.clone()),
            CONFIG_MIRROR => mirror = Some(value.clone()),
            EXCLUDE => opted_out = value == "true",
            _ => {}
        })?;
        let hash = hash.or(mirror).filter(|hash| !hash.is_empty());
        Ok(PodFacts {
            namespace: keep.take(&self.namespace).unwrap_or_default(),
            name: keep.take(&self.name).unwrap_or_default(),
            uid: keep.take(&self.uid).unwrap_or_default(),
            config_hash: hash.and_then(|hash| keep.take(&hash)),
            workload: self.owner.as_ref().and_then(|owner| {
                let workload = owner.as_owner().workload(template_hash.as_deref())?;
                keep.take(&workload.name)?;
                Some(workload)
            }),
            labels,
            annotations,
            is_selected: want
                .selector
                .is_none_or(|selector| selector.matches(|key| value_of(self.labels, key))),
            opted_out,
            ..PodFacts::default()
        })
    }
}

/// Those of a map that are wanted, sorted by key; `each` sees all of them.
fn allowed<'a>(
    map: &'a [u8],
    allows: impl Fn(&str) -> bool,
    keep: &mut Keep,
    mut each: impl FnMut(&str, &Cow<'a, str>),
) -> Result<Vec<(Box<str>, Box<str>)>, Broken> {
    let mut kept: Vec<(Box<str>, Box<str>)> = Vec::new();
    texts(map, |key, value| {
        each(&key, &value);
        if allows(&key)
            && let Some(value) = keep.take(&value)
            && let Some(key) = keep.take(&key)
        {
            kept.push((key, value));
        }
    })?;
    // Of a key that stands there twice the last counts, as for Go.
    kept.reverse();
    kept.sort_by(|(a, _), (b, _)| a.cmp(b));
    kept.dedup_by(|(later, _), (first, _)| later == first);
    kept.shrink_to_fit();
    Ok(kept)
}

/// The value of one key, wherever in the map it stands.
fn value_of<'a>(map: &'a [u8], wanted: &str) -> Option<Cow<'a, str>> {
    let mut found = None;
    let whole = texts(map, |key, value| {
        if key == wanted {
            found = Some(value);
        }
    });
    whole.ok().and(found)
}

/// A reference to an owner.
#[derive(Default)]
struct Reference<'a> {
    api_version: Cow<'a, str>,
    kind: Cow<'a, str>,
    name: Cow<'a, str>,
    is_controller: bool,
}

impl<'a> Reference<'a> {
    /// The one that controls the pod; where none does, the first.
    fn of_list(walk: &mut Walk<'a>) -> Result<Option<Self>, Broken> {
        let mut found: Option<Self> = None;
        array(walk, |walk| {
            let mut one = Self::default();
            object(walk, |key, walk| {
                match key {
                    b"apiVersion" => one.api_version = text(walk)?,
                    b"kind" => one.kind = text(walk)?,
                    b"name" => one.name = text(walk)?,
                    b"controller" => one.is_controller = walk.value()? == b"true",
                    _ => walk.skip()?,
                }
                Ok(())
            })?;
            let is_better = |known: &Self| one.is_controller && !known.is_controller;
            if found.as_ref().is_none_or(is_better) {
                found = Some(one);
            }
            Ok(())
        })?;
        // Nobody's kind or name is longer.
        Ok(found.filter(|one| one.kind.len().max(one.name.len()) <= LONGEST_NAME))
    }

    fn as_owner(&self) -> Owner<'_> {
        Owner {
            api_version: &self.api_version,
            kind: &self.kind,
            name: &self.name,
        }
    }
}
