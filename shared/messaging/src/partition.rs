//! The outbox is cut into partitions by aggregate, so that several relays can publish at once and
//! each aggregate still has one.

use sha2::{Digest, Sha256};

use crate::pool::Instance;

/// How many partitions there are. A constant: rows carry their partition from the day of writing.
pub const PARTITIONS: u8 = 16;

/// The partition of an aggregate: SHA-256 of its subject, mod 16. Stable across versions and
/// languages.
pub fn partition_of(subject: &str) -> u8 {
    // 16 divides 2^256, so the last byte alone decides.
    Sha256::digest(subject.as_bytes()).last().copied().unwrap_or(0) % PARTITIONS
}

/// A set of partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Partitions(u32);

impl Partitions {
    pub(crate) fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    pub(crate) fn insert(&mut self, partition: u8) {
        self.0 |= 1 << partition;
    }

    pub(crate) fn contains(self, partition: u8) -> bool {
        self.0 & (1 << partition) != 0
    }

    pub(crate) fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn is_subset(self, of: Self) -> bool {
        self.0 & !of.0 == 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The partitions in the set, ascending.
    pub(crate) fn iter(self) -> impl Iterator<Item = u8> {
        (0..PARTITIONS).filter(move |p| self.contains(*p))
    }

    pub(crate) fn numbers(self) -> Vec<i16> {
        self.iter().map(i16::from).collect()
    }
}

impl FromIterator<u8> for Partitions {
    fn from_iter<I: IntoIterator<Item = u8>>(partitions: I) -> Self {
        let mut set = Self::default();
        partitions.into_iter().for_each(|p| set.insert(p));
        set
    }
}

/// The partitions that `me` should own when `live` are all the processes that publish: rendezvous
/// hashing, so that everybody computes the same answer alone and a process that comes or goes
/// moves only its own share.
pub(crate) fn share_of(me: Instance, live: &[Instance]) -> Partitions {
    (0..PARTITIONS)
        .filter(|partition| {
            live.iter().copied().max_by_key(|one| weight(*partition, *one)) == Some(me)
        })
        .collect()
}

fn weight(partition: u8, instance: Instance) -> ([u8; 32], Instance) {
    let mut hash = Sha256::new();
    hash.update([partition]);
    hash.update(instance.number().to_be_bytes());
    (hash.finalize().into(), instance)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(numbers: &[i32]) -> Vec<Instance> {
        numbers.iter().map(|n| Instance::numbered(*n)).collect()
    }

    #[test]
    fn an_aggregate_keeps_its_partition_for_ever() {
        // Pinned: changing the hash would move half-published aggregates to another relay.
        assert_eq!(partition_of("order/0192f3a0-0000-7000-8000-000000000000"), 3);
        assert_eq!(partition_of("product/85123A"), 5);
    }

    #[test]
    fn every_partition_has_exactly_one_owner_whoever_computes_it() {
        let all = live(&[11, 22, 33, 44]);
        let shares: Vec<_> = all.iter().map(|me| share_of(*me, &all)).collect();
        for partition in 0..PARTITIONS {
            assert_eq!(shares.iter().filter(|s| s.contains(partition)).count(), 1);
        }
        assert_eq!(share_of(all[0], &all[..1]).iter().count(), 16);
        assert!(share_of(all[0], &[]).is_empty());
    }

    #[test]
    fn a_process_that_goes_moves_only_its_own_partitions() {
        let before = live(&[11, 22, 33]);
        let after = live(&[11, 33]);
        for me in &after {
            let kept = share_of(*me, &before);
            assert!(kept.is_subset(share_of(*me, &after)));
        }
    }
}
