-- What became of an order's stock and money beside its status: a read model of what others told. It
-- decides nothing and raises no version.
create table order_progress (
    order_id uuid not null references orders,
    step     text not null
        check (step in ('stock_reserved', 'stock_shipped', 'stock_released', 'payment_refunded')),
    at       timestamptz not null,
    primary key (order_id, step)
);
