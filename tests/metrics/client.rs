//! Requests of HTTP/1.1 on loopback, and what comes back, whole.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(10);

/// The body of a reply with status 200.
pub fn get(port: u16, path: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )?;
    let mut reply = Vec::new();
    let mut piece = [0; 1 << 16];
    loop {
        if let Some(body) = whole(&reply, false)? {
            return Ok(body);
        }
        match stream.read(&mut piece)? {
            0 => return whole(&reply, true)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into()),
            count => reply.extend(&piece[..count]),
        }
    }
}

/// The body, once all of it is there.
fn whole(reply: &[u8], has_ended: bool) -> io::Result<Option<Vec<u8>>> {
    let Some(end) = reply.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&reply[..end]).to_ascii_lowercase();
    let body = &reply[end + 4..];
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        let text = String::from_utf8_lossy(body);
        return Err(io::Error::other(format!("{status}: {text}")));
    }
    let header = |name: &str| {
        let mut values = head.lines().filter_map(|line| line.split_once(": "));
        values.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    if header("transfer-encoding") == Some("chunked") {
        return Ok(unchunked(body));
    }
    match header("content-length").and_then(|length| length.trim().parse().ok()) {
        Some(length) => Ok(body.get(..length).map(<[u8]>::to_vec)),
        None => Ok(has_ended.then(|| body.to_vec())),
    }
}

fn unchunked(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    loop {
        let end = body.windows(2).position(|two| two == b"\r\n")?;
        let size = String::from_utf8_lossy(&body[..end]);
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(plain);
        }
        plain.extend(body.get(end + 2..end + 2 + size)?);
        body = body.get(end + 2 + size + 2..)?;
    }
}

pub fn get_text(port: u16, path: &str) -> io::Result<String> {
    let body = get(port, path)?;
    String::from_utf8(body).map_err(io::Error::other)
}

pub fn get_json(port: u16, path: &str) -> io::Result<Value> {
    serde_json::from_slice(&get(port, path)?).map_err(io::Error::other)
}

/// As it stands in a query of a URL.
pub fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let one = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}
