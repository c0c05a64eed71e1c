//! The containers of a pod: their specification in the spec, and their state in the status.

use std::borrow::Cow;

use super::{
    ContainerFacts, ContainerKind, Resources, State,
    keep::{Keep, array, object, text},
    quantity,
};
use crate::{
    json::{Broken, Walk},
    summary::{LONGEST_NAME, MOST_CONTAINERS_OF_A_POD},
    timestamp::Timestamp,
};

/// Reads a member of a pod's spec, if it is a list of containers.
pub(super) fn of_spec(
    containers: &mut Vec<ContainerFacts>,
    key: &[u8],
    keep: &mut Keep,
    walk: &mut Walk<'_>,
) -> Result<(), Broken> {
    let kind = match key {
        b"initContainers" => ContainerKind::Init,
        b"containers" => ContainerKind::App,
        b"ephemeralContainers" => ContainerKind::Ephemeral,
        _ => return walk.skip(),
    };
    array(walk, |walk| {
        if containers.len() == MOST_CONTAINERS_OF_A_POD {
            return Err(walk.broken());
        }
        let mut container = ContainerFacts {
            kind,
            ..ContainerFacts::default()
        };
        container.read_spec(keep, walk)?;
        if !container.name.is_empty() {
            // Most pods have one container, but the first push would reserve memory for four.
            if containers.is_empty() {
                containers.reserve_exact(1);
            }
            containers.push(container);
        }
        Ok(())
    })
}

/// The rank of a container in the order of its pod's containers.
pub(super) fn place(container: &ContainerFacts) -> u8 {
    match container.kind {
        ContainerKind::Init | ContainerKind::Sidecar => 0,
        ContainerKind::App => 1,
        ContainerKind::Ephemeral => 2,
    }
}

/// Reads a member of a pod's status, if it is a list of containers. A name is in only one list. A
/// container that is not in the spec is skipped.
pub(super) fn of_status(
    containers: &mut [ContainerFacts],
    key: &[u8],
    keep: &mut Keep,
    walk: &mut Walk<'_>,
) -> Result<(), Broken> {
    let lists: [&[u8]; 3] = [
        b"initContainerStatuses",
        b"containerStatuses",
        b"ephemeralContainerStatuses",
    ];
    if !lists.contains(&key) {
        return walk.skip();
    }
    let mut count = 0;
    array(walk, |walk| {
        if count == MOST_CONTAINERS_OF_A_POD {
            return Err(walk.broken());
        }
        count += 1;
        let status = walk.value()?;
        let mut name = None;
        object(&mut Walk::new(status), |key, walk| match key {
            b"name" => text(walk).map(|text| name = Some(text)),
            _ => walk.skip(),
        })?;
        let name = name.unwrap_or_default();
        match containers.iter_mut().find(|one| *one.name == *name) {
            Some(container) => container.read_status(keep, &mut Walk::new(status)),
            None => Ok(()),
        }
    })
}

impl ContainerFacts {
    fn read_spec(&mut self, keep: &mut Keep, walk: &mut Walk<'_>) -> Result<(), Broken> {
        object(walk, |key, walk| {
            match key {
                b"name" => {
                    let name = text(walk)?;
                    if name.len() <= LONGEST_NAME {
                        self.name = keep.take(&name).unwrap_or_default();
                    }
                }
                b"image" => self.image = keep.text(walk)?,
                b"resources" => resources(&mut self.resources, walk)?,
                b"restartPolicy" if self.kind == ContainerKind::Init => {
                    if text(walk)? == "Always" {
                        self.kind = ContainerKind::Sidecar;
                    }
                }
                _ => walk.skip()?,
            }
            Ok(())
        })
    }

    fn read_status(&mut self, keep: &mut Keep, walk: &mut Walk<'_>) -> Result<(), Broken> {
        let (mut now, mut last) = (Run::default(), Run::default());
        let mut in_force = Resources::default();
        object(walk, |key, walk| {
            match key {
                b"containerID" => {
                    let id = text(walk)?;
                    let bare = id.split_once("://").map_or(&*id, |(_, bare)| bare);
                    self.container_id = keep.take(bare).filter(|id| !id.is_empty());
                }
                b"restartCount" => self.restart_count = number(walk)?,
                b"state" => now.read(keep, walk)?,
                b"lastState" => last.read(keep, walk)?,
                b"resources" => resources(&mut in_force, walk)?,
                _ => walk.skip()?,
            }
            Ok(())
        })?;
        // The kubelet reports nothing here for a container that has never run.
        if in_force != Resources::default() {
            self.resources = in_force;
        }
        self.latest_start = now.started_at.max(last.started_at);
        self.state = now.state;
        self.state_reason = now.reason;
        self.exit_code = now.exit_code;
        self.started_at = now.started_at.filter(|_| now.state == Some(State::Running));
        if last.state == Some(State::Terminated) {
            self.last_termination_reason = last.reason;
            self.last_exit_code = last.exit_code;
        }
        Ok(())
    }
}

/// The member `state` or `lastState`.
#[derive(Default)]
struct Run {
    state: Option<State>,
    reason: Option<Box<str>>,
    started_at: Option<Timestamp>,
    exit_code: Option<i64>,
}

impl Run {
    fn read(&mut self, keep: &mut Keep, walk: &mut Walk<'_>) -> Result<(), Broken> {
        *self = Self {
            state: (!is_null(walk)).then_some(State::Waiting),
            ..Self::default()
        };
        object(walk, |key, walk| {
            let state = match key {
                b"running" => State::Running,
                b"waiting" => State::Waiting,
                b"terminated" => State::Terminated,
                _ => return walk.skip(),
            };
            if is_null(walk) {
                return walk.skip();
            }
            self.state = Some(state);
            object(walk, |key, walk| {
                match key {
                    b"reason" => self.reason = keep.text(walk)?,
                    b"startedAt" => self.started_at = walk.time()?,
                    b"exitCode" => self.exit_code = number(walk)?,
                    _ => walk.skip()?,
                }
                Ok(())
            })
        })
    }
}

fn is_null(walk: &Walk<'_>) -> bool {
    matches!(walk.clone().null(), Ok(true))
}

/// Reads a whole number. Returns `None` for another value, or for a number that does not fit.
fn number<T: std::str::FromStr>(walk: &mut Walk<'_>) -> Result<Option<T>, Broken> {
    let digits = str::from_utf8(walk.value()?).ok();
    Ok(digits.and_then(|digits| digits.parse().ok()))
}

/// Reads `requests` and `limits`. An amount that cannot be parsed is absent.
pub(super) fn resources(resources: &mut Resources, walk: &mut Walk<'_>) -> Result<(), Broken> {
    object(walk, |key, walk| match key {
        b"requests" => amounts(
            &mut resources.cpu_request,
            &mut resources.memory_request,
            walk,
        ),
        b"limits" => amounts(&mut resources.cpu_limit, &mut resources.memory_limit, walk),
        _ => walk.skip(),
    })
}

fn amounts(
    cpu: &mut Option<f64>,
    memory: &mut Option<u64>,
    walk: &mut Walk<'_>,
) -> Result<(), Broken> {
    object(walk, |key, walk| {
        match key {
            b"cpu" => *cpu = quantity::cores(&amount(walk)?),
            b"memory" => *memory = quantity::bytes(&amount(walk)?),
            _ => walk.skip()?,
        }
        Ok(())
    })
}

/// Reads an amount. It is a text, but the API also accepts a number.
fn amount<'a>(walk: &mut Walk<'a>) -> Result<Cow<'a, str>, Broken> {
    match walk.peek()? {
        b'"' => walk.text(),
        b'{' | b'[' => Err(walk.broken()),
        _ => walk.value().map(String::from_utf8_lossy),
    }
}
