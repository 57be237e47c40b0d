//! What is told in the house.

use envelope::{Event, Subject};
use serde::{Deserialize, Serialize};

/// How the ledger takes a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Mood {
    #[default]
    Good,
    /// Fails, and may not the next time.
    Transient,
    /// Is refused by the ledger's own rules, which is no error.
    Refused,
    /// Needs what may be away.
    Needy,
    /// Its lamp is not known.
    Stranger,
    /// Fails for ever.
    Permanent,
    Panic,
    /// Does not come to an end.
    Hang,
    /// Has a statement that the database takes too long for.
    SlowQuery,
    /// Has a statement that takes longer than the handler may.
    LongQuery,
    /// Takes no notice of an error of the database, which has ended the transaction.
    Careless,
    /// Ends the database session that it is handled in.
    EndSession,
    /// Writes what the database does not take.
    BadData,
}

/// A lamp was lit; `n` is its version.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Lit {
    pub lamp: String,
    pub n: u32,
    #[serde(default)]
    pub mood: Mood,
}

impl Event for Lit {
    const TYPE: &'static str = "lamp.lit.v1";

    fn subject(&self) -> Subject {
        Subject::new("lamp", &self.lamp)
    }
}

impl Lit {
    pub fn new(lamp: impl Into<String>, n: u32) -> Self {
        Self { lamp: lamp.into(), n, mood: Mood::Good }
    }

    pub fn with(lamp: impl Into<String>, mood: Mood) -> Self {
        Self { lamp: lamp.into(), n: 1, mood }
    }
}

/// A lamp was dimmed. Nobody listens unless a test makes somebody.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Dimmed {
    pub lamp: String,
    pub n: u32,
}

impl Event for Dimmed {
    const TYPE: &'static str = "lamp.dimmed.v1";

    fn subject(&self) -> Subject {
        Subject::new("lamp", &self.lamp)
    }
}

/// The ledger has an entry more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Booked {
    pub lamp: String,
    pub n: u32,
}

impl Event for Booked {
    const TYPE: &'static str = "ledger.booked.v1";

    fn subject(&self) -> Subject {
        Subject::new("entry", format!("{}/{}", self.lamp, self.n))
    }
}

/// The ledger does not book that.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Declined {
    pub lamp: String,
}

impl Event for Declined {
    const TYPE: &'static str = "ledger.declined.v1";

    fn subject(&self) -> Subject {
        Subject::new("refusal", &self.lamp)
    }
}
