insert into entries (seq, event_id, source, type, subject, aggversion, correlation_id, causation_id,
    traceparent, occurred_at, received_at, body, signature, key_id, prev_hash, hash, published_at)
select 6 * n + kind - 6, pg_temp.id(ms, n, kind), 'urn:shop:bench:' || service, 'shop.' || type,
    'order/' || id, version, id, pg_temp.id(ms, n, kind - 1),
    '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', at, at,
    body, decode(repeat('ab', 64), 'hex'), service || '-1',
    decode(repeat('cd', 32), 'hex'), decode(repeat('cd', 32), 'hex'), at
from past, {events}
    as e (kind, service, type, version, body);
update chain_head set seq = 6 * {orders}, hash = decode(repeat('cd', 32), 'hex');
