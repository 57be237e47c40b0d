//! The hash chain: each entry's hash covers its own content and the hash before it, so that nobody
//! changes, removes or inserts an entry without breaking every link behind it.
//!
//! `hash = SHA-256(prev_hash || encoding)`, where `prev_hash` are 32 bytes (zeros for the first
//! entry) and `encoding` is, one after the other and nothing in between:
//!
//! | field | encoding |
//! |---|---|
//! | format | the text `tidings-audit-1` |
//! | seq | integer |
//! | event_id | 16 bytes |
//! | source, type, subject | text each |
//! | aggversion | integer |
//! | correlation_id | 16 bytes |
//! | causation_id | optional, 16 bytes |
//! | traceparent | optional, text |
//! | occurred_at, received_at | integer each: microseconds since 1970-01-01T00:00:00Z |
//! | key_id | text |
//! | body, signature | bytes each |
//!
//! An integer is 8 bytes, two's complement, big-endian. Texts (UTF-8) and bytes stand behind their
//! length, an integer. What is optional stands behind one byte, 1; when it is absent, there is the
//! one byte 0 only. No two different entries have the same encoding.

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

const FORMAT: &str = "tidings-audit-1";

/// A SHA-256 digest.
pub type Hash = [u8; 32];

/// What is kept of an event. All of it but `published_at` is covered by the entry's hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The event.
    pub event_id: Uuid,
    /// Who published it: CloudEvents `source`.
    pub source: &'a str,
    /// The full CloudEvents `type`.
    pub event_type: &'a str,
    /// The aggregate.
    pub subject: &'a str,
    /// The number of the event among those of its aggregate.
    pub aggversion: i32,
    /// What the event belongs to: the order's id in everything that an order set in motion.
    pub correlation_id: Uuid,
    /// The event that it answers.
    pub causation_id: Option<Uuid>,
    /// The W3C context of its creation.
    pub traceparent: Option<&'a str>,
    /// The event's own time. Microseconds count, anything finer does not.
    pub occurred_at: DateTime<Utc>,
    /// When it came here, likewise.
    pub received_at: DateTime<Utc>,
    /// When it was handed to the broker, where that is known. Nobody signs for it.
    pub published_at: Option<DateTime<Utc>>,
    /// The exact bytes that were signed.
    pub body: &'a [u8],
    /// Ed25519, 64 bytes.
    pub signature: &'a [u8],
    /// The key that vouched for it.
    pub key_id: &'a str,
}

/// The end of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The last entry's number; 0 when there is none.
    pub seq: i64,
    /// The last entry's hash.
    pub hash: Hash,
}

/// An entry's place in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub seq: i64,
    /// The hash of the entry before.
    pub prev_hash: Hash,
    /// Its own hash.
    pub hash: Hash,
}

/// Where a chain does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Break {
    /// There is no entry of this number, but there should be.
    #[error("entry {0} is missing")]
    Missing(i64),
    /// Its content is not what was appended.
    #[error("entry {0} was altered")]
    Altered(i64),
    /// It does not follow the entry before it.
    #[error("entry {0} does not follow the entry before it")]
    Unlinked(i64),
    /// The end of the chain, as it is noted, is another than that of the entries.
    #[error("the noted end of the chain is not entry {0}")]
    Head(i64),
}

impl Head {
    /// Before the first entry.
    pub const START: Self = Self { seq: 0, hash: [0; 32] };

    /// The place of the next entry.
    pub fn next(&self, entry: &Entry<'_>) -> Link {
        let seq = self.seq + 1;
        Link { seq, prev_hash: self.hash, hash: hash(&self.hash, seq, entry) }
    }

    /// Goes on to an entry that is new, and returns its place.
    pub fn append(&mut self, entry: &Entry<'_>) -> Link {
        let link = self.next(entry);
        *self = Self { seq: link.seq, hash: link.hash };
        link
    }

    /// Goes on to an entry that is stored at `link`, if it belongs there.
    ///
    /// # Errors
    /// The first [`Break`] found.
    pub fn follow(&mut self, link: &Link, entry: &Entry<'_>) -> Result<(), Break> {
        let next = self.next(entry);
        if link.seq != next.seq {
            return Err(Break::Missing(next.seq));
        }
        if link.prev_hash != next.prev_hash {
            return Err(Break::Unlinked(link.seq));
        }
        if link.hash != next.hash {
            return Err(Break::Altered(link.seq));
        }
        *self = Self { seq: link.seq, hash: link.hash };
        Ok(())
    }
}

fn hash(prev_hash: &Hash, seq: i64, entry: &Entry<'_>) -> Hash {
    let mut sha = Encoder(Sha256::new_with_prefix(prev_hash));
    sha.raw(FORMAT.as_bytes());
    sha.integer(seq);
    sha.raw(entry.event_id.as_bytes());
    sha.bytes(entry.source.as_bytes());
    sha.bytes(entry.event_type.as_bytes());
    sha.bytes(entry.subject.as_bytes());
    sha.integer(entry.aggversion.into());
    sha.raw(entry.correlation_id.as_bytes());
    sha.optional(entry.causation_id, |sha, id| sha.raw(id.as_bytes()));
    sha.optional(entry.traceparent, |sha, text| sha.bytes(text.as_bytes()));
    sha.integer(entry.occurred_at.timestamp_micros());
    sha.integer(entry.received_at.timestamp_micros());
    sha.bytes(entry.key_id.as_bytes());
    sha.bytes(entry.body);
    sha.bytes(entry.signature);
    sha.0.finalize().into()
}

struct Encoder(Sha256);

impl Encoder {
    fn raw(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn integer(&mut self, integer: i64) {
        self.raw(&integer.to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.raw(&(bytes.len() as u64).to_be_bytes());
        self.raw(bytes);
    }

    fn optional<T>(&mut self, value: Option<T>, encode: impl FnOnce(&mut Self, T)) {
        self.raw(&[u8::from(value.is_some())]);
        if let Some(value) = value {
            encode(self, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: Entry<'_> = Entry {
        event_id: Uuid::from_u64_pair(1, 2),
        source: "urn:shop:dev:order",
        event_type: "shop.order.placed.v1",
        subject: "order/1",
        aggversion: 1,
        correlation_id: Uuid::from_u64_pair(3, 4),
        causation_id: None,
        traceparent: None,
        occurred_at: DateTime::UNIX_EPOCH,
        received_at: DateTime::UNIX_EPOCH,
        body: b"{}",
        signature: &[7; 64],
        key_id: "order-1",
        published_at: None,
    };

    /// Written out by hand from the table above, byte by byte.
    #[test]
    fn the_hash_is_the_documented_one() {
        let mut bytes = vec![0; 32];
        bytes.extend(b"tidings-audit-1");
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 1]);
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2]);
        bytes.extend(b"\0\0\0\0\0\0\0\x12urn:shop:dev:order");
        bytes.extend(b"\0\0\0\0\0\0\0\x14shop.order.placed.v1");
        bytes.extend(b"\0\0\0\0\0\0\0\x07order/1");
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 1]);
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4]);
        bytes.extend([0, 0]);
        bytes.extend([0; 16]);
        bytes.extend(b"\0\0\0\0\0\0\0\x07order-1");
        bytes.extend(b"\0\0\0\0\0\0\0\x02{}");
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 64]);
        bytes.extend([7; 64]);
        let expected: Hash = Sha256::digest(&bytes).into();
        let link = Head::START.next(&ENTRY);
        assert_eq!(link, Link { seq: 1, prev_hash: [0; 32], hash: expected });
    }

    #[test]
    fn every_field_and_the_place_are_covered() {
        let id = Uuid::from_u64_pair(9, 9);
        let later = DateTime::from_timestamp_micros(1).unwrap_or_default();
        let others = [
            ENTRY,
            Entry { event_id: id, ..ENTRY },
            Entry { source: "urn:shop:dev:orders", ..ENTRY },
            Entry { event_type: "shop.order.placed.v2", ..ENTRY },
            Entry { subject: "order/2", ..ENTRY },
            Entry { aggversion: 2, ..ENTRY },
            Entry { correlation_id: id, ..ENTRY },
            Entry { causation_id: Some(id), ..ENTRY },
            Entry { traceparent: Some(""), ..ENTRY },
            Entry { traceparent: Some("00"), ..ENTRY },
            Entry { occurred_at: later, ..ENTRY },
            Entry { received_at: later, ..ENTRY },
            Entry { body: b"{ }", ..ENTRY },
            Entry { signature: &[8; 64], ..ENTRY },
            Entry { key_id: "order-2", ..ENTRY },
            // What moves over a border between two fields is something else.
            Entry { source: "urn:shop:dev:ordershop", event_type: ".order.placed.v1", ..ENTRY },
        ];
        let mut hashes: Vec<Hash> = others.iter().map(|e| Head::START.next(e).hash).collect();
        hashes.push(Head { seq: 1, hash: [0; 32] }.next(&ENTRY).hash);
        hashes.push(Head { seq: 0, hash: [1; 32] }.next(&ENTRY).hash);
        let count = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), count);
    }

    #[test]
    fn a_chain_is_followed_to_its_first_break() {
        let mut head = Head::START;
        let first = head.next(&ENTRY);
        assert_eq!(head.follow(&first, &ENTRY), Ok(()));
        let second = head.next(&ENTRY);
        let altered = Entry { aggversion: 9, ..ENTRY };
        let skipped = Link { seq: 3, ..second };
        let unlinked = Link { prev_hash: [0; 32], ..second };
        for (link, entry, found) in [
            (second, altered, Break::Altered(2)),
            (skipped, ENTRY, Break::Missing(2)),
            (unlinked, ENTRY, Break::Unlinked(2)),
        ] {
            assert_eq!(head.follow(&link, &entry), Err(found));
            assert_eq!(head.seq, 1);
        }
        assert_eq!(head.follow(&second, &ENTRY), Ok(()));
    }
}
