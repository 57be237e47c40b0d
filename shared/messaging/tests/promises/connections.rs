//! Connections that begin with nobody there, and that end in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use messaging::transport::rabbitmq::RabbitMq;
use messaging::transport::{Transport, TransportError};
use testkit::eventually;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::house::{House, Lit, NAMESPACE, Raw, SOON, Switch};

#[tokio::test]
async fn a_peer_that_takes_connections_and_says_nothing_costs_no_socket_per_try() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (accepted, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (taken, held) = (accepted.clone(), open.clone());
    let mute = tokio::spawn(async move {
        while let Ok((mut peer, _)) = listener.accept().await {
            taken.fetch_add(1, Ordering::SeqCst);
            held.fetch_add(1, Ordering::SeqCst);
            let held = held.clone();
            tokio::spawn(async move {
                let mut heard = Vec::new();
                let _ = peer.read_to_end(&mut heard).await;
                held.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    let transport = RabbitMq::new(format!("amqp://127.0.0.1:{port}/v"), "lamp", NAMESPACE);
    // Each gives up after five seconds.
    for error in join_all((0..8).map(|_| transport.publisher())).await {
        assert!(matches!(error.err(), Some(TransportError::Away(_))));
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 8);
    eventually(SOON, || async {
        let open = open.load(Ordering::SeqCst);
        if open == 0 { Ok(()) } else { Err(format!("{open} sockets are open")) }
    })
    .await;
    // One that nobody waits for any more leaves nothing either.
    let given_up = tokio::spawn(async move { transport.publisher().await.is_ok() });
    eventually(SOON, || async { open.load(Ordering::SeqCst) == 1 }).await;
    given_up.abort();
    eventually(SOON, || async { open.load(Ordering::SeqCst) == 0 }).await;
    mute.abort();
}

#[tokio::test]
async fn what_is_unsettled_is_handed_back_before_the_connection_is_closed() {
    let house = House::new().await;
    let ledger = house.ledger(&Switch::new()).await;
    ledger.provision().await;
    let wire = house.wire().await;
    for n in 0..3 {
        let event = Lit::new(format!("lamp-{n}"), 1);
        wire.publish("events", "lamp.lit.v1", &Raw::of(&event, 1)).await;
    }
    let (url, said) = listened(house.vhost.amqp_url()).await;
    for parked in [false, true] {
        let transport = RabbitMq::new(&url, "ledger", NAMESPACE);
        let topology = ledger.kit.topology();
        let mut subscription = match parked {
            false => transport.subscribe(topology, 10).await.unwrap(),
            true => transport.parked(topology).await.unwrap(),
        };
        if !parked {
            subscription.next(3).await.unwrap();
        }
        subscription.close().await;
        eventually(SOON, || async { said.lock().unwrap().last() == Some(&CLOSE) }).await;
        let said = std::mem::take(&mut *said.lock().unwrap());
        assert_eq!(said[said.len() - 3..], [CANCEL, NACK, CLOSE], "{said:?}");
    }
    // A close without a nack counts as a failed delivery of each on RabbitMQ 4.3, and a nack does
    // not; 3.10 counts both.
    eventually(SOON, || async { house.vhost.depth("ledger.in").await == Some(3) }).await;
}

/// Class and method, as in the protocol's specification.
type Method = (u16, u16);
const CLOSE: Method = (10, 50);
const CANCEL: Method = (60, 30);
const NACK: Method = (60, 120);

/// A way to a broker that notes what methods the client sends. Acknowledges nothing by itself.
async fn listened(url: &str) -> (String, Arc<Mutex<Vec<Method>>>) {
    let (login, rest) = url.split_once('@').unwrap();
    let (server, path) = rest.split_once('/').unwrap();
    let server: SocketAddr = server.parse().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let said: Arc<Mutex<Vec<Method>>> = Arc::default();
    let notes = said.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass(client, server, notes.clone()));
        }
    });
    (format!("{login}@127.0.0.1:{port}/{path}"), said)
}

async fn pass(client: TcpStream, server: SocketAddr, notes: Arc<Mutex<Vec<Method>>>) {
    let server = TcpStream::connect(server).await.unwrap();
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let back = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
    });
    let mut header = [0; 8];
    from_client.read_exact(&mut header).await.unwrap();
    to_server.write_all(&header).await.unwrap();
    while let Ok(frame) = frame(&mut from_client).await {
        let short = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
        // A method, and not the ok to the broker's own close.
        if frame[0] == 1 && (short(7), short(9)) != (10, 51) {
            notes.lock().unwrap().push((short(7), short(9)));
        }
        to_server.write_all(&frame).await.unwrap();
    }
    let _ = back.await;
}

/// Type, channel, size, payload, end.
async fn frame(from: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut frame = vec![0; 7];
    from.read_exact(&mut frame).await?;
    let size = u32::from_be_bytes([frame[3], frame[4], frame[5], frame[6]]);
    frame.resize(7 + size as usize + 1, 0);
    from.read_exact(&mut frame[7..]).await?;
    Ok(frame)
}
