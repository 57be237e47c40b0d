-- The relay reads the oldest pending rows of its partitions, oldest first. In this order a backlog of
-- any length costs it no more than the rows it takes; with the partition first, every claim sorted the
-- whole backlog. `seq + 0` and not `seq`: the planner would take the primary key for the same thing,
-- and that one leads past a million published rows.
create index outbox_pending_in_order on messaging.outbox ((seq + 0), partition)
    where published_at is null;
drop index messaging.outbox_pending;
