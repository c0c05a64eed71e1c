//! Reads files with certificates and keys, and explains what is wrong with one. No byte of such a
//! file gets into an error, because it may be part of a key.
//!
//! rustls decodes these files. But its errors quote a damaged file, and it ignores some unusual
//! parts, so the lines are checked here first.

use std::{
    fs::{File, FileType},
    io::Read,
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::Path,
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// A limit that is larger than any bundle of CAs.
const MAX_FILE: usize = 4 << 20;

/// Returns the content of a credential file, which is wiped after use. This is the only place that
/// reads such files. It limits their size, and it reads no kind of file that could make it wait.
pub fn read(option: &str, path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let unreadable = |error| Error::unreadable(option, path, error);
    // With O_NONBLOCK, opening a named pipe does not wait for a writer.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let mut options = File::options();
    let file = options.read(true).custom_flags(flags).open(path);
    let file = file.map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    if let Some(why) = unsupported_kind(meta.file_type()) {
        return Err(Error::unusable(option, path, why));
    }
    // The buffer gets its full size at once, because a buffer that grows would leave parts behind
    // in memory.
    let size = usize::try_from(meta.len())
        .unwrap_or(MAX_FILE)
        .min(MAX_FILE);
    let mut content = Zeroizing::new(Vec::with_capacity(size + 1));
    file.take(MAX_FILE as u64 + 1)
        .read_to_end(&mut content)
        .map_err(unreadable)?;
    match content.len() > MAX_FILE {
        true => Err(Error::unusable(option, path, "it is larger than 4 MiB")),
        false => Ok(content),
    }
}

/// Why a file of this kind is not read. A folder needs no entry, because reading it is an error
/// anyway.
fn unsupported_kind(kind: FileType) -> Option<&'static str> {
    if kind.is_fifo() {
        Some("it is a named pipe: name a regular file, since nobody waits for a writer here")
    } else if kind.is_char_device() || kind.is_block_device() {
        Some("it is a device: name a regular file")
    } else {
        None
    }
}

/// Returns every certificate of the file, in the order of the file.
pub fn certificates(option: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let content = read(option, path)?;
    let text = without_bom(&content);
    let unusable = |why| Error::unusable(option, path, why);
    let labels = labels(text).map_err(unusable)?;
    let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(unusable(match labels.as_slice() {
            [] => what_it_is_instead(text),
            labels => no_certificate(labels, option),
        })),
        Ok(found) => Ok(found),
        Err(_) => Err(unusable(DAMAGED)),
    }
}

/// Returns the first private key of the file.
pub fn key(option: &str, path: &Path) -> Result<PrivateKeyDer<'static>> {
    let content = read(option, path)?;
    let text = without_bom(&content);
    let unusable = |why| Error::unusable(option, path, why);
    let labels = labels(text).map_err(unusable)?;
    if labels.is_empty() {
        return Err(unusable(what_it_is_instead(text)));
    }
    if !labels.iter().any(|label| KEYS.contains(label)) {
        return Err(unusable(no_key(&labels)));
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|_| unusable(DAMAGED))
}

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";
const KEYS: [&[u8]; 3] = [b"PRIVATE KEY", b"RSA PRIVATE KEY", b"EC PRIVATE KEY"];

const RUN_TOGETHER: &str = "the lines of a PEM block are run together: write it with real line \
                            breaks, which an environment variable or a template has lost";
const INDENTED: &str = "the lines of a PEM block are indented: each has to begin at the left";
const CUT_SHORT: &str = "a PEM block has no end: the file is cut short";
const MIXED: &str = "a PEM block does not end as it begins: parts of two are mixed";
const DAMAGED: &str = "what is inside a PEM block is damaged: copy the file anew";
const ENCRYPTED: &str = "the key is encrypted, and nobody is here to be asked for its password: \
                         write it without one, with openssl pkey";

/// Returns the content without the byte order mark that some editors write.
fn without_bom(content: &[u8]) -> &[u8] {
    content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content)
}

/// Returns the labels of the PEM blocks, or what is wrong with the lines.
fn labels(text: &[u8]) -> std::result::Result<Vec<&[u8]>, &'static str> {
    let mut labels = Vec::new();
    let mut open = None;
    for line in text.split(|byte| matches!(byte, b'\n' | b'\r')) {
        let inside = line.trim_ascii();
        match (
            boundary_label(line, BEGIN)?,
            boundary_label(line, END)?,
            open,
        ) {
            (Some(label), _, None) => open = Some(label),
            (Some(_), _, Some(_)) => return Err(CUT_SHORT),
            (None, Some(label), Some(opened)) if label == opened => {
                labels.push(label);
                open = None;
            }
            (None, Some(_), _) => return Err(MIXED),
            (None, None, Some(_)) if inside.contains(&b'\\') => return Err(RUN_TOGETHER),
            (None, None, Some(_)) if inside.starts_with(b"Proc-Type:") => return Err(ENCRYPTED),
            (None, None, Some(_)) if inside.len() < line.trim_ascii_end().len() => {
                return Err(INDENTED);
            }
            (None, None, _) => {}
        }
    }
    match open {
        Some(_) => Err(CUT_SHORT),
        None => Ok(labels),
    }
}

/// Returns the label of a line that begins or ends a block. Such a line may contain nothing else.
fn boundary_label<'t>(
    line: &'t [u8],
    mark: &[u8],
) -> std::result::Result<Option<&'t [u8]>, &'static str> {
    let Some(at) = find(line, mark) else {
        return Ok(None);
    };
    let (before, rest) = (&line[..at], &line[at + mark.len()..]);
    let end = find(rest, DASHES);
    match end.map(|end| (&rest[..end], &rest[end + DASHES.len()..])) {
        Some((label, after)) if before.is_empty() && after.trim_ascii().is_empty() => {
            Ok(Some(label))
        }
        Some((_, after)) if before.trim_ascii().is_empty() && after.trim_ascii().is_empty() => {
            Err(INDENTED)
        }
        Some(_) => Err(RUN_TOGETHER),
        None => Err(CUT_SHORT),
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn no_certificate(labels: &[&[u8]], option: &str) -> &'static str {
    let has = |label: &[u8]| labels.contains(&label);
    if labels.iter().any(|label| label.ends_with(b"PRIVATE KEY")) {
        return match option {
            "cert_file" => {
                "it holds a private key, no certificate: are cert_file and key_file exchanged?"
            }
            _ => "it holds a private key, no certificate: name the file of the CA's certificate",
        };
    }
    match () {
        () if has(b"CERTIFICATE REQUEST") || has(b"NEW CERTIFICATE REQUEST") => {
            "it holds a request for a certificate: name the certificate that was made of it"
        }
        () if has(b"TRUSTED CERTIFICATE") || has(b"X509 CERTIFICATE") => {
            "its certificate is labelled as other programs do: write it anew with openssl x509"
        }
        () if has(b"PKCS7") => {
            "it holds a PKCS 7 bundle: write its certificates with openssl pkcs7 -print_certs"
        }
        () => "it holds PEM blocks, but no certificate",
    }
}

fn no_key(labels: &[&[u8]]) -> &'static str {
    let has = |label: &[u8]| labels.contains(&label);
    match () {
        () if has(b"ENCRYPTED PRIVATE KEY") => ENCRYPTED,
        () if has(b"OPENSSH PRIVATE KEY") => {
            "it holds a key as ssh writes it: write it as PKCS 8, with ssh-keygen -p -m PKCS8"
        }
        () if has(b"CERTIFICATE") => {
            "it holds a certificate, no private key: are cert_file and key_file exchanged?"
        }
        () => "it holds PEM blocks, but no private key",
    }
}

/// Returns what a file without PEM blocks seems to be.
fn what_it_is_instead(text: &[u8]) -> &'static str {
    let start = text.trim_ascii_start();
    match start {
        [] => "it is empty",
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [_, 0, ..] => {
            "it is UTF-16, not UTF-8: write it anew"
        }
        [0x30, 0x80..=0x84, ..] => {
            "it is binary (DER or PKCS 12), not PEM: convert it with openssl x509, pkey or pkcs12"
        }
        // These letters are the base64 encoding of five dashes.
        [b'L', b'S', b'0', b't', b'L', b'S', ..] => {
            "it is base64 of a PEM file: it was encoded once too often"
        }
        [b'e', b'y', b'J', ..] => "it holds a token, not PEM: that is for kube_token_file",
        [b'{', ..] => "it holds JSON, not PEM",
        _ if find(start, b"apiVersion").is_some() => {
            "it holds YAML, not PEM: name a file that has only what belongs to this option"
        }
        _ => "it holds no PEM block",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str = "-----BEGIN X-----\nTWFu\n-----END X-----\n";

    fn why(text: &str) -> &'static str {
        labels(text.as_bytes()).expect_err(text)
    }

    #[test]
    fn lines_that_are_as_they_should_be() {
        let crlf = BLOCK.replace('\n', "\r\n");
        let spaced = BLOCK.replace('\n', " \n");
        let two = format!("subject=/CN=x\n{BLOCK}\n{BLOCK}");
        for (text, blocks) in [(BLOCK, 1), (&crlf, 1), (&spaced, 1), (&two, 2), ("none", 0)] {
            let found = labels(text.as_bytes()).expect(text);
            assert_eq!(found, vec![b"X"; blocks], "{text}");
        }
    }

    #[test]
    fn lines_that_are_not() {
        for mangled in [
            BLOCK.replace('\n', "\\n"),
            BLOCK.replace('\n', " "),
            BLOCK.replace('\n', ""),
            BLOCK.replace("-\nT", "-\\nT"),
            BLOCK.replace("u\n-", "u\\n-"),
            BLOCK.replace("TWFu", "TW\\nFu"),
            format!("\"{BLOCK}\""),
            format!("{}{BLOCK}", BLOCK.trim_end()),
        ] {
            assert_eq!(why(&mangled), RUN_TOGETHER, "{mangled}");
        }
        assert_eq!(why(&BLOCK.replace('\n', "\n  ")), INDENTED);
        assert_eq!(why(&format!("  {BLOCK}")), INDENTED);
        for cut in 4..BLOCK.len() - 6 {
            if BLOCK[..cut].contains("BEGIN ") {
                assert_eq!(why(&BLOCK[..cut]), CUT_SHORT, "{cut}");
            }
        }
        assert_eq!(why(&BLOCK.replace("END X", "END Y")), MIXED);
    }
}
