//! P8 with real time: `cargo nextest run -p messaging --run-ignored only -E 'test(/long_outages/)'` within
//! `testkit run`.

use std::time::{Duration, Instant};

use testkit::{Broker, eventually};
use tokio::time::{MissedTickBehavior, interval};

use crate::house::{House, Lit, SOON, Switch};

const AWAY: Duration = Duration::from_secs(600);
/// From the broker's first answer until everything has flowed.
const FLOWS_WITHIN: Duration = Duration::from_secs(2);
const BEFORE: u32 = 50;

#[tokio::test]
#[ignore = "takes ten minutes"]
async fn a_broker_that_is_away_for_ten_minutes_costs_no_attempt_and_all_flows_when_it_is_back() {
    let mut broker = Broker::private().await;
    let house = House::on(&broker).await;
    let lamp = house.lamp().await;
    lamp.provision().await;
    let (ledger, _ledger_runs) = house.running_ledger(&Switch::new()).await;
    let _lamp_runs = lamp.run();
    house.spy_on_retries().await;
    let mut told = 0;
    while told < BEFORE {
        lamp.tell(&Lit::new(format!("lamp-{told}"), 1), 1).await;
        told += 1;
    }

    broker.kill();
    let gone = Instant::now();
    let mut beats = interval(Duration::from_secs(1));
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while gone.elapsed() < AWAY {
        beats.tick().await;
        // Whoever writes does not notice.
        lamp.tell(&Lit::new(format!("lamp-{told}"), 1), 1).await;
        told += 1;
    }
    assert!(lamp.kit.vitals().check().is_err() && ledger.kit.vitals().check().is_err());
    broker.restart().await;
    let back = Instant::now();
    eventually(SOON, || async {
        let effects = ledger.effects().await.len();
        if effects == told as usize { Ok(()) } else { Err(format!("{effects} of {told}")) }
    })
    .await;
    let flowed = back.elapsed();
    println!("{told} events, the last of them {flowed:?} after the broker's return");
    assert!(flowed < FLOWS_WITHIN, "{flowed:?}");

    eventually(SOON, || async { lamp.pending().await.is_empty() }).await;
    assert!(ledger.effects().await.values().all(|times| *times == 1));
    assert_eq!(lamp.count("messaging.outbox where attempts > 0").await, 0, "no attempt was spent");
    assert!(house.wire().await.drain("spy").await.is_empty(), "an attempt was spent");
    assert!(ledger.dead_letters().await.is_empty());
}
