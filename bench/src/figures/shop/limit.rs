//! The raw limit of orders per second: what the processor time of the rows and the messages that an
//! order comes to leaves room for, when nothing but Postgres, the broker and their clients runs.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer};

use super::pgbench::{Pgbench, bytes};
use crate::stage::Stage;
use crate::world::usage::Usage;
use crate::world::{EVENTS, drop_database, provision};

const CLIENTS: usize = 16;
/// Confirms that are waited for at a time.
const WINDOW: usize = 500;
const PREFETCH: u16 = 500;
/// Deliveries that one acknowledgement settles.
const ACKNOWLEDGED: u64 = 50;
const TABLE: &str = "create table state (id uuid primary key, version int not null, body bytea)";

/// What an order comes to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work {
    /// Transactions that write.
    pub(super) commits: f64,
    /// Rows inserted or changed.
    pub(super) rows: f64,
    /// Bytes of an event.
    pub(super) event: usize,
}

/// What that takes, in milliseconds of processor time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    /// As many rows in as many commits, by `pgbench`.
    pub(super) rows: f64,
    /// As many messages through as many queues.
    pub(super) messages: f64,
}

impl Cost {
    /// Measures both, one after the other.
    ///
    /// # Errors
    /// When a server refuses.
    pub(super) async fn measure(
        stage: &Stage,
        work: Work,
        during: Duration,
    ) -> anyhow::Result<Self> {
        let rows = rows(stage, work, during).await?;
        let messages = messages(stage, work, during).await?;
        Ok(Self { rows, messages })
    }

    /// Orders per second that all cores together have the time for.
    pub(super) fn limit(self) -> anyhow::Result<f64> {
        let cores = std::thread::available_parallelism()?.get() as f64;
        Ok(cores * 1e3 / (self.rows + self.messages))
    }
}

async fn rows(stage: &Stage, work: Work, during: Duration) -> anyhow::Result<f64> {
    let database = stage.postgres.database("messaging").await;
    sqlx::query(TABLE).execute(&database.pool()).await?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few")]
    let at_once = (work.rows / work.commits).round().max(1.0) as usize;
    let script = format!(
        "\\set i :i + 1\n\\set n :client_id * 1000000000 + :i * 1000\nbegin;\n\
         insert into state select lpad(to_hex((:n)::bigint + n), 32, '0')::uuid, 1, :body::bytea \
         from generate_series(1, {at_once}) n;\ncommit;\n"
    );
    // Some rows hold an event and most hold little.
    let values = vec![("body", bytes(work.event / 2))];
    let before = Usage::of_servers(stage)?;
    let pgbench = Pgbench { script: &script, clients: CLIENTS, values };
    let rate = pgbench.run(database.local_url(), during).await?;
    let transactions = rate * during.as_secs().max(1) as f64;
    let used = Usage::of_servers(stage)?.since(&before);
    drop_database(stage, database.name()).await?;
    let spent = used.of("postgres") + used.of("bench");
    Ok(spent / (transactions * at_once as f64) * work.rows)
}

async fn messages(stage: &Stage, work: Work, during: Duration) -> anyhow::Result<f64> {
    let vhost = stage.broker.vhost().await;
    provision(&vhost).await?;
    let connect = || Connection::connect(vhost.amqp_url(), ConnectionProperties::default());
    let (publishing, consuming) = (connect().await?, connect().await?);
    let publisher = publishing.create_channel().await?;
    publisher.confirm_select(ConfirmSelectOptions::default()).await?;
    let mut queues = Vec::new();
    for service in shop::services::SERVICES {
        let channel = consuming.create_channel().await?;
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
        let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
        let queue = format!("{}.in", service.name);
        let consumer = channel.basic_consume(queue.into(), "".into(), options, none).await?;
        queues.push((wanted(&(service.bindings)()), consumer));
    }
    let before = Usage::of_servers(stage)?;
    let orders = publish(&publisher, work.event, during);
    let (sender, receiver) = tokio::sync::watch::channel(None);
    let publishing = async {
        let orders = orders.await?;
        sender.send_replace(Some(orders));
        anyhow::Ok(orders)
    };
    let consuming = try_join_all(
        queues.iter_mut().map(|(each, consumer)| consume(consumer, *each, receiver.clone())),
    );
    let (orders, _) = tokio::try_join!(publishing, consuming)?;
    let used = Usage::of_servers(stage)?.since(&before);
    Ok((used.of("rabbitmq") + used.of("bench")) / orders as f64)
}

/// How many events of each order a service with these bindings hears.
fn wanted(bindings: &[String]) -> u64 {
    let hears = |event: &&&str| bindings.iter().any(|binding| binding == "#" || binding == **event);
    EVENTS.iter().filter(hears).count() as u64
}

/// Publishes the events of orders, with confirms; gives how many orders.
#[expect(clippy::disallowed_methods, reason = "the broker without the kit is what is measured")]
async fn publish(publisher: &Channel, size: usize, during: Duration) -> anyhow::Result<u64> {
    let (body, begun) = (vec![b'x'; size], Instant::now());
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let mut confirms = VecDeque::new();
    let mut orders = 0;
    while begun.elapsed() < during {
        for event in EVENTS {
            let persistent = BasicProperties::default().with_delivery_mode(2);
            let sent =
                publisher.basic_publish("events".into(), event.into(), options, &body, persistent);
            confirms.push_back(sent.await?);
            if confirms.len() >= WINDOW
                && let Some(oldest) = confirms.pop_front()
            {
                ensure!(oldest.await?.is_ack(), "the broker refuses");
            }
        }
        orders += 1;
    }
    for confirm in confirms {
        ensure!(confirm.await?.is_ack(), "the broker refuses");
    }
    Ok(orders)
}

/// Takes everything out of a queue until all orders' events were there.
async fn consume(
    consumer: &mut Consumer,
    each: u64,
    mut orders: tokio::sync::watch::Receiver<Option<u64>>,
) -> anyhow::Result<()> {
    let mut heard = 0;
    let mut last = None;
    let multiple = BasicAckOptions { multiple: true };
    loop {
        let all = orders.borrow_and_update().map(|orders| orders * each);
        if all.is_some_and(|all| heard >= all) {
            break;
        }
        tokio::select! {
            delivery = consumer.next() => {
                let delivery = delivery.context("no more deliveries")??;
                heard += 1;
                if heard % ACKNOWLEDGED == 0 {
                    delivery.acker.ack(multiple).await?;
                }
                last = Some(delivery.acker);
            }
            changed = orders.changed(), if all.is_none() => changed?,
        }
    }
    if let Some(last) = last
        && heard % ACKNOWLEDGED != 0
    {
        last.ack(multiple).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_six_messages_in_thirteen_places() {
        let each = shop::services::SERVICES
            .iter()
            .map(|service| (service.name, wanted(&(service.bindings)())));
        let each: Vec<_> = each.collect();
        let expected = [("order", 3), ("inventory", 2), ("payment", 1), ("email", 1), ("audit", 6)];
        assert_eq!(each, expected);
    }
}
