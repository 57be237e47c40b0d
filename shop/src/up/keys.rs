//! The signing keys of the services, made once, and the document of their public halves.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use envelope::Identity;
use envelope::signature::{KeyDocument, Signer};

use crate::services::{SERVICES, Service};

/// The file of all public keys.
pub const DOCUMENT: &str = "event-keys.json";

/// The file of a service's private key: base64 of 32 bytes, for its owner only.
#[must_use]
pub fn private_key(folder: &Path, service: &Service) -> PathBuf {
    folder.join(format!("{}.key", service.name))
}

/// Makes the private keys that are missing, and the document of the public ones. Gives the names of
/// the services that got a key.
///
/// # Errors
/// When the folder cannot be written, or holds a key that is none.
pub fn ensure(folder: &Path, environment: &str) -> anyhow::Result<Vec<&'static str>> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut made = Vec::new();
    let mut document = KeyDocument::default();
    for service in SERVICES {
        let path = private_key(folder, service);
        if !path.exists() {
            let seed = STANDARD.encode(random_seed().context("no random bytes from the system")?);
            write(&path, seed.as_bytes(), 0o600)?;
            made.push(service.name);
        }
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let signer = Signer::from_base64(service.key_id(), &text)
            .with_context(|| format!("{} holds no key", path.display()))?;
        document.keys.push(signer.public_for(&Identity::new("shop", environment, service.name)));
    }
    let text = serde_json::to_string_pretty(&document)? + "\n";
    let path = folder.join(DOCUMENT);
    if fs::read_to_string(&path).is_ok_and(|found| found == text) {
        return Ok(made);
    }
    write(&path, text.as_bytes(), 0o644)?;
    Ok(made)
}

fn random_seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut seed)?;
    Ok(seed)
}

/// Whole or not at all.
fn write(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let unfinished = path.with_extension("unfinished");
    let written = || -> io::Result<()> {
        let _ = fs::remove_file(&unfinished);
        let mut file = File::options().write(true).create_new(true).mode(mode).open(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    written().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::os::unix::fs::PermissionsExt as _;

    use envelope::signature::{KeyRing, Signed};

    use super::*;

    #[test]
    fn keys_are_made_once_for_their_owner_only_and_their_signatures_verify() {
        let folder = std::env::temp_dir().join(format!("tidings-keys-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        assert_eq!(ensure(&folder, "dev").unwrap().len(), SERVICES.len());
        let order = &SERVICES[0];
        let path = private_key(&folder, order);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let before = fs::read_to_string(&path).unwrap();

        let signer = Signer::from_base64(order.key_id(), &before).unwrap();
        let ring = KeyRing::from_json(&fs::read_to_string(folder.join(DOCUMENT)).unwrap()).unwrap();
        let signature = signer.sign(b"body");
        ring.verify(Signed { body: b"body", signature: &signature, kid: "order-1" }).unwrap();
        ring.authorise("order-1", "urn:shop:dev:order", "shop.order.placed.v1").unwrap();
        ring.authorise("order-1", "urn:shop:dev:order", "shop.payment.captured.v1").unwrap_err();

        assert!(ensure(&folder, "dev").unwrap().is_empty());
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
        fs::remove_dir_all(&folder).unwrap();
    }
}
