//! The shape of the document of public keys. Whether a key is one, and which belongs to which seed, is
//! known where the keys are used.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::error::quoted;

/// The key ids in `{"keys": [{"kid", "alg", "public_key", "source", "types", "state"}]}`.
///
/// # Errors
/// Everything that is wrong with it, without the values: somebody may have taken a private key for it.
pub(super) fn key_ids(document: &str) -> Result<BTreeSet<String>, Vec<String>> {
    let Ok(document) = serde_json::from_str::<Value>(document) else {
        return Err(vec!["is no JSON document".to_owned()]);
    };
    let Some(keys) = document.get("keys").and_then(Value::as_array) else {
        return Err(vec!["has no list \"keys\"".to_owned()]);
    };
    let (mut ids, mut wrong) = (BTreeSet::new(), Vec::new());
    for (at, key) in keys.iter().enumerate() {
        let name = match key.get("kid").and_then(Value::as_str) {
            Some(id) => format!("key {} ({})", at + 1, quoted(id)),
            None => format!("key {}", at + 1),
        };
        match key.as_object() {
            Some(key) => wrong.extend(flaws(key).map(|flaw| format!("{name}: {flaw}"))),
            None => wrong.push(format!("{name} is no object")),
        }
        if let Some(id) = key.get("kid").and_then(Value::as_str)
            && !ids.insert(id.to_owned())
        {
            wrong.push(format!("{name}: its \"kid\" stands twice"));
        }
    }
    if wrong.is_empty() { Ok(ids) } else { Err(wrong) }
}

/// The 32 bytes of a key in base64.
pub(super) fn key_bytes(text: &str) -> Result<[u8; 32], &'static str> {
    let bytes = STANDARD.decode(text.trim()).map_err(|_| "is no base64")?;
    bytes.try_into().map_err(|_| "does not hold 32 bytes")
}

fn flaws(key: &Map<String, Value>) -> impl Iterator<Item = String> {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let has_text = |name: &str| text(name).is_some_and(|text| !text.trim().is_empty());
    let public_key = text("public_key").ok_or("is no text").and_then(key_bytes);
    let types = key.get("types").and_then(Value::as_array);
    let flaws = [
        ("kid", has_text("kid"), "is no text"),
        ("alg", text("alg") == Some("Ed25519"), "is not Ed25519"),
        ("public_key", public_key.is_ok(), public_key.err().unwrap_or_default()),
        ("source", has_text("source"), "is no text"),
        ("types", types.is_some_and(|all| all.iter().all(Value::is_string)), "is no list of texts"),
        ("state", has_text("state"), "is no text"),
    ];
    flaws.into_iter().filter(|(_, good, _)| !good).map(|(name, _, flaw)| format!("{name:?} {flaw}"))
}
