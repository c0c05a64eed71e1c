//! What `check` prints to be run: pasted into a real shell, with stand-ins for the tools
//! it calls. Every run of `check` in this suite comes through here.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use regex::Regex;
use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::Value;
use sim_kubelet::{Fault, SimKubelet};

use crate::command::run_with;

/// What the tools may be called with.
const CALLS: &[&str] = &[
    "^kubectl auth can-i get nodes --subresource=(stats|pods|proxy) --as=.+$",
    "^kubectl apply -f -$",
    "^kubectl get csr$",
    "^kubectl get nodes -o wide$",
    r"^kubectl create token -n \S+ \S+$",
    "^journalctl -u kubelet$",
    "^systemctl status containerd$",
];

const TOOLS: [&str; 3] = ["kubectl", "journalctl", "systemctl"];

/// Notes how it was called, and what it was given to apply. Nobody has any right yet,
/// unless `$ALLOWED` says so.
const STUB: &str = r#"#!/bin/sh
printf '%s %s\n' "${0##*/}" "$*" >> "$SEEN/calls"
case "$*" in
    "auth can-i "*) exit "$ALLOWED" ;;
    "apply "*) cat > "$SEEN/applied" ;;
esac
"#;

const WRITE_STUBS: &str =
    r#"for tool; do printf %s "$STUB" > "$tool" && chmod 755 "$tool" || exit; done"#;

/// What came of one command.
pub struct Pasted {
    pub calls: Vec<String>,
    pub applied: Option<String>,
}

/// Of the lines "to do": what stands by itself, and what ends a sentence.
pub fn commands(out: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut lines = out.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(advice) = line.strip_prefix("to do:   ") else {
            continue;
        };
        let at = TOOLS
            .iter()
            .filter_map(|tool| advice.rfind(&format!("{tool} ")))
            .min();
        if let Some(at) = at {
            commands.push(advice[at..].to_owned());
        } else if advice.ends_with(':') {
            assert_eq!(lines.next(), Some(""), "{out}");
            let block: Vec<_> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
            commands.push(block.join("\n"));
        }
    }
    commands
}

/// Pastes it, and looks at what arrives where.
pub fn paste(command: &str, allowed: bool) -> Pasted {
    let mut first = None;
    for shell in ["sh", "bash"] {
        // Its folder is removed when it goes.
        let folder = SimKubelet::builder().start().expect("a folder");
        let Some(pasted) = paste_into(shell, command, allowed, folder.dir()) else {
            continue;
        };
        for call in &pasted.calls {
            let known = |form: &&str| Regex::new(form).expect("a pattern").is_match(call);
            assert!(CALLS.iter().any(known), "{call}\n{command}");
        }
        if let Some(text) = &pasted.applied {
            assert_grants(text, &pasted.calls);
        }
        first.get_or_insert(pasted);
    }
    first.expect("every system has sh")
}

fn paste_into(shell: &str, command: &str, allowed: bool, folder: &Path) -> Option<Pasted> {
    // Written by a process of its own: what another test starts just now would inherit a file
    // that is open for writing here, and such a file cannot be run: the real tool would be.
    let written = Command::new("sh")
        .args(["-c", WRITE_STUBS, "sh"])
        .args(TOOLS.map(|tool| folder.join(tool)))
        .env("STUB", STUB)
        .status();
    assert!(written.is_ok_and(|status| status.success()), "no stand-ins");
    let path = std::env::var("PATH").expect("a PATH");
    let mut child = Command::new(shell)
        .arg("-s")
        .env("PATH", format!("{}:{path}", folder.display()))
        .env("SEEN", folder)
        .env("ALLOWED", if allowed { "0" } else { "1" })
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    // A here-document that does not end swallows the second line.
    let typed = format!("{command}\necho the next command\n");
    let mut stdin = child.stdin.take().expect("piped");
    stdin
        .write_all(typed.as_bytes())
        .expect("a shell that reads");
    drop(stdin);
    let ended = child.wait_with_output().expect("it ends");
    let [out, err] = [&ended.stdout, &ended.stderr].map(|text| String::from_utf8_lossy(text));
    assert_eq!(
        (&*out, &*err),
        ("the next command\n", ""),
        "{shell}: {command}"
    );
    let calls = fs::read_to_string(folder.join("calls")).unwrap_or_default();
    assert!(!calls.is_empty(), "it calls nothing: {command}");
    Some(Pasted {
        calls: calls.lines().map(str::to_owned).collect(),
        applied: fs::read_to_string(folder.join("applied")).ok(),
    })
}

/// A role and its binding, to the user that was asked for. It holds what was refused, and
/// with a right to the pods the one to the summary too: nothing comes of pods alone.
fn assert_grants(text: &str, calls: &[String]) {
    let documents = yaml(text);
    let [role, binding] = documents.as_slice() else {
        panic!("not two documents: {text}");
    };
    let string = |value: &Value| value.as_str().expect(text).to_owned();
    assert_eq!(string(&role["kind"]), "ClusterRole");
    let rule = &role["rules"][0];
    assert_eq!(string(&rule["verbs"][0]), "get");
    let resources = rule["resources"].as_array().expect(text);
    let resources: Vec<_> = resources.iter().map(string).collect();
    assert_eq!(string(&binding["kind"]), "ClusterRoleBinding");
    assert_eq!(
        string(&binding["roleRef"]["name"]),
        string(&role["metadata"]["name"])
    );
    let subject = &binding["subjects"][0];
    let user = match &*string(&subject["kind"]) {
        "ServiceAccount" => {
            let (namespace, name) = (string(&subject["namespace"]), string(&subject["name"]));
            format!("system:serviceaccount:{namespace}:{name}")
        }
        _ => string(&subject["name"]),
    };
    let [question, apply] = calls else {
        panic!("not two calls: {calls:?}");
    };
    let asked: Vec<_> = resources
        .iter()
        .map(|resource| {
            let subresource = resource.strip_prefix("nodes/").expect("of nodes");
            format!("kubectl auth can-i get nodes --subresource={subresource} --as={user}")
        })
        .collect();
    assert!(asked.contains(question), "{question}\n{text}");
    assert_eq!(apply, "kubectl apply -f -");
    let alone = resources == ["nodes/stats"] || resources == ["nodes/proxy"];
    assert!(
        alone || (resources.len() == 2 && resources[0] == "nodes/stats"),
        "{text}"
    );
}

/// The documents in there; a plain scalar that is no text by YAML's rules stays none.
fn yaml(text: &str) -> Vec<Value> {
    let mut documents = Vec::new();
    let mut events = Parser::new_from_str(text).map(|event| {
        let (event, _) = event.unwrap_or_else(|error| panic!("{error}: {text}"));
        event
    });
    while let Some(event) = events.next() {
        if matches!(event, Event::DocumentStart(_)) {
            documents.extend(node(&mut events));
        }
    }
    documents
}

/// The next node, or `None` where the one around it ends.
fn node<'t>(events: &mut impl Iterator<Item = Event<'t>>) -> Option<Value> {
    Some(match events.next()? {
        Event::Scalar(text, ScalarStyle::Plain, ..) => match serde_json::from_str(&text) {
            Ok(value) => value,
            Err(_) => Value::from(&*text),
        },
        Event::Scalar(text, ..) => Value::from(&*text),
        Event::SequenceStart(..) => std::iter::from_fn(|| node(events)).collect(),
        Event::MappingStart(..) => {
            let mut map = serde_json::Map::new();
            while let Some(key) = node(events) {
                let key = key.as_str().expect("a key").to_owned();
                map.insert(key, node(events).expect("a value"));
            }
            Value::from(map)
        }
        Event::SequenceEnd | Event::MappingEnd => return None,
        other => panic!("{other:?}"),
    })
}

/// What a user may be called, at a kubelet that says so.
#[test]
fn a_command_holds_whatever_the_user_is_called() {
    let users = [
        "system:serviceaccount:123:true",
        "alice",
        "O'Brien \"x\" $(touch me) `id`",
        "a\\nEND",
        "END",
    ];
    for user in users {
        let said = format!("Forbidden (user={user}, verb=get, resource=nodes)");
        let kubelet = SimKubelet::builder()
            .fault(Fault::Status(403, said))
            .started();
        let run = run_with(&kubelet, "check", &[]);
        let [command] = commands(&run.out).try_into().expect("one command");
        let granted = paste(&command, false);
        let call = format!("kubectl auth can-i get nodes --subresource=stats --as={user}");
        assert_eq!(granted.calls, [call.as_str(), "kubectl apply -f -"]);
        assert!(granted.applied.is_some(), "{user}");
        // Who has the right already is given nothing.
        let has_it = paste(&command, true);
        assert_eq!((has_it.calls, has_it.applied), (vec![call], None));
    }
}
