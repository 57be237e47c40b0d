//! Two products to begin with, written into inventory's database with their events, as inventory
//! itself would.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context as _;
use envelope::signature::Signer;
use envelope::{Clock, Identity};
use inventory::application::ports::StoreError;
use inventory::application::seed_products::seed_products;
use inventory::domain::money::Money;
use inventory::domain::product::Description;
use messaging::{Cause, Pool, Tx};

use super::databases;
use super::told::Told;
use crate::services::{Service, service};
use crate::up::keys;

/// The product that is proposed for a first order.
pub(crate) const FIRST: &str = "DEMO-1";
/// All of them.
pub(crate) const SKUS: [&str; 2] = [FIRST, "DEMO-2"];
const PRODUCTS: [(&str, &str, i64); 2] =
    [(SKUS[0], "Enamel mug, 350 ml", 1_250), (SKUS[1], "Linen tea towel", 795)];
const ON_HAND: i64 = 100_000;

/// Where the keys are that inventory signs with, and for which environment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) environment: &'a str,
}

/// Lists the demo products that inventory does not know, and leaves what it knows as it is. Its relay
/// publishes their events when it runs.
///
/// # Errors
/// When inventory's database or key cannot be used.
pub(crate) async fn seed(
    admin_url: &str,
    keys: Keys<'_>,
    told: &mut Told<'_>,
) -> anyhow::Result<()> {
    let inventory = service(inventory::NAME).context("no inventory among the services")?;
    let signer = signer(inventory, keys.folder)?;
    let identity = Identity::new(host::NAMESPACE, keys.environment, inventory.name);
    let pg = databases::pool(admin_url, inventory)?;
    let pool = Pool::new(pg.clone(), identity, signer, Clock::system());
    let listed = list(&pool).await.context("the demo products cannot be listed");
    pool.wake_relays().await?;
    pg.close().await;
    for sku in listed? {
        told.change(format!("product {sku}"));
    }
    Ok(())
}

fn signer(inventory: &Service, folder: &Path) -> anyhow::Result<Signer> {
    let path = keys::private_key(folder, inventory);
    let key = std::fs::read_to_string(&path);
    let key = key.with_context(|| format!("cannot read {}", path.display()))?;
    Signer::from_base64(inventory.key_id(), &key)
        .with_context(|| format!("{} holds no key", path.display()))
}

async fn list(pool: &Pool) -> Result<BTreeSet<String>, StoreError> {
    let cause = Cause::resumed(pool.new_id(), None, None, None);
    let mut tx = Tx::begin(pool, cause).await?;
    let now = tx.now();
    let described = PRODUCTS.map(|(sku, name, amount)| (sku.to_owned(), description(name, amount)));
    let listed = seed_products(&mut inventory::store(&mut tx), described.into(), now).await?;
    tx.commit().await?;
    Ok(listed.into_iter().collect())
}

fn description(name: &str, amount_minor: i64) -> Description {
    let unit_price = Money { amount_minor, currency: "GBP".to_owned() };
    Description { name: name.to_owned(), unit_price, on_hand: ON_HAND }
}
