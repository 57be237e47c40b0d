-- Mails to customers: what is to be sent, where to, and what became of it.

-- Where mail about an order goes. A row without an address stands for an order whose address has not
-- been told yet; its lock keeps those who tell it and those who need it apart.
create table recipients (
    order_id   uuid primary key,
    address    text,
    created_at timestamptz not null,
    updated_at timestamptz not null
);

create table emails (
    id              uuid primary key,
    order_id        uuid not null references recipients,
    template        text not null
        check (template in ('order_confirmed', 'order_cancelled', 'payment_refunded')),
    -- Null until it is known.
    recipient       text,
    -- What the template is filled with.
    data            jsonb not null,
    -- The Message-ID header without its brackets, the same on every attempt.
    message_id      text not null unique,
    status          text not null check (status in ('pending', 'sent', 'failed')),
    -- Raised by every lease, so it also tells a late answer from that of the present holder.
    attempts        integer not null default 0 check (attempts >= 0),
    -- Attempts in a row that came to nothing; they set the pause before the next.
    failures        integer not null default 0 check (failures >= 0),
    -- Of the last attempt that failed; it holds no address.
    last_error      text,
    -- Why the mail is sent: the task that sends it goes on with this chain and this trace.
    correlation_id  uuid not null,
    causation_id    uuid,
    traceparent     text,
    tracestate      text,
    -- Who sends at present, and until when at the latest.
    lease_owner     integer,
    lease_until     timestamptz,
    -- Null: nothing to do, or nowhere to send it to yet.
    next_attempt_at timestamptz,
    -- From then on a failure is final.
    give_up_at      timestamptz,
    created_at      timestamptz not null,
    sent_at         timestamptz,
    -- One mail of a kind per order, however often its event comes.
    unique (order_id, template),
    check ((status = 'sent') = (sent_at is not null)),
    check (next_attempt_at is null or (status = 'pending' and recipient is not null)),
    check ((lease_owner is null) = (lease_until is null))
);

-- What the task reads. Settled mails are not in it, so a million of them cost it nothing.
create index emails_due on emails (next_attempt_at) where next_attempt_at is not null;

alter table emails set (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
