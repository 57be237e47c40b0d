//! The ledger's content in memory, and what finds it.

use std::collections::HashMap;

use super::model::{Answer, Charge, Entry, Refund, Stored};

/// How often `pm_flaky` fails before it works.
const FLAKY_FAILURES: u32 = 2;

#[derive(Debug, Default)]
pub(super) struct Book {
    charges: Shelf<Charge>,
    refunds: Shelf<Refund>,
    charge_at: HashMap<String, usize>,
    /// Failed attempts of `pm_flaky` by idempotency key. Only in memory: nothing was stored.
    flaky: HashMap<String, u32>,
}

#[derive(Debug)]
struct Shelf<T> {
    records: Vec<T>,
    by_order: HashMap<String, Vec<usize>>,
    by_key: HashMap<String, Place>,
}

#[derive(Debug)]
struct Place {
    at: usize,
    answer: Answer,
    sequence: u64,
}

/// What an idempotency key has already led to.
#[derive(Debug)]
pub(super) struct Known<'a, T> {
    pub(super) record: &'a T,
    pub(super) answer: Answer,
    /// What must be on the disk before the answer is sent again.
    pub(super) sequence: u64,
}

/// A line that contradicts the lines before it.
#[derive(Debug)]
pub(super) struct Contradiction;

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { records: Vec::new(), by_order: HashMap::new(), by_key: HashMap::new() }
    }
}

impl<T: Clone> Shelf<T> {
    fn put(&mut self, stored: Stored<T>, order_id: String, sequence: u64) {
        let at = self.records.len();
        let answer = Answer { status: stored.status, body: stored.answer.get().into() };
        self.by_order.entry(order_id).or_default().push(at);
        self.by_key.insert(stored.key, Place { at, answer, sequence });
        self.records.push(stored.record);
    }

    fn of_order(&self, order_id: &str) -> Vec<T> {
        let places = self.by_order.get(order_id).map(Vec::as_slice).unwrap_or_default();
        places.iter().map(|at| self.records[*at].clone()).collect()
    }

    fn known(&self, key: &str) -> Option<Known<'_, T>> {
        self.by_key.get(key).map(|place| Known {
            record: &self.records[place.at],
            answer: place.answer.clone(),
            sequence: place.sequence,
        })
    }
}

impl Book {
    /// Takes an entry in; `sequence` is 0 for what was on the disk already.
    pub(super) fn apply(&mut self, entry: Entry, sequence: u64) -> Result<(), Contradiction> {
        match entry {
            Entry::Charge(stored) => {
                let charge = &stored.record;
                let (id, order_id) = (charge.charge_id.clone(), charge.order_id.clone());
                let taken = self.charge_at.contains_key(&id);
                if taken || self.charges.by_key.contains_key(&stored.key) {
                    return Err(Contradiction);
                }
                self.flaky.remove(&stored.key);
                self.charge_at.insert(id, self.charges.records.len());
                self.charges.put(stored, order_id, sequence);
            }
            Entry::Refund(stored) => {
                let refund = &stored.record;
                let at = *self.charge_at.get(&refund.charge_id).ok_or(Contradiction)?;
                let charge = &mut self.charges.records[at];
                let too_much = refund.amount_minor > charge.net_minor();
                if too_much || self.refunds.by_key.contains_key(&stored.key) {
                    return Err(Contradiction);
                }
                charge.refunded_minor += refund.amount_minor;
                let order_id = refund.order_id.clone();
                self.refunds.put(stored, order_id, sequence);
            }
        }
        Ok(())
    }

    pub(super) fn charge_by_key(&self, key: &str) -> Option<Known<'_, Charge>> {
        self.charges.known(key)
    }

    pub(super) fn refund_by_key(&self, key: &str) -> Option<Known<'_, Refund>> {
        self.refunds.known(key)
    }

    pub(super) fn charge(&self, charge_id: &str) -> Option<&Charge> {
        self.charge_at.get(charge_id).map(|at| &self.charges.records[*at])
    }

    pub(super) fn charges_of(&self, order_id: &str) -> Vec<Charge> {
        self.charges.of_order(order_id)
    }

    pub(super) fn refunds_of(&self, order_id: &str) -> Vec<Refund> {
        self.refunds.of_order(order_id)
    }

    pub(super) fn charges(&self) -> &[Charge] {
        &self.charges.records
    }

    pub(super) fn refunds(&self) -> &[Refund] {
        &self.refunds.records
    }

    /// True for the first attempts with a key, which fail.
    pub(super) fn is_flaky(&mut self, key: &str) -> bool {
        let failures = self.flaky.entry(key.to_owned()).or_default();
        let fails = *failures < FLAKY_FAILURES;
        *failures += u32::from(fails);
        fails
    }
}
