//! The simulated payment gateway: an HTTP server that takes charges and refunds, and a ledger that
//! survives `kill -9`.
//!
//! What the caller wants to rehearse is in the payment method:
//!
//! | token | outcome |
//! |---|---|
//! | `pm_ok` | captured |
//! | `pm_declined` | declined, `card_declined` |
//! | `pm_insufficient_funds` | declined, `insufficient_funds` |
//! | `pm_timeout` | captured and stored, but the first reply never comes: the connection is held, then closed |
//! | `pm_flaky` | `503` twice per idempotency key, nothing stored; then captured |
//! | any other | declined, `unknown_payment_method` |
//!
//! An answer is sent only when what it says is on the disk. The same idempotency key gets the same
//! bytes again, whenever it comes, also after a restart.

mod book;
mod cut;
mod http;
mod input;
mod ledger;
mod model;
mod recovery;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::server::Running;
use book::{Book, Known};
use cut::{Cut, CuttableListener};
use ledger::Ledger;
use model::{Answer, Entry, Stored};

pub use input::Refusal;
pub use ledger::LedgerFailed;
pub use model::{
    Charge, ChargePage, ChargeRequest, ChargeStatus, Refund, RefundPage, RefundRequest,
};
pub use recovery::OpenError;

/// Settings of a [`Gateway`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct GatewayOptions {
    /// How long the connection of a lost reply (`pm_timeout`) is held before it is closed.
    pub hold: Duration,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self { hold: Duration::from_secs(10) }
    }
}

/// The gateway. Clones share one ledger; the file is released when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Gateway {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: GatewayOptions,
    /// Held while an entry is put in line for the disk, so the book and the file agree on the order.
    book: Mutex<Book>,
    ledger: Ledger,
    bytes_cut: u64,
}

/// An answer to a charge, and whether it is to be lost on the way.
#[derive(Debug)]
struct Charged {
    answer: Answer,
    reply_lost: bool,
}

impl Gateway {
    /// Opens the ledger at `path`, or begins one; missing folders are made. Reads the whole file, so
    /// not for the middle of an async server.
    ///
    /// # Errors
    /// [`OpenError`] when the file cannot be used, is in use, is none of ours or is damaged. A last
    /// line that was torn by a crash is none of these: it was never answered and is cut off.
    pub fn open(path: impl AsRef<Path>, options: GatewayOptions) -> Result<Self, OpenError> {
        let opened = recovery::open(path.as_ref())?;
        let mut book = Book::default();
        for (at, entry) in opened.entries.into_iter().enumerate() {
            // The header is line 1.
            book.apply(entry, 0).map_err(|_| opened.damage.at_line(at + 2))?;
        }
        let ledger = Ledger::start(opened.file).map_err(|source| opened.damage.io(source))?;
        let bytes_cut = opened.bytes_cut;
        let inner = Inner { options, book: Mutex::new(book), ledger, bytes_cut };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Serves the API on `listener` until `shutdown` is cancelled.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn serve(
        &self,
        listener: TcpListener,
        shutdown: &CancellationToken,
    ) -> io::Result<Running> {
        let addr = listener.local_addr()?;
        let app = self.router().into_make_service_with_connect_info::<Cut>();
        Ok(Running::start(addr, shutdown, |stop| async move {
            let listener = CuttableListener::new(listener, stop.clone());
            axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await
        }))
    }

    /// The API. Only under [`Gateway::serve`] can a reply be lost altogether; under another server
    /// the caller gets a `504` instead, which says as little about the outcome.
    pub fn router(&self) -> Router {
        http::router(self.clone())
    }

    /// The charges of an order, declined ones too, in the order in which they were made.
    #[must_use]
    pub fn charges_of(&self, order_id: &str) -> Vec<Charge> {
        self.book().charges_of(order_id)
    }

    /// The refunds of an order, in the order in which they were made.
    #[must_use]
    pub fn refunds_of(&self, order_id: &str) -> Vec<Refund> {
        self.book().refunds_of(order_id)
    }

    /// What an order has paid and not got back, in minor units.
    #[must_use]
    pub fn net_captured(&self, order_id: &str) -> i64 {
        let charges = self.charges_of(order_id);
        charges.iter().fold(0, |net: i64, charge| net.saturating_add(charge.net_minor()))
    }

    /// Every charge, in the order in which they were made.
    #[must_use]
    pub fn charges(&self) -> Vec<Charge> {
        self.book().charges().to_vec()
    }

    /// Every refund, in the order in which they were made.
    #[must_use]
    pub fn refunds(&self) -> Vec<Refund> {
        self.book().refunds().to_vec()
    }

    /// How often the disk was synchronised since the ledger was opened: fewer times than charges
    /// when they come at once.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.inner.ledger.commits()
    }

    /// Bytes of a torn last line that opening the ledger cut off.
    #[must_use]
    pub fn bytes_cut(&self) -> u64 {
        self.inner.bytes_cut
    }

    async fn charge(&self, key: &str, request: ChargeRequest) -> Result<Charged, Refusal> {
        request.check()?;
        let loses_reply = request.payment_method == "pm_timeout";
        let (answer, sequence, first) = self.decide_charge(key, request)?;
        self.inner.ledger.durable(sequence).await?;
        Ok(Charged { answer, reply_lost: first && loses_reply })
    }

    /// The answer, the sequence number that must be on the disk before it is sent, and whether this
    /// call made the charge.
    fn decide_charge(
        &self,
        key: &str,
        request: ChargeRequest,
    ) -> Result<(Answer, u64, bool), Refusal> {
        let mut book = self.book();
        if let Some(Known { record, answer, sequence }) = book.charge_by_key(key) {
            let same = request.is_that_of(record);
            return if same { Ok((answer, sequence, false)) } else { Err(Refusal::KeyReused) };
        }
        if request.payment_method == "pm_flaky" && book.is_flaky(key) {
            return Err(Refusal::Unavailable);
        }
        let (record, status, answer) = request.decide()?;
        let entry = Entry::Charge(Stored { key: key.to_owned(), status, answer, record });
        self.commit(&mut book, entry).map(|(answer, sequence)| (answer, sequence, true))
    }

    async fn refund(&self, key: &str, request: RefundRequest) -> Result<Answer, Refusal> {
        request.check()?;
        let (answer, sequence) = self.decide_refund(key, request)?;
        self.inner.ledger.durable(sequence).await?;
        Ok(answer)
    }

    fn decide_refund(&self, key: &str, request: RefundRequest) -> Result<(Answer, u64), Refusal> {
        let mut book = self.book();
        if let Some(Known { record, answer, sequence }) = book.refund_by_key(key) {
            let same = request.is_that_of(record);
            return if same { Ok((answer, sequence)) } else { Err(Refusal::KeyReused) };
        }
        let charge = book.charge(&request.charge_id).ok_or(Refusal::NoSuchCharge)?;
        let (record, status, answer) = request.decide(charge)?;
        let entry = Entry::Refund(Stored { key: key.to_owned(), status, answer, record });
        self.commit(&mut book, entry)
    }

    fn commit(&self, book: &mut Book, entry: Entry) -> Result<(Answer, u64), Refusal> {
        let answer = entry.answer();
        let sequence = self.inner.ledger.append(&entry)?;
        book.apply(entry, sequence).map_err(|_| Refusal::Internal)?;
        Ok((answer, sequence))
    }

    /// What `read` finds, once all of it is on the disk: a charge that a crash could still undo must
    /// not be reported.
    async fn look<T>(&self, read: impl FnOnce(&Book) -> T) -> Result<T, Refusal> {
        let (found, sequence) = {
            let book = self.book();
            (read(&book), self.inner.ledger.last())
        };
        self.inner.ledger.durable(sequence).await?;
        Ok(found)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.inner.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
