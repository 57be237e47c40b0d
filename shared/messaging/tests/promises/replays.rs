//! Dead letters that go back to their queue: as they came, once, however often and by whomever it is
//! asked for, and whoever dies over it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use futures_util::future::join_all;
use messaging::repair::{Asked, JobState, JobStatus, Selection};
use messaging::step::{Progress, Step};
use messaging::{Handlers, Replayer};
use testkit::eventually;
use uuid::Uuid;

use crate::house::{
    Book, Dimmed, Entry, House, Lit, Mood, Raw, Relight, Running, SOON, Service, Switch, header,
};

const ASKED: Asked<'_> = Asked { by: "grace", note: "the lamp is mended" };
/// More than a test has.
const FAST: i32 = 10_000;

/// A ledger that runs and has parked so many letters, each of a lamp of its own.
pub async fn parked(switch: &Switch, letters: usize) -> (House, Service, Running) {
    let house = House::new().await;
    let (ledger, runs) = house.running_ledger(switch).await;
    park(&house, &ledger, 0..letters).await;
    (house, ledger, runs)
}

async fn park(house: &House, ledger: &Service, lamps: std::ops::Range<usize>) {
    let wire = house.wire().await;
    let before = ledger.dead_letters().await.len();
    let letters = before + lamps.len();
    for n in lamps {
        let raw = Raw::of(&Lit::with(format!("lamp-{n}"), Mood::Permanent), 1);
        wire.publish("events", "lamp.lit.v1", &raw).await;
    }
    eventually(SOON, || async { ledger.dead_letters().await.len() == letters }).await;
}

/// How many letters are in each state.
pub async fn states(ledger: &Service) -> BTreeMap<String, usize> {
    let mut states = BTreeMap::new();
    for letter in ledger.dead_letters().await {
        *states.entry(letter.state).or_default() += 1;
    }
    states
}

pub fn all(state: &str, letters: usize) -> BTreeMap<String, usize> {
    BTreeMap::from([(state.to_owned(), letters)])
}

fn once_each(lamps: usize) -> BTreeMap<String, usize> {
    (0..lamps).map(|n| (format!("lamp-{n}"), 1)).collect()
}

async fn status(ledger: &Service, job: Uuid) -> JobStatus {
    ledger.repair().status(job).await.unwrap().unwrap()
}

async fn done(ledger: &Service, job: Uuid) -> JobStatus {
    eventually(SOON, || async {
        let status = status(ledger, job).await;
        if status.state == JobState::Done { Ok(status) } else { Err(format!("{status:?}")) }
    })
    .await
}

async fn replay(ledger: &Service, rate: i32) -> Uuid {
    let asked = ledger.repair().replay(&Selection::All, rate, ASKED).await.unwrap();
    asked.unwrap().job
}

/// Steps until there is nothing more to do for now.
async fn exhaust(replayer: &mut Replayer) {
    while replayer.step().await == Progress::More {}
}

#[tokio::test]
async fn a_letter_goes_back_as_it_came_to_its_own_queue_and_to_nobody_else() {
    let house = House::new().await;
    let ledger = house.ledger(&Switch::new()).await;
    ledger.provision().await;
    let wire = house.wire().await;
    wire.queue("probe", &["#"]).await;
    let mut raw = Raw::of(&Lit::with("hall", Mood::Transient), 1);
    raw.set_header("x-of-the-sender", Some("kept"));
    raw.set_header("traceparent", Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
    // One that has climbed the whole ladder.
    let mut last = raw.clone();
    last.set_header(&header("attempt"), Some("5"));
    wire.publish("requeue", "ledger.in", &last).await;
    let runs = ledger.run();
    eventually(SOON, || async { ledger.dead_letters().await.len() == 1 }).await;
    runs.stop().await;

    let job = replay(&ledger, FAST).await;
    let runs = ledger.run_only(&["presence", "replayer"]);
    let back = wire.take("ledger.in", 1).await.remove(0);
    done(&ledger, job).await;
    runs.stop().await;
    assert_eq!(back.body, raw.body);
    let (is, was) = (&back.properties, &raw.properties);
    assert_eq!(is.message_id(), was.message_id());
    assert_eq!((is.kind(), is.app_id()), (was.kind(), was.app_id()));
    assert_eq!((is.content_type(), is.delivery_mode()), (was.content_type(), was.delivery_mode()));
    assert_eq!(is.user_id(), &None);
    // All but the one that the broker writes.
    let names = is.headers().iter().flat_map(|t| t.inner()).map(|(name, _)| name.to_string());
    let names: BTreeSet<String> = names.filter(|name| name != "x-delivery-count").collect();
    let [sig, kid, sigver] = ["sig", "kid", "sigver"].map(header);
    let [replay, copy] = ["replay", "copy"].map(header);
    let kept = [&sig, &kid, &sigver, "x-of-the-sender", "traceparent"];
    let expected: BTreeSet<String> =
        kept.into_iter().chain([&*replay, &copy]).map(str::to_owned).collect();
    assert_eq!(names, expected, "its attempts are forgotten");
    for name in kept {
        assert_eq!(back.header(name), raw.header(name), "{name}");
    }
    assert_eq!(back.header(&replay), Some(job.to_string()));
    assert!(wire.drain("probe").await.is_empty(), "others heard of it");
    assert_eq!(states(&ledger).await, all("replayed", 1));
}

#[tokio::test]
async fn a_letter_that_is_mended_takes_effect_and_one_that_is_not_is_parked_again() {
    let switch = Switch::new();
    let (house, ledger, runs) = parked(&switch, 1).await;
    let job = replay(&ledger, FAST).await;
    done(&ledger, job).await;
    eventually(SOON, || async { ledger.dead_letters().await[0].parkings == 2 }).await;
    let again = ledger.dead_letters().await.remove(0);
    assert_eq!((again.state.as_str(), again.attempts), ("parked", 1), "{again:?}");
    assert_eq!(ledger.count("entry").await, 0);

    switch.heal();
    let job = replay(&ledger, FAST).await;
    done(&ledger, job).await;
    house.finish(&ledger, vec![runs]).await;
    assert_eq!(ledger.effects().await, once_each(1));
    assert_eq!(states(&ledger).await, all("replayed", 1));
    let history = ledger.repair().find(again.id).await.unwrap().unwrap().history;
    let told: Vec<_> = history.iter().map(|one| (one.what.as_str(), one.who.as_str())).collect();
    let twice = [("replay", "grace"), ("replayed", "grace")].repeat(2);
    assert_eq!(told, twice);
    assert_eq!(history[0].note, "the lamp is mended");
}

#[tokio::test]
async fn replays_that_are_asked_for_at_once_are_one_replay() {
    const LETTERS: usize = 20;
    let switch = Switch::new();
    let (house, ledger, runs) = parked(&switch, LETTERS).await;
    switch.heal();
    let ids = ledger.dead_letters().await.into_iter().map(|letter| letter.id).collect();
    let (repair, these) = (ledger.repair(), Selection::Ids(ids));
    let asked = (0..8).map(|n| {
        let what = if n % 2 == 0 { &Selection::All } else { &these };
        repair.replay(what, FAST, ASKED)
    });
    let jobs: Vec<_> = join_all(asked).await.into_iter().filter_map(Result::unwrap).collect();
    let taken: usize = jobs.iter().map(|job| job.pending).sum();
    assert_eq!(taken, LETTERS, "each letter is in one of them: {jobs:?}");
    for job in &jobs {
        done(&ledger, job.job).await;
        let refused = job.refused.iter().all(|one| {
            ["already being replayed", "decided meanwhile"].contains(&one.reason.as_str())
        });
        assert!(refused, "{job:?}");
    }
    // And once more, when it is over.
    let again = repair.replay(&these, FAST, ASKED).await.unwrap().unwrap();
    assert_eq!((again.pending, again.refused.len()), (0, LETTERS));
    assert_eq!(status(&ledger, again.job).await.state, JobState::Done);
    house.finish(&ledger, vec![runs]).await;
    assert_eq!(ledger.effects().await, once_each(LETTERS));
    assert_eq!(states(&ledger).await, all("replayed", LETTERS));
}

#[tokio::test]
async fn a_letter_is_in_one_running_replay_only_whoever_writes_it() {
    let (_house, ledger, runs) = parked(&Switch::new(), 2).await;
    runs.stop().await;
    let first = replay(&ledger, FAST).await;
    assert_eq!(states(&ledger).await, all("replaying", 2));
    let repair = ledger.repair();
    assert!(repair.replay(&Selection::All, FAST, ASKED).await.unwrap().is_none());
    let ids: Vec<Uuid> = ledger.dead_letters().await.iter().map(|letter| letter.id).collect();
    let these = Selection::Ids(ids.clone());
    let second = repair.replay(&these, FAST, ASKED).await.unwrap().unwrap();
    assert_eq!(second.pending, 0);
    let reasons: Vec<&str> = second.refused.iter().map(|one| one.reason.as_str()).collect();
    assert_eq!(reasons, ["already being replayed"; 2]);
    let discarded = repair.discard(&these, ASKED).await.unwrap();
    assert_eq!((discarded.discarded.len(), discarded.refused.len()), (0, 2));
    assert_eq!(status(&ledger, first).await.pending, 2);

    let behind = "insert into messaging.replay_letter (job_id, place, dead_letter_id, outcome)
        values ($1, 9, $2, 'pending')";
    let refused = sqlx::query(behind).bind(second.job).bind(ids[0]).execute(&ledger.pg).await;
    let refused = refused.unwrap_err().into_database_error().unwrap();
    assert!(refused.is_unique_violation(), "{refused}");
}

#[tokio::test]
async fn a_replay_whose_process_dies_between_publish_and_mark_goes_on_and_repeats_no_effect() {
    const LETTERS: usize = 30;
    let switch = Switch::new();
    let (house, ledger, runs) = parked(&switch, LETTERS).await;
    switch.heal();
    ledger.faults.hang_confirming(true);
    let job = replay(&ledger, 100).await;
    // The first batch takes effect, and nobody stores that it has gone.
    eventually(SOON, || async { ledger.faults.hanging() == 1 }).await;
    eventually(SOON, || async { ledger.count("entry").await == 10 }).await;
    // And nobody holds a transaction over it.
    eventually(SOON, || async {
        let open = ledger.open_transactions().await;
        if open.is_empty() { Ok(()) } else { Err(format!("{open:?}")) }
    })
    .await;
    runs.crash().await;
    assert_eq!(status(&ledger, job).await.pending, LETTERS as i64);

    ledger.faults.hang_confirming(false);
    let runs = ledger.run();
    done(&ledger, job).await;
    house.finish(&ledger, vec![runs]).await;
    assert_eq!(ledger.effects().await, once_each(LETTERS));
    assert_eq!(states(&ledger).await, all("replayed", LETTERS));
    assert_eq!(ledger.count("messaging.dead_letter_log where what = 'replayed'").await, 30);
}

#[tokio::test]
async fn a_letter_over_which_each_process_dies_is_not_sent_for_ever() {
    let (house, ledger, runs) = parked(&Switch::new(), 1).await;
    runs.stop().await;
    ledger.faults.hang_confirming(true);
    let job = replay(&ledger, FAST).await;
    for died in 1..=3 {
        let runs = ledger.run_only(&["presence", "replayer"]);
        eventually(SOON, || async { ledger.faults.hanging() == died }).await;
        runs.crash().await;
    }
    let runs = ledger.run_only(&["presence", "replayer"]);
    let status = done(&ledger, job).await;
    assert_eq!(status.refused[0].reason, "the process ended each time that it was sent");
    assert_eq!(house.vhost.depth("ledger.in").await, Some(3));
    assert_eq!(states(&ledger).await, all("parked", 1));
    runs.stop().await;
}

#[tokio::test]
async fn a_replay_goes_on_at_another_replica_when_its_own_stops_or_dies() {
    const LETTERS: usize = 40;
    let switch = Switch::new();
    let (house, ledger, runs) = parked(&switch, LETTERS).await;
    switch.heal();
    let other = ledger.replica(&house, Handlers::new().on(Book(switch.clone())));
    let job = replay(&ledger, 20).await;
    let gone = async |at_least: i64| {
        eventually(SOON, || async { status(&ledger, job).await.replayed >= at_least }).await;
    };
    gone(2).await;
    // One of the two works on it, and it may be either.
    let other_runs = other.run();
    runs.stop().await;
    gone(8).await;
    other_runs.crash().await;
    let runs = ledger.run();
    let status = done(&ledger, job).await;
    assert_eq!(status.replayed, LETTERS as i64);
    house.finish(&ledger, vec![runs]).await;
    assert_eq!(ledger.effects().await, once_each(LETTERS));
}

#[tokio::test]
async fn a_rate_is_kept_to_the_letter() {
    let (house, ledger, runs) = parked(&Switch::new(), 140).await;
    runs.stop().await;
    house.clock.stop();
    let job = replay(&ledger, 50).await;
    let mut replayer = ledger.kit.replayer();
    let mut sent = vec![];
    for _ in 0..=20 {
        exhaust(&mut replayer).await;
        // Asked again at the same time, there is nothing more to have.
        exhaust(&mut replayer).await;
        sent.push(status(&ledger, job).await.replayed);
        house.clock.pass(TimeDelta::milliseconds(100));
    }
    let steady: Vec<i64> = (1..=21).map(|n| n * 5).collect();
    assert_eq!(sent, steady, "5 each 100 ms");
    // An hour in which it was held up is not made up for.
    house.clock.pass(TimeDelta::hours(1));
    exhaust(&mut replayer).await;
    assert_eq!(status(&ledger, job).await.replayed, 105 + 25);
}

#[tokio::test]
async fn a_replay_that_is_cancelled_midway_leaves_the_rest_parked_for_another() {
    let switch = Switch::new();
    let (house, ledger, runs) = parked(&switch, 20).await;
    switch.heal();
    house.clock.stop();
    let job = replay(&ledger, 50).await;
    eventually(SOON, || async { status(&ledger, job).await.replayed == 5 }).await;
    let repair = ledger.repair();
    let by = Asked { by: "ada", note: "not yet" };
    assert_eq!(repair.cancel(job, by).await.unwrap(), Some(15));
    assert_eq!(repair.cancel(job, by).await.unwrap(), None, "it has ended");
    assert_eq!(repair.cancel(Uuid::nil(), by).await.unwrap(), None, "there is none");
    let status = status(&ledger, job).await;
    assert_eq!((status.state, status.pending), (JobState::Cancelled, 0));
    assert_eq!((status.replayed, status.cancelled), (5, 15));
    let mut half = all("replayed", 5);
    half.extend(all("parked", 15));
    assert_eq!(states(&ledger).await, half);
    let cancelled = "messaging.dead_letter_log where what = 'cancelled' and who = 'ada'";
    assert_eq!(ledger.count(cancelled).await, 15);

    let job = replay(&ledger, FAST).await;
    done(&ledger, job).await;
    house.finish(&ledger, vec![runs]).await;
    assert_eq!(ledger.effects().await, once_each(20));
}

#[tokio::test]
async fn a_letter_without_a_way_back_waits_and_goes_when_there_is_one() {
    let switch = Switch::new();
    let (house, ledger, runs) = parked(&switch, 3).await;
    switch.heal();
    house.vhost.unbind("requeue", "ledger.in", "ledger.in").await;
    let job = replay(&ledger, FAST).await;
    let held = eventually(SOON, || async {
        let status = status(&ledger, job).await;
        status.trouble.clone().ok_or(format!("{status:?}"))
    })
    .await;
    assert!(held.contains("ledger.in takes nothing back"), "{held}");
    assert_eq!(status(&ledger, job).await.pending, 3);
    ledger.provision().await;
    assert_eq!(done(&ledger, job).await.trouble, None);
    house.finish(&ledger, vec![runs]).await;
    assert_eq!(ledger.effects().await, once_each(3));
}

#[tokio::test]
async fn later_versions_do_not_overtake_a_parked_one_and_all_are_replayed_in_order() {
    let house = House::new().await;
    let switch = Switch::new();
    let handlers =
        Handlers::new().on_ordered::<Lit>(Book(switch.clone())).on_ordered::<Dimmed>(Relight);
    let ledger = Service::new(&house, "ledger", handlers).await;
    ledger.provision().await;
    let runs = ledger.run();
    let wire = house.wire().await;
    let lit = |n, mood| Lit { lamp: "hall".into(), n, mood };
    wire.publish("events", "lamp.lit.v1", &Raw::of(&lit(1, Mood::Good), 1)).await;
    wire.publish("events", "lamp.lit.v1", &Raw::of(&lit(2, Mood::Permanent), 2)).await;
    eventually(SOON, || async { ledger.dead_letters().await.len() == 1 }).await;
    // The next two come on the last rung of the ladder; the later one is parked first.
    for n in [4, 3] {
        let mut late = match n {
            3 => Raw::of(&Dimmed { lamp: "hall".into(), n }, n),
            _ => Raw::of(&lit(n, Mood::Good), n),
        };
        late.set_header(&header("attempt"), Some("5"));
        wire.publish("requeue", "ledger.in", &late).await;
        let letters = 6 - n as usize;
        eventually(SOON, || async { ledger.dead_letters().await.len() == letters }).await;
    }
    let codes: Vec<String> =
        ledger.dead_letters().await.into_iter().map(|letter| letter.reason_code).collect();
    assert_eq!(codes, ["rejected", "sequence_gap", "sequence_gap"]);
    let applied = |n| Entry { lamp: "hall".into(), n };
    assert_eq!(ledger.entries().await, [applied(1)]);

    switch.heal();
    let job = replay(&ledger, FAST).await;
    done(&ledger, job).await;
    eventually(SOON, || async { ledger.count("entry").await == 4 }).await;
    assert_eq!(ledger.entries().await, [1, 2, 3, 4].map(applied));
    house.finish(&ledger, vec![runs]).await;
    assert_eq!(states(&ledger).await, all("replayed", 3));
}
