//! Reads lists of names of namespaces, containers and pods. A name that no cluster can have is
//! refused like any other bad value, because it would never match anything, and nothing would say
//! so.

use crate::text::printable;

/// The longest DNS-1123 label. The name of every namespace and container is one.
const MAX_LABEL: usize = 63;
/// The longest DNS-1123 subdomain. The name of every pod is one.
const MAX_POD_NAME: usize = 253;

const EXPECTED_NAMES: &str = "names of a-z, 0-9 and '-' with commas between them";
const EXPECTED_PREFIXES: &str =
    "beginnings of pod names, of a-z, 0-9, '-' and '.', with commas between them";

/// Reads a list of namespaces. The error says what is accepted, and what is wrong with the bad
/// name.
pub fn namespaces(list: &str) -> Result<Vec<String>, String> {
    read(list, EXPECTED_NAMES, MAX_LABEL, is_label)
}

/// Reads a list of containers in the same way.
pub fn containers(list: &str) -> Result<Vec<String>, String> {
    read(list, EXPECTED_NAMES, MAX_LABEL, is_label)
}

/// Reads a list of prefixes of pod names in the same way.
pub fn pod_prefixes(list: &str) -> Result<Vec<String>, String> {
    read(list, EXPECTED_PREFIXES, MAX_POD_NAME, is_pod_name_prefix)
}

/// An empty item counts as not set. An unset variable in `${ONE},${OTHER}` leaves one.
fn read(
    list: &str,
    expected: &str,
    max_length: usize,
    can_match: fn(&str) -> bool,
) -> Result<Vec<String>, String> {
    let items = list.split(',').map(str::trim);
    items
        .filter(|item| !item.is_empty())
        .map(|item| match can_match(item) {
            true => Ok(item.to_owned()),
            false => {
                let (shown, why) = (printable(item, 80), remedy(item, max_length, can_match));
                Err(format!("{expected}: '{shown}' can match nothing: {why}"))
            }
        })
        .collect()
}

/// Guesses what the user meant, and says how to write it.
fn remedy(item: &str, max_length: usize, can_match: fn(&str) -> bool) -> String {
    let without_stars = item.trim_end_matches('*');
    let lower = item.to_lowercase();
    if item.contains('#') {
        "a comment needs a line of its own".to_owned()
    } else if item.contains(['[', ']', '{', '}', '(', ')']) {
        "leave the brackets out".to_owned()
    } else if item.contains(['\'', '"', '`', '‘', '’', '“', '”']) {
        "leave the quotes out".to_owned()
    } else if max_length == MAX_POD_NAME && item.ends_with('*') && can_match(without_stars) {
        let shown = printable(without_stars, 80);
        format!("a prefix is taken as it stands, write {shown}")
    } else if item.contains(['*', '?', '|', '^', '$']) {
        "patterns are not understood".to_owned()
    } else if item.contains(char::is_whitespace) || item.contains([';', ':']) {
        "separate with commas".to_owned()
    } else if can_match(&lower) {
        format!("names are in lower case, write {}", printable(&lower, 80))
    } else if item.len() > max_length {
        format!("no such name is longer than {max_length}")
    } else {
        "names hold nothing else, and begin and end with a letter or a digit".to_owned()
    }
}

fn is_label(name: &str) -> bool {
    is_label_prefix(name) && name.ends_with(is_alphanumeric) && name.len() <= MAX_LABEL
}

/// Whether a pod's name can begin with this. The whole name is a subdomain: labels separated by
/// dots. Only the last label of the prefix may be incomplete.
fn is_pod_name_prefix(prefix: &str) -> bool {
    let (finished, unfinished) = match prefix.rsplit_once('.') {
        Some((finished, unfinished)) => (Some(finished), unfinished),
        None => (None, prefix),
    };
    let is_whole = |label: &str| is_label_prefix(label) && label.ends_with(is_alphanumeric);
    let fits = finished.is_none_or(|labels| labels.split('.').all(is_whole))
        && (is_label_prefix(unfinished) || (unfinished.is_empty() && finished.is_some()));
    let is_whole_name = prefix.ends_with(is_alphanumeric);
    fits && prefix.len() + usize::from(!is_whole_name) <= MAX_POD_NAME
}

/// Whether a label can begin with this.
fn is_label_prefix(label: &str) -> bool {
    label.starts_with(is_alphanumeric) && label.chars().all(|c| is_alphanumeric(c) || c == '-')
}

fn is_alphanumeric(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}
