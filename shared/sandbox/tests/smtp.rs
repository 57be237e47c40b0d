//! The mail server over real sockets: lettre as the client, and raw bytes where lettre is too polite.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::time::Duration;

use lettre::message::MultiPart;
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use sandbox::bind;
use sandbox::smtp::{Fault, Mailbox, MailboxLimits, SmtpOptions, SmtpServer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(10);

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn server() -> SmtpServer {
    SmtpServer::start(any_port(), Mailbox::default(), &CancellationToken::new()).await.unwrap()
}

async fn server_with(options: SmtpOptions) -> SmtpServer {
    let listener = bind(any_port()).await.unwrap();
    let token = CancellationToken::new();
    SmtpServer::start_with(listener, Mailbox::default(), options, &token).unwrap()
}

fn lettre_to(server: &SmtpServer) -> AsyncSmtpTransport<Tokio1Executor> {
    AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1")
        .port(server.addr().port())
        .hello_name(ClientId::Domain("test.example".to_owned()))
        .timeout(Some(DEADLINE))
        .build()
}

fn order_mail(to: &str) -> Message {
    Message::builder()
        .from("Tidings <shop@tidings.example>".parse().unwrap())
        .to(to.parse().unwrap())
        .subject("Ihre Bestellung ist bestätigt ✓")
        .message_id(Some("<order-1.order_confirmed@tidings.example>".to_owned()))
        .multipart(MultiPart::alternative_plain_html(
            "Grüße!\n.a line that begins with a dot\n..two\n".to_owned(),
            "<p>Grüße!</p>".to_owned(),
        ))
        .unwrap()
}

/// Sends all of `text` at once, then everything that comes back until the server closes.
async fn say(server: &SmtpServer, text: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    stream.write_all(text).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(DEADLINE, read).await.expect("the server hung").unwrap();
    String::from_utf8(answer).unwrap()
}

fn codes(answer: &str) -> Vec<&str> {
    answer.lines().filter(|l| l.as_bytes()[3] == b' ').map(|l| &l[..3]).collect()
}

#[tokio::test]
async fn a_mail_sent_by_lettre_arrives_with_both_parts_and_its_message_id() {
    let server = server().await;
    lettre_to(&server).send(order_mail("Ada <ada@example.org>")).await.unwrap();
    let mails = server.mailbox().by_recipient("ADA@example.org");
    assert_eq!(mails.len(), 1);
    let mail = &mails[0];
    assert_eq!(
        (mail.from.as_str(), mail.to.as_slice()),
        ("shop@tidings.example", &["ada@example.org".to_owned()][..])
    );
    assert_eq!(mail.subject, "Ihre Bestellung ist bestätigt ✓");
    assert_eq!(mail.header_from.as_ref().unwrap().name, "Tidings");
    assert_eq!(mail.text.as_deref(), Some("Grüße!\n.a line that begins with a dot\n..two\n"));
    assert_eq!(mail.html.as_deref(), Some("<p>Grüße!</p>"));
    assert!(mail.header("MIME-Version").is_some());
    let found = server.mailbox().by_message_id("<order-1.order_confirmed@tidings.example>");
    assert_eq!(found[0].id, mail.id);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn many_clients_at_once_lose_no_mail() {
    let server = server().await;
    let transport = lettre_to(&server);
    let sends = (0..50).map(|n| {
        let transport = transport.clone();
        async move { transport.send(order_mail(&format!("c{n}@example.org"))).await.unwrap() }
    });
    let mut all = tokio::task::JoinSet::new();
    sends.for_each(|send| drop(all.spawn(send)));
    while let Some(sent) = all.join_next().await {
        sent.unwrap();
    }
    assert_eq!(server.mailbox().len(), 50);
    assert_eq!(server.mailbox().by_recipient("c49@example.org").len(), 1);
}

#[tokio::test]
async fn a_refusal_reaches_the_client_as_transient_or_permanent_and_can_be_lifted() {
    let server = server().await;
    let transport = lettre_to(&server);
    server.faults().set(Fault::RefuseTemporarily);
    let error = transport.send(order_mail("a@example.org")).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    server.faults().set(Fault::RefusePermanently);
    let error = transport.send(order_mail("a@example.org")).await.unwrap_err();
    assert!(error.is_permanent(), "{error}");
    server.faults().set_next(Fault::RefuseTemporarily, 2);
    assert!(transport.send(order_mail("a@example.org")).await.is_err());
    assert!(transport.send(order_mail("a@example.org")).await.is_err());
    transport.send(order_mail("a@example.org")).await.unwrap();
    assert_eq!((server.mailbox().len(), server.faults().current()), (1, None));
}

#[tokio::test]
async fn a_cut_after_the_final_dot_leaves_the_sender_in_doubt_and_a_second_copy_under_one_id() {
    let server = server().await;
    let transport = lettre_to(&server);
    server.faults().set_next(Fault::CutBeforeStoring, 1);
    let error = transport.send(order_mail("a@example.org")).await.unwrap_err();
    assert!(!error.is_permanent() && !error.is_transient(), "no reply at all: {error}");
    assert!(server.mailbox().is_empty());
    server.faults().set_next(Fault::CutAfterStoring, 1);
    assert!(transport.send(order_mail("a@example.org")).await.is_err());
    transport.send(order_mail("a@example.org")).await.unwrap();
    let copies = server.mailbox().by_message_id("order-1.order_confirmed@tidings.example");
    assert_eq!(copies.len(), 2);
}

#[tokio::test]
async fn a_whole_session_may_be_sent_at_once() {
    let server = server().await;
    let answer = say(
        &server,
        b"EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nRCPT TO:<e@d.example>\r\nDATA\r\n\
          Subject: one\r\n\r\n..stuffed\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n\r\n.\r\n\
          NOOP\r\nVRFY c\r\nRSET\r\nQUIT\r\n",
    )
    .await;
    let expected = "220 250 250 250 250 354 250 250 250 354 250 250 252 250 221";
    assert_eq!(codes(&answer).join(" "), expected, "{answer}");
    assert!(answer.contains("250-SIZE 1048576\r\n"), "{answer}");
    let mails = server.mailbox().all();
    assert_eq!(mails[0].raw, b"Subject: one\r\n\r\n.stuffed\r\n");
    assert_eq!(mails[0].to, ["c@d.example", "e@d.example"]);
    assert_eq!((mails[1].from.as_str(), mails[1].raw.as_slice()), ("", &b"\r\n"[..]));
}

#[tokio::test]
async fn commands_out_of_order_are_refused_and_change_nothing() {
    let server = server().await;
    let answer = say(
        &server,
        b"MAIL FROM:<a@b.example>\r\nEHLO c\r\nRCPT TO:<c@d.example>\r\nDATA\r\nMAIL FROM:<a@b.example>\r\n\
          MAIL FROM:<a@b.example>\r\nDATA\r\nBOGUS\r\nAUTH PLAIN\r\nRSET\r\nDATA\r\nQUIT\r\n",
    )
    .await;
    let expected = "220 503 250 503 503 250 503 554 500 502 250 503 221";
    assert_eq!(codes(&answer).join(" "), expected, "{answer}");
    assert!(server.mailbox().is_empty());
}

#[tokio::test]
async fn a_dot_between_bare_line_feeds_smuggles_no_second_mail_in() {
    let server = server().await;
    let head =
        b"EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nSubject: x\r\n\r\n";
    for end in ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r\n"] {
        let mut text = head.to_vec();
        text.extend_from_slice(b"text");
        text.extend_from_slice(end.as_bytes());
        text.extend_from_slice(
            b"MAIL FROM:<evil@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nevil\r\n.\r\nQUIT\r\n",
        );
        say(&server, &text).await;
        let mails = server.mailbox().all();
        assert_eq!(mails.len(), 1, "{end:?}");
        assert_eq!(mails[0].from, "a@b.example", "{end:?}");
        server.mailbox().clear();
    }
}

#[tokio::test]
async fn a_mail_over_the_limit_is_refused_when_announced_and_when_sent() {
    let server = server_with(SmtpOptions { max_bytes: 10_000, ..SmtpOptions::default() }).await;
    let mut text = b"EHLO c\r\nMAIL FROM:<a@b.example> SIZE=10001\r\nMAIL FROM:<a@b.example>\r\n\
          RCPT TO:<c@d.example>\r\nDATA\r\n"
        .to_vec();
    text.extend(b"123456789\r\n".repeat(1_000));
    text.extend_from_slice(
        b".\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nok\r\n.\r\nQUIT\r\n",
    );
    let answer = say(&server, &text).await;
    let expected = "220 250 552 250 250 354 552 250 250 354 250 221";
    assert_eq!(codes(&answer).join(" "), expected, "{answer}");
    assert_eq!(server.mailbox().len(), 1);
}

#[tokio::test]
async fn a_line_that_is_too_long_is_refused_and_the_session_goes_on() {
    let server = server().await;
    let mut text = b"EHLO c\r\n".to_vec();
    text.extend(vec![b'x'; 5_000]);
    text.extend_from_slice(b"\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n");
    text.extend(vec![b'y'; 999]);
    text.extend_from_slice(
        b"\r\n.\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n.",
    );
    text.extend(vec![b'.'; 998]);
    text.extend_from_slice(b"\r\n.\r\nQUIT\r\n");
    let answer = say(&server, &text).await;
    let expected = "220 250 500 250 250 354 554 250 250 354 250 221";
    assert_eq!(codes(&answer).join(" "), expected, "{answer}");
    assert_eq!(server.mailbox().all()[0].raw, [vec![b'.'; 998], b"\r\n".to_vec()].concat());
}

#[tokio::test]
async fn a_silent_client_and_a_dripping_one_are_let_go() {
    let short = Duration::from_millis(80);
    let server = server_with(SmtpOptions { idle: short, ..SmtpOptions::default() }).await;
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(DEADLINE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert_eq!(codes(&answer), ["220", "421"]);

    let options = SmtpOptions { data: short, ..SmtpOptions::default() };
    let server = server_with(options).await;
    let (mut read, mut write) = TcpStream::connect(server.addr()).await.unwrap().into_split();
    let head = b"EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n";
    write.write_all(head).await.unwrap();
    let drip = async {
        while write.write_all(b"drop\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let mut answer = Vec::new();
    let read = async { _ = read.read_to_end(&mut answer).await };
    tokio::time::timeout(DEADLINE, async { tokio::join!(drip, read) }).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert_eq!(codes(&answer).last(), Some(&"421"), "{answer}");
    assert!(server.mailbox().is_empty());
}

#[tokio::test]
async fn one_client_too_many_is_turned_away_and_nonsense_ends_a_session() {
    let server = server_with(SmtpOptions { max_connections: 1, ..SmtpOptions::default() }).await;
    let mut first = TcpStream::connect(server.addr()).await.unwrap();
    let mut greeting = [0; 4];
    first.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"220 ");
    let answer = tokio::time::timeout(DEADLINE, say_nothing(&server)).await.unwrap();
    assert_eq!(codes(&answer), ["421"]);
    first.write_all(&b"NONSENSE\r\n".repeat(30)).await.unwrap();
    let mut rest = Vec::new();
    _ = tokio::time::timeout(DEADLINE, first.read_to_end(&mut rest)).await.unwrap();
    let rest = String::from_utf8(rest).unwrap();
    assert_eq!(rest.matches("500 ").count(), 19, "{rest}");
    assert!(rest.contains("421 4.7.0 too many errors"), "{rest}");
}

async fn say_nothing(server: &SmtpServer) -> String {
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_mail_leaves_nothing() {
    let server = server().await;
    let half =
        b"EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nhalf a mail\r\n.";
    let answer = say(&server, half).await;
    assert_eq!(codes(&answer).last(), Some(&"354"), "{answer}");
    assert!(server.mailbox().is_empty());
}

#[tokio::test]
async fn a_stop_tells_open_sessions_and_closes_the_door() {
    let token = CancellationToken::new();
    let mailbox = Mailbox::new(MailboxLimits::default());
    let server = SmtpServer::start(any_port(), mailbox, &token).await.unwrap();
    let addr = server.addr();
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let mut greeting = [0; 4];
    stream.read_exact(&mut greeting).await.unwrap();
    token.cancel();
    tokio::time::timeout(DEADLINE, server.join()).await.unwrap().unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("421 4.3.2"), "{rest}");
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn waiting_for_a_mail_ends_when_it_comes_or_with_the_time_out() {
    let server = server().await;
    let (mailbox, transport) = (server.mailbox().clone(), lettre_to(&server));
    let (mails, sent) = tokio::join!(
        mailbox.wait_for(DEADLINE, |mails| mails.len() == 1),
        transport.send(order_mail("a@example.org"))
    );
    assert_eq!((mails.unwrap().len(), sent.is_ok()), (1, true));
    let late = mailbox.wait_for(Duration::from_millis(20), |mails| mails.len() == 2).await;
    assert_eq!(late.unwrap_err().so_far, 1);
}
