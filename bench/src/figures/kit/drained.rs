//! Whether everything that left an outbox arrived, once, and each aggregate's events in their order.

use anyhow::{Context as _, ensure};
use uuid::Uuid;

use super::backlog::Fill;
use crate::raw::consume::Delivery;

/// What has to come, and what has come.
#[derive(Debug)]
pub(crate) struct Order {
    /// The row before the first.
    base: u64,
    rows: usize,
    /// By aggregate: the last version that came.
    last: Vec<u32>,
    came: usize,
}

impl Order {
    pub(crate) fn of(base: usize, fill: Fill) -> Self {
        let last = vec![0; fill.aggregates];
        Self { base: base as u64, rows: fill.rows, last, came: 0 }
    }

    /// How many have to come.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Takes note of the next message.
    ///
    /// # Errors
    /// When it is not the next of its aggregate.
    pub(crate) fn see(&mut self, delivery: &Delivery) -> anyhow::Result<()> {
        let id = delivery.properties.message_id().as_ref().context("a message without an id")?;
        self.see_id(id.as_str().parse()?)
    }

    fn see_id(&mut self, id: Uuid) -> anyhow::Result<()> {
        let (row, aggregate, version) = parts(id);
        ensure!(row.checked_sub(self.base).is_some_and(|n| n < self.rows as u64), "{id}: not ours");
        let last = self.last.get_mut(aggregate).with_context(|| format!("{id}: no aggregate"))?;
        ensure!(version == *last + 1, "aggregate {aggregate}: {version} came after {last}");
        *last = version;
        self.came += 1;
        Ok(())
    }

    /// # Errors
    /// When not all have come.
    pub(crate) fn is_whole(&self) -> anyhow::Result<()> {
        ensure!(self.came == self.rows, "{} of {} rows came", self.came, self.rows);
        Ok(())
    }
}

/// The row, the aggregate and the version that an id was made of.
fn parts(id: Uuid) -> (u64, usize, u32) {
    let bits = id.as_u128();
    let low = |shift: u32, width: u32| (bits >> shift) & ((1 << width) - 1);
    #[expect(clippy::cast_possible_truncation, reason = "48, 24 and 24 bits")]
    (low(80, 48) as u64, low(24, 24) as usize, low(0, 24) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(row: u64, aggregate: u64, version: u64) -> Uuid {
        format!("{row:012x}70008000{aggregate:06x}{version:06x}").parse().unwrap()
    }

    fn order() -> Order {
        Order::of(1_000, Fill { rows: 4, aggregates: 2, published: false })
    }

    #[test]
    fn all_versions_in_their_order_are_whole() {
        let mut order = order();
        for (row, aggregate, version) in
            [(1_000, 0, 1), (1_001, 1, 1), (1_002, 1, 2), (1_003, 0, 2)]
        {
            order.see_id(id(row, aggregate, version)).unwrap();
        }
        order.is_whole().unwrap();
    }

    #[test]
    fn a_missing_a_repeated_and_a_strange_row_are_found() {
        let mut gap = order();
        gap.see_id(id(1_000, 0, 1)).unwrap();
        assert!(gap.is_whole().is_err());
        assert!(gap.see_id(id(1_001, 0, 1)).is_err(), "the same version again");
        assert!(gap.see_id(id(1_002, 0, 3)).is_err(), "a gap");
        assert!(gap.see_id(id(1_004, 1, 1)).is_err(), "a row of another fill");
        assert!(gap.see_id(id(1_003, 2, 1)).is_err(), "an aggregate that there is not");
    }
}
