//! Turns the bytes of the kubelet's stats summary into the selected pods and their values.
//!
//! This module knows no HTTP and no msgpack. The [catalogue](crate::catalogue) knows which values
//! there are and how they are called. This module knows what is around them: the node, its pods,
//! their identities, and the limits. Pods that are not selected are skipped without being decoded,
//! so the cost of a scrape depends on the selected pods, and a broken pod affects only itself. The
//! same is true for values that are not in the [`Plan`]. Every number is optional, as in the
//! kubelet's own types. A number that is absent, negative or not a whole number of 64 bits is
//! `None` here, never 0.

use std::{borrow::Cow, fmt};

use crate::{
    catalogue::{
        ContainerStats, Filesystem, Level, Members, Memory, NodeStats, Plan, PodStats,
        RuntimeStats, Traffic,
    },
    json::{Broken, Walk},
    number::Number,
    timestamp::Timestamp,
};

/// The decoded part of a reply.
#[derive(Debug, Default)]
pub struct Summary<'a> {
    /// The node, as far as the plan includes it.
    pub node: Node<'a>,
    /// The memory of the node, if the reply shows it.
    pub(crate) memory_bytes: Option<u64>,
    /// The selected pods, in the order of the reply.
    pub pods: Vec<Pod<'a>>,
    /// The number of all pods in the reply.
    pub pods_on_node: usize,
    /// The number of pods that could not be decoded.
    pub pods_unreadable: usize,
}

/// The node.
#[derive(Debug, Default)]
pub struct Node<'a> {
    /// The name that the node gives itself. It is never empty.
    pub name: Option<Cow<'a, str>>,
    /// When it booted.
    pub start_time: Option<Timestamp>,
    /// Its own values.
    pub stats: NodeStats,
    /// The values of the container runtime.
    pub runtime: RuntimeStats,
    /// Its traffic.
    pub network: Network<'a>,
    /// What runs outside pods: `kubelet`, `runtime`, `pods` …
    pub system_containers: Vec<Container<'a>>,
}

/// A selected pod.
#[derive(Debug, Default)]
pub struct Pod<'a> {
    /// The pod's name. Name, namespace and uid are those of the `podRef`, which is read first.
    pub name: Cow<'a, str>,
    /// The pod's namespace.
    pub namespace: Cow<'a, str>,
    /// The uid of the API's object, or the hash of a static pod's manifest. Some kubelets use the
    /// same uid twice.
    pub uid: Cow<'a, str>,
    /// When the pod's sandbox was created.
    pub start_time: Option<Timestamp>,
    /// The pod's own values, if the plan includes them.
    pub stats: Option<Box<PodStats>>,
    /// Its traffic, which its containers share.
    pub network: Network<'a>,
    /// The containers, except those with a name that Kubernetes would refuse.
    pub containers: Vec<Container<'a>>,
    /// The volumes whose size the kubelet knows.
    pub volumes: Vec<Volume<'a>>,
}

/// A container of a pod, or of the system.
#[derive(Debug, Default)]
pub struct Container<'a> {
    /// The name, unique in its pod.
    pub name: Cow<'a, str>,
    /// The start of this run of the container.
    pub start_time: Option<Timestamp>,
    /// Its values.
    pub stats: ContainerStats,
}

/// A volume of a pod.
#[derive(Debug, Default)]
pub struct Volume<'a> {
    /// The name, unique in its pod.
    pub name: Cow<'a, str>,
    /// The claim behind it, in the pod's namespace.
    pub claim: Option<Cow<'a, str>>,
    /// Whether the storage driver reports a problem with the volume.
    pub is_abnormal: Option<bool>,
    /// Its size.
    pub filesystem: Filesystem,
}

/// The traffic of the node, or of a pod since it started.
#[derive(Debug, Default)]
pub struct Network<'a> {
    /// The name of the interface of `total`. It is empty if there is none.
    pub name: Cow<'a, str>,
    /// The traffic of the default interface, which is directly in this object. If the kubelet found
    /// none, it is the traffic of the only interface. Several interfaces are not added up, because
    /// traffic through a bridge or a veth is counted there and again on the way out.
    pub total: Traffic,
    /// Each interface, if the plan includes them.
    pub interfaces: Vec<Interface<'a>>,
    /// The list of interfaces. It is decoded only if it is needed, because it is the longest part.
    undecoded: Option<&'a [u8]>,
}

/// One interface.
#[derive(Debug, Default)]
pub struct Interface<'a> {
    /// The name that the kernel uses.
    pub name: Cow<'a, str>,
    /// Its counters.
    pub traffic: Traffic,
}

/// The body of a reply, or what a [`Sieve`](crate::sieve::Sieve) has left of it.
#[derive(Debug, Clone, Copy)]
pub struct Body<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// How many pods were dropped from it.
    pub dropped_pods: usize,
}

impl<'a, T: AsRef<[u8]> + ?Sized> From<&'a T> for Body<'a> {
    fn from(whole: &'a T) -> Self {
        Self {
            bytes: whole.as_ref(),
            dropped_pods: 0,
        }
    }
}

/// Why a reply is not a summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// The JSON is cut.
    Cut,
    /// The byte at this offset is not valid JSON.
    NotJson(usize),
    /// It is not an object with `pods`.
    NoPods,
    /// There are more of these than any node has: the limit, and what exceeds it.
    TooMany(usize, &'static str),
}

impl From<Broken> for Malformed {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Cut => Self::Cut,
            Broken::At(offset) => Self::NotJson(offset),
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Cut => f.write_str("it ends in the middle"),
            Malformed::NotJson(offset) => write!(f, "it is not json at byte {offset}"),
            Malformed::NoPods => f.write_str("it has no 'pods'"),
            Malformed::TooMany(most, what) => write!(f, "it has more than {most} {what}"),
        }
    }
}

/// The memory of lists that are no longer used, for the lists of the next reply. After some
/// scrapes, a reply like the previous one needs no new memory.
#[derive(Debug, Default)]
pub struct Spare {
    pods: Vec<Pod<'static>>,
    containers: Vec<Vec<Container<'static>>>,
}

/// The limit for kept pods, and the limit for kept containers.
const MOST_SPARE: usize = 2_000;

impl Spare {
    /// Takes the memory of a summary.
    pub fn reclaim(&mut self, summary: Summary) {
        let mut pods = summary.pods;
        let mut kept: usize = self.containers.iter().map(Vec::capacity).sum();
        for pod in pods.drain(..) {
            kept += pod.containers.capacity();
            if pod.containers.capacity() > 0 && kept <= MOST_SPARE {
                self.containers.push(emptied(pod.containers));
            }
        }
        if pods.capacity() <= MOST_SPARE {
            self.pods = emptied(pods);
        }
    }
}

/// Keeps the list's memory for values that borrow from another reply. A list that is collected into
/// one of the same layout keeps its memory.
fn emptied<T, U>(mut list: Vec<T>) -> Vec<U> {
    list.clear();
    let none = list.into_iter().map(|_| unreachable!("it is empty"));
    none.collect()
}

/// Ten times the number on the largest nodes. These limits, not the size of the reply, limit the
/// memory that a reply needs: an empty container is two bytes in the reply and needs a hundred
/// times as many in memory.
pub(crate) const MOST_PODS: usize = 10_000;
pub(crate) const MOST_CONTAINERS: usize = 20_000;
pub(crate) const MOST_CONTAINERS_OF_A_POD: usize = 1_000;
/// The same limits for volumes and interfaces. A node that is a router may have hundreds of
/// interfaces.
const MOST_VOLUMES_OF_A_POD: usize = 1_000;
const MOST_INTERFACES: usize = 10_000;

/// The limit for all pods together.
const MOST_VOLUMES_AND_INTERFACES: usize = 50_000;

/// If more than the first limit remains of a reply (more than a thousand pods need), a pod larger
/// than the second limit is not decoded. It may consist of brackets, each of which needs memory.
pub(crate) const LARGE_REPLY: usize = 4 << 20;
pub(crate) const LARGEST_POD: usize = 1 << 20;

/// Decodes what `plan` includes, and only the pods that `is_wanted` accepts. The others are
/// skipped. A pod that cannot be decoded is dropped, and the other pods are not affected.
pub fn parse<'a>(
    body: &'a [u8],
    plan: Plan,
    is_wanted: impl Fn(&PodRef) -> bool,
) -> Result<Summary<'a>, Malformed> {
    parse_into(&mut Spare::default(), body.into(), plan, is_wanted)
}

/// Does the same in the memory of earlier summaries.
pub fn parse_into<'a>(
    spare: &mut Spare,
    body: Body<'a>,
    plan: Plan,
    is_wanted: impl Fn(&PodRef) -> bool,
) -> Result<Summary<'a>, Malformed> {
    let mut walk = Walk::new(body.bytes);
    let mut summary = Summary {
        pods_on_node: body.dropped_pods,
        pods: emptied(std::mem::take(&mut spare.pods)),
        ..Summary::default()
    };
    let mut read = PodReader {
        plan,
        is_wanted,
        spare,
    };
    let mut has_pods = false;
    if walk.peek()? != b'{' {
        return Err(match walk.value() {
            Ok(_) => Malformed::NoPods,
            Err(broken) => broken.into(),
        });
    }
    let mut more = walk.enter(b'{', b'}')?;
    while more {
        match walk.key()? {
            b"node" => summary.node(walk.value()?, plan),
            b"pods" => {
                summary.pods(&mut walk, &mut read)?;
                has_pods = true;
            }
            _ => {
                walk.value()?;
            }
        }
        more = walk.another(b'}')?;
    }
    walk.end()?;
    if !has_pods {
        return Err(Malformed::NoPods);
    }
    summary.forget_impossible_memory();
    Ok(summary)
}

impl<'a> Summary<'a> {
    /// Reads the node. If it cannot be read as a whole, at least its name and its memory are read.
    fn node(&mut self, text: &'a [u8], plan: Plan) {
        let mut brief = NodeBrief::default();
        if brief.read(plan, &mut Walk::new(text)).is_err() {
            return;
        }
        // The kubelet computes the available memory as all memory minus the working set.
        self.memory_bytes = brief
            .available
            .zip(brief.working_set)
            .and_then(|(available, used)| available.get().checked_add(used.get()));
        if plan.node || plan.system_containers || plan.interfaces {
            let mut node = Node::default();
            if node.read(plan, &mut Walk::new(text)).is_ok() {
                self.node = node;
            }
        }
        self.node.name = brief.name.filter(|name| !name.is_empty());
    }

    /// Drops memory values above the node's memory. The node may come after the pods in the reply.
    fn forget_impossible_memory(&mut self) {
        let Some(most) = self.memory_bytes else {
            return;
        };
        for pod in &mut self.pods {
            if let Some(stats) = &mut pod.stats {
                stats.memory.forget_above(most);
            }
            for container in &mut pod.containers {
                container.stats.memory.forget_above(most);
            }
        }
    }

    /// Reads the array of pods. Go writes `null` for an empty array.
    fn pods(
        &mut self,
        walk: &mut Walk<'a>,
        read: &mut PodReader<'_, impl Fn(&PodRef) -> bool>,
    ) -> Result<(), Malformed> {
        if walk.peek()? != b'[' {
            return match walk.value()? {
                b"null" => Ok(()),
                _ => Err(Malformed::NoPods),
            };
        }
        let (mut containers, mut others) = (0, 0);
        let mut more = walk.enter(b'[', b']')?;
        while more {
            self.pods_on_node += 1;
            if self.pods_on_node > MOST_PODS {
                return Err(Malformed::TooMany(MOST_PODS, "pods"));
            }
            match read.pod(walk, &mut self.pods)? {
                Found::Wanted => {
                    containers += self.pods.last().map_or(0, |pod| pod.containers.len());
                    if containers > MOST_CONTAINERS {
                        return Err(Malformed::TooMany(MOST_CONTAINERS, "containers"));
                    }
                    others += self
                        .pods
                        .last()
                        .map_or(0, |pod| pod.volumes.len() + pod.network.interfaces.len());
                    if others > MOST_VOLUMES_AND_INTERFACES {
                        let what = "volumes and interfaces";
                        return Err(Malformed::TooMany(MOST_VOLUMES_AND_INTERFACES, what));
                    }
                }
                Found::NotWanted => {}
                Found::Unreadable => self.pods_unreadable += 1,
            }
            more = walk.another(b']')?;
        }
        Ok(())
    }
}

/// What was found in place of a pod.
enum Found {
    Wanted,
    NotWanted,
    Unreadable,
}

/// Reads the pods one after the other.
struct PodReader<'p, W> {
    plan: Plan<'p>,
    is_wanted: W,
    spare: &'p mut Spare,
}

impl<W: Fn(&PodRef) -> bool> PodReader<'_, W> {
    /// Appends the pod to the list, if it is selected.
    fn pod<'a>(
        &mut self,
        walk: &mut Walk<'a>,
        pods: &mut Vec<Pod<'a>>,
    ) -> Result<Found, Malformed> {
        let Some(reference) = PodRef::find(walk.clone())? else {
            walk.value()?;
            return Ok(Found::Unreadable);
        };
        if !reference.is_plausible() || !(self.is_wanted)(&reference) {
            walk.value()?;
            return Ok(Found::NotWanted);
        }
        let is_large = walk.rest().len() > LARGE_REPLY && walk.clone().value()?.len() > LARGEST_POD;
        let mut pod = Pod {
            name: reference.name,
            namespace: reference.namespace,
            uid: reference.uid,
            containers: self.spare.containers.pop().map_or_else(Vec::new, emptied),
            ..Pod::default()
        };
        let start = walk.clone();
        if !is_large && pod.read(self.plan, walk).is_ok() {
            pods.push(pod);
            return Ok(Found::Wanted);
        }
        // Finds the pod's end by brackets and quotes, without decoding it.
        *walk = start;
        walk.value()?;
        Ok(Found::Unreadable)
    }
}

/// The part of the node that is always read.
#[derive(Default)]
struct NodeBrief<'a> {
    name: Option<Cow<'a, str>>,
    available: Option<Number>,
    working_set: Option<Number>,
}

impl<'a> Members<'a> for NodeBrief<'a> {
    fn member(&mut self, key: &[u8], plan: Plan, walk: &mut Walk<'a>) -> Result<(), Broken> {
        match key {
            b"nodeName" if !walk.null()? => self.name = Some(walk.text()?),
            b"memory" => {
                let mut memory = Memory::default();
                let plan = Plan {
                    level: Level::All,
                    ..plan
                };
                memory.read_if_any(plan, walk)?;
                (self.available, self.working_set) = (memory.available, memory.working_set);
            }
            b"nodeName" => {}
            _ => walk.skip()?,
        }
        Ok(())
    }
}

/// The identity of a pod.
#[derive(Debug, Default)]
pub struct PodRef<'a> {
    /// The pod's name.
    pub name: Cow<'a, str>,
    /// The pod's namespace.
    pub namespace: Cow<'a, str>,
    /// The pod's uid.
    pub uid: Cow<'a, str>,
}

impl<'a> Members<'a> for PodRef<'a> {
    fn member(&mut self, key: &[u8], _: Plan, walk: &mut Walk<'a>) -> Result<(), Broken> {
        match key {
            b"name" => self.name = walk.text()?,
            b"namespace" => self.namespace = walk.text()?,
            b"uid" => self.uid = walk.text()?,
            _ => walk.skip()?,
        }
        Ok(())
    }

    #[inline]
    fn common_member(&mut self, _: Plan, walk: &mut Walk<'a>) -> Result<bool, Broken> {
        let text = if walk.at_member("\"name\": ") {
            &mut self.name
        } else if walk.at_member("\"namespace\": ") {
            &mut self.namespace
        } else if walk.at_member("\"uid\": ") {
            &mut self.uid
        } else {
            return Ok(false);
        };
        *text = walk.text()?;
        Ok(true)
    }
}

/// The longest name of an object in Kubernetes, in bytes.
pub(crate) const LONGEST_NAME: usize = 253;

impl<'a> PodRef<'a> {
    /// Returns the `podRef` of the pod that begins here, at any place in it. Returns `None` if
    /// there is none that can be read. A kubelet writes it first.
    pub(crate) fn find(mut walk: Walk<'a>) -> Result<Option<Self>, Broken> {
        if walk.peek()? != b'{' {
            return Ok(None);
        }
        let mut more = walk.enter(b'{', b'}')?;
        while more {
            if walk.key()? == b"podRef" {
                let mut reference = Self::default();
                if reference.read(Plan::CONTAINERS, &mut walk.clone()).is_ok() {
                    return Ok(Some(reference));
                }
                // The whole reply is broken if this value has no end.
                walk.skip()?;
                return Ok(None);
            }
            walk.skip()?;
            more = walk.another(b'}')?;
        }
        Ok(None)
    }

    /// Whether Kubernetes would accept the length of these names. If not, the pod is dropped.
    fn is_plausible(&self) -> bool {
        [&self.name, &self.namespace, &self.uid]
            .iter()
            .all(|text| text.len() <= LONGEST_NAME)
    }
}

impl<'a> Members<'a> for Node<'a> {
    fn member(&mut self, key: &[u8], plan: Plan, walk: &mut Walk<'a>) -> Result<(), Broken> {
        match key {
            b"startTime" => self.start_time = walk.time()?,
            b"systemContainers" if plan.system_containers => {
                list(&mut self.system_containers, plan, walk)?;
            }
            b"network" if plan.node || plan.interfaces => self.network.read_if_any(plan, walk)?,
            b"runtime" if plan.node => self.runtime.read_if_any(plan, walk)?,
            key if plan.node => self.stats.member(key, plan, walk)?,
            _ => walk.skip()?,
        }
        Ok(())
    }
}

impl<'a> Members<'a> for Pod<'a> {
    fn member(&mut self, key: &[u8], plan: Plan, walk: &mut Walk<'a>) -> Result<(), Broken> {
        match key {
            b"startTime" => self.start_time = walk.time()?,
            b"network" => self.network.read_if_any(plan, walk)?,
            b"containers" if plan.containers => {
                list(&mut self.containers, plan.of_containers(), walk)?;
            }
            b"volume" if plan.volumes => list(&mut self.volumes, plan, walk)?,
            key if plan.pods => {
                let stats = self.stats.get_or_insert_default();
                stats.member(key, plan, walk)?;
            }
            _ => walk.skip()?,
        }
        Ok(())
    }
}

impl<'a> Members<'a> for Container<'a> {
    fn member(&mut self, key: &[u8], plan: Plan, walk: &mut Walk<'a>) -> Result<(), Broken> {
        match key {
            b"name" => self.name = walk.text()?,
            b"startTime" => self.start_time = walk.time()?,
            key => self.stats.member(key, plan, walk)?,
        }
        Ok(())
    }

    #[inline]
    fn common_member(&mut self, plan: Plan, walk: &mut Walk<'a>) -> Result<bool, Broken> {
        self.stats.common_member(plan, walk)
    }

    fn finish(&mut self, _: Plan) -> Result<(), Broken> {
        self.stats.rootfs.forget_unmeasured();
        self.stats.logs.forget_unmeasured();
        Ok(())
    }
}

/// The values of `pvcRef` and `volumeHealthStats`.
#[derive(Default)]
struct VolumeFacts<'a> {
    claim: Option<Cow<'a, str>>,
    is_abnormal: Option<bool>,
}

impl<'a> Members<'a> for VolumeFacts<'a> {
    fn member(&mut self, key: &[u8], _: Plan, walk: &mut Walk<'a>) -> Result<(), Broken> {
        match key {
            b"name" => self.claim = Some(walk.text()?),
            b"abnormal" => {
                self.is_abnormal = match walk.value()? {
                    b"true" => Some(true),
                    b"false" => Some(false),
                    _ => None,
                }
            }
            _ => walk.skip()?,
        }
        Ok(())
    }
}

impl<'a> Members<'a> for Volume<'a> {
    fn member(&mut self, key: &[u8], plan: Plan, walk: &mut Walk<'a>) -> Result<(), Broken> {
        match key {
            b"name" => self.name = walk.text()?,
            b"pvcRef" | b"volumeHealthStats" => {
                let mut facts = VolumeFacts::default();
                facts.read_if_any(plan, walk)?;
                self.claim = self.claim.take().or(facts.claim);
                self.is_abnormal = self.is_abnormal.or(facts.is_abnormal);
            }
            key => self.filesystem.member(key, plan, walk)?,
        }
        Ok(())
    }
}

impl<'a> Members<'a> for Interface<'a> {
    fn member(&mut self, key: &[u8], plan: Plan, walk: &mut Walk<'a>) -> Result<(), Broken> {
        match key {
            b"name" => self.name = walk.text()?,
            key => self.traffic.member(key, plan, walk)?,
        }
        Ok(())
    }
}

impl<'a> Members<'a> for Network<'a> {
    fn member(&mut self, key: &[u8], plan: Plan, walk: &mut Walk<'a>) -> Result<(), Broken> {
        match key {
            b"name" => self.name = walk.text()?,
            b"interfaces" => self.undecoded = Some(walk.value()?),
            key => self.total.member(key, plan, walk)?,
        }
        Ok(())
    }

    fn finish(&mut self, plan: Plan) -> Result<(), Broken> {
        let has_total = self.total.rx_bytes.is_some() || self.total.tx_bytes.is_some();
        let undecoded = self.undecoded.take();
        let Some(text) = undecoded.filter(|_| plan.interfaces || !has_total) else {
            return Ok(());
        };
        let mut interfaces = Vec::<Interface>::new();
        list(&mut interfaces, plan, &mut Walk::new(text))?;
        let mut others = interfaces.iter().filter(|one| one.name != "lo");
        if let (false, Some(only), None) = (has_total, others.next(), others.next()) {
            self.name = only.name.clone();
            self.total = Traffic {
                time: self.total.time,
                ..only.traffic.clone()
            };
        }
        if plan.interfaces {
            for interface in &mut interfaces {
                interface.traffic.time = self.total.time;
            }
            self.interfaces = interfaces;
        }
        Ok(())
    }
}

/// An item of a list in the reply.
trait Listed {
    /// The limit for the list. No node has more.
    const MOST: usize;
    /// Whether it has a valid name.
    fn is_plausible(&self) -> bool;
    /// Whether it is kept. This works wherever its name is in the object.
    fn is_wanted(&self, _: Plan) -> bool {
        true
    }
    /// Whether the item that begins here can be skipped.
    fn is_excluded(_: Plan, _: Walk) -> bool {
        false
    }
}

impl Listed for Container<'_> {
    fn is_wanted(&self, plan: Plan) -> bool {
        !plan.excluded_containers.iter().any(|one| *one == self.name)
    }

    /// This works if the name comes first, as a kubelet writes it.
    fn is_excluded(plan: Plan, mut walk: Walk) -> bool {
        let mut name = || {
            walk.enter(b'{', b'}').ok()?;
            (walk.key().ok()? == b"name").then(|| walk.text().ok())?
        };
        !plan.excluded_containers.is_empty()
            && name().is_some_and(|name| plan.excluded_containers.iter().any(|one| *one == name))
    }

    const MOST: usize = MOST_CONTAINERS_OF_A_POD;
    fn is_plausible(&self) -> bool {
        (1..=LONGEST_NAME).contains(&self.name.len())
    }
}

impl Listed for Volume<'_> {
    const MOST: usize = MOST_VOLUMES_OF_A_POD;
    fn is_plausible(&self) -> bool {
        (1..=LONGEST_NAME).contains(&self.name.len())
    }
}

impl Listed for Interface<'_> {
    const MOST: usize = MOST_INTERFACES;
    /// An interface may have no name.
    fn is_plausible(&self) -> bool {
        self.name.len() <= LONGEST_NAME
    }
}

/// Reads a list. Go writes `null` for an empty list.
fn list<'a, T: Members<'a> + Listed + Default>(
    list: &mut Vec<T>,
    plan: Plan,
    walk: &mut Walk<'a>,
) -> Result<(), Broken> {
    list.clear();
    if walk.null()? {
        return Ok(());
    }
    let mut more = walk.enter(b'[', b']')?;
    while more {
        if list.len() == T::MOST {
            return Err(walk.broken());
        }
        if T::is_excluded(plan, walk.clone()) {
            walk.skip()?;
            more = walk.another(b']')?;
            continue;
        }
        let mut one = T::default();
        one.read(plan, walk)?;
        if one.is_plausible() && one.is_wanted(plan) {
            // Most pods have one container, but the first push would reserve memory for four.
            if list.is_empty() {
                list.reserve_exact(1);
            }
            list.push(one);
        }
        more = walk.another(b']')?;
    }
    Ok(())
}
