//! One invariant each: `ID`, `STATEMENT`, and `check`, which counts what it looked at and what
//! breaks the statement.

pub(super) mod acknowledgement;
pub(super) mod audit;
pub(super) mod cancellation;
pub(super) mod conservation;
pub(super) mod delivery;
mod effects;
pub(super) mod ghosts;
pub(super) mod history;
pub(super) mod money;
pub(super) mod outbox_atomicity;
pub(super) mod publication;
pub(super) mod queues;
pub(super) mod reservations;
pub(super) mod stock_bounds;
pub(super) mod termination;
