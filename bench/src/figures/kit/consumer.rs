//! `consumer_rate`: how fast one consumer works off a full queue.

use anyhow::ensure;
use async_trait::async_trait;
use contracts::order::OrderPlaced;
use envelope::Event as _;

use super::pair::{ORDERS, Pair, RESERVATIONS};
use crate::cpu::Cpu;
use crate::figure::{Figure, Goal, Run};
use crate::figures::{Round, Subject, raw_turns};
use crate::raw::consume::Ack;
use crate::raw::pgbench::{self, Load};
use crate::raw::publish::{Message, WINDOWS};
use crate::stage::Stage;

const RATE: &str = "consumer_rate";
const FIGURES: [Figure; 1] = [Figure {
    id: RATE,
    what: "one consumer: verify, inbox row, one row of its own, one event out and published, ack",
    unit: "msg/s",
    beside: "the time of a raw consume and that of the same statements by pgbench, added up",
    goals: &[Goal::OfRaw(0.60), Goal::AtLeast(4_000.0)],
}];
const PER_TRANSACTION: usize = 500;
/// Messages of a transaction of the kit's consumer when its queue is full.
const CHUNK: usize = 64;
const RAW: &str = "raw";
const RAW_TYPE: &str = "order.raw.v1";

/// Both services, made by the first round.
#[derive(Default)]
pub(crate) struct Consumer(Option<Shop>);

struct Shop {
    pair: Pair,
    messages: Vec<Message>,
    reservation_bytes: i64,
}

#[async_trait(?Send)]
impl Subject for Consumer {
    fn figures(&self) -> &'static [Figure] {
        &FIGURES
    }

    async fn round(&mut self, stage: &Stage, number: usize) -> anyhow::Result<Round> {
        let shop = match self.0.take() {
            Some(shop) => shop,
            None => Shop::new(stage).await?,
        };
        let count = if stage.quick { 8_000 } else { 24_000 };
        let mut round = Round::default();
        let (mut raw, mut kit) = (0.0, 0.0);
        for raw_now in raw_turns(number) {
            if raw_now {
                raw = shop.raw(stage, count, &mut round).await?;
            } else {
                kit = shop.kit(stage, count, &mut round).await?;
            }
        }
        round.runs.push(Run { value: kit, raw: Some(raw) });
        self.0 = Some(shop);
        Ok(round)
    }
}

impl Shop {
    async fn new(stage: &Stage) -> anyhow::Result<Self> {
        let pair = Pair::new(stage).await?;
        pair.wire.queue(RAW, &[RAW_TYPE]).await?;
        sqlx::query("create sequence raw_id cache 1000").execute(&pair.inventory.pg).await?;
        pair.place_all(PER_TRANSACTION).await?;
        pair.order.drain().await?;
        let mut messages = pair.wire.take_messages(ORDERS, PER_TRANSACTION).await?;
        for message in &mut messages {
            message.routing_key = RAW_TYPE.to_owned();
        }
        let mut shop = Self { pair, messages, reservation_bytes: 0 };
        shop.kit(stage, PER_TRANSACTION, &mut Round::default()).await?;
        let bytes = "select max(length(body))::bigint from messaging.outbox";
        shop.reservation_bytes =
            sqlx::query_scalar(bytes).fetch_one(&shop.pair.inventory.pg).await?;
        Ok(shop)
    }

    async fn kit(&self, stage: &Stage, count: usize, round: &mut Round) -> anyhow::Result<f64> {
        let pair = &self.pair;
        pair.clear().await?;
        for _ in 0..count.div_ceil(PER_TRANSACTION) {
            pair.place_all(PER_TRANSACTION).await?;
        }
        pair.order.drain().await?;
        sqlx::query("checkpoint").execute(&pair.inventory.pg).await?;
        let cpu = Cpu::now(stage)?;
        let running = pair.inventory.run();
        pair.arrivals.wait_for(count).await?;
        pair.inventory.until_drained().await?;
        let used = cpu.used(stage)?;
        running.stop().await?;
        let rate = self.rate(count).await?;
        round.note(RATE, format!("consumer: {rate:.0}/s; {used}"));
        Ok(rate)
    }

    /// From the first handled message to the last event out that the broker has confirmed.
    async fn rate(&self, count: usize) -> anyhow::Result<f64> {
        let pg = &self.pair.inventory.pg;
        let took = "select count(*),
                extract(epoch from (select max(published_at) from messaging.outbox) - min(at))::float8
            from reserved";
        let (reserved, seconds): (i64, f64) = sqlx::query_as(took).fetch_one(pg).await?;
        ensure!(reserved == i64::try_from(count)?, "{reserved} of {count} orders are reserved");
        let told = self.pair.wire.purge(RESERVATIONS).await?;
        ensure!(told as usize == count, "{told} of {count} reservations were told");
        Ok(count as f64 / seconds.max(f64::EPSILON))
    }

    /// One consumer does one thing after the other: a chunk's statements begin when its deliveries are
    /// there, and its acknowledgements wait for the commit. So the times add up.
    async fn raw(&self, stage: &Stage, count: usize, round: &mut Round) -> anyhow::Result<f64> {
        let wire = &self.pair.wire;
        wire.send_all(&self.messages, count, WINDOWS[1]).await?;
        let took = wire.take(RAW, count, Ack::Each, &mut |_| Ok(())).await?;
        let consumed = count as f64 / took.as_secs_f64();
        let url = self.pair.inventory.url();
        let seconds = if stage.quick { 2 } else { 3 };
        let bytes = usize::try_from(self.reservation_bytes)?;
        let define = [("body", "x".repeat(bytes))];
        let load = Load { url, clients: 1, seconds, define: &define };
        let stored = CHUNK as f64 * pgbench::run(load, &script()).await?;
        self.pair.clear().await?;
        round.note(RATE, format!("raw: {consumed:.0}/s consumed, {stored:.0}/s stored"));
        Ok(1.0 / (1.0 / consumed + 1.0 / stored))
    }
}

/// The statements of a chunk, as the kit sends them: one for all inbox rows, the handler's own for all of
/// its rows, one for all outbox rows.
fn script() -> String {
    const ID: &str = "(lpad(to_hex(nextval('raw_id')), 12, '0') || '70008000000000000000')::uuid";
    let inbox = format!(
        "insert into messaging.inbox
            (consumer, source, event_id, type, subject, aggversion, body_sha256, key_id, handled_at)
        select 'inventory', 'urn-shop-bench-order', id, 'shop.{placed}', 'order/' || id, 1,
            sha256(id::text::bytea), 'order-1', now()
        from (select {ID} as id from generate_series(1, {CHUNK})) ids order by 2, 3
        on conflict do nothing
        returning source, event_id, body_sha256, set_config('statement_timeout', '30s', true);\n",
        placed = OrderPlaced::TYPE,
    );
    let rows = format!(
        "insert into reserved (order_id, amount, at)
        select {ID}, 13912, now() from generate_series(1, {CHUNK});\n"
    );
    let outbox = format!(
        "insert into messaging.outbox (event_id, type, subject, aggversion, partition,
            correlation_id, body, signature, key_id, created_at)
        select id, 'shop.inventory.stock_reserved.v1', 'reservation/' || id, 1, n % 16, id,
            convert_to(:body, 'UTF8'), decode(repeat('00', 64), 'hex'), 'inventory-1', now()
        from (select {ID} as id, n from generate_series(1, {CHUNK}) n) ids;\n"
    );
    format!("begin;\n{inbox}{rows}{outbox}commit;\n")
}
