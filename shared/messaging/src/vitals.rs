//! Whether the parts of the kit can do their work, for health checks; tells of each change once.

use std::sync::{Arc, Mutex, PoisonError};

use metrics::gauge;

/// The parts that need the outside world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Relay,
    Consumer,
    /// Reported only: dead letters that wait in their queue are safe there, and keep no service from
    /// its work.
    Parker,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Consumer => "consumer",
            Self::Parker => "parker",
        }
    }
}

/// What holds the kit up, if anything does: what relay and consumer found when they last needed
/// broker and database, so that asking costs nothing. Cheap to clone; clones share it.
#[derive(Debug, Clone)]
pub struct Vitals {
    ills: Arc<Mutex<[Option<String>; 3]>>,
    consumes: bool,
}

impl Vitals {
    /// `consumes` is false where nothing is consumed.
    pub(crate) fn new(consumes: bool) -> Self {
        let unknown = || Some("not connected yet".to_owned());
        Self { ills: Arc::new(Mutex::new([unknown(), unknown(), None])), consumes }
    }

    pub(crate) fn well(&self, part: Part) {
        self.set(part, None);
    }

    pub(crate) fn ill(&self, part: Part, why: String) {
        self.set(part, Some(why));
    }

    fn set(&self, part: Part, now: Option<String>) {
        let mut all = self.ills.lock().unwrap_or_else(PoisonError::into_inner);
        let before = &mut all[part as usize];
        gauge!("messaging_up", "part" => part.name()).set(f64::from(u8::from(now.is_none())));
        match (before.is_some(), &now) {
            (false, Some(why)) => tracing::warn!(part = part.name(), why, "messaging is held up"),
            (true, None) => tracing::info!(part = part.name(), "messaging is up"),
            _ => {}
        }
        *before = now;
    }

    /// Whether relay and consumer can work, for health checks.
    ///
    /// # Errors
    /// What holds them up.
    pub fn check(&self) -> Result<(), String> {
        let all = self.ills.lock().unwrap_or_else(PoisonError::into_inner);
        let parts: &[Part] =
            if self.consumes { &[Part::Relay, Part::Consumer] } else { &[Part::Relay] };
        for part in parts {
            if let Some(why) = &all[*part as usize] {
                return Err(format!("{}: {why}", part.name()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_kit_is_well_when_each_part_that_runs_is() {
        let vitals = Vitals::new(true);
        assert!(vitals.check().unwrap_err().contains("not connected yet"));
        vitals.well(Part::Relay);
        assert!(vitals.check().unwrap_err().starts_with("consumer"));
        vitals.well(Part::Consumer);
        assert!(vitals.check().is_ok());
        vitals.ill(Part::Relay, "gone".into());
        assert_eq!(vitals.check().unwrap_err(), "relay: gone");
        let publisher = Vitals::new(false);
        publisher.well(Part::Relay);
        assert!(publisher.check().is_ok());
        vitals.well(Part::Relay);
        vitals.ill(Part::Parker, "no queue".into());
        assert!(vitals.check().is_ok(), "a parker keeps nobody from work");
    }
}
