//! Owns how a reply is sent: whole, slowly, in part, or garbled. It knows no paths and no
//! pods.

use std::{io, time::Duration};

use crate::{
    fault::Fault,
    http::{Framing, Reply, push_chunk},
    server::Shared,
    sync::lock,
    wire::Wire,
};

/// What happens to the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    Continue,
    Close,
    Hang,
    Reset,
}

const DRIP: Duration = Duration::from_secs(1);
const PIECE: usize = 64 * 1024;

pub fn deliver(
    shared: &Shared,
    wire: &mut Wire,
    reply: &Reply,
    fault: &Fault,
) -> io::Result<After> {
    let head = reply.head(shared.now_ms());
    let body = || {
        // A kubelet's chunks have the sizes of its writes, which can be anything.
        let mut order = lock(&shared.order);
        reply.framed_body(|| 512 + (order.next() % 7_681) as usize)
    };
    match fault {
        Fault::HangInBody | Fault::ResetMidBody => {
            let body = body();
            wire.send(&[&head, &body[..body.len() / 2]].concat())?;
            Ok(match fault {
                Fault::HangInBody => After::Hang,
                _ => After::Reset,
            })
        }
        Fault::Interim(count) => {
            let interim = [
                &b"HTTP/1.1 100 Continue\r\n\r\n"[..],
                b"HTTP/1.1 102 Processing\r\n\r\n",
                b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n",
            ];
            flood(shared, wire, *count, interim)?;
            wire.send(&[head, body()].concat())?;
            Ok(After::Continue)
        }
        Fault::HugeHeader(_) | Fault::ManyHeaders(_) => {
            let fields = match fault {
                Fault::HugeHeader(bytes) => format!("X-Huge: {}\r\n", "x".repeat(*bytes)),
                Fault::ManyHeaders(count) => {
                    (0..*count).map(|n| format!("X-{n}: {n}\r\n")).collect()
                }
                _ => String::new(),
            };
            let end = head.len() - b"\r\n".len();
            wire.send(&[&head[..end], fields.as_bytes(), b"\r\n", &body()].concat())?;
            Ok(After::Continue)
        }
        Fault::TinyChunks => {
            wire.send(&head)?;
            flood(shared, wire, u64::MAX, [b"1\r\n \r\n"])?;
            Ok(After::Close)
        }
        Fault::EndlessChunkLine => {
            wire.send(&[&head, &b"1;extension="[..]].concat())?;
            flood(shared, wire, u64::MAX, [b"x"])?;
            Ok(After::Close)
        }
        Fault::EndlessTrailers => {
            let body = body();
            let end = body.len() - b"\r\n".len();
            wire.send(&[&head, &body[..end]].concat())?;
            flood(shared, wire, u64::MAX, [b"X-Trailer: x\r\n"])?;
            Ok(After::Close)
        }
        Fault::SlowHeaders => drip(shared, wire, &[head, body()].concat()),
        Fault::SlowBody => {
            wire.send(&head)?;
            drip(shared, wire, &body())
        }
        Fault::CutBody => {
            // One chunk is announced in full, but only half of it is sent, whatever the
            // size of the body.
            let mut cut = Vec::new();
            push_chunk(&mut cut, &reply.body);
            wire.send(&[&head, &cut[..cut.len() / 2]].concat())?;
            Ok(After::Close)
        }
        Fault::ChunkedGarbage => {
            let mut garbled = head;
            push_chunk(&mut garbled, &reply.body[..reply.body.len() / 2]);
            garbled.extend_from_slice(b"zz-not-a-size\r\n{\"garbage\": true}\r\n");
            wire.send(&garbled)?;
            Ok(After::Close)
        }
        Fault::HugeBody(bytes) if reply.framing == Framing::Chunked => {
            wire.send(&head)?;
            send_huge(wire, &reply.body, *bytes)?;
            Ok(After::Continue)
        }
        _ => {
            wire.send(&[head, body()].concat())?;
            Ok(match (fault, reply.framing) {
                (Fault::CloseAfterReply | Fault::WrongContentLength, _)
                | (_, Framing::UntilClose) => After::Close,
                _ => After::Continue,
            })
        }
    }
}

/// Sends these texts in turn, `count` in all, in pieces of some size. It ends early only
/// if the connection or the server ends.
fn flood<'a, const N: usize>(
    shared: &Shared,
    wire: &mut Wire,
    mut count: u64,
    of: [&'a (impl AsRef<[u8]> + ?Sized + 'a); N],
) -> io::Result<()> {
    let mut turn = of.into_iter().cycle();
    while count > 0 && !shared.is_stopping() {
        let now = count.min(1_000);
        let some = turn.by_ref().take(now as usize);
        let piece = some.flat_map(AsRef::as_ref).copied().collect::<Vec<u8>>();
        wire.send(&piece)?;
        count -= now;
    }
    Ok(())
}

fn drip(shared: &Shared, wire: &mut Wire, bytes: &[u8]) -> io::Result<After> {
    for byte in bytes {
        wire.send(&[*byte])?;
        if shared.pause(DRIP) {
            return Ok(After::Close);
        }
    }
    Ok(After::Continue)
}

/// Sends the chunks of a valid reply of `bytes` bytes: the pods of the real one
/// repeatedly, then blanks up to that size.
fn send_huge(wire: &mut Wire, body: &[u8], bytes: u64) -> io::Result<()> {
    const KEYS: [&[u8]; 2] = [b"\"pods\": [", b"\"items\":["];
    const END: &[u8] = b"]}";
    let after = |key: &[u8]| {
        let at = body.windows(key.len()).position(|window| window == key);
        at.map(|at| at + key.len())
    };
    let (head, tail) = match KEYS.into_iter().find_map(after) {
        Some(at) => body.split_at(at),
        None => (&b"{\"pods\": ["[..], &b"]}"[..]),
    };
    let close = tail.iter().rposition(|byte| *byte == b']').unwrap_or(0);
    let pods = tail[..close].trim_ascii();
    let mut left = bytes.saturating_sub((head.len() + END.len()) as u64);
    let mut piece = head.to_vec();
    let mut first = true;
    while left > 0 {
        let needed = pods.len() + usize::from(!first);
        if !pods.is_empty() && needed as u64 <= left {
            if !first {
                piece.push(b',');
            }
            piece.extend_from_slice(pods);
            left -= needed as u64;
            first = false;
        } else {
            let blanks = left.min(PIECE as u64);
            piece.resize(piece.len() + blanks as usize, b' ');
            left -= blanks;
        }
        if piece.len() >= PIECE {
            send_chunk(wire, &piece)?;
            piece.clear();
        }
    }
    piece.extend_from_slice(END);
    send_chunk(wire, &piece)?;
    wire.send(b"0\r\n\r\n")
}

fn send_chunk(wire: &mut Wire, piece: &[u8]) -> io::Result<()> {
    let mut chunk = Vec::with_capacity(piece.len() + 16);
    push_chunk(&mut chunk, piece);
    wire.send(&chunk)
}
