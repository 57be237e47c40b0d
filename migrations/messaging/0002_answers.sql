-- Answers already given to requests, so that a client that lost one can ask again: an inbox for
-- requests. A row commits together with the effects of the request that it answers.
create table messaging.answer (
    -- Where the key holds, for HTTP its method and path.
    scope       text not null,
    key         text not null,
    -- Tells a repeated request from another one under the same key.
    fingerprint bytea not null check (length(fingerprint) = 32),
    status      smallint not null check (status between 100 and 999),
    location    text,
    -- The exact bytes that were sent.
    body        bytea not null,
    answered_at timestamptz not null,
    primary key (scope, key)
);
-- A tree and no block ranges: rows live for a day, so their places are soon used again, and a range
-- that once held an old row never forgets it.
create index answer_age on messaging.answer (answered_at);
