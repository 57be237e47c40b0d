//! What every transport has to do, as checks that any of them can be put under: the promises of
//! [`transport`](super), faults included. In-memory and RabbitMQ transports pass them.
//!
//! Implement [`Bench`] for yours: a fresh broker, and as many of its faults as can be caused from
//! outside. Then run all of [`PROMISES`]:
//!
//! ```
//! use envelope::Clock;
//! use messaging::transport::Transport;
//! use messaging::transport::conformance::{Bench, NAMESPACE, PROMISES, Verdict};
//! use messaging::transport::memory::Memory;
//!
//! struct Mine(Memory);
//!
//! #[async_trait::async_trait]
//! impl Bench for Mine {
//!     fn transport(&self) -> &dyn Transport {
//!         &self.0
//!     }
//!
//!     async fn cut(&self) -> bool {
//!         self.0.cut(None);
//!         true
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! for promise in PROMISES.iter().take(2) {
//!     let bench = Mine(Memory::new(Clock::system(), NAMESPACE));
//!     let verdict = (promise.check)(&bench).await.unwrap();
//!     assert_eq!(verdict, Verdict::Kept, "{}", promise.name);
//! }
//! # }
//! ```
//!
//! A promise whose fault the bench cannot cause is [`Verdict::NotShown`]. Assert which those are, or a
//! hook that was forgotten looks like a promise that is kept.

mod delivering;
mod outages;
mod provisioning;
mod publishing;
mod returning;
mod settling;
mod stage;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;

use super::{Properties, Transport};
use crate::topology::Topology;

/// What stands in the names of headers: the transport must be made with it.
pub const NAMESPACE: &str = "house";

/// Whether a promise is kept; the error says how it is broken.
pub type Checked = anyhow::Result<Verdict>;

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Kept,
    /// The bench cannot cause the fault.
    NotShown,
}

/// A check, running.
pub type Check<'a> = Pin<Box<dyn Future<Output = Checked> + Send + 'a>>;

/// One thing that a transport has to do.
#[derive(Clone, Copy)]
pub struct Promise {
    /// In words, for reports.
    pub name: &'static str,
    /// Whether it holds. Each check wants a fresh broker.
    pub check: for<'a> fn(&'a dyn Bench) -> Check<'a>,
}

/// A message of anybody's, to be put into a queue by other means than the transport's.
#[derive(Debug, Clone, Default)]
pub struct Raw {
    /// What stands beside its headers.
    pub properties: Properties,
    /// Any headers.
    pub headers: BTreeMap<String, String>,
    /// Any bytes.
    pub body: Vec<u8>,
}

/// A transport on a fresh broker, and what can be done to it from outside. A hook answers `false` where
/// it cannot do what it is asked.
#[async_trait]
pub trait Bench: Send + Sync {
    /// The transport, made with [`NAMESPACE`]; nothing is provisioned.
    fn transport(&self) -> &dyn Transport;

    /// Lets time pass where it does not pass by itself.
    async fn pass(&self, _time: Duration) {}

    /// Breaks every connection that there is.
    async fn cut(&self) -> bool {
        false
    }

    /// From now on the broker is away, or back.
    async fn away(&self, _yes: bool) -> bool {
        false
    }

    /// From now on the broker holds publishers back, or no more.
    async fn block(&self, _yes: bool) -> bool {
        false
    }

    /// The confirms of the next batch do not come.
    async fn lose_confirms(&self) -> bool {
        false
    }

    /// Deletes a queue.
    async fn delete_queue(&self, _queue: &str) -> bool {
        false
    }

    /// The most messages that may wait in a queue; none for no limit.
    async fn limit(&self, _queue: &str, _most: Option<usize>) -> bool {
        false
    }

    /// Makes the service's dead-letter queue with properties that are not ours.
    async fn make_different(&self, _topology: &Topology) -> bool {
        false
    }

    /// Puts a message into a queue.
    async fn put(&self, _queue: &str, _raw: &Raw) -> bool {
        false
    }
}

macro_rules! promises {
    ($($module:ident: $($check:ident),+;)+) => {
        /// All of them.
        pub const PROMISES: &[Promise] = &[$($(Promise {
            name: stringify!($check),
            check: |bench| Box::pin($module::$check(bench)),
        },)+)+];
    };
}

promises! {
    publishing: an_event_is_delivered_as_it_was_published, large_and_odd_bodies_survive,
        each_message_of_a_mixed_batch_has_its_own_fate, events_go_to_whoever_is_bound_and_nobody_else,
        an_event_leaves_once_its_route_exists, a_full_queue_refuses,
        a_lost_confirm_is_unknown_and_spends_the_publisher, a_blocked_publisher_waits_and_says_so;
    delivering: deliveries_come_in_order_and_as_many_as_asked_for,
        no_more_than_the_prefetch_is_unsettled, who_waits_is_woken_by_a_message,
        subscribers_of_a_queue_share_it, foreign_headers_are_delivered;
    settling: what_is_done_does_not_come_again, settling_twice_hurts_nobody,
        a_retry_comes_after_its_delay_to_this_queue_only, a_parked_message_keeps_its_bytes_and_its_reason,
        a_copy_leaves_the_journey_behind, what_finds_no_place_is_owed;
    returning: a_pause_keeps_one_and_hands_back_the_others,
        what_is_put_back_comes_as_it_was_to_its_queue_only,
        what_is_put_back_has_a_fate_of_its_own;
    outages: a_close_hands_back, a_subscription_that_is_dropped_hands_back,
        a_broken_connection_hands_back_and_refuses_settlements, a_publisher_that_is_cut_off_says_so,
        a_broker_that_is_away_is_told_of;
    provisioning: provisioning_twice_changes_nothing, what_grows_is_added_and_nothing_is_taken_away,
        a_difference_is_reported_and_nothing_is_made, a_missing_queue_is_a_matter_of_topology;
}
