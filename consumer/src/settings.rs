//! The settings, from flags and from environment variables.

use std::{
    env,
    error::Error as _,
    ffi::{OsStr, OsString},
    fmt,
    time::Duration,
};

use clap::{
    CommandFactory, FromArgMatches, Parser, ValueEnum,
    builder::NonEmptyStringValueParser,
    error::{ContextKind, ErrorKind},
};
use kubeletstats_core::duration;

use crate::{database::Address, dead_letters::Place};

/// These options decide what may be lost, so the user cannot set them.
const OURS: [&str; 5] = [
    // `--from` applies only to a group without a place. A group with a place never skips existing
    // records.
    "auto.offset.reset",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "bootstrap.servers",
    "group.id",
];

const OPTION_PREFIX: &str = "KAFKA_OPTION_";
const MOST_ROWS: u64 = 100_000;

/// Prints records from Kafka as lines on stdout and stores them as rows in PostgreSQL
#[derive(Clone, Parser)]
#[command(name = "metrics-consumer", version, args_override_self = true)]
pub struct Settings {
    /// HOST:PORT[,HOST:PORT...] of Kafka
    #[arg(long, env = "KAFKA_BROKERS", value_parser = NonEmptyStringValueParser::new())]
    pub brokers: String,

    /// Topic to read
    #[arg(
        long,
        env = "KAFKA_TOPIC",
        default_value = "metrics",
        value_parser = NonEmptyStringValueParser::new()
    )]
    pub topic: String,

    /// Consumer group that keeps the place in the topic
    #[arg(
        long,
        env = "KAFKA_GROUP",
        default_value = "system-metrics",
        value_parser = NonEmptyStringValueParser::new()
    )]
    pub group: String,

    /// Where a group begins that has no place yet
    #[arg(long, env = "KAFKA_FROM", default_value = "beginning")]
    pub from: From,

    /// Option of librdkafka, any number of times; as a variable KAFKA_OPTION_SASL_PASSWORD for
    /// sasl.password
    #[arg(long = "kafka-option", value_name = "NAME=VALUE", value_parser = kafka_option)]
    pub kafka_options: Vec<(String, String)>,

    /// postgresql://USER:PASSWORD@HOST/DB?sslmode=... or key=value pairs, PGPASSWORD if it has no
    /// password; without it lines are printed and nothing is stored
    #[arg(long, env = "DATABASE_URL", value_parser = database)]
    pub database: Option<Address>,

    /// Topic that gets each record that is skipped, with the reason in its headers
    #[arg(long, env = "DEAD_LETTER_TOPIC")]
    dead_letter_topic: Option<String>,

    /// File that gets them instead, each as a line of JSON
    #[arg(long, env = "DEAD_LETTER_FILE", conflicts_with = "dead_letter_topic")]
    dead_letter_file: Option<String>,

    /// Rows of one insert at most
    #[arg(long, env = "BATCH_ROWS", default_value = "1000", value_parser = rows)]
    pub batch_rows: usize,

    /// How long the first row of an insert waits for others
    #[arg(long, env = "BATCH_WAIT", default_value = "500ms", value_parser = time)]
    pub batch_wait: Duration,

    /// Print no line for each record
    #[arg(
        long,
        env = "QUIET",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        default_value = "false"
    )]
    pub quiet: bool,

    /// End with 0 after so many good records
    #[arg(long, value_parser = number)]
    pub count: Option<u64>,

    /// End with 1 after this time
    #[arg(long, value_parser = time)]
    pub timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum From {
    Beginning,
    End,
}

fn number(text: &str) -> Result<u64, &'static str> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or("expected a whole number from 1")
}

fn rows(text: &str) -> Result<usize, &'static str> {
    number(text).map(|rows| rows.min(MOST_ROWS) as usize)
}

fn time(text: &str) -> Result<Duration, String> {
    duration::parse(text).ok_or_else(|| format!("expected {}", duration::EXPECTED))
}

fn database(text: &str) -> Result<Address, String> {
    Address::parse(text, env::var("PGPASSWORD").ok())
}

fn kafka_option(pair: &str) -> Result<(String, String), String> {
    let (name, value) = pair.split_once('=').ok_or("expected NAME=VALUE")?;
    let name = name.trim();
    match OURS.contains(&name) {
        true => Err(format!("{name} is not for you to set")),
        false => Ok((name.to_owned(), value.trim().to_owned())),
    }
}

impl Settings {
    /// Reads the settings of this process. A flag overrides its variable. An empty variable
    /// counts as not set.
    pub fn read() -> Result<Self, String> {
        let is_empty = |name: &OsStr| env::var_os(name).is_some_and(|value| value.is_empty());
        let pairs = env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Self::parse_from(env::args_os(), is_empty, pairs)
    }

    /// Reads settings from arguments alone, without the program's name.
    pub fn of_arguments(arguments: &[&str]) -> Result<Self, String> {
        let arguments = [&["metrics-consumer"], arguments].concat();
        Self::parse_from(arguments.iter().map(OsString::from), |_| true, [])
    }

    fn parse_from(
        arguments: impl IntoIterator<Item = OsString>,
        is_ignored: impl Fn(&OsStr) -> bool,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, String> {
        let command = Self::command().mut_args(|argument| {
            let argument = argument.hide_env_values(true);
            match argument.get_env().is_some_and(&is_ignored) {
                true => argument.env(None),
                false => argument,
            }
        });
        let parsed = command.try_get_matches_from(arguments);
        let parsed = parsed.and_then(|matches| Self::from_arg_matches(&matches));
        let mut settings = parsed.map_err(|error| match error.use_stderr() {
            true => describe(&error),
            // The user asked for the help or the version.
            false => error.exit(),
        })?;
        if settings.dead_letter_topic.as_ref() == Some(&settings.topic) {
            return Err("--dead-letter-topic: expected another topic than --topic".to_owned());
        }
        let mut options = Vec::new();
        for (name, value) in variables {
            if let Some(name) = name.strip_prefix(OPTION_PREFIX) {
                let name = name.to_lowercase().replace('_', ".");
                let option = kafka_option(&format!("{name}={value}"));
                options.push(option.map_err(|error| format!("{OPTION_PREFIX}...: {error}"))?);
            }
        }
        options.append(&mut settings.kafka_options);
        settings.kafka_options = options;
        Ok(settings)
    }

    pub fn dead_letters(&self) -> Option<Place> {
        let file = self.dead_letter_file.as_ref();
        let topic = self.dead_letter_topic.clone().map(Place::Topic);
        topic.or(file.map(|path| Place::File(path.into())))
    }
}

/// Describes the error in one line, without what may be a password.
fn describe(error: &clap::Error) -> String {
    let context = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    let argument = context(ContextKind::InvalidArg);
    let flag = argument.split([' ', '[']).next().unwrap_or_default();
    let value = context(ContextKind::InvalidValue);
    let shown = match flag {
        "--database" | "--kafka-option" => String::new(),
        _ => format!(" {value}"),
    };
    match (error.kind(), error.source()) {
        (ErrorKind::MissingRequiredArgument, _) => {
            "--brokers (KAFKA_BROKERS) is required".to_owned()
        }
        // A value that does not look like a flag may belong to a flag that is missing, so it is
        // not shown.
        (ErrorKind::UnknownArgument, _) => {
            let name = if flag.starts_with("--") { flag } else { "" };
            format!("unknown argument {name}: see --help")
        }
        (ErrorKind::ArgumentConflict, _) => {
            let other = context(ContextKind::PriorArg);
            let other = other.split(' ').next().unwrap_or_default();
            format!("{flag}: not together with {other}")
        }
        (ErrorKind::InvalidValue, _) if value.is_empty() => format!("{flag} needs a value"),
        (ErrorKind::InvalidValue, _) => {
            let valid = context(ContextKind::ValidValue).replace(", ", " or ");
            format!("{flag}{shown}: expected {valid}")
        }
        (_, Some(source)) => format!("{flag}{shown}: {source}"),
        (kind, None) => format!("{flag}: {kind}"),
    }
}

/// Does not show the options of Kafka, because they may contain passwords.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Settings {
        let arguments = [&["--brokers", "k:9092"], arguments].concat();
        Settings::of_arguments(&arguments).expect("settings")
    }

    fn refused(arguments: &[&str]) -> String {
        let arguments = [&["--brokers", "k:9092"], arguments].concat();
        Settings::of_arguments(&arguments).expect_err("a mistake")
    }

    #[test]
    fn defaults_and_flags() {
        let settings = read(&[]);
        assert_eq!(settings.topic, "metrics");
        assert_eq!(settings.group, "system-metrics");
        assert_eq!(
            (settings.batch_rows, settings.batch_wait.as_millis()),
            (1000, 500)
        );
        assert!(settings.database.is_none() && !settings.quiet);
        assert_eq!(settings.from, From::Beginning);

        let settings = read(&["--quiet", "--from=end", "--topic", "t", "--count=3"]);
        assert!(settings.quiet);
        assert_eq!(settings.from, From::End);
        assert_eq!((settings.topic.as_str(), settings.count), ("t", Some(3)));
        let settings = read(&["--timeout", "2m", "--quiet=false", "--topic=t", "--topic=u"]);
        assert_eq!(settings.timeout, Some(Duration::from_secs(120)));
        assert_eq!((settings.topic.as_str(), settings.quiet), ("u", false));
    }

    #[test]
    fn options_of_kafka_come_from_both_sides() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let arguments = [
            "metrics-consumer",
            "--brokers=k",
            "--kafka-option",
            "security.protocol=SASL_SSL",
            "--kafka-option=debug=topic",
        ];
        let parse = |variable: &str| {
            let arguments = arguments.map(OsString::from);
            Settings::parse_from(
                arguments,
                |_| true,
                [pair(variable, "a=b"), pair("PATH", "/")],
            )
        };
        assert_eq!(
            parse("KAFKA_OPTION_SASL_PASSWORD")
                .expect("settings")
                .kafka_options,
            [
                pair("sasl.password", "a=b"),
                pair("security.protocol", "SASL_SSL"),
                pair("debug", "topic"),
            ]
        );
        assert_eq!(
            parse("KAFKA_OPTION_GROUP_ID").expect_err("ours"),
            "KAFKA_OPTION_...: group.id is not for you to set"
        );
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            Settings::of_arguments(&[]).expect_err("no brokers"),
            "--brokers (KAFKA_BROKERS) is required"
        );
        for (arguments, expected) in [
            (&["--topics=x"][..], "unknown argument --topics: see --help"),
            (&["--topic"], "--topic needs a value"),
            (&["--group="], "--group needs a value"),
            (&["--count=0"], "--count 0: expected a whole number from 1"),
            (
                &["--timeout=2d"],
                "--timeout 2d: expected 500ms, 10s, 1m or 1h",
            ),
            (
                &["--dead-letter-topic=metrics"],
                "--dead-letter-topic: expected another topic than --topic",
            ),
            (
                &["--dead-letter-topic=x", "--dead-letter-file=y"],
                "--dead-letter-topic: not together with --dead-letter-file",
            ),
            (
                &["--kafka-option=auto.offset.reset=latest"],
                "--kafka-option: auto.offset.reset is not for you to set",
            ),
            (&["--from=start"], "--from start: expected beginning or end"),
            (&["--quiet=yes"], "--quiet yes: expected true or false"),
        ] {
            assert_eq!(refused(arguments), expected);
        }
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
        let error = refused(&["--kafka-option", "sasl.password sesame"]);
        assert_eq!(error, "--kafka-option: expected NAME=VALUE");
        for lost in [
            "postgresql://u:sesame@h/db",
            "--kafka-option=sesame",
            "--databse=sesame",
            "-sesame",
        ] {
            let error = refused(&[lost]);
            assert!(!error.contains("sesame"), "{error}");
        }
        let shown = format!(
            "{:?}",
            read(&[
                "--database=postgresql://u:sesame@h/db",
                "--kafka-option=sasl.password=sesame",
            ])
        );
        assert!(shown.contains("database db at h:5432"), "{shown}");
        assert!(!shown.contains("sesame"), "{shown}");
    }

    #[test]
    fn help_and_readme_show_every_setting() {
        let help = Settings::command().render_help().to_string();
        let readme = include_str!("../README.md");
        for argument in Settings::command().get_arguments() {
            let flag = argument.get_long().expect("a name");
            let row = format!("| `--{flag}");
            let row = readme.lines().find(|line| line.starts_with(&row));
            let row = row.unwrap_or_else(|| panic!("{flag} is not in README.md"));
            let variable = argument.get_env().unwrap_or_default();
            let defaults = argument.get_default_values().iter();
            for part in defaults.map(|value| &**value).chain([variable]) {
                let part = part.to_string_lossy();
                assert!(row.contains(&*part) && help.contains(&*part), "{row}");
            }
        }
    }
}
