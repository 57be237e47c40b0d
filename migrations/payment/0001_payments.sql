-- Payments: what the gateway was asked for, what it said, and what is still to be asked.

create table payments (
    order_id        uuid primary key,
    amount_minor    bigint not null check (amount_minor >= 0),
    currency        text not null check (currency ~ '^[A-Z]{3}$'),
    -- Null where the cancellation came before the wish to charge: nobody said how to pay.
    payment_method  text,
    status          text not null
        check (status in ('pending', 'captured', 'declined', 'refunded', 'void')),
    -- Raised by every lease, so it also tells a late answer from that of the present holder.
    attempts        integer not null default 0 check (attempts >= 0),
    -- Attempts in a row that came to nothing; they set the pause before the next.
    failures        integer not null default 0 check (failures >= 0),
    -- A call may have reached the gateway whose outcome is not stored here.
    in_doubt        boolean not null default false,
    decline_reason  text,
    charge_id       text unique,
    refund_id       text unique,
    -- Counts the events that were published.
    version         integer not null default 0 check (version >= 0),
    -- Why the gateway is asked: the task that asks goes on with this chain and this trace.
    correlation_id  uuid not null,
    causation_id    uuid,
    traceparent     text,
    tracestate      text,
    -- Who asks at present, and until when at the latest.
    lease_owner     integer,
    lease_until     timestamptz,
    -- Null: the gateway has nothing more to do for this order.
    next_attempt_at timestamptz,
    created_at      timestamptz not null,
    updated_at      timestamptz not null,
    cancelled_at    timestamptz,
    check (status = 'void' or payment_method is not null),
    check ((status in ('captured', 'refunded')) = (charge_id is not null)),
    check ((status = 'refunded') = (refund_id is not null)),
    check ((status = 'declined') = (decline_reason is not null)),
    check ((lease_owner is null) = (lease_until is null))
);

-- What the task reads. Settled payments are not in it, so a million of them cost it nothing.
create index payments_due on payments (next_attempt_at) where next_attempt_at is not null;

alter table payments set (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
