//! Ed25519 over the exact body bytes, in the DSSE v1 pre-authentication encoding.
//!
//! The private key exists only at the producer; consumers hold a [`KeyRing`] of public keys that
//! says which source each key belongs to and which event types it may sign. There is one suite and
//! no negotiation: a message that names another is refused.

use std::collections::HashMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::{CONTENT_TYPE, Identity};

/// The name of the one signature suite, sent with every message.
pub const SUITE: &str = "dsse-ed25519-1";

/// What is signed for a body: `DSSEv1 <len> <content type> <len> <body>`.
///
/// Source: secure-systems-lab DSSE, protocol 1.0.
fn pre_authentication_encoding(body: &[u8]) -> Vec<u8> {
    let mut pae = Vec::with_capacity(body.len() + 64);
    pae.extend_from_slice(b"DSSEv1 ");
    pae.extend_from_slice(
        format!("{} {CONTENT_TYPE} {} ", CONTENT_TYPE.len(), body.len()).as_bytes(),
    );
    pae.extend_from_slice(body);
    pae
}

/// A producer's private key.
#[derive(Clone)]
pub struct Signer {
    kid: String,
    key: SigningKey,
}

/// A key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not base64 of exactly 32 bytes.
    #[error("a key is the base64 of 32 bytes")]
    Encoding,
    /// 32 bytes that are no Ed25519 public key.
    #[error("public key {0} is not a point on the curve")]
    Point(String),
    /// The document of public keys does not parse.
    #[error("key document is not valid: {0}")]
    Document(#[from] serde_json::Error),
    /// Two keys share an id.
    #[error("key id {0} stands twice")]
    Duplicate(String),
}

impl Signer {
    /// A signer from the 32 bytes of a private key.
    pub fn from_seed(kid: impl Into<String>, seed: [u8; 32]) -> Self {
        Self { kid: kid.into(), key: SigningKey::from_bytes(&seed) }
    }

    /// A signer from a private key in base64.
    ///
    /// # Errors
    /// [`KeyError::Encoding`].
    pub fn from_base64(kid: impl Into<String>, text: &str) -> Result<Self, KeyError> {
        Ok(Self::from_seed(kid, decode_key(text)?))
    }

    /// The id under which consumers know the public half.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The signature of `body`, 64 bytes.
    pub fn sign(&self, body: &[u8]) -> [u8; 64] {
        self.key.sign(&pre_authentication_encoding(body)).to_bytes()
    }

    /// The public half, as it is published: for events of `source` whose full type matches one of
    /// `types` (a trailing `*` stands for any ending).
    pub fn public(&self, source: impl Into<String>, types: Vec<String>) -> PublicKey {
        PublicKey {
            kid: self.kid.clone(),
            alg: Algorithm::Ed25519,
            public_key: STANDARD.encode(self.key.verifying_key().as_bytes()),
            source: source.into(),
            types,
            state: KeyState::Active,
        }
    }
}

impl Signer {
    /// The public half as a service's own: for its source, and all types that carry its name.
    pub fn public_for(&self, service: &Identity) -> PublicKey {
        self.public(service.source(), vec![service.full_type(service.service()) + ".*"])
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("kid", &self.kid).finish_non_exhaustive()
    }
}

fn decode_key(text: &str) -> Result<[u8; 32], KeyError> {
    let bytes = STANDARD.decode(text.trim()).map_err(|_| KeyError::Encoding)?;
    bytes.try_into().map_err(|_| KeyError::Encoding)
}

/// The only algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// Ed25519 (RFC 8032), pure.
    Ed25519,
}

/// What a key may still be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Signs and verifies.
    Active,
    /// Verifies what was signed before; nothing new is signed with it.
    Retiring,
    /// Its messages are refused.
    Revoked,
}

/// A published public key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PublicKey {
    /// Key id, unique in the system.
    pub kid: String,
    /// Signature algorithm.
    pub alg: Algorithm,
    /// Base64 of the 32 bytes.
    pub public_key: String,
    /// The only CloudEvents `source` it speaks for.
    pub source: String,
    /// The full types it may sign; a trailing `*` stands for any ending.
    pub types: Vec<String>,
    /// What it may be used for.
    pub state: KeyState,
}

/// The document in which public keys are published and configured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct KeyDocument {
    /// All keys, in any order.
    pub keys: Vec<PublicKey>,
}

/// Why a signature was not accepted. Each has one reason code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The signature is not 64 bytes of base64url, or does not verify.
    #[error("signature does not verify")]
    BadSignature,
    /// No such key.
    #[error("signing key is not known")]
    UnknownKey,
    /// The key was withdrawn.
    #[error("signing key is revoked")]
    RevokedKey,
    /// The key does not own this source or may not sign this type.
    #[error("signing key does not speak for this source and type")]
    NotAuthorised,
}

struct RingKey {
    verifying: VerifyingKey,
    source: String,
    types: Vec<String>,
    state: KeyState,
}

/// The public keys a consumer trusts.
#[derive(Default)]
pub struct KeyRing {
    keys: HashMap<String, RingKey>,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keys.keys()).finish()
    }
}

/// A body with the signature that came with it, whose key is known.
#[derive(Clone, Copy)]
pub struct Signed<'a> {
    /// The exact bytes received.
    pub body: &'a [u8],
    /// 64 bytes.
    pub signature: &'a [u8; 64],
    /// The key's id.
    pub kid: &'a str,
}

impl KeyRing {
    /// A ring of the keys in `document`.
    ///
    /// # Errors
    /// A key that does not decode, or an id that stands twice.
    pub fn new(document: &KeyDocument) -> Result<Self, KeyError> {
        let mut keys = HashMap::new();
        for key in &document.keys {
            let verifying = VerifyingKey::from_bytes(&decode_key(&key.public_key)?)
                .map_err(|_| KeyError::Point(key.kid.clone()))?;
            let entry = RingKey {
                verifying,
                source: key.source.clone(),
                types: key.types.clone(),
                state: key.state,
            };
            if keys.insert(key.kid.clone(), entry).is_some() {
                return Err(KeyError::Duplicate(key.kid.clone()));
            }
        }
        Ok(Self { keys })
    }

    /// A ring from a key document's JSON text.
    ///
    /// # Errors
    /// As [`KeyRing::new`], and when the text is no key document.
    pub fn from_json(text: &str) -> Result<Self, KeyError> {
        Self::new(&serde_json::from_str(text)?)
    }

    /// Whether messages signed by `kid` may be looked at.
    ///
    /// # Errors
    /// [`Refusal::UnknownKey`] or [`Refusal::RevokedKey`].
    pub fn usable(&self, kid: &str) -> Result<(), Refusal> {
        self.key(kid).map(|_| ())
    }

    fn key(&self, kid: &str) -> Result<&RingKey, Refusal> {
        let key = self.keys.get(kid).ok_or(Refusal::UnknownKey)?;
        if key.state == KeyState::Revoked { Err(Refusal::RevokedKey) } else { Ok(key) }
    }

    /// Whether one signature holds.
    ///
    /// # Errors
    /// [`Refusal::BadSignature`], or the key's own refusal.
    pub fn verify(&self, signed: Signed<'_>) -> Result<(), Refusal> {
        let signature = Signature::from_bytes(signed.signature);
        self.key(signed.kid)?
            .verifying
            .verify_strict(&pre_authentication_encoding(signed.body), &signature)
            .map_err(|_| Refusal::BadSignature)
    }

    /// Verdicts for many messages at once, in order. One batch equation settles the common case,
    /// at half the price of one by one; when it fails, each message is judged alone.
    pub fn verify_all(&self, all: &[Signed<'_>]) -> Vec<Result<(), Refusal>> {
        if all.len() > 1 && self.batch_holds(all) {
            return vec![Ok(()); all.len()];
        }
        all.iter().map(|one| self.verify(*one)).collect()
    }

    fn batch_holds(&self, all: &[Signed<'_>]) -> bool {
        let Ok(keys) = all
            .iter()
            .map(|one| self.key(one.kid).map(|key| key.verifying))
            .collect::<Result<Vec<_>, _>>()
        else {
            return false;
        };
        // The batch equation is cofactored: a key of small order could pass it and fail the strict
        // check, and a verdict must not depend on the company a message arrives in.
        if keys.iter().any(VerifyingKey::is_weak) {
            return false;
        }
        let bodies: Vec<Vec<u8>> =
            all.iter().map(|one| pre_authentication_encoding(one.body)).collect();
        let bodies: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
        let signatures: Vec<Signature> =
            all.iter().map(|one| Signature::from_bytes(one.signature)).collect();
        ed25519_dalek::verify_batch(&bodies, &signatures, &keys).is_ok()
    }

    /// Whether `kid` speaks for `source` and may sign `full_type`.
    ///
    /// # Errors
    /// [`Refusal::NotAuthorised`], or the key's own refusal.
    pub fn authorise(&self, kid: &str, source: &str, full_type: &str) -> Result<(), Refusal> {
        let key = self.key(kid)?;
        let allowed = key.types.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => full_type.starts_with(start),
            None => full_type == pattern,
        });
        if key.source == source && allowed { Ok(()) } else { Err(Refusal::NotAuthorised) }
    }
}

/// The text form of a signature in a message header: base64url without padding.
pub fn signature_to_text(signature: &[u8; 64]) -> String {
    URL_SAFE_NO_PAD.encode(signature)
}

/// Reads the text form of a signature.
///
/// # Errors
/// [`Refusal::BadSignature`] when it is not base64url of exactly 64 bytes.
pub fn signature_from_text(text: &str) -> Result<[u8; 64], Refusal> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Refusal::BadSignature)?;
    bytes.try_into().map_err(|_| Refusal::BadSignature)
}
