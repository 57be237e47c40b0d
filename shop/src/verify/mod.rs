//! The invariants of the whole shop, checked over all its databases, its broker and the payment
//! gateway's ledger.
//!
//! Each check is one function that reads and counts; none changes anything. They hold at rest: let
//! [`settle`] wait until nothing is under way, then ask [`check`].
//!
//! ```no_run
//! # async fn example(world: shop::verify::World) -> anyhow::Result<()> {
//! let within = std::time::Duration::from_secs(30);
//! if let Some(busy) = shop::verify::settle(&world, within).await? {
//!     eprintln!("not at rest: {busy}");
//! }
//! for verdict in shop::verify::check(&world).await? {
//!     assert_eq!(verdict.findings.violations, 0, "{verdict:?}");
//! }
//! # Ok(())
//! # }
//! ```

mod accounting;
mod broker;
mod checks;
mod findings;
mod ledger;
mod merge;
mod settle;
mod tables;
mod world;

use anyhow::Context as _;
use serde::Serialize;

pub use broker::Broker;
pub(crate) use broker::Depths;
pub use findings::{Coverage, Findings};
pub use ledger::{Account, Gateway, Ledger};
pub use settle::settle;
pub use world::{Bindings, Databases, Service, World};

/// What came of one invariant.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// `I1` to `I18`.
    pub id: &'static str,
    /// What is to hold.
    pub statement: &'static str,
    /// What was found.
    #[serde(flatten)]
    pub findings: Findings,
}

/// Checks every invariant, in order.
///
/// # Errors
/// When a database cannot be read. Broker and gateway may be away: what needs them says so.
pub async fn check(world: &World) -> anyhow::Result<Vec<Verdict>> {
    let facts = Facts::gather(world).await;
    let mut verdicts = Vec::new();
    macro_rules! verdict {
        ($($module:ident($($argument:expr),*);)+) => {$(
            let findings = checks::$module::check($($argument),*).await;
            let (id, statement) = (checks::$module::ID, checks::$module::STATEMENT);
            let findings = findings.with_context(|| format!("cannot check {id} ({statement})"))?;
            verdicts.push(Verdict { id, statement, findings });
        )+};
    }
    verdict! {
        outbox_atomicity(world);
        delivery(world);
        ghosts(world);
        acknowledgement();
        publication(world);
        stock_bounds(world);
        reservations(world);
        conservation(world);
        money(world, &facts);
        termination(world, &facts);
        cancellation(world, &facts);
        history(world);
        queues(world, &facts);
        audit(world);
    }
    Ok(verdicts)
}

/// What several checks need of the outside, read once.
pub(crate) struct Facts {
    /// The gateway's ledger, or why there is none.
    pub(crate) ledger: Result<Ledger, String>,
    /// What the broker's queues hold, or why nobody knows.
    pub(crate) queues: Result<broker::Queues, String>,
}

impl Facts {
    async fn gather(world: &World) -> Self {
        let (ledger, queues) = tokio::join!(world.gateway.ledger(), world.broker.queues());
        let told = |error: anyhow::Error| format!("{error:#}");
        Self { ledger: ledger.map_err(told), queues: queues.map_err(told) }
    }
}
