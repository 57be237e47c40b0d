//! The classes of what can be wrong with a message. Each parked message carries one.

use std::fmt;

/// A reason code, stable: dashboards and runbooks key on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it, and as_str is the documented form")]
pub enum Code {
    Oversize,
    BadContentType,
    Unsigned,
    BadSignature,
    UnknownKey,
    RevokedKey,
    NotAuthorised,
    Malformed,
    EnvelopeInvalid,
    HeaderMismatch,
    UnknownType,
    UnsupportedVersion,
    SchemaInvalid,
    TimeInFuture,
    Stale,
    IdCollision,
    SequenceGap,
    UnknownAggregate,
    RetriesExhausted,
    Rejected,
    Panicked,
    DeliveryLimit,
}

impl Code {
    /// Those that we park for: all but the broker's own.
    pub(crate) const OURS: [Self; 21] = [
        Self::Oversize,
        Self::BadContentType,
        Self::Unsigned,
        Self::BadSignature,
        Self::UnknownKey,
        Self::RevokedKey,
        Self::NotAuthorised,
        Self::Malformed,
        Self::EnvelopeInvalid,
        Self::HeaderMismatch,
        Self::UnknownType,
        Self::UnsupportedVersion,
        Self::SchemaInvalid,
        Self::TimeInFuture,
        Self::Stale,
        Self::IdCollision,
        Self::SequenceGap,
        Self::UnknownAggregate,
        Self::RetriesExhausted,
        Self::Rejected,
        Self::Panicked,
    ];

    /// The code as it is stored, shown and counted.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Oversize => "oversize",
            Self::BadContentType => "bad_content_type",
            Self::Unsigned => "unsigned",
            Self::BadSignature => "bad_signature",
            Self::UnknownKey => "unknown_key",
            Self::RevokedKey => "revoked_key",
            Self::NotAuthorised => "not_authorised",
            Self::Malformed => "malformed",
            Self::EnvelopeInvalid => "envelope_invalid",
            Self::HeaderMismatch => "header_mismatch",
            Self::UnknownType => "unknown_type",
            Self::UnsupportedVersion => "unsupported_version",
            Self::SchemaInvalid => "schema_invalid",
            Self::TimeInFuture => "time_in_future",
            Self::Stale => "stale",
            Self::IdCollision => "id_collision",
            Self::SequenceGap => "sequence_gap",
            Self::UnknownAggregate => "unknown_aggregate",
            Self::RetriesExhausted => "retries_exhausted",
            Self::Rejected => "rejected",
            Self::Panicked => "panicked",
            Self::DeliveryLimit => "delivery_limit",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_codes_are_ours_but_the_last() {
        let numbers: Vec<_> = Code::OURS.iter().map(|code| *code as usize).collect();
        assert_eq!(numbers, (0..Code::DeliveryLimit as usize).collect::<Vec<_>>());
    }
}
