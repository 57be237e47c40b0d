#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicI64, Ordering};

use chrono::TimeDelta;
use envelope::TimeSource;
use uuid::Uuid;

use super::faults::Moment;
use super::*;
use crate::transport::{Delivery, Fate, Outgoing, Settlement};

#[derive(Clone, Default)]
struct Stopped(Arc<AtomicI64>);

impl TimeSource for Stopped {
    fn now(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(self.0.load(Ordering::SeqCst))
    }

    fn new_id(&self) -> Uuid {
        Uuid::nil()
    }

    fn unit(&self) -> f64 {
        0.5
    }
}

fn ledger() -> Topology {
    Topology { service: "ledger".into(), bindings: vec!["lamp.lit.v1".into()] }
}

/// A broker where nobody waits, with numbered messages in the ledger's queue.
async fn furnished(messages: u8) -> (Memory, Stopped) {
    let time = Stopped::default();
    let broker = Memory::new(Clock::from_source(time.clone()), "house").stepping();
    broker.provision(&ledger()).await.unwrap();
    for n in 0..messages {
        assert!(broker.put("ledger.in", Content { body: vec![n], ..Content::default() }));
    }
    (broker, time)
}

fn numbers(deliveries: &[Delivery]) -> Vec<u8> {
    deliveries.iter().map(|one| one.body[0]).collect()
}

async fn waiting(broker: &Memory) -> Vec<u8> {
    let mut subscription = broker.subscribe(&ledger(), 0).await.unwrap();
    let all = subscription.next(100).await.unwrap();
    subscription.close().await;
    numbers(&all)
}

#[tokio::test]
async fn what_a_broken_connection_had_goes_back_to_its_place() {
    let (broker, _) = furnished(6).await;
    let mut subscription = broker.named("a").subscribe(&ledger(), 4).await.unwrap();
    let got = subscription.next(2).await.unwrap();
    subscription.settle(vec![(got[1].clone(), Settlement::Done)]).await.unwrap();
    assert_eq!((broker.cut(Some("b")), broker.cut(Some("a"))), (0, 1));
    assert_eq!(waiting(&broker).await, [0, 2, 3, 4, 5]);
}

#[tokio::test]
async fn messages_are_duplicated_swapped_and_delayed() {
    let (broker, time) = furnished(4).await;
    assert!(broker.duplicate("ledger.in", 1) && broker.swap("ledger.in", 3, 0));
    assert_eq!(waiting(&broker).await, [3, 1, 2, 0, 1]);
    assert!(broker.delay("ledger.in", 0, TimeDelta::seconds(5)));
    assert!(!broker.delay("ledger.in", 4, TimeDelta::seconds(5)), "there is no fifth");
    time.0.store(4, Ordering::SeqCst);
    assert_eq!(waiting(&broker).await, [1, 2, 0, 1]);
    time.0.store(5, Ordering::SeqCst);
    assert_eq!(waiting(&broker).await, [1, 2, 0, 1, 3]);
}

#[tokio::test]
async fn a_message_that_breaks_every_connection_is_given_up() {
    let (broker, _) = furnished(1).await;
    let mut broken = 0;
    while broker.depth("ledger.in") == Some(1) {
        let mut subscription = broker.subscribe(&ledger(), 1).await.unwrap();
        assert_eq!(subscription.next(1).await.unwrap()[0].redelivered, broken > 0);
        drop(subscription);
        broken += 1;
    }
    assert_eq!(broken, 21);
    let letter = broker.parked(&ledger()).await.unwrap().next(1).await.unwrap().remove(0);
    assert_eq!(letter.headers["x-first-death-reason"], "delivery_limit");
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "what the ban points to is what is tested here")]
async fn a_held_publish_waits_until_it_is_released_or_cut() {
    let (broker, _) = furnished(0).await;
    let told = |body| Outgoing {
        id: Uuid::nil(),
        short_type: "lamp.lit.v1",
        full_type: "house.lamp.lit.v1",
        service: "lamp",
        namespace: "house",
        correlation_id: Uuid::nil(),
        body,
        signature: &[0; 64],
        key_id: "k",
        traceparent: None,
        tracestate: None,
        created_at: DateTime::UNIX_EPOCH,
        published_at: DateTime::UNIX_EPOCH,
    };
    for (moment, is_there) in [(Moment::BeforePublish, 0), (Moment::BeforeConfirm, 1)] {
        let mut publisher = broker.publisher().await.unwrap();
        broker.hold_next(moment);
        let (first, second) = ([told(b"1")], [told(b"2")]);
        let mut held = publisher.publish(&first);
        assert!(futures_util::poll!(&mut held).is_pending(), "{moment:?}");
        assert_eq!(broker.depth("ledger.in"), Some(is_there), "{moment:?}");
        assert!(broker.release() && !broker.release());
        assert_eq!(held.await, [Fate::Confirmed], "{moment:?}");
        broker.hold_next(moment);
        let mut held = publisher.publish(&second);
        assert!(futures_util::poll!(&mut held).is_pending(), "{moment:?}");
        broker.cut(None);
        assert_eq!(held.await, [Fate::Unknown], "{moment:?}");
        assert_eq!(broker.depth("ledger.in"), Some(1 + is_there), "{moment:?}");
        broker.delete_queue("ledger.in");
        broker.provision(&ledger()).await.unwrap();
    }
}
