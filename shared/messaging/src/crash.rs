//! Places where a process can be made to die, and bugs that can be put into it, for tests that ask what
//! survives the one and whether anybody notices the other. Only with the feature `crash-points`:
//! without it nothing dies here, and no bug is compiled.

/// Where a process can die. The numbers are those of the fault table; the same place stands in every
/// service that comes by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// A request is read, its transaction not begun.
    C1,
    /// A request's rows are written, its events are not.
    C2,
    /// A request's events are written, too.
    C3,
    /// A request is committed, its answer not sent.
    C4,
    /// The relay has read what is to be published.
    C5,
    /// Messages are on their way to the broker, unconfirmed.
    C6,
    /// Messages are confirmed, their rows not marked.
    C6b,
    /// Messages were delivered.
    C7,
    /// Messages are verified.
    C8,
    /// Inbox rows are written.
    C9,
    /// Handlers have had their effects, their events are not written.
    C10,
    /// Handlers' events are written, too.
    C11,
    /// All that a chunk does is done but the commit.
    C12,
    /// A chunk is committed, not acknowledged.
    C13,
    /// A chunk is acknowledged.
    C14,
    /// The copies of failed messages are confirmed, the originals not acknowledged.
    C15,
    /// Calls to the outside world are leased, not made.
    C16,
    /// A call was answered, the answer not stored.
    C17,
}

impl Point {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::C1,
        Self::C2,
        Self::C3,
        Self::C4,
        Self::C5,
        Self::C6,
        Self::C6b,
        Self::C7,
        Self::C8,
        Self::C9,
        Self::C10,
        Self::C11,
        Self::C12,
        Self::C13,
        Self::C14,
        Self::C15,
        Self::C16,
        Self::C17,
    ];

    /// As it is written in settings and logs.
    #[must_use]
    pub fn name(self) -> String {
        format!("{self:?}")
    }

    /// In words.
    #[must_use]
    pub fn place(self) -> &'static str {
        match self {
            Self::C1 => "a request is read, its transaction not begun",
            Self::C2 => "a request's rows are written, its events are not",
            Self::C3 => "a request's events are written, too",
            Self::C4 => "a request is committed, its answer not sent",
            Self::C5 => "the relay has read what is to be published",
            Self::C6 => "messages are on their way to the broker, unconfirmed",
            Self::C6b => "messages are confirmed, their rows not marked",
            Self::C7 => "messages were delivered",
            Self::C8 => "messages are verified",
            Self::C9 => "inbox rows are written",
            Self::C10 => "handlers have had their effects, their events are not written",
            Self::C11 => "handlers' events are written, too",
            Self::C12 => "all that a chunk does is done but the commit",
            Self::C13 => "a chunk is committed, not acknowledged",
            Self::C14 => "a chunk is acknowledged",
            Self::C15 => "copies of failed messages are confirmed, the originals not acknowledged",
            Self::C16 => "calls to the outside world are leased, not made",
            Self::C17 => "a call was answered, the answer not stored",
        }
    }
}

/// A bug that breaks a promise, to see that somebody notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Messages are acknowledged before what they do is committed.
    AckBeforeCommit,
    /// Whether a message was returned is told by the confirm that the return came with.
    ConfirmByPosition,
    /// Inbox rows are committed before the effects.
    InboxApart,
    /// The relay never looks behind the last row that it has read.
    CursorPolling,
    /// Relays share the rows of an aggregate between them.
    SplitAggregates,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::AckBeforeCommit,
        Self::ConfirmByPosition,
        Self::InboxApart,
        Self::CursorPolling,
        Self::SplitAggregates,
    ];

    /// As it is written in settings and logs.
    #[must_use]
    pub fn name(self) -> String {
        format!("{self:?}")
    }
}

#[cfg(not(feature = "crash-points"))]
pub(crate) fn point(_: Point) {}

/// What a caught panic is to the code that caught it: its own concern, unless it is a process that dies,
/// which goes on dying.
#[cfg(not(feature = "simulation"))]
pub(crate) fn or_die(panic: Panic) -> Panic {
    panic
}

type Panic = Box<dyn std::any::Any + Send>;

#[cfg(feature = "simulation")]
pub(crate) use planned::{Plan, or_die, within};

#[cfg(feature = "crash-points")]
pub use armed::arm;
#[cfg(feature = "crash-points")]
pub(crate) use armed::{claim, has, past_cursor, point, shared};

#[cfg(feature = "crash-points")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

    use sqlx::postgres::Postgres;
    use sqlx::{PgPool, pool::PoolConnection};

    use super::{Bug, Point};
    use crate::outbox::Row;
    use crate::partition::{PARTITIONS, Partitions};

    static DEATH: OnceLock<(Point, AtomicU32)> = OnceLock::new();
    static BUG: OnceLock<Bug> = OnceLock::new();
    static CURSOR: AtomicI64 = AtomicI64::new(0);

    /// Lets this process die when it comes by `point` (`C10`, or `C10:3` for the third time), and puts
    /// `bug` into it. Once per process.
    ///
    /// # Errors
    /// When there is no such point or bug.
    pub fn arm(point: Option<&str>, bug: Option<&str>) -> Result<(), String> {
        if let Some(text) = point {
            let (name, times) = text.split_once(':').unwrap_or((text, "1"));
            let unknown = || format!("CRASH_POINT: there is no point {text:?}");
            let found = Point::ALL.into_iter().find(|one| one.name() == name);
            let times = times.parse().ok().filter(|times| *times > 0);
            let armed = found.zip(times).ok_or_else(unknown)?;
            let _ = DEATH.set((armed.0, AtomicU32::new(armed.1)));
        }
        if let Some(text) = bug {
            let found = Bug::ALL.into_iter().find(|one| one.name() == text);
            let _ = BUG.set(found.ok_or_else(|| format!("BUG: there is no bug {text:?}"))?);
        }
        Ok(())
    }

    /// Ends the process if it is to die here, now. Nothing is handed back and nothing is flushed.
    pub(crate) fn point(here: Point) {
        #[cfg(feature = "simulation")]
        super::planned::pass(here);
        let Some((there, left)) = DEATH.get().filter(|(there, _)| *there == here) else { return };
        if left.fetch_sub(1, Ordering::AcqRel) == 1 {
            eprintln!("crash point {}", there.name());
            std::process::abort();
        }
    }

    /// Whether the process has this bug.
    pub(crate) fn has(bug: Bug) -> bool {
        #[cfg(feature = "simulation")]
        if super::planned::has(bug) {
            return true;
        }
        BUG.get() == Some(&bug)
    }

    /// [`Bug::CursorPolling`]: the rows behind the last one that was ever read.
    pub(crate) fn past_cursor(rows: Vec<Row>) -> Vec<Row> {
        if !has(Bug::CursorPolling) {
            return rows;
        }
        let last = rows.iter().map(|row| row.seq).max().unwrap_or(0);
        let seen = move_cursor(last);
        rows.into_iter().filter(|row| row.seq > seen).collect()
    }

    /// Moves the cursor on to `last` and returns where it was.
    fn move_cursor(last: i64) -> i64 {
        #[cfg(feature = "simulation")]
        if let Some(seen) = super::planned::move_cursor(last) {
            return seen;
        }
        CURSOR.fetch_max(last, Ordering::AcqRel)
    }

    /// [`Bug::SplitAggregates`]: every relay takes part in every partition.
    pub(crate) fn shared(owned: Partitions) -> Partitions {
        if has(Bug::SplitAggregates) { (0..PARTITIONS).collect() } else { owned }
    }

    /// [`Bug::SplitAggregates`]: one row that no other relay has at this moment, and the session that
    /// holds it until it is dropped.
    pub(crate) async fn claim(
        pg: &PgPool,
        rows: Vec<Row>,
    ) -> Result<(Vec<Row>, Option<PoolConnection<Postgres>>), sqlx::Error> {
        if !has(Bug::SplitAggregates) {
            return Ok((rows, None));
        }
        let mut session = pg.acquire().await?;
        session.close_on_drop();
        for row in rows {
            let mine: bool = sqlx::query_scalar("select pg_try_advisory_lock($1)")
                .bind(row.seq)
                .fetch_one(&mut *session)
                .await?;
            if mine {
                return Ok((vec![row], Some(session)));
            }
        }
        Ok((Vec::new(), None))
    }
}

/// Deaths and bugs of a process that is one of several in this one, and is stepped by hand: they hold
/// while one of its futures is polled.
#[cfg(feature = "simulation")]
mod planned {
    use std::cell::RefCell;
    use std::panic::resume_unwind;

    use super::{Bug, Panic, Point};

    /// What is to happen to a process.
    #[derive(Debug, Default)]
    pub(crate) struct Plan {
        /// It dies at the point that it comes by when so many more have been passed.
        pub(crate) dies_after: Option<u32>,
        /// Where it has died. Whoever caught that as a panic of its own does not bring it back.
        pub(crate) died: Option<Point>,
        pub(crate) bug: Option<Bug>,
        /// [`Bug::CursorPolling`]: the last row that its relay has read.
        pub(crate) cursor: i64,
    }

    /// What a process that dies unwinds with.
    struct Cut;

    thread_local! {
        static PLAN: RefCell<Option<Plan>> = const { RefCell::new(None) };
    }

    /// Calls `work` as the process that `plan` is for.
    pub(crate) fn within<T>(plan: &mut Plan, work: impl FnOnce() -> T) -> T {
        /// Takes the plan back also when the process dies.
        struct Guard<'a>(&'a mut Plan);
        impl Drop for Guard<'_> {
            fn drop(&mut self) {
                *self.0 = PLAN.take().unwrap_or_default();
            }
        }
        PLAN.set(Some(std::mem::take(plan)));
        let _guard = Guard(plan);
        work()
    }

    fn planned<T>(ask: impl FnOnce(&mut Plan) -> T) -> Option<T> {
        PLAN.with_borrow_mut(|plan| plan.as_mut().map(ask))
    }

    /// Dies if it is time to. Nothing is printed: it is no error of the program.
    pub(crate) fn pass(here: Point) {
        let dies = planned(|plan| {
            let left = plan.dies_after;
            plan.dies_after = left.and_then(|left| left.checked_sub(1));
            let dies = left == Some(0);
            plan.died = plan.died.or(dies.then_some(here));
            dies
        });
        if dies == Some(true) {
            resume_unwind(Box::new(Cut));
        }
    }

    pub(crate) fn has(bug: Bug) -> bool {
        planned(|plan| plan.bug == Some(bug)) == Some(true)
    }

    /// Moves the cursor on to `last` and returns where it was; none where there is no plan.
    pub(crate) fn move_cursor(last: i64) -> Option<i64> {
        planned(|plan| {
            let moved = plan.cursor.max(last);
            std::mem::replace(&mut plan.cursor, moved)
        })
    }

    pub(crate) fn or_die(panic: Panic) -> Panic {
        if panic.is::<Cut>() { resume_unwind(panic) } else { panic }
    }
}
