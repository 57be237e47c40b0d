//! Customers and their requests. They come back when they are told to, or find nobody.

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use testkit::eventually;
use uuid::Uuid;

use super::{LATER, SOON, World};

/// What a customer gets to see.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    /// What is answered to one request, whatever it is.
    pub async fn to(request: RequestBuilder) -> reqwest::Result<Self> {
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = String::from_utf8(answer.bytes().await?.into()).unwrap();
        Ok(Self { status, headers, body })
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// A busy service, or a twin of the request that is still being handled.
    fn is_later(&self) -> bool {
        self.status == StatusCode::SERVICE_UNAVAILABLE
            || self.status == StatusCode::CONFLICT && self.json()["code"] == "request_in_progress"
    }
}

impl World {
    /// Asks until there is an answer.
    pub async fn ask(&self, request: impl Fn() -> RequestBuilder) -> Answer {
        eventually(LATER, || async {
            let answer = Answer::to(request()).await.map_err(|error| error.to_string())?;
            if !answer.is_later() {
                return Ok(answer);
            }
            assert!(answer.headers.contains_key(RETRY_AFTER), "{answer:?}");
            Err(answer.body)
        })
        .await
    }

    pub async fn get(&self, service: &str, path: &str) -> Value {
        self.ask(|| self.http.get(self.url(service, path))).await.json()
    }

    /// Lists a product and waits until order knows it.
    pub async fn stock(&self, sku: &str, price_minor: i64, on_hand: i64) {
        let body = json!({"name": sku, "on_hand": on_hand,
            "unit_price": {"amount_minor": price_minor, "currency": "GBP"}});
        let url = self.url("inventory", &format!("/products/{sku}"));
        let answer = self.ask(|| self.http.put(&url).json(&body)).await;
        assert_eq!(answer.status, 201, "{}", answer.json());
        let url = self.url("order", &format!("/products/{sku}"));
        eventually(SOON, || async {
            self.http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
    }

    /// Places an order at the n-th replica.
    pub async fn place(&self, n: usize, sku: &str, quantity: u32, pay: &str) -> Uuid {
        let key = format!("order-{}", Uuid::now_v7());
        let basket = basket(Uuid::nil(), sku, quantity, pay);
        let answer = self.ask(|| self.placing(n, &key, &basket)).await;
        assert_eq!(answer.status, 202, "{}", answer.json());
        answer.json()["order_id"].as_str().unwrap().parse().unwrap()
    }

    /// The request that places an order.
    pub fn placing(&self, n: usize, key: &str, basket: &Value) -> RequestBuilder {
        let request = self.http.post(self.url_of("order", n, "/orders"));
        request.header("idempotency-key", key).json(basket)
    }

    /// Cancels an order as its customer. True when it is cancelled, false when it had ended before.
    pub async fn cancel(&self, order: Uuid) -> bool {
        let url = self.url("order", &format!("/orders/{order}/cancel"));
        let answer = self.ask(|| self.http.post(&url)).await;
        let body = answer.json();
        match (answer.status, body["status"].as_str(), body["code"].as_str()) {
            (202, Some("cancelled"), _) => true,
            (409, _, Some("invalid_state")) => false,
            (status, ..) => panic!("{status}: {body}"),
        }
    }

    /// Waits until an order has ended, and gives it.
    pub async fn ended(&self, order: Uuid) -> Value {
        let path = format!("/orders/{order}");
        eventually(LATER, || async {
            let order = self.get("order", &path).await;
            let status = order["status"].as_str();
            let ended = matches!(status, Some("confirmed" | "cancelled"));
            if ended { Ok(order) } else { Err(order.to_string()) }
        })
        .await
    }

    /// Waits until the gateway was asked to charge an order.
    pub async fn charged(&self, order: Uuid) {
        let id = order.to_string();
        eventually(SOON, || async { !self.gateway.charges_of(&id).is_empty() }).await;
    }
}

/// What somebody orders.
pub fn basket(customer: Uuid, sku: &str, quantity: u32, pay: &str) -> Value {
    json!({"customer_id": customer, "customer_email": "buyer@example.com",
        "lines": [{"sku": sku, "quantity": quantity}], "payment_method": pay})
}
