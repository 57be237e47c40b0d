//! The ports in memory, as Postgres keeps them: each row has the version that its writer has seen,
//! and what a constraint forbids cannot be stored.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use inventory::application::ports::{ManyProducts, Products, Reservations, Stock, StoreError};
use inventory::domain::product::{self, Description, Product, ProductEvent};
use inventory::domain::reservation::{self, Line, Reservation, ReservationEvent};
use uuid::Uuid;

pub const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

/// What was published of an aggregate: version and event, in the order of publishing.
type Told<E> = Vec<(u32, E)>;

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Memory {
    pub products: BTreeMap<String, Product>,
    pub reservations: BTreeMap<Uuid, Reservation>,
    pub product_events: BTreeMap<String, Told<ProductEvent>>,
    pub reservation_events: BTreeMap<Uuid, Told<ReservationEvent>>,
    /// Pieces that came and went, by SKU.
    pub movements: BTreeMap<String, Vec<i64>>,
    /// What another transaction commits as soon as this one has looked for a row in vain.
    pub meanwhile: Option<Meanwhile>,
}

/// Something that is committed between two statements of another transaction.
#[derive(Debug, Clone, PartialEq)]
pub enum Meanwhile {
    Reserved(Reservation),
    Listed(Product),
}

fn conflict<T>(what: &str) -> Result<T, StoreError> {
    Err(StoreError::Conflict(what.to_owned()))
}

impl Memory {
    /// The other transaction commits, if there is one.
    fn let_others_commit(&mut self) {
        match self.meanwhile.take() {
            Some(Meanwhile::Reserved(reservation)) => {
                let lines = reservation.lines().to_vec();
                let reserved = reservation.status() == reservation::Status::Reserved;
                assert!(self.insert_reservation(reservation));
                if reserved {
                    self.move_stock(&lines, |quantity| (0, quantity)).unwrap();
                }
            }
            Some(Meanwhile::Listed(product)) => assert!(self.insert_product(product)),
            None => {}
        }
    }

    fn insert_product(&mut self, product: Product) -> bool {
        if self.products.contains_key(product.sku()) {
            return false;
        }
        self.store_product(product);
        true
    }

    fn store_product(&mut self, mut product: Product) {
        for (version, event) in product.take_events() {
            let pieces = match event {
                ProductEvent::Listed => product.on_hand(),
                ProductEvent::Replenished { quantity } => quantity,
                ProductEvent::Changed { stock_delta } => stock_delta,
                ProductEvent::PriceChanged => 0,
            };
            let sku = product.sku().to_owned();
            self.movements.entry(sku.clone()).or_default().push(pieces);
            self.product_events.entry(sku).or_default().push((version, event));
        }
        self.check_and_keep(product);
    }

    /// The table's own constraints.
    fn check_and_keep(&mut self, product: Product) {
        let (on_hand, reserved) = (product.on_hand(), product.reserved());
        assert!(0 <= reserved && reserved <= on_hand, "{reserved} of {on_hand} are reserved");
        self.products.insert(product.sku().to_owned(), product);
    }

    fn insert_reservation(&mut self, reservation: Reservation) -> bool {
        if self.reservations.contains_key(&reservation.order_id()) {
            return false;
        }
        self.store_reservation(reservation);
        true
    }

    fn store_reservation(&mut self, mut reservation: Reservation) {
        let id = reservation.order_id();
        let told = self.reservation_events.entry(id).or_default();
        told.extend(reservation.take_events());
        self.reservations.insert(id, reservation);
    }

    /// Changes both numbers of each line's product, as a function of the line's quantity, or none.
    fn move_stock(
        &mut self,
        lines: &[Line],
        deltas: impl Fn(i64) -> (i64, i64),
    ) -> Result<(), StoreError> {
        for Line { sku, quantity } in lines {
            let Some(product) = self.products.get(sku) else { return conflict("stock") };
            let (on_hand, reserved) = deltas(i64::from(*quantity));
            let moved = product::Stored {
                sku: sku.clone(),
                description: Description {
                    name: product.name().to_owned(),
                    unit_price: product.unit_price().clone(),
                    on_hand: product.on_hand() + on_hand,
                },
                reserved: product.reserved() + reserved,
                version: product.version(),
                created_at: product.created_at(),
                updated_at: product.updated_at(),
            };
            self.check_and_keep(Product::load(moved));
        }
        Ok(())
    }
}

impl Products for Memory {
    async fn product(&mut self, sku: &str) -> Result<Option<Product>, StoreError> {
        let found = self.products.get(sku).cloned();
        if found.is_none() {
            self.let_others_commit();
        }
        Ok(found)
    }

    async fn add_product(&mut self, product: Product) -> Result<bool, StoreError> {
        Ok(self.insert_product(product))
    }

    async fn save_product(&mut self, product: Product) -> Result<(), StoreError> {
        let seen = product.version() - product.clone().take_events().len() as u32;
        match self.products.get(product.sku()) {
            Some(stored) if stored.version() == seen => self.store_product(product),
            _ => return conflict("product"),
        }
        Ok(())
    }
}

impl ManyProducts for Memory {
    async fn add_products(
        &mut self,
        products: Vec<Product>,
    ) -> Result<HashSet<String>, StoreError> {
        let sku = |product: &Product| product.sku().to_owned();
        let new = products.into_iter().filter_map(|product| {
            let sku = sku(&product);
            self.insert_product(product).then_some(sku)
        });
        Ok(new.collect())
    }

    async fn products(&mut self, skus: &[String]) -> Result<Vec<Product>, StoreError> {
        Ok(skus.iter().filter_map(|sku| self.products.get(sku).cloned()).collect())
    }

    async fn save_products(&mut self, products: Vec<Product>) -> Result<(), StoreError> {
        for product in products {
            self.save_product(product).await?;
        }
        Ok(())
    }
}

impl Reservations for Memory {
    async fn reservations(&mut self, order_ids: &[Uuid]) -> Result<Vec<Reservation>, StoreError> {
        let mut found = Vec::new();
        for order_id in order_ids {
            let known = self.reservations.get(order_id).cloned();
            if known.is_none() {
                self.let_others_commit();
            }
            found.extend(known);
        }
        Ok(found)
    }

    async fn add_reservations(
        &mut self,
        reservations: Vec<Reservation>,
    ) -> Result<HashSet<Uuid>, StoreError> {
        let new = reservations.into_iter().filter_map(|reservation| {
            let order_id = reservation.order_id();
            self.insert_reservation(reservation).then_some(order_id)
        });
        Ok(new.collect())
    }

    async fn save_reservations(
        &mut self,
        reservations: Vec<Reservation>,
    ) -> Result<(), StoreError> {
        for reservation in reservations {
            let seen = reservation.version() - reservation.news();
            match self.reservations.get(&reservation.order_id()) {
                Some(stored) if stored.version() == seen => self.store_reservation(reservation),
                _ => return conflict("reservation"),
            }
        }
        Ok(())
    }
}

impl Stock for Memory {
    async fn lock_free(&mut self, skus: &[String]) -> Result<HashMap<String, i64>, StoreError> {
        let known = skus.iter().filter_map(|sku| self.products.get(sku));
        Ok(known.map(|p| (p.sku().to_owned(), p.on_hand() - p.reserved())).collect())
    }

    async fn lock_all(&mut self, _: &[String], _: &[Uuid]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn set_aside(&mut self, lines: &[Line]) -> Result<(), StoreError> {
        let free = |line: &Line| {
            let product = self.products.get(&line.sku);
            product.is_some_and(|p| p.on_hand() - p.reserved() >= i64::from(line.quantity))
        };
        if !lines.iter().all(free) {
            return conflict("stock");
        }
        self.move_stock(lines, |quantity| (0, quantity))
    }

    async fn set_free(&mut self, lines: &[Line]) -> Result<(), StoreError> {
        self.move_stock(lines, |quantity| (0, -quantity))
    }

    async fn take_out(&mut self, lines: &[(Uuid, Line)]) -> Result<(), StoreError> {
        let lines: Vec<Line> = lines.iter().map(|(_, line)| line.clone()).collect();
        for Line { sku, quantity } in &lines {
            self.movements.entry(sku.clone()).or_default().push(-i64::from(*quantity));
        }
        self.move_stock(&lines, |quantity| (-quantity, -quantity))
    }
}
