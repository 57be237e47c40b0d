//! What is set aside for one order: all of its lines or none.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::money::Money;

/// Where a reservation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The goods are set aside.
    Reserved,
    /// There was not enough; nothing is set aside.
    Rejected,
    /// They were set aside, and are free again.
    Released,
    /// They left the warehouse.
    Shipped,
    /// The order was cancelled before it was heard of: nothing was ever set aside.
    Cancelled,
}

/// Pieces of one product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What.
    pub sku: String,
    /// How many, at least one.
    pub quantity: u32,
}

/// A line that cannot be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// What.
    pub sku: String,
    /// Pieces asked for.
    pub requested: u32,
    /// Pieces that are free; 0 also for a product that is not known.
    pub available: i64,
}

/// What payment will need to know, taken over from the order unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// What the order costs.
    pub amount: Money,
    /// The gateway's token for how it is paid.
    pub payment_method: String,
}

/// What happened to a reservation, as a plain value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReservationEvent {
    /// All lines are set aside.
    Reserved(Charge),
    /// These lines cannot be served.
    Rejected(Vec<Shortage>),
    /// All lines are free again.
    Released,
    /// All lines left the warehouse.
    Shipped,
}

/// A reservation that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReservationError {
    /// No lines, a line of nothing, or a SKU twice.
    #[error("an order asks for at least one piece of each SKU, and each SKU once")]
    Lines,
    /// Who owns orders promised that this does not happen.
    #[error("an order whose reservation is {0:?} cannot be confirmed")]
    NotToShip(Status),
    /// As above.
    #[error("an order that was shipped cannot be cancelled")]
    NotToRelease,
}

/// A reservation. Its status changes only through the methods that also tell of the change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    order_id: Uuid,
    status: Status,
    charge: Option<Charge>,
    lines: Vec<Line>,
    version: u32,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    events: Vec<(u32, ReservationEvent)>,
}

/// What is stored of a reservation.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are those of the reservation")]
pub struct Stored {
    pub order_id: Uuid,
    pub status: Status,
    pub charge: Option<Charge>,
    pub lines: Vec<Line>,
    pub version: u32,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl Reservation {
    /// Decides on an order: `free` are the pieces that can be had, by SKU.
    ///
    /// # Errors
    /// [`ReservationError::Lines`].
    pub fn decide(
        order_id: Uuid,
        lines: Vec<Line>,
        charge: Charge,
        free: &HashMap<String, i64>,
        now: DateTime<Utc>,
    ) -> Result<Self, ReservationError> {
        let mut seen = HashSet::new();
        if lines.is_empty() || !lines.iter().all(|line| line.quantity > 0 && seen.insert(&line.sku))
        {
            return Err(ReservationError::Lines);
        }
        let shortages = shortages(&lines, free);
        let (status, event) = if shortages.is_empty() {
            (Status::Reserved, ReservationEvent::Reserved(charge.clone()))
        } else {
            (Status::Rejected, ReservationEvent::Rejected(shortages))
        };
        let mut reservation = Self::new(order_id, status, now);
        reservation.charge = Some(charge);
        reservation.lines = lines;
        reservation.happened(event, now);
        Ok(reservation)
    }

    /// Remembers an order that was cancelled before it was heard of, so that it reserves nothing
    /// when it comes. There is nothing to tell of it.
    pub fn cancelled(order_id: Uuid, now: DateTime<Utc>) -> Self {
        Self::new(order_id, Status::Cancelled, now)
    }

    fn new(order_id: Uuid, status: Status, now: DateTime<Utc>) -> Self {
        let (lines, events, version) = (Vec::new(), Vec::new(), 0);
        let (created_at, updated_at) = (now, now);
        Self { order_id, status, charge: None, lines, version, created_at, updated_at, events }
    }

    /// The reservation as it was stored.
    pub fn load(stored: Stored) -> Self {
        let Stored { order_id, status, charge, lines, version, created_at, updated_at } = stored;
        let events = Vec::new();
        Self { order_id, status, charge, lines, version, created_at, updated_at, events }
    }

    /// The order is confirmed: the goods leave, once. Returns whether they leave now.
    ///
    /// # Errors
    /// [`ReservationError::NotToShip`]: only what is set aside is ever charged and confirmed.
    pub fn ship(&mut self, now: DateTime<Utc>) -> Result<bool, ReservationError> {
        match self.status {
            Status::Reserved => {
                self.status = Status::Shipped;
                self.happened(ReservationEvent::Shipped, now);
                Ok(true)
            }
            Status::Shipped => Ok(false),
            Status::Rejected | Status::Released | Status::Cancelled => {
                Err(ReservationError::NotToShip(self.status))
            }
        }
    }

    /// The order is cancelled: what is set aside is free again, once. Returns whether it is set
    /// free now.
    ///
    /// # Errors
    /// [`ReservationError::NotToRelease`]: a confirmed order is not cancelled any more.
    pub fn release(&mut self, now: DateTime<Utc>) -> Result<bool, ReservationError> {
        match self.status {
            Status::Reserved => {
                self.status = Status::Released;
                self.happened(ReservationEvent::Released, now);
                Ok(true)
            }
            Status::Rejected | Status::Released | Status::Cancelled => Ok(false),
            Status::Shipped => Err(ReservationError::NotToRelease),
        }
    }

    fn happened(&mut self, event: ReservationEvent, now: DateTime<Utc>) {
        self.version += 1;
        self.updated_at = now;
        self.events.push((self.version, event));
    }

    /// What happened since it was made or loaded, each with its version, to be stored and told.
    pub fn take_events(&mut self) -> Vec<(u32, ReservationEvent)> {
        std::mem::take(&mut self.events)
    }

    /// How many events [`take_events`](Self::take_events) would give.
    pub fn news(&self) -> u32 {
        self.events.len() as u32
    }

    /// The order.
    pub fn order_id(&self) -> Uuid {
        self.order_id
    }

    /// Where it stands.
    pub fn status(&self) -> Status {
        self.status
    }

    /// What the order asked to be charged; not known of an order that was never heard of.
    pub fn charge(&self) -> Option<&Charge> {
        self.charge.as_ref()
    }

    /// What the order asked for, each SKU once.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// How many events it has had.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// When it was decided.
    pub fn created_at(&self) -> DateTime<Utc> {
        self.created_at
    }

    /// When it last changed.
    pub fn updated_at(&self) -> DateTime<Utc> {
        self.updated_at
    }
}

/// Reservations by their orders.
pub fn by_order(reservations: Vec<Reservation>) -> BTreeMap<Uuid, Reservation> {
    reservations.into_iter().map(|one| (one.order_id, one)).collect()
}

fn shortages(lines: &[Line], free: &HashMap<String, i64>) -> Vec<Shortage> {
    let short = lines.iter().filter_map(|Line { sku, quantity }| {
        let available = free.get(sku).copied().unwrap_or(0);
        (available < i64::from(*quantity)).then(|| Shortage {
            sku: sku.clone(),
            requested: *quantity,
            available,
        })
    });
    short.collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn decide(lines: &[(&str, u32)]) -> Result<Reservation, ReservationError> {
        let lines =
            lines.iter().map(|(sku, quantity)| Line { sku: (*sku).into(), quantity: *quantity });
        let free = HashMap::from([("A".to_owned(), 5), ("B".to_owned(), 1)]);
        Reservation::decide(Uuid::nil(), lines.collect(), charge(), &free, NOW)
    }

    fn charge() -> Charge {
        Charge { amount: Money::new(500, "GBP"), payment_method: "pm_ok".into() }
    }

    #[test]
    fn all_that_is_there_to_the_last_piece_is_set_aside() {
        let mut reservation = decide(&[("A", 5), ("B", 1)]).unwrap();
        assert_eq!(reservation.status(), Status::Reserved);
        assert_eq!(reservation.take_events(), [(1, ReservationEvent::Reserved(charge()))]);
    }

    #[test]
    fn one_short_line_rejects_all_and_every_short_line_is_named() {
        let mut reservation = decide(&[("A", 5), ("B", 2), ("C", 1)]).unwrap();
        assert_eq!(reservation.status(), Status::Rejected);
        let short =
            |sku: &str, requested, available| Shortage { sku: sku.into(), requested, available };
        let shortages = vec![short("B", 2, 1), short("C", 1, 0)];
        assert_eq!(reservation.take_events(), [(1, ReservationEvent::Rejected(shortages))]);
    }

    #[test]
    fn lines_that_no_order_can_have_are_refused() {
        for lines in [&[][..], &[("A", 0)], &[("A", 1), ("A", 1)]] {
            assert_eq!(decide(lines), Err(ReservationError::Lines), "{lines:?}");
        }
    }

    #[test]
    fn the_first_ending_stands_and_a_repetition_tells_nothing() {
        let mut shipped = decide(&[("A", 1)]).unwrap();
        assert_eq!(shipped.ship(NOW), Ok(true));
        assert_eq!(shipped.ship(NOW), Ok(false));
        assert_eq!(shipped.release(NOW), Err(ReservationError::NotToRelease));
        assert_eq!(shipped.take_events()[1..], [(2, ReservationEvent::Shipped)]);

        let mut released = decide(&[("A", 1)]).unwrap();
        assert_eq!(released.release(NOW), Ok(true));
        assert_eq!(released.release(NOW), Ok(false));
        assert_eq!(released.ship(NOW), Err(ReservationError::NotToShip(Status::Released)));
        assert_eq!(released.take_events()[1..], [(2, ReservationEvent::Released)]);
    }

    #[test]
    fn where_nothing_is_set_aside_there_is_nothing_to_release() {
        let mut rejected = decide(&[("C", 1)]).unwrap();
        assert_eq!(rejected.release(NOW), Ok(false));
        let mut cancelled = Reservation::cancelled(Uuid::nil(), NOW);
        assert_eq!(cancelled.release(NOW), Ok(false));
        assert_eq!((cancelled.version(), cancelled.take_events()), (0, vec![]));
    }
}
