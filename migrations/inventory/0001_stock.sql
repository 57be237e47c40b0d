-- Products, what of them is set aside for orders, and every movement of goods.

create table products (
    -- Compared byte by byte: locks are taken in the order of this column, everywhere the same.
    sku              text collate "C" primary key check (sku ~ '^[A-Za-z0-9._-]{1,64}$'),
    name             text not null,
    currency         text not null check (currency ~ '^[A-Z]{3}$'),
    unit_price_minor bigint not null check (unit_price_minor >= 0),
    -- Pieces in the warehouse, reserved ones included.
    on_hand          bigint not null,
    reserved         bigint not null default 0,
    -- Counts the product's events. Reservations are aggregates of their own and do not raise it.
    version          integer not null check (version > 0),
    created_at       timestamptz not null,
    updated_at       timestamptz not null,
    -- Nothing is sold twice, whatever the code does.
    check (0 <= reserved and reserved <= on_hand)
);
-- Stock moves with every order, so rows are updated where they stand.
alter table products set (fillfactor = 50);

-- One row per order that was heard of.
create table reservations (
    order_id       uuid primary key,
    -- 'cancelled': the cancellation came before the order, which then reserves nothing.
    status         text not null check (
        status in ('reserved', 'rejected', 'released', 'shipped', 'cancelled')),
    -- What the order asked to be charged, for payment; not known of an order that never came.
    amount_minor   bigint check (amount_minor >= 0),
    currency       text check (currency ~ '^[A-Z]{3}$'),
    payment_method text,
    -- Counts the reservation's events.
    version        integer not null check (version >= 0),
    created_at     timestamptz not null,
    updated_at     timestamptz not null,
    check ((status = 'cancelled') = (version = 0)),
    check ((status = 'cancelled') = (amount_minor is null)),
    check ((status = 'cancelled') = (currency is null)),
    check ((status = 'cancelled') = (payment_method is null))
);

-- What the order asked for. An order may ask for what is not sold, so there is no reference.
create table reservation_lines (
    order_id uuid not null references reservations,
    sku      text collate "C" not null,
    quantity bigint not null check (quantity > 0),
    primary key (order_id, sku)
);

-- Every change of a product's on_hand; their sum is on_hand.
create table stock_movements (
    id       bigint generated always as identity primary key,
    sku      text collate "C" not null references products,
    delta    bigint not null,
    kind     text not null check (kind in ('initial', 'restocked', 'adjusted', 'shipped')),
    order_id uuid references reservations,
    at       timestamptz not null,
    check (delta <> 0 or kind = 'initial'),
    check ((kind = 'shipped') = (order_id is not null))
);
create index stock_movements_of_product on stock_movements (sku, id);
-- Goods of one order leave once.
create unique index stock_movements_shipped on stock_movements (order_id, sku)
    where kind = 'shipped';
