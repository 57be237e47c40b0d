//! What processes use of the machine, as the system counts it.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::Context as _;
use sandbox::process::with_children;
use shop::verify::Service;

use super::World;
use crate::stage::Stage;

/// Linux counts processor time in hundredths of a second (`USER_HZ`), in milliseconds.
const TICK_MS: f64 = 10.0;

/// Processor time by process since each began, in milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Usage(BTreeMap<&'static str, f64>);

impl Usage {
    /// Of the services, of all that they talk to, and of us, who are the customers.
    ///
    /// # Errors
    /// When a process has ended.
    pub(crate) fn now(stage: &Stage, world: &World) -> anyhow::Result<Self> {
        let mut used = servers(stage)?;
        for (service, process) in &world.services {
            let pid = process.pid().context("a service has ended")?;
            *used.entry(service.name()).or_default() += processor_ms(pid, false)?;
        }
        let outside =
            [("gateway", &world.gateway), ("mail", &world.mail), ("collector", &world.collector)];
        for (name, process) in outside {
            // The collector may have been stopped on purpose.
            if let Some(pid) = process.pid() {
                used.insert(name, processor_ms(pid, false)?);
            }
        }
        Ok(Self(used))
    }

    /// Of a service alone.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn of_process(world: &World, service: Service) -> anyhow::Result<f64> {
        let all = world.services.iter().filter(|(one, _)| *one == service);
        let used = all.map(|(_, one)| processor_ms(one.pid().context("it has ended")?, false));
        used.sum()
    }

    /// Of the two servers and us alone.
    ///
    /// # Errors
    /// When a server has ended.
    pub(crate) fn of_servers(stage: &Stage) -> anyhow::Result<Self> {
        Ok(Self(servers(stage)?))
    }

    /// What was used from `earlier` to now.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let before = |name| earlier.0.get(name).copied().unwrap_or_default();
        Self(self.0.iter().map(|(name, used)| (*name, used - before(name))).collect())
    }

    /// Of all together.
    pub(crate) fn total(&self) -> f64 {
        self.0.values().sum()
    }

    /// Of those of a name.
    pub(crate) fn of(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Milliseconds for each of so many, by process, the largest first.
    pub(crate) fn per(&self, many: f64) -> String {
        let mut all: Vec<_> = self.0.iter().collect();
        all.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let each = all.iter().map(|(name, used)| format!("{name} {:.2}", *used / many));
        let each: Vec<_> = each.collect();
        format!("{:.2} ({})", self.total() / many, each.join(", "))
    }
}

fn servers(stage: &Stage) -> anyhow::Result<BTreeMap<&'static str, f64>> {
    Ok(BTreeMap::from([
        ("postgres", tree_ms(stage.postgres.pid())?),
        ("rabbitmq", tree_ms(stage.broker.pid())?),
        ("bench", processor_ms(std::process::id(), true)?),
    ]))
}

/// Of a process and all that it has started, those that have ended included.
fn tree_ms(pid: u32) -> anyhow::Result<f64> {
    let mut sum = processor_ms(pid, true)?;
    for child in with_children(pid).into_iter().filter(|child| *child != pid) {
        // It may just have ended.
        sum += processor_ms(child, true).unwrap_or_default();
    }
    Ok(sum)
}

fn processor_ms(pid: u32, with_ended: bool) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The fields behind the name, which is in brackets and may hold anything; see proc(5).
    let fields = stat.rsplit_once(')').context("no name")?.1.split_whitespace();
    let fields: Vec<&str> = fields.collect();
    let used = fields.get(11..15).context("too few fields")?;
    let used = if with_ended { used } else { &used[..2] };
    let ticks: u32 = used.iter().filter_map(|field| field.parse::<u32>().ok()).sum();
    Ok(f64::from(ticks) * TICK_MS)
}

/// Processor time of a process to the nanosecond, where none of its threads ends meanwhile.
///
/// # Errors
/// When it has ended.
pub(crate) fn exact(pid: u32) -> anyhow::Result<Duration> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let spent = text.split_whitespace().next().and_then(|spent| spent.parse::<u64>().ok());
        sum += spent.context("no time")?;
    }
    Ok(Duration::from_nanos(sum))
}

/// Resident memory of a process, in MiB.
///
/// # Errors
/// When it has ended.
pub(crate) fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u32 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(f64::from(kib) / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_before_does_not_count() {
        let usage =
            |bench, postgres| Usage(BTreeMap::from([("bench", bench), ("postgres", postgres)]));
        let used = usage(150.0, 700.0).since(&usage(100.0, 200.0));
        assert_eq!((used.total(), used.of("postgres"), used.of("nobody")), (550.0, 500.0, 0.0));
        assert_eq!(used.per(100.0), "5.50 (postgres 5.00, bench 0.50)");
    }

    #[test]
    fn this_process_has_used_time_and_memory() {
        let me = std::process::id();
        let begun = exact(me).unwrap();
        while exact(me).unwrap() < begun + Duration::from_millis(30) {}
        assert!(processor_ms(me, false).unwrap() >= TICK_MS);
        assert!(resident_mib(me).unwrap() > 1.0);
        // Asked first: this process goes on using time.
        let own = processor_ms(me, false).unwrap();
        assert!(tree_ms(me).unwrap() >= own);
        assert!(exact(u32::MAX).is_err());
    }
}
