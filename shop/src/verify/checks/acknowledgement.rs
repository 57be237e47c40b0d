//! I4: effects first, then the acknowledgement.

use super::super::findings::{Coverage, Findings};

pub(crate) const ID: &str = "I4";
pub(crate) const STATEMENT: &str = "no delivery is acknowledged before its effects are committed";

pub(crate) async fn check() -> anyhow::Result<Findings> {
    let coverage = Coverage::Partial(
        "stored state does not show when an acknowledgement was sent; that none came too early \
         shows as nothing lost in I2",
    );
    Ok(Findings { coverage, ..Findings::new() })
}
