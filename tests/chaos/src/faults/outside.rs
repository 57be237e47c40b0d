//! A mail server that misbehaves.

use std::time::Duration;

use sandbox::smtp::Fault;

use super::Kind;
use crate::world::World;

/// So many mails in a row, at most; a fault that no mail comes by was not felt.
const MAILS: u32 = 5;

/// Misbehaves until the time is over. True when a mail has met it.
pub(super) async fn mail(world: &World, kind: Kind, lasts: Duration) -> bool {
    let fault = match kind {
        Kind::MailRefused => Fault::RefuseTemporarily,
        Kind::MailCutAfterStoring => Fault::CutAfterStoring,
        _ => Fault::CutBeforeStoring,
    };
    world.outside.mail_faults.set_next(fault, MAILS);
    tokio::time::sleep(lasts).await;
    // It is over by itself once it has struck so often.
    let felt = world.outside.mail_faults.left().is_none_or(|left| left < MAILS);
    world.outside.mail_faults.clear();
    felt
}
