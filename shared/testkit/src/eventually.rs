//! Waiting for a condition, never for a time.

use std::fmt::Display;
use std::future::Future;
use std::panic::Location;
use std::time::{Duration, Instant};

/// The first wait between two looks; each is half as long again as the one before.
const FIRST_WAIT: Duration = Duration::from_millis(2);
/// The longest wait between two looks.
const LONGEST_WAIT: Duration = Duration::from_millis(50);

/// What one look at the world gives: the value that was waited for, or what was seen instead.
pub trait Observation {
    /// What [`eventually`] gives back.
    type Value;

    /// The value, or what was seen instead of it.
    ///
    /// # Errors
    /// When the condition does not hold yet.
    fn seen(self) -> Result<Self::Value, String>;
}

impl<T, E: Display> Observation for Result<T, E> {
    type Value = T;

    fn seen(self) -> Result<T, String> {
        self.map_err(|error| error.to_string())
    }
}

impl<T> Observation for Option<T> {
    type Value = T;

    fn seen(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing".to_owned())
    }
}

impl Observation for bool {
    type Value = ();

    fn seen(self) -> Result<(), String> {
        if self { Ok(()) } else { Err("false".to_owned()) }
    }
}

/// Looks again and again until the condition holds, and gives its value.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # use std::{cell::Cell, time::Duration};
/// let looks = Cell::new(0);
/// let third = testkit::eventually(Duration::from_secs(5), || async {
///     looks.set(looks.get() + 1);
///     if looks.get() == 3 { Ok("third") } else { Err(format!("look {}", looks.get())) }
/// });
/// assert_eq!(third.await, "third");
/// # }
/// ```
///
/// # Panics
/// When it does not hold `within` that time: with the caller's place and the last observation. A look
/// that hangs is cut off then, too.
#[track_caller]
pub fn eventually<F, Fut, O>(within: Duration, look: F) -> impl Future<Output = O::Value>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = O>,
    O: Observation,
{
    observe(within, look, Location::caller())
}

async fn observe<F, Fut, O>(
    within: Duration,
    mut look: F,
    caller: &'static Location<'static>,
) -> O::Value
where
    F: FnMut() -> Fut,
    Fut: Future<Output = O>,
    O: Observation,
{
    let deadline = Instant::now() + within;
    let mut last = "no look came to an end".to_owned();
    let mut wait = FIRST_WAIT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, look()).await.map(Observation::seen) {
            Ok(Ok(value)) => return value,
            Ok(Err(seen)) => last = seen,
            Err(_) => last.push_str(" (a later look hung)"),
        }
        if Instant::now() + wait >= deadline {
            panic!("not within {within:?}, waited for at {caller}; last seen: {last}");
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 3 / 2).min(LONGEST_WAIT);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn the_value_of_the_first_look_that_succeeds_is_returned() {
        let looks = Cell::new(0);
        let value = eventually(Duration::from_secs(5), || async {
            looks.set(looks.get() + 1);
            (looks.get() == 3).then_some("there")
        });
        assert_eq!((value.await, looks.get()), ("there", 3));
    }

    #[tokio::test]
    async fn the_last_observation_and_the_callers_place_are_reported() {
        let waiting = tokio::spawn(async {
            let mut looks = 0;
            eventually(Duration::from_millis(30), || {
                looks += 1;
                let seen = format!("{looks} of 1000 rows");
                async { Err::<(), _>(seen) }
            })
            .await;
        });
        let message = panic_message(waiting.await.unwrap_err());
        assert!(message.contains(file!()), "{message}");
        assert!(message.contains(" of 1000 rows"), "{message}");
        assert!(!message.contains("last seen: 1 of"), "{message}");
    }

    #[tokio::test]
    async fn a_look_that_hangs_is_cut_off_at_the_deadline() {
        let waiting =
            tokio::spawn(eventually(Duration::from_millis(30), std::future::pending::<bool>));
        let message = panic_message(waiting.await.unwrap_err());
        assert!(message.contains("a later look hung"), "{message}");
    }

    fn panic_message(error: tokio::task::JoinError) -> String {
        *error.into_panic().downcast::<String>().unwrap()
    }
}
