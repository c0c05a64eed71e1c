//! Owns one connection from accept to close: the handshake, then one request after
//! another. It decides when the connection ends. `respond` decides the reply, and
//! `deliver` sends it.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use crate::{
    clock::now_ms,
    deliver::{After, deliver},
    fault::Fault,
    http::{Request, read_request},
    journal::{RecordedRequest, count},
    respond,
    server::Shared,
    sync::lock,
    wire::{Wire, drain, wait_for_hangup},
};

/// The reply of Go's TLS listener to a client that did not use TLS.
const PLAIN_HTTP_REFUSED: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
/// Long enough for any client on the same machine to read an error and close.
const GOODBYE: Duration = Duration::from_secs(1);

pub fn serve(shared: &Shared, stream: TcpStream, id: u64) {
    // Each small write of a slow reply must be sent separately.
    let _ = stream.set_nodelay(true);
    let fault = shared.connection_fault();
    match fault {
        Fault::HangAfterAccept => return wait_for_hangup(&stream),
        Fault::HangInTls => return drain(&stream),
        Fault::TlsAlert(number) => {
            // It does not matter if the client has already closed the connection.
            let _ = end_with_alert(stream, number);
            return;
        }
        _ => {}
    }
    // An error here means that the client closed the connection or broke the protocol.
    // Both end the connection.
    if let Ok(Some(wire)) = open(shared, stream, &fault) {
        let _ = converse(shared, wire, id);
    }
}

/// Starts TLS if it is used. Returns `None` after refusing a plain HTTP request.
fn open(shared: &Shared, stream: TcpStream, fault: &Fault) -> io::Result<Option<Wire>> {
    if shared.plain_http {
        return Ok(Some(Wire::Plain(stream)));
    }
    let mut first = [0];
    if stream.peek(&mut first)? == 1 && first[0].is_ascii_uppercase() {
        refuse_plain_http(stream)?;
        return Ok(None);
    }
    let config = lock(&shared.tls).config_for(fault)?;
    let wire = Wire::handshake(stream, config)?;
    count(&shared.journal.handshakes);
    Ok(Some(wire))
}

/// Reads the ClientHello, and answers with a separate alert record.
fn end_with_alert(mut stream: TcpStream, number: u8) -> io::Result<()> {
    let mut header = [0; 5];
    stream.read_exact(&mut header)?;
    let length = u16::from_be_bytes([header[3], header[4]]);
    stream.read_exact(&mut vec![0; length.into()])?;
    let (alert, tls_1_2, fatal) = (21, [3, 3], 2);
    stream.write_all(&[alert, tls_1_2[0], tls_1_2[1], 0, 2, fatal, number])?;
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(GOODBYE))?;
    drain(&stream);
    Ok(())
}

fn refuse_plain_http(stream: TcpStream) -> io::Result<()> {
    let mut wire = Wire::Plain(stream);
    wire.send(PLAIN_HTTP_REFUSED)?;
    wire.socket().shutdown(Shutdown::Write)?;
    // If unread bytes remained, closing would reset the connection, and the answer would
    // be lost.
    wire.socket().set_read_timeout(Some(GOODBYE))?;
    drain(wire.socket());
    Ok(())
}

fn converse(shared: &Shared, mut wire: Wire, id: u64) -> io::Result<()> {
    let shown = wire.tls().and_then(|tls| tls.peer_certificates());
    let known_client = shown.is_some();
    let mut buffer = Vec::new();
    loop {
        let request = match read_request(&mut wire, &mut buffer) {
            Ok(Some(request)) => request,
            Ok(None) => break,
            Err(err) if err.kind() == io::ErrorKind::InvalidData => {
                wire.send(b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad Request")?;
                break;
            }
            Err(err) => return Err(err),
        };
        // The fault is read before the request is recorded, because a test that waits for
        // the request may change the fault next.
        let fault = shared.request_fault(request.path());
        record(shared, &request);
        if fault == Fault::HangBeforeHeaders {
            drain(wire.socket());
            break;
        }
        let reply = respond::reply(shared, &request, known_client, &fault);
        match deliver(shared, &mut wire, &reply, &fault)? {
            After::Continue => {
                shared.journal.replied();
                if request.wants_close() {
                    break;
                }
            }
            After::Close => {
                shared.journal.replied();
                break;
            }
            After::Hang => {
                drain(wire.socket());
                break;
            }
            After::Reset => {
                shared.forget(id);
                wire.reset();
                return Ok(());
            }
        }
    }
    wire.close();
    Ok(())
}

fn record(shared: &Shared, request: &Request) {
    shared.journal.record(RecordedRequest {
        method: request.method.clone(),
        target: request.target.clone(),
        headers: request.headers.clone(),
        had_authorization: request.header("authorization").is_some(),
        at_ms: now_ms(),
    });
}
