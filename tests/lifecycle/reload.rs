//! Hot reload, by signal and by HTTP, again and again.

use std::time::{Duration, Instant};

use sim_kubelet::SimKubelet;
use testkit::{Child, Host, Stream, held::Held};

use crate::{
    proc::{
        CONFIGURATION, Scratch, Table, Usage, alone, free_port, http, sized, some_hosts, until,
    },
    run::{DEADLINE, section, stop, wait_for_line},
    samples::wait_for,
};

/// The first release that reloads at all.
const SINCE: (u32, u32, u32) = (2, 1, 0);

/// What the plugin may cost more than `dummy`, over all reloads of a run.
const NOISE_MIB: f64 = 2.0;

/// Reloads before the first look: what is only set up once is then there.
const WARM_UP: usize = 2;

/// The input under test, as the rest of its section.
type Input<'a> = &'a dyn Fn(&str) -> String;

/// A host with one input whose records say which reload they come from.
struct Reloaded<'a> {
    folder: Scratch,
    port: u16,
    input: Input<'a>,
    child: Child,
    reloads: usize,
}

impl<'a> Reloaded<'a> {
    fn start(host: &Host, input: Input<'a>) -> Self {
        let (folder, port) = (Scratch::new("reload"), free_port());
        let mut command = folder.command(host, &configuration(port, &input("reload-0")));
        command.arg("-Y");
        let child = Child::spawn(command);
        let reloaded = Self {
            folder,
            port,
            input,
            child: child.expect("the host starts"),
            reloads: 0,
        };
        reloaded.settled();
        reloaded
    }

    /// A changed file, and the host told of it.
    fn reload(&mut self) {
        self.reloads += 1;
        let input = (self.input)(&format!("reload-{}", self.reloads));
        self.folder
            .write(CONFIGURATION, &configuration(self.port, &input));
        if self.reloads % 2 == 1 {
            self.child.signal(libc::SIGHUP);
        } else {
            let reply = http(self.port, "POST", "/api/v2/reload").expect("a reply");
            assert!(reply.contains("\"status\":0"), "{reply}");
        }
        self.settled();
    }

    /// Waits until the reload is over, and records come from the new configuration.
    fn settled(&self) {
        let Self {
            child,
            port,
            reloads,
            ..
        } = self;
        let mark = format!("\"reload-{reloads}\"");
        wait_for_line(child, 0, Stream::Stdout, |line| line.contains(&mark));
        let count = format!("\"hot_reload_count\":{reloads}}}");
        until(child, &count, DEADLINE, || {
            http(*port, "GET", "/api/v2/reload").is_ok_and(|reply| reply.contains(&count))
        });
    }

    /// Threads and files of a connection that was just closed are given a moment.
    fn usage(&self, at_most: Option<Usage>) -> Usage {
        let mut usage = Usage::of(&self.child);
        if let Some(most) = at_most {
            let _ = testkit::wait::until("", Duration::from_secs(5), || {
                usage = Usage::of(&self.child);
                usage.threads <= most.threads && usage.fds <= most.fds
            });
        }
        usage
    }
}

fn configuration(port: u16, input: &str) -> String {
    format!(
        "[SERVICE]\n    flush 0.1\n    grace 2\n    plugins_file plugins.conf\n    \
         http_server on\n    http_listen 127.0.0.1\n    http_port {port}\n\
         [INPUT]\n{input}\
         [OUTPUT]\n    name stdout\n    match *\n    format json_lines\n"
    )
}

struct Growth {
    before: Usage,
    after: Usage,
    each: Duration,
}

fn reload_often(host: &Host, input: Input, times: usize) -> Growth {
    let mut reloaded = Reloaded::start(host, input);
    (0..WARM_UP).for_each(|_| reloaded.reload());
    let before = reloaded.usage(None);
    let began = Instant::now();
    (0..times).for_each(|_| reloaded.reload());
    let each = began.elapsed() / times as u32;
    let after = reloaded.usage(Some(before));
    stop(reloaded.child);
    Growth {
        before,
        after,
        each,
    }
}

#[test]
fn reloads_leave_nothing_behind() {
    let _alone = alone();
    let times = sized(3, 100);
    let mut table = Table::new(
        &format!("{times} hot reloads, half by SIGHUP and half by HTTP"),
        &[
            "host", "input", "RSS", "growth", "threads", "fds", "a reload",
        ],
    );
    for host in some_hosts() {
        if host.version.is_none_or(|version| version < SINCE) {
            println!("{} has no hot reload", host.name);
            continue;
        }
        let dummy = |mark: &str| {
            format!("    name dummy\n    rate 20\n    dummy {{\"service\":\"{mark}\"}}\n")
        };
        let dummy = reload_often(&host, &dummy, times);
        let kubelet = SimKubelet::builder()
            .sample_period(Duration::from_millis(100))
            .started();
        let ours = |mark: &str| {
            let section = section(&kubelet);
            format!("{section}    interval 50ms\n    service {mark}\n")
        };
        let ours = reload_often(&host, &ours, times);
        for (name, growth) in [("dummy", &dummy), ("kubeletstats", &ours)] {
            let Growth {
                before,
                after,
                each,
            } = growth;
            table.row(&[
                &host.name,
                &name,
                &format!("{:.1} MiB", after.rss_mib()),
                &format!("{:+.1} MiB", after.gained_mib(before)),
                &format!("{} → {}", before.threads, after.threads),
                &format!("{} → {}", before.fds, after.fds),
                &format!("{:.2} s", each.as_secs_f64()),
            ]);
        }
        // One connection of the first scrape, one handshake: each instance has its own.
        let expected = (1 + WARM_UP + times) as u64;
        assert_eq!(kubelet.handshakes(), expected, "{}", host.name);
        let threads = |growth: &Growth| growth.after.threads as i64 - growth.before.threads as i64;
        assert_eq!(threads(&ours), threads(&dummy), "{}: threads", host.name);
        // Some hosts leave files open at each reload, whatever the input.
        let files = |growth: &Growth| growth.after.fds as i64 - growth.before.fds as i64;
        let (with, without) = (files(&ours), files(&dummy));
        assert!(
            with <= without + 2,
            "{}: {with} files more, dummy {without}",
            host.name
        );
        let (with, without) = (
            ours.after.gained_mib(&ours.before),
            dummy.after.gained_mib(&dummy.before),
        );
        assert!(
            with <= without.max(0.0) + NOISE_MIB,
            "{}: {with} MiB, dummy {without}",
            host.name
        );
    }
}

/// A token on a mount that has gone: a thread in there cannot be ended. It takes nothing
/// along, and ends by itself when the file answers.
#[test]
fn what_hangs_leaves_a_thread_and_no_file_until_it_is_answered() {
    let _alone = alone();
    for host in some_hosts() {
        if host.version.is_none_or(|version| version < SINCE) {
            println!("{} has no hot reload", host.name);
            continue;
        }
        let kubelet = SimKubelet::builder().started();
        let beside_dummy = |mark: &str| {
            format!(
                "{}    interval 50ms\n    timeout 100ms\n\
                 [INPUT]\n    name dummy\n    rate 20\n    dummy {{\"service\":\"{mark}\"}}\n",
                section(&kubelet)
            )
        };
        let mut reloaded = Reloaded::start(&host, &beside_dummy);
        (0..WARM_UP).for_each(|_| reloaded.reload());
        let first = reloaded.usage(None);
        (0..3).for_each(|_| reloaded.reload());
        let before = reloaded.usage(Some(first));
        // What the host itself leaves open.
        let usual = before.fds.saturating_sub(first.fds);
        let Some(held) = Held::or_not_run(&kubelet.token_file()) else {
            return;
        };
        let seen = reloaded.child.line_count();
        wait_for(
            &reloaded.child,
            seen,
            "timed out after 100ms reading kube_token_file ",
        );
        (0..3).for_each(|_| reloaded.reload());
        let during = reloaded.usage(Some(before));
        let fds = before.fds + usual + 2;
        assert!(
            during.fds <= fds,
            "{}: {before:?}, then {during:?}",
            host.name
        );
        // One for each input that was ended while its file was held, or there is nothing
        // that could end.
        let left = before.threads + 1..=before.threads + 4;
        assert!(
            left.contains(&during.threads),
            "{}: {before:?}, then {during:?}",
            host.name
        );
        drop(held);
        until(&reloaded.child, "the threads to end", DEADLINE, || {
            Usage::of(&reloaded.child).threads <= before.threads
        });
        stop(reloaded.child);
    }
}
