//! The kubelet's stats summary: bytes in, the wanted pods and what belongs to them out.
//!
//! Knows no HTTP and no msgpack. Which values there are, and what they are called, is the
//! [catalogue](crate::catalogue)'s to say; this is the frame around them: the node, its pods,
//! their identities, and the limits. Pods that are not selected are skipped without being
//! decoded, so the cost of a scrape depends on the selected pods; and a broken pod affects
//! only itself. The same is true for values that are not in the [`Plan`].
//! Every number is optional, as in the kubelet's own types: one that is left
//! out, negative or not a whole number that fits 64 bits is `None` here, never 0.

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

/// A reply, as far as it is wanted.
#[derive(Debug, Default)]
pub struct Summary<'a> {
    /// The node, as far as the plan wants it.
    pub node: Node<'a>,
    /// What the node has, as far as the reply says.
    pub(crate) memory_bytes: Option<u64>,
    /// Those that are wanted, in the order of the reply.
    pub pods: Vec<Pod<'a>>,
    /// All that the reply holds.
    pub pods_on_node: usize,
    /// Those of them that could not be decoded.
    pub pods_unreadable: usize,
}

/// The node.
#[derive(Debug, Default)]
pub struct Node<'a> {
    /// By itself; never empty.
    pub name: Option<Cow<'a, str>>,
    /// When it booted.
    pub start_time: Option<Timestamp>,
    /// Its own values.
    pub stats: NodeStats,
    /// Of the container runtime.
    pub runtime: RuntimeStats,
    /// Its traffic.
    pub network: Network<'a>,
    /// What runs beside pods: `kubelet`, `runtime`, `pods` …
    pub system_containers: Vec<Container<'a>>,
}

/// A pod that is wanted.
#[derive(Debug, Default)]
pub struct Pod<'a> {
    /// These three are the `podRef`'s, which is read first.
    pub name: Cow<'a, str>,
    /// Of the pod.
    pub namespace: Cow<'a, str>,
    /// Of the API's object; of a static pod the hash of its manifest. Not unique on every kubelet.
    pub uid: Cow<'a, str>,
    /// When its sandbox was made.
    pub start_time: Option<Timestamp>,
    /// Its own values, where the plan wants them.
    pub stats: Option<Box<PodStats>>,
    /// Its traffic, which its containers share.
    pub network: Network<'a>,
    /// Those with a name that Kubernetes would accept.
    pub containers: Vec<Container<'a>>,
    /// Those of which the kubelet knows the size.
    pub volumes: Vec<Volume<'a>>,
}

/// A container of a pod, or of the system.
#[derive(Debug, Default)]
pub struct Container<'a> {
    /// Within its pod.
    pub name: Cow<'a, str>,
    /// Of this run of it.
    pub start_time: Option<Timestamp>,
    /// Its values.
    pub stats: ContainerStats,
}

/// A volume of a pod.
#[derive(Debug, Default)]
pub struct Volume<'a> {
    /// Within its pod.
    pub name: Cow<'a, str>,
    /// The claim behind it, in the pod's namespace.
    pub claim: Option<Cow<'a, str>>,
    /// Whether the storage driver says that something is wrong with it.
    pub is_abnormal: Option<bool>,
    /// Its size.
    pub filesystem: Filesystem,
}

/// The traffic of a pod since it started, or of the node.
#[derive(Debug, Default)]
pub struct Network<'a> {
    /// Of the interface that `total` is of; empty where there is none.
    pub name: Cow<'a, str>,
    /// Of the default interface, which stands inline; where the kubelet found none, of the
    /// only interface there is. Several are not added up: what goes through a bridge or a
    /// veth is counted there and on the way out.
    pub total: Traffic,
    /// Each by itself, where the plan wants that.
    pub interfaces: Vec<Interface<'a>>,
    /// Not decoded unless it is needed: it is the longest part.
    undecoded: Option<&'a [u8]>,
}

/// One interface.
#[derive(Debug, Default)]
pub struct Interface<'a> {
    /// As the kernel has it.
    pub name: Cow<'a, str>,
    /// Its counters.
    pub traffic: Traffic,
}

/// What is no summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// It ends where it should go on.
    Cut,
    /// The byte at this offset cannot stand there.
    NotJson(usize),
    /// No object with `pods` in it.
    NoPods,
    /// More than any node has: so many, of these.
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

/// The memory of lists that are done with, for those of the next reply: in the end a reply like
/// the one before needs no more.
#[derive(Debug, Default)]
pub struct Spare {
    pods: Vec<Pod<'static>>,
    containers: Vec<Vec<Container<'static>>>,
}

/// No more of pods and no more of containers is kept.
const MOST_SPARE: usize = 2_000;

impl Spare {
    /// Takes what a summary has.
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

/// The list's memory, for what borrows from another reply: a list that becomes one of the
/// same kind keeps it.
fn emptied<T, U>(mut list: Vec<T>) -> Vec<U> {
    list.clear();
    let none = list.into_iter().map(|_| unreachable!("it is empty"));
    none.collect()
}

/// Ten times what the largest nodes run. What a reply becomes in memory is bounded by
/// these, and not by its bytes: an empty container is two of them and takes a hundred times
/// as many.
pub(crate) const MOST_PODS: usize = 10_000;
pub(crate) const MOST_CONTAINERS: usize = 20_000;
pub(crate) const MOST_CONTAINERS_OF_A_POD: usize = 1_000;
/// Volumes and interfaces likewise. A node that is a router may have hundreds of interfaces.
const MOST_VOLUMES_OF_A_POD: usize = 1_000;
const MOST_INTERFACES: usize = 10_000;

/// Over all pods.
const MOST_VOLUMES_AND_INTERFACES: usize = 50_000;

/// In a reply larger than the first, which is more than a thousand pods take, a pod larger
/// than the second is not decoded: it may be made of brackets, each of which costs memory.
pub(crate) const LARGE_REPLY: usize = 4 << 20;
pub(crate) const LARGEST_POD: usize = 1 << 20;

/// Decodes a reply, as far as `plan` wants it, and of the pods those of which `is_wanted`
/// says so. The others are stepped over. A pod that cannot be decoded
/// is left out, and costs no other.
pub fn parse<'a>(
    body: &'a [u8],
    plan: Plan,
    is_wanted: impl Fn(&PodRef) -> bool,
) -> Result<Summary<'a>, Malformed> {
    parse_into(&mut Spare::default(), body, plan, is_wanted)
}

/// The same in the memory of earlier summaries.
pub fn parse_into<'a>(
    spare: &mut Spare,
    body: &'a [u8],
    plan: Plan,
    is_wanted: impl Fn(&PodRef) -> bool,
) -> Result<Summary<'a>, Malformed> {
    let mut walk = Walk::new(body);
    let mut summary = Summary {
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
    /// If it cannot be read as a whole, its name and its memory at least.
    fn node(&mut self, text: &'a [u8], plan: Plan) {
        let mut brief = NodeBrief::default();
        if brief.read(plan, &mut Walk::new(text)).is_err() {
            return;
        }
        // The kubelet works out what is available as all less the working set.
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

    /// More than the node has no container can use. What that is may stand behind the pods.
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

    /// An array; `null` is what Go writes for an empty one.
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

/// What was found where a pod should be.
enum Found {
    Wanted,
    NotWanted,
    Unreadable,
}

/// Reads one pod after the other.
struct PodReader<'p, W> {
    plan: Plan<'p>,
    is_wanted: W,
    spare: &'p mut Spare,
}

impl<W: Fn(&PodRef) -> bool> PodReader<'_, W> {
    /// Puts the pod behind the others, if it is wanted.
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
        // Its end is found without understanding it.
        *walk = start;
        walk.value()?;
        Ok(Found::Unreadable)
    }
}

/// What is always read of the node.
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

/// Whom a pod's values are about.
#[derive(Debug, Default)]
pub struct PodRef<'a> {
    /// These are the pod's.
    pub name: Cow<'a, str>,
    /// Likewise.
    pub namespace: Cow<'a, str>,
    /// Likewise.
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
}

/// The longest name of an object in Kubernetes, in bytes.
pub(crate) const LONGEST_NAME: usize = 253;

impl<'a> PodRef<'a> {
    /// Of the pod that begins here, wherever in it that stands; `None` if it has none
    /// that can be read. A kubelet writes it first.
    fn find(mut walk: Walk<'a>) -> Result<Option<Self>, Malformed> {
        if walk.peek()? != b'{' {
            return Ok(None);
        }
        let mut more = walk.enter(b'{', b'}')?;
        while more {
            let key = walk.key()?;
            let value = walk.value()?;
            if key == b"podRef" {
                let mut reference = Self::default();
                let read = reference.read(Plan::CONTAINERS, &mut Walk::new(value));
                return Ok(read.is_ok().then_some(reference));
            }
            more = walk.another(b'}')?;
        }
        Ok(None)
    }

    /// What Kubernetes would not have let be created is not passed on.
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

    fn finish(&mut self, _: Plan) -> Result<(), Broken> {
        self.stats.rootfs.forget_unmeasured();
        self.stats.logs.forget_unmeasured();
        Ok(())
    }
}

/// What `pvcRef` and `volumeHealthStats` hold.
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

/// What stands in a list of the reply.
trait Listed {
    /// More are none that a node has.
    const MOST: usize;
    /// Whether it can be named.
    fn is_plausible(&self) -> bool;
    /// Whether it is to be kept, wherever its name stood.
    fn is_wanted(&self, _: Plan) -> bool {
        true
    }
    /// Whether what begins here is to be stepped over.
    fn is_excluded(_: Plan, _: Walk) -> bool {
        false
    }
}

impl Listed for Container<'_> {
    fn is_wanted(&self, plan: Plan) -> bool {
        !plan.excluded_containers.iter().any(|one| *one == self.name)
    }

    /// A kubelet writes the name first.
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
    /// One without a name is one all the same.
    fn is_plausible(&self) -> bool {
        self.name.len() <= LONGEST_NAME
    }
}

/// Reads a list; `null` is what Go writes for an empty one.
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
            // Most pods have one container, and the first growth would be to four.
            if list.is_empty() {
                list.reserve_exact(1);
            }
            list.push(one);
        }
        more = walk.another(b']')?;
    }
    Ok(())
}
