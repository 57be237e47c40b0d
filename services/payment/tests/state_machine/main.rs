//! Whatever happens to a payment: messages late, twice or never, calls whose outcome nobody knows,
//! processes that die, leases that run out, and all of it at once.
//!
//! The use cases run on ports in memory; `charging.rs` and `cancellation.rs` do the like with Postgres
//! and a gateway.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic)]

mod memory;

use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use chrono::{DateTime, TimeDelta, Utc};
use memory::{Call, Ledger, Memory, Talk};
use payment::application::cancel_payments::cancel_payments;
use payment::application::ports::{Attempt, GatewayError, Outcome};
use payment::application::request_payments::{RequestPayment, request_payments};
use payment::application::settle_payments::{Settled, ask, record};
use payment::domain::money::Money;
use payment::domain::payment::{Payment, PaymentEvent, Status};
use proptest::prelude::*;
use uuid::Uuid;

/// Attempts that are under way at once; one has the lease, the others have lost theirs.
const MOST: usize = 3;
/// Longer than any pause between attempts.
const LONG: TimeDelta = TimeDelta::seconds(31);

#[derive(Debug, Clone, Copy)]
enum Happening {
    /// `inventory.stock_reserved` comes, for the first time or again.
    Reserved,
    /// `order.cancelled` comes, for the first time or again.
    Cancelled,
    /// The first comes between the two statements of the second.
    CancelledAsReserved,
    /// Somebody looks for work.
    Take,
    /// One of the attempts goes on: a call, the way back, or the storing of what came of it.
    GoOn(usize),
    /// The process of one of the attempts dies where it is.
    Die(usize),
    /// Whoever has the lease is found dead, or has had it for too long.
    LeaseIsFree,
    /// A call whose caller gave up comes in after all.
    LateCall,
    Pass(TimeDelta),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        2 => Just(Happening::Reserved),
        1 => Just(Happening::Cancelled),
        1 => Just(Happening::CancelledAsReserved),
        6 => Just(Happening::Take),
        12 => (0..MOST).prop_map(Happening::GoOn),
        1 => (0..MOST).prop_map(Happening::Die),
        3 => Just(Happening::LeaseIsFree),
        2 => Just(Happening::LateCall),
        3 => (0_i64..=31).prop_map(|seconds| Happening::Pass(TimeDelta::seconds(seconds))),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    use Call::{Answered, Late, NoConnection, Refused, ReplyLost, RequestLost};
    let bad = prop::sample::select(vec![NoConnection, ReplyLost, RequestLost, Late, Refused]);
    prop_oneof![1 => Just(Answered), 1 => bad]
}

/// An attempt that is under way.
struct Flight {
    attempt: Attempt,
    asking: Pin<Box<dyn Future<Output = Result<Outcome, GatewayError>>>>,
    answer: Option<Result<Outcome, GatewayError>>,
}

struct World {
    store: Memory,
    ledger: Arc<Mutex<Ledger>>,
    flights: Vec<Flight>,
    amount: i64,
    now: DateTime<Utc>,
    begun: u32,
    /// The model: whether the wish to charge was heard of first, and whether a cancellation was.
    reserved_first: Option<bool>,
    cancelled: bool,
}

/// The ports in memory never wait.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("it waits"),
    }
}

impl World {
    fn new(amount: i64, calls: Vec<Call>, good: Vec<bool>) -> Self {
        let ledger = Ledger { calls: calls.into(), good: good.into(), ..Ledger::default() };
        Self {
            store: Memory::default(),
            ledger: Arc::new(Mutex::new(ledger)),
            flights: Vec::new(),
            amount,
            now: DateTime::UNIX_EPOCH,
            begun: 0,
            reserved_first: None,
            cancelled: false,
        }
    }

    fn amount(&self) -> Money {
        Money::new(self.amount, "GBP")
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Reserved => self.reserved(),
            Happening::Cancelled => self.cancelled(),
            Happening::CancelledAsReserved => {
                if self.store.payment.is_none() {
                    let wished =
                        Payment::requested(Uuid::nil(), self.amount(), "pm".into(), self.now);
                    self.store.meanwhile = Some(wished);
                    self.reserved_first = Some(true);
                }
                self.cancelled();
            }
            Happening::Take => self.take(),
            Happening::GoOn(n) => self.go_on(n),
            Happening::Die(n) => {
                if n < self.flights.len() {
                    self.flights.swap_remove(n);
                }
            }
            Happening::LeaseIsFree => self.lease_is_free(),
            Happening::LateCall => {
                let mut ledger = self.ledger.lock().unwrap();
                if let Some(wish) = ledger.late.pop() {
                    ledger.take(&wish);
                }
            }
            Happening::Pass(time) => self.now += time,
        }
    }

    fn reserved(&mut self) {
        let (known, amount) = (self.store.clone(), self.amount());
        let payment_method = "pm".to_owned();
        let command = RequestPayment { order_id: Uuid::nil(), amount, payment_method };
        at_once(request_payments(&mut self.store, vec![command], self.now)).unwrap();
        if known.payment.is_some() {
            assert_eq!(self.store, known, "who has a payment keeps it");
        }
        self.reserved_first.get_or_insert(true);
    }

    fn cancelled(&mut self) {
        let (known, amount) = (self.store.clone(), self.amount());
        at_once(cancel_payments(
            &mut self.store,
            BTreeMap::from([(Uuid::nil(), amount)]),
            self.now,
        ))
        .unwrap();
        if self.cancelled {
            assert_eq!(self.store, known, "a cancellation that comes again is no news");
        }
        assert_eq!(self.store.meanwhile, None, "nobody looked for a payment");
        self.reserved_first.get_or_insert(false);
        self.cancelled = true;
    }

    fn take(&mut self) {
        if self.flights.len() < MOST
            && let Some(attempt) = self.store.take(self.now)
        {
            self.begun += 1;
            let wished = self.store.payment.as_ref().and_then(Payment::wish);
            assert_eq!(Some(&attempt.wish), wished.as_ref(), "nobody wishes for this");
            let (mut talk, asked) = (Talk::with(&self.ledger), attempt.clone());
            let asking = Box::pin(async move { ask(&mut talk, &asked).await });
            self.flights.push(Flight { attempt, asking, answer: None });
        }
    }

    fn go_on(&mut self, n: usize) {
        let Some(flight) = self.flights.get_mut(n) else { return };
        let Some(answer) = flight.answer.take() else {
            match flight.asking.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(answer) => flight.answer = Some(answer),
                Poll::Pending => {}
            }
            return;
        };
        let attempt = self.flights.swap_remove(n).attempt;
        let settled = [Settled { attempt: &attempt, answer: &answer, unit: 0.5 }];
        let again = at_once(record(&mut self.store, &settled, self.now)).unwrap();
        assert_eq!(again, self.store.stored().and_then(|stored| stored.effort.due_at));
    }

    fn lease_is_free(&mut self) {
        self.store.abandoned = self.store.stored().is_some_and(|stored| stored.effort.under_way);
    }

    /// Everybody who is at it dies, the last calls come in, and then everything works.
    fn come_to_rest(&mut self) {
        self.flights.clear();
        while !self.ledger.lock().unwrap().late.is_empty() {
            self.happen(Happening::LateCall);
        }
        self.ledger.lock().unwrap().calls.clear();
        // A charge and a refund, each of which may have to be looked up first.
        for _ in 0..2 {
            self.lease_is_free();
            self.now += LONG;
            self.take();
            while !self.flights.is_empty() {
                self.go_on(0);
            }
        }
    }

    /// What the model says of a payment that has come to rest.
    fn end(&self) -> Option<Status> {
        let charge = self.ledger.lock().unwrap().charge;
        let refundable = self.amount > 0;
        Some(match (self.reserved_first?, charge) {
            (false, _) => Status::Void,
            (true, Some(false)) => Status::Declined,
            (true, Some(true)) if self.cancelled && refundable => Status::Refunded,
            (true, Some(true)) => Status::Captured,
            (true, None) if self.cancelled => Status::Void,
            (true, None) => Status::Pending,
        })
    }
}

/// What is told of a payment that stands so, without the particulars.
fn history(status: Status) -> &'static [&'static str] {
    match status {
        Status::Pending | Status::Void => &[],
        Status::Captured => &["captured"],
        Status::Declined => &["declined"],
        Status::Refunded => &["captured", "refunded"],
    }
}

fn may_follow(before: Status, after: Status) -> bool {
    use Status::{Captured, Declined, Pending, Refunded, Void};
    let step =
        matches!((before, after), (Pending, Captured | Declined | Void) | (Captured, Refunded));
    before == after || step
}

/// I9, I11 and I12 as far as a payment goes.
fn assert_sound(world: &World, before: Option<Status>) {
    let ledger = world.ledger.lock().unwrap();
    let Some(payment) = &world.store.payment else {
        assert_eq!(world.reserved_first, None, "it is forgotten");
        return;
    };
    let stored = payment.stored();
    assert!(before.is_none_or(|before| may_follow(before, stored.status)), "{before:?} {stored:?}");

    let told = world.store.told.iter().map(|(version, event)| match event {
        PaymentEvent::Captured { charge_id } => (*version, "captured", charge_id.as_str()),
        PaymentEvent::Declined { reason } => (*version, "declined", reason.as_str()),
        PaymentEvent::Refunded { refund_id } => (*version, "refunded", refund_id.as_str()),
    });
    let told: Vec<_> = told.collect();
    let names: Vec<_> = told.iter().map(|(version, name, _)| (*version, *name)).collect();
    let expected: Vec<_> = (1..).zip(history(stored.status).iter().copied()).collect();
    assert_eq!(names, expected, "what is told is what it is");
    assert_eq!(stored.version as usize, told.len());
    for (_, name, what) in &told {
        let (true_name, true_what) = match *name {
            "refunded" => (ledger.refunds == 1, "re_1"),
            "captured" => (ledger.charge == Some(true), "ch_1"),
            _ => (ledger.charge == Some(false), "card_declined"),
        };
        assert!(true_name && *what == true_what, "{name} {what}, says nobody");
    }

    assert!(ledger.refunds == 0 || world.cancelled, "given back, and nobody cancelled");
    let untouched = ledger.charge.is_none() && ledger.late.is_empty();
    let said_to_be = stored.status == Status::Pending && !stored.effort.in_doubt;
    assert!(!(said_to_be && world.cancelled), "it could be void, and will be charged: {stored:?}");
    if said_to_be || stored.status == Status::Void {
        assert!(untouched, "charged, or about to be, and nobody would find out: {stored:?}");
    }
    assert_eq!(stored.effort.due_at.is_some(), payment.wish().is_some(), "{stored:?}");
    assert_eq!(stored.effort.attempts, world.begun);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whatever_happens_the_money_is_where_the_model_says(
        all in prop::collection::vec(happening(), 0..150),
        calls in prop::collection::vec(call(), 0..20),
        good in prop::collection::vec(any::<bool>(), 0..4),
        amount in prop_oneof![9 => Just(500_i64), 1 => Just(0)],
    ) {
        let mut world = World::new(amount, calls, good);
        for happening in all {
            let before = world.store.stored().map(|stored| stored.status);
            world.happen(happening);
            assert_sound(&world, before);
        }
        world.come_to_rest();
        let end = world.store.stored().map(|stored| stored.status);
        prop_assert_eq!(end, world.end());
        prop_assert_ne!(end, Some(Status::Pending), "somebody waits for ever");
        assert_sound(&world, None);

        let taken = world.ledger.lock().unwrap().charge == Some(true);
        let given_back = world.ledger.lock().unwrap().refunds == 1;
        let net = if taken && !given_back { amount } else { 0 };
        let due = if end == Some(Status::Captured) { amount } else { 0 };
        prop_assert_eq!(net, due, "the gateway's books and ours differ");
        prop_assert!(net == 0 || !world.cancelled);
        if end.is_some() {
            world.happen(Happening::Reserved);
        }
        if world.cancelled {
            world.happen(Happening::Cancelled);
        }
        prop_assert_eq!(world.store.stored().map(|stored| stored.status), end);
    }
}
