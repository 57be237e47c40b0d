insert into payments (order_id, amount_minor, currency, payment_method, status, attempts, charge_id,
    version, correlation_id, causation_id, traceparent, created_at, updated_at)
select id, 321, 'GBP', 'pm_ok', 'captured', 1, 'ch_' || pg_temp.id(ms, n, 8), 1,
    id, pg_temp.id(ms, n, 2), '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
    at, at
from past;
