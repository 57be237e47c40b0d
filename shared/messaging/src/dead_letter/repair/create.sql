-- Makes a job of the letters that are selected: locks them in one order for all, judges each, and
-- writes what was asked for and what came of it. One statement, as nothing of it may happen alone.
--
-- $1 ids, $2 reason, $3 type, $4 the same for `like`: each narrows the selection where it is there.
-- $5 only those that have had no second chance. $6, $7 why one is refused: another job has it, it
-- was decided over. $8 job, $9 by whom, $10 when, $11 what was asked for, $12 why, $13 rate.
with chosen as materialized (
    select id, state, source, subject, aggversion, parked_at, queue, event_id, type,
        exists(select from messaging.replay_letter letter
            where letter.dead_letter_id = dead.id and outcome = 'pending') as busy
    from messaging.dead_letter dead
    where ($1::uuid[] is null or id = any($1)) and ($2::text is null or reason_code = $2)
      and ($3::text is null or type = $3 or type like '%.' || $4)
      and ($1::uuid[] is not null or state = 'parked')
      and (not $5 or reason_code = 'delivery_limit' and not second_chance)
    order by id for update),
judged as materialized (
    select *, row_number() over (
            order by source, subject, aggversion, parked_at, id)::int as place,
        case when busy or state = 'replaying' then $6
            when state <> 'parked' then $7 end as refusal
    from chosen),
job as (
    insert into messaging.replay_job
        (id, asked_by, asked_at, selection, note, rate, one_by_one, state, ended_at)
    select $8, $9, $10, $11, $12, $13, $5, state,
        case state when 'done' then $10::timestamptz end
    from (select case when bool_or(refusal is null) then 'running' else 'done' end as state
        from judged having count(*) > 0) as whole),
letters as (
    insert into messaging.replay_letter
        (job_id, place, dead_letter_id, outcome, reason, at)
    select $8, place, id, case when refusal is null then 'pending' else 'refused' end,
        refusal, case when refusal is not null then $10::timestamptz end
    from judged),
taken as (
    update messaging.dead_letter dead
    set state = 'replaying', second_chance = second_chance or $5
    from judged where dead.id = judged.id and refusal is null),
log as (
    insert into messaging.dead_letter_log
        (at, who, what, dead_letter_id, job_id, queue, event_id, type, note)
    select $10, $9, case when refusal is null then 'replay' else 'refused' end, id, $8, queue,
        event_id, type, coalesce(refusal, $12)
    from judged)
select id, refusal as reason from judged order by place
