//! Misbehaviour on demand.

use std::sync::{Arc, Mutex, PoisonError};

/// What goes wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// Every recipient is refused for now: `450 4.2.1`.
    RefuseTemporarily,
    /// Every recipient is refused for good: `550 5.1.1`.
    RefusePermanently,
    /// The mail is stored, but the connection is closed after the final dot and before the `250`:
    /// the sender cannot know (RFC 1047).
    CutAfterStoring,
    /// The same seen from the sender, but nothing was stored.
    CutBeforeStoring,
}

/// Turns a [`Fault`] on and off while the server runs. Clones share one switch.
#[derive(Clone, Debug, Default)]
pub struct FaultSwitch {
    current: Arc<Mutex<Option<Current>>>,
}

#[derive(Clone, Copy, Debug)]
struct Current {
    fault: Fault,
    /// None: until it is changed.
    times: Option<u32>,
}

impl FaultSwitch {
    /// Goes wrong from now on, until it is cleared.
    pub fn set(&self, fault: Fault) {
        self.replace(Some(Current { fault, times: None }));
    }

    /// Goes wrong the next `times` times (recipients for a refusal, mails for a cut), then no more.
    pub fn set_next(&self, fault: Fault, times: u32) {
        self.replace((times > 0).then_some(Current { fault, times: Some(times) }));
    }

    /// Works well again.
    pub fn clear(&self) {
        self.replace(None);
    }

    /// How many more times it goes wrong by [`set_next`](Self::set_next); none when it does not, or
    /// does until it is changed.
    #[must_use]
    pub fn left(&self) -> Option<u32> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).and_then(|one| one.times)
    }

    /// The fault that is on.
    #[must_use]
    pub fn current(&self) -> Option<Fault> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).map(|current| current.fault)
    }

    /// The reply for a recipient who is refused.
    pub(super) fn at_recipient(&self) -> Option<&'static str> {
        match self.strike(|f| matches!(f, Fault::RefuseTemporarily | Fault::RefusePermanently))? {
            Fault::RefuseTemporarily => Some("450 4.2.1 mailbox busy, try again later"),
            _ => Some("550 5.1.1 no such mailbox"),
        }
    }

    /// Whether to cut the connection at the final dot, and how.
    pub(super) fn at_dot(&self) -> Option<Fault> {
        self.strike(|f| matches!(f, Fault::CutAfterStoring | Fault::CutBeforeStoring))
    }

    fn strike(&self, applies: impl Fn(Fault) -> bool) -> Option<Fault> {
        let mut slot = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let current = slot.filter(|current| applies(current.fault))?;
        *slot = match current.times {
            None => Some(current),
            Some(1) => None,
            Some(times) => Some(Current { times: Some(times - 1), ..current }),
        };
        Some(current.fault)
    }

    fn replace(&self, current: Option<Current>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = current;
    }
}
