//! The ports in memory: the one payment, as Postgres keeps it, and the gateway, as its keys make it.

use std::collections::{HashSet, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use chrono::{DateTime, Utc};
use payment::application::ports::{Attempt, Gateway, GatewayError, Outcome, Payments, StoreError};
use payment::domain::payment::{Effort, Payment, PaymentEvent, Stored, Wish};
use uuid::Uuid;

/// The payment of the one order there is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Memory {
    pub payment: Option<Payment>,
    pub told: Vec<(u32, PaymentEvent)>,
    /// The holder of the lease died, or hangs for longer than it holds: whoever comes may take it.
    pub abandoned: bool,
    /// What another transaction stores as soon as this one has looked for the payment in vain.
    pub meanwhile: Option<Payment>,
}

impl Memory {
    pub fn stored(&self) -> Option<&Stored> {
        self.payment.as_ref().map(Payment::stored)
    }

    /// As `Leases::take` does it: what is due and free is ours, counts as begun, and is in doubt from
    /// now on. What is wished for follows from the columns.
    pub fn take(&mut self, now: DateTime<Utc>) -> Option<Attempt> {
        let mut stored = self.stored()?.clone();
        let due = stored.effort.due_at.is_some_and(|due_at| due_at <= now);
        if !due || (stored.effort.under_way && !self.abandoned) {
            return None;
        }
        self.abandoned = false;
        let wish = match (&stored.charge_id, &stored.payment_method) {
            (Some(charge_id), _) => Wish::Refund { charge_id: charge_id.clone() },
            (None, Some(method)) => Wish::Charge { payment_method: method.clone() },
            (None, None) => panic!("due, and nothing to ask for"),
        };
        let Effort { attempts, in_doubt, .. } = stored.effort;
        let number = attempts + 1;
        let Stored { order_id, ref amount, .. } = stored;
        let attempt = Attempt { order_id, amount: amount.clone(), wish, number, in_doubt };
        stored.effort =
            Effort { attempts: number, in_doubt: true, under_way: true, ..stored.effort };
        self.payment = Some(Payment::load(stored));
        Some(attempt)
    }
}

/// The payment of one order.
impl Payments for Memory {
    async fn find_all(&mut self, _: &[Uuid]) -> Result<Vec<Payment>, StoreError> {
        let found = self.payment.clone();
        if found.is_none() {
            self.payment = self.meanwhile.take();
        }
        Ok(found.into_iter().collect())
    }

    async fn add_all(&mut self, payments: Vec<Payment>) -> Result<HashSet<Uuid>, StoreError> {
        let mut added = HashSet::new();
        for payment in payments {
            if self.payment.is_none() {
                added.insert(payment.stored().order_id);
                self.payment = Some(payment);
            }
        }
        Ok(added)
    }

    async fn save_all(&mut self, payments: Vec<Payment>) -> Result<(), StoreError> {
        for mut payment in payments {
            self.told.extend(payment.take_events());
            self.abandoned &= payment.stored().effort.under_way;
            self.payment = Some(payment);
        }
        Ok(())
    }
}

/// What becomes of one call to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Nothing was sent.
    NoConnection,
    Answered,
    /// It was done, and the answer was lost.
    ReplyLost,
    /// It never came there.
    RequestLost,
    /// Its caller gave up; it is still on its way.
    Late,
    /// The gateway will not have it now. Charges are not refused like this.
    Refused,
}

/// What the gateway knows of the order: by its keys there is one charge and one refund.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Whether the charge, if there is one, took the money.
    pub charge: Option<bool>,
    pub refunds: usize,
    /// Calls whose callers have given up, and which may come in yet.
    pub late: Vec<Wish>,
    /// What becomes of the next calls; afterwards, all are answered.
    pub calls: VecDeque<Call>,
    /// Whether the card is good, at each time that it matters.
    pub good: VecDeque<bool>,
}

const CHARGE: &str = "ch_1";
const REFUND: &str = "re_1";

impl Ledger {
    /// The call comes in.
    pub fn take(&mut self, wish: &Wish) -> Outcome {
        match wish {
            Wish::Charge { payment_method } => {
                assert_eq!(payment_method, "pm", "it is paid as the order says");
                let good = self.good.pop_front().unwrap_or(true);
                if *self.charge.get_or_insert(good) { captured() } else { declined() }
            }
            Wish::Refund { charge_id } => {
                assert_eq!((charge_id.as_str(), self.charge), (CHARGE, Some(true)));
                self.refunds = 1;
                refunded()
            }
        }
    }

    /// What has come of a wish so far.
    fn known(&self, wish: &Wish) -> Option<Outcome> {
        match (wish, self.charge) {
            (Wish::Charge { .. }, Some(true)) => Some(captured()),
            (Wish::Charge { .. }, Some(false)) => Some(declined()),
            (Wish::Charge { .. }, None) => None,
            (Wish::Refund { .. }, _) => (self.refunds > 0).then(refunded),
        }
    }
}

fn captured() -> Outcome {
    Outcome::Captured { charge_id: CHARGE.into() }
}

fn declined() -> Outcome {
    Outcome::Declined { reason: "card_declined".into() }
}

fn refunded() -> Outcome {
    Outcome::Refunded { refund_id: REFUND.into() }
}

/// A conversation with the gateway. Before and after each call others have their turn, and the caller
/// may die.
pub struct Talk {
    pub ledger: Arc<Mutex<Ledger>>,
    looked_up: bool,
}

impl Gateway for Talk {
    async fn look_up(&mut self, attempt: &Attempt) -> Result<Option<Outcome>, GatewayError> {
        others_have_their_turn().await;
        let call = self.next_call();
        let known = match call {
            Call::NoConnection => return Err(GatewayError::Unreachable),
            Call::RequestLost | Call::ReplyLost | Call::Late => return Err(LOST),
            Call::Answered | Call::Refused => self.ledger.lock().unwrap().known(&attempt.wish),
        };
        others_have_their_turn().await;
        self.looked_up = true;
        Ok(known)
    }

    async fn fulfil(&mut self, attempt: &Attempt) -> Result<Outcome, GatewayError> {
        others_have_their_turn().await;
        assert!(self.looked_up || !attempt.in_doubt, "asked again before it is looked up");
        let (call, wish) = (self.next_call(), &attempt.wish);
        let outcome = match call {
            Call::NoConnection => return Err(GatewayError::Unreachable),
            Call::RequestLost => return Err(LOST),
            Call::Late => {
                self.ledger.lock().unwrap().late.push(wish.clone());
                return Err(LOST);
            }
            Call::Refused if matches!(wish, Wish::Refund { .. }) => {
                return Err(GatewayError::Refused(409));
            }
            Call::Answered | Call::ReplyLost | Call::Refused => {
                self.ledger.lock().unwrap().take(wish)
            }
        };
        others_have_their_turn().await;
        if call == Call::ReplyLost { Err(LOST) } else { Ok(outcome) }
    }
}

const LOST: GatewayError = GatewayError::Unknown("timeout");

impl Talk {
    pub fn with(ledger: &Arc<Mutex<Ledger>>) -> Self {
        Self { ledger: Arc::clone(ledger), looked_up: false }
    }

    fn next_call(&self) -> Call {
        self.ledger.lock().unwrap().calls.pop_front().unwrap_or(Call::Answered)
    }
}

/// Waits for one poll, so that whoever polls can do something else in between.
async fn others_have_their_turn() {
    let mut waited = false;
    let once = |_: &mut std::task::Context<'_>| {
        if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }
    };
    poll_fn(once).await;
}
