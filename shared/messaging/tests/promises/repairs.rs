//! What an operator decides over dead letters, and what is left of it.

use chrono::TimeDelta;
use messaging::repair::{Asked, Filter, JobState, Selection};
use messaging::step::{Progress, Step};
use messaging::{Housekeeping, Retention};
use testkit::eventually;
use uuid::Uuid;

use crate::house::{Dimmed, House, Lit, Mood, Raw, SOON, Service, Switch};
use crate::replays::{all, parked, states};

const ASKED: Asked<'_> = Asked { by: "grace", note: "nobody needs it" };

/// All that there is about dead letters.
async fn everything(ledger: &Service) -> Vec<String> {
    sqlx::query_scalar(
        "select to_jsonb(t)::text from messaging.dead_letter t
        union all select to_jsonb(t)::text from messaging.replay_job t
        union all select to_jsonb(t)::text from messaging.replay_letter t
        union all select to_jsonb(t)::text from messaging.dead_letter_log t order by 1",
    )
    .fetch_all(&ledger.pg)
    .await
    .unwrap()
}

async fn ids(ledger: &Service) -> Vec<Uuid> {
    ledger.dead_letters().await.into_iter().map(|letter| letter.id).collect()
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_done_and_changes_nothing() {
    let (house, ledger, runs) = parked(&Switch::new(), 4).await;
    runs.stop().await;
    let (ids, repair, retention) = (ids(&ledger).await, ledger.repair(), Retention::default());
    repair.discard(&Selection::Ids(vec![ids[3]]), ASKED).await.unwrap();
    repair.replay(&Selection::Ids(vec![ids[2]]), 50, ASKED).await.unwrap();
    let before = everything(&ledger).await;
    let these = Selection::Ids(ids.clone());
    let preview = repair.preview(&these, &retention).await.unwrap();
    assert_eq!(preview.pending, ids[..2]);
    let refused: Vec<_> = preview.refused.iter().map(|one| (one.id, one.reason.as_str())).collect();
    let expected = [(ids[2], "already being replayed"), (ids[3], "decided meanwhile")];
    assert_eq!(refused, expected);
    let whole = repair.preview(&Selection::All, &retention).await.unwrap();
    assert_eq!((whole.pending, whole.refused.len()), (ids[..2].to_vec(), 0));
    assert_eq!(everything(&ledger).await, before);
    assert_eq!(house.vhost.depth("ledger.in").await, Some(0));

    house.clock.set(retention.replay + TimeDelta::minutes(1));
    let late = repair.preview(&Selection::All, &retention).await.unwrap();
    assert!(late.pending.is_empty());
    assert!(late.refused.iter().all(|one| one.reason == "stale"), "{late:?}");
}

#[tokio::test]
async fn a_letter_that_was_parked_too_long_ago_is_refused_as_stale_and_stays_parked() {
    let switch = Switch::new();
    let (house, ledger, _runs) = parked(&switch, 2).await;
    switch.heal();
    house.clock.set(Retention::default().replay + TimeDelta::minutes(1));
    let asked = ledger.repair().replay(&Selection::All, 50, ASKED).await.unwrap().unwrap();
    let status = eventually(SOON, || async {
        let status = ledger.repair().status(asked.job).await.unwrap().unwrap();
        if status.state == JobState::Done { Ok(status) } else { Err(format!("{status:?}")) }
    })
    .await;
    assert!(status.refused.iter().all(|one| one.reason == "stale"), "{status:?}");
    assert_eq!((status.replayed, status.refused.len()), (0, 2));
    assert_eq!(states(&ledger).await, all("parked", 2));
    assert_eq!(ledger.count("entry").await, 0);
}

#[tokio::test]
async fn a_letter_that_is_discarded_is_never_replayed_and_its_log_cannot_be_changed() {
    let switch = Switch::new();
    let (_house, ledger, _runs) = parked(&switch, 2).await;
    switch.heal();
    let (repair, ids) = (ledger.repair(), ids(&ledger).await);
    let first = Selection::Ids(vec![ids[0]]);
    let done = repair.discard(&first, ASKED).await.unwrap();
    assert_eq!((done.discarded, done.refused.len()), (vec![ids[0]], 0));
    let again = repair.discard(&first, ASKED).await.unwrap();
    assert_eq!((again.discarded.len(), again.refused[0].reason.as_str()), (0, "decided meanwhile"));
    let replay = repair.replay(&first, 50, ASKED).await.unwrap().unwrap();
    assert_eq!((replay.pending, replay.refused[0].reason.as_str()), (0, "decided meanwhile"));
    let letter = repair.find(ids[0]).await.unwrap().unwrap();
    assert_eq!(letter.summary.state, "discarded");
    let told: Vec<_> = letter.history.iter().map(|one| (&*one.what, &*one.note)).collect();
    assert_eq!(told, [("discarded", "nobody needs it"), ("refused", "decided meanwhile")]);
    assert!(repair.find(Uuid::nil()).await.unwrap().is_none());

    for change in [
        "update messaging.dead_letter_log set who = 'nobody'",
        "delete from messaging.dead_letter_log",
        "delete from messaging.dead_letter_log where false",
        "truncate messaging.dead_letter_log",
    ] {
        let refused = sqlx::query(change).execute(&ledger.pg).await.unwrap_err().to_string();
        assert!(refused.contains("append only"), "{change}: {refused}");
    }
}

#[tokio::test]
async fn letters_are_found_and_chosen_by_queue_reason_and_type() {
    let (house, ledger, _runs) = parked(&Switch::new(), 3).await;
    let wire = house.wire().await;
    wire.bind("ledger.in", "lamp.dimmed.v1").await;
    let dimmed = Raw::of(&Dimmed { lamp: "hall".into(), n: 1 }, 1);
    wire.publish("events", "lamp.dimmed.v1", &dimmed).await;
    let mut unsigned = Raw::of(&Lit::with("attic", Mood::Good), 1);
    unsigned.set_header(&crate::house::header("sig"), None);
    wire.publish("events", "lamp.lit.v1", &unsigned).await;
    eventually(SOON, || async { ledger.dead_letters().await.len() == 5 }).await;
    let repair = ledger.repair();
    let groups = repair.groups(&Filter::default()).await.unwrap();
    let seen: Vec<_> = groups
        .iter()
        .map(|group| (&*group.reason_code, group.event_type.as_deref(), group.letters))
        .collect();
    let (lit, dim) = (Some("house.lamp.lit.v1"), Some("house.lamp.dimmed.v1"));
    assert_eq!(seen, [("rejected", lit, 3), ("unknown_type", dim, 1), ("unsigned", lit, 1)]);
    assert!(groups[0].example.contains("not ever"), "{groups:?}");

    let of = |reason: &str, event_type: Option<&str>| Filter {
        queue: Some("ledger.in".into()),
        reason_code: Some(reason.into()),
        event_type: event_type.map(Into::into),
        decided: false,
    };
    for (filter, letters) in [
        (of("rejected", None), 3),
        (of("rejected", Some("lamp.lit.v1")), 3),
        (of("rejected", lit), 3),
        (of("rejected", Some("lamp%v1")), 0),
        (of("rejected", Some("lamp.dimmed.v1")), 0),
        (of("unknown_type", Some("lamp.dimmed.v1")), 1),
        (Filter { queue: Some("else.in".into()), ..Filter::default() }, 0),
    ] {
        assert_eq!(repair.list(&filter, 100).await.unwrap().len(), letters, "{filter:?}");
    }
    assert_eq!(repair.list(&Filter::default(), 2).await.unwrap().len(), 2);

    let rejected =
        Selection::Group { reason_code: "rejected".into(), event_type: Some("lamp.lit.v1".into()) };
    let preview = repair.preview(&rejected, &Retention::default()).await.unwrap();
    assert_eq!(preview.pending.len(), 3);
    assert_eq!(repair.discard(&rejected, ASKED).await.unwrap().discarded.len(), 3);
    assert_eq!(repair.list(&of("rejected", None), 100).await.unwrap().len(), 0);
    let decided = Filter { decided: true, ..of("rejected", None) };
    assert_eq!(repair.list(&decided, 100).await.unwrap().len(), 3);
}

#[tokio::test]
async fn what_was_decided_goes_after_its_retention_and_what_is_parked_never() {
    let house = House::new().await;
    let switch = Switch::new();
    let (ledger, runs) = house.running_ledger(&switch).await;
    let wire = house.wire().await;
    for n in 0..6 {
        let raw = Raw::of(&Lit::with(format!("lamp-{n}"), Mood::Permanent), 1);
        wire.publish("events", "lamp.lit.v1", &raw).await;
    }
    eventually(SOON, || async { ledger.dead_letters().await.len() == 6 }).await;
    switch.heal();
    let (repair, ids) = (ledger.repair(), ids(&ledger).await);
    repair.discard(&Selection::Ids(ids[..2].to_vec()), ASKED).await.unwrap();
    let replay = Selection::Ids(ids[2..4].to_vec());
    let job = repair.replay(&replay, 50, ASKED).await.unwrap().unwrap().job;
    eventually(SOON, || async {
        repair.status(job).await.unwrap().unwrap().state == JobState::Done
    })
    .await;
    runs.stop().await;

    let retention = Retention { decided: TimeDelta::days(3), ..Retention::default() };
    let mut housekeeping = Housekeeping::new(ledger.pool.clone(), retention);
    house.clock.set(TimeDelta::days(3) - TimeDelta::minutes(5));
    assert!(matches!(housekeeping.step().await, Progress::Idle(_)));
    assert_eq!((ledger.dead_letters().await.len(), repair.jobs(10).await.unwrap().len()), (6, 1));
    house.clock.set(TimeDelta::days(3) + TimeDelta::minutes(5));
    assert!(matches!(housekeeping.step().await, Progress::Idle(_)));
    assert_eq!(states(&ledger).await, all("parked", 2));
    assert!(repair.jobs(10).await.unwrap().is_empty());
    assert_eq!(ledger.count("messaging.replay_letter").await, 0);
    assert_eq!(
        ledger.count("messaging.dead_letter_log").await,
        2 + 2 + 2,
        "what was decided stays"
    );
    house.clock.set(TimeDelta::days(4_000));
    assert!(matches!(housekeeping.step().await, Progress::Idle(_)));
    assert_eq!(states(&ledger).await, all("parked", 2));
}
