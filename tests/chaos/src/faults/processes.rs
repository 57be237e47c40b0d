//! Processes that die, freeze and are told to end.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use messaging::crash::Point;
use sandbox::process;
use shop::verify::Service;

use super::Happened;
use crate::draw::Draw;
use crate::world::World;
use crate::world::process::Process;

/// How long a process may take to end in order.
const END_WITHIN: Duration = Duration::from_secs(30);
/// How long a crash may take to come by.
const CRASH_WITHIN: Duration = Duration::from_secs(12);

/// SIGKILL; it is back after a while.
pub(super) async fn killed(process: &Process, down: Duration) -> anyhow::Result<bool> {
    let _mine = process.in_use.lock().await;
    process.kill()?;
    tokio::time::sleep(down).await;
    process.start(&[])?;
    Ok(true)
}

/// SIGSTOP for a while.
pub(super) async fn frozen(one: &Process, lasts: Duration) -> anyhow::Result<bool> {
    let _mine = one.in_use.lock().await;
    let pid = one.pid().context("it does not run")?;
    process::stop(pid)?;
    tokio::time::sleep(lasts).await;
    process::cont(pid)?;
    Ok(true)
}

/// SIGTERM under load; it has to end in order, and is started again at once.
pub(super) async fn terminated(process: &Process) -> anyhow::Result<bool> {
    let _mine = process.in_use.lock().await;
    let status = process.terminate(END_WITHIN).await?;
    anyhow::ensure!(status.success(), "after SIGTERM it ended with {status}");
    process.start(&[])?;
    Ok(true)
}

/// A service that comes by `point`, dies there for the chosen time of coming by, and is started again.
pub(super) async fn crashes(
    world: &World,
    (point, times): (Point, u32),
    mut draw: Draw,
) -> anyhow::Result<Happened> {
    let service = draw.one(passers(point));
    let process = &world.replica(service, draw.below(2)).process;
    let _mine = process.in_use.lock().await;
    let whom = format!("{} at {}", process.program.name, point.name());
    process.kill()?;
    process.start(&[("CRASH_POINT", &format!("{}:{times}", point.name()))])?;
    process.expect_end();
    let begun = Instant::now();
    let died = process.ended(CRASH_WITHIN).await?;
    let felt = died.is_some() && process.has_logged(&format!("crash point {}", point.name()));
    if died.is_none() {
        // Nobody may be left who dies in the next episode.
        process.kill()?;
    }
    anyhow::ensure!(felt || died.is_none(), "{whom} ended otherwise after {:?}", begun.elapsed());
    process.start(&[])?;
    Ok(Happened { felt, whom })
}

/// The services that come by a point.
fn passers(point: Point) -> &'static [Service] {
    match point {
        Point::C1 | Point::C2 | Point::C3 | Point::C4 => &[Service::Order],
        Point::C10 | Point::C11 => {
            &[Service::Order, Service::Inventory, Service::Payment, Service::Email]
        }
        Point::C5 | Point::C6 | Point::C6b => {
            &[Service::Order, Service::Inventory, Service::Payment, Service::Email]
        }
        Point::C15 | Point::C16 | Point::C17 => &[Service::Payment, Service::Email],
        _ => &Service::ALL,
    }
}
