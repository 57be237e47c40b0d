//! The way to the disk: one thread appends and synchronises for all who wait.

use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::watch;

use super::model::Entry;

/// The disk refused; nothing that was not answered yet is certain, and nothing more is taken.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the ledger could not be written: {reason}")]
pub struct LedgerFailed {
    reason: Arc<str>,
}

/// Appends entries. While one batch is being synchronised the next one gathers, so charges that come
/// at once share the cost (group commit).
#[derive(Debug)]
pub(super) struct Ledger {
    queue: Arc<Queue>,
    written: watch::Receiver<Written>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Queue {
    batch: Mutex<Batch>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct Batch {
    lines: Vec<u8>,
    /// The sequence number of the last entry that was put in line.
    last: u64,
    closed: bool,
}

#[derive(Clone, Debug, Default)]
struct Written {
    /// Every entry up to this sequence number is on the disk.
    up_to: u64,
    commits: u64,
    failed: Option<LedgerFailed>,
}

impl Ledger {
    /// Starts the writer on a file that is open for appending.
    pub(super) fn start(file: File) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let (sender, written) = watch::channel(Written::default());
        let lines = Arc::clone(&queue);
        let writer = std::thread::Builder::new()
            .name("gateway-ledger".to_owned())
            .spawn(move || write(file, &lines, &sender))?;
        Ok(Self { queue, written, writer: Some(writer) })
    }

    /// Puts an entry in line and returns its sequence number.
    pub(super) fn append(&self, entry: &Entry) -> Result<u64, LedgerFailed> {
        if let Some(failed) = &self.written.borrow().failed {
            return Err(failed.clone());
        }
        let line = serde_json::to_vec(entry).map_err(|error| LedgerFailed::new(&error))?;
        let mut batch = self.queue.lock();
        batch.lines.extend_from_slice(&line);
        batch.lines.push(b'\n');
        batch.last += 1;
        self.queue.filled.notify_one();
        Ok(batch.last)
    }

    /// The sequence number of the newest entry, 0 if there was none since the start.
    pub(super) fn last(&self) -> u64 {
        self.queue.lock().last
    }

    /// Waits until the entry of that sequence number is on the disk.
    pub(super) async fn durable(&self, sequence: u64) -> Result<(), LedgerFailed> {
        let mut written = self.written.clone();
        let reached = written.wait_for(|w| w.up_to >= sequence || w.failed.is_some()).await;
        let reached =
            reached.map_err(|_| LedgerFailed { reason: "its writer has ended".into() })?;
        match &reached.failed {
            Some(failed) if reached.up_to < sequence => Err(failed.clone()),
            _ => Ok(()),
        }
    }

    pub(super) fn commits(&self) -> u64 {
        self.written.borrow().commits
    }

    pub(super) fn failure(&self) -> Option<LedgerFailed> {
        self.written.borrow().failed.clone()
    }
}

impl Drop for Ledger {
    /// Lets the writer finish, so that the file and its lock are free when this returns.
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.filled.notify_one();
        if let Some(writer) = self.writer.take() {
            _ = writer.join();
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Batch> {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next batch; none when the ledger was closed and all is written.
    fn take(&self) -> Option<(Vec<u8>, u64)> {
        let idle = |batch: &mut Batch| batch.lines.is_empty() && !batch.closed;
        let waited = self.filled.wait_while(self.lock(), idle);
        let mut batch = waited.unwrap_or_else(PoisonError::into_inner);
        let lines = std::mem::take(&mut batch.lines);
        (!lines.is_empty()).then_some((lines, batch.last))
    }
}

impl LedgerFailed {
    fn new(error: &dyn std::fmt::Display) -> Self {
        Self { reason: error.to_string().into() }
    }
}

fn write(mut file: File, queue: &Queue, written: &watch::Sender<Written>) {
    while let Some((lines, last)) = queue.take() {
        let stored = file.write_all(&lines).and_then(|()| file.sync_data());
        if let Err(error) = stored {
            // After a failed synchronisation the kernel may have thrown the pages away: a second
            // attempt could "succeed" with the data lost. Only opening the file anew tells.
            tracing::error!(%error, "the payment gateway's ledger cannot be written");
            written.send_modify(|w| w.failed = Some(LedgerFailed::new(&error)));
            return;
        }
        written.send_modify(|w| {
            w.up_to = last;
            w.commits += 1;
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::model::Stored;
    use super::*;

    fn entry() -> Entry {
        let refund = serde_json::json!({
            "refund_id": "re", "charge_id": "ch", "order_id": "o", "amount_minor": 1,
            "currency": "GBP", "created_at": "2026-01-01T00:00:00Z"
        });
        let answer = serde_json::value::to_raw_value(&refund).unwrap();
        let record = serde_json::from_value(refund).unwrap();
        Entry::Refund(Stored { key: "r".to_owned(), status: 201, answer, record })
    }

    /// A device on which every write finds the disk full.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_full_disk_confirms_nothing_and_takes_nothing_more() {
        let full = std::fs::OpenOptions::new().append(true).open("/dev/full").unwrap();
        let ledger = Ledger::start(full).unwrap();
        let sequence = ledger.append(&entry()).unwrap();
        let failed = ledger.durable(sequence).await.unwrap_err().to_string();
        assert!(failed.contains("No space left"), "{failed}");
        assert!(ledger.append(&entry()).is_err());
        assert!(ledger.failure().is_some());
        assert!(ledger.durable(0).await.is_ok(), "what was there before is still certain");
    }
}
