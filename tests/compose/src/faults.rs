//! What is broken, how, and what must be so afterwards.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::api::Api;
use crate::checks;
use crate::docker::Compose;
use crate::engine;
use crate::load::Load;
use crate::patience::until;
use crate::report::Survived;

/// Everything is well again this soon after a fault's end.
const HEALED_WITHIN: Duration = Duration::from_secs(30);
/// How much longer it is watched, to tell how long it really takes.
const WATCHED_FOR: Duration = Duration::from_secs(180);
/// How long something that was killed stays away.
const DEAD: Duration = Duration::from_secs(5);
/// How much later than everything else the broker starts.
const LATE: Duration = Duration::from_secs(30);
/// The load goes on for so long around a fault.
const AROUND: Duration = Duration::from_secs(8);

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Fault {
    KillOrder,
    KillInventory,
    KillPayment,
    KillEmail,
    KillAudit,
    KillGateway,
    KillRabbitmq,
    KillPostgres,
    PausePayment,
    CutRabbitmq,
    CutPostgres,
    Restart,
    SecondUp,
    Replicas,
    LateRabbitmq,
}

impl Fault {
    /// All of them, in the order in which they come.
    pub(crate) const ALL: [Self; 15] = [
        Self::KillOrder,
        Self::KillInventory,
        Self::KillPayment,
        Self::KillEmail,
        Self::KillAudit,
        Self::KillGateway,
        Self::KillRabbitmq,
        Self::KillPostgres,
        Self::PausePayment,
        Self::CutRabbitmq,
        Self::CutPostgres,
        Self::Restart,
        Self::SecondUp,
        Self::Replicas,
        Self::LateRabbitmq,
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KillOrder => "kill -s KILL order",
            Self::KillInventory => "kill -s KILL inventory",
            Self::KillPayment => "kill -s KILL payment",
            Self::KillEmail => "kill -s KILL email",
            Self::KillAudit => "kill -s KILL audit",
            Self::KillGateway => "kill -s KILL gateway",
            Self::KillRabbitmq => "kill -s KILL rabbitmq",
            Self::KillPostgres => "kill -s KILL postgres",
            Self::PausePayment => "pause payment",
            Self::CutRabbitmq => "network disconnect rabbitmq",
            Self::CutPostgres => "network disconnect postgres",
            Self::Restart => "restart everything",
            Self::SecondUp => "down and up on the old volumes",
            Self::Replicas => "three of inventory, two of order",
            Self::LateRabbitmq => "first start, rabbitmq 30 s late",
        })
    }
}

/// The system that is broken.
pub(crate) struct Scene<'a> {
    pub(crate) compose: &'a mut Compose,
    pub(crate) hold: Duration,
    /// Numbers the orders that ask whether all is well again.
    pub(crate) asked: u32,
}

type Breaking<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'a>>;

impl Scene<'_> {
    /// Lets it happen, and says how it was survived.
    ///
    /// # Errors
    /// What is not as it should be afterwards.
    pub(crate) async fn play(&mut self, fault: Fault) -> anyhow::Result<Survived> {
        match fault {
            Fault::KillOrder => self.kill("order").await,
            Fault::KillInventory => self.kill("inventory").await,
            Fault::KillPayment => self.kill("payment").await,
            Fault::KillEmail => self.kill("email").await,
            Fault::KillAudit => self.kill("audit").await,
            Fault::KillGateway => self.kill("gateway").await,
            Fault::KillRabbitmq => self.kill("rabbitmq").await,
            Fault::KillPostgres => self.kill("postgres").await,
            Fault::PausePayment => {
                let hold = self.hold;
                self.under_load(hold, |compose| Box::pin(pause(compose, "payment", hold))).await
            }
            Fault::CutRabbitmq => self.cut("rabbitmq").await,
            Fault::CutPostgres => self.cut("postgres").await,
            Fault::Restart => self.under_load(DEAD, |compose| Box::pin(restart(compose))).await,
            Fault::SecondUp => self.second_up().await,
            Fault::Replicas => self.replicas().await,
            Fault::LateRabbitmq => self.late_rabbitmq().await,
        }
    }

    async fn kill(&mut self, service: &'static str) -> anyhow::Result<Survived> {
        self.under_load(DEAD, |compose| Box::pin(kill(compose, service))).await
    }

    async fn cut(&mut self, service: &'static str) -> anyhow::Result<Survived> {
        let hold = self.hold;
        self.under_load(hold, |compose| Box::pin(cut(compose, service, hold))).await
    }

    /// Lets something break and end while orders flow.
    async fn under_load<'s>(
        &'s mut self,
        lasts: Duration,
        breaks: impl FnOnce(&'s Compose) -> Breaking<'s>,
    ) -> anyhow::Result<Survived> {
        self.asked += 1;
        let asked = self.asked;
        let compose: &Compose = self.compose;
        let api = Api::of(compose)?;
        let load = Load::start(compose, &api, lasts + AROUND).await?;
        breaks(compose).await?;
        let healed = healed(compose, &api, asked).await?;
        let orders = load.end().await?;
        settled(compose, &api, healed, orders).await
    }

    async fn second_up(&mut self) -> anyhow::Result<Survived> {
        self.compose.run(&["down", "-t", "25"]).await?;
        ensure!(self.compose.containers().await?.is_empty(), "something is still there");
        self.compose.up().await?;
        self.quiet().await
    }

    /// More than one of some services, and a kill among them.
    async fn replicas(&mut self) -> anyhow::Result<Survived> {
        let before = self.compose.url("ORDER_PORT");
        self.compose.set_replicas(true);
        self.compose.up().await?;
        for (service, number) in [("order", 2), ("inventory", 3)] {
            let found = self.compose.of(service).await?.len();
            ensure!(found == number, "{found} of {service}, not {number}");
        }
        self.compose.find_order().await?;
        let survived = self.kill_one("inventory").await;
        self.compose.set_replicas(false);
        self.compose.run(&["up", "-d", "--no-build", "--remove-orphans"]).await?;
        self.compose.up().await?;
        ensure!(self.compose.url("ORDER_PORT") == before, "order is elsewhere");
        survived
    }

    async fn kill_one(&mut self, service: &'static str) -> anyhow::Result<Survived> {
        self.under_load(DEAD, |compose| {
            Box::pin(async move {
                let one = compose.of(service).await?.swap_remove(0);
                compose.docker(&["kill", "-s", "KILL", &one.id]).await?;
                tokio::time::sleep(DEAD).await;
                compose.docker(&["start", &one.id]).await.map(drop)
            })
        })
        .await
    }

    /// From nothing, with everything but RabbitMQ.
    async fn late_rabbitmq(&mut self) -> anyhow::Result<Survived> {
        self.compose.down().await?;
        let mut services = self.compose.run(&["config", "--services"]).await?;
        services = services.replace("rabbitmq\n", "");
        let mut args = vec!["up", "-d", "--no-build", "--no-deps"];
        args.extend(services.lines());
        let mut command = self.compose.command(&args);
        let others = command.spawn()?;
        tokio::time::sleep(LATE).await;
        let waiting = self.compose.of("migrate").await?;
        ensure!(waiting[0].state == "running", "migrate does not wait: {}", waiting[0].state);
        self.compose.run(&["up", "-d", "--no-build", "rabbitmq"]).await?;
        engine::outcome(&args, others.wait_with_output().await)?;
        self.quiet().await
    }

    /// What is asked after a fault without load.
    async fn quiet(&mut self) -> anyhow::Result<Survived> {
        self.asked += 1;
        let api = Api::of(self.compose)?;
        let healed = healed(self.compose, &api, self.asked).await?;
        settled(self.compose, &api, healed, 0).await
    }
}

/// Waits until all containers are well and a new order is confirmed; gives how long that took.
async fn healed(compose: &Compose, api: &Api, asked: u32) -> anyhow::Result<Duration> {
    let (key, email) = (format!("healed-{asked}"), "healed@example.com");
    until("all is well again", WATCHED_FOR, async || {
        compose.well().await?;
        let order = api.place(&key, email).await?;
        api.confirmed(&order).await.map(drop)
    })
    .await
}

/// What must be so after every fault.
async fn settled(
    compose: &Compose,
    api: &Api,
    healed: Duration,
    orders: u64,
) -> anyhow::Result<Survived> {
    checks::empty(api).await?;
    checks::verified(compose).await?;
    compose.well().await.context("after all of it")?;
    let (took, most) = (healed.as_secs_f64(), HEALED_WITHIN.as_secs());
    ensure!(healed <= HEALED_WITHIN, "all was well only after {took:.0} s, not {most}");
    Ok(Survived { healed, orders })
}

async fn kill(compose: &Compose, service: &str) -> anyhow::Result<()> {
    compose.run(&["kill", "-s", "KILL", service]).await?;
    let dead = compose.of(service).await?;
    let (state, code) = (&dead[0].state, dead[0].exit_code);
    ensure!(state == "exited" && code == 137, "{service} is not killed but {state} ({code})");
    tokio::time::sleep(DEAD).await;
    compose.run(&["start", service]).await.map(drop)
}

async fn pause(compose: &Compose, service: &str, hold: Duration) -> anyhow::Result<()> {
    compose.run(&["pause", service]).await?;
    let paused = compose.of(service).await?;
    ensure!(paused[0].state == "paused", "{service} is {}", paused[0].state);
    tokio::time::sleep(hold).await;
    compose.run(&["unpause", service]).await.map(drop)
}

async fn cut(compose: &Compose, service: &str, hold: Duration) -> anyhow::Result<()> {
    let (network, id) = (compose.network(), compose.of(service).await?.swap_remove(0).id);
    compose.docker(&["network", "disconnect", &network, &id]).await?;
    let format = "{{len .NetworkSettings.Networks}}";
    let left = compose.docker(&["inspect", "-f", format, &id]).await?;
    ensure!(left.trim() == "0", "{service} is still in {} networks", left.trim());
    tokio::time::sleep(hold).await;
    compose.docker(&["network", "connect", "--alias", service, &network, &id]).await.map(drop)
}

async fn restart(compose: &Compose) -> anyhow::Result<()> {
    compose.run(&["restart", "-t", "25"]).await.map(drop)
}
