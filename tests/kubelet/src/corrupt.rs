//! Owns the faults inside a body: what is done to the model before it is printed, and
//! to the bytes after. Knows no HTTP and no TLS.

use crate::fault::Fault;
use crate::model::Summary;
use crate::population::copy_uid;
use crate::random::seed_of;

/// Changes that are changes of content: other pods, other names.
pub fn corrupt_model(summary: &mut Summary, fault: &Fault) {
    match fault {
        Fault::EmptyPods => summary.pods = Some(Vec::new()),
        Fault::NoPods => summary.pods = None,
        Fault::DuplicatePods => {
            let pods = summary.pods.get_or_insert_default();
            let mut older = pods.clone();
            for pod in &mut older {
                pod.pod_ref.uid = copy_uid(&pod.pod_ref.name, 1);
                "2020-01-01T00:00:00Z".clone_into(&mut pod.start_time);
            }
            pods.append(&mut older);
        }
        Fault::HostilePodName => {
            let hostile = [
                "bell\u{7} and null\u{0} and escape \u{1b}[31m".to_owned(),
                "quote\" backslash\\ newline\n tab\t return\r".to_owned(),
                "m".repeat(1 << 20),
                "right-to-left \u{202e} and \u{1f4a5}".to_owned(),
                String::new(),
            ];
            let pods = summary.pods.get_or_insert_default();
            for (pod, name) in pods.iter_mut().zip(hostile) {
                pod.pod_ref.name = name;
            }
        }
        _ => {}
    }
}

/// Changes of the text. Relies on the kubelet's own layout: one scalar to a line.
pub fn corrupt_bytes(body: Vec<u8>, fault: &Fault) -> Vec<u8> {
    match fault {
        Fault::TimeNull => each_value(&body, |key, _, _| (key == "time").then(|| b"null".to_vec())),
        Fault::HugeNumbers => each_number(&body, |index, _| {
            const HUGE: [&str; 5] = [
                "9007199254740993",
                "18446744073709551615",
                "18446744073709551616",
                "123456789012345678901234567890",
                "1e400",
            ];
            HUGE[index % HUGE.len()].to_owned()
        }),
        Fault::NegativeNumbers => each_number(&body, |index, number| match index % 3 {
            0 => format!("-{number}"),
            1 => "-1".to_owned(),
            _ => "-9223372036854775808".to_owned(),
        }),
        // By the number itself: the same sample is the same in every reply.
        Fault::FloatNumbers => each_number(&body, |_, number| match seed_of(number) % 3 {
            0 => format!("{number}.5"),
            1 => format!("{number}e0"),
            _ => format!("{number}.0"),
        }),
        Fault::StringNumbers => each_number(&body, |_, number| format!("\"{number}\"")),
        Fault::NanText => each_number(&body, |_, _| "NaN".to_owned()),
        Fault::InvalidUtf8 => each_value(&body, |key, value, _| {
            let hit = key == "name" && value.starts_with('"');
            hit.then(|| [b"\"\xff\xfe\xc3", &value.as_bytes()[1..]].concat())
        }),
        Fault::DeepNesting(depth) => {
            let open = [b"{\n \"nested\": ".as_slice(), &b"[".repeat(*depth)].concat();
            let close = [b"]".repeat(*depth).as_slice(), b","].concat();
            [&open, &close, body.strip_prefix(b"{").unwrap_or(&body)].concat()
        }
        Fault::TopLevelArray => [b"[\n", body.as_slice(), b"\n]"].concat(),
        _ => body,
    }
}

/// Rewrites the scalars after a key; `change` gets key, value and the value's number.
fn each_value(
    body: &[u8],
    mut change: impl FnMut(&str, &str, usize) -> Option<Vec<u8>>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() * 2);
    let mut index = 0;
    for (number, line) in body.split(|byte| *byte == b'\n').enumerate() {
        if number > 0 {
            out.push(b'\n');
        }
        let text = std::str::from_utf8(line).unwrap_or_default();
        let Some((head, value)) = text.split_once("\": ") else {
            out.extend_from_slice(line);
            continue;
        };
        let key = head.trim_start().trim_start_matches('"');
        let (value, comma) = match value.strip_suffix(',') {
            Some(value) => (value, ","),
            None => (value, ""),
        };
        match change(key, value, index) {
            Some(changed) => {
                out.extend_from_slice(head.as_bytes());
                out.extend_from_slice(b"\": ");
                out.extend_from_slice(&changed);
                out.extend_from_slice(comma.as_bytes());
                index += 1;
            }
            None => out.extend_from_slice(line),
        }
    }
    out
}

fn each_number(body: &[u8], change: impl Fn(usize, &str) -> String) -> Vec<u8> {
    each_value(body, |_, value, index| {
        let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| change(index, value).into_bytes())
    })
}

/// A gzip stream of stored blocks: valid for every decoder, and needs no compressor.
pub fn gzip_stored(body: &[u8]) -> Vec<u8> {
    const LARGEST_BLOCK: usize = 0xffff;
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    let mut blocks = body.chunks(LARGEST_BLOCK).peekable();
    if blocks.peek().is_none() {
        out.extend_from_slice(&[1, 0, 0, 0xff, 0xff]);
    }
    while let Some(block) = blocks.next() {
        let length = block.len() as u16;
        out.push(u8::from(blocks.peek().is_none()));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.extend_from_slice(&crc32(body).to_le_bytes());
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const STEADY: &[u8] = include_bytes!("../../fixtures/02-steady-open.summary.json");

    fn corrupted(fault: &Fault) -> Vec<u8> {
        let mut summary: Summary = serde_json::from_slice(STEADY).expect("the fixture");
        corrupt_model(&mut summary, fault);
        corrupt_bytes(summary.to_bytes(), fault)
    }

    fn value(fault: &Fault) -> Value {
        let body = corrupted(fault);
        serde_json::from_slice(&body).unwrap_or_else(|err| panic!("{fault}: {err}"))
    }

    #[test]
    fn nothing_changes_without_a_fault() {
        assert!(corrupted(&Fault::None) == STEADY);
    }

    #[test]
    fn values_change_as_named() {
        let cpu = |fault: &Fault| value(fault)["pods"][0]["containers"][0]["cpu"].clone();
        assert_eq!(cpu(&Fault::TimeNull)["time"], Value::Null);
        assert!(cpu(&Fault::TimeNull)["usageNanoCores"].is_u64());
        assert!(cpu(&Fault::NegativeNumbers)["usageNanoCores"].is_i64());
        assert!(cpu(&Fault::FloatNumbers)["usageNanoCores"].is_f64());
        assert!(cpu(&Fault::StringNumbers)["usageNanoCores"].is_string());
        // Two of the huge numbers do not even fit a double or 64 bits.
        let huge = String::from_utf8(corrupted(&Fault::HugeNumbers)).expect("text");
        assert!(huge.contains(": 18446744073709551616,") && huge.contains(": 1e400,"));
        let nan = String::from_utf8(corrupted(&Fault::NanText)).expect("text");
        assert!(nan.contains("\"usageNanoCores\": NaN,"));
        assert!(std::str::from_utf8(&corrupted(&Fault::InvalidUtf8)).is_err());
    }

    #[test]
    fn shapes_change_as_named() {
        assert_eq!(value(&Fault::EmptyPods)["pods"], Value::Array(Vec::new()));
        assert!(value(&Fault::NoPods).get("pods").is_none());
        assert!(value(&Fault::TopLevelArray)[0]["node"].is_object());
        let pods = value(&Fault::DuplicatePods)["pods"]
            .as_array()
            .expect("pods")
            .len();
        assert_eq!(pods, 14);
        let nested = &value(&Fault::DeepNesting(50));
        assert!(nested["nested"][0][0].is_array() && nested["pods"].is_array());
        let hostile = value(&Fault::HostilePodName);
        let name = |index: usize| hostile["pods"][index]["podRef"]["name"].as_str();
        assert!(name(0).is_some_and(|name| name.contains('\u{0}')));
        assert!(name(1).is_some_and(|name| name.contains('\n')));
        assert!(name(2).is_some_and(|name| name.len() == 1 << 20));
    }

    #[test]
    fn gzip_has_the_known_checksum_and_layout() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let long = vec![b'x'; 70_000];
        let zipped = gzip_stored(&long);
        assert_eq!(zipped.len(), 10 + 5 + 5 + 70_000 + 8);
        assert_eq!(zipped[10], 0);
        assert_eq!(gzip_stored(b"")[10..15], [1, 0, 0, 0xff, 0xff]);
    }
}
