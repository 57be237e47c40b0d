//! Letters that the broker gave up on: most of them only shared a process with the one that ended it,
//! so all of them are replayed by themselves, once and one after the other.

use chrono::TimeDelta;
use messaging::repair::Filter;
use messaging::step::{Progress, Step};
use testkit::eventually;

use crate::house::{House, Lit, Mood, Raw, SOON, Service, Switch};
use crate::replays::{all, states};

/// Dead letters as the broker leaves them: without a word of ours.
async fn given_up(house: &House, ledger: &Service, letters: &[Lit]) {
    let wire = house.wire().await;
    for letter in letters {
        wire.publish("dead-letters", "ledger.dlq", &Raw::of(letter, letter.n)).await;
    }
    let n = letters.len();
    eventually(SOON, || async { ledger.dead_letters().await.len() == n }).await;
}

fn lamps(n: usize) -> Vec<Lit> {
    (0..n).map(|n| Lit::new(format!("lamp-{n}"), 1)).collect()
}

#[tokio::test]
async fn innocent_letters_take_effect_without_an_operator() {
    let house = House::new().await;
    let (ledger, runs) = house.running_ledger(&Switch::new()).await;
    given_up(&house, &ledger, &lamps(5)).await;
    eventually(SOON, || async { ledger.count("entry").await == 5 }).await;
    eventually(SOON, || async {
        let seen = states(&ledger).await;
        if seen == all("replayed", 5) { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    house.finish(&ledger, vec![runs]).await;
    let jobs = ledger.repair().jobs(10).await.unwrap();
    assert!(jobs.iter().all(|job| job.asked_by == "the kit"), "{jobs:?}");
    let groups = ledger.repair().groups(&Filter::default()).await.unwrap();
    assert!(groups.is_empty(), "{groups:?}");
}

#[tokio::test]
async fn one_goes_only_when_it_is_known_what_became_of_the_one_before() {
    let house = House::new().await;
    let switch = Switch::new();
    let gate = switch.gate();
    let ledger = house.ledger(&switch).await;
    ledger.provision().await;
    let runs = ledger.run_only(&["presence", "parker", "consumer"]);
    given_up(&house, &ledger, &lamps(3)).await;
    house.clock.stop();
    let mut replayer = ledger.kit.replayer();
    for sent in 1..=3 {
        // Time enough for all of them, if time were all that it takes.
        for _ in 0..20 {
            replayer.step().await;
            house.clock.pass(TimeDelta::milliseconds(100));
        }
        let replayed = "messaging.replay_letter where outcome = 'replayed'";
        assert_eq!(ledger.count(replayed).await, sent);
        gate.add_permits(1);
        eventually(SOON, || async { ledger.count("entry").await == sent }).await;
    }
    gate.add_permits(1);
    house.finish(&ledger, vec![runs]).await;
}

#[tokio::test]
async fn a_letter_of_which_nothing_is_heard_holds_up_the_next_for_a_minute_only() {
    let house = House::new().await;
    let ledger = house.ledger(&Switch::new()).await;
    ledger.provision().await;
    let runs = ledger.run_only(&["presence", "parker"]);
    given_up(&house, &ledger, &lamps(2)).await;
    house.clock.stop();
    let mut replayer = ledger.kit.replayer();
    let mut sent = Vec::new();
    for _ in 0..4 {
        for _ in 0..20 {
            replayer.step().await;
        }
        sent.push(house.vhost.depth("ledger.in").await.unwrap());
        house.clock.pass(TimeDelta::seconds(25));
    }
    assert_eq!(sent, [1, 1, 1, 2], "nobody takes them: the second goes after a minute");
    runs.stop().await;
}

#[tokio::test]
async fn a_guilty_letter_is_parked_again_and_stays_and_holds_up_nobody() {
    let house = House::new().await;
    let switch = Switch::new();
    let (ledger, runs) = house.running_ledger(&switch).await;
    let guilty = Lit::with("guilty", Mood::Permanent);
    given_up(&house, &ledger, &[vec![guilty.clone()], lamps(2)].concat()).await;
    eventually(SOON, || async { ledger.count("entry").await == 2 }).await;
    eventually(SOON, || async { ledger.dead_letters().await.iter().any(|one| one.parkings == 2) })
        .await;
    // The broker gives up on it once more.
    let letter = ledger.dead_letters().await.into_iter().find(|one| one.state == "parked").unwrap();
    assert_eq!(letter.reason_code, "rejected");
    let again = "update messaging.dead_letter set reason_code = 'delivery_limit' where id = $1";
    sqlx::query(again).bind(letter.id).execute(&ledger.pg).await.unwrap();
    house.finish(&ledger, vec![runs]).await;
    let jobs = async || ledger.repair().jobs(10).await.unwrap().len();
    let before = jobs().await;
    let mut replayer = ledger.kit.replayer();
    while replayer.step().await == Progress::More {}
    assert_eq!(jobs().await, before);
    assert_eq!(ledger.count("messaging.dead_letter where state = 'parked'").await, 1);
    assert_eq!(switch.begun("guilty"), 1);
    // It is for its first chance that it does not get another.
    let forget = "update messaging.dead_letter set second_chance = false";
    sqlx::query(forget).execute(&ledger.pg).await.unwrap();
    while replayer.step().await == Progress::More {}
    assert_eq!(jobs().await, before + 1);
}

#[tokio::test]
async fn a_replayer_that_has_nothing_to_do_asks_nobody_for_seconds() {
    let house = House::new().await;
    let ledger = house.ledger(&Switch::new()).await;
    let pause = match ledger.kit.replayer().step().await {
        Progress::Idle(pause) => pause,
        Progress::More => panic!("there is nothing to do"),
    };
    assert!(pause.as_secs() >= 5, "{pause:?}");
    assert_eq!(house.vhost.queues().await.len(), 0, "and needs no broker for it");
}
