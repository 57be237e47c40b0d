-- Orders and what they were priced from.

create table orders (
    id             uuid primary key,
    customer_id    uuid not null,
    customer_email text not null,
    payment_method text not null,
    currency       text not null check (currency ~ '^[A-Z]{3}$'),
    total_minor    bigint not null check (total_minor >= 0),
    status         text not null check (status in ('pending', 'confirmed', 'cancelled')),
    cancel_reason  text check (
        cancel_reason in ('out_of_stock', 'payment_declined', 'customer_request', 'timed_out')),
    -- Counts the order's events, which are also its status changes.
    version        integer not null check (version > 0),
    placed_at      timestamptz not null,
    updated_at     timestamptz not null,
    -- The trace that the order began in, and the span that its deadline will go on from.
    trace_id       text,
    traceparent    text,
    check ((status = 'cancelled') = (cancel_reason is not null))
);
create index orders_of_customer on orders (customer_id, id);
create index orders_pending on orders (placed_at) where status = 'pending';

create table order_lines (
    order_id         uuid not null references orders,
    line             integer not null,
    sku              text not null,
    quantity         integer not null check (quantity between 1 and 1000),
    unit_price_minor bigint not null check (unit_price_minor >= 0),
    primary key (order_id, line),
    unique (order_id, sku)
);

-- One row per status, so that what happened when needs no log.
create table order_history (
    order_id uuid not null references orders,
    version  integer not null,
    status   text not null,
    at       timestamptz not null,
    primary key (order_id, version)
);

-- What inventory sells, as its events told us: the server, not the client, sets prices.
create table catalogue (
    sku              text primary key,
    name             text not null,
    currency         text not null,
    unit_price_minor bigint not null,
    updated_at       timestamptz not null
);
