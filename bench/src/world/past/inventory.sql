insert into products (sku, name, currency, unit_price_minor, on_hand, version, created_at, updated_at)
select 'OLD-' || n, 'Product ' || n, 'GBP', 100, 1000000, 1, now(), now()
from generate_series(0, 199) n;
insert into reservations (order_id, status, amount_minor, currency, payment_method, version,
    created_at, updated_at)
select id, 'shipped', 321, 'GBP', 'pm_ok', 2, at, at
from past;
insert into reservation_lines (order_id, sku, quantity)
select id, 'OLD-' || n % 200, 3 from past;
insert into stock_movements (sku, delta, kind, order_id, at)
select 'OLD-' || n % 200, -3, 'shipped', id, at from past;
