//! Which letters go together, and as what.

use std::collections::{BTreeMap, HashSet};

use envelope::CONTENT_TYPE;
use opentelemetry::Context;

use super::jobs::Due;
use crate::pool::Pool;
use crate::reason::Code;
use crate::topology::Topology;
use crate::trace;
use crate::transport::{Fate, Properties};

pub(super) type Aggregate<'a> = (&'a str, &'a str);

/// None where a letter does not say whose it is: it waits for nobody.
pub(super) fn aggregate(letter: &Due) -> Option<Aggregate<'_>> {
    Some((letter.source.as_deref()?, letter.subject.as_deref()?))
}

/// The places in `letters` of those that go next.
pub(super) fn next_wave(
    letters: &[Due],
    fates: &[Option<Fate>],
    held: &HashSet<Aggregate<'_>>,
) -> Vec<usize> {
    let mut taken = HashSet::new();
    let mut is_next =
        |letter| aggregate(letter).is_none_or(|one| !held.contains(&one) && taken.insert(one));
    let open = letters.iter().zip(fates).enumerate().filter(|(_, (_, fate))| fate.is_none());
    open.filter(|(_, (letter, _))| is_next(letter)).map(|(n, _)| n).collect()
}

/// A letter's properties and headers. One that was parked before properties were kept has those that
/// are known of it.
pub(super) fn whole(letter: &Due) -> (Properties, BTreeMap<String, String>) {
    let mut properties = letter.properties.0.clone();
    if properties == Properties::default() {
        let content_type = letter.reason_code != Code::BadContentType.as_str();
        properties = Properties {
            content_type: content_type.then(|| CONTENT_TYPE.to_owned()),
            message_id: letter.event_id.map(|id| id.to_string()),
            type_name: letter.event_type.clone(),
            ..Properties::default()
        };
    }
    let headers = serde_json::from_value(letter.headers.clone()).unwrap_or_default();
    (properties, headers)
}

/// The span in which a letter is put back. It is linked to where its event was created.
pub(super) fn span(pool: &Pool, topology: &Topology, letter: &Due) -> Context {
    let header = |name: &str| letter.headers.get(name).and_then(|value| value.as_str());
    let creation = trace::extract(header("traceparent"), header("tracestate"));
    let about = trace::About {
        system: crate::topology::SYSTEM,
        destination: &topology.work_queue(),
        event_id: letter.event_id.map(|id| id.to_string()).unwrap_or_default(),
        event_type: letter.event_type.as_deref().unwrap_or_default(),
        subject: letter.subject.as_deref().unwrap_or_default(),
        correlation_id: letter.properties.correlation_id.clone().unwrap_or_default(),
    };
    trace::put_back(pool.tracer(), &creation, about)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use sqlx::types::Json;

    use super::*;

    fn letter(place: i32, subject: Option<&str>) -> Due {
        Due {
            place,
            tries: 1,
            state: "replaying".into(),
            parkings: 1,
            queue: "ledger.in".into(),
            source: Some("urn:lamp".into()),
            subject: subject.map(str::to_owned),
            event_id: None,
            event_type: None,
            occurred_at: None,
            parked_at: DateTime::UNIX_EPOCH,
            reason_code: "rejected".into(),
            properties: Json(Properties::default()),
            headers: serde_json::json!({}),
            body: Vec::new(),
        }
    }

    #[test]
    fn a_wave_takes_the_first_letter_of_each_aggregate_and_all_that_belong_to_none() {
        let subjects = [Some("a"), Some("a"), Some("b"), None, None];
        let letters: Vec<Due> =
            (0..).zip(subjects).map(|(n, subject)| letter(n, subject)).collect();
        let mut fates = vec![None; letters.len()];
        assert_eq!(next_wave(&letters, &fates, &HashSet::new()), [0, 2, 3, 4]);
        for n in [0, 2, 3, 4] {
            fates[n] = Some(Fate::Confirmed);
        }
        assert_eq!(next_wave(&letters, &fates, &HashSet::new()), [1]);
        fates[0] = Some(Fate::Refused);
        let held = aggregate(&letters[0]).into_iter().collect();
        assert!(next_wave(&letters, &fates, &held).is_empty());
    }
}
