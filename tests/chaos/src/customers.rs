//! Customers who order, order again under the same key, cancel, and never give up.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use shop::verify::Service;
use tokio::time::sleep;
use uuid::Uuid;

use crate::draw::Draw;
use crate::world::World;

/// What is sold: SKU, price in minor units, pieces. Of the last there are too few.
pub(crate) const GOODS: [(&str, i64, i64); 3] =
    [("LAMP", 1_250, 1_000_000), ("MUG", 399, 1_000_000), ("RARE", 99, 40)];
/// As often as they are drawn.
const PAYMENTS: [&str; 12] = [
    "pm_ok",
    "pm_ok",
    "pm_ok",
    "pm_ok",
    "pm_ok",
    "pm_ok",
    "pm_ok",
    "pm_declined",
    "pm_insufficient_funds",
    "pm_timeout",
    "pm_flaky",
    "pm_flaky",
];
/// After that an order counts as not taken.
const PATIENCE: Duration = Duration::from_secs(90);
const AGAIN: Duration = Duration::from_millis(250);

/// What one customer will do.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    key: String,
    sku: &'static str,
    quantity: u32,
    pay: &'static str,
    comes_after: Duration,
    /// How many send the order at once under the same key.
    twins: usize,
    cancels_after: Option<Duration>,
}

/// What one customer has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) key: String,
    /// The order, once it was accepted.
    pub(crate) order: Option<Uuid>,
    /// Whether the cancellation was accepted, if there was one and it was answered.
    pub(crate) cancelled: Option<bool>,
    /// Everything that no customer may see.
    pub(crate) faults: Vec<String>,
    /// Requests that were repeated.
    pub(crate) repetitions: u32,
}

/// An answer that settles a request.
#[derive(Debug)]
struct Answer {
    status: u16,
    body: String,
}

impl Plan {
    /// So many customers, within a time.
    pub(crate) fn draw_all(
        draw: &mut Draw,
        seed: u64,
        customers: usize,
        within: Duration,
    ) -> Vec<Self> {
        (0..customers)
            .map(|n| Self::draw(draw, format!("chaos-{seed}-customer-{n}"), within))
            .collect()
    }

    fn draw(draw: &mut Draw, key: String, within: Duration) -> Self {
        let (sku, ..) = draw.one(&GOODS);
        let moment = draw.between(Duration::ZERO, Duration::from_millis(400));
        let cancels_after = match draw.below(8) {
            0 => Some(Duration::ZERO),
            1 => Some(moment),
            2 => Some(Duration::from_secs(5)),
            _ => None,
        };
        Self {
            key,
            sku,
            quantity: 1 + u32::try_from(draw.below(3)).unwrap_or_default(),
            pay: draw.one(&PAYMENTS),
            comes_after: draw.between(Duration::ZERO, within),
            twins: if draw.percent(15) { 3 } else { 1 },
            cancels_after,
        }
    }
}

/// All customers at once, each at its time.
pub(crate) async fn all(world: &World, plans: &[Plan]) -> Vec<Seen> {
    join_all(plans.iter().enumerate().map(|(n, plan)| one(world, n, plan))).await
}

async fn one(world: &World, n: usize, plan: &Plan) -> Seen {
    sleep(plan.comes_after).await;
    let mut seen = Seen { key: plan.key.clone(), ..Seen::default() };
    let body = json!({
        "customer_id": Uuid::nil(),
        "customer_email": "buyer@example.com",
        "lines": [{"sku": plan.sku, "quantity": plan.quantity}],
        "payment_method": plan.pay,
    });
    let place = |replica: usize| {
        let url = format!("{}/orders", world.replica(Service::Order, replica).process.program.url);
        world.http.post(url).header("Idempotency-Key", &plan.key).json(&body)
    };
    let answers = join_all((0..plan.twins).map(|twin| ask(n + twin, place))).await;
    for (answer, repetitions) in answers {
        seen.repetitions += repetitions;
        match answer {
            Some(answer) => seen.accepted(&answer),
            None => seen.faults.push(format!("{}: nobody took the order", plan.key)),
        }
    }
    if let (Some(pause), Some(order)) = (plan.cancels_after, seen.order) {
        sleep(pause).await;
        cancel(world, n, order, &mut seen).await;
    }
    seen
}

impl Seen {
    /// I14: whoever asks with the same key is told the same.
    fn accepted(&mut self, answer: &Answer) {
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let order = body["order_id"].as_str().and_then(|id| Uuid::parse_str(id).ok());
        match (answer.status, order) {
            (202, Some(order)) if self.order.is_none_or(|first| first == order) => {
                self.order = Some(order);
            }
            (202, Some(order)) => {
                let first = self.order;
                self.faults.push(format!("{}: both {first:?} and {order} were made", self.key));
            }
            (status, _) => self.faults.push(format!("{}: {status} {}", self.key, answer.body)),
        }
    }
}

async fn cancel(world: &World, n: usize, order: Uuid, seen: &mut Seen) {
    let request = |replica: usize| {
        let base = &world.replica(Service::Order, replica).process.program.url;
        world.http.post(format!("{base}/orders/{order}/cancel"))
    };
    let (answer, repetitions) = ask(n, request).await;
    seen.repetitions += repetitions;
    match answer.as_ref().map(|answer| answer.status) {
        Some(202) => seen.cancelled = Some(true),
        Some(409) => seen.cancelled = Some(false),
        // Whether it was cancelled nobody has said.
        None => {}
        Some(status) => {
            let body = answer.map(|answer| answer.body).unwrap_or_default();
            seen.faults.push(format!("{order}: its cancellation is answered {status} {body}"));
        }
    }
}

/// Asks one replica after the other until one gives an answer that settles it; none when the patience
/// is over. Also how often it was asked again.
async fn ask(first: usize, request: impl Fn(usize) -> RequestBuilder) -> (Option<Answer>, u32) {
    let until = Instant::now() + PATIENCE;
    let mut repetitions = 0;
    let mut replica = first;
    while Instant::now() < until {
        if let Ok(answer) = request(replica).send().await {
            let status = answer.status().as_u16();
            if let Ok(body) = answer.text().await
                && !is_later(status, &body)
            {
                return (Some(Answer { status, body }), repetitions);
            }
        }
        sleep(AGAIN).await;
        repetitions += 1;
        replica += 1;
    }
    (None, repetitions)
}

/// Busy, away, or a twin of the request is being handled.
fn is_later(status: u16, body: &str) -> bool {
    status == 503 || status == 429 || status == 409 && body.contains("request_in_progress")
}

/// Lists the goods and waits until order knows them.
///
/// # Errors
/// When it does not.
pub(crate) async fn list_goods(world: &World) -> anyhow::Result<()> {
    for (sku, price_minor, on_hand) in GOODS {
        let base = &world.replica(Service::Inventory, 0).process.program.url;
        let product = json!({"name": sku, "on_hand": on_hand,
            "unit_price": {"amount_minor": price_minor, "currency": "GBP"}});
        let request = |_| world.http.put(format!("{base}/products/{sku}")).json(&product);
        let (answer, _) = ask(0, request).await;
        anyhow::ensure!(answer.is_some_and(|answer| answer.status < 300), "{sku} is not listed");
        let base = &world.replica(Service::Order, 0).process.program.url;
        let until = Instant::now() + PATIENCE;
        while !world.http.get(format!("{base}/products/{sku}")).send().await?.status().is_success()
        {
            anyhow::ensure!(Instant::now() < until, "order does not learn of {sku}");
            sleep(AGAIN).await;
        }
    }
    Ok(())
}

/// Gives `RARE` so many pieces more.
///
/// # Errors
/// When inventory does not answer.
pub(crate) async fn restock(world: &World, key: &str, pieces: i64) -> anyhow::Result<()> {
    let (sku, ..) = GOODS[2];
    let base = &world.replica(Service::Inventory, 0).process.program.url;
    let body = json!({ "quantity": pieces });
    let url = format!("{base}/stock/{sku}/replenish");
    let request = |_| world.http.post(&url).header("Idempotency-Key", key).json(&body);
    let (answer, _) = ask(0, request).await;
    let taken = answer.as_ref().is_some_and(|answer| answer.status < 300);
    anyhow::ensure!(taken, "{sku} is not restocked: {answer:?}");
    Ok(())
}

/// What became of an order: its status and why.
///
/// # Errors
/// When order does not know it.
pub(crate) async fn ending(world: &World, order: Uuid) -> anyhow::Result<(String, String)> {
    let base = &world.replica(Service::Order, 0).process.program.url;
    let answer = world.http.get(format!("{base}/orders/{order}")).send().await?;
    let status = answer.status();
    let body: Value = answer.json().await?;
    let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
    anyhow::ensure!(status.is_success(), "{order}: {status} {body}");
    Ok((text("status"), text("cancel_reason")))
}
