//! RabbitMQ with faults that cannot be had from outside at the right moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use async_trait::async_trait;
use messaging::topology::Topology;
use messaging::transport::rabbitmq::RabbitMq;
use messaging::transport::{
    Blocked, Delivery, Fate, Outgoing, Parked, Publisher, Settlement, Subscription, Transport,
    TransportError,
};

/// What goes wrong, and what was seen. Clones share it.
#[derive(Clone, Default)]
pub struct Faults(Arc<Inner>);

#[derive(Default)]
struct Inner {
    lost_confirms: AtomicU32,
    settling_hangs: AtomicBool,
    publishing_hangs: AtomicBool,
    confirming_hangs: AtomicBool,
    hanging: AtomicU32,
    largest_batch: AtomicU32,
}

impl Faults {
    /// The confirms of the next so many batches do not come, though the broker takes the messages.
    pub fn lose_confirms(&self, batches: u32) {
        self.0.lost_confirms.store(batches, Ordering::SeqCst);
    }

    /// Whether deliveries are handled, and the acknowledgement never leaves.
    pub fn hang_settling(&self, yes: bool) {
        self.0.settling_hangs.store(yes, Ordering::SeqCst);
    }

    /// Whether a publish begins and does not end.
    pub fn hang_publishing(&self, yes: bool) {
        self.0.publishing_hangs.store(yes, Ordering::SeqCst);
    }

    /// Whether parked messages are put back, and their confirms do not come.
    pub fn hang_confirming(&self, yes: bool) {
        self.0.confirming_hangs.store(yes, Ordering::SeqCst);
    }

    /// How many calls hang, or have been given up hanging.
    pub fn hanging(&self) -> u32 {
        self.0.hanging.load(Ordering::SeqCst)
    }

    /// The most messages that were in flight at a time.
    pub fn largest_batch(&self) -> u32 {
        self.0.largest_batch.load(Ordering::SeqCst)
    }

    async fn hang(&self) {
        self.0.hanging.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<()>().await;
    }
}

/// A transport with faults.
pub struct Faulty {
    pub inner: RabbitMq,
    pub faults: Faults,
}

#[async_trait]
impl Transport for Faulty {
    async fn publisher(&self) -> Result<Box<dyn Publisher>, TransportError> {
        let inner = self.inner.publisher().await?;
        Ok(Box::new(FaultyPublisher { inner, faults: self.faults.clone() }))
    }

    async fn subscribe(
        &self,
        topology: &Topology,
        prefetch: u16,
    ) -> Result<Box<dyn Subscription>, TransportError> {
        let inner = self.inner.subscribe(topology, prefetch).await?;
        Ok(Box::new(FaultySubscription { inner, faults: self.faults.clone() }))
    }

    async fn parked(&self, topology: &Topology) -> Result<Box<dyn Subscription>, TransportError> {
        self.inner.parked(topology).await
    }

    async fn provision(&self, topology: &Topology) -> Result<Vec<String>, TransportError> {
        self.inner.provision(topology).await
    }
}

struct FaultyPublisher {
    inner: Box<dyn Publisher>,
    faults: Faults,
}

#[async_trait]
impl Publisher for FaultyPublisher {
    async fn publish(&mut self, batch: &[Outgoing<'_>]) -> Vec<Fate> {
        let faults = &self.faults.0;
        if faults.publishing_hangs.load(Ordering::SeqCst) {
            self.faults.hang().await;
        }
        faults.largest_batch.fetch_max(u32::try_from(batch.len()).unwrap(), Ordering::SeqCst);
        let fates = self.inner.publish(batch).await;
        let down = |left: u32| left.checked_sub(1);
        let lost = &faults.lost_confirms;
        if lost.fetch_update(Ordering::SeqCst, Ordering::SeqCst, down).is_ok() {
            return vec![Fate::Unknown; batch.len()];
        }
        fates
    }

    async fn put_back(&mut self, topology: &Topology, batch: &[Parked<'_>]) -> Vec<Fate> {
        let fates = self.inner.put_back(topology, batch).await;
        if self.faults.0.confirming_hangs.load(Ordering::SeqCst) {
            self.faults.hang().await;
        }
        fates
    }

    fn trouble(&self) -> String {
        self.inner.trouble()
    }

    fn connected(&self) -> bool {
        self.inner.connected()
    }

    fn blocked(&self) -> Blocked {
        self.inner.blocked()
    }

    async fn close(self: Box<Self>) {
        self.inner.close().await;
    }
}

struct FaultySubscription {
    inner: Box<dyn Subscription>,
    faults: Faults,
}

#[async_trait]
impl Subscription for FaultySubscription {
    async fn next(&mut self, max: usize) -> Result<Vec<Delivery>, TransportError> {
        self.inner.next(max).await
    }

    async fn settle(&mut self, all: Vec<(Delivery, Settlement)>) -> Result<(), TransportError> {
        if self.faults.0.settling_hangs.load(Ordering::SeqCst) && !all.is_empty() {
            self.faults.hang().await;
        }
        self.inner.settle(all).await
    }

    async fn pause(&mut self, kept: &Delivery) -> Result<(), TransportError> {
        self.inner.pause(kept).await
    }

    async fn resume(&mut self) -> Result<(), TransportError> {
        self.inner.resume().await
    }

    async fn close(self: Box<Self>) {
        self.inner.close().await;
    }
}
