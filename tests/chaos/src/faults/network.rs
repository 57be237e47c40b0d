//! Ways that break.

use std::time::Duration;

use super::Kind;
use crate::draw::Draw;
use crate::world::link::{Link, Mode};

/// The longest that a piece takes on a slow way.
const SLOWEST: Duration = Duration::from_millis(400);
/// Far enough to be in the middle of anything.
const FARTHEST: usize = 20_000;

/// Breaks a way in the manner of `kind`. True when something that passed by felt it.
pub(super) async fn broken(link: &Link, kind: Kind, lasts: Duration, draw: &mut Draw) -> bool {
    let before = link.felt();
    match kind {
        Kind::BrokerLinkCut | Kind::DatabaseLinkCut => link.cut(),
        Kind::BrokerLinkShut | Kind::GatewayLinkShut | Kind::MailLinkShut => link.set(Mode::Shut),
        // What comes back breaks off: a confirm or the answer to a commit is lost with it.
        Kind::ConfirmsLost | Kind::CommitsLost => link.cut_after(draw.below(FARTHEST) as u64),
        Kind::BrokerLinkSlow | Kind::DatabaseLinkSlow => {
            link.set(Mode::Slow(draw.between(Duration::from_millis(20), SLOWEST)));
        }
        _ => {
            let out = draw.percent(50);
            link.set(Mode::Stalled { out, back: !out || draw.percent(30) });
        }
    }
    tokio::time::sleep(lasts).await;
    let stalled = matches!(
        kind,
        Kind::BrokerLinkStalled
            | Kind::DatabaseLinkStalled
            | Kind::GatewayLinkStalled
            | Kind::CollectorStalled
    );
    link.heal();
    if stalled {
        // What was held back would arrive as if nothing had been: the connection is as good as dead.
        link.cut();
    }
    link.felt() > before
}
