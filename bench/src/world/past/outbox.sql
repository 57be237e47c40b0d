insert into messaging.outbox (event_id, type, subject, aggversion, partition, correlation_id, body,
    signature, key_id, traceparent, created_at, published_at)
select pg_temp.id(ms, n, kind), 'shop.' || type, service || '/' || id,
    version, n % 16, id,
    body, decode(repeat('ab', 64), 'hex'), service || '-1',
    '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', at, at
from past, {published} as e (kind, service, type, version, body)
where n > {orders} * 0.9;
