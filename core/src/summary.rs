//! The kubelet's stats summary: bytes in, the wanted pods and containers out.
//!
//! Knows no HTTP and no msgpack. Unwanted pods are stepped over without being
//! decoded, so the cost of a scrape follows what is wanted, not what is there; and one
//! that is broken costs only itself.
//! Every number is optional, as in the kubelet's own types: one that is left
//! out, negative or not a whole number that fits 64 bits is `None` here, never 0.

mod json;

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use self::json::{Broken, Walk};
use crate::{select::Selector, timestamp::Timestamp};

#[derive(Debug, Default)]
pub struct Summary<'a> {
    pub node_name: Option<Cow<'a, str>>,
    /// What the node has, as far as it tells.
    memory_bytes: Option<u64>,
    /// Those the selector wanted, in the order of the reply.
    pub pods: Vec<Pod<'a>>,
    /// All that the reply holds.
    pub pods_on_node: usize,
    /// Those of them that could not be decoded.
    pub pods_unreadable: usize,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pod<'a> {
    /// These three are the `podRef`'s, which is read first.
    #[serde(skip)]
    pub name: Cow<'a, str>,
    #[serde(skip)]
    pub namespace: Cow<'a, str>,
    #[serde(skip)]
    pub uid: Cow<'a, str>,
    #[serde(default, deserialize_with = "instant")]
    pub start_time: Option<Timestamp>,
    #[serde(default, deserialize_with = "or_default")]
    pub network: Network,
    #[serde(borrow, default, deserialize_with = "containers")]
    pub containers: Vec<Container<'a>>,
}

/// A pod's traffic since it started, in bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    pub rx_bytes: Option<u64>,
    pub tx_bytes: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container<'a> {
    #[serde(borrow, default)]
    pub name: Cow<'a, str>,
    #[serde(default, deserialize_with = "instant")]
    pub start_time: Option<Timestamp>,
    #[serde(default, deserialize_with = "or_default")]
    pub cpu: Cpu,
    #[serde(default, deserialize_with = "or_default")]
    pub memory: Memory,
    #[serde(default, deserialize_with = "or_default")]
    pub rootfs: Filesystem,
    #[serde(default, deserialize_with = "or_default")]
    pub logs: Filesystem,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cpu {
    #[serde(default, deserialize_with = "instant")]
    pub time: Option<Timestamp>,
    /// Over the kubelet's own sample window; 0 also means "no window yet".
    #[serde(default, deserialize_with = "whole")]
    pub usage_nano_cores: Option<u64>,
    /// Since the container started.
    #[serde(default, deserialize_with = "whole")]
    pub usage_core_nano_seconds: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    #[serde(default, deserialize_with = "instant")]
    pub time: Option<Timestamp>,
    #[serde(default, deserialize_with = "whole")]
    pub working_set_bytes: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Filesystem {
    #[serde(default, deserialize_with = "instant")]
    pub time: Option<Timestamp>,
    #[serde(default, deserialize_with = "whole")]
    pub used_bytes: Option<u64>,
}

impl Filesystem {
    /// Not measured yet, which the kubelet writes as 0 bytes in the year 1970.
    pub fn is_pending(&self) -> bool {
        self.used_bytes == Some(0) && self.time.is_some_and(|time| time.seconds == 0)
    }
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

/// Ten times what the largest nodes run. What a reply becomes in memory is bounded by
/// these, and not by its bytes: an empty container is two of them and takes a hundred times
/// as many.
const MOST_PODS: usize = 10_000;
const MOST_CONTAINERS: usize = 20_000;
const MOST_CONTAINERS_OF_A_POD: usize = 1_000;

/// In a reply larger than the first, which is more than a thousand pods take, a pod larger
/// than the second is not decoded: it may be made of brackets, each of which costs memory.
const LARGE_REPLY: usize = 4 << 20;
const LARGEST_POD: usize = 1 << 20;

/// Decodes a reply, keeping the pods that `selector` wants. The others are stepped over.
/// A pod that cannot be decoded is left out, and costs no other.
pub fn parse<'a>(body: &'a [u8], selector: &Selector) -> Result<Summary<'a>, Malformed> {
    let mut walk = Walk::new(body);
    let mut summary = Summary::default();
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
            b"\"node\"" => summary.node(walk.value()?),
            b"\"pods\"" => {
                summary.pods(&mut walk, selector)?;
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
    /// Its name and its memory, if they can be read.
    fn node(&mut self, text: &'a [u8]) {
        let Ok(node) = serde_json::from_slice::<Node>(text) else {
            return;
        };
        self.node_name = node.node_name.filter(|name| !name.is_empty());
        let (available, used) = (node.memory.available_bytes, node.memory.working_set_bytes);
        // The kubelet works out what is available as all less the working set.
        self.memory_bytes = available
            .zip(used)
            .and_then(|(available, used)| available.checked_add(used));
    }

    /// More than the node has no container can use. What that is may stand behind the pods.
    fn forget_impossible_memory(&mut self) {
        let Some(most) = self.memory_bytes else {
            return;
        };
        for container in self.pods.iter_mut().flat_map(|pod| &mut pod.containers) {
            let used = &mut container.memory.working_set_bytes;
            *used = used.filter(|used| *used <= most);
        }
    }

    /// An array; `null` is what Go writes for an empty one.
    fn pods(&mut self, walk: &mut Walk<'a>, selector: &Selector) -> Result<(), Malformed> {
        if walk.peek()? != b'[' {
            return match walk.value()? {
                b"null" => Ok(()),
                _ => Err(Malformed::NoPods),
            };
        }
        let mut containers = 0;
        let mut more = walk.enter(b'[', b']')?;
        while more {
            self.pods_on_node += 1;
            if self.pods_on_node > MOST_PODS {
                return Err(Malformed::TooMany(MOST_PODS, "pods"));
            }
            match Pod::read(walk, selector)? {
                Read::Wanted(pod) => {
                    containers += pod.containers.len();
                    if containers > MOST_CONTAINERS {
                        return Err(Malformed::TooMany(MOST_CONTAINERS, "containers"));
                    }
                    self.pods.push(pod);
                }
                Read::NotWanted => {}
                Read::Unreadable => self.pods_unreadable += 1,
            }
            more = walk.another(b']')?;
        }
        Ok(())
    }
}

/// What was found where a pod should be.
enum Read<'a> {
    Wanted(Pod<'a>),
    NotWanted,
    Unreadable,
}

impl<'a> Pod<'a> {
    fn read(walk: &mut Walk<'a>, selector: &Selector) -> Result<Read<'a>, Malformed> {
        let Some(reference) = PodRef::find(walk.clone())? else {
            walk.value()?;
            return Ok(Read::Unreadable);
        };
        if !reference.is_plausible() || !selector.wants(&reference.namespace, &reference.name) {
            walk.value()?;
            return Ok(Read::NotWanted);
        }
        if walk.rest().len() > LARGE_REPLY && walk.clone().value()?.len() > LARGEST_POD {
            walk.value()?;
            return Ok(Read::Unreadable);
        }
        // Decoded where it stands; only what cannot be is walked through to find its end.
        let mut json = serde_json::Deserializer::from_slice(walk.rest()).into_iter::<Self>();
        match json.next() {
            Some(Ok(mut pod)) => {
                walk.advance(json.byte_offset());
                pod.name = reference.name;
                pod.namespace = reference.namespace;
                pod.uid = reference.uid;
                Ok(Read::Wanted(pod))
            }
            _ => {
                walk.value()?;
                Ok(Read::Unreadable)
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node<'a> {
    #[serde(borrow, default)]
    node_name: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "or_default")]
    memory: NodeMemory,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeMemory {
    #[serde(default, deserialize_with = "whole")]
    available_bytes: Option<u64>,
    #[serde(default, deserialize_with = "whole")]
    working_set_bytes: Option<u64>,
}

#[derive(Deserialize)]
struct PodRef<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
}

/// The longest name of an object in Kubernetes, in bytes.
const LONGEST_NAME: usize = 253;

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
            if key == b"\"podRef\"" {
                return Ok(serde_json::from_slice(value).ok());
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

/// Those with a name that Kubernetes would accept.
fn containers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Container<'de>>, D::Error> {
    struct Containers;
    impl<'de> Visitor<'de> for Containers {
        type Value = Vec<Container<'de>>;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("an array of containers")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
            let mut containers = Vec::new();
            while let Some(container) = all.next_element::<Container>()? {
                if containers.len() == MOST_CONTAINERS_OF_A_POD {
                    return Err(serde::de::Error::custom("too many containers"));
                }
                if (1..=LONGEST_NAME).contains(&container.name.len()) {
                    containers.push(container);
                }
            }
            Ok(containers)
        }
    }
    deserializer.deserialize_any(Containers)
}

/// The counters of the default interface, which stand inline. Where the kubelet found
/// none, those of the only interface there is. Several are not added up: what goes
/// through a bridge or a veth is counted there and on the way out.
impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire<'a> {
            #[serde(default, deserialize_with = "whole")]
            rx_bytes: Option<u64>,
            #[serde(default, deserialize_with = "whole")]
            tx_bytes: Option<u64>,
            /// Rarely needed, and the longest part: not decoded until then.
            #[serde(borrow, default)]
            interfaces: Option<&'a RawValue>,
        }

        let wire = Wire::deserialize(deserializer)?;
        let (rx_bytes, tx_bytes) = (wire.rx_bytes, wire.tx_bytes);
        let only = match wire.interfaces {
            Some(raw) if rx_bytes.is_none() && tx_bytes.is_none() => {
                serde_json::from_str(raw.get()).map_err(serde::de::Error::custom)?
            }
            _ => OnlyInterface::default(),
        };
        Ok(Self {
            rx_bytes: rx_bytes.or(only.0.rx_bytes),
            tx_bytes: tx_bytes.or(only.0.tx_bytes),
        })
    }
}

/// Of a list of interfaces the one besides the loopback; no counters where there are
/// several.
#[derive(Default)]
struct OnlyInterface(Network);

impl<'de> Deserialize<'de> for OnlyInterface {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Interface<'a> {
            #[serde(borrow, default)]
            name: Cow<'a, str>,
            #[serde(default, deserialize_with = "whole")]
            rx_bytes: Option<u64>,
            #[serde(default, deserialize_with = "whole")]
            tx_bytes: Option<u64>,
        }

        struct Interfaces;
        impl<'de> Visitor<'de> for Interfaces {
            type Value = OnlyInterface;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an array of interfaces")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
                let mut found = 0;
                let mut only = Network::default();
                while let Some(interface) = all.next_element::<Interface>()? {
                    if interface.name != "lo" {
                        found += 1;
                        only = Network {
                            rx_bytes: interface.rx_bytes,
                            tx_bytes: interface.tx_bytes,
                        };
                    }
                }
                Ok(OnlyInterface(if found == 1 {
                    only
                } else {
                    Network::default()
                }))
            }
        }
        deserializer.deserialize_seq(Interfaces)
    }
}

fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn instant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    Ok(Time::deserialize(deserializer)?.0)
}

/// A whole number, or `None` for whatever else stands there. Taken as text: a
/// number too large for any type would otherwise spoil the whole reply.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let text = <&RawValue>::deserialize(deserializer)?.get();
    Ok(text.parse().ok().or_else(|| rewritten(text)))
}

/// Go writes integers in full, but a proxy in between may turn them into `1e9`
/// or `1.0`. Read digit by digit: a double would round what is no whole number,
/// or is too long, to one that nobody sent.
fn rewritten(text: &str) -> Option<u64> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = format!("{whole}{fraction}");
    let point = usize::try_from(exponent.checked_add(whole.len() as i64)?).ok()?;
    if point > digits.len() {
        const LONGEST: usize = 20; // of 64 bits
        let missing = point - digits.len();
        digits.push_str(&"0".repeat(missing.min(LONGEST + 1)));
    }
    let (value, rest) = digits.split_at(point.min(digits.len()));
    let is_whole = rest.bytes().all(|digit| digit == b'0');
    is_whole.then(|| value.parse().ok())?
}

/// A time, or `None` for `null` and for what is none.
struct Time(Option<Timestamp>);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TimeVisitor;
        impl Visitor<'_> for TimeVisitor {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a time")
            }

            fn visit_str<E>(self, text: &str) -> Result<Time, E> {
                Ok(Time(Timestamp::parse(text)))
            }

            fn visit_unit<E>(self) -> Result<Time, E> {
                Ok(Time(None))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Time, E> {
                Ok(Time(None))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Time, E> {
                Ok(Time(None))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Time, E> {
                Ok(Time(None))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Time, E> {
                Ok(Time(None))
            }
        }
        deserializer.deserialize_any(TimeVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewritten_numbers_are_exact_or_absent() {
        for (text, value) in [
            ("1.0", Some(1)),
            ("1e9", Some(1_000_000_000)),
            ("1.5E+3", Some(1_500)),
            ("1200e-2", Some(12)),
            ("9007199254740993.0", Some(9_007_199_254_740_993)),
            ("0.99999999999999999999", None),
            ("1e-400", None),
            ("1.5", None),
            ("-1.0", None),
            ("1e19", Some(10_000_000_000_000_000_000)),
            ("1e20", None),
            ("1e999999999999", None),
            ("\"1\"", None),
            ("null", None),
        ] {
            assert_eq!(rewritten(text), value, "{text}");
        }
    }
}
