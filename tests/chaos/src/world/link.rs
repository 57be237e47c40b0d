//! A way between a process and a server, which can be cut, stopped, slowed and broken off at a byte.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::task;

/// How the way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mode {
    /// As it should be.
    #[default]
    Open,
    /// Nothing of these directions arrives; nobody is told.
    Stalled {
        /// From the process.
        out: bool,
        /// To the process.
        back: bool,
    },
    /// Every piece takes so much longer.
    Slow(Duration),
    /// Nobody gets through, and who is connected is cut off.
    Shut,
}

/// One direction.
#[derive(Debug, Clone, Copy)]
enum Way {
    Out,
    Back,
}

#[derive(Debug)]
struct State {
    mode: watch::Sender<Mode>,
    /// Connections as they are; a cut ends all of them and begins a new generation.
    generation: Mutex<CancellationToken>,
    /// So many more bytes reach the process until its connection breaks; none is no limit.
    bytes_left: Mutex<Option<u64>>,
    /// How often something that passed by felt the mode.
    felt: AtomicU64,
}

/// A way to a server. It ends with its handle.
#[derive(Debug)]
pub(crate) struct Link {
    port: u16,
    state: Arc<State>,
    _end: DropGuard,
}

impl Link {
    /// A way to `server`.
    ///
    /// # Errors
    /// When there is no port for it.
    pub(crate) async fn to(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(State {
            mode: watch::Sender::new(Mode::Open),
            generation: Mutex::default(),
            bytes_left: Mutex::default(),
            felt: AtomicU64::new(0),
        });
        let end = CancellationToken::new();
        let (accepting, stop) = (state.clone(), end.clone());
        task::spawn(async move {
            tokio::select! {
                () = accept(&listener, server, &accepting) => {}
                () = stop.cancelled() => lock(&accepting.generation).cancel(),
            }
        });
        Ok(Self { port, state, _end: end.drop_guard() })
    }

    /// Where it begins.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// From now on it is like that.
    pub(crate) fn set(&self, mode: Mode) {
        self.state.mode.send_replace(mode);
        if mode == Mode::Shut {
            self.cut();
        }
    }

    /// Resets all connections.
    pub(crate) fn cut(&self) {
        let old = std::mem::take(&mut *lock(&self.state.generation));
        old.cancel();
    }

    /// Resets a connection after so many more bytes to the process.
    pub(crate) fn cut_after(&self, bytes: u64) {
        *lock(&self.state.bytes_left) = Some(bytes);
    }

    /// As it should be again.
    pub(crate) fn heal(&self) {
        *lock(&self.state.bytes_left) = None;
        self.set(Mode::Open);
    }

    /// How often something that passed by has felt what was done to it.
    pub(crate) fn felt(&self) -> u64 {
        self.state.felt.load(Ordering::Relaxed)
    }
}

async fn accept(listener: &TcpListener, server: SocketAddr, state: &Arc<State>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { return };
        let (state, generation) = (state.clone(), lock(&state.generation).clone());
        task::spawn(async move {
            // Cut off is reset, not ended in order.
            let _ = client.set_zero_linger();
            if *state.mode.borrow() == Mode::Shut {
                state.feel();
                return;
            }
            tokio::select! {
                _ = pass(client, server, &state) => {}
                () = generation.cancelled() => state.feel(),
            }
        });
    }
}

/// Passes on until one side ends, whose end the other is told.
async fn pass(client: TcpStream, server: SocketAddr, state: &State) -> io::Result<()> {
    let server = TcpStream::connect(server).await?;
    server.set_zero_linger()?;
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    tokio::try_join!(
        state.pump(from_client, to_server, Way::Out),
        state.pump(from_server, to_client, Way::Back),
    )?;
    Ok(())
}

impl State {
    async fn pump(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        way: Way,
    ) -> io::Result<()> {
        let mut piece = vec![0; 16 * 1024];
        loop {
            let length = from.read(&mut piece).await?;
            if length == 0 {
                return to.shutdown().await;
            }
            self.pass_mode(way).await;
            let allowed = self.allowed(way, length);
            to.write_all(&piece[..allowed]).await?;
            if allowed < length {
                self.feel();
                return Err(io::ErrorKind::ConnectionReset.into());
            }
        }
    }

    /// Waits for as long as the mode makes a piece wait.
    async fn pass_mode(&self, way: Way) {
        let stalled = |mode: &Mode| match (way, mode) {
            (Way::Out, Mode::Stalled { out, .. }) => *out,
            (Way::Back, Mode::Stalled { back, .. }) => *back,
            _ => false,
        };
        let mode = *self.mode.borrow();
        if let Mode::Slow(by) = mode {
            self.feel();
            tokio::time::sleep(by).await;
        }
        if stalled(&mode) {
            self.feel();
            let _ = self.mode.subscribe().wait_for(|mode| !stalled(mode)).await;
        }
    }

    /// How many of `length` bytes may still pass.
    fn allowed(&self, way: Way, length: usize) -> usize {
        let mut left = lock(&self.bytes_left);
        let Some(most) = *left else { return length };
        if matches!(way, Way::Out) {
            return length;
        }
        let length_left = most.saturating_sub(length as u64);
        // Broken off once; the next connection is whole.
        *left = (most >= length as u64).then_some(length_left);
        length.min(usize::try_from(most).unwrap_or(usize::MAX))
    }

    fn feel(&self) {
        self.felt.fetch_add(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::time::timeout;

    use super::*;

    /// A server that says every byte again.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        task::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                task::spawn(async move {
                    let (mut from, mut to) = client.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        address
    }

    async fn connect(link: &Link) -> TcpStream {
        TcpStream::connect((Ipv4Addr::LOCALHOST, link.port())).await.unwrap()
    }

    async fn said_again(stream: &mut TcpStream, text: &[u8]) -> io::Result<Vec<u8>> {
        stream.write_all(text).await?;
        let mut answer = vec![0; text.len()];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn what_is_cut_is_reset_and_the_next_connection_is_whole() {
        let link = Link::to(echo().await).await.unwrap();
        let mut stream = connect(&link).await;
        assert_eq!(said_again(&mut stream, b"hello").await.unwrap(), b"hello");
        link.cut();
        assert!(said_again(&mut stream, b"hello").await.is_err());
        assert_eq!(said_again(&mut connect(&link).await, b"again").await.unwrap(), b"again");
        assert_eq!(link.felt(), 1);
    }

    #[tokio::test]
    async fn a_connection_breaks_off_at_the_byte_that_was_said_and_once() {
        let link = Link::to(echo().await).await.unwrap();
        let mut stream = connect(&link).await;
        link.cut_after(7);
        assert_eq!(said_again(&mut stream, b"four").await.unwrap(), b"four");
        stream.write_all(b"four").await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(rest.len() <= 3, "{rest:?}");
        assert_eq!(said_again(&mut connect(&link).await, b"more").await.unwrap(), b"more");
    }

    #[tokio::test]
    async fn what_is_stalled_arrives_when_it_is_healed_and_what_is_slow_arrives_late() {
        let link = Link::to(echo().await).await.unwrap();
        let mut stream = connect(&link).await;
        link.set(Mode::Stalled { out: false, back: true });
        stream.write_all(b"x").await.unwrap();
        let mut answer = [0];
        let waited = timeout(Duration::from_millis(50), stream.read_exact(&mut answer)).await;
        assert!(waited.is_err() && link.felt() > 0);
        link.heal();
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"x");
        link.set(Mode::Slow(Duration::from_millis(30)));
        let begun = Instant::now();
        said_again(&mut stream, b"y").await.unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(60));
        link.set(Mode::Shut);
        assert!(said_again(&mut connect(&link).await, b"z").await.is_err());
    }
}
