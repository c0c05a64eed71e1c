//! Amounts as Kubernetes writes them: `100m`, `1.5`, `128Mi`, `1e3`.

/// Kubernetes limits an amount to the largest signed 64-bit number, in whole units.
const MOST: u128 = i64::MAX as u128;
/// Kubernetes keeps amounts down to one billionth.
const NANOS: u128 = 1_000_000_000;
/// This many digits, times the largest binary suffix, fit in 128 bits.
const DIGITS: usize = 20;

/// Returns the amount in cores, or `None` for a text that is no amount or is negative.
pub fn cores(text: &str) -> Option<f64> {
    // Both numbers are exact below 2^53, and only the division rounds: `100m` is 0.1.
    nanos(text).map(|nanos| nanos as f64 / NANOS as f64)
}

/// Returns whole bytes, rounded up, or `None` as for [`cores`].
pub fn bytes(text: &str) -> Option<u64> {
    nanos(text).and_then(|nanos| u64::try_from(nanos.div_ceil(NANOS)).ok())
}

/// Returns billionths, rounded up. Digits after the twentieth only round up.
fn nanos(text: &str) -> Option<u128> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, suffix) = text.split_at(end.unwrap_or(text.len()));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let (tens, factor) = scale(suffix)?;

    let whole = whole.trim_start_matches('0');
    let mut value = 0_u128;
    let mut kept = 0;
    let mut is_more = false;
    let mut left_out = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        let digit = u128::from(digit - b'0');
        if kept == DIGITS {
            is_more |= digit != 0;
            left_out += 1;
        } else {
            value = value * 10 + digit;
            kept += usize::from(value != 0);
        }
    }
    let value = (value + u128::from(is_more)) * factor;
    let shift = tens
        .saturating_add(9)
        .saturating_add(left_out)
        .saturating_sub(i64::try_from(fraction.len()).ok()?);
    Some(shifted(value, shift).min(MOST * NANOS))
}

/// Returns `value` times ten to the power of `tens`, rounded up. If that is too large, it returns
/// the largest number.
fn shifted(value: u128, tens: i64) -> u128 {
    let power = u32::try_from(tens.unsigned_abs())
        .ok()
        .and_then(|power| 10_u128.checked_pow(power));
    match (power, tens < 0) {
        _ if value == 0 => 0,
        (Some(power), true) => value.div_ceil(power),
        (Some(power), false) => value.saturating_mul(power),
        (None, true) => 1,
        (None, false) => u128::MAX,
    }
}

/// Returns the power of ten of a suffix, and a factor.
fn scale(suffix: &str) -> Option<(i64, u128)> {
    let decimal = |tens| Some((tens, 1));
    let binary = |times: u32| Some((0, 1 << (10 * times)));
    match suffix {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => decimal(suffix.strip_prefix(['e', 'E'])?.parse().ok()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_those_of_kubernetes() {
        const MOST: u64 = i64::MAX as u64;
        for (text, expected_bytes, expected_cores) in [
            ("0", 0, 0.0),
            ("1", 1, 1.0),
            ("100m", 1, 0.1),
            ("150m", 1, 0.15),
            ("1500m", 2, 1.5),
            ("0.5", 1, 0.5),
            (".5", 1, 0.5),
            ("5.", 5, 5.0),
            ("+2", 2, 2.0),
            ("007", 7, 7.0),
            ("250u", 1, 0.000_25),
            ("1n", 1, 1e-9),
            ("0.1n", 1, 1e-9),
            ("1e-400", 1, 1e-9),
            ("0e400", 0, 0.0),
            ("128Mi", 134_217_728, 134_217_728.0),
            ("1Gi", 1_073_741_824, 1_073_741_824.0),
            ("1.5Gi", 1_610_612_736, 1_610_612_736.0),
            ("0.1Ki", 103, 102.4),
            ("1Ki", 1_024, 1_024.0),
            ("1Ti", 1 << 40, (1_u64 << 40) as f64),
            ("1Pi", 1 << 50, (1_u64 << 50) as f64),
            ("1Ei", 1 << 60, (1_u64 << 60) as f64),
            ("1k", 1_000, 1_000.0),
            ("5M", 5_000_000, 5e6),
            ("5G", 5_000_000_000, 5e9),
            ("5T", 5_000_000_000_000, 5e12),
            ("5P", 5_000_000_000_000_000, 5e15),
            ("1E", 1_000_000_000_000_000_000, 1e18),
            ("1e3", 1_000, 1_000.0),
            ("1E3", 1_000, 1_000.0),
            ("1.25e+2", 125, 125.0),
            ("12e-1", 2, 1.2),
            ("9223372036854775807", MOST, MOST as f64),
            ("9223372036854775808", MOST, MOST as f64),
            ("10E", MOST, MOST as f64),
            ("8Ei", MOST, MOST as f64),
            ("1e400", MOST, MOST as f64),
            ("1000000000000000000000000000000", MOST, MOST as f64),
            ("0.00000000000000000000000000000001", 1, 1e-9),
            ("1.000000000000000000000000000000", 1, 1.0),
            ("123.0000000000000000000000000001", 124, 123.000_000_001),
        ] {
            assert_eq!(bytes(text), Some(expected_bytes), "{text}");
            assert_eq!(cores(text), Some(expected_cores), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_none() {
        for text in [
            "",
            " ",
            ".",
            "+",
            "-1",
            "-0",
            "--1",
            "++1",
            "1.2.3",
            "1 ",
            " 1",
            "1K",
            "1mi",
            "1MI",
            "1Mib",
            "1B",
            "m",
            "Ki",
            "e3",
            "1e",
            "1e+",
            "1e1.5",
            "1ee3",
            "1e3Ki",
            "0x10",
            "1_000",
            "1,5",
            "NaN",
            "inf",
            "١",
            "1é",
            "1e99999999999999999999",
        ] {
            assert_eq!(bytes(text), None, "{text}");
            assert_eq!(cores(text), None, "{text}");
        }
    }
}
