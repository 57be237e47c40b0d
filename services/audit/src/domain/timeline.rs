//! The order in which things followed from each other.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// An event, as far as order is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Happening {
    /// The event.
    pub id: Uuid,
    /// The event that it answers.
    pub cause: Option<Uuid>,
    /// When it happened, by its own source's clock.
    pub at: DateTime<Utc>,
}

/// The positions of `events` in causal order: no event stands before the one that it answers, and
/// as far as that leaves a choice, the earlier stands first. An event whose cause is not among them
/// is held to have none.
pub fn causal_order(events: &[Happening]) -> Vec<usize> {
    let known: HashSet<Uuid> = events.iter().map(|event| event.id).collect();
    let mut ready = BinaryHeap::new();
    let mut waiting: HashMap<Uuid, Vec<usize>> = HashMap::new();
    for (position, event) in events.iter().enumerate() {
        match event.cause.filter(|cause| known.contains(cause)) {
            Some(cause) => waiting.entry(cause).or_default().push(position),
            None => ready.push(rank(events, position)),
        }
    }
    let mut order = Vec::with_capacity(events.len());
    while let Some(Reverse((_, id, position))) = ready.pop() {
        order.push(position);
        let answers = waiting.remove(&id).unwrap_or_default();
        ready.extend(answers.into_iter().map(|position| rank(events, position)));
    }
    // Only events that answer each other in a circle are left: nothing honest makes them.
    let mut left: Vec<_> =
        waiting.into_values().flatten().map(|position| rank(events, position)).collect();
    left.sort_unstable_by_key(|rank| rank.0);
    order.extend(left.into_iter().map(|Reverse((_, _, position))| position));
    order
}

/// Earlier first; of two at the same time the one with the earlier id.
fn rank(events: &[Happening], position: usize) -> Reverse<(DateTime<Utc>, Uuid, usize)> {
    let event = events[position];
    Reverse((event.at, event.id, position))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: u64, cause: u64, at: i64) -> Happening {
        let uuid = |id| Uuid::from_u64_pair(0, id);
        let cause = (cause != 0).then(|| uuid(cause));
        let at = DateTime::from_timestamp_micros(at).unwrap_or_default();
        Happening { id: uuid(id), cause, at }
    }

    fn order(events: &[Happening]) -> Vec<u64> {
        causal_order(events).into_iter().map(|n| events[n].id.as_u64_pair().1).collect()
    }

    #[test]
    fn a_cause_stands_before_its_effect_whatever_the_clocks_say() {
        assert_eq!(order(&[event(3, 2, 1), event(2, 1, 5), event(1, 0, 9)]), [1, 2, 3]);
    }

    #[test]
    fn where_nothing_follows_from_the_other_the_earlier_stands_first() {
        let events =
            [event(1, 0, 0), event(5, 2, 8), event(4, 1, 7), event(3, 1, 6), event(2, 1, 5)];
        assert_eq!(order(&events), [1, 2, 3, 4, 5]);
        assert_eq!(order(&[event(2, 0, 1), event(1, 0, 1)]), [1, 2]);
    }

    #[test]
    fn a_cause_that_is_not_there_holds_nobody_up() {
        assert_eq!(order(&[event(2, 77, 5), event(1, 0, 9)]), [2, 1]);
    }

    #[test]
    fn events_that_answer_each_other_in_a_circle_are_all_told() {
        let events = [event(1, 0, 9), event(2, 3, 5), event(3, 2, 4), event(4, 4, 1)];
        assert_eq!(order(&events), [1, 4, 3, 2]);
        assert_eq!(order(&[]), [0; 0]);
    }
}
