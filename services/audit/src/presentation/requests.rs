//! What clients send, checked before anything is decided.

use chassis::http::{Cursor, Id, Limit};
use chassis::problem::{FieldErrors, Problem, code};
use chrono::{DateTime, Utc};
use envelope::Identity;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::application::views::{EventFilter, Place};

/// Which order.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(inline)]
pub(super) struct OrderPath {
    /// The order's id.
    pub(super) order_id: Id,
}

/// The query of `GET /events`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct EventsQuery {
    /// Only this type: `order.placed.v1`, or with the system's name before it.
    #[schemars(regex(pattern = r"^[^\x00-\x1F\x7F-\x9F]*$"))]
    r#type: Option<String>,
    /// Only from this source: `order`, or in full.
    #[schemars(regex(pattern = r"^[^\x00-\x1F\x7F-\x9F]*$"))]
    source: Option<String>,
    /// Only those that were received at this time or later.
    since: Option<DateTime<Utc>>,
    #[serde(default)]
    limit: Limit,
    cursor: Option<Cursor>,
}

impl EventsQuery {
    /// How many, and which. Types and sources may be given in full or as the system's own short
    /// names (`order.placed.v1`, `order`).
    ///
    /// # Errors
    /// `422 validation_failed` for a time out of range, `400 invalid_cursor`.
    pub(super) fn into_filter(self, system: &Identity) -> Result<(Limit, EventFilter), Problem> {
        let mut faults = FieldErrors::default();
        // Beyond these years Postgres has no times.
        let since = self.since.map(|since| since.timestamp());
        let reasonable = since.is_none_or(|since| (0..=253_402_300_799).contains(&since));
        faults.check(reasonable, "/since", code::RANGE);
        faults.into_result(())?;
        let before = self.cursor.map(|cursor| cursor.time_and_key(place)).transpose()?;
        let full_type = |name: String| match system.short_type(&name) {
            Some(_) => name,
            None => system.full_type(&name),
        };
        let full_source =
            |name: String| if name.contains(':') { name } else { system.source_of(&name) };
        let filter = EventFilter {
            event_type: self.r#type.map(full_type),
            source: self.source.map(full_source),
            since: self.since,
            before,
        };
        Ok((self.limit, filter))
    }
}

fn place(micros: i64, seq: &str) -> Option<Place> {
    let seq = seq.parse().ok().filter(|seq| *seq > 0)?;
    Some(Place { received_at: DateTime::from_timestamp_micros(micros)?, seq })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn filter(query: EventsQuery) -> Result<(Limit, EventFilter), &'static str> {
        let system = Identity::new("shop", "dev", "audit");
        query.into_filter(&system).map_err(|problem| problem.code())
    }

    #[test]
    fn short_and_full_names_ask_for_the_same() {
        let ask = |kind: &str, source: &str| {
            let (r#type, source) = (Some(kind.to_owned()), Some(source.to_owned()));
            filter(EventsQuery { r#type, source, ..EventsQuery::default() }).unwrap().1
        };
        let full = ask("shop.order.placed.v1", "urn:shop:dev:order");
        assert_eq!(ask("order.placed.v1", "order"), full);
        assert_eq!(full.event_type.as_deref(), Some("shop.order.placed.v1"));
        assert_eq!(full.source.as_deref(), Some("urn:shop:dev:order"));
    }

    #[test]
    fn times_out_of_range_are_refused() {
        let all = filter(EventsQuery::default()).unwrap();
        assert_eq!(all, (Limit::default(), EventFilter::default()));
        for since in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
            let refused = filter(EventsQuery { since: Some(since), ..EventsQuery::default() });
            assert_eq!(refused, Err("validation_failed"));
        }
    }

    #[test]
    fn only_our_own_cursors_are_taken() {
        let ask = |cursor: Cursor| {
            let query = EventsQuery { cursor: Some(cursor), ..EventsQuery::default() };
            filter(query).map(|(_, filter)| filter.before)
        };
        let good = ask(Cursor::behind_time(1_500_000_000_000_000, 7)).unwrap().unwrap();
        assert_eq!((good.received_at.timestamp(), good.seq), (1_500_000_000, 7));
        for bad in ["1", "1.", "1.0", "1.-5", "1.5.", "9223372036854775807.1"] {
            assert_eq!(ask(Cursor::behind(bad)), Err("invalid_cursor"), "{bad}");
        }
    }
}
