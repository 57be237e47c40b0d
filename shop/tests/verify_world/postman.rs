//! Publishes and delivers at once what stands in the outboxes.

use std::sync::Arc;

use audit::application::record_event::record_events;
use audit::domain::chain::Entry;
use envelope::Envelope;
use messaging::Pool;
use sha2::{Digest as _, Sha256};
use shop::verify::Service;
use uuid::Uuid;

use super::Shop;

/// A row of an outbox.
struct Letter {
    envelope: Envelope,
    body: Vec<u8>,
    signature: Vec<u8>,
    key_id: String,
}

impl Shop {
    /// Publishes what is not published yet, and has every service that is bound to it handle it.
    pub(crate) async fn deliver_everything(&self) {
        for producer in Service::ALL {
            for letter in self.publish(producer).await {
                for consumer in Service::ALL {
                    let types = self.world.bindings.of(consumer);
                    if types.is_none_or(|types| types.contains(&letter.envelope.event_type)) {
                        self.handle(consumer, &letter).await;
                    }
                }
                self.record(&letter).await;
            }
        }
    }

    fn pool(&self, service: Service) -> &Pool {
        &self.pools[&service]
    }

    async fn publish(&self, producer: Service) -> Vec<Arc<Letter>> {
        let rows: Vec<(Vec<u8>, Vec<u8>, String)> = sqlx::query_as(
            "with published as (
                update messaging.outbox set published_at = now() where published_at is null
                returning seq, body, signature, key_id)
            select body, signature, key_id from published order by seq",
        )
        .fetch_all(self.pool(producer).pg())
        .await
        .unwrap();
        let letter = |(body, signature, key_id): (Vec<u8>, Vec<u8>, String)| {
            let envelope = Envelope::decode(&body).unwrap();
            Arc::new(Letter { envelope, body, signature, key_id })
        };
        rows.into_iter().map(letter).collect()
    }

    async fn handle(&self, consumer: Service, letter: &Letter) {
        let Envelope { id, source, event_type, subject, aggversion, .. } = &letter.envelope;
        sqlx::query(
            "insert into messaging.inbox (consumer, source, event_id, type, subject, aggversion,
                body_sha256, key_id, handled_at)
            values ($1, $2, $3, $4, $5, $6, $7, $8, now())",
        )
        .bind(consumer.name())
        .bind(source)
        .bind(id)
        .bind(event_type)
        .bind(subject.as_str())
        .bind(i32::try_from(*aggversion).unwrap())
        .bind(&Sha256::digest(&letter.body)[..])
        .bind(&letter.key_id)
        .execute(self.pool(consumer).pg())
        .await
        .unwrap();
    }

    async fn record(&self, letter: &Letter) {
        let mut tx = self.tx(Service::Audit, Uuid::nil()).await;
        let envelope = &letter.envelope;
        let entry = Entry {
            event_id: envelope.id,
            source: &envelope.source,
            event_type: &envelope.event_type,
            subject: envelope.subject.as_str(),
            aggversion: i32::try_from(envelope.aggversion).unwrap(),
            correlation_id: envelope.correlationid,
            causation_id: envelope.causationid,
            traceparent: envelope.traceparent.as_deref(),
            occurred_at: envelope.time,
            received_at: tx.now(),
            body: &letter.body,
            signature: &letter.signature,
            key_id: &letter.key_id,
            published_at: None,
        };
        assert!(record_events(&mut audit::store(&mut tx), &[entry]).await.unwrap());
        tx.commit().await.unwrap();
    }
}
