//! Credential files as they arrive when something has happened to them on the way,
//! and whether a byte of one shows in what was said.

use std::collections::HashSet;

use proptest::{collection::vec, prelude::*, sample::select};
use rcgen::{CertificateParams, KeyPair};

/// Each of these options names a file that can hold a secret.
pub const OPTIONS: [&str; 4] = ["kube_token_file", "kube_ca_file", "cert_file", "key_file"];

/// What one would put into such a file: certificate, key, both, or a token.
pub fn content() -> impl Strategy<Value = String> {
    let token = "[A-Za-z0-9_-]{40}\\.[A-Za-z0-9_-]{120}\\.[A-Za-z0-9_-]{80}";
    prop_oneof![
        3 => (0..5_usize).prop_map(|which| {
            let key = KeyPair::generate().expect("a key");
            let params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
            let cert = params.self_signed(&key).expect("a certificate").pem();
            let key = key.serialize_pem();
            match which {
                0 => cert,
                1 => key,
                2 => format!("{cert}{key}"),
                3 => format!("{key}{cert}"),
                _ => format!("{cert}{}", key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY")),
            }
        }),
        2 => token.prop_map(|token| format!("eyJ{token}\n")),
    ]
}

type Damage = fn(Vec<u8>, usize) -> Vec<u8>;

fn text(bytes: Vec<u8>, change: impl FnOnce(&str) -> String) -> Vec<u8> {
    change(&String::from_utf8_lossy(&bytes)).into_bytes()
}

/// Everything has been seen somewhere. The number says where, or which.
const DAMAGES: &[Damage] = &[
    |bytes, _| bytes,
    |bytes, _| text(bytes, |text| text.replace('\n', "\\n")),
    |bytes, _| text(bytes, |text| text.replace('\n', " ")),
    |bytes, _| text(bytes, |text| text.replace('\n', "")),
    |bytes, _| text(bytes, |text| text.replace('\n', "\r\n")),
    |bytes, _| text(bytes, |text| text.replace('\n', "\n    ")),
    |bytes, _| text(bytes, |text| format!("\"{text}\"")),
    |bytes, _| text(bytes, |text| format!("{{\"data\":{text:?}}}")),
    |bytes, _| text(bytes, |text| format!("Bearer {text}")),
    |bytes, _| text(bytes, |text| format!("{text}{text}")),
    |bytes, _| text(bytes, |text| format!("{}{text}", text.trim_end())),
    |bytes, _| text(bytes, |text| text.replace("CERTIFICATE", "PRIVATE KEY")),
    |bytes, _| text(bytes, |text| text.replace("PRIVATE KEY", "CERTIFICATE")),
    |bytes, _| text(bytes, |text| text.replace("-----END", "----END")),
    |bytes, _| [b"\xef\xbb\xbf".to_vec(), bytes].concat(),
    |bytes, _| bytes.iter().flat_map(|byte| [*byte, 0]).collect(),
    |bytes, _| base64(&bytes).into_bytes(),
    |bytes, at| bytes[..at % (bytes.len() + 1)].to_vec(),
    |bytes, at| bytes[at % (bytes.len() + 1)..].to_vec(),
    |bytes, at| inserted(bytes, at, b"\n"),
    |bytes, at| inserted(bytes, at, b"\0"),
    |bytes, at| inserted(bytes, at, b"\\n"),
    |bytes, at| inserted(bytes, at, "é".as_bytes()),
    |bytes, at| inserted(bytes, at, b"-----BEGIN "),
    |mut bytes, at| {
        let length = bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(at % length) {
            *byte ^= 1 + (at % 127) as u8;
        }
        bytes
    },
];

fn inserted(mut bytes: Vec<u8>, at: usize, what: &[u8]) -> Vec<u8> {
    let at = at % (bytes.len() + 1);
    bytes.splice(at..at, what.iter().copied());
    bytes
}

/// A file after one, two or three of them.
pub fn mangled() -> impl Strategy<Value = Vec<u8>> {
    let damage = (select(DAMAGES), any::<usize>());
    (content(), vec(damage, 1..4)).prop_map(|(content, damages)| {
        damages
            .into_iter()
            .fold(content.into_bytes(), |bytes, (damage, at)| {
                damage(bytes, at)
            })
    })
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let digit = |value: u32| char::from(DIGITS[(value & 63) as usize]);
    let group = |group: &[u8]| {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        [18, 12, 6, 0].map(|shift| digit(bits >> shift))
    };
    bytes.chunks(3).flat_map(group).collect()
}

/// A stretch of eight bytes of the file that stands in the text: as it is, as decimal
/// numbers with commas or blanks between them, as hex, or (six of them, as the groups
/// fall) as base64.
pub fn leak(file: &[u8], said: &str) -> Option<String> {
    let text = said.as_bytes();
    let mut found: HashSet<Vec<u8>> = text.windows(8).map(<[u8]>::to_vec).collect();
    let numbers: Vec<Option<u8>> = said
        .split([',', ' '])
        .filter(|word| !word.is_empty())
        .map(|word| word.trim_matches(['[', ']']).parse().ok())
        .collect();
    let whole = |window: &[Option<u8>]| window.iter().copied().collect();
    found.extend(numbers.windows(8).filter_map(whole));
    let hex = |window: &[u8]| {
        let digits = std::str::from_utf8(window).ok()?;
        let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
        (0..16).step_by(2).map(byte).collect()
    };
    found.extend(text.windows(16).filter_map(hex));
    found.extend(text.windows(8).filter_map(of_base64));
    // Blanks are everybody's: a window mostly of them stands beside one that is not, if
    // there is anything to be told.
    let telling = |window: &&[u8]| {
        let blanks = window.iter().filter(|byte| byte.is_ascii_whitespace());
        blanks.count() <= window.len() / 2
    };
    let windows = file.windows(8).chain(file.windows(6)).filter(telling);
    let mut leaked = windows.filter(|window| found.contains(*window));
    let window = leaked.next()?;
    let shown = String::from_utf8_lossy(window);
    Some(format!("{window:?} ({shown}) in: {said}"))
}

/// Two groups of three bytes.
fn of_base64(digits: &[u8]) -> Option<Vec<u8>> {
    let mut bits = 0_u64;
    for digit in digits {
        let value = DIGITS.iter().position(|other| other == digit)?;
        bits = bits << 6 | value as u64;
    }
    Some(bits.to_be_bytes()[2..].to_vec())
}

/// What looks for leaks finds one in each of the forms.
#[test]
fn a_leak_is_found_in_every_form() {
    let file = b"-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n";
    assert_eq!(leak(file, "cannot use key_file /k: it is empty"), None);
    assert_eq!(leak(b"         ", "         "), None);
    assert_eq!(leak(b"       /", "to do:         /k"), None);
    for at in 0..file.len() - 12 {
        let part = &file[at..at + 12];
        for said in [
            String::from_utf8_lossy(part).into_owned(),
            format!("line: {part:?}"),
            format!("{part:?}").replace(", ", ","),
            part.iter().map(|byte| format!("{byte:02x}")).collect(),
            part.iter().map(|byte| format!("{byte:02X}")).collect(),
            base64(part),
            base64(&[b"x", part].concat()),
            base64(&[b"xy", part].concat()),
        ] {
            assert!(leak(file, &said).is_some(), "{said}");
        }
    }
}
