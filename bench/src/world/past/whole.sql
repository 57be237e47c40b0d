set local maintenance_work_mem = '256MB';
do $$
declare one record;
begin
    for one in select * from constraints order by first desc loop
        execute format('alter table %s add constraint %I %s', one.of, one.name, one.definition);
    end loop;
    for one in select * from indexes loop
        execute one.definition;
    end loop;
end $$;
