-- Rows come faster without indexes, which are then made at once.
create temporary table constraints as
    select conrelid::regclass::text as of, conname as name, pg_get_constraintdef(oid) as definition,
        contype in ('p', 'u') as first
    from pg_constraint
    where contype in ('p', 'u', 'f')
        and connamespace in ('public'::regnamespace, 'messaging'::regnamespace);
create temporary table indexes as
    select indexrelid::regclass::text as name, pg_get_indexdef(indexrelid) as definition
    from pg_index i join pg_class c on c.oid = i.indexrelid
    where c.relnamespace in ('public'::regnamespace, 'messaging'::regnamespace)
        and not exists (select from pg_constraint where conindid = indexrelid);
do $$
declare one record;
begin
    for one in select * from constraints order by first loop
        execute format('alter table %s drop constraint %I', one.of, one.name);
    end loop;
    for one in select * from indexes loop
        execute format('drop index %s', one.name);
    end loop;
end $$;
