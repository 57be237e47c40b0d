//! The received mails, in memory that is bounded whatever is sent.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::mail::Mail;

/// How much a [`Mailbox`] keeps. Both count at the same time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MailboxLimits {
    /// Mails at once, at least 1.
    pub mails: usize,
    /// Bytes of all mails together, about.
    pub bytes: usize,
}

impl Default for MailboxLimits {
    fn default() -> Self {
        Self { mails: 50_000, bytes: 256 * 1024 * 1024 }
    }
}

/// A wait for mails ended without them.
#[derive(Debug, thiserror::Error)]
#[error(
    "the mails that were waited for had not come after {waited:?}; {so_far} were in the mailbox"
)]
pub struct MailTimeout {
    /// How long.
    pub waited: Duration,
    /// Mails kept at that time.
    pub so_far: usize,
}

/// Mails in the order of their arrival, the oldest dropped first. Clones share one mailbox.
#[derive(Clone, Debug)]
pub struct Mailbox {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limits: MailboxLimits,
    state: Mutex<State>,
    revision: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    mails: VecDeque<Arc<Mail>>,
    bytes: usize,
    received: u64,
    dropped: u64,
}

impl Default for Mailbox {
    fn default() -> Self {
        Self::new(MailboxLimits::default())
    }
}

impl Mailbox {
    /// An empty mailbox.
    #[must_use]
    pub fn new(limits: MailboxLimits) -> Self {
        let limits = MailboxLimits { mails: limits.mails.max(1), ..limits };
        let revision = watch::Sender::new(0);
        Self { shared: Arc::new(Shared { limits, state: Mutex::default(), revision }) }
    }

    /// Puts a mail in; the newest is always kept.
    pub(super) fn add(&self, mail: Mail) {
        let limits = self.shared.limits;
        let mut state = self.lock();
        state.received += 1;
        state.bytes += mail.weight();
        state.mails.push_back(Arc::new(mail));
        while state.mails.len() > limits.mails
            || (state.bytes > limits.bytes && state.mails.len() > 1)
        {
            if let Some(oldest) = state.mails.pop_front() {
                state.bytes -= oldest.weight();
                state.dropped += 1;
            }
        }
        drop(state);
        self.changed();
    }

    /// Every mail, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Mail>> {
        self.lock().mails.iter().cloned().collect()
    }

    /// The mails whose envelope names that recipient, whatever the case, oldest first.
    #[must_use]
    pub fn by_recipient(&self, address: &str) -> Vec<Arc<Mail>> {
        self.filtered(|mail| mail.to.iter().any(|to| to.eq_ignore_ascii_case(address)))
    }

    /// The mails of that Message-ID, with or without angle brackets, oldest first. More than one
    /// when a sender could not know whether the first had been taken.
    #[must_use]
    pub fn by_message_id(&self, message_id: &str) -> Vec<Arc<Mail>> {
        let wanted = message_id.trim().trim_start_matches('<').trim_end_matches('>');
        self.filtered(|mail| mail.message_id.as_deref() == Some(wanted))
    }

    /// The mail of that id of the mailbox.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Arc<Mail>> {
        self.lock().mails.iter().find(|mail| mail.id == id).cloned()
    }

    /// Removes the mails of those ids; how many there were.
    pub fn remove(&self, ids: &[String]) -> usize {
        self.retain(|mail| !ids.contains(&mail.id))
    }

    /// Removes every mail; how many there were.
    pub fn clear(&self) -> usize {
        self.retain(|_| false)
    }

    /// Mails kept now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().mails.len()
    }

    /// True when no mail is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Mails taken in since the start, those removed and dropped included.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.lock().received
    }

    /// Mails that made room for newer ones.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Changes with every mail: wait on it rather than poll.
    #[must_use]
    pub fn revision(&self) -> watch::Receiver<u64> {
        self.shared.revision.subscribe()
    }

    /// Waits until all mails together satisfy `complete`, at most `timeout`.
    ///
    /// # Errors
    /// [`MailTimeout`].
    pub async fn wait_for(
        &self,
        timeout: Duration,
        complete: impl Fn(&[Arc<Mail>]) -> bool,
    ) -> Result<Vec<Arc<Mail>>, MailTimeout> {
        let mut revision = self.revision();
        let arrived = async {
            loop {
                revision.mark_unchanged();
                let mails = self.all();
                // The sender lives in `self`, so the channel cannot close.
                if complete(&mails) || revision.changed().await.is_err() {
                    return mails;
                }
            }
        };
        let too_late = |_| MailTimeout { waited: timeout, so_far: self.len() };
        tokio::time::timeout(timeout, arrived).await.map_err(too_late)
    }

    fn filtered(&self, wanted: impl Fn(&Mail) -> bool) -> Vec<Arc<Mail>> {
        self.lock().mails.iter().filter(|mail| wanted(mail)).cloned().collect()
    }

    fn retain(&self, keep: impl Fn(&Mail) -> bool) -> usize {
        let mut state = self.lock();
        let before = state.mails.len();
        state.mails.retain(|mail| keep(mail));
        state.bytes = state.mails.iter().map(|mail| mail.weight()).sum();
        let removed = before - state.mails.len();
        drop(state);
        self.changed();
        removed
    }

    fn changed(&self) {
        self.shared.revision.send_modify(|revision| *revision += 1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(number: usize, bytes: usize) -> Mail {
        Mail::new("a@b.example".to_owned(), vec![format!("{number}@b.example")], vec![b'x'; bytes])
    }

    #[test]
    fn the_oldest_mails_make_room_for_new_ones() {
        let mailbox = Mailbox::new(MailboxLimits { mails: 3, bytes: usize::MAX });
        (0..5).for_each(|number| mailbox.add(mail(number, 10)));
        assert_eq!((mailbox.len(), mailbox.received(), mailbox.dropped()), (3, 5, 2));
        assert!(mailbox.by_recipient("1@b.example").is_empty());
        assert_eq!(mailbox.by_recipient("4@B.EXAMPLE").len(), 1);
    }

    #[test]
    fn bytes_count_too_and_the_newest_mail_stays() {
        let mailbox = Mailbox::new(MailboxLimits { mails: 100, bytes: 50_000 });
        (0..5).for_each(|number| mailbox.add(mail(number, 20_000)));
        assert!(mailbox.len() <= 2, "{} mails", mailbox.len());
        mailbox.add(mail(9, 1_000_000));
        assert_eq!(
            mailbox.all().iter().map(|m| m.to[0].as_str()).collect::<Vec<_>>(),
            ["9@b.example"]
        );
        assert_eq!(mailbox.clear(), 1);
        assert!(mailbox.is_empty());
    }
}
