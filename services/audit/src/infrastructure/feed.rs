//! The log as a sequence to follow: its numbers have no gap, and the end of the chain is locked while an
//! entry is added, so that none becomes visible behind a later one.

use feed::Changes;

use super::Queries;
use crate::application::views::EventView;

impl Queries {
    /// Replicas tell each other of new entries on this channel.
    pub const CHANNEL: &str = "audit_log";
}

impl Changes for Queries {
    type Change = EventView;

    fn number(entry: &EventView) -> i64 {
        entry.seq
    }

    async fn last(&self) -> anyhow::Result<i64> {
        Ok(Queries::last(self).await?)
    }

    async fn after(&self, after: i64, limit: i64) -> anyhow::Result<Vec<EventView>> {
        Ok(Queries::after(self, after, limit).await?)
    }
}
