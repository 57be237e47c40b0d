-- Every event ever received, append only, each chained to the one before by its hash.

create table entries (
    -- 1, 2, 3, ... without a gap, in the order of arrival.
    seq            bigint primary key check (seq > 0),
    event_id       uuid not null,
    source         text not null,
    type           text not null,
    subject        text not null,
    aggversion     integer not null check (aggversion > 0),
    correlation_id uuid not null,
    causation_id   uuid,
    traceparent    text,
    -- The event's own time, as its source says.
    occurred_at    timestamptz not null,
    received_at    timestamptz not null,
    -- The exact bytes that were signed, with the signature and the key that vouched for them.
    body           bytea not null,
    signature      bytea not null check (length(signature) = 64),
    key_id         text not null,
    -- SHA-256; `prev_hash` is the hash of the entry before, 32 zero bytes for the first.
    prev_hash      bytea not null check (length(prev_hash) = 32),
    hash           bytea not null check (length(hash) = 32),
    unique (source, event_id)
);
-- Everything that one order set in motion.
create index entries_of_chain on entries (correlation_id, seq);
-- The newest, and the newest of one type. Replicas' clocks differ, so time is not the order of `seq`.
create index entries_by_time on entries (received_at, seq);
create index entries_of_type on entries (type, received_at, seq);

-- The end of the chain. Whoever appends locks it, so that replicas append one after the other.
create table chain_head (
    singleton boolean primary key default true check (singleton),
    seq       bigint not null check (seq >= 0),
    hash      bytea not null check (length(hash) = 32)
);
insert into chain_head (seq, hash) values (0, decode(repeat('00', 32), 'hex'));
-- One row, updated with every entry: room to do it in place.
alter table chain_head set (fillfactor = 10, autovacuum_vacuum_threshold = 1000);

create function refuse_change() returns trigger
    language plpgsql
    as $$
        begin
            raise exception 'table % is append only: % is refused', tg_table_name, lower(tg_op)
                using errcode = 'insufficient_privilege';
        end
    $$;
-- Per statement: also one that would touch no row is refused, and nobody takes it for allowed.
create trigger entries_are_append_only
    before update or delete or truncate on entries
    for each statement execute function refuse_change();
create trigger chain_head_stays
    before delete or truncate on chain_head
    for each statement execute function refuse_change();
