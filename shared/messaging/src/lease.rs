//! Which partitions this process publishes. One owner at a time, over all replicas. The database's clock
//! says how long: those of the replicas may differ by hours.

use std::time::Duration;

use crate::partition::{Partitions, share_of};
use crate::pool::{Instance, Pool};
use crate::presence;

/// How long a lease holds without being renewed. A process that died is found out at once by its
/// session lock; this bounds how long one that hangs can hold up its partitions.
const TERM: Duration = Duration::from_secs(12);
/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(4);
/// How often a newcomer asks while others still hold some of its share; they give it up when they
/// next renew.
const SHORT: Duration = Duration::from_millis(500);

/// The leases of this process.
pub(crate) struct Leases {
    pool: Pool,
    owned: Partitions,
    /// By the time that no setting of the clock changes.
    renewed: Option<Duration>,
    /// Whether others still hold some of our share.
    short: bool,
}

struct Lease {
    partition: i16,
    owner: Option<i32>,
    run_out: bool,
}

impl Leases {
    pub(crate) fn new(pool: Pool) -> Self {
        Self { pool, owned: Partitions::default(), renewed: None, short: false }
    }

    pub(crate) fn owned(&self) -> Partitions {
        self.owned
    }

    /// How long until the leases want to be looked at again.
    pub(crate) fn due_in(&self) -> Duration {
        if self.short { SHORT } else { RENEW }
    }

    /// Whether what was handed out still holds. A process that was stopped for longer than the term
    /// must not publish what it claimed before.
    pub(crate) fn hold(&self) -> bool {
        !self.pool.is_absent() && self.age().is_some_and(|age| age < TERM)
    }

    /// The partitions that may be published now. Asks the database when the leases are
    /// due; when it does not answer, nothing is held.
    pub(crate) async fn keep(&mut self) -> Result<Partitions, sqlx::Error> {
        if self.pool.is_absent() {
            (self.owned, self.renewed) = (Partitions::default(), None);
            self.pool.set_owned(self.owned);
            return Ok(self.owned);
        }
        let age = self.age();
        if self.pool.take_leases_changed() || age.is_none_or(|age| age >= self.due_in()) {
            let begun = self.pool.clock().running();
            let renewed = self.renew().await;
            self.owned = *renewed.as_ref().unwrap_or(&Partitions::default());
            self.renewed = renewed.is_ok().then_some(begun);
            self.pool.set_owned(self.owned);
            renewed?;
        }
        Ok(self.owned)
    }

    fn age(&self) -> Option<Duration> {
        Some(self.pool.clock().running().saturating_sub(self.renewed?))
    }

    async fn renew(&mut self) -> Result<Partitions, sqlx::Error> {
        let (leases, live) = self.read().await?;
        let plan = plan(self.pool.instance(), &leases, &live);
        let held = sqlx::query_scalar!(
            "with free as (
                update messaging.partition_lease
                set owner = null, expires_at = '-infinity'
                where owner = $1 and partition = any($2)),
            held as (
                update messaging.partition_lease
                set owner = $1, expires_at = now() + make_interval(secs => $4),
                    epoch = epoch + case when owner is distinct from $1 then 1 else 0 end
                where partition = any($3)
                  and (owner is null or owner = $1 or expires_at < now()
                       or owner not in (select messaging.live_instances()))
                returning partition)
            select partition from held",
            self.pool.instance().number(),
            &plan.release.numbers(),
            &plan.take.numbers(),
            TERM.as_secs_f64(),
        )
        .fetch_all(self.pool.pg())
        .await?;
        let held: Partitions = held.into_iter().filter_map(|p| u8::try_from(p).ok()).collect();
        self.short = held != plan.take;
        Ok(held)
    }

    async fn read(&self) -> Result<(Vec<Lease>, Vec<Instance>), sqlx::Error> {
        let rows = sqlx::query!(
            r#"select partition, owner,
                expires_at < now() as "run_out!",
                array(select messaging.live_instances()) as "live!: Vec<i32>"
            from messaging.partition_lease order by partition"#
        )
        .fetch_all(self.pool.pg())
        .await?;
        let live: Vec<Instance> = rows
            .first()
            .map(|row| row.live.iter().copied().map(Instance::from_number).collect())
            .unwrap_or_default();
        let leases = rows
            .into_iter()
            .map(|row| Lease { partition: row.partition, owner: row.owner, run_out: row.run_out })
            .collect();
        Ok((leases, live))
    }

    /// Frees what is held and says so, so that another replica goes on at once.
    pub(crate) async fn release(&mut self) {
        self.owned = Partitions::default();
        self.renewed = None;
        self.pool.set_owned(self.owned);
        if let Err(error) = self.hand_back().await {
            tracing::debug!(%error, "leases were not handed back; they run out by themselves");
        }
    }

    async fn hand_back(&self) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "update messaging.partition_lease set owner = null, expires_at = '-infinity'
            where owner = $1",
            self.pool.instance().number(),
        )
        .execute(self.pool.pg())
        .await?;
        presence::tell(self.pool.pg(), presence::LEASES_CHANGED).await
    }
}

/// What to hand over and what to hold.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    release: Partitions,
    take: Partitions,
}

/// The fair share of `me` among those that are live and keep their leases up. A process that is
/// connected but lets its leases run out (stopped, hung) is left out until it renews again.
fn plan(me: Instance, leases: &[Lease], live: &[Instance]) -> Plan {
    let hung = |one: &Instance| {
        *one != me && leases.iter().any(|l| l.owner == Some(one.number()) && l.run_out)
    };
    let mut sharing: Vec<Instance> = live.iter().copied().filter(|one| !hung(one)).collect();
    if !sharing.contains(&me) {
        // Our own session lock may be a moment behind us, or its connection broken.
        sharing.push(me);
    }
    let share = share_of(me, &sharing);
    let held: Partitions = leases
        .iter()
        .filter(|lease| lease.owner == Some(me.number()))
        .filter_map(|lease| u8::try_from(lease.partition).ok())
        .collect();
    let release = held.iter().filter(|p| !share.contains(*p)).collect();
    Plan { release, take: share }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::PARTITIONS;

    fn leases(owner: Option<i32>, run_out: bool) -> Vec<Lease> {
        (0..i16::from(PARTITIONS)).map(|partition| Lease { partition, owner, run_out }).collect()
    }

    #[test]
    fn a_newcomer_takes_its_share_and_the_holder_gives_it_up() {
        let (old, new) = (Instance::numbered(7), Instance::numbered(9));
        let held = leases(Some(7), false);
        let gives = plan(old, &held, &[old, new]);
        let takes = plan(new, &held, &[old, new]);
        assert_eq!(gives.release, takes.take);
        assert!(!takes.take.is_empty());
    }

    #[test]
    fn a_hung_holder_loses_everything_once_its_leases_run_out() {
        let (hung, other) = (Instance::numbered(7), Instance::numbered(9));
        let all: Partitions = (0..PARTITIONS).collect();
        assert_ne!(plan(other, &leases(Some(7), false), &[hung, other]).take, all);
        assert_eq!(plan(other, &leases(Some(7), true), &[hung, other]).take, all);
    }

    #[test]
    fn one_alone_holds_all_also_before_its_own_session_lock_shows() {
        let me = Instance::numbered(7);
        let all: Partitions = (0..PARTITIONS).collect();
        assert_eq!(plan(me, &leases(None, true), &[]).take, all);
    }
}
