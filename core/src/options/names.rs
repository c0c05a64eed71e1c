//! Lists of what namespaces and pods are called. A name that no cluster can have would
//! select nothing for ever, without a word: it is refused like any other bad value.

use crate::text::printable;

/// A DNS-1123 label, which every namespace is.
const LONGEST_NAMESPACE: usize = 63;
/// A DNS-1123 subdomain, which every pod's name is.
const LONGEST_POD: usize = 253;

const NAMESPACES: &str = "names of a-z, 0-9 and '-' with commas between them";
const PREFIXES: &str =
    "beginnings of pod names, of a-z, 0-9, '-' and '.', with commas between them";

/// The names in the list; else what is accepted, and what is wrong with the one that is not.
pub fn namespaces(list: &str) -> Result<Vec<String>, String> {
    read(list, NAMESPACES, LONGEST_NAMESPACE, is_label)
}

/// The same of the beginnings of pod names.
pub fn pod_prefixes(list: &str) -> Result<Vec<String>, String> {
    read(list, PREFIXES, LONGEST_POD, begins_pod_name)
}

/// An empty item is what an unset variable leaves of `${ONE},${OTHER}`: not set either.
fn read(
    list: &str,
    form: &str,
    longest: usize,
    can_match: fn(&str) -> bool,
) -> Result<Vec<String>, String> {
    let items = list.split(',').map(str::trim);
    items
        .filter(|item| !item.is_empty())
        .map(|item| match can_match(item) {
            true => Ok(item.to_owned()),
            false => {
                let (shown, why) = (printable(item, 80), remedy(item, longest, can_match));
                Err(format!("{form}: '{shown}' can match nothing: {why}"))
            }
        })
        .collect()
}

/// What was probably meant, and how that is written.
fn remedy(item: &str, longest: usize, can_match: fn(&str) -> bool) -> String {
    let without_stars = item.trim_end_matches('*');
    let lower = item.to_lowercase();
    if item.contains('#') {
        "a comment needs a line of its own".to_owned()
    } else if item.contains(['[', ']', '{', '}', '(', ')']) {
        "leave the brackets out".to_owned()
    } else if item.contains(['\'', '"', '`', '‘', '’', '“', '”']) {
        "leave the quotes out".to_owned()
    } else if longest == LONGEST_POD && item.ends_with('*') && can_match(without_stars) {
        let shown = printable(without_stars, 80);
        format!("a prefix is taken as it stands, write {shown}")
    } else if item.contains(['*', '?', '|', '^', '$']) {
        "patterns are not understood".to_owned()
    } else if item.contains(char::is_whitespace) || item.contains([';', ':']) {
        "separate with commas".to_owned()
    } else if can_match(&lower) {
        format!("names are in lower case, write {}", printable(&lower, 80))
    } else if item.len() > longest {
        format!("no such name is longer than {longest}")
    } else {
        "names hold nothing else, and begin and end with a letter or a digit".to_owned()
    }
}

fn is_label(name: &str) -> bool {
    is_start(name) && name.ends_with(is_alphanumeric) && name.len() <= LONGEST_NAMESPACE
}

/// Whether something can follow, or nothing, so that the whole is a subdomain: labels
/// with points between them. Only the last may be unfinished.
fn begins_pod_name(prefix: &str) -> bool {
    let (before, last) = match prefix.rsplit_once('.') {
        Some((before, last)) => (Some(before), last),
        None => (None, prefix),
    };
    let is_whole = |label: &str| is_start(label) && label.ends_with(is_alphanumeric);
    let begins = before.is_none_or(|labels| labels.split('.').all(is_whole))
        && (is_start(last) || (last.is_empty() && before.is_some()));
    let finished = prefix.ends_with(is_alphanumeric);
    begins && prefix.len() + usize::from(!finished) <= LONGEST_POD
}

/// Whether a label can begin like this.
fn is_start(label: &str) -> bool {
    label.starts_with(is_alphanumeric) && label.chars().all(|c| is_alphanumeric(c) || c == '-')
}

fn is_alphanumeric(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}
