//! Who comes to the shop: somebody lists a product, and a customer orders it over HTTP and may change
//! their mind. Both ask again until they are answered, as `Idempotency-Key` lets them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use anyhow::{Context as _, bail};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::script::Script;

const SKU: &str = "LAMP-1";

/// What is ordered, how, and what has become of it as far as the customer knows.
pub(crate) struct Customer {
    script: Script,
    order_id: RefCell<Option<String>>,
    /// Whether the product was seen in the catalogue.
    saw_it: Cell<bool>,
}

impl Customer {
    pub(crate) fn new(script: Script) -> Rc<Self> {
        Rc::new(Self { script, order_id: RefCell::default(), saw_it: Cell::default() })
    }

    /// Makes the product known to inventory.
    pub(crate) async fn list(self: Rc<Self>, app: inventory::App) -> anyhow::Result<()> {
        let product = json!({
            "name": "A lamp", "on_hand": self.script.on_hand,
            "unit_price": { "amount_minor": self.script.price_minor, "currency": "GBP" },
        });
        let api = inventory::api().with_state(app).into_router();
        let (status, body) = put(api, &format!("/products/{SKU}"), &product).await?;
        match status {
            StatusCode::CREATED | StatusCode::OK => Ok(()),
            // It was listed before and its answer lost, and more is reserved by now than it says.
            StatusCode::CONFLICT => Ok(()),
            other => bail!("{other} {}", body["code"]),
        }
    }

    /// Looks for the product, and orders it.
    pub(crate) async fn place(self: Rc<Self>, app: order::App) -> anyhow::Result<()> {
        let api = order::api().with_state(app).into_router();
        if !self.saw_it.get() {
            let request = Request::get(format!("/products/{SKU}")).body(Body::empty())?;
            let (status, _) = answer(api.clone(), request).await?;
            if status != StatusCode::OK {
                bail!("the catalogue answers {status}");
            }
            self.saw_it.set(true);
        }
        let order = json!({
            "customer_id": "0192f3a0-0000-7000-8000-000000000001",
            "customer_email": "ada@example.com",
            "lines": [{ "sku": SKU, "quantity": self.script.quantity }],
            "payment_method": self.script.payment_method,
        });
        let request = Request::post("/orders")
            .header("Content-Type", "application/json")
            .header("Idempotency-Key", "one-order-of-one-lamp")
            .body(Body::from(order.to_string()))?;
        let (status, body) = answer(api, request).await?;
        if status != StatusCode::ACCEPTED {
            bail!("{status} {}", body["code"]);
        }
        let order_id = body["order_id"].as_str().context("an order without an id")?.to_owned();
        if let Some(before) = self.order_id.replace(Some(order_id.clone()))
            && before != order_id
        {
            bail!("one key gave two orders: {before} and {order_id}");
        }
        Ok(())
    }

    /// Changes their mind. Too late is an answer, too.
    pub(crate) async fn cancel(self: Rc<Self>, app: order::App) -> anyhow::Result<()> {
        let Some(order_id) = self.order_id.borrow().clone() else { bail!("there is no order yet") };
        let api = order::api().with_state(app).into_router();
        let request = Request::post(format!("/orders/{order_id}/cancel")).body(Body::empty())?;
        match answer(api, request).await? {
            (StatusCode::ACCEPTED | StatusCode::CONFLICT, _) => Ok(()),
            (status, body) => bail!("{status} {}", body["code"]),
        }
    }
}

async fn put(api: Router, path: &str, body: &Value) -> anyhow::Result<(StatusCode, Value)> {
    let request = Request::put(path)
        .header("Content-Type", "application/json")
        .body(Body::from(body.to_string()))?;
    answer(api, request).await
}

async fn answer(api: Router, request: Request<Body>) -> anyhow::Result<(StatusCode, Value)> {
    let response = api.oneshot(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}
