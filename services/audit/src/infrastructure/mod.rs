//! All SQL of the service.

mod chain;
mod feed;
mod log;
mod queries;

pub use chain::StoredChain;
pub use queries::Queries;

use messaging::Tx;

/// The service's stores, on one transaction.
pub struct Store<'a>(pub &'a mut Tx);
