//! Fluent Bit's YAML configuration format, as far as inputs need it: `pipeline`, `includes`, `env`,
//! `service`, `plugins`, and the shape of the other sections. It refuses what releases from 2.0 to
//! 5.1 refuse in tests, such as an alias, or text in place of a map. A value is the text in the
//! file, as in Fluent Bit. This module knows no option of any plugin. Its messages show names and
//! files, but no value of an option or a variable.

use std::{borrow::Cow, mem, path::Path};

use kubeletstats_core::text::printable;
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};

use crate::{
    conf::{Conf, Section},
    properties::{Handling, handling},
};

/// Whether Fluent Bit reads a file with this name as YAML. Files that it includes are YAML,
/// whatever their names.
pub fn is_yaml(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|one| {
        ["yaml", "yml"]
            .iter()
            .any(|yaml| one.eq_ignore_ascii_case(yaml))
    })
}

/// Adds the sections of this text and of the files that it includes.
pub fn add(conf: &mut Conf, text: &[u8], path: &Path) -> Result<(), String> {
    let text = str::from_utf8(text).map_err(|_| {
        format!(
            "{}: it is not UTF-8, which YAML is written in",
            path.display()
        )
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut file = File {
        events: Parser::new_from_str(text),
        line: 1,
        path,
        conf,
    };
    // Fluent Bit's parser stops at a control character, but the parser here accepts it.
    if let Some(at) = text.find(|c: char| c.is_control() && !"\t\n\r\u{85}".contains(c)) {
        file.line = 1 + text[..at].matches('\n').count();
        return Err(file.failed(
            "a control character: write it as an escape in double quotes, or leave it out",
        ));
    }
    file.documents()
}

/// One file while it is read.
struct File<'a> {
    events: Parser<'a, StrInput<'a>>,
    /// The line in which the last event began.
    line: usize,
    path: &'a Path,
    conf: &'a mut Conf,
}

/// A node. The items of a list or a map follow it.
#[derive(Debug)]
enum Node<'a> {
    Scalar(Scalar<'a>),
    List,
    Map,
}

#[derive(Debug)]
struct Scalar<'a> {
    text: Cow<'a, str>,
    is_plain: bool,
    /// Whether the text begins with `!`. In YAML that is a tag and not a part of the value.
    has_tag: bool,
}

const NO_YAML: &str = "look at the blanks before it, and put quotes around a value that holds ': ' or begins \
                       with one of * & ! % @ { [";

impl<'a> File<'a> {
    fn failed(&self, why: &str) -> String {
        self.failed_at(self.line, why)
    }

    fn failed_at(&self, line: usize, why: &str) -> String {
        format!("{}:{line}: {why}", self.path.display())
    }

    fn warn_at(&mut self, line: usize, why: &str) {
        let warning = self.failed_at(line, why);
        self.conf.warnings.push(warning);
    }

    fn next(&mut self) -> Result<Event<'a>, String> {
        let next = self
            .events
            .next()
            .unwrap_or_else(|| Ok((Event::StreamEnd, Span::default())));
        match next {
            Ok((event, span)) => {
                self.line = span.start.line().max(1);
                Ok(event)
            }
            Err(error) => {
                self.line = error.marker().line().max(1);
                Err(self.failed(&format!("not YAML: {}: {NO_YAML}", described(&error))))
            }
        }
    }

    /// Returns the next node, or `None` at the end of the enclosing list or map.
    fn node(&mut self) -> Result<Option<Node<'a>>, String> {
        Ok(Some(match self.next()? {
            Event::Scalar(text, style, _, tag) => Node::Scalar(Scalar {
                text,
                is_plain: style == ScalarStyle::Plain,
                has_tag: tag.is_some_and(|tag| !tag.is_yaml_core_schema()),
            }),
            Event::SequenceStart(..) => Node::List,
            Event::MappingStart(..) => Node::Map,
            Event::Alias(_) => {
                return Err(self.failed(
                    "an alias (*NAME), which Fluent Bit refuses: write out what it stands for",
                ));
            }
            _ => return Ok(None),
        }))
    }

    /// Returns the next key of a map, or `None` at its end.
    fn key(&mut self) -> Result<Option<String>, String> {
        match self.node()? {
            None => Ok(None),
            Some(Node::Scalar(key)) => Ok(Some(key.text.into_owned())),
            Some(_) => {
                Err(self
                    .failed("a list or a map where the name of a value belongs: write NAME: VALUE"))
            }
        }
    }

    /// Returns the value of the last key.
    fn value(&mut self) -> Result<Node<'a>, String> {
        let node = self.node()?;
        node.ok_or_else(|| self.failed("a name without a value: write NAME: VALUE"))
    }

    /// Skips the items of a list or a map.
    fn skip(&mut self, node: Node) -> Result<(), String> {
        let mut depth = usize::from(!matches!(node, Node::Scalar(_)));
        while depth > 0 {
            match self.node()? {
                Some(Node::List | Node::Map) => depth += 1,
                Some(Node::Scalar(_)) => {}
                None => depth -= 1,
            }
        }
        Ok(())
    }

    /// Returns the items of a list. They may only be texts.
    fn texts(&mut self, name: &str) -> Result<Vec<Scalar<'a>>, String> {
        let mut texts = Vec::new();
        while let Some(node) = self.node()? {
            match node {
                Node::Scalar(scalar) => texts.push(scalar),
                _ => {
                    return Err(self.failed(&format!(
                        "{name} holds a list or a map in a list: Fluent Bit takes text only"
                    )));
                }
            }
        }
        Ok(texts)
    }

    fn documents(&mut self) -> Result<(), String> {
        loop {
            match self.next()? {
                Event::StreamEnd => return Ok(()),
                Event::DocumentStart(_) => match self.value()? {
                    Node::Map => self.sections()?,
                    _ => {
                        return Err(self.failed(
                            "no map of sections, as service: and pipeline: are: this is no YAML configuration of Fluent Bit",
                        ));
                    }
                },
                _ => {}
            }
        }
    }

    fn sections(&mut self) -> Result<(), String> {
        while let Some(name) = self.key()? {
            let line = self.line;
            let node = self.value()?;
            match (name.to_ascii_lowercase().as_str(), node) {
                ("pipeline", Node::Map) => self.pipeline()?,
                ("includes", Node::List) => self.includes()?,
                ("plugins", Node::List) => self.plugins()?,
                ("env", Node::Map) => self.environment()?,
                ("env", Node::List) => self.list_of_environment()?,
                ("service", Node::Map) => {
                    if mem::replace(&mut self.conf.has_service, true) {
                        return Err(self.failed_at(
                            line,
                            "a second section service, which Fluent Bit refuses: make one of them",
                        ));
                    }
                    let properties = self.texts_of("section service", &["telemetry"])?;
                    self.conf.sections.push(Section::new("service", properties));
                }
                (
                    "parsers" | "multiline_parsers" | "stream_processor" | "upstream_servers"
                    | "customs" | "extensions",
                    node,
                ) => self.skip(node)?,
                ("includes" | "plugins", _) => {
                    return Err(self.failed(&format!(
                        "{} is a list of files: write - FILE under it",
                        shown(&name)
                    )));
                }
                (_, Node::Map) => drop(self.texts_of(&format!("section {}", shown(&name)), &[])?),
                (_, _) => {
                    return Err(self.failed(&format!(
                        "section {} is no map: write NAME: VALUE under it, or leave it out",
                        shown(&name)
                    )));
                }
            }
        }
        Ok(())
    }

    /// Reads a section of names, each with a text. A map under one of the names in `more` is
    /// skipped.
    fn texts_of(&mut self, what: &str, more: &[&str]) -> Result<Vec<(String, String)>, String> {
        let mut properties = Vec::new();
        while let Some(name) = self.key()? {
            match self.value()? {
                Node::Scalar(value) => properties.push((name, value.text.into_owned())),
                Node::Map if more.contains(&name.as_str()) => self.skip(Node::Map)?,
                _ => {
                    return Err(self.failed(&format!(
                        "{what} holds a list or a map under {}: Fluent Bit takes text only",
                        shown(&name)
                    )));
                }
            }
        }
        Ok(properties)
    }

    fn environment(&mut self) -> Result<(), String> {
        while let Some(name) = self.key()? {
            match self.value()? {
                Node::Scalar(value) => self.conf.environment.set(&name, &value.text),
                _ => {
                    return Err(self
                        .failed("section env holds a list or a map: write NAME: VALUE under it"));
                }
            }
        }
        Ok(())
    }

    /// Reads the form of `env` that 5.0.3 and later accept: a list with a map for each variable.
    fn list_of_environment(&mut self) -> Result<(), String> {
        self.warn_at(
            self.line,
            "env is a list, which Fluent Bit 5.0.3 and later take: earlier releases refuse to start",
        );
        const FORM: &str = "a variable of env has name and value, or is NAME: VALUE";
        while let Some(node) = self.node()? {
            if !matches!(node, Node::Map) {
                return Err(self.failed(FORM));
            }
            let [mut name, mut value, mut uri] = [None, None, None];
            while let Some(key) = self.key()? {
                let Node::Scalar(text) = self.value()? else {
                    return Err(self.failed(FORM));
                };
                let text = text.text.into_owned();
                match key.to_ascii_lowercase().as_str() {
                    "name" => name = Some(text),
                    "value" => value = Some(text),
                    "uri" => uri = Some(text),
                    "refresh_interval" => {}
                    _ if name.is_none() => (name, value) = (Some(key), Some(text)),
                    _ => {}
                }
            }
            if let Some(name) = name {
                let value = uri.or(value).unwrap_or_default();
                self.conf.environment.set(&name, &value);
            }
        }
        Ok(())
    }

    fn plugins(&mut self) -> Result<(), String> {
        const OURS: &str = "flb-in_kubeletstats.so";
        let line = self.line;
        let mut properties = Vec::new();
        for file in self.texts("plugins")? {
            let name = file.text.rsplit('/').next().unwrap_or_default();
            if name.contains("kubeletstats") && name != OURS {
                let why = format!(
                    "plugins names {}: Fluent Bit reads the kind of plugin from the file's name, which has to be {OURS}",
                    printable(name, 80)
                );
                self.warn_at(line, &why);
            }
            properties.push(("path".to_owned(), file.text.into_owned()));
        }
        // This is the same form as that of a plugins file in the classic format.
        self.conf.sections.push(Section::new("plugins", properties));
        Ok(())
    }

    /// Reads `includes`. Relative paths start in this file's folder. Variables are not replaced.
    fn includes(&mut self) -> Result<(), String> {
        while let Some(node) = self.node()? {
            let Node::Scalar(Scalar { text, .. }) = node else {
                return Err(self.failed("includes is a list of files: write - FILE under it"));
            };
            let path = self.path.parent().unwrap_or(Path::new("")).join(&*text);
            let included = match text.contains('*') {
                false => self.conf.add_yaml(&path),
                true => self.matching(&path),
            };
            included.map_err(|why| match text.contains("${") {
                true => self.failed(&format!("{why}: variables are not replaced in includes")),
                false => self.failed(&why),
            })?;
        }
        Ok(())
    }

    fn matching(&mut self, path: &Path) -> Result<(), String> {
        let pattern = path.to_str().ok_or("a path that is not UTF-8")?;
        let mut none = true;
        for path in glob::glob(pattern).map_err(|error| error.msg.to_owned())? {
            none = false;
            self.conf
                .add_yaml(&path.map_err(|error| error.to_string())?)?;
        }
        if none {
            let why = format!(
                "no file matches {}: nothing is included",
                printable(pattern, 200)
            );
            self.warn_at(self.line, &why);
        }
        Ok(())
    }

    fn pipeline(&mut self) -> Result<(), String> {
        while let Some(kind) = self.key()? {
            let lower = kind.to_ascii_lowercase();
            let one = lower.strip_suffix('s').unwrap_or_default();
            if !["input", "filter", "output"].contains(&one) {
                return Err(self.failed(&format!(
                    "pipeline holds {}, which Fluent Bit does not know: expected inputs, filters or outputs",
                    shown(&kind)
                )));
            }
            let item = format!(
                "{lower} is a list of maps, each with its name: write - name: PLUGIN under it"
            );
            if !matches!(self.value()?, Node::List) {
                return Err(self.failed(&item));
            }
            while let Some(node) = self.node()? {
                if !matches!(node, Node::Map) {
                    return Err(self.failed(&item));
                }
                let line = self.line;
                let section = self.instance(one)?;
                if section.get("name").is_none() {
                    let why = format!("one of {lower} has no name: write - name: PLUGIN");
                    return Err(self.failed_at(line, &why));
                }
                self.conf.sections.push(section);
            }
        }
        Ok(())
    }

    /// Reads one input, filter or output.
    fn instance(&mut self, kind: &str) -> Result<Section, String> {
        let mut section = Section::new(kind, Vec::new());
        while let Some(name) = self.key()? {
            let line = self.line;
            let node = self.value()?;
            match (name.as_str(), node) {
                ("processors", Node::Map) => self.processors()?,
                ("routes", node) => {
                    section.warn(
                        &name,
                        "routes is known to Fluent Bit 4.2 and later: 3.2 refuses to start",
                    );
                    self.skip(node)?;
                }
                ("telemetry", Node::Map) => {
                    section.warn(&name, "telemetry is known to Fluent Bit 5.1 and later: earlier releases refuse to start");
                    self.skip(Node::Map)?;
                }
                (_, Node::Scalar(value)) => self.text(&mut section, name, &value),
                (_, Node::List) => self.list(&mut section, name, line)?,
                (_, Node::Map) => self.map(&mut section, name, line)?,
            }
        }
        Ok(section)
    }

    fn text(&self, section: &mut Section, name: String, value: &Scalar) {
        let label = printable(&name, 80);
        if name != "name" && name.eq_ignore_ascii_case("name") {
            section.warn(
                &name,
                "Fluent Bit 3.2 and 4.0 know name in lower case only, and refuse to start",
            );
        }
        if value.has_tag {
            section.warn(
                &name,
                &format!("{label} begins with '!', which YAML takes for a tag and not for the value: put quotes around it"),
            );
        }
        if value.is_plain && ["null", "Null", "NULL", "~"].contains(&&*value.text) {
            section.warn(
                &name,
                &format!(
                    "{label} is the text {}, since Fluent Bit knows no null: leave the line out",
                    value.text
                ),
            );
        }
        section.properties.push((name, value.text.to_string()));
    }

    /// Reads a list of values. Fluent Bit sets the property once for each item.
    fn list(&mut self, section: &mut Section, name: String, line: usize) -> Result<(), String> {
        let label = printable(&name, 80);
        let items = self.texts(&label)?;
        let why = match items.len() {
            _ if name.eq_ignore_ascii_case("name") => {
                Some("name is a list, where one text belongs".to_owned())
            }
            0 => Some(format!(
                "{label} is an empty list, with which Fluent Bit 4.1 and later do not start: leave the line out"
            )),
            1 => None,
            // Filters and outputs have options that may be set several times. Of Fluent Bit's own
            // properties, the last item is used.
            _ if section.name != "input" || handling(&name, "") != Handling::Plugin => None,
            many => Some(format!(
                "{label} is a list of {many}, of which Fluent Bit makes {many} options of one name, and does not \
                 start: write one text, with commas between items"
            )),
        };
        if let Some(why) = why {
            self.problem(section, &name, line, &why);
        }
        for item in items {
            self.text(section, name.clone(), &item);
        }
        Ok(())
    }

    fn map(&mut self, section: &mut Section, name: String, line: usize) -> Result<(), String> {
        let label = printable(&name, 80);
        self.texts_of(&label, &[])?;
        let why = format!(
            "{label} is a map, with which Fluent Bit 4.1 and later do not start, and 3.2 and earlier start \
             without it: write one text"
        );
        self.problem(section, &name, line, &why);
        Ok(())
    }

    fn problem(&self, section: &mut Section, name: &str, line: usize, why: &str) {
        let problem = (name.to_owned(), self.failed_at(line, why));
        section.problems.push(problem);
    }

    fn processors(&mut self) -> Result<(), String> {
        while let Some(kind) = self.key()? {
            let known = ["logs", "metrics", "traces"];
            if !known.iter().any(|one| kind.eq_ignore_ascii_case(one)) {
                return Err(self.failed(&format!(
                    "processors holds {}, which Fluent Bit does not know: expected logs, metrics or traces",
                    shown(&kind)
                )));
            }
            match self.value()? {
                Node::List => self.skip(Node::List)?,
                _ => return Err(self.failed(
                    "processors are lists: write - name: PROCESSOR under logs, metrics or traces",
                )),
            }
        }
        Ok(())
    }
}

/// Describes the parser's error in words that quote nothing of the file.
fn described(error: &ScanError) -> String {
    match error.info() {
        info if info.starts_with("unexpected character") => {
            "a character that means nothing here".to_owned()
        }
        info => printable(info, 120),
    }
}

/// Shows a name of the file, if it looks like one. The file may be no configuration at all, and may
/// contain secrets.
fn shown(name: &str) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    match name.len() <= 40 && name.chars().all(is_name) {
        true => format!("'{name}'"),
        false => "something that is no name".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<Conf, String> {
        let mut conf = Conf::default();
        add(&mut conf, text, Path::new("test.yaml"))?;
        Ok(conf)
    }

    #[test]
    fn the_shipped_files_say_the_same() {
        let yaml = read(include_bytes!("../../fluent-bit.yaml")).expect("it is well-formed");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let classic = Conf::read(&root.join("fluent-bit.conf")).expect("it is well-formed");
        let lower = |conf: &Conf| {
            let mut lines = Vec::new();
            for section in conf
                .sections
                .iter()
                .filter(|section| section.name != "plugins")
            {
                for (name, value) in &section.properties {
                    let line = format!("{} {name} {value}", section.name).to_ascii_lowercase();
                    lines.push(line);
                }
            }
            // Only YAML has a section for plugins.
            lines.retain(|line| line != "service plugins_file plugins.conf");
            lines
        };
        assert_eq!(lower(&yaml), lower(&classic));
    }

    #[test]
    fn damage_is_no_panic() {
        let shipped = include_str!("../../fluent-bit.yaml");
        for (at, _) in shipped.char_indices().step_by(17) {
            let (before, after) = shipped.split_at(at);
            // The result does not matter, but nothing may panic.
            let _ = read(before.as_bytes());
            let _ = read(after.as_bytes());
            for odd in [
                "[", "}", "'", "*a ", "&a ", "- ", ": ", "\t", "\u{0}", "\n---\n",
            ] {
                let _ = read(format!("{before}{odd}{after}").as_bytes());
            }
        }
        let _ = read(&[0xff, 0xfe, b'a', 0]);
        let _ = read("[".repeat(10_000).as_bytes());
        let _ = read("{a: ".repeat(10_000).as_bytes());
        let _ = read("- ".repeat(10_000).as_bytes());
    }
}
