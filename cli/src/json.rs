//! Writes a record like Fluent Bit's `stdout` output with `format json_lines`: the fields
//! in the same order, with the same form of numbers and escapes.

use rmpv::Value;

/// Returns one line, without the line end.
pub fn line(record: &Value) -> String {
    let mut out = String::new();
    write(&mut out, record);
    out
}

fn write(out: &mut String, value: &Value) {
    match value {
        Value::Map(entries) => {
            out.push('{');
            for (at, (key, value)) in entries.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(out, key);
                out.push(':');
                write(out, value);
            }
            out.push('}');
        }
        Value::String(text) => quoted(out, &String::from_utf8_lossy(text.as_bytes())),
        Value::F64(number) => out.push_str(&float(*number)),
        // All other values of a record are whole numbers.
        other => out.push_str(&other.to_string()),
    }
}

/// Writes a whole number like C's `%.1f`, and others like `%.16g`.
fn float(number: f64) -> String {
    const WHOLE: f64 = 9_223_372_036_854_775_808.0; // 2^63, the limit of the host's cast to a whole number
    const DIGITS: i32 = 16;
    if number.fract() == 0.0 && number.abs() < WHOLE {
        return format!("{number:.1}");
    }
    let scientific = format!("{number:.15e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let trim = |digits: &str| match digits.contains('.') {
        true => digits
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned(),
        false => digits.to_owned(),
    };
    if (-4..DIGITS).contains(&exponent) {
        let decimals = usize::try_from(DIGITS - 1 - exponent).unwrap_or_default();
        return trim(&format!("{number:.decimals$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trim(mantissa), exponent.abs())
}

/// Letters outside ASCII are escaped. Releases 3.2 and later do this by default, 1.9 and
/// 2.2 do not.
fn quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='\u{7f}' => out.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_c_prints_them() {
        let cases = [
            (0.0, "0.0"),
            (25.0, "25.0"),
            (30.0228182, "30.0228182"),
            (0.300228182, "0.300228182"),
            (0.01953125, "0.01953125"),
            (0.1 + 0.2, "0.3"),
            (1.0 / 3.0, "0.3333333333333333"),
            (200.0 / 3.0, "66.66666666666667"),
            (0.00001234, "1.234e-05"),
            (1e-7, "1e-07"),
        ];
        for (number, text) in cases {
            assert_eq!(float(number), text);
        }
    }

    #[test]
    fn maps_and_what_is_below_zero() {
        let labels = Value::Map(vec![("app.kubernetes.io/name".into(), "a\"b".into())]);
        let record = Value::Map(vec![
            ("labels".into(), labels),
            ("last_exit_code".into(), (-1).into()),
            ("restart_count".into(), u64::MAX.into()),
        ]);
        assert_eq!(
            line(&record),
            r#"{"labels":{"app.kubernetes.io/name":"a\"b"},"last_exit_code":-1,"restart_count":18446744073709551615}"#
        );
    }

    #[test]
    fn text_is_escaped() {
        let mut out = String::new();
        quoted(&mut out, "a\"\\\n\u{1}\u{7f}ä𝄞");
        assert_eq!(out, "\"a\\\"\\\\\\n\\u0001\u{7f}\\u00e4\\ud834\\udd1e\"");
    }
}
