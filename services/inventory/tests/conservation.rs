//! Whatever happens in whatever order, the books balance.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::Warehouse;
use futures_util::future::join_all;
use inventory::application::put_product::PutProductError;
use inventory::application::release_stock::ReleaseStockError;
use inventory::application::replenish::replenish;
use inventory::application::ship_stock::ShipStockError;
use inventory::store;
use uuid::Uuid;

const SKUS: [&str; 4] = ["A", "B", "C", "D"];
const ORDERS: u64 = 12;

/// Steele, Lea, Flood: SplitMix64. A seed is all that a failure needs to come again.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn sku(&mut self) -> &'static str {
        SKUS[self.below(SKUS.len() as u64) as usize]
    }

    /// Few orders, so that each meets all that can happen to it, in any order.
    fn order(&mut self) -> Uuid {
        Uuid::from_u64_pair(7, self.below(ORDERS))
    }
}

/// One thing that can happen. What the rules forbid is refused and changes nothing.
async fn something_happens(here: &Warehouse, random: &mut Random) {
    match random.below(6) {
        0 | 1 => {
            let mut lines: Vec<(&str, u32)> = Vec::new();
            for sku in SKUS {
                if random.below(2) == 0 {
                    lines.push((sku, 1 + random.below(4) as u32));
                }
            }
            let order = random.order();
            if !lines.is_empty() {
                here.place(order, &lines).await.unwrap();
            }
        }
        2 => match here.confirm(random.order()).await {
            Ok(()) | Err(ShipStockError::Unknown | ShipStockError::Rule(_)) => {}
            Err(ShipStockError::Store(error)) => panic!("{error:?}"),
        },
        3 => match here.cancel(random.order()).await {
            Ok(()) | Err(ReleaseStockError::Rule(_)) => {}
            Err(ReleaseStockError::Store(error)) => panic!("{error:?}"),
        },
        4 => {
            let (sku, price, on_hand) = (random.sku(), random.below(3), random.below(15));
            match here.put(sku, "thing", price as i64, on_hand as i64).await {
                Ok(_) | Err(PutProductError::Rule(_)) => {}
                Err(PutProductError::Store(error)) => panic!("{error:?}"),
            }
        }
        _ => {
            let (sku, quantity) = (random.sku(), 1 + random.below(5) as i64);
            let mut tx = here.tx().await;
            let now = tx.now();
            replenish(&mut store(&mut tx), sku, quantity, now).await.unwrap();
            tx.commit().await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_books_balance_after_any_sequence_of_events() {
    for seed in 0..4 {
        let here = Warehouse::open().await;
        for sku in SKUS {
            here.has(sku, 10).await;
        }
        let mut random = Random(seed);
        for step in 0..150 {
            something_happens(&here, &mut random).await;
            if step % 10 == 0 {
                println!("seed {seed}, step {step}");
                here.assert_balanced().await;
            }
        }
        here.assert_balanced().await;
    }
}

#[tokio::test]
async fn the_books_balance_when_many_things_happen_at_once() {
    let here = Warehouse::open().await;
    for sku in SKUS {
        here.has(sku, 10).await;
    }
    let worlds = (100..108).map(|seed| {
        let here = &here;
        async move {
            let mut random = Random(seed);
            for _ in 0..40 {
                something_happens(here, &mut random).await;
            }
        }
    });
    join_all(worlds).await;
    here.assert_balanced().await;
}
