//! The text format of Prometheus' pages, read strictly: what is allowed by most readers and
//! not by the format's description is an error here.

use std::collections::{BTreeMap, HashSet};

/// One series of a page.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub name: String,
    /// Without those that are empty, which are as good as absent.
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// A page, whole.
#[derive(Debug, Default)]
pub struct Page {
    /// Of each family, `counter`, `gauge` and so on.
    pub types: BTreeMap<String, String>,
    pub helps: BTreeMap<String, String>,
    pub series: Vec<Series>,
}

impl Page {
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.is_empty() && !text.ends_with('\n') {
            return Err("the last line has no end".to_owned());
        }
        let mut page = Self::default();
        let mut seen = HashSet::new();
        // Families whose samples have ended: all of one have to stand together.
        let mut ended = HashSet::new();
        let mut current = String::new();
        for line in text.lines() {
            let result = match line.strip_prefix("# ") {
                _ if line.is_empty() => Ok(()),
                Some(comment) => page.comment(comment, &ended),
                None => page.sample(line).and_then(|series| {
                    if current != series.name {
                        ended.insert(std::mem::replace(&mut current, series.name.clone()));
                    }
                    if ended.contains(&series.name) {
                        return Err("its family has ended before".to_owned());
                    }
                    if !seen.insert((series.name.clone(), series.labels.clone())) {
                        return Err("the series is there twice".to_owned());
                    }
                    page.series.push(series);
                    Ok(())
                }),
            };
            result.map_err(|error| format!("{error}: {line}"))?;
        }
        Ok(page)
    }

    fn comment(&mut self, comment: &str, ended: &HashSet<String>) -> Result<(), String> {
        let mut words = comment.splitn(3, ' ');
        let (kind, name, rest) = (words.next(), words.next(), words.next());
        let (Some(kind @ ("HELP" | "TYPE")), Some(name), Some(rest)) = (kind, name, rest) else {
            return Err("neither HELP nor TYPE".to_owned());
        };
        if !is_metric_name(name) {
            return Err("no name of a metric".to_owned());
        }
        if ended.contains(name) || self.series.iter().any(|series| series.name == name) {
            return Err("stands behind samples of its family".to_owned());
        }
        let known = match kind {
            "TYPE" => {
                if !["counter", "gauge", "untyped", "histogram", "summary"].contains(&rest) {
                    return Err("no type of a metric".to_owned());
                }
                &mut self.types
            }
            _ => {
                unescape(rest, false)?;
                &mut self.helps
            }
        };
        match known.insert(name.to_owned(), rest.to_owned()) {
            Some(_) => Err("the second one".to_owned()),
            None => Ok(()),
        }
    }

    fn sample(&self, line: &str) -> Result<Series, String> {
        let name_end = line.find(['{', ' ']).ok_or("no value")?;
        let (name, mut rest) = line.split_at(name_end);
        if !is_metric_name(name) {
            return Err("no name of a metric".to_owned());
        }
        if !self.types.contains_key(name) {
            return Err("its family is not declared".to_owned());
        }
        let mut labels = BTreeMap::new();
        if let Some(inner) = rest.strip_prefix('{') {
            rest = labels_of(inner, &mut labels)?;
        }
        let rest = rest.strip_prefix(' ').ok_or("no space before the value")?;
        let mut words = rest.split(' ');
        let value = words.next().unwrap_or_default();
        let value = value.parse().map_err(|_| format!("no value: {value:?}"))?;
        if let Some(time) = words.next() {
            time.parse::<i64>().map_err(|_| "no timestamp")?;
        }
        if words.next().is_some() {
            return Err("more than a value and a timestamp".to_owned());
        }
        labels.retain(|_, value| !value.is_empty());
        Ok(Series {
            name: name.to_owned(),
            labels,
            value,
        })
    }

    /// Those of this name that have these labels.
    pub fn find<'p>(
        &'p self,
        name: &'p str,
        labels: &'p [(&str, &str)],
    ) -> impl Iterator<Item = &'p Series> {
        self.series.iter().filter(move |series| {
            let has = |(key, value): &(&str, &str)| {
                series.labels.get(*key).map_or("", String::as_str) == *value
            };
            series.name == name && labels.iter().all(has)
        })
    }

    /// Of the one series with these labels.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = self.find(name, labels);
        let first = found.next()?;
        assert!(found.next().is_none(), "several {name} with {labels:?}");
        Some(first.value)
    }
}

/// What stands behind the braces.
fn labels_of<'l>(inner: &'l str, labels: &mut BTreeMap<String, String>) -> Result<&'l str, String> {
    let mut rest = inner;
    loop {
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok(rest);
        }
        let (key, after) = rest.split_once("=\"").ok_or("a label without value")?;
        if !is_label_name(key) {
            return Err(format!("no name of a label: {key:?}"));
        }
        let mut is_escaped = false;
        let end = after.find(|c| {
            let ends = c == '"' && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            ends
        });
        let (value, after) = after.split_at(end.ok_or("a label's value without end")?);
        let value = unescape(value, true)?;
        if labels.insert(key.to_owned(), value).is_some() {
            return Err(format!("the label {key} is there twice"));
        }
        rest = &after[1..];
        if let Some(after) = rest.strip_prefix(',') {
            rest = after;
        } else if !rest.starts_with('}') {
            return Err("neither comma nor brace behind a label".to_owned());
        }
    }
}

fn unescape(text: &str, with_quotes: bool) -> Result<String, String> {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        plain.push(match c {
            '\\' => match chars.next() {
                Some('\\') => '\\',
                Some('n') => '\n',
                Some('"') if with_quotes => '"',
                other => return Err(format!("no escape: \\{other:?}")),
            },
            c => c,
        });
    }
    Ok(plain)
}

fn is_metric_name(name: &str) -> bool {
    is_name(name, |c| c == '_' || c == ':')
}

fn is_label_name(name: &str) -> bool {
    is_name(name, |c| c == '_')
}

fn is_name(name: &str, more: impl Fn(char) -> bool) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || more(c);
    name.chars().all(fits) && !name.starts_with(|c: char| c.is_ascii_digit()) && !name.is_empty()
}

#[test]
fn what_the_format_forbids_is_refused() {
    let good = "# HELP a_total of \\\\ a\n# TYPE a_total counter\na_total{x=\"\\\"q\\n\",y=\"\"} 1.5\n\
                a_total{x=\"}\"} 2 1700000000000\n";
    let page = Page::parse(good).expect("a page");
    assert_eq!(page.value("a_total", &[("x", "\"q\n")]), Some(1.5));
    assert_eq!(page.value("a_total", &[("x", "}"), ("y", "")]), Some(2.0));
    for bad in [
        "a 1\n",
        "# TYPE a counter\na 1",
        "# TYPE a counter\na\n",
        "# TYPE a counter\na 1 2 3\n",
        "# TYPE a counter\na x\n",
        "# TYPE a counter\na 1\na 2\n",
        "# TYPE a counter\na{x=\"\"} 1\na 2\n",
        "# TYPE a counter\na{x=\"1\",x=\"2\"} 1\n",
        "# TYPE a counter\na{x=\"\\t\"} 1\n",
        "# TYPE a counter\na{x.y=\"1\"} 1\n",
        "# TYPE a counter\n# TYPE b counter\na 1\nb 1\na{x=\"1\"} 1\n",
        "# TYPE a counter\na 1\n# TYPE a counter\n",
        "# TYPE a number\na 1\n",
        "# a comment\n",
    ] {
        assert!(Page::parse(bad).is_err(), "{bad}");
    }
}
