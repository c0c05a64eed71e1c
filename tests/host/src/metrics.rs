//! Metrics, as far as they can be shown. Contexts in cmetrics' msgpack are served over HTTP in
//! the text form of Prometheus, and printed on stdout as lines like Fluent Bit's, without the
//! time. As in cmetrics, an unknown key is an error.

use std::{
    collections::BTreeMap,
    ffi::c_int,
    fmt::Write as _,
    io::{BufRead, BufReader, Write as _},
    net::TcpListener,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::{Context, Result, bail, ensure};
use rmpv::Value;

use crate::input::Input;

/// The object that a plugin has as `struct cmt *`.
pub struct Cmt(String);

fn text(value: &Value) -> Result<&str> {
    value.as_str().context("a text is none")
}

fn list(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().context("a list is none")
}

/// Returns the members of a map. It must have all needed members, and may have only those and
/// the optional ones.
fn members<'v>(
    value: &'v Value,
    needed: &[&str],
    optional: &[&str],
) -> Result<BTreeMap<&'v str, &'v Value>> {
    let mut found = BTreeMap::new();
    for (key, value) in value.as_map().context("a map is none")? {
        let key = text(key)?;
        ensure!(
            needed.contains(&key) || optional.contains(&key),
            "unknown key {key}"
        );
        ensure!(found.insert(key, value).is_none(), "key {key} comes twice");
    }
    for key in needed {
        ensure!(found.contains_key(key), "no key {key}");
    }
    Ok(found)
}

/// Returns one context as text.
fn context(value: &Value) -> Result<String> {
    let context = members(value, &["meta", "metrics"], &[])?;
    let meta = members(
        context["meta"],
        &["cmetrics", "external", "processing"],
        &[],
    )?;
    let processing = members(meta["processing"], &["static_labels"], &[])?;
    let mut shared = Vec::new();
    for pair in list(processing["static_labels"])? {
        let [key, value] = list(pair)?.as_slice() else {
            bail!("a static label is no pair");
        };
        shared.push((text(key)?, text(value)?));
    }
    let mut out = String::new();
    for family in list(context["metrics"])? {
        write_family(family, &shared, &mut out)?;
    }
    Ok(out)
}

fn write_family(family: &Value, shared: &[(&str, &str)], out: &mut String) -> Result<()> {
    let family = members(family, &["meta", "values"], &[])?;
    let needed = ["ver", "type", "opts", "labels"];
    let meta = members(family["meta"], &needed, &["aggregation_type"])?;
    let opts = members(meta["opts"], &["ns", "ss", "name", "desc"], &["unit"])?;
    let parts = [opts["ns"], opts["ss"], opts["name"]].map(text);
    let parts = parts.into_iter().collect::<Result<Vec<_>>>()?;
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let name = parts.join("_");
    let kind = match meta["type"].as_u64() {
        Some(0) => "counter",
        Some(1) => "gauge",
        other => bail!("{name} is of type {other:?}"),
    };
    writeln!(out, "# HELP {name} {}", text(opts["desc"])?)?;
    writeln!(out, "# TYPE {name} {kind}")?;
    let keys = list(meta["labels"])?
        .iter()
        .map(text)
        .collect::<Result<Vec<_>>>()?;
    for value in list(family["values"])? {
        let sample = members(value, &["ts", "value", "labels", "hash"], &["start_ts"])?;
        let values = list(sample["labels"])?
            .iter()
            .map(text)
            .collect::<Result<Vec<_>>>()?;
        ensure!(
            values.len() == keys.len(),
            "{name} has {} labels",
            values.len()
        );
        let own = keys.iter().copied().zip(values);
        let labels = shared
            .iter()
            .copied()
            .chain(own)
            .filter(|(_, value)| !value.is_empty());
        let labels: Vec<_> = labels
            .map(|(key, value)| format!("{key}=\"{}\"", escaped(value)))
            .collect();
        let value = sample["value"].as_f64().context("a value is none")?;
        sample["ts"].as_u64().context("a time is none")?;
        writeln!(out, "{name}{{{}}} {value}", labels.join(","))?;
    }
    Ok(())
}

/// Escapes the value of a label for the text form.
fn escaped(value: &str) -> String {
    let value = value.replace('\\', r"\\").replace('"', "\\\"");
    value.replace('\n', r"\n")
}

/// The last page of each input, served over HTTP.
#[derive(Clone, Default)]
pub struct Pages(Arc<Mutex<BTreeMap<String, String>>>);

impl Pages {
    /// Serves the pages at this address, for every path.
    pub fn serve(address: &str) -> Result<Self> {
        let listener = TcpListener::bind(address).context("[output:prometheus_exporter]")?;
        let pages = Self::default();
        let served = pages.clone();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut lines = BufReader::new(&mut stream).lines();
                while lines
                    .next()
                    .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
                {}
                let page = served.0.lock().unwrap_or_else(PoisonError::into_inner);
                let page: String = page.values().map(String::as_str).collect();
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close";
                // It does not matter if the client has closed the connection.
                let _ = write!(
                    stream,
                    "{head}\r\nContent-Length: {}\r\n\r\n{page}",
                    page.len()
                );
            }
        });
        Ok(pages)
    }

    /// Replaces the input's last page.
    pub fn put(&self, input: &str, page: &str) {
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pages.insert(input.to_owned(), page.to_owned());
    }
}

#[unsafe(no_mangle)]
extern "C" fn cmt_decode_msgpack_create(
    out: &mut *mut Cmt,
    buf: *const u8,
    size: usize,
    offset: &mut usize,
) -> c_int {
    // SAFETY: the caller's buffer is valid for `size` bytes during the call.
    let bytes = unsafe { std::slice::from_raw_parts(buf, size) };
    let mut rest = &bytes[*offset..];
    let value = rmpv::decode::read_value(&mut rest).map_err(anyhow::Error::from);
    match value.and_then(|value| context(&value)) {
        Ok(text) => {
            *offset = size - rest.len();
            *out = Box::into_raw(Box::new(Cmt(text)));
            0
        }
        Err(why) => {
            log::error!("[metrics] not decoded: {why:#}");
            1
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn cmt_decode_msgpack_destroy(cmt: *mut Cmt) {
    // SAFETY: the host made this pointer in the function above, and the caller gives it back
    // once.
    drop(unsafe { Box::from_raw(cmt) });
}

#[unsafe(no_mangle)]
extern "C" fn flb_input_metrics_append(
    ins: &Input,
    _tag: *const u8,
    _tag_len: usize,
    cmt: &Cmt,
) -> c_int {
    ins.append_metrics(&cmt.0)
}

/// The arguments are those of releases from 2.0 on.
#[unsafe(no_mangle)]
extern "C" fn flb_input_chunk_append_raw(
    ins: &Input,
    _event_type: c_int,
    records: usize,
    _tag: *const u8,
    _tag_len: usize,
    buf: *const u8,
    size: usize,
) -> c_int {
    // SAFETY: the caller's buffer is valid for `size` bytes during the call.
    let mut rest = unsafe { std::slice::from_raw_parts(buf, size) };
    let mut page = String::new();
    for _ in 0..records {
        let value = rmpv::decode::read_value(&mut rest).map_err(anyhow::Error::from);
        match value.and_then(|value| context(&value)) {
            Ok(text) => page += &text,
            Err(why) => log::error!("[metrics] not decoded: {why:#}"),
        }
    }
    if !rest.is_empty() {
        log::error!("[metrics] {} bytes behind {records} contexts", rest.len());
    }
    ins.append_metrics(&page)
}
