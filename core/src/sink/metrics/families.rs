//! Families of metrics in cmetrics' own msgpack, as `cmt_decode_msgpack_create` of Fluent Bit 2.0
//! to 5.1 reads it. Unknown keys are errors there, so a key that only some releases know is written
//! only for them.

use std::borrow::Cow;

use rmp::encode::{ByteBuf, write_array_len, write_f64, write_map_len, write_str, write_uint};

use super::{Kind, resource::Attributes};

/// What the host's cmetrics understands.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// Whether it knows units of metrics and starts of counters, which exist since 5.0.
    pub has_units: bool,
}

/// The limit for the samples of a family.
const MOST_SAMPLES: u32 = 65_535;

/// Up to this size, memory is always kept for the next scrape.
const KEPT_BYTES: usize = 16 << 10;

/// The room that is reserved for a sample, in bytes, without its shared labels. A larger sample
/// makes the buffer grow.
const USUAL_SAMPLE: usize = 256;

/// One metric, and its samples so far.
#[derive(Debug)]
pub struct Family {
    /// The name that others see.
    pub name: Cow<'static, str>,
    /// The keys of the samples' own labels, which follow the shared labels.
    pub labels: Vec<Cow<'static, str>>,
    kind: Kind,
    about: String,
    unit: &'static str,
    /// The keys of the labels that each sample has before its own.
    shared: Vec<&'static str>,
    /// The encoded part before the samples. It is written once.
    head: Vec<u8>,
    samples: Vec<u8>,
    count: u32,
}

/// A sample: its time, value and labels.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'s> {
    /// Nanoseconds since the epoch.
    pub time: u64,
    /// When the counter began, if this is known.
    pub started: Option<u64>,
    /// The value in the base unit.
    pub value: f64,
    /// The encoded values of the shared labels.
    pub shared: &'s [u8],
}

/// Makes room for `more` bytes. A large buffer grows by an eighth instead of doubling.
pub fn make_room(bytes: &mut Vec<u8>, more: usize) {
    const MUCH: usize = 64 << 10;
    if bytes.capacity() - bytes.len() >= more {
    } else if bytes.len() < MUCH {
        bytes.reserve(more);
    } else {
        bytes.reserve_exact(more.max(bytes.len() / 8));
    }
}

/// Writing to memory cannot fail.
fn done<T, E>(result: Result<T, E>) {
    debug_assert!(result.is_ok());
}

/// The limit for a text. cmetrics refuses a whole context because of one text that is too long,
/// which up to 4.2 means more than 1,024 bytes. It also refuses it because of a NUL in a text.
const LONGEST_TEXT: usize = 1_000;

/// A text from the cluster, in a form that the host's cmetrics accepts.
fn readable(text: &str) -> Cow<'_, str> {
    let mut end = text.len().min(LONGEST_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = &text[..end];
    match text.contains('\0') {
        true => Cow::Owned(text.replace('\0', "\u{fffd}")),
        false => Cow::Borrowed(text),
    }
}

/// Appends `text` in msgpack.
pub fn push_text(out: &mut Vec<u8>, text: &str) {
    with_buffer(out, |out| done(write_str(out, &readable(text))));
}

/// Runs `write` with the type of buffer that rmp needs.
pub fn with_buffer<T>(bytes: &mut Vec<u8>, write: impl FnOnce(&mut ByteBuf) -> T) -> T {
    let mut buffer = ByteBuf::from_vec(std::mem::take(bytes));
    let written = write(&mut buffer);
    *bytes = buffer.into_vec();
    written
}

impl Family {
    /// Makes a family without samples. `shared` are the keys of the labels that each sample has
    /// first.
    pub fn new(
        name: Cow<'static, str>,
        kind: Kind,
        about: String,
        unit: &'static str,
        shared: &[&'static str],
    ) -> Self {
        Self {
            name,
            labels: Vec::new(),
            kind,
            about,
            unit,
            shared: shared.to_vec(),
            head: Vec::new(),
            samples: Vec::new(),
            count: 0,
        }
    }

    /// Changes the keys of its own labels.
    pub fn relabel(&mut self, labels: Vec<Cow<'static, str>>) {
        if self.labels != labels {
            self.labels = labels;
            self.head.clear();
        }
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether it is a counter.
    pub fn is_counter(&self) -> bool {
        self.kind == Kind::Counter
    }

    /// The approximate size in bytes.
    pub fn size(&self) -> usize {
        // The size of the head is not known before it is written for the first time.
        const OF_HEAD: usize = 256;
        self.samples.len() + self.head.len().max(OF_HEAD)
    }

    /// The size in bytes without the head.
    pub fn size_of_samples(&self) -> usize {
        self.samples.len()
    }

    /// Drops its samples and returns their number.
    pub fn clear(&mut self) -> usize {
        // The memory of one unusually large reply is not kept.
        if self.samples.capacity() / 4 > self.samples.len().max(KEPT_BYTES) {
            self.samples.shrink_to(KEPT_BYTES);
        }
        self.samples.clear();
        std::mem::take(&mut self.count) as usize
    }

    /// Adds `source` to the help, if it is not there yet.
    pub fn is_made_of(&mut self, source: &str) {
        if !self.about.contains(source) {
            self.about.push_str(", ");
            self.about.push_str(source);
        }
    }

    /// Adds a sample and returns its size. `own` are the values of [`Self::labels`]. Returns `None`
    /// if the sample would have more than `most` bytes, or if there are too many samples.
    pub fn push<'v>(
        &mut self,
        dialect: Dialect,
        sample: &Sample,
        own: impl ExactSizeIterator<Item = &'v str>,
        most: usize,
    ) -> Option<usize> {
        if self.count == MOST_SAMPLES {
            return None;
        }
        let before = self.samples.len();
        let started = sample
            .started
            .filter(|_| dialect.has_units && self.is_counter())
            // The sample may still be older than the start, if the kubelet has not sampled the new
            // run yet.
            .filter(|started| *started <= sample.time);
        let labels = self.shared.len() + own.len();
        make_room(&mut self.samples, USUAL_SAMPLE + sample.shared.len());
        with_buffer(&mut self.samples, |out| {
            done(write_map_len(out, 4 + u32::from(started.is_some())));
            done(write_str(out, "ts"));
            done(write_uint(out, sample.time));
            if let Some(started) = started {
                done(write_str(out, "start_ts"));
                done(write_uint(out, started));
            }
            done(write_str(out, "value"));
            done(write_f64(out, sample.value));
            done(write_str(out, "labels"));
            done(write_array_len(out, labels as u32));
            out.as_mut_vec().extend_from_slice(sample.shared);
            for value in own {
                done(write_str(out, &readable(value)));
            }
            done(write_str(out, "hash"));
            done(write_uint(out, 0));
        });
        let size = self.samples.len() - before;
        if size > most {
            self.samples.truncate(before);
            return None;
        }
        self.count += 1;
        Some(size)
    }

    /// Writes the family with its samples, and drops them.
    pub fn take(&mut self, dialect: Dialect, separator: char, out: &mut Vec<u8>) {
        if self.head.is_empty() {
            self.write_head(dialect, separator);
        }
        out.extend_from_slice(&self.head);
        with_buffer(out, |out| done(write_array_len(out, self.count)));
        out.extend_from_slice(&self.samples);
        self.clear();
    }

    fn write_head(&mut self, dialect: Dialect, separator: char) {
        // 2.x joins the three parts of a name with `_`, even if the first part is empty.
        let (namespace, name) = match separator {
            '_' => self.name.split_once('_').unwrap_or(("", &self.name)),
            _ => ("", &*self.name),
        };
        let is_counter = self.is_counter();
        let mut head = ByteBuf::new();
        let out = &mut head;
        done(write_map_len(out, 2));
        done(write_str(out, "meta"));
        done(write_map_len(out, 4 + u32::from(is_counter)));
        done(write_str(out, "ver"));
        done(write_uint(out, 2));
        done(write_str(out, "type"));
        done(write_uint(out, u64::from(!is_counter)));
        done(write_str(out, "opts"));
        done(write_map_len(out, 4 + u32::from(dialect.has_units)));
        for (key, value) in [
            ("ns", namespace),
            ("ss", ""),
            ("name", name),
            ("desc", &self.about),
        ] {
            done(write_str(out, key));
            done(write_str(out, value));
        }
        if dialect.has_units {
            done(write_str(out, "unit"));
            done(write_str(out, self.unit));
        }
        done(write_str(out, "labels"));
        done(write_array_len(
            out,
            (self.shared.len() + self.labels.len()) as u32,
        ));
        let shared = self.shared.iter().copied();
        for key in shared.chain(self.labels.iter().map(AsRef::as_ref)) {
            done(write_str(out, key));
        }
        if is_counter {
            const CUMULATIVE: u64 = 2;
            done(write_str(out, "aggregation_type"));
            done(write_uint(out, CUMULATIVE));
        }
        done(write_str(out, "values"));
        self.head = head.into_vec();
    }
}

/// Begins a context with the attributes of its resource and the number of families. Without a
/// producer, the host's processor `content_modifier` drops the whole context.
pub fn begin_context(out: &mut Vec<u8>, attributes: &Attributes, families: u32) {
    with_buffer(out, |out| {
        done(write_map_len(out, 2));
        done(write_str(out, "meta"));
        done(write_map_len(out, 3));
        done(write_str(out, "cmetrics"));
        done(write_map_len(out, 1));
        done(write_str(out, "producer"));
        done(write_str(out, "fluent-bit"));
        done(write_str(out, "external"));
        write_external(out, attributes);
        done(write_str(out, "processing"));
        done(write_map_len(out, 1));
        done(write_str(out, "static_labels"));
        done(write_array_len(out, 0));
        done(write_str(out, "metrics"));
        done(write_array_len(out, families));
    });
}

/// Writes the resource of a context and what made it.
fn write_external(out: &mut ByteBuf, attributes: &Attributes) {
    let pairs = |out: &mut ByteBuf, pairs: &[(&str, &str)]| {
        done(write_map_len(out, pairs.len() as u32));
        for (key, value) in pairs {
            done(write_str(out, key));
            done(write_str(out, &readable(value)));
        }
    };
    let scope = [
        ("name", "kubeletstats"),
        ("version", env!("CARGO_PKG_VERSION")),
    ];
    done(write_map_len(out, 2));
    done(write_str(out, "resource"));
    done(write_map_len(out, 2));
    done(write_str(out, "metadata"));
    pairs(out, &[]);
    done(write_str(out, "attributes"));
    pairs(out, attributes.pairs());
    done(write_str(out, "scope"));
    done(write_map_len(out, 2));
    done(write_str(out, "metadata"));
    pairs(out, &scope);
    done(write_str(out, "attributes"));
    pairs(out, &[]);
}
