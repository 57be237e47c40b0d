//! Making a job of the letters that somebody wants replayed.

use envelope::Clock;
use sqlx::PgPool;

use super::{Asked, BUSY, DECIDED, Refused, Replay, Selection, USUAL_RATE, escaped};

/// Whoever replays the letters that the broker gave up on, once, without being asked.
const ITSELF: &str = "the kit";

/// A job to be made.
pub(in crate::dead_letter) struct Request<'a> {
    pub(super) selection: &'a Selection,
    pub(super) rate: i32,
    pub(super) asked: Asked<'a>,
    /// Those that have had no second chance, one by one.
    pub(super) second_chance: bool,
}

impl Request<'_> {
    pub(in crate::dead_letter) fn second_chance() -> Self {
        let note = "most of those that the broker gave up on only shared a process with the cause";
        let asked = Asked { by: ITSELF, note };
        Self { selection: &Selection::All, rate: USUAL_RATE, asked, second_chance: true }
    }
}

/// Makes a job of the letters that are selected, with one statement: whoever asks at the same time
/// waits for it at the first letter that both want, and finds it taken.
pub(in crate::dead_letter) async fn create(
    pg: &PgPool,
    clock: &Clock,
    request: &Request<'_>,
) -> Result<Option<Replay>, sqlx::Error> {
    let (ids, reason_code, event_type) = request.selection.parts();
    let job = clock.new_id();
    let rows = sqlx::query_file!(
        "src/dead_letter/repair/create.sql",
        ids,
        reason_code,
        event_type,
        event_type.map(escaped),
        request.second_chance,
        BUSY,
        DECIDED,
        job,
        request.asked.by,
        clock.now(),
        serde_json::json!(request.selection),
        request.asked.note,
        request.rate,
    )
    .fetch_all(pg)
    .await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let pending = rows.iter().filter(|row| row.reason.is_none()).count();
    let refused =
        rows.into_iter().filter_map(|row| Some(Refused { id: row.id, reason: row.reason? }));
    Ok(Some(Replay { job, pending, refused: refused.collect() }))
}

/// Whether another job was faster at one of the letters.
pub(super) fn is_taken(error: &sqlx::Error) -> bool {
    let constraint = error.as_database_error().and_then(|refusal| refusal.constraint());
    constraint == Some("replay_letter_once")
}
