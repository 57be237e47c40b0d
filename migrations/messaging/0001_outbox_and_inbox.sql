-- The messaging kit's own tables. They live beside a service's tables, in the same database,
-- because an event commits or rolls back together with the state it tells of.

-- Events to publish, and those published until they are pruned.
create table messaging.outbox (
    -- Allocation order. Within one aggregate it is version order, because the writer of version n+1
    -- has seen version n commit. Across aggregates it is not commit order: never read it as a cursor.
    seq            bigint generated always as identity primary key,
    event_id       uuid not null unique,
    type           text not null,
    subject        text not null,
    aggversion     integer not null check (aggversion > 0),
    partition      smallint not null check (partition between 0 and 15),
    correlation_id uuid not null,
    -- The exact bytes that were signed; they are sent as they are on every attempt.
    body           bytea not null,
    signature      bytea not null check (length(signature) = 64),
    key_id         text not null,
    traceparent    text,
    tracestate     text,
    created_at     timestamptz not null,
    -- Null: as soon as possible. Set by `publish_at`, and by the relay after a refusal.
    not_before     timestamptz,
    attempts       integer not null default 0,
    last_error     text,
    published_at   timestamptz
);

-- Two events with one version would be two histories of one aggregate.
create unique index outbox_version on messaging.outbox (subject, aggversion);
-- What the relay reads. Published rows are not in it, so a million of them cost it nothing.
create index outbox_pending on messaging.outbox (partition, seq) where published_at is null;
-- Aggregates whose next event has to wait; nearly always empty.
create index outbox_waiting on messaging.outbox (subject, seq)
    where published_at is null and not_before is not null;

alter table messaging.outbox set (
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_insert_scale_factor = 0.2,
    fillfactor = 85
);

-- Who may publish a partition. The epoch rises with every change of owner.
create table messaging.partition_lease (
    partition  smallint primary key check (partition between 0 and 15),
    owner      integer,
    epoch      bigint not null default 0,
    expires_at timestamptz not null default '-infinity'
);
insert into messaging.partition_lease (partition) select generate_series(0, 15);

-- What was handled. A row commits together with the effects of the message it stands for.
create table messaging.inbox (
    consumer    text not null,
    source      text not null,
    event_id    uuid not null,
    type        text not null,
    subject     text not null,
    aggversion  integer not null,
    -- Tells a repeated delivery from another message under the same id.
    body_sha256 bytea not null,
    -- Which key vouched for it.
    key_id      text not null,
    handled_at  timestamptz not null,
    primary key (consumer, source, event_id)
);
-- Not brin: where pruned pages are used again, ranges overlap and select nothing.
create index inbox_age on messaging.inbox (handled_at);

-- The last version applied per aggregate, for handlers that asked for version order.
create table messaging.progress (
    consumer   text not null,
    source     text not null,
    subject    text not null,
    aggversion integer not null,
    primary key (consumer, source, subject)
);

-- Messages that were parked, with the reason, until somebody decides.
create table messaging.dead_letter (
    id              uuid primary key,
    queue           text not null,
    source          text,
    event_id        uuid,
    type            text,
    body_sha256     bytea not null,
    body            bytea not null,
    headers         jsonb not null,
    reason_code     text not null,
    reason          text not null,
    attempts        integer not null,
    first_failed_at timestamptz,
    parked_at       timestamptz not null,
    state           text not null default 'parked',
    -- An unsigned id is nobody's, so the bytes decide what is the same dead letter.
    unique nulls not distinct (queue, source, event_id, body_sha256)
);
create index dead_letter_groups on messaging.dead_letter (state, queue, reason_code);

-- The processes that are connected now. Each holds a session lock under its own number, which the
-- server drops the moment the process dies, so work leased to it is free at once and not only when
-- the lease runs out.
create function messaging.live_instances() returns setof integer
    language sql stable
    as $$
        select objid::bigint::integer
        from pg_locks
        where locktype = 'advisory' and classid = 1953064041 and objsubid = 2 and granted
          and database = (select oid from pg_database where datname = current_database())
    $$;
