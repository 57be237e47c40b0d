//! How much more the outbox takes: while the broker is away events pile up in the database, and there
//! has to be an end to that. Requests are refused then; what is under way already goes on.

use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use crate::outbox;

/// Events that may wait when nothing else is said.
const USUALLY: i64 = 100_000;
/// Other processes fill the outbox, too, and relays empty it: a count is good for this long.
const FRESH: TimeDelta = TimeDelta::seconds(1);

/// What is left of the outbox by the last count.
#[derive(Debug)]
pub(crate) struct Room(Mutex<State>);

#[derive(Debug, Clone, Copy)]
struct State {
    cap: i64,
    /// Events that still fit, less those that were written since.
    left: i64,
    /// When it was counted; none before the first time.
    counted_at: Option<DateTime<Utc>>,
}

enum Verdict {
    Enough,
    Full,
    Count,
}

impl Default for Room {
    fn default() -> Self {
        Self(Mutex::new(State { cap: USUALLY, left: 0, counted_at: None }))
    }
}

impl Room {
    pub(crate) fn set_cap(&self, cap: u32) {
        *self.state() = State { cap: cap.into(), left: 0, counted_at: None };
    }

    /// Takes room for `events` more, and counts on `conn` where the last count does not say enough.
    /// False when they do not fit.
    pub(crate) async fn take(
        &self,
        conn: &mut PgConnection,
        events: usize,
        now: DateTime<Utc>,
    ) -> Result<bool, sqlx::Error> {
        let events = i64::try_from(events).unwrap_or(i64::MAX);
        let cap = match self.state().verdict(events, now) {
            (Verdict::Enough, _) => return Ok(true),
            (Verdict::Full, _) => return Ok(false),
            (Verdict::Count, cap) => cap,
        };
        let pending = outbox::count_to(conn, cap).await?;
        let mut state = self.state();
        state.left = cap - pending;
        state.counted_at = Some(now);
        let fits = state.left >= events;
        if fits {
            state.left -= events;
        } else {
            // Whatever is left is too little; nobody else counts for a while.
            state.left = 0;
            metrics::counter!("outbox_full_total").increment(1);
        }
        Ok(fits)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn verdict(&mut self, events: i64, now: DateTime<Utc>) -> (Verdict, i64) {
        let fresh =
            self.counted_at.is_some_and(|at| (TimeDelta::zero()..FRESH).contains(&(now - at)));
        let verdict = match fresh {
            true if self.left >= events => {
                self.left -= events;
                Verdict::Enough
            }
            true if self.left == 0 => Verdict::Full,
            _ => {
                // One counts; until it has, the others go by the old count.
                self.counted_at = self.counted_at.map(|_| now);
                Verdict::Count
            }
        };
        (verdict, self.cap)
    }
}
