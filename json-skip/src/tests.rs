use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;

fn check(text: &[u8], expected: Result<usize, Broken>) {
    for (name, found) in ways(text) {
        let shown = String::from_utf8_lossy(text);
        assert_eq!(found, expected, "{name}: {shown}");
    }
}

#[test]
fn values_end_where_they_end() {
    for (text, length) in [
        ("{}", 2),
        ("[] ,", 2),
        (r#"{"}":["]",{}]}x"#, 14),
        (r#"{"a\"}":1}"#, 10),
        (r#"{"a\\":"}"} "#, 11),
        (r#"["\\\"]"],"#, 9),
        ("[[],[]],", 7),
    ] {
        check(text.as_bytes(), Ok(length));
        // The result must be the same at every place of a block.
        let value = &text[..length];
        for before in 1..130 {
            let moved = format!("[{}{value}] ", " ".repeat(before));
            check(moved.as_bytes(), Ok(moved.len() - 1));
        }
    }
}

#[test]
fn what_is_cut_or_unbalanced_is_an_error() {
    for text in [
        "",
        "{",
        "[{}",
        r#"{"a":"#,
        r#"{"a":"}"#,
        r#"["\"]"#,
        r#"["\\\"]"#,
    ] {
        check(text.as_bytes(), Err(Broken::Cut));
    }
    for (text, at) in [("[}", 1), ("{\"a\":[1}]", 7), ("]", 0), ("x}", 1)] {
        check(text.as_bytes(), Err(Broken::At(at)));
    }
    for depth in [1, 63, 64, 65, 127, 128, 129, 10_000] {
        let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        check(deep.as_bytes(), Ok(deep.len()));
        check(&deep.as_bytes()[..deep.len() - 1], Err(Broken::Cut));
    }
}

/// Backslashes across the end of a block, in any number and at any place.
#[test]
fn backslashes_count_over_the_ends_of_blocks() {
    for before in 0..70 {
        for backslashes in 0..70 {
            let text = format!("[\"{}{}\"]", "x".repeat(before), "\\".repeat(backslashes));
            let expected = match backslashes % 2 {
                0 => Ok(text.len()),
                _ => Err(Broken::Cut),
            };
            check(text.as_bytes(), expected);
        }
    }
}

/// The length according to a parser.
fn parsed(text: &[u8]) -> Option<usize> {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<&RawValue>();
    values.next()?.ok()?;
    Some(values.byte_offset())
}

fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        "[ -~é\\\\\"{}\\[\\]\n]{0,90}".prop_map(|text| serde_json::to_string(&text).expect("text")),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        let list = prop::collection::vec(inner.clone(), 0..8);
        let map = prop::collection::vec(("[a-z\\\\\"}]{0,70}", inner), 0..8);
        prop_oneof![
            list.prop_map(|items| format!("[ {}]", items.join(" ,\n"))),
            map.prop_map(|members| {
                let member = |(key, value): (String, String)| {
                    format!("{}: {value}", serde_json::to_string(&key).expect("text"))
                };
                let members: Vec<_> = members.into_iter().map(member).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn what_a_parser_takes_ends_at_the_same_byte(text in json(), behind in "[ -~]{0,80}") {
        let value = format!("[{text}]");
        let text = format!("{value}{behind}");
        prop_assert_eq!(parsed(text.as_bytes()), Some(value.len()));
        check(text.as_bytes(), Ok(value.len()));
    }

    /// All implementations agree on any text, and if a parser accepts the text, it ends
    /// at the same place.
    #[test]
    fn any_bytes_are_seen_alike(
        text in "[\\[\\]{}\"\\\\a ]{0,300}",
    ) {
        let text = text.as_bytes();
        let expected = portable(text);
        check(text, expected);
        if matches!(text.first(), Some(b'{' | b'[')) && let Some(end) = parsed(text) {
            prop_assert_eq!(expected, Ok(end));
        }
    }
}
