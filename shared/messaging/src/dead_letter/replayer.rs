//! The replayer: takes dead letters back to the queue that they came from, when somebody has asked
//! for it.
//!
//! Count the attempt, publish, confirm, mark. A crash between publish and mark sends a letter twice,
//! and the inbox knows it. No transaction is open while it talks to the broker.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use metrics::counter;

use super::jobs::{self, Due, Job, Sent};
use super::pace::Pace;
use super::repair::{self, Request};
use super::waves::{aggregate, next_wave, span, whole};
use crate::housekeeping::Retention;
use crate::pool::Pool;
use crate::presence;
use crate::reason::Code;
use crate::retry::Backoff;
use crate::step::{Progress, Step};
use crate::topology::Topology;
use crate::trace;
use crate::transport::{Fate, Parked, Publisher, Transport};

/// How often somebody looks who was not told.
const LOOK: Duration = Duration::from_secs(5);
/// How long a job belongs to a process that does not renew it. One that died loses it at once.
const TERM: TimeDelta = TimeDelta::seconds(30);
/// How often the fate of a letter is asked for that holds up the next one, and for how long at most:
/// it may rest on the ladder, or have been lost with a queue.
const FATE_LOOK: Duration = Duration::from_millis(200);
const FATE_WAIT: TimeDelta = TimeDelta::seconds(60);
/// A letter that was sent so often by a process that died over it is not sent again.
const TRIES: i32 = 3;

/// Works on the replays of one service's dead letters.
pub struct Replayer {
    pool: Pool,
    transport: Arc<dyn Transport>,
    topology: Topology,
    retention: Retention,
    /// Only while there is something to replay.
    publisher: Option<Box<dyn Publisher>>,
    pace: Pace,
    broker_away: Backoff,
    database_away: Backoff,
    /// Whether there was a job a moment ago.
    busy: bool,
    /// Whether a job may say that something holds it up.
    held_up: bool,
    /// Whether it was told that the database is away.
    told: bool,
}

impl Replayer {
    pub(crate) fn new(
        pool: Pool,
        transport: Arc<dyn Transport>,
        topology: Topology,
        retention: Retention,
    ) -> Self {
        let broker_away = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let database_away = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        Self {
            pool,
            transport,
            topology,
            retention,
            publisher: None,
            pace: Pace::default(),
            broker_away,
            database_away,
            busy: false,
            held_up: true,
            told: false,
        }
    }

    async fn advance(&mut self) -> Result<Progress, sqlx::Error> {
        let Some(job) = self.job().await? else {
            self.hang_up().await;
            return Ok(Progress::Idle(LOOK));
        };
        let (pg, now) = (self.pool.pg().clone(), self.pool.clock().now());
        if !job.pending {
            jobs::finish(&pg, job.id, now).await?;
            return Ok(Progress::More);
        }
        let most = match self.pace.room(job.id, job.rate, now) {
            Ok(most) => most,
            Err(pause) => return Ok(Progress::Idle(pause)),
        };
        let most = if job.one_by_one { 1 } else { most };
        let consumer = &self.topology.service;
        if job.one_by_one && jobs::is_under_way(&pg, consumer, now - FATE_WAIT).await? {
            return Ok(Progress::Idle(FATE_LOOK));
        }
        // Before letters are claimed: time that the broker is away spends no attempt.
        if let Err(why) = self.connect().await {
            return self.hold(&job, &why).await;
        }
        let due = jobs::claim(&pg, job.id, most).await?;
        self.send(&job, due, now).await
    }

    /// The job to work on now.
    async fn job(&mut self) -> Result<Option<Job>, sqlx::Error> {
        if self.pool.is_absent() {
            // What we leased now, others would take for that of a dead process. Our return wakes us.
            return Ok(None);
        }
        let pg = self.pool.pg();
        if !self.busy {
            let work = jobs::look(pg).await?;
            if work.innocent {
                repair::create(pg, self.pool.clock(), &Request::second_chance()).await?;
            } else if !work.jobs {
                return Ok(None);
            }
        }
        let (me, now) = (self.pool.instance().number(), self.pool.clock().now());
        let job = jobs::lease(pg, me, now, now + TERM).await?;
        self.busy = job.is_some();
        Ok(job)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the replayer that the ban points to")]
    async fn connect(&mut self) -> Result<(), String> {
        self.publisher.take_if(|publisher| !publisher.connected());
        if self.publisher.is_none() {
            let publisher = self.transport.publisher().await.map_err(|error| error.to_string())?;
            self.publisher = Some(publisher);
        }
        Ok(())
    }

    /// Sends those that may go, in their order, and stores what became of each.
    async fn send(
        &mut self,
        job: &Job,
        due: Vec<Due>,
        now: DateTime<Utc>,
    ) -> Result<Progress, sqlx::Error> {
        let pg = self.pool.pg().clone();
        let judged = due.iter().map(|letter| (letter.place, self.refusal(job, letter, now)));
        let refused: Vec<(i32, &str)> =
            judged.filter_map(|(place, why)| Some((place, why?))).collect();
        if !refused.is_empty() {
            jobs::refused(&pg, job.id, &refused, now).await?;
            counter!("replays_total", "outcome" => "refused").increment(refused.len() as u64);
        }
        let is_refused = |letter: &Due| refused.iter().any(|(place, _)| *place == letter.place);
        let fit: Vec<Due> = due.into_iter().filter(|letter| !is_refused(letter)).collect();
        let fates = self.put_back(job, &fit).await;
        self.pace.spend(fates.iter().flatten().count());

        let all = || fit.iter().zip(&fates);
        let sent: Vec<Sent> = all()
            .filter(|(_, fate)| **fate == Some(Fate::Confirmed))
            .map(|(letter, _)| Sent { place: letter.place, parkings: letter.parkings })
            .collect();
        if !sent.is_empty() {
            jobs::replayed(&pg, job.id, &sent, self.pool.clock().now()).await?;
            counter!("replays_total", "outcome" => "replayed").increment(sent.len() as u64);
        }
        let Some(why) = fates.iter().flatten().find_map(|fate| self.why(fate)) else {
            self.broker_away.reset();
            if std::mem::replace(&mut self.held_up, false) {
                jobs::trouble(&pg, job.id, None).await?;
            }
            return Ok(Progress::More);
        };
        let waiting = all().filter(|(_, fate)| **fate != Some(Fate::Confirmed));
        let places: Vec<i32> = waiting.map(|(letter, _)| letter.place).collect();
        jobs::waiting(&pg, job.id, &places, Some(&why)).await?;
        if fates.contains(&Some(Fate::Unknown)) {
            self.publisher = None;
        }
        self.hold(job, &why).await
    }

    /// Why a letter may not go, if it may not.
    fn refusal(&self, job: &Job, letter: &Due, now: DateTime<Utc>) -> Option<&'static str> {
        let tries = if job.one_by_one { 1 } else { TRIES };
        let is_older = |at: DateTime<Utc>, than| now - at > than;
        if !matches!(letter.state.as_str(), "parked" | "replaying") {
            Some(repair::DECIDED)
        } else if letter.queue != self.topology.work_queue() {
            Some("came from another queue")
        } else if is_older(letter.parked_at, self.retention.replay)
            || letter.occurred_at.is_some_and(|at| is_older(at, self.retention.inbox))
        {
            // It could have been handled so long ago that nobody knows.
            Some(Code::Stale.as_str())
        } else if letter.tries > tries {
            Some("the process ended each time that it was sent")
        } else {
            None
        }
    }

    /// Puts letters back in waves: of each aggregate one letter per wave, the next only when the one
    /// before is confirmed. None for those that were not sent.
    #[expect(clippy::disallowed_methods, reason = "this is the replayer that the ban points to")]
    async fn put_back(&mut self, job: &Job, letters: &[Due]) -> Vec<Option<Fate>> {
        let mut fates = vec![None; letters.len()];
        let Some(publisher) = self.publisher.as_mut() else { return fates };
        let mut held = HashSet::new();
        loop {
            let wave = next_wave(letters, &fates, &held);
            if wave.is_empty() {
                return fates;
            }
            let namespace = self.pool.identity().namespace();
            let whole: Vec<_> = wave.iter().map(|n| whole(&letters[*n])).collect();
            let parked = wave.iter().zip(&whole).map(|(n, (properties, headers))| {
                let body = letters[*n].body.as_slice();
                Parked { body, properties, headers, namespace, replay: job.id }
            });
            let parked: Vec<Parked<'_>> = parked.collect();
            let spans: Vec<_> =
                wave.iter().map(|n| span(&self.pool, &self.topology, &letters[*n])).collect();
            let new = publisher.put_back(&self.topology, &parked).await;
            for ((n, fate), span) in wave.into_iter().zip(new).zip(spans) {
                if fate != Fate::Confirmed {
                    held.extend(aggregate(&letters[n]));
                    trace::fail(&span, "not_confirmed", "not confirmed");
                }
                trace::end(&span);
                fates[n] = Some(fate);
            }
            if fates.contains(&Some(Fate::Unknown)) {
                return fates;
            }
        }
    }

    fn why(&self, fate: &Fate) -> Option<String> {
        match fate {
            Fate::Confirmed => None,
            Fate::Unroutable => Some(format!(
                "{} takes nothing back: the queue or its binding is missing",
                self.topology.work_queue()
            )),
            Fate::Refused => Some(format!("{} is full", self.topology.work_queue())),
            Fate::Unknown => Some(self.publisher.as_ref().map_or_else(
                || "the broker does not confirm".to_owned(),
                |publisher| format!("not confirmed: {}", publisher.trouble()),
            )),
        }
    }

    /// The job waits: what holds it up is not its letters' fault.
    async fn hold(&mut self, job: &Job, why: &str) -> Result<Progress, sqlx::Error> {
        self.held_up = true;
        if jobs::trouble(self.pool.pg(), job.id, Some(why)).await? {
            tracing::warn!(job = %job.id, why, "replay is held up");
        }
        Ok(Progress::Idle(self.broker_away.next(self.pool.clock())))
    }

    async fn hang_up(&mut self) {
        if let Some(publisher) = self.publisher.take() {
            publisher.close().await;
        }
    }
}

/// The metrics of replayers, by the values of their labels.
pub(crate) fn name_metrics() {
    for outcome in ["replayed", "refused"] {
        counter!("replays_total", "outcome" => outcome).increment(0);
    }
}

impl Step for Replayer {
    async fn step(&mut self) -> Progress {
        match self.advance().await {
            Ok(progress) => {
                self.database_away.reset();
                self.told = false;
                progress
            }
            Err(error) => {
                if !std::mem::replace(&mut self.told, true) {
                    tracing::warn!(%error, "replays wait for the database");
                }
                Progress::Idle(self.database_away.next(self.pool.clock()))
            }
        }
    }

    async fn close(&mut self) {
        self.hang_up().await;
        let released = jobs::release(self.pool.pg(), self.pool.instance().number()).await;
        // Another replica goes on at once.
        let told = match released {
            Ok(1..) => presence::tell(self.pool.pg(), presence::REPLAYS).await,
            Ok(0) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = told {
            tracing::debug!(%error, "replays were not handed back; their leases run out");
        }
    }
}
