//! By how much this node's scrapes are delayed, so that not all nodes scrape at once.
//!
//! It is a fixed part of the option's time, which follows from the node's name: the same
//! after every start, and spread evenly over many nodes.

use std::time::Duration;

/// The part of `jitter` that falls to the node of this name.
pub fn delay(jitter: Duration, node: &str) -> Duration {
    // The upper 53 bits are what a float holds, as a fraction of 1.
    let fraction = (hash(node) >> 11) as f64 / (1_u64 << 53) as f64;
    jitter.mul_f64(fraction)
}

/// The machine's own name, which a container on the host's network has as well; in others it
/// is the pod's.
pub fn machine() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// FNV-1a, and behind it the last step of SplitMix64: names that differ in their last letter
/// differ in all bits.
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
