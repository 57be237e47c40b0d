//! The payment gateway's own books.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use reqwest::Client;
use sandbox::gateway::{Charge, ChargePage, ChargeStatus};
use uuid::Uuid;

const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The most that the gateway gives at once.
const PAGE: usize = 1_000;

/// The gateway.
#[derive(Debug, Clone)]
pub struct Gateway(Source);

/// Where its books are.
#[derive(Debug, Clone)]
enum Source {
    Api(String),
    Here(Ledger),
}

/// What the gateway holds of each order.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    accounts: HashMap<Uuid, Account>,
    /// Charges for what is no order of ours.
    pub(crate) foreign: Vec<String>,
}

/// What the gateway holds of an order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// Charges that were captured.
    pub captures: u32,
    /// What was captured and not given back, in minor units.
    pub net_minor: i64,
    /// What was captured in all, in minor units.
    pub captured_minor: i64,
    /// ISO 4217, of the captured charges.
    pub currency: Option<[u8; 3]>,
}

impl Gateway {
    /// The gateway at `base`.
    #[must_use]
    pub fn new(base: impl Into<String>) -> Self {
        Self(Source::Api(base.into()))
    }

    /// One with these charges and no others.
    pub fn with<'a>(charges: impl IntoIterator<Item = &'a Charge>) -> Self {
        let mut ledger = Ledger::default();
        charges.into_iter().for_each(|charge| ledger.enter(charge));
        Self(Source::Here(ledger))
    }

    /// Reads the whole ledger, page by page.
    pub(crate) async fn ledger(&self) -> anyhow::Result<Ledger> {
        let base = match &self.0 {
            Source::Api(base) => base,
            Source::Here(ledger) => return Ok(ledger.clone()),
        };
        let client = Client::builder().no_proxy().timeout(ANSWER_WITHIN).build()?;
        let mut ledger = Ledger::default();
        let mut cursor: Option<String> = None;
        loop {
            let mut path = format!("{base}/charges?limit={PAGE}");
            if let Some(cursor) = &cursor {
                path += &format!("&cursor={cursor}");
            }
            let asked = || format!("the gateway at {base} does not answer");
            let answer = client.get(&path).send().await.with_context(asked)?;
            ensure!(answer.status().is_success(), "the gateway answers {}", answer.status());
            let body = answer.bytes().await.with_context(asked)?;
            let page: ChargePage =
                serde_json::from_slice(&body).context("what the gateway answers")?;
            page.charges.iter().for_each(|charge| ledger.enter(charge));
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(ledger);
            }
        }
    }
}

impl Ledger {
    fn enter(&mut self, charge: &Charge) {
        let Ok(order_id) = Uuid::parse_str(&charge.order_id) else {
            self.foreign.push(charge.order_id.clone());
            return;
        };
        if charge.status != ChargeStatus::Captured {
            return;
        }
        let account = self.accounts.entry(order_id).or_default();
        account.captures += 1;
        account.net_minor = account.net_minor.saturating_add(charge.net_minor());
        account.captured_minor = account.captured_minor.saturating_add(charge.amount_minor);
        account.currency = charge.currency.as_bytes().try_into().ok();
    }

    /// What the gateway holds of an order; nothing where it was never charged.
    #[must_use]
    pub fn account(&self, order_id: Uuid) -> Account {
        self.accounts.get(&order_id).copied().unwrap_or_default()
    }

    /// Every order that money was captured of.
    pub(crate) fn orders(&self) -> impl Iterator<Item = Uuid> {
        self.accounts.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn charge(order_id: &str, status: ChargeStatus, refunded_minor: i64) -> Charge {
        Charge {
            charge_id: "ch_1".into(),
            order_id: order_id.into(),
            status,
            amount_minor: 500,
            currency: "GBP".into(),
            payment_method: "pm_ok".into(),
            decline_reason: None,
            refunded_minor,
            created_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn an_account_is_what_was_taken_less_what_was_given_back() {
        let order = Uuid::from_u64_pair(1, 2);
        let mut ledger = Ledger::default();
        ledger.enter(&charge(&order.to_string(), ChargeStatus::Declined, 0));
        assert_eq!(ledger.account(order), Account::default());
        ledger.enter(&charge(&order.to_string(), ChargeStatus::Captured, 200));
        ledger.enter(&charge("somebody else's", ChargeStatus::Captured, 0));
        let account = ledger.account(order);
        assert_eq!((account.captures, account.net_minor, account.captured_minor), (1, 300, 500));
        assert_eq!(ledger.foreign, ["somebody else's"]);
    }
}
