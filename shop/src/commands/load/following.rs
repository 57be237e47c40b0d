//! Following accepted orders to their end. How long they took is in the orders' own history, so
//! this may look late and seldom, and disturbs nothing.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use indicatif::ProgressBar;
use tokio::sync::mpsc::UnboundedReceiver;
use uuid::Uuid;

use crate::commands::client::{CallError, OrderApi, OrderDocument};

/// Orders looked at in turns. Orders end about in the order in which they were placed, so those
/// behind these have mostly ended when they are looked at first.
const WATCHED: usize = 64;
const FIRST_LOOK: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Requests at a time of the last look at those that nothing was seen of.
const AT_ONCE: usize = 16;

/// What was seen of the accepted orders.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// Those that have ended.
    pub(super) ended: Vec<OrderDocument>,
    /// Those that were accepted and that the service does not know.
    pub(super) unknown: Vec<Uuid>,
}

enum Seen {
    Ended(OrderDocument),
    Unknown(Uuid),
}

impl Followed {
    /// Follows orders as they are accepted, until no more come and all have ended.
    pub(super) async fn follow(
        &mut self,
        api: &OrderApi,
        accepted: UnboundedReceiver<Uuid>,
        bar: &ProgressBar,
    ) {
        let ids = stream::unfold(accepted, |mut accepted| async {
            accepted.recv().await.map(|id| (id, accepted))
        });
        let mut ends = std::pin::pin!(ids.map(|id| until_ended(api, id)).buffer_unordered(WATCHED));
        while let Some(seen) = ends.next().await {
            self.note(seen);
            bar.inc(1);
        }
    }

    /// Looks once more at all of `accepted` that were not seen to end; returns those that have not.
    pub(super) async fn look_once_more(&mut self, api: &OrderApi, accepted: &[Uuid]) -> Vec<Uuid> {
        let mut open: HashSet<Uuid> = accepted.iter().copied().collect();
        for id in self.ended.iter().map(|order| &order.order_id).chain(&self.unknown) {
            open.remove(id);
        }
        let looks = stream::iter(open).map(|id| async move { (id, look(api, id).await) });
        let mut looks = std::pin::pin!(looks.buffer_unordered(AT_ONCE));
        let mut still_open = Vec::new();
        while let Some((id, seen)) = looks.next().await {
            match seen {
                Some(seen) => self.note(seen),
                None => still_open.push(id),
            }
        }
        still_open.sort_unstable();
        still_open
    }

    fn note(&mut self, seen: Seen) {
        match seen {
            Seen::Ended(order) => self.ended.push(order),
            Seen::Unknown(id) => self.unknown.push(id),
        }
    }
}

async fn until_ended(api: &OrderApi, id: Uuid) -> Seen {
    let mut pause = FIRST_LOOK;
    loop {
        tokio::time::sleep(pause).await;
        if let Some(seen) = look(api, id).await {
            return seen;
        }
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

/// None when it has not ended, or nobody answers.
async fn look(api: &OrderApi, id: Uuid) -> Option<Seen> {
    match api.order(id).await {
        Ok(order) if order.status.is_terminal() => Some(Seen::Ended(order)),
        Err(CallError::Refused { .. }) => Some(Seen::Unknown(id)),
        Ok(_) | Err(_) => None,
    }
}
