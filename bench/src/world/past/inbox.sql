insert into messaging.inbox (consumer, source, event_id, type, subject, aggversion, body_sha256,
    key_id, handled_at)
select '{service}', 'urn:shop:bench:' || service, pg_temp.id(ms, n, kind), 'shop.' || type,
    'order/' || id, 1, decode(repeat('ef', 32), 'hex'), service || '-1', at
from past, {consumed} as e (kind, service, type, version, body)
where n > {orders} * 0.9;
