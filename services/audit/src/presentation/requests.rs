//! What clients send, checked before anything is decided.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chassis::problem::{FieldErrors, Problem, code};
use chrono::{DateTime, Utc};
use envelope::Identity;
use serde::Deserialize;

use crate::application::views::{EventFilter, EventView, Place};

const MAX_PAGE: u16 = 200;
const USUAL_PAGE: u16 = 50;

/// The query of `GET /events`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    r#type: Option<String>,
    source: Option<String>,
    since: Option<DateTime<Utc>>,
    limit: Option<u16>,
    cursor: Option<String>,
}

impl EventsQuery {
    /// How many, and which. Types and sources may be given in full or as the system's own short
    /// names (`order.placed.v1`, `order`).
    ///
    /// # Errors
    /// `422 validation_failed` for a limit out of range, `400 invalid_cursor`.
    pub(super) fn into_filter(self, system: &Identity) -> Result<(u16, EventFilter), Problem> {
        let limit = self.limit.unwrap_or(USUAL_PAGE);
        let mut faults = FieldErrors::default();
        faults.check((1..=MAX_PAGE).contains(&limit), "/limit", code::RANGE);
        // Beyond these years Postgres has no times.
        let since = self.since.map(|since| since.timestamp());
        let reasonable = since.is_none_or(|since| (0..=253_402_300_799).contains(&since));
        faults.check(reasonable, "/since", code::RANGE);
        faults.into_result(())?;
        let before = self.cursor.map(|cursor| place(&cursor).ok_or_else(Problem::invalid_cursor));
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
            before: before.transpose()?,
        };
        Ok((limit, filter))
    }
}

/// The cursor of the page behind `event`.
pub(super) fn cursor_behind(event: &EventView) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}.{}", event.received_at.timestamp_micros(), event.seq))
}

fn place(cursor: &str) -> Option<Place> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (micros, seq) = std::str::from_utf8(&bytes).ok()?.split_once('.')?;
    let micros: i64 = micros.parse().ok().filter(|micros| *micros >= 0)?;
    let seq = seq.parse().ok().filter(|seq| *seq > 0)?;
    Some(Place { received_at: DateTime::from_timestamp_micros(micros)?, seq })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn filter(query: EventsQuery) -> Result<(u16, EventFilter), &'static str> {
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
    fn limits_and_times_out_of_range_are_refused() {
        assert_eq!(filter(EventsQuery::default()).unwrap(), (50, EventFilter::default()));
        for limit in [Some(0), Some(201)] {
            let refused = filter(EventsQuery { limit, ..EventsQuery::default() });
            assert_eq!(refused, Err("validation_failed"));
        }
        for since in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
            let refused = filter(EventsQuery { since: Some(since), ..EventsQuery::default() });
            assert_eq!(refused, Err("validation_failed"));
        }
    }

    #[test]
    fn only_our_own_cursors_are_taken() {
        let ask = |cursor: &str| {
            let cursor = Some(cursor.to_owned());
            filter(EventsQuery { cursor, ..EventsQuery::default() })
                .map(|(_, filter)| filter.before)
        };
        let good = ask(&URL_SAFE_NO_PAD.encode("1500000000000000.7")).unwrap().unwrap();
        assert_eq!((good.received_at.timestamp(), good.seq), (1_500_000_000, 7));
        for bad in
            ["1", "1.", ".1", "1.0", "-1.5", "1.-5", "1.5.", "9223372036854775807.1", "\u{e9}"]
        {
            assert_eq!(ask(&URL_SAFE_NO_PAD.encode(bad)), Err("invalid_cursor"), "{bad}");
        }
        assert_eq!(ask("!"), Err("invalid_cursor"));
    }
}
