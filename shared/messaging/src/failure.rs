//! From an error to a decision: wait for the database, try again at once, climb the ladder, park.

use crate::handler::HandlerError;
use crate::reason::Code;

/// Why handling a message, or the chunk it was in, did not come to a commit.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The database is away: nobody's fault, nobody's attempt.
    Away(String),
    /// All connections are in use, by others of this process: nobody's attempt either.
    Crowded(String),
    /// The handler says that what it needs is away: nobody's attempt either.
    Unavailable(String),
    /// Not done in time: the database may be frozen, or the handler hangs.
    Overdue(String),
    /// Lost a race (serialization, deadlock, lock wait): worth another try at once.
    Blip(String),
    /// May pass later.
    Transient(Code, String),
    /// Will never pass.
    Permanent(Code, String),
}

impl Trouble {
    /// For metrics and spans.
    pub(crate) fn class(&self) -> &'static str {
        match self {
            Self::Away(_) => "away",
            Self::Crowded(_) => "crowded",
            Self::Unavailable(_) => "unavailable",
            Self::Overdue(_) => "overdue",
            Self::Blip(_) => "blip",
            Self::Transient(..) => "transient",
            Self::Permanent(..) => "permanent",
        }
    }

    pub(crate) fn why(&self) -> &str {
        match self {
            Self::Away(why)
            | Self::Crowded(why)
            | Self::Unavailable(why)
            | Self::Overdue(why)
            | Self::Blip(why)
            | Self::Transient(_, why)
            | Self::Permanent(_, why) => why,
        }
    }
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        let why = chain(&error);
        match &error {
            sqlx::Error::PoolTimedOut => Self::Crowded(why),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Away(why),
            sqlx::Error::Database(db) => match db.code().as_deref() {
                // serialization_failure, deadlock_detected, lock_not_available.
                Some("40001" | "40P01" | "55P03") => Self::Blip(why),
                // query_canceled: our own statement took too long, not the server's fault.
                Some("57014") => Self::Transient(Code::RetriesExhausted, why),
                // Connection exceptions, operator intervention, insufficient resources: the server
                // is going down, coming up, full.
                Some(code) if ["08", "57", "53"].iter().any(|class| code.starts_with(class)) => {
                    Self::Away(why)
                }
                // Data exceptions: these bytes will never fit.
                Some(code) if code.starts_with("22") => Self::Permanent(Code::Rejected, why),
                _ => Self::Transient(Code::RetriesExhausted, why),
            },
            _ => Self::Transient(Code::RetriesExhausted, why),
        }
    }
}

impl From<HandlerError> for Trouble {
    fn from(error: HandlerError) -> Self {
        match error {
            HandlerError::Transient(cause) => {
                Self::Transient(Code::RetriesExhausted, format!("{cause:#}"))
            }
            HandlerError::UnknownAggregate => {
                Self::Transient(Code::UnknownAggregate, "aggregate is not known here".into())
            }
            HandlerError::Unavailable(cause) => Self::Unavailable(format!("{cause:#}")),
            HandlerError::Permanent(cause) => Self::Permanent(Code::Rejected, format!("{cause:#}")),
            HandlerError::Database(error) => error.into(),
        }
    }
}

impl From<crate::tx::TxError> for Trouble {
    fn from(error: crate::tx::TxError) -> Self {
        HandlerError::from(error).into()
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_is_away_is_nobodys_failed_attempt() {
        let gone = sqlx::Error::Io(std::io::Error::other("gone"));
        assert!(matches!(Trouble::from(gone), Trouble::Away(_)));
        assert!(matches!(Trouble::from(sqlx::Error::PoolTimedOut), Trouble::Crowded(_)));
        assert!(matches!(Trouble::from(sqlx::Error::RowNotFound), Trouble::Transient(..)));
    }

    #[test]
    fn a_handlers_verdict_decides_the_class() {
        let transient = HandlerError::Transient(anyhow::anyhow!("later"));
        let permanent = HandlerError::Permanent(anyhow::anyhow!("never"));
        let unavailable = HandlerError::Unavailable(anyhow::anyhow!("no gas"));
        assert!(matches!(Trouble::from(transient), Trouble::Transient(..)));
        assert!(matches!(Trouble::from(permanent), Trouble::Permanent(Code::Rejected, _)));
        assert!(matches!(Trouble::from(unavailable), Trouble::Unavailable(why) if why == "no gas"));
        assert!(matches!(
            Trouble::from(HandlerError::UnknownAggregate),
            Trouble::Transient(Code::UnknownAggregate, _)
        ));
    }
}
