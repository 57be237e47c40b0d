//! A gateway on a ledger of its own.
#![allow(dead_code, reason = "each test file uses a part")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use reqwest::{Method, RequestBuilder, Response};
use sandbox::gateway::{Gateway, GatewayOptions};
use sandbox::{Running, bind};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// A folder that goes with its owner.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("gateway-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        // What a killed run of the same process id may have left.
        _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.0.join("gateway").join("ledger.jsonl")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) struct World {
    pub(crate) folder: Folder,
    pub(crate) gateway: Gateway,
    pub(crate) server: Running,
    pub(crate) client: reqwest::Client,
}

pub(crate) fn charge_body(order_id: &str, payment_method: &str) -> String {
    json!({ "order_id": order_id, "amount_minor": 1998, "currency": "GBP", "payment_method": payment_method })
        .to_string()
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(GatewayOptions::default()).await
    }

    pub(crate) async fn start_with(options: GatewayOptions) -> Self {
        let folder = Folder::new();
        let gateway = Gateway::open(folder.ledger(), options).unwrap();
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let server = gateway.serve(listener, &CancellationToken::new()).unwrap();
        Self { folder, gateway, server, client: reqwest::Client::new() }
    }

    pub(crate) fn request(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: Option<&str>,
    ) -> RequestBuilder {
        request(&self.client, &self.server.url(), method, path, key, body)
    }

    pub(crate) async fn raw(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: Option<&str>,
    ) -> Response {
        self.request(method, path, key, body).send().await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, key: &str, body: &str) -> (u16, Value) {
        let answer = self.raw(Method::POST, path, Some(key), Some(body)).await;
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    pub(crate) async fn charge(&self, key: &str, body: &str) -> (u16, Value) {
        self.post("/charges", key, body).await
    }

    pub(crate) async fn lookup<T: DeserializeOwned>(&self, path: &str) -> T {
        let answer = self.raw(Method::GET, path, None, None).await;
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }
}

pub(crate) fn request(
    client: &reqwest::Client,
    url: &str,
    method: Method,
    path: &str,
    key: Option<&str>,
    body: Option<&str>,
) -> RequestBuilder {
    let mut request = client.request(method, format!("{url}{path}"));
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_owned());
    }
    request
}
