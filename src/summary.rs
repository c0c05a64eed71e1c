//! The kubelet's stats summary: bytes in, the wanted pods and containers out.
//!
//! Knows no HTTP and no msgpack. Unwanted pods are stepped over without being
//! decoded, so the cost of a scrape follows what is wanted, not what is there.
//! Every number is optional, as in the kubelet's own types: one that is left
//! out, negative or not a whole number that fits 64 bits is `None` here, never 0.

use std::{borrow::Cow, fmt, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::select::Selector;

/// A point in time as the kubelet stated it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant {
    /// Since the epoch; a kubelet's sample is never before it.
    pub seconds: u32,
    pub nanos: u32,
}

impl Instant {
    pub fn as_nanos(self) -> u64 {
        u64::from(self.seconds) * 1_000_000_000 + u64::from(self.nanos)
    }

    pub fn as_millis(self) -> u64 {
        self.as_nanos() / 1_000_000
    }

    /// Seconds and nanoseconds since the epoch, as a clock gives them.
    pub fn since_epoch(elapsed: Duration) -> Option<Self> {
        Some(Self {
            seconds: u32::try_from(elapsed.as_secs()).ok()?,
            nanos: elapsed.subsec_nanos(),
        })
    }

    /// RFC 3339; `None` for what no msgpack event time can hold either.
    fn parse(text: &str) -> Option<Self> {
        let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        Some(Self {
            seconds: u32::try_from(time.unix_timestamp()).ok()?,
            nanos: time.nanosecond(),
        })
    }
}

#[derive(Debug, Default)]
pub struct Summary<'a> {
    pub node_name: Option<Cow<'a, str>>,
    /// What the node has, as far as it tells.
    pub memory_bytes: Option<u64>,
    /// Those the selector wanted, in the order of the reply.
    pub pods: Vec<Pod<'a>>,
    /// All that the reply holds.
    pub pods_on_node: usize,
}

#[derive(Debug, Default)]
pub struct Pod<'a> {
    pub name: Cow<'a, str>,
    pub namespace: Cow<'a, str>,
    pub uid: Cow<'a, str>,
    pub start_time: Option<Instant>,
    pub network: Network,
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
    pub start_time: Option<Instant>,
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
    pub time: Option<Instant>,
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
    pub time: Option<Instant>,
    #[serde(default, deserialize_with = "whole")]
    pub working_set_bytes: Option<u64>,
}

impl Memory {
    /// More than the node has no container can use.
    pub fn forget_beyond(&mut self, most: Option<u64>) {
        self.working_set_bytes = self
            .working_set_bytes
            .filter(|bytes| most.is_none_or(|most| *bytes <= most));
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Filesystem {
    #[serde(default, deserialize_with = "instant")]
    pub time: Option<Instant>,
    #[serde(default, deserialize_with = "whole")]
    pub used_bytes: Option<u64>,
}

impl Filesystem {
    /// Not measured yet, which the kubelet writes as 0 bytes in the year 1970.
    pub fn is_pending(&self) -> bool {
        self.used_bytes == Some(0) && self.time.is_some_and(|time| time.seconds == 0)
    }
}

/// Decodes a reply, keeping the pods that `selector` wants.
pub fn parse<'a>(body: &'a [u8], selector: &Selector) -> serde_json::Result<Summary<'a>> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let summary = json.deserialize_map(SummaryVisitor(selector))?;
    json.end()?;
    Ok(summary)
}

struct SummaryVisitor<'s>(&'s Selector);

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum SummaryKey {
    Node,
    Pods,
    #[serde(other)]
    Other,
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

impl<'de> Visitor<'de> for SummaryVisitor<'_> {
    type Value = Summary<'de>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object with 'node' and 'pods'")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut summary = Summary::default();
        let mut pods_seen = false;
        while let Some(key) = map.next_key()? {
            match key {
                SummaryKey::Node => {
                    let Some(node) = map.next_value::<Option<Node>>()? else {
                        continue;
                    };
                    summary.node_name = node.node_name.filter(|name| !name.is_empty());
                    let NodeMemory {
                        available_bytes,
                        working_set_bytes,
                    } = node.memory;
                    // The kubelet works out what is available as all less the working set.
                    summary.memory_bytes = available_bytes
                        .zip(working_set_bytes)
                        .and_then(|(available, used)| available.checked_add(used));
                }
                SummaryKey::Pods => {
                    map.next_value_seed(PodsSeed(self.0, &mut summary))?;
                    pods_seen = true;
                }
                SummaryKey::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if !pods_seen {
            return Err(serde::de::Error::custom("it has no 'pods'"));
        }
        Ok(summary)
    }
}

/// The array of pods; `null` is what Go writes for an empty one.
struct PodsSeed<'s, 'o, 'de>(&'s Selector, &'o mut Summary<'de>);

impl<'de> DeserializeSeed<'de> for PodsSeed<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PodsSeed<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an array of pods")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pods: A) -> Result<(), A::Error> {
        while let Some(pod) = pods.next_element_seed(PodSeed(self.0))? {
            self.1.pods_on_node += 1;
            self.1.pods.extend(pod);
        }
        Ok(())
    }
}

/// One pod, or `None` when it is not wanted.
struct PodSeed<'s>(&'s Selector);

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum PodKey {
    PodRef,
    StartTime,
    Containers,
    Network,
    #[serde(other)]
    Other,
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

impl PodRef<'_> {
    /// What Kubernetes would not have let be created is not passed on.
    fn is_plausible(&self) -> bool {
        [&self.name, &self.namespace, &self.uid]
            .iter()
            .all(|text| text.len() <= LONGEST_NAME)
    }
}

fn plausible(containers: Option<Vec<Container<'_>>>) -> Vec<Container<'_>> {
    let mut containers = containers.unwrap_or_default();
    containers.retain(|container| container.name.len() <= LONGEST_NAME);
    containers
}

impl<'de> DeserializeSeed<'de> for PodSeed<'_> {
    type Value = Option<Pod<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for PodSeed<'_> {
    type Value = Option<Pod<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a pod")
    }

    /// The kubelet writes `podRef` first, so an unwanted pod is known before
    /// anything of it is decoded. Should another order appear, what came before
    /// is kept as raw text until the pod is known.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pod = Pod::default();
        let mut wanted = None;
        let mut early: Vec<(PodKey, &'de RawValue)> = Vec::new();
        while let Some(key) = map.next_key()? {
            match (key, wanted) {
                (PodKey::PodRef, _) => {
                    let reference: PodRef = map.next_value()?;
                    wanted = Some(
                        reference.is_plausible()
                            && self.0.wants(&reference.namespace, &reference.name),
                    );
                    pod.name = reference.name;
                    pod.namespace = reference.namespace;
                    pod.uid = reference.uid;
                }
                (PodKey::Other, _) | (_, Some(false)) => {
                    map.next_value::<IgnoredAny>()?;
                }
                (key, None) => early.push((key, map.next_value()?)),
                (PodKey::StartTime, _) => pod.start_time = map.next_value::<Time>()?.0,
                (PodKey::Containers, _) => {
                    pod.containers = plausible(map.next_value()?);
                }
                (PodKey::Network, _) => {
                    pod.network = map.next_value::<Option<_>>()?.unwrap_or_default();
                }
            }
        }
        if wanted != Some(true) {
            return Ok(None);
        }
        for (key, raw) in early {
            let raw = raw.get();
            match key {
                PodKey::StartTime => pod.start_time = reread::<Time, _>(raw)?.0,
                PodKey::Containers => pod.containers = plausible(reread(raw)?),
                PodKey::Network => {
                    pod.network = reread::<Option<_>, _>(raw)?.unwrap_or_default();
                }
                PodKey::PodRef | PodKey::Other => {}
            }
        }
        Ok(Some(pod))
    }
}

fn reread<'de, T: Deserialize<'de>, E: serde::de::Error>(raw: &'de str) -> Result<T, E> {
    serde_json::from_str(raw).map_err(E::custom)
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
                reread::<Option<OnlyInterface>, _>(raw.get())?.unwrap_or_default()
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

fn instant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Instant>, D::Error> {
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
struct Time(Option<Instant>);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TimeVisitor;
        impl Visitor<'_> for TimeVisitor {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a time")
            }

            fn visit_str<E>(self, text: &str) -> Result<Time, E> {
                Ok(Time(Instant::parse(text)))
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
