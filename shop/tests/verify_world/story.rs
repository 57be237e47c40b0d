//! What the customers of the small shop did, step by step, as the services store and tell it.

use contracts::email::{EmailSent, Template};
use contracts::inventory::{
    ProductListed, Shortage, StockRejected, StockReleased, StockReserved, StockShipped,
};
use contracts::order::{CancelReason, Line, OrderCancelled, OrderConfirmed, OrderPlaced};
use contracts::payment::{PaymentCaptured, PaymentDeclined, PaymentRefunded};
use messaging::Tx;
use shop::verify::Service;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{PRICE, Shop};

/// What is sold here.
const SKU: &str = "MUG";
/// How many there are at first.
const ON_HAND: i64 = 100;
const EMAIL: &str = "someone@example.com";

fn line() -> Vec<Line> {
    vec![Line { sku: SKU.into(), quantity: 1 }]
}

/// Runs SQL in a transaction. Ids and times are written into it: this is a test.
async fn run(tx: &mut Tx, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(tx.conn()).await.unwrap();
}

impl Shop {
    pub(super) async fn tell_the_story(&mut self) {
        self.list().await;
        let (confirmed, declined) = (self.confirmed, self.declined);
        self.place(confirmed).await;
        self.reserve(confirmed).await;
        self.capture(confirmed).await;
        self.confirm(confirmed).await;
        self.ship(confirmed).await;
        self.mail(confirmed, Template::OrderConfirmed).await;

        self.place(declined).await;
        self.reserve(declined).await;
        self.decline(declined).await;
        self.cancel(declined, CancelReason::PaymentDeclined).await;
        self.release(declined).await;
        self.mail(declined, Template::OrderCancelled).await;

        let (out_of_stock, refunded) = (self.out_of_stock, self.refunded);
        self.place(out_of_stock).await;
        self.reject(out_of_stock).await;
        self.cancel(out_of_stock, CancelReason::OutOfStock).await;
        self.never_charge(out_of_stock).await;
        self.mail(out_of_stock, Template::OrderCancelled).await;

        self.place(refunded).await;
        self.reserve(refunded).await;
        let charge_id = self.capture(refunded).await;
        self.cancel(refunded, CancelReason::CustomerRequest).await;
        self.release(refunded).await;
        self.give_back(refunded, &charge_id).await;
        self.mail(refunded, Template::OrderCancelled).await;
        self.mail(refunded, Template::PaymentRefunded).await;
    }

    /// Another order, on its way: reserved, and about to be charged.
    pub(crate) async fn order_under_way(&self) -> Uuid {
        let order = self.world.clock.new_id();
        self.place(order).await;
        self.reserve(order).await;
        self.deliver_everything().await;
        let mut tx = self.tx(Service::Payment, order).await;
        run(&mut tx, payment(order, "'pm_ok', 'pending', null, null, null, 0", "now()")).await;
        tx.commit().await.unwrap();
        order
    }

    async fn list(&self) {
        let mut tx = self.tx(Service::Inventory, Uuid::nil()).await;
        run(
            &mut tx,
            format!(
                "insert into products (sku, name, currency, unit_price_minor, on_hand, version,
                    created_at, updated_at)
                values ('{SKU}', 'Mug', 'GBP', {}, {ON_HAND}, 1, now(), now());
                insert into stock_movements (sku, delta, kind, at)
                values ('{SKU}', {ON_HAND}, 'initial', now())",
                PRICE.amount_minor
            ),
        )
        .await;
        let (sku, name) = (SKU.to_owned(), "Mug".to_owned());
        tx.publish(&ProductListed { sku, name, unit_price: PRICE, on_hand: ON_HAND }, 1).unwrap();
        tx.commit().await.unwrap();
    }

    async fn place(&self, order: Uuid) {
        let mut tx = self.tx(Service::Order, order).await;
        let customer = Uuid::from_u64_pair(1, 2);
        run(
            &mut tx,
            format!(
                "insert into orders (id, customer_id, customer_email, payment_method, currency,
                    total_minor, status, version, placed_at, updated_at)
                values ('{order}', '{customer}', '{EMAIL}', 'pm_ok', 'GBP', {price}, 'pending', 1,
                    now(), now());
                insert into order_lines (order_id, line, sku, quantity, unit_price_minor)
                values ('{order}', 1, '{SKU}', 1, {price});
                insert into order_history (order_id, version, status, at)
                values ('{order}', 1, 'pending', now())",
                price = PRICE.amount_minor
            ),
        )
        .await;
        let placed = OrderPlaced {
            order_id: order,
            customer_id: customer,
            customer_email: EMAIL.into(),
            lines: line(),
            total: PRICE,
            payment_method: "pm_ok".into(),
            placed_at: tx.now(),
        };
        tx.publish(&placed, 1).unwrap();
        tx.commit().await.unwrap();
    }

    async fn reserve(&self, order: Uuid) {
        let mut tx = self.tx(Service::Inventory, order).await;
        run(&mut tx, reservation(order, "reserved")).await;
        run(&mut tx, format!("update products set reserved = reserved + 1 where sku = '{SKU}'"))
            .await;
        let (amount, payment_method) = (PRICE, "pm_ok".to_owned());
        tx.publish(&StockReserved { order_id: order, amount, payment_method }, 1).unwrap();
        tx.commit().await.unwrap();
    }

    async fn reject(&self, order: Uuid) {
        let mut tx = self.tx(Service::Inventory, order).await;
        run(&mut tx, reservation(order, "rejected")).await;
        let shortages = vec![Shortage { sku: SKU.into(), requested: 1, available: 0 }];
        tx.publish(&StockRejected { order_id: order, shortages }, 1).unwrap();
        tx.commit().await.unwrap();
    }

    async fn ship(&self, order: Uuid) {
        let mut tx = self.tx(Service::Inventory, order).await;
        run(
            &mut tx,
            format!(
                "update reservations set status = 'shipped', version = 2 where order_id = '{order}';
                update products set on_hand = on_hand - 1, reserved = reserved - 1
                where sku = '{SKU}';
                insert into stock_movements (sku, delta, kind, order_id, at)
                values ('{SKU}', -1, 'shipped', '{order}', now())"
            ),
        )
        .await;
        tx.publish(&StockShipped { order_id: order, lines: line() }, 2).unwrap();
        tx.commit().await.unwrap();
    }

    async fn release(&self, order: Uuid) {
        let mut tx = self.tx(Service::Inventory, order).await;
        run(
            &mut tx,
            format!(
                "update reservations set status = 'released', version = 2
                where order_id = '{order}';
                update products set reserved = reserved - 1 where sku = '{SKU}'"
            ),
        )
        .await;
        tx.publish(&StockReleased { order_id: order, lines: line() }, 2).unwrap();
        tx.commit().await.unwrap();
    }

    async fn capture(&self, order: Uuid) -> String {
        let charge_id = self.charge(order, &order.to_string(), "pm_ok").await;
        let mut tx = self.tx(Service::Payment, order).await;
        let values = format!("'pm_ok', 'captured', null, '{charge_id}', null, 1");
        run(&mut tx, payment(order, &values, "null")).await;
        let captured =
            PaymentCaptured { order_id: order, charge_id: charge_id.clone(), amount: PRICE };
        tx.publish(&captured, 1).unwrap();
        tx.commit().await.unwrap();
        charge_id
    }

    async fn decline(&self, order: Uuid) {
        self.charge(order, &order.to_string(), "pm_declined").await;
        let mut tx = self.tx(Service::Payment, order).await;
        let values = "'pm_declined', 'declined', 'card_declined', null, null, 1";
        run(&mut tx, payment(order, values, "null")).await;
        tx.publish(&PaymentDeclined { order_id: order, reason: "card_declined".into() }, 1)
            .unwrap();
        tx.commit().await.unwrap();
    }

    /// The cancellation came before any wish to charge: there is nothing to tell.
    async fn never_charge(&self, order: Uuid) {
        let mut tx = self.tx(Service::Payment, order).await;
        run(&mut tx, payment(order, "null, 'void', null, null, null, 0", "null")).await;
        tx.commit().await.unwrap();
    }

    async fn give_back(&self, order: Uuid, charge_id: &str) {
        let refund_id = self.refund(charge_id).await;
        let mut tx = self.tx(Service::Payment, order).await;
        run(
            &mut tx,
            format!(
                "update payments set status = 'refunded', version = 2, refund_id = '{refund_id}',
                    cancelled_at = now() where order_id = '{order}'"
            ),
        )
        .await;
        tx.publish(&PaymentRefunded { order_id: order, refund_id, amount: PRICE }, 2).unwrap();
        tx.commit().await.unwrap();
    }

    async fn confirm(&self, order: Uuid) {
        let mut tx = self.tx(Service::Order, order).await;
        run(&mut tx, end(order, "confirmed", "null")).await;
        let (customer_email, confirmed_at) = (EMAIL.to_owned(), tx.now());
        let confirmed =
            OrderConfirmed { order_id: order, customer_email, total: PRICE, confirmed_at };
        tx.publish(&confirmed, 2).unwrap();
        tx.commit().await.unwrap();
    }

    async fn cancel(&self, order: Uuid, reason: CancelReason) {
        let stored = match reason {
            CancelReason::OutOfStock => "'out_of_stock'",
            CancelReason::PaymentDeclined => "'payment_declined'",
            _ => "'customer_request'",
        };
        let mut tx = self.tx(Service::Order, order).await;
        run(&mut tx, end(order, "cancelled", stored)).await;
        let (customer_email, cancelled_at) = (EMAIL.to_owned(), tx.now());
        let cancelled =
            OrderCancelled { order_id: order, customer_email, reason, total: PRICE, cancelled_at };
        tx.publish(&cancelled, 2).unwrap();
        tx.commit().await.unwrap();
    }

    async fn mail(&self, order: Uuid, template: Template) {
        let stored = match template {
            Template::OrderConfirmed => "order_confirmed",
            Template::OrderCancelled => "order_cancelled",
            Template::PaymentRefunded => "payment_refunded",
        };
        let mut tx = self.tx(Service::Email, order).await;
        let email_id = tx.new_id();
        let message_id = format!("{email_id}@shop.test");
        run(
            &mut tx,
            format!(
                "insert into recipients (order_id, address, created_at, updated_at)
                values ('{order}', '{EMAIL}', now(), now()) on conflict do nothing;
                insert into emails (id, order_id, template, recipient, data, message_id, status,
                    attempts, correlation_id, created_at, sent_at)
                values ('{email_id}', '{order}', '{stored}', '{EMAIL}', '{{}}', '{message_id}',
                    'sent', 1, '{order}', now(), now())"
            ),
        )
        .await;
        tx.publish(&EmailSent { email_id, order_id: order, template, message_id }, 1).unwrap();
        tx.commit().await.unwrap();
    }
}

fn reservation(order: Uuid, status: &str) -> String {
    format!(
        "insert into reservations (order_id, status, amount_minor, currency, payment_method,
            version, created_at, updated_at)
        values ('{order}', '{status}', {}, 'GBP', 'pm_ok', 1, now(), now());
        insert into reservation_lines (order_id, sku, quantity) values ('{order}', '{SKU}', 1)",
        PRICE.amount_minor
    )
}

/// `values`: method, status, decline reason, charge, refund, version.
fn payment(order: Uuid, values: &str, next_attempt_at: &str) -> String {
    format!(
        "insert into payments (order_id, amount_minor, currency, payment_method, status,
            decline_reason, charge_id, refund_id, version, correlation_id, next_attempt_at,
            created_at, updated_at)
        values ('{order}', {}, 'GBP', {values}, '{order}', {next_attempt_at}, now(), now())",
        PRICE.amount_minor
    )
}

fn end(order: Uuid, status: &str, reason: &str) -> String {
    format!(
        "update orders set status = '{status}', cancel_reason = {reason}, version = 2,
            updated_at = now() where id = '{order}';
        insert into order_history (order_id, version, status, at)
        values ('{order}', 2, '{status}', now())"
    )
}
