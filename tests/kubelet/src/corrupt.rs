//! Owns the faults inside a body: what is done to the model before it is printed, and
//! to the bytes after. Knows no HTTP and no TLS.

use crate::{fault::Fault, model::Summary, population::copy_uid, random::seed_of};

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
