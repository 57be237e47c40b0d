//! How often the way of a message through this crate asks for memory: counted, so that it does not
//! creep up.
#![allow(clippy::unwrap_used)]

use envelope::signature::{KeyDocument, KeyRing, Signed, Signer};
use envelope::{Clock, Envelope, Event, Identity, Subject};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// The most that writing a message may ask for: wrapping, encoding and signing.
const WRITING: u64 = 68;
/// The most that reading one may ask for, of a batch of 64: verifying, decoding and its data.
const READING: u64 = 50;
const BATCH: u64 = 64;

#[derive(Debug, Serialize, Deserialize)]
struct Placed {
    order_id: Uuid,
    email: String,
    lines: Vec<Line>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    sku: String,
    quantity: u32,
    unit_price_minor: i64,
}

impl Event for Placed {
    const TYPE: &'static str = "order.placed.v1";
    fn subject(&self) -> Subject {
        Subject::new("order", self.order_id)
    }
}

fn placed(clock: &Clock) -> Placed {
    let line = |n| Line { sku: format!("SKU-{n}"), quantity: n, unit_price_minor: 1_250 };
    let lines = (1..=3).map(line).collect();
    Placed { order_id: clock.new_id(), email: "buyer@example.com".into(), lines }
}

/// What `work` asked for, and what it gave.
fn counted<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let before = dhat::HeapStats::get().total_blocks;
    let done = work();
    (dhat::HeapStats::get().total_blocks - before, done)
}

/// One test, as the count is the process's.
#[test]
fn a_message_asks_for_no_more_memory_than_its_budget() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let (clock, shop) = (Clock::system(), Identity::new("shop", "test", "order"));
    let signer = Signer::from_seed("order-1", [7; 32]);
    let ring = KeyRing::new(&KeyDocument { keys: vec![signer.public_for(&shop)] }).unwrap();
    let write = |event: &Placed| {
        let envelope = Envelope::wrap(&shop, event, 1, clock.new_id(), clock.now()).unwrap();
        let body = envelope.caused_by(clock.new_id(), None).to_bytes().unwrap();
        let signature = signer.sign(&body);
        (body, signature)
    };
    let event = placed(&clock);
    let _ = write(&event);
    let (writing, _) = counted(|| write(&event));

    let written: Vec<_> = (0..BATCH).map(|_| write(&placed(&clock))).collect();
    let read = || {
        let signed: Vec<Signed<'_>> = written
            .iter()
            .map(|(body, signature)| Signed { body, signature, kid: "order-1" })
            .collect();
        assert!(ring.verify_all(&signed).iter().all(Result::is_ok));
        for (body, _) in &written {
            let envelope = Envelope::decode(body).unwrap();
            assert_eq!(envelope.data::<Placed>().unwrap().lines.len(), 3);
        }
    };
    read();
    let (reading, ()) = counted(read);
    let reading = reading.div_ceil(BATCH);
    assert!(writing <= WRITING, "writing a message: {writing} allocations, {WRITING} are allowed");
    assert!(reading <= READING, "reading a message: {reading} allocations, {READING} are allowed");
}
