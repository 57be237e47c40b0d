//! Answers already given, so that a client that lost one can ask again.

use std::future::Future;

use sha2::{Digest, Sha256};

use super::ports::StoreError;

/// A key, where it holds, and what was asked under it.
#[derive(Debug, Clone)]
pub struct IdempotencyKey {
    /// Method and path: the same key elsewhere is another key.
    pub scope: String,
    /// The client's key, without quotes.
    pub key: String,
    /// SHA-256 of the request's raw body.
    pub fingerprint: [u8; 32],
}

impl IdempotencyKey {
    /// The key of a request.
    pub fn new(scope: impl Into<String>, key: impl Into<String>, body: &[u8]) -> Self {
        let fingerprint = Sha256::digest(body).into();
        Self { scope: scope.into(), key: key.into(), fingerprint }
    }
}

/// An answer as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The `Location` header, if there was one.
    pub location: Option<String>,
    /// The exact body.
    pub body: Vec<u8>,
}

/// What is known of a key.
#[derive(Debug)]
pub enum Remembered {
    /// Nothing: it is ours until the transaction ends.
    Nothing,
    /// It was answered.
    Answer(Answer),
    /// It was answered, for another request.
    Reused,
    /// Its first request is still running.
    InProgress,
}

/// Stored answers.
pub trait Answers: Send {
    /// Looks a key up and takes it, until the transaction ends, if it is free.
    fn remembered(
        &mut self,
        key: &IdempotencyKey,
    ) -> impl Future<Output = Result<Remembered, StoreError>> + Send;
    /// Stores an answer; it is given again for 24 hours.
    fn remember(
        &mut self,
        key: &IdempotencyKey,
        answer: &Answer,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}
