//! Mailpit's HTTP API and the pages, over real sockets, fed by real SMTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;

use lettre::message::MultiPart;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use sandbox::smtp::{Mailbox, SmtpServer};
use sandbox::{Running, bind, mailpit, serve_http};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

struct World {
    smtp: SmtpServer,
    http: Running,
}

impl World {
    async fn start() -> Self {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let token = CancellationToken::new();
        let mailbox = Mailbox::default();
        let smtp = SmtpServer::start(any_port, mailbox.clone(), &token).await.unwrap();
        let listener = bind(any_port).await.unwrap();
        let http = serve_http(listener, mailpit::router(mailbox), &token).unwrap();
        Self { smtp, http }
    }

    async fn send(&self, to: &str, subject: &str, text: &str) {
        let html = format!("<p>{text}</p>");
        let mail = Message::builder()
            .from("Tidings Shop <shop@tidings.example>".parse().unwrap())
            .to(to.parse().unwrap())
            .subject(subject)
            .message_id(Some(format!("<{}@tidings.example>", subject.replace(' ', "-"))))
            .multipart(MultiPart::alternative_plain_html(text.to_owned(), html))
            .unwrap();
        let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1");
        transport.port(self.smtp.addr().port()).build().send(mail).await.unwrap();
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        reqwest::get(format!("{}{path}", self.http.url())).await.unwrap()
    }

    async fn json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }

    async fn subjects(&self, query: &str) -> Vec<String> {
        let found = self.json(&format!("/api/v1/search?query={query}")).await;
        let subjects = found["messages"].as_array().unwrap().iter();
        subjects.map(|mail| mail["Subject"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn the_list_names_every_field_as_mailpit_does_newest_first() {
    let world = World::start().await;
    world.send("Ada <ada@example.org>", "Order confirmed", "Thank you,\n  Ada").await;
    world.send("bob@example.org", "Order cancelled", "Sorry").await;
    let list = world.json("/api/v1/messages?limit=1&start=1").await;
    assert_eq!(
        (&list["total"], &list["messages_count"], &list["count"]),
        (&json!(2), &json!(2), &json!(1))
    );
    let mail = &list["messages"][0];
    assert_eq!(mail["Subject"], "Order confirmed");
    assert_eq!(mail["MessageID"], "Order-confirmed@tidings.example");
    assert_eq!(mail["From"], json!({ "Name": "Tidings Shop", "Address": "shop@tidings.example" }));
    assert_eq!(mail["To"], json!([{ "Name": "Ada", "Address": "ada@example.org" }]));
    assert_eq!((&mail["Bcc"], &mail["Cc"]), (&json!([]), &json!([])));
    assert_eq!(mail["Snippet"], "Thank you, Ada");
    assert!(mail["Created"].as_str().unwrap().ends_with('Z'));
    let newest = world.json("/api/v1/messages").await;
    assert_eq!(newest["messages"][0]["Subject"], "Order cancelled");
}

#[tokio::test]
async fn one_mail_is_given_with_its_parts_and_its_bytes() {
    let world = World::start().await;
    world.send("ada@example.org", "Order confirmed", "Grüße").await;
    let list = world.json("/api/v1/messages").await;
    let id = list["messages"][0]["ID"].as_str().unwrap();
    let mail = world.json(&format!("/api/v1/message/{id}")).await;
    assert_eq!((&mail["Text"], &mail["HTML"]), (&json!("Grüße"), &json!("<p>Grüße</p>")));
    assert_eq!(mail["ReturnPath"], "shop@tidings.example");
    let raw = world.get(&format!("/api/v1/message/{id}/raw")).await.bytes().await.unwrap();
    assert_eq!(raw, world.smtp.mailbox().all()[0].raw);
    assert_eq!(world.json("/api/v1/message/latest").await["ID"], id);
    assert_eq!(world.get("/api/v1/message/unknown").await.status(), 404);
    assert_eq!(world.get("/api/v1/message/unknown/raw").await.status(), 404);
}

#[tokio::test]
async fn a_search_narrows_by_words_fields_and_exclusions() {
    let world = World::start().await;
    world.send("Ada <ada@example.org>", "Order confirmed", "widget").await;
    world.send("bob@example.org", "Order cancelled", "about ada").await;
    let both = ["Order cancelled", "Order confirmed"];
    assert_eq!(world.subjects("order").await, both);
    assert_eq!(world.subjects("ADA").await, both);
    assert_eq!(world.subjects("to:ada@example.org").await, ["Order confirmed"]);
    assert_eq!(world.subjects("subject:%22order%20conf%22").await, ["Order confirmed"]);
    assert_eq!(world.subjects("order%20widget").await, ["Order confirmed"]);
    assert_eq!(world.subjects("order%20-widget").await, ["Order cancelled"]);
    let id = "message-id:%3COrder-cancelled@tidings.example%3E";
    assert_eq!(world.subjects(id).await, ["Order cancelled"]);
    assert!(world.subjects("nothing").await.is_empty());
    let found = world.json("/api/v1/search?query=widget&limit=10").await;
    assert_eq!((&found["total"], &found["messages_count"]), (&json!(2), &json!(1)));
}

#[tokio::test]
async fn bad_parameters_are_refused_in_plain_words() {
    let world = World::start().await;
    for path in [
        "/api/v1/messages?limit=x",
        "/api/v1/messages?start=-1",
        "/api/v1/search",
        "/api/v1/search?query=%20",
    ] {
        let answer = world.get(path).await;
        assert_eq!(answer.status(), 400, "{path}");
        assert!(answer.text().await.unwrap().starts_with("Error: "), "{path}");
    }
    assert_eq!(world.get("/api/v1/nothing").await.status(), 404);
}

#[tokio::test]
async fn mails_are_deleted_by_id_or_all_together() {
    let world = World::start().await;
    for subject in ["one", "two", "three"] {
        world.send("ada@example.org", subject, "text").await;
    }
    let id = world.json("/api/v1/message/latest").await["ID"].clone();
    let client = reqwest::Client::new();
    let url = format!("{}/api/v1/messages", world.http.url());
    let bad = client.delete(&url).body("{").send().await.unwrap();
    assert_eq!(bad.status(), 400);
    let one = client.delete(&url).json(&json!({ "IDs": [id] })).send().await.unwrap();
    assert_eq!(one.text().await.unwrap(), "ok");
    assert_eq!(world.subjects("text").await, ["two", "one"]);
    client.delete(&url).send().await.unwrap();
    assert!(world.smtp.mailbox().is_empty());
}

#[tokio::test]
async fn it_says_that_it_is_alive_and_ready() {
    let world = World::start().await;
    for path in ["/livez", "/readyz"] {
        assert_eq!(world.get(path).await.status(), 200);
    }
}

#[tokio::test]
async fn the_pages_show_hostile_mail_without_running_it() {
    let world = World::start().await;
    let hostile = "<script>alert('x')</script>";
    world.send("ada@example.org", hostile, hostile).await;
    let id = world.json("/api/v1/message/latest").await["ID"].as_str().unwrap().to_owned();
    for path in ["/".to_owned(), format!("/view/{id}")] {
        let answer = world.get(&path).await;
        let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.contains("default-src 'none'"), "{policy}");
        let html = answer.text().await.unwrap();
        assert!(!html.contains("<script"), "{path}: {html}");
        assert!(html.contains("&lt;script&gt;"), "{path}");
    }
    let framed = world.get(&format!("/view/{id}.html")).await;
    let policy = framed.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("sandbox;") && !policy.contains("allow-scripts"), "{policy}");
    assert_eq!(framed.text().await.unwrap(), format!("<p>{hostile}</p>"));
    assert_eq!(world.get("/view/unknown").await.status(), 404);
}
