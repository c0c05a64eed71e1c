//! The table of every value of the Summary API. Each value has one row.
//!
//! A *group* is an object that occurs in several places of the reply, such as `memory`. A row of a
//! group is one value. It names the field that holds the decoded value, the value's key in the
//! JSON, its unit and kind, the level from which it is decoded, and the record's fields that are
//! made of it. A *scope* is what a group can belong to (a container, a pod, …). It lists its
//! groups, their places in the JSON, and the prefixes of their fields in a record.
//!
//! Everything else is generated from the rows: the structs, their decoder, the record, the tables
//! of `docs/record.md`, and the test that every number of a captured reply is in the output. To add
//! a value, add a row.
//!
//! ```text
//! rss:  Number "rssBytes" Bytes Gauge All [All "_rss_bytes" whole]     "_rss_bytes" "rss";
//! field type   key        unit  kind  level of the record's fields:    suffixes of the metric's
//!                                           level, suffix of the name, names: of Prometheus and
//!                                           and how it is made         of OpenTelemetry
//! ```
//!
//! The level after a group's name says from which level the time of its sample is decoded. The
//! lines after its rows, such as `psi`, are objects inside the group. They are decoded only at
//! level `All`.

use crate::{
    facts::Resources,
    json::{Broken, Walk},
    number::Number,
    timestamp::Timestamp,
};

/// How much of a scope is decoded. A value with a higher level is skipped.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Only what the default record of a container needs.
    #[default]
    Least,
    /// What records of all other kinds have without `fields all`.
    Basic,
    /// Every value the kubelet has.
    All,
}

impl Level {
    /// The level of containers when everything else has this level.
    pub const fn of_containers(self) -> Self {
        match self {
            Self::Least | Self::Basic => Self::Least,
            Self::All => Self::All,
        }
    }
}

/// Which parts of a reply are decoded, for the selected pods and for the node.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Plan<'p> {
    /// How much of each scope is decoded. For containers it is [`Level::of_containers`].
    pub level: Level,
    /// Containers, and the pod's traffic, which their records contain.
    pub containers: bool,
    /// The pod's own values.
    pub pods: bool,
    /// Volumes of pods.
    pub volumes: bool,
    /// Each interface of pods. If the node is decoded, also each interface of the node.
    pub interfaces: bool,
    /// The node's own values.
    pub node: bool,
    /// The system containers: what runs on the node outside pods.
    pub system_containers: bool,
    /// Containers and system containers with these names are skipped.
    pub excluded_containers: &'p [String],
}

impl Plan<'_> {
    /// What the default record needs.
    pub const CONTAINERS: Self = Self {
        level: Level::Least,
        containers: true,
        pods: false,
        volumes: false,
        interfaces: false,
        node: false,
        system_containers: false,
        excluded_containers: &[],
    };

    /// All that a kubelet writes.
    pub const ALL: Self = Self {
        level: Level::All,
        containers: true,
        pods: true,
        volumes: true,
        interfaces: true,
        node: true,
        system_containers: true,
        excluded_containers: &[],
    };

    /// The plan for the values inside a container.
    pub(crate) const fn of_containers(self) -> Self {
        Self {
            level: self.level.of_containers(),
            ..self
        }
    }

    /// Whether any part of pods is decoded.
    pub const fn wants_pods(self) -> bool {
        self.containers || self.wants_of_pods_but_containers()
    }

    /// Whether there can be records of other kinds than `container`.
    pub const fn wants_other_kinds(self) -> bool {
        self.wants_of_pods_but_containers()
            || self.node
            || self.system_containers
            || !self.containers
    }

    /// Whether only volumes are decoded.
    pub const fn wants_only_volumes(self) -> bool {
        let others = self.containers || self.pods || self.interfaces;
        self.volumes && !others && !self.node && !self.system_containers
    }

    const fn wants_of_pods_but_containers(self) -> bool {
        self.pods || self.volumes || self.interfaces
    }
}

/// The unit in which the kubelet writes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Nanoseconds of one core.
    CoreNanoseconds,
    /// Billionths of a core.
    NanoCores,
    /// Microseconds.
    Microseconds,
    /// Seconds.
    Seconds,
    /// Bytes per second.
    BytesPerSecond,
    /// Percent of the time.
    Percent,
    /// Cores.
    Cores,
    /// A part of a whole, from 0 to 1.
    Ratio,
    /// A number of things.
    Count,
}

impl Unit {
    /// Converts a number to the unit of metrics: seconds, bytes or cores.
    fn in_base(self, number: f64) -> f64 {
        match self {
            Self::CoreNanoseconds | Self::NanoCores => number / 1e9,
            Self::Microseconds => number / 1e6,
            _ => number,
        }
    }
}

/// Whether a value can decrease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Counts up from 0 during the life of the object that it belongs to.
    Counter,
    /// Rises and falls.
    Gauge,
}

/// A number in the form that it has in a record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Figure {
    /// A whole number.
    Whole(u64),
    /// Any other number.
    Real(f64),
}

/// The functions that make a record's field from the kubelet's number.
mod make {
    use super::{Figure, Number};

    pub fn whole(number: Number) -> Figure {
        Figure::Whole(number.get())
    }

    pub fn mebibytes(bytes: Number) -> Figure {
        Figure::Real(bytes.get() as f64 / 1_048_576.0)
    }

    pub fn seconds(microseconds: Number) -> Figure {
        Figure::Real(microseconds.get() as f64 / 1e6)
    }

    pub fn real(number: f64) -> Figure {
        Figure::Real(number)
    }

    pub fn percent(nano_cores: f64) -> Figure {
        Figure::Real(nano_cores / 1e7)
    }

    pub fn cores(nano_cores: f64) -> Figure {
        Figure::Real(nano_cores / 1e9)
    }
}

/// A row, for documentation and tests.
#[derive(Debug)]
pub struct Value {
    /// Its key in the reply. For a derived value, it is a description of what it is made of.
    pub json: &'static str,
    /// The unit of the kubelet's number.
    pub unit: Unit,
    /// Counter or gauge.
    pub kind: Kind,
    /// The level from which it is decoded.
    pub level: Level,
    /// The record's fields: the level from which each is written, the suffix of its name, and the
    /// function that makes it.
    pub fields: &'static [(Level, &'static str, &'static str)],
    /// The suffix of the metric's name in Prometheus' style, after the group's prefix.
    pub metric: &'static str,
    /// The suffix of the metric's name in OpenTelemetry's style.
    pub opentelemetry: &'static str,
}

/// A group within a scope, for documentation and tests.
#[derive(Debug)]
pub struct Part {
    /// The group's place in the reply, relative to the scope. It is empty if the keys are directly
    /// in the scope.
    pub json: &'static str,
    /// The prefix of its fields in a record.
    pub prefix: &'static str,
    /// The prefix of its metrics in OpenTelemetry's style, after the scope's prefix.
    pub opentelemetry: &'static str,
    /// Its rows.
    pub values: &'static [Value],
}

/// Receives a record's fields: the prefix of the name, the suffix, and the number.
pub trait Fields {
    /// Receives one field.
    fn field(&mut self, prefix: &'static str, suffix: &'static str, figure: Figure);
}

/// An object of the reply that is read member by member. A member of the wrong JSON type is an
/// error, and the pod is dropped. A number or a time that cannot be parsed is only absent.
pub(crate) trait Members<'a> {
    /// Reads the value of this key, or skips it.
    fn member(&mut self, key: &[u8], plan: Plan, walk: &mut Walk<'a>) -> Result<(), Broken>;

    /// Reads the next member or skips its value, if it is a common one in a kubelet's form. Returns
    /// `false` for any other, which [`Members::member`] then gets. This changes nothing but the time
    /// that it takes.
    #[inline]
    fn common_member(&mut self, _: Plan, _: &mut Walk<'a>) -> Result<bool, Broken> {
        Ok(false)
    }

    /// Is called after the last member.
    fn finish(&mut self, _: Plan) -> Result<(), Broken> {
        Ok(())
    }

    /// Reads the object that begins here.
    fn read(&mut self, plan: Plan, walk: &mut Walk<'a>) -> Result<(), Broken> {
        let mut more = walk.enter(b'{', b'}')?;
        while more {
            // `at_member` looks at the very next byte.
            walk.peek()?;
            if !self.common_member(plan, walk)? {
                let key = walk.key()?;
                self.member(key, plan, walk)?;
            }
            more = walk.another(b'}')?;
        }
        self.finish(plan)
    }

    /// Reads the object, or `null`, which Go writes for an absent object.
    fn read_if_any(&mut self, plan: Plan, walk: &mut Walk<'a>) -> Result<(), Broken> {
        match walk.null()? {
            true => Ok(()),
            false => self.read(plan, walk),
        }
    }
}

/// Receives all numbers of a scope, including absent ones.
pub trait Numbers {
    /// A group begins. Its sample was taken at `time`.
    fn begin_group(&mut self, time: Option<Timestamp>);
    /// Receives the number of the next row.
    fn number(&mut self, number: Option<f64>);
}

/// How the number of a row is parsed.
trait Read: Sized {
    fn read(walk: &mut Walk) -> Result<Option<Self>, Broken>;
    fn into_f64(self) -> f64;
}

impl Read for Number {
    fn read(walk: &mut Walk) -> Result<Option<Self>, Broken> {
        walk.number()
    }

    fn into_f64(self) -> f64 {
        self.get() as f64
    }
}

impl Read for f64 {
    fn read(walk: &mut Walk) -> Result<Option<Self>, Broken> {
        let text = str::from_utf8(walk.value()?).unwrap_or_default();
        let number = text.parse::<Self>().ok();
        Ok(number.filter(|number| number.is_finite() && *number >= 0.0))
    }

    fn into_f64(self) -> f64 {
        self
    }
}

macro_rules! group {
    (
        $(#[$about:meta])*
        $Group:ident, $time:ident {
            $($field:ident: $Type:ident $json:literal $unit:ident $kind:ident $level:ident
                [$($of:ident $suffix:literal $make:ident),*] $metric:literal $otel:literal;)*
        }
        $($inner:ident: $Inner:ident $inner_json:literal;)*
    ) => {
        $(#[$about])*
        #[derive(Debug, Default, Clone, PartialEq)]
        pub struct $Group {
            /// When the kubelet took this sample.
            pub time: Option<Timestamp>,
            $(
                #[doc = concat!("`", $json, "`")]
                pub $field: Option<$Type>,
            )*
            $(
                #[doc = concat!("`", $inner_json, "`")]
                pub $inner: Option<Box<$Inner>>,
            )*
        }

        impl $Group {
            /// The rows.
            pub const VALUES: &'static [Value] = &[$(Value {
                json: $json,
                unit: Unit::$unit,
                kind: Kind::$kind,
                level: Level::$level,
                fields: &[$((Level::$of, $suffix, stringify!($make))),*],
                metric: $metric,
                opentelemetry: $otel,
            }),*];

            /// The lowest level at which any row is decoded.
            #[allow(dead_code, reason = "the reply has no object of what is derived")]
            const LEVEL: Level = {
                #[allow(unused_mut)]
                let mut least = Level::All;
                $(
                    if (Level::$level as u8) < (least as u8) {
                        least = Level::$level;
                    }
                )*
                least
            };

            /// Passes on the number of each row, in the order of the rows and in the unit of its
            /// metric.
            #[inline]
            pub fn numbers(&self, out: &mut impl Numbers) {
                out.begin_group(self.time);
                $(
                    out.number(self.$field.map(|number| Unit::$unit.in_base(number.into_f64())));
                )*
            }

            /// Passes on the record's fields of all values that are present.
            #[inline]
            pub fn fields(&self, prefix: &'static str, level: Level, out: &mut impl Fields) {
                let _ = (prefix, level, &out);
                $(
                    if let Some(number) = self.$field {
                        $(
                            if Level::$of <= level {
                                out.field(prefix, $suffix, make::$make(number));
                            }
                        )*
                        let _ = number;
                    }
                )*
            }
        }

        impl<'a> Members<'a> for $Group {
            fn member(&mut self, key: &[u8], plan: Plan, walk: &mut Walk<'a>) -> Result<(), Broken> {
                match key {
                    b"time" if Level::$time <= plan.level => self.time = walk.time()?,
                    $(key if Level::$level <= plan.level && key == $json.as_bytes() => {
                        self.$field = Read::read(walk)?;
                    })*
                    $(key if plan.level == Level::All && key == $inner_json.as_bytes() => {
                        let inner = self.$inner.get_or_insert_default();
                        inner.read_if_any(plan, walk)?;
                    })*
                    _ => walk.skip()?,
                }
                Ok(())
            }

            #[inline]
            fn common_member(&mut self, plan: Plan, walk: &mut Walk<'a>) -> Result<bool, Broken> {
                if walk.at_member("\"time\": ") {
                    match Level::$time <= plan.level {
                        true => self.time = walk.time()?,
                        false => walk.skip()?,
                    }
                }
                $(else if walk.at_member(concat!("\"", $json, "\": ")) {
                    match Level::$level <= plan.level {
                        true => self.$field = Read::read(walk)?,
                        false => walk.skip()?,
                    }
                })*
                else {
                    return Ok(false);
                }
                Ok(true)
            }
        }
    };
}

group! {
    /// CPU, and how long tasks waited for it.
    Cpu, Least {
        nano_cores: Number "usageNanoCores" NanoCores Gauge Least [] "" "";
        core_nanoseconds: Number "usageCoreNanoSeconds" CoreNanoseconds Counter Least
            [All "_usage_core_nanoseconds" whole] "_usage_seconds_total" "time";
    }
    psi: Psi "psi";
}

group! {
    /// Memory, and how long tasks waited for it.
    Memory, Least {
        working_set: Number "workingSetBytes" Bytes Gauge Least [Least "" mebibytes, Least "_bytes" whole] "_working_set_bytes" "working_set";
        usage: Number "usageBytes" Bytes Gauge All [All "_usage_bytes" whole] "_usage_bytes" "usage";
        available: Number "availableBytes" Bytes Gauge All [All "_available_bytes" whole] "_available_bytes" "available";
        rss: Number "rssBytes" Bytes Gauge All [All "_rss_bytes" whole] "_rss_bytes" "rss";
        page_faults: Number "pageFaults" Count Counter All [All "_page_faults" whole] "_page_faults_total" "page_faults";
        major_page_faults: Number "majorPageFaults" Count Counter All [All "_major_page_faults" whole] "_major_page_faults_total" "major_page_faults";
    }
    psi: Psi "psi";
}

group! {
    /// Swap.
    Swap, All {
        usage: Number "swapUsageBytes" Bytes Gauge All [All "_usage_bytes" whole] "_usage_bytes" "usage";
        available: Number "swapAvailableBytes" Bytes Gauge All [All "_available_bytes" whole] "_available_bytes" "available";
    }
}

group! {
    /// How long tasks waited for disks.
    Io, All {}
    psi: Psi "psi";
}

group! {
    /// A file system, or the part of it that one object uses.
    Filesystem, Least {
        used: Number "usedBytes" Bytes Gauge Least [Basic "_used_bytes" whole] "_used_bytes" "usage";
        capacity: Number "capacityBytes" Bytes Gauge Basic [Basic "_capacity_bytes" whole] "_capacity_bytes" "capacity";
        available: Number "availableBytes" Bytes Gauge Basic [Basic "_available_bytes" whole] "_available_bytes" "available";
        inodes: Number "inodes" Count Gauge All [All "_inodes" whole] "_inodes" "inodes";
        inodes_free: Number "inodesFree" Count Gauge All [All "_inodes_free" whole] "_inodes_free" "inodes.free";
        inodes_used: Number "inodesUsed" Count Gauge All [All "_inodes_used" whole] "_inodes_used" "inodes.used";
    }
}

group! {
    /// The traffic of one interface.
    Traffic, Basic {
        rx_bytes: Number "rxBytes" Bytes Counter Least [Basic "_rx_bytes" whole] "_receive_bytes_total" "io";
        tx_bytes: Number "txBytes" Bytes Counter Least [Basic "_tx_bytes" whole] "_transmit_bytes_total" "io";
        rx_errors: Number "rxErrors" Count Counter All [All "_rx_errors" whole] "_receive_errors_total" "errors";
        tx_errors: Number "txErrors" Count Counter All [All "_tx_errors" whole] "_transmit_errors_total" "errors";
    }
}

group! {
    /// Processes of a pod.
    Processes, All {
        count: Number "process_count" Count Gauge All [All "_count" whole] "es" "count";
    }
}

group! {
    /// Process ids of the node.
    Rlimit, All {
        maxpid: Number "maxpid" Count Gauge All [All "_maxpid" whole] "_maxpid" "maxpid";
        curproc: Number "curproc" Count Gauge All [All "_curproc" whole] "_curproc" "curproc";
    }
}

group! {
    /// Pressure: the share of time in which some or all tasks waited. `total` is in microseconds.
    /// That was measured; the API's comment says something else.
    Pressure, All {
        avg10: f64 "avg10" Percent Gauge All [All "_avg10" real] "_avg10_percent" "avg10";
        avg60: f64 "avg60" Percent Gauge All [All "_avg60" real] "_avg60_percent" "avg60";
        avg300: f64 "avg300" Percent Gauge All [All "_avg300" real] "_avg300_percent" "avg300";
        total: Number "total" Microseconds Counter All [All "_seconds" seconds] "_seconds_total" "time";
    }
}

group! {
    /// The rate that [`crate::rates`] computes from the two CPU values.
    Rate, Least {
        nano_cores: f64 "cpu.usageNanoCores, limited by cpu.usageCoreNanoSeconds" NanoCores Gauge Least
            [Least "" percent, Least "_cores" cores] "_usage_cores" "usage";
    }
}

group! {
    /// How many bytes a container has written to disk, if the kubelet reports them.
    Disk, Least {
        used: Number "rootfs.usedBytes, else logs.usedBytes" Bytes Gauge Least
            [Least "" mebibytes, Least "_bytes" whole] "" "";
    }
}

group! {
    /// The pod's traffic as it is in the records of its containers.
    PodTraffic, Least {
        rx_bytes: Number "pod.network.rxBytes" Bytes Counter Least [Least "_in" whole] "" "";
        tx_bytes: Number "pod.network.txBytes" Bytes Counter Least [Least "_out" whole] "" "";
    }
}

group! {
    /// The rates that [`crate::rates`] computes from an interface's counters.
    TrafficRate, Basic {
        rx: f64 "network.rxBytes of two samples" BytesPerSecond Gauge Basic [Basic "_rx_bytes_per_second" real] "_receive_bytes_per_second" "io.rate";
        tx: f64 "network.txBytes of two samples" BytesPerSecond Gauge Basic [Basic "_tx_bytes_per_second" real] "_transmit_bytes_per_second" "io.rate";
    }
}

group! {
    /// When the object of the record started, and how old it was when the sample was taken.
    Age, All {
        started: f64 "startTime" Seconds Gauge All [] "start_time_seconds" "";
        seconds: f64 "the sample's time minus startTime" Seconds Gauge All [All "_seconds" real] "" "uptime";
    }
}

group! {
    /// What the storage driver reports about the state of a volume.
    VolumeHealth, Basic {
        abnormal: Number "volumeHealthStats.abnormal, as 1 or 0" Count Gauge Basic [Basic "_abnormal" whole] "_abnormal" "health.abnormal";
    }
}

group! {
    /// The requests and limits of a container, or of a pod as a whole.
    Allotment, Least {
        cpu_request: f64 "resources.requests.cpu" Cores Gauge Least [Least "cpu_request_cores" real] "cpu_request_cores" "cpu_request";
        cpu_limit: f64 "resources.limits.cpu" Cores Gauge Least [Least "cpu_limit_cores" real] "cpu_limit_cores" "cpu_limit";
        memory_request: Number "resources.requests.memory" Bytes Gauge Least [Least "memory_request_bytes" whole] "memory_request_bytes" "memory_request";
        memory_limit: Number "resources.limits.memory" Bytes Gauge Least [Least "memory_limit_bytes" whole] "memory_limit_bytes" "memory_limit";
    }
}

group! {
    /// The used part of each request and limit. For memory, the working set counts as used.
    Utilization, Least {
        cpu_request: f64 "cpu_cores / cpu_request_cores" Ratio Gauge Least [Least "cpu_request_utilization" real] "cpu_request_utilization" "cpu_request_utilization";
        cpu_limit: f64 "cpu_cores / cpu_limit_cores" Ratio Gauge Least [Least "cpu_limit_utilization" real] "cpu_limit_utilization" "cpu_limit_utilization";
        memory_request: f64 "memory_bytes / memory_request_bytes" Ratio Gauge Least [Least "memory_request_utilization" real] "memory_request_utilization" "memory_request_utilization";
        memory_limit: f64 "memory_bytes / memory_limit_bytes" Ratio Gauge Least [Least "memory_limit_utilization" real] "memory_limit_utilization" "memory_limit_utilization";
    }
}

group! {
    /// How often the kubelet has restarted a container.
    Restarts, Least {
        count: Number "restartCount" Count Counter Least [Least "restart_count" whole] "restarts_total" "restarts";
    }
}

impl From<&Resources> for Allotment {
    fn from(resources: &Resources) -> Self {
        Self {
            cpu_request: resources.cpu_request,
            cpu_limit: resources.cpu_limit,
            memory_request: resources.memory_request.and_then(Number::new),
            memory_limit: resources.memory_limit.and_then(Number::new),
            ..Self::default()
        }
    }
}

impl Allotment {
    /// Which part of each request and limit this use is. A request or limit of 0 gives no value.
    pub fn used_by(&self, nano_cores: Option<f64>, working_set: Option<Number>) -> Utilization {
        let cores = nano_cores.map(|nano_cores| nano_cores / 1e9);
        let bytes = working_set.map(|bytes| bytes.get() as f64);
        let of = |used: Option<f64>, whole: Option<f64>| {
            let whole = whole.filter(|whole| *whole > 0.0)?;
            Some(used? / whole)
        };
        let in_bytes = |whole: Option<Number>| whole.map(|whole| whole.get() as f64);
        Utilization {
            cpu_request: of(cores, self.cpu_request),
            cpu_limit: of(cores, self.cpu_limit),
            memory_request: of(bytes, in_bytes(self.memory_request)),
            memory_limit: of(bytes, in_bytes(self.memory_limit)),
            ..Utilization::default()
        }
    }
}

/// Pressure on one resource.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Psi {
    /// Pressure where at least one task waited.
    pub some: Pressure,
    /// Pressure where all tasks waited.
    pub full: Pressure,
}

impl Pressure {
    /// For a kubelet that reports no pressure.
    const NONE: Self = Self {
        time: None,
        avg10: None,
        avg60: None,
        avg300: None,
        total: None,
    };
}

impl<'a> Members<'a> for Psi {
    fn member(&mut self, key: &[u8], plan: Plan, walk: &mut Walk<'a>) -> Result<(), Broken> {
        match key {
            b"some" => self.some.read_if_any(plan, walk),
            b"full" => self.full.read_if_any(plan, walk),
            _ => walk.skip(),
        }
    }
}

/// The groups of a scope. Each line has the field, the group, the key, the prefix of the record's
/// fields and the prefix in OpenTelemetry's style. A group with pressure adds the two prefixes of
/// its pressure.
macro_rules! scope {
    // A scope with the groups of every cgroup, followed by its own groups.
    (
        $(#[$about:meta])*
        $Scope:ident: cgroup {
            $($own:tt)*
        }
    ) => {
        scope! {
            $(#[$about])*
            $Scope {
                cpu: Cpu "cpu" "cpu" "cpu" { "cpu_psi_some" "cpu_psi_full" };
                memory: Memory "memory" "memory" "memory" { "memory_psi_some" "memory_psi_full" };
                swap: Swap "swap" "swap" "swap";
                io: Io "io" "io" "io" { "io_psi_some" "io_psi_full" };
                $($own)*
            }
        }
    };
    (
        $(#[$about:meta])*
        $Scope:ident {
            $($field:ident: $Group:ident $json:literal $prefix:literal $otel:literal $({ $some:literal $full:literal })?;)*
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Default, Clone, PartialEq)]
        pub struct $Scope {
            $(
                #[doc = concat!("`", $json, "`")]
                pub $field: $Group,
            )*
        }

        impl $Scope {
            /// The groups and their places.
            pub const PARTS: &'static [Part] = &[$(
                Part { json: $json, prefix: $prefix, opentelemetry: $otel, values: $Group::VALUES },
                $(
                    Part {
                        json: concat!($json, ".psi.some"),
                        prefix: $some,
                        opentelemetry: concat!($otel, ".psi.some"),
                        values: Pressure::VALUES,
                    },
                    Part {
                        json: concat!($json, ".psi.full"),
                        prefix: $full,
                        opentelemetry: concat!($otel, ".psi.full"),
                        values: Pressure::VALUES,
                    },
                )?
            )*];

            /// Passes on the number of each row of [`Self::PARTS`], in the same order.
            #[inline]
            pub fn numbers(&self, out: &mut impl Numbers) {
                $(
                    self.$field.numbers(out);
                    $(
                        // This names the two, so that the macro repeats this block only for groups
                        // with pressure, as in `PARTS`.
                        let _ = ($some, $full);
                        let psi = self.$field.psi.as_deref();
                        psi.map_or(&Pressure::NONE, |psi| &psi.some).numbers(out);
                        psi.map_or(&Pressure::NONE, |psi| &psi.full).numbers(out);
                    )?
                )*
            }

            /// Passes on the record's fields of all values that are present.
            #[inline]
            pub fn fields(&self, level: Level, out: &mut impl Fields) {
                $(
                    self.$field.fields($prefix, level, out);
                    $(
                        if let Some(psi) = &self.$field.psi {
                            psi.some.fields($some, level, out);
                            psi.full.fields($full, level, out);
                        }
                    )?
                )*
            }
        }

        impl<'a> Members<'a> for $Scope {
            fn member(&mut self, key: &[u8], plan: Plan, walk: &mut Walk<'a>) -> Result<(), Broken> {
                match key {
                    $(key if $Group::LEVEL <= plan.level && key == $json.as_bytes() => {
                        self.$field.read_if_any(plan, walk)
                    })*
                    _ => walk.skip(),
                }
            }

            #[inline]
            fn common_member(&mut self, plan: Plan, walk: &mut Walk<'a>) -> Result<bool, Broken> {
                $(if walk.at_member(concat!("\"", $json, "\": ")) {
                    match $Group::LEVEL <= plan.level {
                        true => self.$field.read_if_any(plan, walk)?,
                        false => walk.skip()?,
                    }
                    return Ok(true);
                })*
                Ok(false)
            }
        }
    };
}

scope! {
    /// The values of a container or of a system container.
    ContainerStats: cgroup {
        rootfs: Filesystem "rootfs" "rootfs" "filesystem";
        logs: Filesystem "logs" "logs" "logs";
    }
}

scope! {
    /// The values of a pod.
    PodStats: cgroup {
        ephemeral_storage: Filesystem "ephemeral-storage" "ephemeral_storage" "filesystem";
        processes: Processes "process_stats" "process" "process";
    }
}

scope! {
    /// The values of the node.
    NodeStats: cgroup {
        fs: Filesystem "fs" "fs" "filesystem";
        rlimit: Rlimit "rlimit" "rlimit" "rlimit";
    }
}

scope! {
    /// The values of the container runtime.
    RuntimeStats {
        image_fs: Filesystem "imageFs" "image_fs" "image_filesystem";
        container_fs: Filesystem "containerFs" "container_fs" "container_filesystem";
    }
}

/// The groups that the record of a container has in addition to those of its scope.
pub const OF_CONTAINER_RECORD: &[Part] = &[
    Part {
        json: "",
        prefix: "cpu",
        opentelemetry: "cpu",
        values: Rate::VALUES,
    },
    Part {
        json: "",
        prefix: "disk",
        opentelemetry: "",
        values: Disk::VALUES,
    },
    Part {
        json: "",
        prefix: "network",
        opentelemetry: "",
        values: PodTraffic::VALUES,
    },
];

impl Memory {
    /// Drops values above `most`, the memory of the node: nothing can use more.
    pub(crate) fn forget_above(&mut self, most: u64) {
        for used in [&mut self.working_set, &mut self.usage, &mut self.rss] {
            *used = used.filter(|used| used.get() <= most);
        }
    }
}

impl Age {
    /// The age, at the time of a sample, of an object that started at `started`.
    pub fn at(time: Timestamp, started: Option<Timestamp>) -> Self {
        let nanos = started.and_then(|started| time.as_nanos().checked_sub(started.as_nanos()));
        Self {
            started: started.map(|started| started.as_nanos() as f64 / 1e9),
            seconds: nanos.map(|nanos| nanos as f64 / 1e9),
            ..Self::default()
        }
    }
}

impl Filesystem {
    /// Drops the used bytes and inodes of a file system that has not been measured yet. The kubelet
    /// writes 0 for them and a time in 1970.
    pub(crate) fn forget_unmeasured(&mut self) {
        let is_zero = |number: Option<Number>| number.is_none_or(|number| number.get() == 0);
        if self.is_pending() && is_zero(self.used) && is_zero(self.inodes_used) {
            (self.used, self.inodes_used) = (None, None);
        }
    }

    /// Whether the kubelet has not measured it yet.
    pub fn is_pending(&self) -> bool {
        self.time.is_some_and(|time| time.seconds == 0)
    }
}
