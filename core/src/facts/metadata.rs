//! Reads the identity of a pod: names, owner, labels and annotations.

use std::borrow::Cow;

use super::{
    Pairs, PodFacts, Want,
    keep::{Keep, array, object, text, texts},
    owner::Owner,
};
use crate::{
    json::{Broken, Walk},
    summary::LONGEST_NAME,
};

/// Has the hash of a static pod's manifest.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// Has the same hash, on the pod's mirror in the API.
const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";
const CONFIG_SOURCE: &str = "kubernetes.io/config.source";
const TEMPLATE_HASH: &str = "pod-template-hash";
const EXCLUDE: &str = "kubeletstats.io/exclude";

/// A pod's metadata. Labels and annotations are not decoded here, because a hostile reply may have
/// any number of them.
pub(super) struct Metadata<'a> {
    pub name: Cow<'a, str>,
    pub namespace: Cow<'a, str>,
    uid: Cow<'a, str>,
    owner: Option<Reference<'a>>,
    labels: &'a [u8],
    annotations: &'a [u8],
}

impl<'a> Metadata<'a> {
    /// Reads the metadata. Metadata without a name is an error.
    pub fn read(metadata: &'a [u8]) -> Result<Self, Broken> {
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

    /// Whether Kubernetes would accept the length of these names. If not, the pod is dropped.
    pub fn is_plausible(&self) -> bool {
        [&self.name, &self.namespace, &self.uid]
            .iter()
            .all(|text| text.len() <= LONGEST_NAME)
    }

    pub fn facts(&self, want: &Want<'_>, keep: &mut Keep) -> Result<PodFacts, Broken> {
        let (mut hash, mut mirror, mut template_hash, mut opted_out) = (None, None, None, false);
        let mut is_of_api = false;
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
            // The kubelet says from which source it has the pod. If the source is the API, the hash
            // was written by the pod's owner and does not identify the pod.
            CONFIG_SOURCE => is_of_api = value == "api",
            EXCLUDE => opted_out = value == "true",
            _ => {}
        })?;
        let hash = hash.filter(|_| !is_of_api).or(mirror);
        let hash = hash.filter(|hash| (1..=LONGEST_NAME).contains(&hash.len()));
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

/// The limits of a pod's labels, and of its annotations. They are in each record of its containers
/// and volumes, so more than these are dropped.
const MOST_PAIRS: usize = 256;
const MOST_BYTES: usize = 32 << 10;

/// Returns the allowed pairs of a map, sorted by key. `each` receives all pairs.
fn allowed<'a>(
    map: &'a [u8],
    allows: impl Fn(&str) -> bool,
    keep: &mut Keep,
    mut each: impl FnMut(&str, &Cow<'a, str>),
) -> Result<Pairs, Broken> {
    let mut kept = Pairs::new();
    let mut bytes = 0;
    texts(map, |key, value| {
        each(&key, &value);
        if kept.len() < MOST_PAIRS
            && bytes + key.len() + value.len() <= MOST_BYTES
            && allows(&key)
            && let Some(value) = keep.take(&value)
            && let Some(key) = keep.take(&key)
        {
            bytes += key.len() + value.len();
            kept.push((key, value));
        }
    })?;
    // If a key occurs twice, the last value counts, as in Go.
    kept.reverse();
    kept.sort_by(|(a, _), (b, _)| a.cmp(b));
    kept.dedup_by(|(later, _), (first, _)| later == first);
    kept.shrink_to_fit();
    Ok(kept)
}

/// Returns the value of a key, at any place in the map.
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
    /// Returns the owner that controls the pod. If there is none, it returns the first owner.
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
        // No kind and no name in Kubernetes is longer.
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
