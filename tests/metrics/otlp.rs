//! OTLP's request for metrics, decoded from its protobuf bytes by the numbers of
//! opentelemetry/proto/metrics/v1/metrics.proto. Written out here, since a decoder that is
//! generated brings a dozen crates for forty lines, and a field that is not expected has to
//! be an error: a message that another decoder would skip over is a difference worth knowing.

use std::collections::BTreeMap;

/// Attributes whose values are texts, the only ones that are used here.
pub type Attributes = BTreeMap<String, String>;

#[derive(Debug, Default, Clone)]
pub struct Resource {
    pub attributes: Attributes,
    /// Name and version.
    pub scope: (String, String),
    pub metrics: Vec<Metric>,
}

#[derive(Debug, Default, Clone)]
pub struct Metric {
    pub name: String,
    pub description: String,
    pub unit: String,
    pub is_sum: bool,
    pub is_monotonic: bool,
    /// 1 delta, 2 cumulative.
    pub temporality: u64,
    pub points: Vec<Point>,
}

#[derive(Debug, Default, Clone)]
pub struct Point {
    pub start: u64,
    pub time: u64,
    pub value: f64,
    pub attributes: Attributes,
}

/// A field of a message.
#[derive(Debug, Clone, Copy)]
enum Field<'b> {
    Varint(u64),
    Fixed(u64),
    Bytes(&'b [u8]),
}

impl<'b> Field<'b> {
    fn bytes(self) -> Result<&'b [u8], String> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            other => Err(format!("{other:?} is no message")),
        }
    }

    fn text(self) -> Result<String, String> {
        let bytes = self.bytes()?.to_vec();
        String::from_utf8(bytes).map_err(|error| error.to_string())
    }

    fn number(self) -> Result<u64, String> {
        match self {
            Self::Varint(number) | Self::Fixed(number) => Ok(number),
            Self::Bytes(_) => Err("a text where a number should be".to_owned()),
        }
    }
}

fn varint(bytes: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or("a number without end")?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number that is too long".to_owned())
}

/// Calls `each` with the number of each field and its value.
fn fields<'b>(
    mut bytes: &'b [u8],
    mut each: impl FnMut(u64, Field<'b>) -> Result<(), String>,
) -> Result<(), String> {
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let field = match tag & 7 {
            0 => Field::Varint(varint(&mut bytes)?),
            1 => {
                let (value, rest) = bytes.split_first_chunk().ok_or("a cut number")?;
                bytes = rest;
                Field::Fixed(u64::from_le_bytes(*value))
            }
            2 => {
                let length = varint(&mut bytes)? as usize;
                let (value, rest) = bytes.split_at_checked(length).ok_or("a cut message")?;
                bytes = rest;
                Field::Bytes(value)
            }
            kind => return Err(format!("wire type {kind}")),
        };
        each(tag >> 3, field)?;
    }
    Ok(())
}

fn unknown(message: &str, number: u64) -> Result<(), String> {
    Err(format!("{message} has a field {number}"))
}

/// `ExportMetricsServiceRequest`
pub fn decode(bytes: &[u8]) -> Result<Vec<Resource>, String> {
    let mut resources = Vec::new();
    fields(bytes, |number, field| match number {
        1 => {
            resources.push(resource(field.bytes()?)?);
            Ok(())
        }
        _ => unknown("request", number),
    })?;
    Ok(resources)
}

/// `ResourceMetrics`
fn resource(bytes: &[u8]) -> Result<Resource, String> {
    let mut resource = Resource::default();
    let mut scopes = 0;
    fields(bytes, |number, field| match number {
        1 => fields(field.bytes()?, |number, field| match number {
            1 => attribute(field.bytes()?, &mut resource.attributes),
            // dropped_attributes_count
            2 => Ok(()),
            _ => unknown("Resource", number),
        }),
        2 => {
            scopes += 1;
            fields(field.bytes()?, |number, field| match number {
                1 => fields(field.bytes()?, |number, field| match number {
                    1 => field.text().map(|name| resource.scope.0 = name),
                    2 => field.text().map(|version| resource.scope.1 = version),
                    3 | 4 => Ok(()),
                    _ => unknown("Scope", number),
                }),
                2 => metric(field.bytes()?).map(|metric| resource.metrics.push(metric)),
                3 => Ok(()),
                _ => unknown("ScopeMetrics", number),
            })
        }
        // schema_url
        3 => Ok(()),
        _ => unknown("ResourceMetrics", number),
    })?;
    match scopes {
        0 | 1 => Ok(resource),
        scopes => Err(format!("{scopes} scopes")),
    }
}

fn attribute(bytes: &[u8], attributes: &mut Attributes) -> Result<(), String> {
    let (mut key, mut value) = (String::new(), String::new());
    fields(bytes, |number, field| match number {
        1 => field.text().map(|text| key = text),
        2 => fields(field.bytes()?, |number, field| match number {
            1 => field.text().map(|text| value = text),
            _ => unknown("AnyValue", number),
        }),
        _ => unknown("KeyValue", number),
    })?;
    match attributes.insert(key.clone(), value) {
        Some(_) => Err(format!("{key} is there twice")),
        None => Ok(()),
    }
}

fn metric(bytes: &[u8]) -> Result<Metric, String> {
    let mut metric = Metric::default();
    fields(bytes, |number, field| match number {
        1 => field.text().map(|text| metric.name = text),
        2 => field.text().map(|text| metric.description = text),
        3 => field.text().map(|text| metric.unit = text),
        // Gauge, Sum
        5 | 7 => {
            metric.is_sum = number == 7;
            fields(field.bytes()?, |number, field| match number {
                1 => point(field.bytes()?).map(|point| metric.points.push(point)),
                2 if metric.is_sum => field.number().map(|number| metric.temporality = number),
                3 if metric.is_sum => field.number().map(|is| metric.is_monotonic = is == 1),
                _ => unknown("Gauge or Sum", number),
            })
        }
        _ => unknown("Metric", number),
    })?;
    Ok(metric)
}

/// `NumberDataPoint`
fn point(bytes: &[u8]) -> Result<Point, String> {
    let mut point = Point::default();
    fields(bytes, |number, field| match number {
        2 => field.number().map(|time| point.start = time),
        3 => field.number().map(|time| point.time = time),
        4 => field
            .number()
            .map(|bits| point.value = f64::from_bits(bits)),
        6 => field
            .number()
            .map(|value| point.value = value as i64 as f64),
        7 => attribute(field.bytes()?, &mut point.attributes),
        8 => Ok(()),
        _ => unknown("NumberDataPoint", number),
    })?;
    Ok(point)
}

/// The messages of a gRPC call.
pub fn of_grpc(mut bytes: &[u8]) -> Result<Vec<Resource>, String> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let (head, rest) = bytes.split_first_chunk::<5>().ok_or("a cut head")?;
        if head[0] != 0 {
            return Err("a compressed message".to_owned());
        }
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let cut = rest.split_at_checked(length as usize);
        let (message, rest) = cut.ok_or("a cut message")?;
        all.extend(decode(message)?);
        bytes = rest;
    }
    Ok(all)
}
