//! What goes wrong: each fault is done, lasts, is undone, and says whether it was felt.

mod network;
mod outside;
mod processes;
mod servers;

use std::time::Duration;

use messaging::crash::Point;
use shop::verify::Service;

use crate::draw::Draw;
use crate::tap::Tap;
use crate::world::World;

/// One kind of fault, as it is drawn and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    ServiceKilled,
    ServiceCrashes,
    ServiceFrozen,
    ServiceTerminated,
    BrokerKilled,
    BrokerRestarted,
    BrokerFrozen,
    BrokerAlarm,
    BrokerForgetsConnections,
    QueueFull,
    Unroutable,
    GivenUp,
    BrokerLinkCut,
    BrokerLinkShut,
    ConfirmsLost,
    BrokerLinkStalled,
    BrokerLinkSlow,
    PostgresKilled,
    PostgresFrozen,
    SessionsEnded,
    RowsLocked,
    DatabaseLinkCut,
    CommitsLost,
    DatabaseLinkStalled,
    DatabaseLinkSlow,
    GatewayKilled,
    GatewayLinkShut,
    GatewayLinkStalled,
    MailRefused,
    MailCutAfterStoring,
    MailCutBeforeStoring,
    MailLinkShut,
    CollectorStalled,
    Repeated,
    Poison,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 35] = [
        Self::ServiceKilled,
        Self::ServiceCrashes,
        Self::ServiceFrozen,
        Self::ServiceTerminated,
        Self::BrokerKilled,
        Self::BrokerRestarted,
        Self::BrokerFrozen,
        Self::BrokerAlarm,
        Self::BrokerForgetsConnections,
        Self::QueueFull,
        Self::Unroutable,
        Self::GivenUp,
        Self::BrokerLinkCut,
        Self::BrokerLinkShut,
        Self::ConfirmsLost,
        Self::BrokerLinkStalled,
        Self::BrokerLinkSlow,
        Self::PostgresKilled,
        Self::PostgresFrozen,
        Self::SessionsEnded,
        Self::RowsLocked,
        Self::DatabaseLinkCut,
        Self::CommitsLost,
        Self::DatabaseLinkStalled,
        Self::DatabaseLinkSlow,
        Self::GatewayKilled,
        Self::GatewayLinkShut,
        Self::GatewayLinkStalled,
        Self::MailRefused,
        Self::MailCutAfterStoring,
        Self::MailCutBeforeStoring,
        Self::MailLinkShut,
        Self::CollectorStalled,
        Self::Repeated,
        Self::Poison,
    ];

    /// As it stands in tables, and on the command line.
    pub(crate) fn name(self) -> String {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }

    /// The rows of the fault table that it makes happen.
    pub(crate) fn rows(self) -> &'static str {
        match self {
            Self::ServiceKilled | Self::ServiceCrashes => "F22",
            Self::ServiceFrozen => "F23 F42",
            Self::ServiceTerminated => "F24",
            Self::BrokerKilled => "F1 F3",
            Self::BrokerRestarted => "F3",
            Self::BrokerFrozen | Self::BrokerLinkStalled => "F12",
            Self::BrokerAlarm => "F6",
            Self::BrokerForgetsConnections => "F3 F4",
            Self::QueueFull => "F7",
            Self::Unroutable => "F8 F9",
            Self::GivenUp => "F29 F41",
            Self::BrokerLinkCut | Self::BrokerLinkShut => "F2 F5",
            Self::ConfirmsLost => "F2 F13",
            Self::BrokerLinkSlow | Self::DatabaseLinkSlow => "F13",
            Self::PostgresKilled => "F15",
            Self::PostgresFrozen => "F17",
            Self::SessionsEnded | Self::DatabaseLinkCut => "F15 F16",
            Self::RowsLocked => "F18",
            Self::CommitsLost => "F16",
            Self::DatabaseLinkStalled => "F16 F17",
            Self::GatewayKilled | Self::GatewayLinkShut => "F31",
            Self::GatewayLinkStalled => "F32",
            Self::MailRefused
            | Self::MailCutAfterStoring
            | Self::MailCutBeforeStoring
            | Self::MailLinkShut => "F33",
            Self::CollectorStalled => "F43",
            Self::Repeated => "F25 F26",
            Self::Poison => "F28 F44",
        }
    }
}

/// A fault of an episode.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) kind: Kind,
    /// From the beginning of the load.
    pub(crate) at: Duration,
    pub(crate) lasts: Duration,
    /// Whom it hits and how, where that is drawn.
    draw: Draw,
    /// For a crash: where, and at which time of coming by.
    point: (Point, u32),
}

impl Planned {
    /// Draws one of `kinds`.
    pub(crate) fn draw(draw: &mut Draw, kinds: &[Kind], within: Duration) -> Self {
        let kind = draw.one(kinds);
        let at = draw.between(Duration::from_millis(300), within);
        let lasts = draw.between(Duration::from_millis(200), longest(kind));
        let times = 1 + u32::try_from(draw.below(6)).unwrap_or_default();
        let point = (draw.one(&Point::ALL), times);
        Self { kind, at, lasts, draw: draw.fork(), point }
    }

    /// In words.
    pub(crate) fn words(&self) -> String {
        let crash = match self.kind {
            Kind::ServiceCrashes => format!(" at {}:{}", self.point.0.name(), self.point.1),
            _ => String::new(),
        };
        format!("{}{crash} after {:?} for {:?}", self.kind.name(), self.at, self.lasts)
    }

    /// Waits for its time, does it, waits, and undoes it.
    ///
    /// # Errors
    /// When it could not be done or undone.
    pub(crate) async fn happen(mut self, world: &World, tap: &Tap) -> anyhow::Result<Happened> {
        tokio::time::sleep(self.at).await;
        let service = self.draw.one(&Service::ALL);
        let n = self.draw.below(2);
        let replica = world.replica(service, n);
        let mut whom = replica.process.program.name.clone();
        let lasts = self.lasts;
        let felt = match self.kind {
            Kind::ServiceKilled => processes::killed(&replica.process, lasts).await?,
            Kind::ServiceCrashes => return processes::crashes(world, self.point, self.draw).await,
            Kind::ServiceFrozen => processes::frozen(&replica.process, lasts).await?,
            Kind::ServiceTerminated => processes::terminated(&replica.process).await?,
            Kind::GatewayKilled => processes::killed(&world.outside.gateway, lasts).await?,
            Kind::BrokerLinkCut
            | Kind::BrokerLinkShut
            | Kind::ConfirmsLost
            | Kind::BrokerLinkStalled
            | Kind::BrokerLinkSlow => {
                network::broken(&replica.to_broker, self.kind, lasts, &mut self.draw).await
            }
            Kind::DatabaseLinkCut
            | Kind::CommitsLost
            | Kind::DatabaseLinkStalled
            | Kind::DatabaseLinkSlow => {
                network::broken(&replica.to_database, self.kind, lasts, &mut self.draw).await
            }
            Kind::GatewayLinkShut | Kind::GatewayLinkStalled => {
                network::broken(&world.outside.to_gateway, self.kind, lasts, &mut self.draw).await
            }
            Kind::MailLinkShut => {
                network::broken(&world.outside.to_mail, self.kind, lasts, &mut self.draw).await
            }
            Kind::CollectorStalled => {
                network::broken(&world.outside.to_collector, self.kind, lasts, &mut self.draw).await
            }
            Kind::MailRefused | Kind::MailCutAfterStoring | Kind::MailCutBeforeStoring => {
                outside::mail(world, self.kind, lasts).await
            }
            // A broker that is away at that moment hears nothing twice.
            Kind::Repeated => tap.repeat(&mut self.draw, 60).await.is_ok_and(|said| said > 0),
            Kind::Poison => tap.spoil(&mut self.draw, 40).await.is_ok_and(|said| said > 0),
            server => {
                whom = service.to_string();
                servers::happen(world, server, service, lasts).await?
            }
        };
        Ok(Happened { felt, whom })
    }
}

/// What became of a fault.
#[derive(Debug)]
pub(crate) struct Happened {
    /// Whether anybody was hit.
    pub(crate) felt: bool,
    /// Who.
    pub(crate) whom: String,
}

/// The longest that a kind lasts.
fn longest(kind: Kind) -> Duration {
    Duration::from_secs(match kind {
        // Longer than a lease.
        Kind::ServiceFrozen => 16,
        // Longer than two heartbeats.
        Kind::BrokerFrozen | Kind::BrokerLinkStalled => 25,
        Kind::RowsLocked => 4,
        _ => 6,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_and_every_kind_has_its_rows() {
        assert_eq!(Kind::MailCutAfterStoring.name(), "mail-cut-after-storing");
        for kind in Kind::ALL {
            assert!(kind.rows().starts_with('F'), "{kind:?}");
        }
    }

    #[test]
    fn a_seed_plans_the_same_faults() {
        let plan = |seed| {
            let mut draw = Draw::new(seed);
            Planned::draw(&mut draw, &Kind::ALL, Duration::from_secs(4)).words()
        };
        assert_eq!(plan(3), plan(3));
        assert!((0..20).any(|seed| plan(seed) != plan(3)));
    }
}
