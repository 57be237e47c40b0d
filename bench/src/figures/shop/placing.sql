-- What the order service asks its database for one POST /orders of two lines: key, prices, order,
-- answer, event.
\set i :i + 1
\set n :client_id * 1000000000 + :i
begin;
select pg_try_advisory_xact_lock(hashtextextended('POST /orders' || ' ' || (:n)::bigint::text, 0));
select fingerprint, status, location, body, answered_at from messaging.answer where scope = 'POST /orders' and key = (:n)::bigint::text;
select sku, name, currency, unit_price_minor from catalogue where sku = any(array['BENCH-000', 'BENCH-001']);
insert into orders (id, customer_id, customer_email, payment_method, currency, total_minor, status, version, placed_at, updated_at, trace_id, traceparent, deadline_at) values (lpad(to_hex((:n)::bigint), 32, '0')::uuid, lpad(to_hex((:i)::bigint), 32, '0')::uuid, 'customer@example.com', 'pm_ok', 'GBP', 321, 'pending', 1, now(), now(), '4bf92f3577b34da6a3ce929d0e0e4736', '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', now() + interval '15 minutes');
insert into order_lines (order_id, line, sku, quantity, unit_price_minor) select lpad(to_hex((:n)::bigint), 32, '0')::uuid, n, sku, quantity, price from unnest(array['BENCH-000', 'BENCH-001'], array[1, 2], array[100::bigint, 107]) with ordinality as t (sku, quantity, price, n);
insert into order_history (order_id, version, status, at) values (lpad(to_hex((:n)::bigint), 32, '0')::uuid, 1, 'pending', now());
insert into messaging.answer (scope, key, fingerprint, status, location, body, answered_at) values ('POST /orders', (:n)::bigint::text, decode(repeat('ab', 32), 'hex'), 202, '/orders/4bf92f35-77b3-4da6-a3ce-929d0e0e4736', :answer::bytea, now());
insert into messaging.outbox (event_id, type, subject, aggversion, partition, correlation_id, body, signature, key_id, traceparent, tracestate, created_at, not_before) select event_id, type, subject, aggversion, partition, correlation_id, body, signature, key_id, traceparent, tracestate, created_at, not_before from unnest(array[lpad(to_hex((:n)::bigint), 32, '0')::uuid], array['shop.order.placed.v1'], array['order/' || (:n)::bigint::text], array[1], array[(:i)::bigint % 16]::smallint[], array[lpad(to_hex((:n)::bigint), 32, '0')::uuid], array[:body::bytea], array[decode(repeat('ab', 64), 'hex')], array['order-1'], array['00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'], array[null::text], array[now()], array[null::timestamptz]) with ordinality as t (event_id, type, subject, aggversion, partition, correlation_id, body, signature, key_id, traceparent, tracestate, created_at, not_before, n) order by n;
commit;
