//! Prints the output of `check`: steps with their marks, and the verdict. This module knows
//! no kubelet.

use std::{
    env,
    io::{self, IsTerminal, Stdout, Write},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    Ok,
    Warn,
    Fail,
}

/// Standard output. It is no error if the reader has closed it (`| head`). The check
/// continues, because the exit code needs its result.
#[derive(Debug)]
pub struct Screen {
    out: Stdout,
    colour: bool,
    closed: bool,
}

impl Screen {
    pub fn new() -> Self {
        let out = io::stdout();
        let no_colour = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            colour: out.is_terminal() && !no_colour,
            out,
            closed: false,
        }
    }

    pub fn line(&mut self, text: &str) {
        if !self.closed {
            self.closed = writeln!(self.out, "{text}").is_err();
        }
    }

    /// Prints one step. Its first line has the mark, and the other lines follow below it.
    fn step(&mut self, mark: Mark, name: &str, text: &str) {
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        let mark = self.paint(mark);
        self.line(&format!("{mark}  {name:<8} {first}"));
        for line in lines {
            self.line(&format!("{:15}{line}", ""));
        }
    }

    fn paint(&self, mark: Mark) -> String {
        let (text, colour) = match mark {
            Mark::Ok => ("ok  ", 32),
            Mark::Warn => ("warn", 33),
            Mark::Fail => ("FAIL", 31),
        };
        match self.colour {
            true => format!("\u{1b}[1;{colour}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }
}

/// The steps of one input, and its result.
#[derive(Debug)]
pub struct Report<'s> {
    screen: &'s mut Screen,
    /// The first failure, as a short text.
    failure: Option<String>,
    warnings: usize,
    to_do: Vec<ToDo>,
}

/// What the reader can do about a failure.
#[derive(Debug)]
enum ToDo {
    Advice(String),
    /// A command to paste into a shell.
    Command(String),
}

impl<'s> Report<'s> {
    pub fn new(screen: &'s mut Screen) -> Self {
        Self {
            screen,
            failure: None,
            warnings: 0,
            to_do: Vec::new(),
        }
    }

    pub fn ok(&mut self, step: &str, text: &str) {
        self.screen.step(Mark::Ok, step, text);
    }

    pub fn warn(&mut self, step: &str, text: &str) {
        self.warnings += 1;
        self.screen.step(Mark::Warn, step, text);
    }

    /// `cause` becomes the verdict, unless something failed before.
    pub fn fail(&mut self, step: &str, text: &str, cause: &str) {
        self.screen.step(Mark::Fail, step, text);
        self.failure.get_or_insert_with(|| cause.to_owned());
    }

    /// Adds what the reader can do about a failure, as one line.
    pub fn advise(&mut self, text: impl Into<String>) {
        self.to_do.push(ToDo::Advice(text.into()));
    }

    /// Adds a command for the last advice. It is printed between empty lines and begins in
    /// the first column, because a shell does not end an indented here-document.
    pub fn command(&mut self, text: impl Into<String>) {
        self.to_do.push(ToDo::Command(text.into()));
    }

    /// Prints the last lines. `arrives` is the verdict if nothing failed. If it is empty,
    /// the verdict is that there are no metrics.
    pub fn conclude(self, arrives: &str) -> bool {
        self.screen.line("");
        let verdict = match (&self.failure, self.warnings) {
            (Some(cause), _) => format!("verdict: no metrics: {cause}"),
            (None, _) if arrives.is_empty() => "verdict: no metrics".to_owned(),
            (None, 0) => format!("verdict: {arrives}"),
            (None, 1) => format!("verdict: {arrives} (but see the warning above)"),
            (None, some) => format!("verdict: {arrives} (but see {some} warnings above)"),
        };
        self.screen.line(&verdict);
        let mut to_do = self.to_do.iter().peekable();
        while let Some(one) = to_do.next() {
            match one {
                ToDo::Advice(text) => self.screen.line(&format!("to do:   {text}")),
                ToDo::Command(text) => {
                    self.screen.line(&format!("\n{text}"));
                    if to_do.peek().is_some() {
                        self.screen.line("");
                    }
                }
            }
        }
        self.failure.is_none() && !arrives.is_empty()
    }
}
