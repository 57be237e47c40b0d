//! `POST /products/import`: many products out of one CSV body.
//!
//! The body is held once, at most 10 MiB of it. Of its rows only where they stand is kept; they are read
//! again when their turn comes, in the order of their SKUs, in which everybody locks products.

mod report;
mod row;
mod sheet;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest as _, Request, State};
use axum::response::Response;
use bytes::Bytes;
use chassis::http::{IdempotencyKey, KeyedCsv, Query, RequestContext};
use chassis::problem::{FieldError, Problem, code};
use http::StatusCode;
use messaging::answers::{Answer, RequestKey};
use messaging::{Cause, Pool, Tx};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::http::{recalled, refused};
use crate::application::import_products::import_products;
use crate::application::ports::StoreError;
use crate::{App, store, stored};
use report::Report;
use sheet::{Sheet, WrongHeader};

pub(super) use report::ReportBody;

/// Bytes that a body may have.
pub(super) const BODY_BYTES: usize = 10 << 20;
const SCOPE: &str = "POST /products/import";
/// Each holds a body and two connections.
const AT_ONCE: usize = 4;
/// Pause suggested to those that come while so many run.
const PAUSE: Duration = Duration::from_secs(5);

/// The imports that a process takes at the same time.
#[derive(Clone)]
pub struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

/// The query of `POST /products/import`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct ImportQuery {
    /// What becomes of the good rows of a body that has bad ones.
    #[serde(default)]
    mode: Mode,
}

/// What becomes of the good rows of a body that has bad ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum Mode {
    /// They are taken.
    #[default]
    GoodRows,
    /// They are not.
    AllOrNothing,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::GoodRows => "good_rows",
            Self::AllOrNothing => "all_or_nothing",
        }
    }
}

/// Takes in the products of a CSV body, once per key: in the order of the checks of every route with
/// a key, and then row by row.
pub(super) async fn import(
    State(App { pool, imports: Turns(turns), .. }): State<App>,
    RequestContext(context): RequestContext,
    query: Result<Query<ImportQuery>, Problem>,
    request: Request,
) -> Result<Response, Problem> {
    let _turn = turns.try_acquire().map_err(|_| Problem::too_many_requests(PAUSE))?;
    let KeyedCsv { key, bytes } = KeyedCsv::from_request(request, &()).await?;
    let Query(ImportQuery { mode }) = query?;
    let (key, sheet, report) = read(key, mode, bytes).await?;
    let cause = Cause::request(pool.new_id(), context);
    let mut guard = Tx::begin(&pool, cause.clone()).await.map_err(StoreError::from)?;
    match recalled(&mut guard, &key).await? {
        Some(answer) => Ok(answer),
        None => Import { pool, cause, key, mode }.run(guard, sheet, report).await,
    }
}

/// The fingerprint and all rows, on a thread where they may take their time.
async fn read(
    key: IdempotencyKey,
    mode: Mode,
    body: Bytes,
) -> Result<(RequestKey, Sheet, Report), Problem> {
    let read = spawn_blocking(move || {
        let key = RequestKey::new(SCOPE, key.as_str(), &body).with_parameter(mode.name());
        Sheet::read(body).map(|(sheet, report)| (key, sheet, report))
    });
    let read = read.await.map_err(Problem::internal)?;
    read.map_err(|WrongHeader| {
        Problem::validation_failed([FieldError::new("/1", code::FORMAT)]).with_detail(format!(
            "The body must begin with the header {}; nothing was imported.",
            row::COLUMNS.join(","),
        ))
    })
}

struct Import {
    pool: Pool,
    cause: Cause,
    key: RequestKey,
    mode: Mode,
}

impl Import {
    /// `guard` holds the key while the rows are stored by other transactions, the last of which also
    /// stores the answer. If this breaks off before, there is no answer, and whoever repeats the
    /// request repeats it all: rows that are stored already change nothing and tell nothing.
    async fn run(
        &self,
        mut guard: Tx,
        sheet: Sheet,
        mut report: Report,
    ) -> Result<Response, Problem> {
        let mut work = self.begin().await?;
        for (number, batch) in sheet.batches().enumerate() {
            if number > 0 {
                guard.keep_alive().await.map_err(StoreError::from)?;
                work = self.go_on(work).await?;
            }
            let (lines, described): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
            let now = work.now();
            let outcomes = import_products(&mut store(&mut work), described, now).await?;
            for (line, outcome) in lines.into_iter().zip(outcomes) {
                report.count(line, outcome);
            }
        }
        let all_good = report.rejected() == 0;
        let answer = if all_good || self.mode == Mode::GoodRows {
            let body = serde_json::to_vec(&report.into_body(self.mode));
            let body = body.map_err(Problem::internal)?;
            Answer { status: StatusCode::OK.as_u16(), location: None, body }
        } else {
            work = guard;
            refused(&report.into_problem())
        };
        work.remember(&self.key, &answer).await.map_err(StoreError::from)?;
        work.commit().await.map_err(StoreError::from)?;
        Ok(stored(answer, false))
    }

    async fn begin(&self) -> Result<Tx, Problem> {
        Ok(Tx::begin(&self.pool, self.cause.clone()).await.map_err(StoreError::from)?)
    }

    /// The transaction of the next rows. No more than one batch of events is ever held.
    async fn go_on(&self, mut work: Tx) -> Result<Tx, Problem> {
        match self.mode {
            Mode::GoodRows => {
                work.commit().await.map_err(StoreError::from)?;
                self.begin().await
            }
            Mode::AllOrNothing => {
                work.flush().await.map_err(StoreError::from)?;
                Ok(work)
            }
        }
    }
}
