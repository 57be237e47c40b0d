//! A run: one seed after the other, on a fresh system from time to time.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::cli::Args;
use crate::customers;
use crate::document;
use crate::episode::{Script, Shape};
use crate::report::Report;
use crate::tap::Tap;
use crate::world::World;

/// Plays all seeds. True when every invariant held in all of them.
///
/// # Errors
/// When the system does not start, or a fault could not be done or undone.
pub async fn run(args: Args) -> anyhow::Result<bool> {
    if args.document {
        document::write()?;
        return Ok(true);
    }
    let kinds = args.kinds();
    ensure!(!kinds.is_empty(), "no fault is named like {:?}", args.only);
    let shape = Shape { kinds, faults: args.faults.max(1), customers: args.customers };
    let first = args.seed.unwrap_or_else(drawn);
    println!("first seed {first}");
    let mut report = Report::default();
    let until = args.minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
    let over = || until.is_some_and(|until| Instant::now() >= until);
    let mut system = None;
    for n in 0..args.seeds {
        if over() {
            break;
        }
        if n % args.fresh_every.max(1) == 0 {
            // The one before ends first: it has the ports and the memory.
            drop(system.take());
            system = Some(start(&args).await?);
        }
        let Some((world, tap)) = &system else { break };
        let script = Script::draw(first.wrapping_add(n), &shape);
        let (seed, words) = (script.seed, script.words());
        let played = script.play(world, tap).await;
        let verdict = played.with_context(|| format!("seed {seed}: {}", words.join("; ")))?;
        let broken = !verdict.violations.is_empty();
        report.note(verdict, &args.history)?;
        if broken {
            let bug = args.bug.as_ref().map(|bug| format!(" ARGS=\"--bug {bug}\""));
            println!("    the same again: make chaos SEED={seed}{}", bug.unwrap_or_default());
            if args.until_broken {
                break;
            }
            // What is broken stays broken, and would be told again with every seed.
            system = Some(start(&args).await?);
        }
    }
    println!("{}", report.table());
    if args.publish {
        document::publish(&args.history)?;
    }
    let failed = report.failed();
    if !failed.is_empty() {
        println!("broken by the seeds {failed:?}");
    }
    Ok(failed.is_empty())
}

async fn start(args: &Args) -> anyhow::Result<(World, Tap)> {
    let world = World::start(&shop(args)?, args.bug.as_deref()).await?;
    let tap = Tap::on(world.vhost.amqp_url()).await?;
    customers::list_goods(&world).await?;
    Ok((world, tap))
}

fn shop(args: &Args) -> anyhow::Result<PathBuf> {
    if let Some(shop) = &args.shop {
        return Ok(shop.clone());
    }
    let beside = std::env::current_exe()?.with_file_name("crashing-shop");
    ensure!(beside.is_file(), "there is no {}: build `chaos` first", beside.display());
    Ok(beside)
}

/// A seed that is short enough to type, with room behind it.
fn drawn() -> u64 {
    (envelope::Clock::system().unit() * 1e9) as u64 * 1_000
}
