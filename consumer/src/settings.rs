//! What can be set: one table of names, text → [`Settings`]. No I/O but what is handed in.

use crate::database::Address;
use crate::dead_letters::Place;
use std::fmt;
use std::time::Duration;

/// A setting as the help shows it.
struct Entry {
    flag: &'static str,
    variable: &'static str,
    default: &'static str,
    help: &'static str,
}

const fn entry(
    flag: &'static str,
    variable: &'static str,
    default: &'static str,
    help: &'static str,
) -> Entry {
    Entry {
        flag,
        variable,
        default,
        help,
    }
}

const TABLE: [Entry; 13] = [
    entry(
        "--brokers",
        "KAFKA_BROKERS",
        "",
        "HOST:PORT[,HOST:PORT...] of Kafka; required",
    ),
    entry("--topic", "KAFKA_TOPIC", "metrics", "topic to read"),
    entry(
        "--group",
        "KAFKA_GROUP",
        "system-metrics",
        "consumer group that keeps the place in the topic",
    ),
    entry(
        "--from",
        "KAFKA_FROM",
        "beginning",
        "beginning or end: where a group begins that has no place yet",
    ),
    entry(
        "--kafka-option",
        "KAFKA_OPTION_...",
        "",
        "NAME=VALUE of librdkafka, any number of times; as a variable \
           KAFKA_OPTION_SASL_PASSWORD for sasl.password",
    ),
    entry(
        "--database",
        "DATABASE_URL",
        "",
        "postgresql://USER:PASSWORD@HOST/DB?sslmode=... or key=value pairs; \
           without it lines are printed and nothing is stored",
    ),
    entry(
        "--dead-letter-topic",
        "DEAD_LETTER_TOPIC",
        "",
        "topic that gets each record that is skipped, with the reason in its headers",
    ),
    entry(
        "--dead-letter-file",
        "DEAD_LETTER_FILE",
        "",
        "file that gets them instead, each as a line of JSON",
    ),
    entry(
        "--batch-rows",
        "BATCH_ROWS",
        "1000",
        "rows of one insert at most",
    ),
    entry(
        "--batch-wait",
        "BATCH_WAIT",
        "500ms",
        "how long the first row of an insert waits for others",
    ),
    entry("--quiet", "QUIET", "false", "print no line for each record"),
    entry("--count", "", "", "end with 0 after so many good records"),
    entry(
        "--timeout",
        "",
        "",
        "end with 1 after this time, such as 500ms, 60s, 2m",
    ),
];

/// These decide what may be lost, so they are not for the user to set.
const OURS: [&str; 5] = [
    // `--from` is for a group without a place; one that has a place never skips what is there.
    "auto.offset.reset",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "bootstrap.servers",
    "group.id",
];

const OPTION_PREFIX: &str = "KAFKA_OPTION_";
const MOST_ROWS: usize = 100_000;

#[derive(Clone)]
pub struct Settings {
    pub brokers: String,
    pub topic: String,
    pub group: String,
    pub from_end: bool,
    pub kafka_options: Vec<(String, String)>,
    pub database: Option<Address>,
    pub dead_letters: Option<Place>,
    pub batch_rows: usize,
    pub batch_wait: Duration,
    pub quiet: bool,
    pub count: Option<u64>,
    pub timeout: Option<Duration>,
}

impl Settings {
    /// A flag goes before its variable. An empty variable counts as not set.
    pub fn read(
        args: impl IntoIterator<Item = String>,
        variable: impl Fn(&str) -> Option<String>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, String> {
        let given = Given::parse(args)?;
        let get = |flag: &str| -> Option<String> {
            let entry = TABLE.iter().find(|entry| entry.flag == flag)?;
            let found = given.last(flag).or_else(|| variable(entry.variable));
            let found = found.filter(|value| !value.is_empty());
            found.or_else(|| Some(entry.default.to_owned()).filter(|value| !value.is_empty()))
        };
        let bad = |flag: &str, value: &str, expected: &str| {
            format!("{flag} {value}: expected {expected}")
        };
        let number = |flag: &str| -> Result<Option<u64>, String> {
            let parse = |value: String| {
                let number: Option<u64> = value.parse().ok();
                let number = number.filter(|number| *number > 0);
                number.ok_or_else(|| bad(flag, &value, "a whole number from 1"))
            };
            get(flag).map(parse).transpose()
        };
        let time = |flag: &str| -> Result<Option<Duration>, String> {
            let parse = |value: String| {
                duration(&value).ok_or_else(|| bad(flag, &value, "a time such as 500ms, 60s, 2m"))
            };
            get(flag).map(parse).transpose()
        };
        let choice = |flag: &str, no: &str, yes: &str| -> Result<bool, String> {
            match get(flag) {
                Some(value) if value == yes => Ok(true),
                Some(value) if value == no => Ok(false),
                value => Err(bad(
                    flag,
                    &value.unwrap_or_default(),
                    &format!("{no} or {yes}"),
                )),
            }
        };

        let mut kafka_options: Vec<(String, String)> = variables
            .into_iter()
            .filter_map(|(name, value)| {
                let name = name
                    .strip_prefix(OPTION_PREFIX)?
                    .to_lowercase()
                    .replace('_', ".");
                Some((name, value))
            })
            .collect();
        for pair in given.all("--kafka-option") {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| bad("--kafka-option", pair, "NAME=VALUE"))?;
            kafka_options.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        if let Some((name, _)) = kafka_options
            .iter()
            .find(|(name, _)| OURS.contains(&name.as_str()))
        {
            return Err(format!("--kafka-option {name}: is not for you to set"));
        }

        let database = get("--database").map(|text| Address::parse(&text, variable("PGPASSWORD")));
        let topic = get("--topic").unwrap_or_default();
        let dead_letters = match (get("--dead-letter-topic"), get("--dead-letter-file")) {
            (Some(_), Some(_)) => {
                return Err("--dead-letter-file: not together with --dead-letter-topic".to_owned());
            }
            (Some(name), None) if name == topic => {
                return Err(bad(
                    "--dead-letter-topic",
                    &name,
                    "another topic than --topic",
                ));
            }
            (name, file) => {
                let file = file.map(|path| Place::File(path.into()));
                name.map(Place::Topic).or(file)
            }
        };
        let rows = number("--batch-rows")?.unwrap_or_default() as usize;
        Ok(Self {
            brokers: get("--brokers").ok_or("--brokers (KAFKA_BROKERS) is required")?,
            topic,
            group: get("--group").unwrap_or_default(),
            from_end: choice("--from", "beginning", "end")?,
            kafka_options,
            database: database
                .transpose()
                .map_err(|error| format!("--database: {error}"))?,
            dead_letters,
            batch_rows: rows.clamp(1, MOST_ROWS),
            batch_wait: time("--batch-wait")?.unwrap_or_default(),
            quiet: choice("--quiet", "false", "true")?,
            count: number("--count")?,
            timeout: time("--timeout")?,
        })
    }
}

/// Without the options of Kafka, which hold passwords.
impl fmt::Debug for Settings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Settings")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .field("group", &self.group)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

/// The command line, one pair a flag.
struct Given(Vec<(&'static str, String)>);

impl Given {
    fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut given = Vec::new();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let (name, inline) = match arg.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (arg.as_str(), None),
            };
            // The value is not shown: it may be a password that lost its flag.
            let entry = TABLE.iter().find(|entry| entry.flag == name);
            let flag = entry.map(|entry| entry.flag).ok_or_else(|| {
                let name = if name.starts_with("--") { name } else { "" };
                format!("unknown argument {name}: see --help")
            })?;
            let value = match (flag, inline) {
                ("--quiet", None) => Some("true".to_owned()),
                (_, Some(value)) => Some(value),
                (_, None) => args.next(),
            };
            given.push((flag, value.ok_or_else(|| format!("{flag} needs a value"))?));
        }
        Ok(Self(given))
    }

    fn all(&self, flag: &str) -> impl Iterator<Item = &String> {
        let of_flag = self.0.iter().filter(move |(name, _)| *name == flag);
        of_flag.map(|(_, value)| value)
    }

    fn last(&self, flag: &str) -> Option<String> {
        self.all(flag).last().cloned()
    }
}

/// `500ms`, `60s`, `2m`; a bare number is seconds.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    match &text[digits.len()..] {
        "ms" => Some(Duration::from_millis(number)),
        "" | "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        _ => None,
    }
}

/// The table as text.
pub fn help() -> String {
    let mut text = String::from(
        "metrics-consumer: records from Kafka, as lines on stdout and as rows in PostgreSQL\n",
    );
    for entry in &TABLE {
        text.push_str(&format!("\n  {}", entry.flag));
        if !entry.variable.is_empty() {
            text.push_str(&format!("  ({})", entry.variable));
        }
        if !entry.default.is_empty() {
            text.push_str(&format!("  [{}]", entry.default));
        }
        text.push_str(&format!("\n      {}", entry.help));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str], variables: &[(&str, &str)]) -> Result<Settings, String> {
        let owned = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
        let variables: Vec<_> = variables.iter().map(owned).collect();
        let find = |name: &str| variables.iter().find(|(known, _)| known == name);
        Settings::read(
            args.iter().map(ToString::to_string),
            |name| find(name).map(|(_, value)| value.clone()),
            variables.clone(),
        )
    }

    fn refused(args: &[&str]) -> String {
        let args = [&["--brokers", "k:9092"], args].concat();
        read(&args, &[]).unwrap_err()
    }

    #[test]
    fn defaults_variables_and_flags_in_this_order() {
        let settings = read(&[], &[("KAFKA_BROKERS", "k:9092"), ("KAFKA_GROUP", "")]).unwrap();
        assert_eq!(settings.topic, "metrics");
        assert_eq!(settings.group, "system-metrics");
        assert_eq!(
            (settings.batch_rows, settings.batch_wait.as_millis()),
            (1000, 500)
        );
        assert!(settings.database.is_none() && !settings.quiet && !settings.from_end);

        let variables = [
            ("KAFKA_BROKERS", "k:9092"),
            ("KAFKA_TOPIC", "metrics.system"),
        ];
        let settings = read(&["--quiet", "--from=end"], &variables).unwrap();
        assert_eq!(settings.topic, "metrics.system");
        assert!(settings.quiet && settings.from_end);
        let settings = read(
            &["--topic", "t", "--count=3", "--timeout", "2m"],
            &variables,
        )
        .unwrap();
        assert_eq!((settings.topic.as_str(), settings.count), ("t", Some(3)));
        assert_eq!(settings.timeout, Some(Duration::from_secs(120)));
    }

    #[test]
    fn options_of_kafka_come_from_both_sides() {
        let variables = [
            ("KAFKA_BROKERS", "k:9092"),
            ("KAFKA_OPTION_SASL_PASSWORD", "a=b"),
        ];
        let args = ["--kafka-option", "security.protocol=SASL_SSL"];
        let settings = read(&args, &variables).unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            settings.kafka_options,
            [
                pair("sasl.password", "a=b"),
                pair("security.protocol", "SASL_SSL")
            ]
        );
        assert_eq!(
            refused(&["--kafka-option=enable.auto.commit=true"]),
            "--kafka-option enable.auto.commit: is not for you to set"
        );
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            read(&[], &[]).unwrap_err(),
            "--brokers (KAFKA_BROKERS) is required"
        );
        assert_eq!(
            refused(&["--topics=x"]),
            "unknown argument --topics: see --help"
        );
        assert_eq!(refused(&["--topic"]), "--topic needs a value");
        assert_eq!(
            refused(&["--count=0"]),
            "--count 0: expected a whole number from 1"
        );
        assert_eq!(
            refused(&["--timeout=2h"]),
            "--timeout 2h: expected a time such as 500ms, 60s, 2m"
        );
        assert_eq!(
            refused(&["--dead-letter-topic=metrics"]),
            "--dead-letter-topic metrics: expected another topic than --topic"
        );
        assert_eq!(
            refused(&["--dead-letter-topic=x", "--dead-letter-file=y"]),
            "--dead-letter-file: not together with --dead-letter-topic"
        );
        assert_eq!(
            refused(&["--kafka-option=auto.offset.reset=latest"]),
            "--kafka-option auto.offset.reset: is not for you to set"
        );
        assert_eq!(
            refused(&["--from=start"]),
            "--from start: expected beginning or end"
        );
    }

    #[test]
    fn a_password_is_not_repeated() {
        for database in [
            "postgresql://u:sesame@h:port/db",
            "postgresql://u:sesame@h/db?sslmode=never",
            "host=h password=sesame oops",
            "host=h password='sesame",
        ] {
            let error = refused(&["--database", database]);
            assert!(error.starts_with("--database: "), "{error}");
            assert!(!error.contains("sesame"), "{error}");
        }
        let error = refused(&["postgresql://u:sesame@h/db"]);
        assert!(!error.contains("sesame"), "{error}");
        let args = [
            "--brokers=k",
            "--database=postgresql://u:sesame@h/db",
            "--kafka-option=sasl.password=sesame",
        ];
        let shown = format!("{:?}", read(&args, &[]).unwrap());
        assert!(shown.contains("database db at h:5432"), "{shown}");
        assert!(!shown.contains("sesame"), "{shown}");
    }

    #[test]
    fn help_and_readme_show_every_setting() {
        let (help, readme) = (help(), include_str!("../README.md"));
        for entry in &TABLE {
            assert!(help.contains(entry.flag) && help.contains(entry.variable));
            let row = format!("| `{}", entry.flag);
            let row = readme.lines().find(|line| line.starts_with(&row));
            let row = row.unwrap_or_else(|| panic!("{} is not in README.md", entry.flag));
            let variable = entry.variable.trim_end_matches('.');
            assert!(row.contains(variable), "{row}");
            assert!(row.contains(entry.default), "{row}");
        }
    }
}
