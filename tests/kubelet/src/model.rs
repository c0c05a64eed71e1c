//! Owns the shape of a `/stats/summary` reply: the fields in the order in which a kubelet
//! writes them. Optional fields without a value are absent. Parts that nothing here
//! changes keep their captured text. It knows no clock and no socket.

use std::io;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use serde_json::{
    ser::{Formatter, Serializer as JsonSerializer},
    value::RawValue,
};

type AsCaptured = Box<RawValue>;

/// A captured text, until it is replaced by own values.
#[derive(Debug, Clone)]
pub enum Captured<T> {
    Text(AsCaptured),
    /// Boxed, because most replies have few of these.
    Live(Box<T>),
}

impl<T: Serialize> Serialize for Captured<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => text.serialize(serializer),
            Self::Live(value) => value.serialize(serializer),
        }
    }
}

impl<'de, T> Deserialize<'de> for Captured<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        AsCaptured::deserialize(deserializer).map(Self::Text)
    }
}

impl<T: DeserializeOwned + Clone> Captured<T> {
    pub fn live(value: T) -> Self {
        Self::Live(Box::new(value))
    }

    /// Parses the text.
    pub fn value(&self) -> T {
        match self {
            Self::Text(text) => serde_json::from_str(text.get()).expect("a value as captured"),
            Self::Live(value) => T::clone(value),
        }
    }
}

/// The layout of a reply: a line for every scalar, indented by one space. The reply of a
/// node with many pods has some hundred thousand lines. Therefore this does in one step
/// what `PrettyFormatter` does in several.
#[derive(Default)]
struct Lines {
    depth: usize,
    has_value: bool,
}

impl Lines {
    fn line<W: ?Sized + io::Write>(&self, writer: &mut W, comma: bool) -> io::Result<()> {
        const INDENTED: &[u8] = b",\n                                ";
        let end = 2 + self.depth;
        writer.write_all(&INDENTED[usize::from(!comma)..end])
    }

    fn end<W: ?Sized + io::Write>(&mut self, writer: &mut W, end: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if self.has_value {
            self.line(writer, false)?;
        }
        self.has_value = true;
        writer.write_all(end)
    }

    fn begin<W: ?Sized + io::Write>(&mut self, writer: &mut W, begin: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.has_value = false;
        writer.write_all(begin)
    }
}

impl Formatter for Lines {
    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.begin(writer, b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.end(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.line(writer, !first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.begin(writer, b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.end(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.line(writer, !first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }

    fn write_u64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: u64) -> io::Result<()> {
        let mut digits = [0; 20];
        let (mut at, mut left) = (digits.len(), value);
        loop {
            at -= 1;
            digits[at] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                return writer.write_all(&digits[at..]);
            }
        }
    }

    /// The only numbers with a fraction are percentages with two decimals.
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        let hundredths = (value * 100.0).round() as u64;
        self.write_u64(writer, hundredths / 100)?;
        let (tens, ones) = (hundredths / 10 % 10, hundredths % 10);
        let digits = [b'.', b'0' + tens as u8, b'0' + ones as u8];
        writer.write_all(if ones == 0 { &digits[..2] } else { &digits })
    }
}

/// The whole reply. `pods` is an `Option` only so that it can be absent in a fault.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Summary {
    pub node: Captured<NodeStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<Vec<PodStats>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStats {
    pub node_name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub system_containers: Vec<SystemContainerStats>,
    pub start_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io: Option<Box<IoStats>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fs: Option<FsStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RuntimeStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rlimit: Option<RlimitStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<SwapStats>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SystemContainerStats {
    pub name: String,
    pub start_time: String,
    pub cpu: CpuStats,
    pub memory: MemoryStats,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io: Option<Box<IoStats>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<SwapStats>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeStats {
    pub image_fs: FsStats,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_fs: Option<FsStats>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RlimitStats {
    pub time: String,
    pub maxpid: u64,
    pub curproc: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStats {
    pub pod_ref: PodRef,
    pub start_time: String,
    pub containers: Vec<ContainerStats>,
    pub cpu: Captured<CpuStats>,
    pub memory: Captured<MemoryStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io: Option<Box<IoStats>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<Captured<Vec<VolumeStats>>>,
    #[serde(rename = "ephemeral-storage", skip_serializing_if = "Option::is_none")]
    pub ephemeral_storage: Option<Captured<FsStats>>,
    #[serde(rename = "process_stats", skip_serializing_if = "Option::is_none")]
    process_stats: Option<AsCaptured>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<Captured<SwapStats>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PodRef {
    pub name: String,
    pub namespace: String,
    pub uid: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStats {
    pub name: String,
    pub start_time: String,
    pub cpu: CpuStats,
    pub memory: MemoryStats,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io: Option<Box<IoStats>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rootfs: Option<FsStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logs: Option<FsStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<Captured<SwapStats>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CpuStats {
    pub time: String,
    pub usage_nano_cores: u64,
    pub usage_core_nano_seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Box<PsiStats>>,
}

/// A container that the kubelet knows only from the runtime has just `workingSetBytes`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryStats {
    pub time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_bytes: Option<u64>,
    pub working_set_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rss_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_faults: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub major_page_faults: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Box<PsiStats>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IoStats {
    pub time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Box<PsiStats>>,
}

/// How long all of the tasks, and how long some of them, were stalled.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PsiStats {
    pub full: PsiLine,
    pub some: PsiLine,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PsiLine {
    /// In microseconds.
    pub total: u64,
    pub avg10: Percent,
    pub avg60: Percent,
    pub avg300: Percent,
}

/// A percentage in hundredths. Go writes a whole number without a fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percent(pub u64);

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 % 100 {
            0 => serializer.serialize_u64(self.0 / 100),
            _ => serializer.serialize_f64(self.0 as f64 / 100.0),
        }
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        f64::deserialize(deserializer).map(|percent| Self((percent * 100.0).round() as u64))
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SwapStats {
    pub time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap_available_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap_usage_bytes: Option<u64>,
}

/// The default interface has its values here, and again in `interfaces`. If no interface
/// is called `eth0`, there is no default one, and its name is empty.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkStats {
    pub time: String,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rx_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rx_errors: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tx_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tx_errors: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<InterfaceStats>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InterfaceStats {
    pub name: String,
    pub rx_bytes: u64,
    pub rx_errors: u64,
    pub tx_bytes: u64,
    pub tx_errors: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FsStats {
    pub time: String,
    pub available_bytes: u64,
    pub capacity_bytes: u64,
    pub used_bytes: u64,
    pub inodes_free: u64,
    pub inodes: u64,
    pub inodes_used: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeStats {
    pub time: String,
    pub available_bytes: u64,
    pub capacity_bytes: u64,
    pub used_bytes: u64,
    pub inodes_free: u64,
    pub inodes: u64,
    pub inodes_used: u64,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pvc_ref: Option<PvcRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_health_stats: Option<VolumeHealthStats>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PvcRef {
    pub name: String,
    pub namespace: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VolumeHealthStats {
    pub abnormal: bool,
}

impl PodStats {
    pub fn volumes(&self) -> Vec<VolumeStats> {
        self.volume.as_ref().map_or_else(Vec::new, Captured::value)
    }
}

impl Summary {
    /// The bytes a kubelet sends: indented by one space, no final newline.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4_096);
        self.serialize(&mut JsonSerializer::with_formatter(
            &mut out,
            Lines::default(),
        ))
        .expect("plain structs with string keys always serialize");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Summary {
        fn bring_to_life(&mut self) {
            fn live<T: DeserializeOwned + Clone>(part: &mut Captured<T>) {
                *part = Captured::live(part.value());
            }
            live(&mut self.node);
            for pod in self.pods.iter_mut().flatten() {
                live(&mut pod.cpu);
                live(&mut pod.memory);
                pod.volume.iter_mut().for_each(live);
                pod.ephemeral_storage.iter_mut().for_each(live);
                pod.swap.iter_mut().for_each(live);
                let containers = pod.containers.iter_mut();
                containers.flat_map(|one| &mut one.swap).for_each(live);
            }
        }
    }

    #[test]
    fn every_captured_reply_survives_unchanged() {
        let mut seen = 0;
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures");
        for entry in std::fs::read_dir(folder).expect("the fixtures folder") {
            let path = entry.expect("a fixture").path();
            let name = path.to_string_lossy().into_owned();
            if !name.contains(".summary") || !name.ends_with(".json") {
                continue;
            }
            let bytes = std::fs::read(&path).expect("a readable fixture");
            let mut summary: Summary = serde_json::from_slice(&bytes).expect(&name);
            assert!(summary.to_bytes() == bytes, "{name} came out differently");
            summary.bring_to_life();
            assert!(summary.to_bytes() == bytes, "{name} was not understood");
            seen += 1;
        }
        assert!(seen >= 25, "only {seen} fixtures found");
    }
}
