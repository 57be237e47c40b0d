//! A handler of one's own, simulated. It wants a database of its own in DATABASE_URL, and empties it.
#![expect(clippy::disallowed_methods, reason = "an example has no chassis")]

use anyhow::ensure;
use envelope::signature::{KeyDocument, KeyRing, Signer};
use envelope::{Event, Identity, Subject};
use messaging::simulation::{Process, Seat, World, connect, empty, simulate};
use messaging::{Cause, Handler, HandlerResult, Handlers, Messaging, Pool, Received, Tx};
use sqlx::PgPool;

const GUESTS: u32 = 6;

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Came {
    guest: u32,
}

impl Event for Came {
    const TYPE: &'static str = "greeter.came.v1";
    fn subject(&self) -> Subject {
        Subject::new("guest", self.guest)
    }
}

/// The handler to put to the test: it counts how often each guest was greeted.
struct Greet;

impl Handler<Came> for Greet {
    async fn handle(&self, tx: &mut Tx, event: Received<Came>) -> HandlerResult {
        let sql = "update guest set greeted = greeted + 1 where id = $1";
        sqlx::query(sql).bind(event.data.guest as i32).execute(tx.conn()).await?;
        Ok(())
    }
}

/// The process as `main` would make it, but for its time and its broker.
fn greeter(pg: &PgPool, seat: &Seat) -> Process {
    let me = Identity::new("demo", "test", "greeter");
    let signer = Signer::from_seed("greeter-1", [7; 32]);
    let keys = KeyRing::new(&KeyDocument { keys: vec![signer.public_for(&me)] });
    let keys = keys.unwrap_or_else(|_| unreachable!("one good key"));
    let pool = Pool::new(pg.clone(), me, signer, seat.clock.clone());
    let kit = Messaging::new(pool.clone(), seat.broker.clone(), keys, Handlers::new().on(Greet));
    Process::new(kit).request("come", move |guest| come(pool.clone(), guest))
}

/// A request: the guest comes, once, however often it is asked for.
async fn come(pool: Pool, guest: u32) -> anyhow::Result<()> {
    let mut tx = Tx::begin(&pool, Cause::request(pool.new_id(), Default::default())).await?;
    let sql = "insert into guest (id) values ($1) on conflict do nothing";
    if sqlx::query(sql).bind(guest as i32).execute(tx.conn()).await?.rows_affected() == 1 {
        tx.publish(&Came { guest }, 1)?;
    }
    Ok(tx.commit().await?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let pg = &connect(&std::env::var("DATABASE_URL")?).await?;
    messaging::MIGRATIONS.run(pg).await?;
    let table = "create table if not exists guest (id int primary key, greeted int default 0)";
    sqlx::raw_sql(table).execute(pg).await?;
    let build = async |world: &mut World| {
        empty(pg).await?;
        sqlx::raw_sql("delete from guest").execute(pg).await?;
        let of = pg.clone();
        world.process("greeter", move |seat| greeter(&of, seat));
        world.requests("greeter", "come", GUESTS)
    };
    let once = async |_: &_| {
        let sql = "select count(*) from guest where greeted = 1";
        let greeted: i64 = sqlx::query_scalar(sql).fetch_one(pg).await?;
        ensure!(greeted == i64::from(GUESTS), "{greeted} of {GUESTS} guests were greeted once");
        Ok(())
    };
    let report = simulate("demo", 0..100, build, once).await?;
    println!("{} worlds, {} steps: {:?}", report.seeds, report.entries, report.happened);
    Ok(())
}
