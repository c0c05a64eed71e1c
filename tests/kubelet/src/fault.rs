//! Owns the list of faults and their names on a command line. It knows when a fault
//! applies, but not how it is carried out.

use std::{fmt, str::FromStr};

/// Defines the faults, and one fault of every kind with moderate arguments. The order is
/// that of `--help`.
macro_rules! faults {
    ($($(#[$about:meta])* $name:ident $(($($kind:ty = $usual:expr),*))?,)*) => {
        /// A fault of a kubelet, or of something between it and a client.
        #[derive(Debug, Clone, PartialEq, Eq, Default)]
        pub enum Fault { $($(#[$about])* $name $(($($kind),*))?,)* }

        impl Fault {
            pub fn all() -> Vec<Self> {
                vec![$(Self::$name $(($($usual),*))?,)*]
            }
        }
    };
}

faults! {
    #[default]
    None,
    /// The connection is accepted and nothing is ever read from it.
    HangAfterAccept,
    /// The ClientHello is read and never answered.
    HangInTls,
    /// The request is read and never answered.
    HangBeforeHeaders,
    /// This many interim replies (100, 102 and 103 in turn), then the reply.
    Interim(u64 = u64::MAX),
    /// A header field with this many bytes.
    HugeHeader(usize = 1 << 20),
    /// This many additional header fields.
    ManyHeaders(usize = 1_000),
    /// Chunks with one blank each, without end, as fast as the client reads them.
    TinyChunks,
    /// The size of a chunk, followed by an extension without end.
    EndlessChunkLine,
    /// The whole body, and trailers without end.
    EndlessTrailers,
    /// Headers and half the body, then silence.
    HangInBody,
    /// The whole reply at one byte a second.
    SlowHeaders,
    /// Headers at once, the body at one byte a second.
    SlowBody,
    /// Half the body, then a TCP reset.
    ResetMidBody,
    /// Half a chunk, then an orderly close.
    CutBody,
    /// One good chunk, then a line that is no chunk size.
    ChunkedGarbage,
    /// More bytes announced than sent, then an orderly close.
    WrongContentLength,
    /// 200 with zero bytes.
    EmptyBody,
    /// 200 with an HTML page, like that of a captive portal.
    NotJson,
    /// Valid JSON of exactly this many bytes, streamed.
    HugeBody(u64 = 200_000_000),
    /// A reply that claims to be gzip, which the client did not ask for. Its content is
    /// not gzip.
    Gzip,
    /// An HTTP/1.0 reply. Its end is the end of the connection.
    Http10,
    /// A good reply, after which the connection is closed without an announcement.
    CloseAfterReply,
    /// 302 to this address.
    Redirect(String = "https://127.0.0.1:1/stats/summary".to_owned()),
    /// This status with this body.
    Status(u16 = 503, String = "Service Unavailable".to_owned()),
    /// 503 to every second request.
    Flap,
    /// A serving certificate that expired years ago.
    ExpiredCertificate,
    /// A serving certificate for another node.
    WrongName,
    /// A serving certificate of a CA that is not in the CA file.
    UnknownCa,
    /// The ClientHello is answered with this fatal alert.
    TlsAlert(u8 = 80),
    /// `"time": null` everywhere.
    TimeNull,
    /// Numbers around and beyond 64 bits.
    HugeNumbers,
    NegativeNumbers,
    /// Numbers with a fraction or an exponent.
    FloatNumbers,
    /// Numbers in quotes.
    StringNumbers,
    /// Every pod twice, the second with another uid and an older start.
    DuplicatePods,
    /// An unknown key with this many nested arrays.
    DeepNesting(usize = 1_000),
    /// Bytes in strings that are not UTF-8.
    InvalidUtf8,
    /// A bare `NaN` in place of a number.
    NanText,
    /// Names with control characters, quotes and newlines, and one of a megabyte.
    HostilePodName,
    /// `"pods": []`.
    EmptyPods,
    /// No `pods` key.
    NoPods,
    /// The whole reply inside an array.
    TopLevelArray,
}

/// When a fault applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Connection,
    Request,
}

impl Fault {
    pub fn stage(&self) -> Stage {
        match self {
            Self::HangAfterAccept
            | Self::HangInTls
            | Self::ExpiredCertificate
            | Self::WrongName
            | Self::UnknownCa
            | Self::TlsAlert(_) => Stage::Connection,
            _ => Stage::Request,
        }
    }

    /// The name on a command line without an argument, for example `hang-in-body`.
    pub fn name(&self) -> String {
        let debug = format!("{self:?}");
        let variant = debug.split('(').next().unwrap_or_default();
        let mut name = String::new();
        for letter in variant.chars() {
            if letter.is_ascii_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        match self {
            Self::HugeBody(count) | Self::Interim(count) => write!(f, ":{count}"),
            Self::HugeHeader(count) | Self::ManyHeaders(count) => write!(f, ":{count}"),
            Self::DeepNesting(depth) => write!(f, ":{depth}"),
            Self::TlsAlert(number) => write!(f, ":{number}"),
            Self::Redirect(url) => write!(f, ":{url}"),
            Self::Status(code, body) => write!(f, ":{code}:{body}"),
            _ => Ok(()),
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    /// Reads for example `hang-in-body`, `HangInBody`, `huge-body:200000000`,
    /// `status:429:slow down`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, argument) = match text.split_once(':') {
            Some((name, argument)) => (name, Some(argument)),
            None => (text, None),
        };
        let plain = |name: &str| name.replace(['-', '_'], "").to_ascii_lowercase();
        let fault = Self::all()
            .into_iter()
            .find(|fault| plain(&fault.name()) == plain(name))
            .ok_or_else(|| format!("no fault is named {name:?}"))?;
        let Some(argument) = argument else {
            return Ok(fault);
        };
        let wrong = || format!("fault {name:?} does not take {argument:?}");
        let number = || argument.parse::<u64>().map_err(|_| wrong());
        Ok(match fault {
            Self::HugeBody(_) => Self::HugeBody(number()?),
            Self::Interim(_) => Self::Interim(number()?),
            Self::HugeHeader(_) => Self::HugeHeader(number()? as usize),
            Self::ManyHeaders(_) => Self::ManyHeaders(number()? as usize),
            Self::DeepNesting(_) => Self::DeepNesting(number()? as usize),
            Self::TlsAlert(_) => Self::TlsAlert(argument.parse().map_err(|_| wrong())?),
            Self::Redirect(_) => Self::Redirect(argument.to_owned()),
            Self::Status(..) => {
                let (code, body) = argument.split_once(':').unwrap_or((argument, ""));
                Self::Status(code.parse().map_err(|_| wrong())?, body.to_owned())
            }
            _ => return Err(wrong()),
        })
    }
}

/// The fault in force.
#[derive(Debug, Default)]
pub struct Injection {
    fault: Fault,
    taken: u64,
}

impl Injection {
    pub fn set(&mut self, fault: Fault) {
        *self = Self { fault, taken: 0 };
    }

    /// Returns the fault for the current connection or request.
    pub fn take(&mut self, stage: Stage) -> Fault {
        if self.fault.stage() != stage {
            return Fault::None;
        }
        self.taken += 1;
        match &self.fault {
            Fault::Flap if self.taken.is_multiple_of(2) => {
                Fault::Status(503, "Service Unavailable".to_owned())
            }
            Fault::Flap => Fault::None,
            fault => fault.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_found_by_its_name() {
        for fault in Fault::all() {
            assert_eq!(fault.to_string().parse(), Ok(fault.clone()), "{fault}");
            assert_eq!(fault.name().parse(), Ok(fault.clone()), "{fault}");
        }
        assert_eq!("HangInBody".parse(), Ok(Fault::HangInBody));
        assert_eq!("http10".parse(), Ok(Fault::Http10));
        assert_eq!("huge-body:7".parse(), Ok(Fault::HugeBody(7)));
        let busy = Fault::Status(429, "slow: down".to_owned());
        assert_eq!("status:429:slow: down".parse(), Ok(busy));
        assert!("no-such-thing".parse::<Fault>().is_err());
        assert!("gzip:9".parse::<Fault>().is_err());
    }
}
