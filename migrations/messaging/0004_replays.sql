-- Repairing dead letters by hand: what was asked for, what became of each letter, who decided what.

alter table messaging.dead_letter
    -- Content type, message id and their like, as they came: a letter goes back as it was.
    add column properties    jsonb not null default '{}',
    -- As the body claims; a letter goes back in its place among those of its aggregate.
    add column subject       text,
    add column aggversion    integer,
    add column occurred_at   timestamptz,
    -- How often it was parked: tells a letter that has failed again from one that has not.
    add column parkings      integer not null default 1,
    -- Those that the broker gave up on are replayed once by themselves: most of them only shared a
    -- process with the one that ended it.
    add column second_chance boolean not null default false,
    -- When it was replayed or discarded.
    add column decided_at    timestamptz,
    add constraint dead_letter_state
        check (state in ('parked', 'replaying', 'replayed', 'discarded'));

-- Those that have not had their second chance; nearly always empty.
create index dead_letter_innocent on messaging.dead_letter (parked_at)
    where state = 'parked' and reason_code = 'delivery_limit' and not second_chance;
create index dead_letter_decided on messaging.dead_letter (coalesce(decided_at, parked_at))
    where state in ('replayed', 'discarded');

-- A replay that somebody asked for. It is the service that works on it, so it outlives whoever asked.
create table messaging.replay_job (
    id           uuid primary key,
    asked_by     text not null,
    asked_at     timestamptz not null,
    -- What was asked for, for people.
    selection    jsonb not null,
    note         text not null,
    -- Letters per second.
    rate         integer not null check (rate between 1 and 10000),
    -- The next letter goes only when it is known what became of the one before.
    one_by_one   boolean not null default false,
    state        text not null check (state in ('running', 'done', 'cancelled')),
    -- What holds it up.
    trouble      text,
    ended_at     timestamptz,
    -- The process that works on it.
    owner        integer,
    leased_until timestamptz not null default '-infinity'
);
create index replay_job_running on messaging.replay_job (asked_at) where state = 'running';
create index replay_job_ended on messaging.replay_job (ended_at) where state <> 'running';

-- Its letters, in the order in which they go.
create table messaging.replay_letter (
    job_id         uuid not null references messaging.replay_job (id) on delete cascade,
    place          integer not null,
    dead_letter_id uuid not null references messaging.dead_letter (id) on delete cascade,
    outcome        text not null
        check (outcome in ('pending', 'replayed', 'refused', 'cancelled')),
    -- Why it was refused, or what it waits for.
    reason         text,
    -- How often it was sent by a process that did not live to say what became of it.
    tries          integer not null default 0,
    at             timestamptz,
    primary key (job_id, place),
    unique (dead_letter_id, job_id)
);
-- Never twice at once, whoever asks.
create unique index replay_letter_once on messaging.replay_letter (dead_letter_id)
    where outcome = 'pending';

-- Who decided what over which letter, for ever: it still says what a letter was when letter and job
-- are pruned.
create table messaging.dead_letter_log (
    seq            bigint generated always as identity primary key,
    at             timestamptz not null,
    who            text not null,
    what           text not null
        check (what in ('replay', 'replayed', 'refused', 'cancelled', 'discarded')),
    dead_letter_id uuid not null,
    job_id         uuid,
    queue          text not null,
    event_id       uuid,
    type           text,
    note           text not null
);
create index dead_letter_log_of on messaging.dead_letter_log (dead_letter_id, seq);

create function messaging.refuse_change() returns trigger
    language plpgsql
    as $$
        begin
            raise exception 'table % is append only: % is refused', tg_table_name, lower(tg_op)
                using errcode = 'insufficient_privilege';
        end
    $$;
-- Per statement: also one that would touch no row is refused, and nobody takes it for allowed.
create trigger dead_letter_log_is_append_only
    before update or delete or truncate on messaging.dead_letter_log
    for each statement execute function messaging.refuse_change();
