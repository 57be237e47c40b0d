//! What goes along with a message whatever the broker: the names and texts of our own headers, and what
//! becomes of a batch.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, SecondsFormat, Utc};
use envelope::signature::{SUITE, signature_to_text};

use super::{Failure, Fate, Outgoing, Parked};

const REASON_BYTES: usize = 1_000;

/// The names of our headers, which carry the system's own: `x-shop-sig`.
pub(crate) struct Names<'a>(pub(crate) &'a str);

impl Names<'_> {
    pub(crate) fn header(&self, what: &str) -> String {
        format!("x-{}-{what}", self.0)
    }
}

/// The headers of an event's first and every later publish.
pub(crate) fn of_event(message: &Outgoing<'_>) -> Vec<(String, String)> {
    let names = Names(message.namespace);
    let mut headers = Vec::with_capacity(6);
    if let Ok(signature) = <&[u8; 64]>::try_from(message.signature) {
        headers.push((names.header("sig"), signature_to_text(signature)));
    }
    headers.push((names.header("kid"), message.key_id.to_owned()));
    headers.push((names.header("sigver"), SUITE.to_owned()));
    headers.push((names.header("published"), stamp(message.published_at)));
    for (name, value) in [("traceparent", message.traceparent), ("tracestate", message.tracestate)]
    {
        headers.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }
    headers
}

/// What a copy of a failed message tells of its failures, but for their number.
pub(crate) fn of_failure(
    names: &Names<'_>,
    queue: &str,
    failure: &Failure,
) -> [(String, String); 4] {
    [
        (names.header("first-failed"), stamp(failure.first_failed_at)),
        (names.header("code"), failure.code.as_str().to_owned()),
        (names.header("reason"), shortened(&failure.reason).to_owned()),
        (names.header("origin-queue"), queue.to_owned()),
    ]
}

/// The headers of a parked message that goes back: those it came with, and by which replay. What its
/// failures have told of it stays behind, and what was told on its journey.
pub(crate) fn of_parked(parked: &Parked<'_>) -> Vec<(String, String)> {
    let names = Names(parked.namespace);
    let failures = ["attempt", "first-failed", "code", "reason", "origin-queue", "copy", "replay"];
    let failures = failures.map(|what| names.header(what));
    let stays = |name: &String| !failures.contains(name) && !is_of_the_journey(name);
    let came = parked.headers.iter().filter(|(name, _)| stays(name));
    came.map(|(name, value)| (name.clone(), value.clone()))
        .chain([(names.header("replay"), parked.replay.to_string())])
        .collect()
}

/// How often a message has failed by its headers, and since when.
pub(crate) fn failed_before(
    headers: &BTreeMap<String, String>,
    namespace: &str,
) -> (u32, Option<DateTime<Utc>>) {
    let told = |what: &str| headers.get(&Names(namespace).header(what));
    let attempts = told("attempt").and_then(|text| text.parse().ok()).unwrap_or(0);
    let since = told("first-failed").and_then(|at| DateTime::parse_from_rfc3339(at).ok());
    (attempts, since.map(|at| at.with_timezone(&Utc)))
}

/// Headers that a broker writes, and those that tell it where else to route: no copy takes them along.
pub(crate) fn is_of_the_journey(name: &str) -> bool {
    matches!(name, "CC" | "BCC" | "x-death" | "x-delivery-count" | "x-acquired-count")
        || name.starts_with("x-first-death-")
        || name.starts_with("x-last-death-")
}

fn stamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Frames are finite: an error text that carries a page of SQL must not break the parking.
fn shortened(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON_BYTES)]
}

/// The fate of each message, by its mark, by whether its confirm said no, and by the marks of what
/// was returned.
pub(crate) fn fates(
    marks: &[Option<String>],
    refused: &[bool],
    returned: &[Option<String>],
) -> Vec<Fate> {
    let ours: HashSet<&String> = marks.iter().flatten().collect();
    let known: HashSet<&String> = returned.iter().flatten().filter(|m| ours.contains(m)).collect();
    // A return that is nobody's may be anybody's: better told twice than lost.
    let stray = returned.iter().any(|mark| !mark.as_ref().is_some_and(|m| known.contains(m)));
    marks
        .iter()
        .zip(refused)
        .map(|(mark, refused)| match mark {
            Some(mark) if known.contains(mark) => Fate::Unroutable,
            _ if *refused => Fate::Refused,
            _ if stray => Fate::Unroutable,
            _ => Fate::Confirmed,
        })
        .collect()
}

/// [`Bug::ConfirmByPosition`](crate::crash::Bug): what one confirm says of itself.
#[cfg(feature = "crash-points")]
pub(crate) fn by_position(refused: bool, returned: bool) -> Fate {
    match (refused, returned) {
        (_, true) => Fate::Unroutable,
        (true, false) => Fate::Refused,
        (false, false) => Fate::Confirmed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Code;

    fn marks<const N: usize>(all: [&str; N]) -> [Option<String>; N] {
        all.map(|mark| (!mark.is_empty()).then(|| mark.to_owned()))
    }

    #[test]
    fn what_was_returned_is_found_by_its_mark_and_not_by_its_place() {
        let expected = [Fate::Confirmed, Fate::Unroutable, Fate::Refused];
        assert_eq!(fates(&marks(["a", "b", "c"]), &[false, false, true], &marks(["b"])), expected);
    }

    #[test]
    fn a_return_that_is_nobodys_leaves_none_confirmed() {
        let refused = [false, false, true];
        for stray in ["", "x"] {
            let all = fates(&marks(["a", "", "c"]), &refused, &marks([stray]));
            assert_eq!(all, [Fate::Unroutable, Fate::Unroutable, Fate::Refused], "{stray}");
        }
        let none = fates(&marks(["a", "", "c"]), &refused, &[]);
        assert_eq!(none, [Fate::Confirmed, Fate::Confirmed, Fate::Refused]);
    }

    #[test]
    fn what_a_failure_tells_is_read_again() {
        let first_failed_at = DateTime::UNIX_EPOCH;
        let reason = "not ever".to_owned();
        let failure = Failure { code: Code::Rejected, reason, attempts: 3, first_failed_at };
        let told = of_failure(&Names("house"), "ledger.in", &failure);
        let mut headers = BTreeMap::from(told);
        assert_eq!(failed_before(&headers, "house"), (0, Some(first_failed_at)));
        headers.insert("x-house-attempt".to_owned(), "3".to_owned());
        assert_eq!(failed_before(&headers, "house"), (3, Some(first_failed_at)));
        assert_eq!(failed_before(&headers, "other"), (0, None));
    }
}
