insert into recipients (order_id, address, created_at, updated_at)
select id, 'customer@example.com', at, at
from past;
insert into emails (id, order_id, template, recipient, data, message_id, status, attempts,
    correlation_id, causation_id, traceparent, created_at, sent_at)
select pg_temp.id(ms, n, 7), id, 'order_confirmed', 'customer@example.com',
    '{"total": {"amount_minor": 321, "currency": "GBP"}}', pg_temp.id(ms, n, 7) || '@tidings.example',
    'sent', 1, id, pg_temp.id(ms, n, 4),
    '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', at, at
from past;
