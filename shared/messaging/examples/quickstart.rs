//! One event, one handler. It wants an empty database in DATABASE_URL and a vhost in AMQP_URL.
#![expect(clippy::disallowed_methods, reason = "an example has neither chassis nor supervisor")]

use envelope::signature::{KeyDocument, KeyRing, Signer};
use envelope::{Clock, Event, Identity, Subject};
use messaging::step::Signal;
use messaging::transport::rabbitmq::RabbitMq;
use messaging::{Cause, Handler, HandlerResult, Handlers, Messaging, Pool, Received, Tx};
use tokio_util::sync::CancellationToken;

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Greeted {
    guest: uuid::Uuid,
}

impl Event for Greeted {
    const TYPE: &'static str = "greeter.greeted.v1";
    fn subject(&self) -> Subject {
        Subject::new("guest", self.guest)
    }
}

struct Greet(Signal);

impl Handler<Greeted> for Greet {
    async fn handle(&self, tx: &mut Tx, event: Received<Greeted>) -> HandlerResult {
        println!("hello, {}", event.data.guest); // Your own SQL goes through `tx.conn()`.
        tx.after_commit(&self.0);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let database = messaging::connect_lazily(&std::env::var("DATABASE_URL")?, "greeter", 5)?;
    messaging::MIGRATIONS.run(&database).await?;
    let me = Identity::new("demo", "dev", "greeter");
    let signer = Signer::from_seed("greeter-1", [7; 32]);
    let keys = KeyRing::new(&KeyDocument { keys: vec![signer.public_for(&me)] })?;
    let pool = Pool::new(database, me, signer, Clock::system());
    let broker = RabbitMq::new(std::env::var("AMQP_URL")?, "greeter", "demo");
    let greeted = Signal::new();
    let greet = Handlers::new().on(Greet(greeted.clone()));
    let kit = Messaging::new(pool.clone(), broker, keys, greet);
    kit.provision().await?.iter().for_each(|one| println!("made {one}"));
    let stop = CancellationToken::new();
    let run = |task: messaging::Task| tokio::spawn((task.run)(stop.clone()));
    let tasks: Vec<_> = kit.tasks().into_iter().map(run).collect();
    let mut tx = Tx::begin(&pool, Cause::request(pool.new_id(), Default::default())).await?;
    tx.publish(&Greeted { guest: pool.new_id() }, 1)?;
    tx.commit().await?; // Now, and not before, it is on its way.
    greeted.wait().await;
    stop.cancel();
    for task in tasks {
        task.await??;
    }
    println!("done");
    Ok(())
}
