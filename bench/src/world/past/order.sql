insert into orders (id, customer_id, customer_email, payment_method, currency, total_minor, status,
    version, placed_at, updated_at, trace_id, traceparent, deadline_at)
select id, pg_temp.id(0, n % 50000, 9), 'customer@example.com', 'pm_ok', 'GBP', 321,
    'confirmed', 2, at, at + interval '10 ms',
    '4bf92f3577b34da6a3ce929d0e0e4736', '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
    at + interval '15 min'
from past;
insert into order_lines (order_id, line, sku, quantity, unit_price_minor)
select id, 1, 'OLD-' || n % 200, 3, 107 from past;
insert into order_history (order_id, version, status, at, feed)
select id, version, case version when 1 then 'pending' else 'confirmed' end,
    at, 2 * n + version - 2
from past, generate_series(1, 2) version;
insert into order_progress (order_id, step, at)
select id, step, at
from past, unnest(array['stock_reserved', 'stock_shipped']) step;
