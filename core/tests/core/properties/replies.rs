//! Replies to records: what is left out, what is chosen, what is new, and how
//! much CPU it was.

use kubeletstats_core::options::Config;
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::Value;

use super::{
    cases, check,
    summary::{Container, Number, Order, Pod, Summary, Time, summary},
};

prop_compose! {
    /// Names and values as an operator would give them.
    fn options()(
        namespace in select(vec!["", "default", "other, default-2"]),
        prefix in select(vec!["", "log-", "w,log-b"]),
        source in select(vec!["auto", "counter", "instant"]),
        set in [(); 3].map(|()| select(vec!["", "mine"])),
        repeat in select(vec!["on", "off"]),
    ) -> Config {
        let given = [
            ("namespace", namespace),
            ("pod_prefix", prefix),
            ("cpu_source", source),
            ("service", set[0]),
            ("region", set[1]),
            ("node_name", set[2]),
            ("repeat_samples", repeat),
        ];
        check::read(&given).expect("valid options")
    }
}

fn order() -> impl Strategy<Value = Order> {
    prop_oneof![
        Just(Order::Kubelet),
        Just(Order::PodRefLast),
        any::<u64>().prop_map(Order::Shuffled),
    ]
}

fn sorted(mut records: Vec<Value>) -> Vec<Value> {
    records.sort_by_key(|it| format!("{}{}{}", it["podUid"], it["containerName"], it["podName"]));
    records
}

proptest! {
    #![proptest_config(cases(400))]

    /// One record per container with a sample, each field as documented, and
    /// what the reply left out or made odd is absent.
    #[test]
    fn records_are_what_the_reply_says(
        summary in summary(),
        config in options(),
        order in order(),
    ) {
        let body = summary.json(order);
        let mut scrapes = check::Scrapes::new(&config);
        let first = sorted(scrapes.reply(&body).expect("a summary"));
        prop_assert_eq!(&first, &sorted(summary.records(&config)));
        scrapes.same_again(&body);
        let again = sorted(scrapes.reply(&body).expect("a summary"));
        prop_assert_eq!(again, if config.repeat_samples { first } else { vec![] });
    }

    /// Any two replies after one another, written in any order.
    #[test]
    fn order_means_nothing(
        replies in vec(summary(), 1..4),
        config in options(),
        other in order(),
    ) {
        let mut plain = check::Scrapes::new(&config);
        let mut shuffled = check::Scrapes::new(&config);
        for reply in &replies {
            let want = plain.reply(&reply.json(Order::Kubelet)).expect("a summary");
            let got = shuffled.reply(&reply.json(other)).expect("a summary");
            prop_assert_eq!(sorted(got), sorted(want));
        }
    }
}

proptest! {
    #![proptest_config(cases(400))]

    /// As a proxy may write it: the very number, or none.
    #[test]
    fn a_rewritten_number_is_exact_or_absent(
        number in prop_oneof![any::<u64>(), (1_u64 << 53) - 9..(1 << 53) + 9],
        form in select(vec![".0", ".000", "e0", "E+0", ".0e0"]),
    ) {
        let mut summary = reply(1_790_000_000_000_000_000, None, true);
        let container = &mut summary.pods[0].containers[0];
        container.nano_cores = Number::of(1);
        container.working_set.json = Some(format!("{number}{form}"));
        let config = check::read(&[]).expect("valid options");
        let records = check::Scrapes::new(&config).reply(&summary.json(Order::Kubelet));
        let bytes = records.expect("a summary")[0].get("memory_bytes").cloned();
        prop_assert!(bytes.as_ref().is_none_or(|bytes| *bytes == number), "{:?}", bytes);
        prop_assert!(bytes.is_some() || number >= 1 << 53, "left out");
    }
}

/// A stretch of time in the life of a container, and the reply at its end.
#[derive(Debug, Clone)]
struct Step {
    /// 0: the kubelet has no new sample.
    nanos: u64,
    /// Billionths of a core in use.
    rate: u64,
    counter_left_out: bool,
    container_left_out: bool,
}

prop_compose! {
    fn step()(
        nanos in prop_oneof![Just(0), (1_u64..40).prop_map(|s| s * 1_000_000_000), 1_u64..1 << 35],
        rate in prop_oneof![Just(0), 1_u64..1 << 34],
        counter_left_out in prop::bool::weighted(0.1),
        container_left_out in prop::bool::weighted(0.1),
    ) -> Step {
        Step { nanos, rate, counter_left_out, container_left_out }
    }
}

proptest! {
    #![proptest_config(cases(400))]

    /// The container burns at known rates. Each record's rate lies between the
    /// lowest and the highest of its time, and together they account for all
    /// that was burnt between the first counter seen and the last.
    #[test]
    fn rates_are_those_burnt(
        started in 1_u64..1 << 50,
        steps in vec(step(), 1..40),
        source in select(vec!["counter", "auto"]),
        order in order(),
    ) {
        let config = check::read(&[("cpu_source", source)]).expect("valid options");
        let mut scrapes = check::Scrapes::new(&config);
        let (mut now, mut counter) = (1_790_000_000_000_000_000_u64, u128::from(started));
        let mut last_seen = None;
        // The last counter the plugin saw, and the rates since then.
        let mut last: Option<(u64, u64)> = None;
        let (mut lowest, mut highest) = (u64::MAX, 0);
        for step in &steps {
            now += step.nanos;
            counter += u128::from(step.rate) * u128::from(step.nanos) / 1_000_000_000;
            if step.nanos > 0 {
                lowest = lowest.min(step.rate);
                highest = highest.max(step.rate);
            }
            let total = u64::try_from(counter).expect("fits");
            let counted = Some(total).filter(|_| !step.counter_left_out);
            let body = reply(now, counted, !step.container_left_out).json(order);
            let records = scrapes.reply(&body).expect("a summary");

            let is_new = !step.container_left_out && last_seen != Some(now);
            let Some(total) = counted.filter(|_| is_new) else {
                prop_assert_eq!(records.len(), 0, "no new counter");
                last_seen = if is_new { Some(now) } else { last_seen };
                continue;
            };
            last_seen = Some(now);
            if let Some((at, before)) = last {
                prop_assert_eq!(records.len(), 1);
                let cores = records[0]["cpu_cores"].as_f64().expect("a number");
                let elapsed = (now - at) as f64 / 1e9;
                let burnt = (total - before) as f64 / 1e9;
                prop_assert!((cores * elapsed - burnt).abs() <= burnt * 1e-9);
                // The counter is whole: each step may lose one.
                let slack = steps.len() as f64 / (now - at) as f64;
                let least = lowest as f64 / 1e9 * (1.0 - 1e-9) - slack;
                let most = highest as f64 / 1e9 * (1.0 + 1e-9) + slack;
                prop_assert!((least..=most).contains(&cores), "{} of {}..{}", cores, least, most);
            } else {
                prop_assert_eq!(records.len(), 0, "nothing to compare with");
            }
            last = Some((now, total));
            (lowest, highest) = (u64::MAX, 0);
        }
    }
}

fn reply(now: u64, counter: Option<u64>, present: bool) -> Summary {
    let container = Container {
        name: "c".to_owned(),
        start: Time::of(1_780_000_000_000_000_000),
        cpu_time: Time::of(now),
        counter: counter.map(Number::of).unwrap_or_default(),
        ..Container::default()
    };
    let pod = Pod {
        name: "p".to_owned(),
        uid: "u".to_owned(),
        containers: if present { vec![container] } else { vec![] },
        ..Pod::default()
    };
    Summary {
        node: None,
        pods: vec![pod],
    }
}
