//! Whatever happens to stock and reservations, in any order and however often.
//!
//! The use cases run on ports in memory, one transaction after the other; `conservation.rs` does the
//! like on Postgres, with many at once.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic)]

mod memory;
mod model;

use std::collections::HashMap;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use inventory::application::import_products::import_products;
use inventory::application::ports::StoreError;
use inventory::application::put_product::{PutProductError, put_product};
use inventory::application::release_stock::{ReleaseStockError, release_stock};
use inventory::application::replenish::{ReplenishError, replenish};
use inventory::application::reserve_stock::{ReserveStock, reserve_stock};
use inventory::application::ship_stock::{ShipStockError, ship_stock};
use inventory::domain::money::Money;
use inventory::domain::product::Description;
use inventory::domain::product::Product;
use inventory::domain::reservation::{Charge, Line, Reservation, ReservationEvent, Status};
use memory::{Meanwhile, Memory, NOW};
use model::{Answer, Basket, Fate, Model};
use proptest::prelude::*;
use uuid::Uuid;

const SKUS: [&str; 3] = ["A", "B", "C"];
/// Few, so that each meets all that can happen to it.
const ORDERS: usize = 4;

/// Orders and products are told of by their place in the lists.
#[derive(Debug, Clone)]
enum Happening {
    Placed(usize),
    Confirmed(usize),
    Cancelled(usize),
    /// The order becomes known between the two statements of its cancellation.
    CancelledAsPlaced(usize),
    Replenished(usize, i64),
    Put(usize, Description),
    /// The product becomes known, as the first says, between the two statements of the second.
    PutAsPut(usize, Description, Description),
    /// Each product once.
    Imported(Vec<(usize, Description)>),
}

fn description() -> impl Strategy<Value = Description> {
    let on_hand = prop_oneof![20 => 0_i64..12, 1 => Just(i64::MAX)];
    let name = prop::sample::select(vec!["lamp", "lantern"]);
    (name, 0_i64..3, on_hand).prop_map(|(name, price, on_hand)| Description {
        name: name.into(),
        unit_price: Money::new(price, "GBP"),
        on_hand,
    })
}

fn happening() -> impl Strategy<Value = Happening> {
    let (sku, order) = (|| 0..SKUS.len(), || 0..ORDERS);
    let rows = (prop::sample::subsequence(vec![0, 1, 2], 0..=3), description(), description());
    let rows = rows.prop_map(|(skus, one, other)| {
        skus.into_iter().zip([one.clone(), other, one]).collect::<Vec<_>>()
    });
    prop_oneof![
        5 => order().prop_map(Happening::Placed),
        4 => order().prop_map(Happening::Confirmed),
        4 => order().prop_map(Happening::Cancelled),
        1 => order().prop_map(Happening::CancelledAsPlaced),
        2 => (sku(), 1_i64..6).prop_map(|(sku, pieces)| Happening::Replenished(sku, pieces)),
        4 => (sku(), description()).prop_map(|(sku, new)| Happening::Put(sku, new)),
        1 => (sku(), description(), description())
            .prop_map(|(sku, one, other)| Happening::PutAsPut(sku, one, other)),
        1 => rows.prop_map(Happening::Imported),
    ]
}

/// What each order asks for; an order is the same however often it is heard of.
fn baskets() -> impl Strategy<Value = Vec<Basket>> {
    let skus = prop::sample::subsequence(vec![0, 1, 2], 1..=3);
    let basket = (skus, prop::collection::vec(1_u32..6, 3))
        .prop_map(|(skus, quantities)| skus.into_iter().zip(quantities).collect::<Basket>());
    prop::collection::vec(basket, ORDERS)
}

/// The ports in memory never wait.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("it waits"),
    }
}

fn id(order: usize) -> Uuid {
    Uuid::from_u64_pair(7, order as u64)
}

fn lines(basket: &Basket) -> Vec<Line> {
    let line =
        |(sku, quantity): &(usize, u32)| Line { sku: SKUS[*sku].into(), quantity: *quantity };
    basket.iter().map(line).collect()
}

fn charge() -> Charge {
    Charge { amount: Money::new(700, "GBP"), payment_method: "pm_ok".into() }
}

/// What was decided is what the rules say of it; a store that fails has been asked for the impossible.
fn answer<E>(result: Result<(), E>, why: impl Fn(&E) -> Option<Answer>) -> Answer {
    match result {
        Ok(()) => Answer::Done,
        Err(error) => why(&error).unwrap_or_else(|| panic!("the store refused")),
    }
}

fn no_store<E>(_: &E) -> Option<Answer> {
    None
}

/// One transaction: all of it, or nothing when it is refused.
fn commit(store: &mut Memory, happening: &Happening, baskets: &[Basket]) -> Answer {
    let before = store.clone();
    let answer = run(store, happening, baskets);
    if answer != Answer::Done {
        *store = before;
    }
    assert_eq!(store.meanwhile, None, "the row is decided on without a look");
    answer
}

fn run(store: &mut Memory, happening: &Happening, baskets: &[Basket]) -> Answer {
    match happening {
        Happening::Placed(order) => {
            let lines = lines(&baskets[*order]);
            let command = ReserveStock { order_id: id(*order), lines, charge: charge() };
            answer(at_once(reserve_stock(store, vec![command], NOW)), no_store)
        }
        Happening::Confirmed(order) => {
            answer(at_once(ship_stock(store, &[id(*order)], NOW)), |error| match error {
                ShipStockError::Unknown => Some(Answer::Unknown),
                ShipStockError::Rule(_) => Some(Answer::Impossible),
                ShipStockError::Store(_) => None,
            })
        }
        Happening::Cancelled(order) => cancel(store, *order),
        Happening::CancelledAsPlaced(order) => {
            if !store.reservations.contains_key(&id(*order)) {
                store.meanwhile = Some(Meanwhile::Reserved(decided(store, *order, baskets)));
            }
            cancel(store, *order)
        }
        Happening::Replenished(sku, quantity) => {
            let product = at_once(replenish(store, SKUS[*sku], *quantity, NOW));
            answer(product.map(drop), |error| match error {
                ReplenishError::Unknown => Some(Answer::Unknown),
                ReplenishError::Rule(_) => Some(Answer::Impossible),
                ReplenishError::Store(_) => None,
            })
        }
        Happening::Put(sku, described) => put(store, *sku, described),
        Happening::PutAsPut(sku, first, second) => {
            if !store.products.contains_key(SKUS[*sku]) {
                let listed = Product::list(SKUS[*sku].into(), first.clone(), NOW);
                store.meanwhile = Some(Meanwhile::Listed(listed));
            }
            put(store, *sku, second)
        }
        Happening::Imported(rows) => {
            let rows = rows.iter().map(|(sku, described)| (SKUS[*sku].into(), described.clone()));
            let outcomes = at_once(import_products(store, rows.collect(), NOW));
            answer::<StoreError>(outcomes.map(drop), no_store)
        }
    }
}

fn cancel(store: &mut Memory, order: usize) -> Answer {
    answer(at_once(release_stock(store, &[id(order)], NOW)), |error| match error {
        ReleaseStockError::Rule(_) => Some(Answer::Impossible),
        ReleaseStockError::Store(_) => None,
    })
}

fn put(store: &mut Memory, sku: usize, described: &Description) -> Answer {
    let put = at_once(put_product(store, SKUS[sku].into(), described.clone(), NOW));
    answer(put.map(drop), |error| match error {
        PutProductError::Rule(_) => Some(Answer::Impossible),
        PutProductError::Store(_) => None,
    })
}

/// What another transaction decides on an order that this one does not see yet.
fn decided(store: &Memory, order: usize, baskets: &[Basket]) -> Reservation {
    let free = store.products.values().map(|p| (p.sku().to_owned(), p.on_hand() - p.reserved()));
    let free: HashMap<String, i64> = free.collect();
    Reservation::decide(id(order), lines(&baskets[order]), charge(), &free, NOW).unwrap()
}

/// I6 to I8 of stock, and that what was told of each product is what happened to it, one by one.
fn assert_stock(store: &Memory, model: &Model) {
    assert_eq!(store.products.len(), model.goods.len());
    for (sku, goods) in &model.goods {
        let product = &store.products[SKUS[*sku]];
        let (on_hand, reserved) = (product.on_hand(), product.reserved());
        assert!(0 <= reserved && reserved <= on_hand, "{reserved} of {on_hand} are reserved");
        assert_eq!(reserved, model.reserved(*sku), "reserved is what live reservations hold");
        let moved: i128 = store.movements[SKUS[*sku]].iter().map(|delta| i128::from(*delta)).sum();
        assert_eq!(i128::from(on_hand), moved, "stock is conserved");
        let Description { name, unit_price, on_hand } = &goods.described;
        assert_eq!((product.name(), product.unit_price()), (name.as_str(), unit_price));
        assert_eq!(product.on_hand(), *on_hand);
        assert_eq!(product.version() as usize, goods.told.len());
        let told: Vec<_> = (1..).zip(goods.told.iter().copied()).collect();
        assert_eq!(store.product_events[SKUS[*sku]], told);
    }
}

/// I11 and I12 of reservations: each ends at most once, with all that it held.
fn assert_reservations(store: &Memory, model: &Model) {
    assert_eq!(store.reservations.len(), model.orders.len());
    for (order, fate) in &model.orders {
        let reservation = &store.reservations[&id(*order)];
        let (status, history): (_, &[&str]) = match fate {
            Fate::Held => (Status::Reserved, &["reserved"]),
            Fate::Refused => (Status::Rejected, &["rejected"]),
            Fate::Freed => (Status::Released, &["reserved", "released"]),
            Fate::Sent => (Status::Shipped, &["reserved", "shipped"]),
            Fate::Forestalled => (Status::Cancelled, &[]),
        };
        assert_eq!(reservation.status(), status, "order {order}");
        assert_eq!(reservation.version() as usize, history.len());
        let told = store.reservation_events[&id(*order)].iter();
        let told: Vec<_> = told.map(|(version, event)| (*version, name(event))).collect();
        assert_eq!(told, (1..).zip(history.iter().copied()).collect::<Vec<_>>());
        let asked = if *fate == Fate::Forestalled { vec![] } else { lines(&model.baskets[*order]) };
        assert_eq!(reservation.lines(), asked, "what it holds never changes");
    }
}

fn name(event: &ReservationEvent) -> &'static str {
    match event {
        ReservationEvent::Reserved(told) => {
            assert_eq!(*told, charge(), "payment is told what the order said");
            "reserved"
        }
        ReservationEvent::Rejected(shortages) => {
            assert!(!shortages.is_empty());
            assert!(shortages.iter().all(|line| line.available < i64::from(line.requested)));
            "rejected"
        }
        ReservationEvent::Released => "released",
        ReservationEvent::Shipped => "shipped",
    }
}

/// Whether the same once more is no news: all but goods, which arrive as often as they are said to.
fn is_a_message_or_a_state(happening: &Happening) -> bool {
    !matches!(happening, Happening::Replenished(..) | Happening::PutAsPut(..))
}

proptest! {
    #[test]
    fn whatever_happens_stock_and_reservations_are_what_the_model_says(
        baskets in baskets(),
        all in prop::collection::vec((happening(), any::<bool>()), 0..60),
    ) {
        let mut store = Memory::default();
        let mut model = Model { baskets: baskets.clone(), ..Model::default() };
        for (happening, twice) in &all {
            let before = store.clone();
            let answer = commit(&mut store, happening, &baskets);
            prop_assert_eq!(answer, model.happen(happening), "{:?}", happening);
            prop_assert!(answer == Answer::Done || store == before, "refused, and yet it changed");
            assert_stock(&store, &model);
            assert_reservations(&store, &model);
            if *twice && is_a_message_or_a_state(happening) {
                let once = store.clone();
                prop_assert_eq!(commit(&mut store, happening, &baskets), answer);
                prop_assert_eq!(&store, &once, "the same again is no news");
            }
        }
    }

    #[test]
    fn what_is_free_is_all_that_orders_get(
        on_hand in 0_i64..40,
        quantities in prop::collection::vec(1_u32..9, 1..30),
    ) {
        let baskets: Vec<Basket> = quantities.iter().map(|quantity| vec![(0, *quantity)]).collect();
        let mut store = Memory::default();
        put(&mut store, 0, &Description {
            name: "lamp".into(), unit_price: Money::new(1, "GBP"), on_hand,
        });
        let mut left = on_hand;
        for (order, quantity) in quantities.iter().enumerate() {
            commit(&mut store, &Happening::Placed(order), &baskets);
            let got = store.reservations[&id(order)].status() == Status::Reserved;
            prop_assert_eq!(got, left >= i64::from(*quantity), "{} left", left);
            left -= if got { i64::from(*quantity) } else { 0 };
        }
        prop_assert_eq!(store.products["A"].reserved(), on_hand - left);
    }
}
