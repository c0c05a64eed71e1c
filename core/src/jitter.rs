//! Computes the delay of this node's scrapes, so that not all nodes scrape at the same time.
//!
//! The delay is a fixed part of the option `jitter`. It is computed from the node's name, so it is
//! the same after every start, and the delays of many nodes are spread evenly.

use std::time::Duration;

/// Returns the part of `jitter` for the node of this name.
pub fn delay(jitter: Duration, node: &str) -> Duration {
    // A float holds exactly the upper 53 bits, which are used as a fraction of 1.
    let fraction = (hash(node) >> 11) as f64 / (1_u64 << 53) as f64;
    jitter.mul_f64(fraction)
}

/// The machine's name. A container on the host's network sees the same name; any other container
/// sees the name of its pod.
pub fn machine() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// FNV-1a, followed by the last step of SplitMix64, so that names that differ only in the last
/// letter differ in all bits.
fn hash(name: &str) -> u64 {
    let mut hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_nodes_are_spread_evenly() {
        let jitter = Duration::from_secs(10);
        let mut in_tenth = [0_u32; 10];
        for node in 0..5_000 {
            let delay = delay(jitter, &format!("ip-10-0-{}-{}", node / 250, node % 250));
            in_tenth[delay.as_secs() as usize] += 1;
        }
        assert!(
            in_tenth.iter().all(|nodes| (400..600).contains(nodes)),
            "{in_tenth:?}"
        );
        assert_eq!(delay(jitter, "a"), delay(jitter, "a"));
        assert_eq!(delay(Duration::ZERO, "a"), Duration::ZERO);
        assert!(!machine().is_empty());
    }
}
