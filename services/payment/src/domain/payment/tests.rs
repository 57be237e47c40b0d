#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

fn requested() -> Payment {
    Payment::requested(Uuid::nil(), Money::new(500, "GBP"), "pm".into(), NOW)
}

/// As a lease does it in the database.
fn begin(payment: &mut Payment) -> (u32, bool) {
    let effort = &mut payment.stored.effort;
    let was_in_doubt = std::mem::replace(&mut effort.in_doubt, true);
    (effort.attempts, effort.under_way) = (effort.attempts + 1, true);
    (effort.attempts, was_in_doubt)
}

#[test]
fn pauses_double_from_50_ms_to_30_s() {
    for (failures, longest_ms) in [(1, 50), (2, 100), (3, 200), (10, 25_600), (11, 30_000)] {
        let (shortest, longest) = (pause(failures, 0.0), pause(failures, 1.0));
        assert_eq!(longest, Duration::from_millis(longest_ms));
        assert_eq!(shortest, longest / 2);
    }
    assert_eq!(pause(u32::MAX, 1.0), LONGEST_PAUSE);
}

#[test]
fn the_same_truth_brought_twice_is_told_once() {
    let mut payment = requested();
    begin(&mut payment);
    payment.captured("ch_1".into(), NOW);
    payment.captured("ch_1".into(), NOW);
    payment.declined("too late".into(), NOW);
    let told = PaymentEvent::Captured { charge_id: "ch_1".into() };
    assert_eq!(payment.take_events(), [(1, told)]);
    assert_eq!(payment.wish(), None);
    assert_eq!(payment.stored().effort.due_at, None);
}

#[test]
fn a_failure_of_an_older_attempt_does_not_end_the_present_one() {
    let mut payment = requested();
    begin(&mut payment);
    begin(&mut payment);
    payment.failed(1, true, 0.0, NOW);
    assert!(payment.stored().effort.under_way && payment.stored().effort.in_doubt);
}

#[test]
fn of_nothing_nothing_is_given_back() {
    let mut payment = Payment::requested(Uuid::nil(), Money::new(0, "GBP"), "pm".into(), NOW);
    begin(&mut payment);
    payment.captured("ch_1".into(), NOW);
    payment.cancel(NOW);
    assert_eq!((payment.wish(), payment.stored().effort.due_at), (None, None));
}

/// What may happen next to a payment.
#[derive(Debug, Clone, Copy)]
enum Happening {
    Cancel,
    /// A call is made: it may reach the gateway or not, its answer may be lost.
    Attempt {
        arrives: bool,
        answered: bool,
        capture: bool,
    },
    /// The process dies after its call, so that only the lease tells of it.
    Crash {
        arrives: bool,
        capture: bool,
    },
    /// What was charged is looked up.
    LookUp,
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let attempt = (any::<bool>(), any::<bool>(), any::<bool>())
        .prop_map(|(a, b, c)| Happening::Attempt { arrives: a, answered: b, capture: c });
    let crash = (any::<bool>(), any::<bool>())
        .prop_map(|(a, b)| Happening::Crash { arrives: a, capture: b });
    let one = prop_oneof![Just(Happening::Cancel), Just(Happening::LookUp), attempt, crash];
    prop::collection::vec(one, 0..12)
}

/// The gateway as its keys make it: one charge, one refund.
#[derive(Default)]
struct Ledger {
    charge: Option<bool>,
    refunded: bool,
}

impl Ledger {
    fn take(&mut self, wish: &Wish, capture: bool) {
        match wish {
            Wish::Charge { .. } => _ = self.charge.get_or_insert(capture),
            Wish::Refund { .. } => self.refunded = true,
        }
    }

    fn tell(&self, payment: &mut Payment, wish: &Wish) -> bool {
        match (wish, self.charge) {
            (Wish::Charge { .. }, Some(true)) => payment.captured("ch".into(), NOW),
            (Wish::Charge { .. }, Some(false)) => payment.declined("no".into(), NOW),
            (Wish::Refund { .. }, _) if self.refunded => payment.refunded("re".into(), NOW),
            _ => return false,
        }
        true
    }
}

fn happen(payment: &mut Payment, ledger: &mut Ledger, happening: Happening) {
    let wish = match (happening, payment.wish()) {
        (Happening::Cancel, _) => return payment.cancel(NOW),
        (_, None) => return,
        (_, Some(wish)) => wish,
    };
    let (number, was_in_doubt) = begin(payment);
    match happening {
        Happening::Attempt { arrives, answered, capture } => {
            if arrives {
                ledger.take(&wish, capture);
            }
            if !(arrives && answered) {
                payment.failed(number, !arrives && !was_in_doubt, 0.5, NOW);
            } else {
                ledger.tell(payment, &wish);
            }
        }
        Happening::Crash { arrives: true, capture } => ledger.take(&wish, capture),
        Happening::LookUp => {
            if !ledger.tell(payment, &wish) {
                payment.failed(number, false, 0.5, NOW);
            }
        }
        Happening::Crash { .. } | Happening::Cancel => {}
    }
}

proptest! {
    #[test]
    fn whatever_happens_a_cancelled_order_ends_without_and_any_other_with_its_charge(
        all in happenings(), capture in any::<bool>(),
    ) {
        let (mut payment, mut ledger) = (requested(), Ledger::default());
        for happening in all {
            happen(&mut payment, &mut ledger, happening);
            let void = payment.stored().status == Status::Void;
            prop_assert!(!(void && ledger.charge == Some(true)), "void, but charged");
        }
        // Then everything works again.
        while payment.wish().is_some() {
            prop_assert!(payment.stored().effort.due_at.is_some(), "nobody would ask again");
            let all_well = Happening::Attempt { arrives: true, answered: true, capture };
            happen(&mut payment, &mut ledger, all_well);
        }
        let net = ledger.charge == Some(true) && !ledger.refunded;
        let cancelled = payment.stored().cancelled_at.is_some();
        prop_assert_eq!(net, payment.stored().status == Status::Captured);
        prop_assert!(!(net && cancelled));
        let versions: Vec<u32> = payment.take_events().into_iter().map(|(v, _)| v).collect();
        prop_assert_eq!(versions, (1..=payment.stored().version).collect::<Vec<_>>());
    }
}
