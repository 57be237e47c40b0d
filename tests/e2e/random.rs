//! Many orders, cancelled at any moment or not at all.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use uuid::Uuid;

use crate::world::{Ending, World};

const ORDERS: usize = 200;
/// Takes the seed of an earlier run, to draw the same orders and moments again.
const SEED: &str = "TIDINGS_SEED";
/// About as long as an order lives while all of them are under way.
const LIFE: Duration = Duration::from_secs(3);

const GOODS: [(&str, i64, i64); 3] =
    [("LAMP", 1_250, 1_000), ("MUG", 399, 1_000), ("RARE", 99, 20)];
const PAYMENTS: [&str; 8] = [
    "pm_ok",
    "pm_ok",
    "pm_ok",
    "pm_ok",
    "pm_declined",
    "pm_insufficient_funds",
    "pm_timeout",
    "pm_flaky",
];

/// When a customer cancels.
enum Moment {
    Never,
    After(Duration),
    /// Too late for sure.
    AtTheEnd,
}

struct Plan {
    sku: &'static str,
    quantity: u32,
    pay: &'static str,
    cancelled: Moment,
}

/// Steele, Lea and Flood's SplitMix64 ("Fast Splittable Pseudorandom Number Generators", 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    fn plan(&mut self) -> Plan {
        let (sku, ..) = GOODS[self.below(GOODS.len())];
        let cancelled = match self.below(8) {
            0..3 => Moment::Never,
            3 => Moment::AtTheEnd,
            4 => Moment::After(Duration::ZERO),
            _ => Moment::After(LIFE.mul_f64(self.below(1_000) as f64 / 1_000.0)),
        };
        let quantity = u32::try_from(1 + self.below(3)).unwrap();
        Plan { sku, quantity, pay: PAYMENTS[self.below(PAYMENTS.len())], cancelled }
    }
}

fn seed() -> u64 {
    match std::env::var(SEED) {
        Ok(text) => text.parse().expect("TIDINGS_SEED is a number"),
        Err(_) => Uuid::new_v4().as_u64_pair().0,
    }
}

#[tokio::test]
async fn orders_cancelled_at_random_moments_end_and_everything_adds_up() {
    let seed = seed();
    eprintln!("the same again: {SEED}={seed}");
    let mut random = Random(seed);
    let plans: Vec<Plan> = (0..ORDERS).map(|_| random.plan()).collect();
    let world = World::start().await;
    for (sku, price, on_hand) in GOODS {
        world.stock(sku, price, on_hand).await;
    }
    let ended = join_all(plans.iter().map(|plan| live(&world, plan))).await;
    world.verified().await;
    adds_up(&world, &plans, &ended).await;
}

/// One order's life, from its customer's side.
async fn live(world: &World, plan: &Plan) -> Value {
    let order = world.place(0, plan.sku, plan.quantity, plan.pay).await;
    let answer = match plan.cancelled {
        Moment::Never => None,
        Moment::After(pause) => {
            // That it is any moment is what is tested.
            tokio::time::sleep(pause).await;
            Some(world.cancel(order).await)
        }
        Moment::AtTheEnd => {
            world.ended(order).await;
            Some(world.cancel(order).await)
        }
    };
    let ended = world.ended(order).await;
    let by_customer = ended["cancel_reason"] == "customer_request";
    assert_eq!(answer == Some(true), by_customer, "what the customer was told stands: {ended}");
    ended
}

async fn adds_up(world: &World, plans: &[Plan], ended: &[Value]) {
    let mut taken = 0;
    let mut sent = GOODS.map(|_| 0);
    for (plan, order) in plans.iter().zip(ended) {
        let id = order["order_id"].as_str().unwrap().parse().unwrap();
        let total = order["total"]["amount_minor"].as_i64().unwrap();
        let ending = world.ending(id).await;
        assert!(Ending::lawful(total).contains(&ending), "{ending:#?}");
        if ending.order == "confirmed" {
            let place = GOODS.iter().position(|(sku, ..)| *sku == plan.sku).unwrap();
            sent[place] += i64::from(plan.quantity);
            taken += total;
        }
    }
    for ((sku, _, on_hand), sent) in GOODS.into_iter().zip(sent) {
        assert_eq!(world.pieces(sku).await, (on_hand - sent, 0), "{sku}");
    }
    let net: i64 = world.gateway.charges().iter().map(|charge| charge.net_minor()).sum();
    assert_eq!(net, taken, "the gateway holds the price of what was sent");
    // Otherwise nothing above was put to the test.
    let by_customer = ended.iter().filter(|order| order["cancel_reason"] == "customer_request");
    assert!(taken > 0 && by_customer.count() > 0, "{ended:#?}");
}
