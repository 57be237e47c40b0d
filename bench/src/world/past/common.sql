-- Orders of {days} days until now, of which outbox and inbox remember the last tenth. Ids are in the
-- order of their time, as those that the services make.
create function pg_temp.id(ms bigint, n bigint, kind int) returns uuid language sql immutable as
    $$ select (lpad(to_hex(ms), 12, '0') || '7' || lpad(to_hex(kind), 3, '0') || '8000'
        || lpad(to_hex(n), 12, '0'))::uuid $$;
create temporary table past as
    select n, at, ms, pg_temp.id(ms, n, 0) as id
    from generate_series(1, {orders}) n,
        lateral (select now() - interval '{days} days' * (1 - n::float / {orders}) as at) t,
        lateral (select (extract(epoch from at) * 1000)::bigint as ms) u;
