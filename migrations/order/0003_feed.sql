-- The changes of all orders in one sequence, for those who follow them. A number given inside the
-- transaction that makes the change would be visible after higher ones, and readers would miss it. So
-- changes are written without, and a task numbers them once they are committed.

alter table order_history add column feed bigint;
update order_history h set feed = n.feed
from (select order_id, version, row_number() over (order by at, order_id, version) as feed
      -- Clocks of replicas differ, and an order's changes must not change places.
      from (select order_id, version, max(at) over (partition by order_id order by version) as at
            from order_history) timed) n
where h.order_id = n.order_id and h.version = n.version;

create unique index order_history_feed on order_history (feed) where feed is not null;
-- What the task looks for. Small: nothing stays in it for long.
create index order_history_unnumbered on order_history (version, at) where feed is null;
