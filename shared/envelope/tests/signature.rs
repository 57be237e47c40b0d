//! What a signature proves and what it refuses.
#![allow(clippy::unwrap_used)]

use envelope::signature::{
    KeyDocument, KeyRing, KeyState, Refusal, Signed, Signer, signature_from_text, signature_to_text,
};

fn signer(kid: &str, seed: u8) -> Signer {
    Signer::from_seed(kid, [seed; 32])
}

fn ring(keys: Vec<envelope::signature::PublicKey>) -> KeyRing {
    KeyRing::new(&KeyDocument { keys }).unwrap()
}

#[test]
fn a_flipped_bit_is_found_alone_and_in_a_batch() {
    let order = signer("order-1", 1);
    let ring = ring(vec![order.public("urn:shop:dev:order", vec!["shop.order.*".into()])]);
    let bodies: Vec<Vec<u8>> = (0..64).map(|n| format!("body {n}").into_bytes()).collect();
    let signatures: Vec<[u8; 64]> = bodies.iter().map(|b| order.sign(b)).collect();
    let mut broken = bodies.clone();
    broken[17][0] ^= 1;

    let all = |bodies: &[Vec<u8>]| -> Vec<Result<(), Refusal>> {
        let signed: Vec<Signed<'_>> = bodies
            .iter()
            .zip(&signatures)
            .map(|(body, signature)| Signed { body, signature, kid: "order-1" })
            .collect();
        ring.verify_all(&signed)
    };
    assert!(all(&bodies).iter().all(Result::is_ok));
    let verdicts = all(&broken);
    assert_eq!(verdicts[17], Err(Refusal::BadSignature));
    assert_eq!(verdicts.iter().filter(|v| v.is_ok()).count(), 63);
}

#[test]
fn the_encoding_binds_the_length_so_bytes_cannot_move_between_fields() {
    let order = signer("k", 1);
    let ring = ring(vec![order.public("s", vec!["*".into()])]);
    let signature = order.sign(b"ab");
    let verdict = |body| ring.verify(Signed { body, signature: &signature, kid: "k" });
    assert_eq!(verdict(b"ab"), Ok(()));
    assert_eq!(verdict(b"ab "), Err(Refusal::BadSignature));
    assert_eq!(verdict(b"a"), Err(Refusal::BadSignature));
}

#[test]
fn a_key_speaks_only_for_its_source_and_its_types() {
    let order = signer("order-1", 1);
    let ring = ring(vec![order.public("urn:shop:dev:order", vec!["shop.order.*".into()])]);
    let ask = |source, full_type| ring.authorise("order-1", source, full_type);
    assert_eq!(ask("urn:shop:dev:order", "shop.order.placed.v1"), Ok(()));
    assert_eq!(ask("urn:shop:dev:payment", "shop.order.placed.v1"), Err(Refusal::NotAuthorised));
    assert_eq!(ask("urn:shop:dev:order", "shop.payment.captured.v1"), Err(Refusal::NotAuthorised));
}

#[test]
fn unknown_and_revoked_keys_are_told_apart() {
    let mut public = signer("old", 2).public("s", vec!["*".into()]);
    public.state = KeyState::Revoked;
    let ring = ring(vec![public]);
    assert_eq!(ring.usable("old"), Err(Refusal::RevokedKey));
    assert_eq!(ring.usable("new"), Err(Refusal::UnknownKey));
}

#[test]
fn the_text_form_is_exact() {
    let signature = signer("k", 3).sign(b"x");
    assert_eq!(signature_from_text(&signature_to_text(&signature)), Ok(signature));
    for bad in ["", "AAAA", "not base64!", &"A".repeat(87)] {
        assert_eq!(signature_from_text(bad), Err(Refusal::BadSignature), "{bad}");
    }
}

#[test]
fn a_key_document_that_cannot_be_used_says_why() {
    let key = signer("k", 1).public("s", vec![]);
    let twice = KeyDocument { keys: vec![key.clone(), key] };
    assert!(KeyRing::new(&twice).unwrap_err().to_string().contains("stands twice"));
    assert!(KeyRing::from_json("{").is_err());
    assert!(Signer::from_base64("k", "AAAA").is_err());
}
