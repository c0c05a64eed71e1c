//! Owns the faults inside a body: the changes to the model before it is printed, and to
//! the bytes after that. It knows no HTTP and no TLS.

use crate::{
    fault::Fault, model::Summary, podlist::PodList, population::copy_uid, random::seed_of,
};

/// Makes the changes of content: other pods, other names.
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
            let pods = summary.pods.get_or_insert_default();
            for (pod, name) in pods.iter_mut().zip(hostile_names()) {
                pod.pod_ref.name = name;
            }
        }
        _ => {}
    }
}

fn hostile_names() -> [String; 5] {
    [
        "bell\u{7} and null\u{0} and escape \u{1b}[31m".to_owned(),
        "quote\" backslash\\ newline\n tab\t return\r".to_owned(),
        "m".repeat(1 << 20),
        "right-to-left \u{202e} and \u{1f4a5}".to_owned(),
        String::new(),
    ]
}

/// Makes the same changes in a `/pods` reply.
pub fn corrupt_list(list: &mut PodList, fault: &Fault) {
    match fault {
        // In both cases, the reply has null, as a kubelet writes it just after its start.
        Fault::EmptyPods | Fault::NoPods => list.items = None,
        Fault::DuplicatePods => {
            let items = list.items.get_or_insert_default();
            let mut older = items.clone();
            for item in &mut older {
                item.metadata.uid = copy_uid(&item.metadata.name, 1);
                item.status.start_time = Some("2020-01-01T00:00:00Z".to_owned());
            }
            items.append(&mut older);
        }
        Fault::HostilePodName => {
            let items = list.items.get_or_insert_default();
            for (item, name) in items.iter_mut().zip(hostile_names()) {
                item.metadata
                    .labels
                    .insert("hostile".to_owned(), name.clone());
                item.metadata.name = name;
            }
        }
        _ => {}
    }
}

/// Changes the text, in both layouts of a kubelet.
pub fn corrupt_bytes(body: Vec<u8>, fault: &Fault) -> Vec<u8> {
    match fault {
        Fault::TimeNull => each_value(&body, |key, _, _| is_time(key).then(|| b"null".to_vec())),
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
        // The form depends on the number itself, so the same sample is the same in every
        // reply.
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

/// Whether the key is that of a sample's time or of a time in `/pods`.
fn is_time(key: &str) -> bool {
    const OF_PODS: [&str; 3] = ["startedAt", "finishedAt", "lastTransitionTime"];
    key == "time" || OF_PODS.contains(&key)
}

/// Rewrites the scalars after a key. `change` gets the key, the value and the index of
/// the value. A body that is not text is returned unchanged.
fn each_value(
    body: &[u8],
    mut change: impl FnMut(&str, &str, usize) -> Option<Vec<u8>>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() * 2);
    let mut rest = std::str::from_utf8(body).unwrap_or_default();
    if rest.is_empty() {
        return body.to_vec();
    }
    let mut index = 0;
    while let Some(start) = rest.find('"') {
        let (before, string) = rest.split_at(start);
        let (string, after) = string.split_at(string_end(string));
        out.extend_from_slice(before.as_bytes());
        out.extend_from_slice(string.as_bytes());
        rest = after;
        let Some(value) = after.strip_prefix(':') else {
            continue;
        };
        let value = value.trim_start();
        let end = match value.as_bytes().first() {
            Some(b'{' | b'[') | None => continue,
            Some(b'"') => string_end(value),
            Some(_) => value.find([',', '}', ']', '\n']).unwrap_or(value.len()),
        };
        if let Some(changed) = change(string.trim_matches('"'), &value[..end], index) {
            out.extend_from_slice(&after.as_bytes()[..after.len() - value.len()]);
            out.extend_from_slice(&changed);
            rest = &value[end..];
            index += 1;
        } else if value.starts_with('"') {
            // The value is copied here, so that it is not read as a key.
            out.extend_from_slice(&after.as_bytes()[..after.len() - value.len() + end]);
            rest = &value[end..];
        }
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

/// Returns the end of the string at the beginning of `text`, including its quotes.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn each_number(body: &[u8], change: impl Fn(usize, &str) -> String) -> Vec<u8> {
    each_value(body, |_, value, index| {
        let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| change(index, value).into_bytes())
    })
}
