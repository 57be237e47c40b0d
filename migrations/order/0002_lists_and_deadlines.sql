-- Lists newest first, and orders that end by themselves. The defaults are for replicas of the release
-- before, which write neither column.

-- When it is cancelled, should nobody have finished it.
alter table orders add column deadline_at timestamptz not null default now() + interval '15 minutes';
update orders set deadline_at = placed_at + interval '15 minutes' where status = 'pending';
create index orders_by_deadline on orders (deadline_at, id) where status = 'pending';

create index orders_by_age on orders (placed_at, id);
create index orders_of_customer_by_age on orders (customer_id, placed_at, id);
create index orders_of_status_by_age on orders (status, placed_at, id);
-- Nothing asks by these any more.
drop index orders_of_customer;
drop index orders_pending;

-- When it was first heard of.
alter table catalogue add column listed_at timestamptz not null default now();
update catalogue set listed_at = updated_at;
create index catalogue_by_age on catalogue (listed_at, sku);
