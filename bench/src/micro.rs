//! The small operations that every message pays for: measured by the clock in `benches/micro.rs`, and
//! counted in instructions by `make micro`.

use std::hint::black_box;
use std::process::Command;

use anyhow::{Context as _, ensure};
use envelope::signature::{KeyDocument, KeyRing, Signed, Signer};
use envelope::{Clock, Envelope, Identity};
use messaging::partition_of;

use crate::document::{COUNTS, Count};
use crate::figures::placed;

/// Messages of a full chunk of the consumer.
const CHUNK: usize = 64;
/// Calls that are counted and calls that are taken off again, with everything around them.
const CALLS: [u64; 2] = [50, 10];

/// What the operations work on.
pub struct Fixture {
    identity: Identity,
    signer: Signer,
    keys: KeyRing,
    clock: Clock,
    envelope: Envelope,
    /// A chunk of bodies with their signatures.
    chunk: Vec<(Vec<u8>, [u8; 64])>,
}

/// An operation, and what it is called.
pub type Operation = (&'static str, fn(&Fixture));

/// All of them.
pub const OPERATIONS: [Operation; 7] = [
    ("encode", Fixture::encode),
    ("decode", Fixture::decode),
    ("sign", Fixture::sign),
    ("verify", Fixture::verify),
    ("verify a chunk of 64", Fixture::verify_chunk),
    ("verify and decode a chunk of 64", Fixture::read_chunk),
    ("partition of an aggregate", Fixture::partition),
];

impl Fixture {
    /// # Errors
    /// When an order cannot be written as an event.
    pub fn new() -> anyhow::Result<Self> {
        let (clock, identity) = (Clock::system(), Identity::new("shop", "bench", "order"));
        let signer = Signer::from_seed("order-1", [7; 32]);
        let keys = KeyRing::new(&KeyDocument { keys: vec![signer.public_for(&identity)] })?;
        let wrap = || -> anyhow::Result<Envelope> {
            let order = placed(clock.new_id(), clock.now())?;
            Ok(Envelope::wrap(&identity, &order, 1, clock.new_id(), clock.now())?)
        };
        let mut chunk = Vec::with_capacity(CHUNK);
        for _ in 0..CHUNK {
            let body = wrap()?.to_bytes()?;
            let signature = signer.sign(&body);
            chunk.push((body, signature));
        }
        Ok(Self { envelope: wrap()?, chunk, identity, signer, keys, clock })
    }

    fn first(&self) -> &(Vec<u8>, [u8; 64]) {
        &self.chunk[0]
    }

    fn signed(&self) -> Vec<Signed<'_>> {
        let signed = |(body, signature)| Signed { body, signature, kid: self.signer.kid() };
        self.chunk.iter().map(|(body, signature)| signed((body, signature))).collect()
    }

    fn encode(&self) {
        let data = self.envelope.data::<contracts::order::OrderPlaced>();
        let Ok(order) = black_box(data) else { return };
        let (id, now) = (self.envelope.id, self.clock.now());
        let envelope = Envelope::wrap(&self.identity, &order, 1, id, now);
        let _ = black_box(envelope.map(|envelope| envelope.to_bytes()));
    }

    fn decode(&self) {
        let _ = black_box(Envelope::decode(black_box(&self.first().0)));
    }

    fn sign(&self) {
        black_box(self.signer.sign(black_box(&self.first().0)));
    }

    fn verify(&self) {
        let (body, signature) = self.first();
        let _ = black_box(self.keys.verify(Signed { body, signature, kid: self.signer.kid() }));
    }

    fn verify_chunk(&self) {
        black_box(self.keys.verify_all(black_box(&self.signed())));
    }

    fn read_chunk(&self) {
        self.verify_chunk();
        for (body, _) in &self.chunk {
            let _ = black_box(Envelope::decode(black_box(body)));
        }
    }

    fn partition(&self) {
        black_box(partition_of(black_box(self.envelope.subject.as_str())));
    }
}

/// Calls an operation so many times, for whoever watches this process.
///
/// # Errors
/// When there is no such operation.
pub fn call(name: &str, times: u64) -> anyhow::Result<()> {
    let operation = OPERATIONS.iter().find(|(known, _)| *known == name);
    let (_, operation) = operation.with_context(|| format!("no operation {name}"))?;
    let fixture = Fixture::new()?;
    (0..times).for_each(|_| operation(&fixture));
    Ok(())
}

/// Counts the instructions of every operation, by this program under callgrind, and writes them down.
///
/// # Errors
/// When callgrind is not there.
pub fn count() -> anyhow::Result<()> {
    let mut counts = Vec::new();
    for (operation, _) in OPERATIONS {
        let [many, few] = CALLS;
        let between = instructions(operation, many)?.saturating_sub(instructions(operation, few)?);
        let instructions = between / (many - few);
        println!("{operation:<34} {instructions:>12}");
        counts.push(Count { operation: operation.to_owned(), instructions });
    }
    std::fs::write(COUNTS, serde_json::to_string_pretty(&counts)? + "\n").context(COUNTS)
}

fn instructions(operation: &str, times: u64) -> anyhow::Result<u64> {
    let done = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args([operation, &times.to_string()])
        .output()
        .context("valgrind is needed: apt-get install valgrind")?;
    let told = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{told}");
    let collected = told.lines().find_map(|line| line.split_once("Collected : "));
    let (_, number) = collected.with_context(|| format!("callgrind counts nothing: {told}"))?;
    Ok(number.trim().parse()?)
}
