//! The use cases: each takes stores and a command, decides, and returns. None begins or commits.

pub mod import_products;
pub mod lock_stock;
pub mod ports;
pub mod put_product;
pub mod release_stock;
pub mod replenish;
pub mod reserve_stock;
pub mod seed_products;
pub mod ship_stock;
pub mod views;
