-- Statements about schedules: first those of whoever fires them, then those of whoever keeps them. Each belongs to a transaction of the caller.

-- name: lock_due(passed_tenants, passed_names, batch)
-- The schedules that are due for longest and that nobody else holds. What is due is looked for with now(), so that the index is searched.
-- What its submission needs and somebody holds is not waited for: the schedule is passed over, the others come first.
SELECT s.tenant, s.name, s.job::text, s.pipeline::text, s.cron, s.every, s.time_zone, s.catch_up, s.catch_up_within, s.overlap,
       s.next_fire_date, s.last_job_id, s.last_pipeline_id, s.waiting, set_config('lock_timeout', '500ms', true)
FROM jobservice.schedule s
WHERE NOT s.paused AND s.next_fire_date <= now() AND (s.tenant, s.name) NOT IN (SELECT * FROM unnest(:passed_tenants::text[], :passed_names::text[]))
ORDER BY s.next_fire_date LIMIT :batch::integer FOR NO KEY UPDATE SKIP LOCKED;

-- name: lock_freed(passed_tenants, passed_names, batch)
-- Schedules that are not due, but whose waiting ticks wait for nothing any more. What somebody else fires meanwhile is seen by `moment`.
SELECT s.tenant, s.name, s.job::text, s.pipeline::text, s.cron, s.every, s.time_zone, s.catch_up, s.catch_up_within, s.overlap,
       s.next_fire_date, s.last_job_id, s.last_pipeline_id, s.waiting, set_config('lock_timeout', '500ms', true)
FROM jobservice.schedule s
WHERE s.waiting > 0 AND NOT s.paused AND (s.next_fire_date IS NULL OR s.next_fire_date > now())
  AND (s.tenant, s.name) NOT IN (SELECT * FROM unnest(:passed_tenants::text[], :passed_names::text[]))
  AND NOT (s.overlap = 'queue' AND s.pipeline IS NOT NULL
           AND (coalesce((SELECT p.stop_date IS NULL FROM jobservice.pipeline p WHERE p.id = s.last_pipeline_id), false)
                OR coalesce((SELECT j.status IN ('PENDING', 'QUEUED', 'TO_BE_RUN', 'RUNNING') FROM jobservice.job_info j WHERE j.id = s.last_job_id), false)))
ORDER BY s.last_fire_date NULLS FIRST LIMIT :batch::integer FOR NO KEY UPDATE OF s SKIP LOCKED;

-- name: waiting(tenants, names, most)
-- The oldest waiting ticks of each of these, and how many there are.
SELECT t.n, w.key, w.fire_date, w.count
FROM unnest(:tenants::text[], :names::text[]) WITH ORDINALITY t(tenant, name, n),
  LATERAL (SELECT x.key, x.fire_date, count(*) OVER () AS count FROM jobservice.waiting_tick x WHERE x.tenant = t.tenant AND x.schedule = t.name
           ORDER BY x.fire_date, x.key LIMIT :most::integer) w
ORDER BY t.n, w.fire_date, w.key;

-- name: begin_to_wait(tenants, schedules, keys, dates)!
INSERT INTO jobservice.waiting_tick (tenant, schedule, key, fire_date, since)
SELECT t.*, clock_timestamp() FROM unnest(:tenants::text[], :schedules::text[], :keys::text[], :dates::timestamptz[]) t ON CONFLICT DO NOTHING;

-- name: end_to_wait(tenants, schedules, keys)!
DELETE FROM jobservice.waiting_tick w USING unnest(:tenants::text[], :schedules::text[], :keys::text[]) t (tenant, schedule, key)
WHERE w.tenant = t.tenant AND w.schedule = t.schedule AND w.key = t.key;

-- name: count_waiting(tenants, names)!
UPDATE jobservice.schedule s
SET waiting = (SELECT count(*) FROM jobservice.waiting_tick w WHERE w.tenant = s.tenant AND w.schedule = s.name)
FROM unnest(:tenants::text[], :names::text[]) t (tenant, name) WHERE s.tenant = t.tenant AND s.name = t.name;

-- name: waits(tenant, schedule, key)$
SELECT true FROM jobservice.waiting_tick w WHERE w.tenant = :tenant AND w.schedule = :schedule AND w.key = :key;

-- name: waiting_ticks(tenant, schedule)
SELECT w.fire_date, w.since FROM jobservice.waiting_tick w WHERE w.tenant = :tenant AND w.schedule = :schedule ORDER BY w.fire_date, w.key;

-- name: moment(job_ids, pipeline_ids)^
-- The time, and whether what the last tick of each submitted still lives. A statement of its own: that of the lock may not see what was submitted last.
SELECT clock_timestamp() AS now, coalesce(array_agg(
         coalesce((SELECT j.status IN ('PENDING', 'QUEUED', 'TO_BE_RUN', 'RUNNING') FROM jobservice.job_info j WHERE j.id = t.job_id), false)
         OR coalesce((SELECT p.stop_date IS NULL FROM jobservice.pipeline p WHERE p.id = t.pipeline_id), false) ORDER BY t.n), '{}') AS busy
FROM unnest(:job_ids::uuid[], :pipeline_ids::uuid[]) WITH ORDINALITY t(job_id, pipeline_id, n);

-- name: submit_jobs(jobs)
SELECT s.job_id AS id FROM jobservice.submit(:jobs::text::jsonb) s;

-- name: submit_pipeline(pipeline)^
SELECT s.pipeline_id AS id FROM jobservice.submit_pipeline(:pipeline::text::jsonb) s;

-- name: job_of_key(tenant, key)$
SELECT k.job_id FROM jobservice.idempotency_key k WHERE k.tenant = :tenant AND k.key = :key;

-- name: pipeline_of_key(tenant, key)$
SELECT p.id FROM jobservice.pipeline p WHERE p.tenant = :tenant AND p.idempotency_key = :key;

-- name: advance(tenants, names, next_dates, fire_dates, job_ids, pipeline_ids, fired, missed, missed_dates, reasons, errors)!
UPDATE jobservice.schedule s
SET next_fire_date     = t.next_date,
    last_fire_date     = coalesce(t.fire_date, s.last_fire_date),
    last_job_id        = coalesce(t.job_id, s.last_job_id),
    last_pipeline_id   = coalesce(t.pipeline_id, s.last_pipeline_id),
    fired              = s.fired + t.fired,
    missed             = s.missed + t.missed,
    last_missed_date   = coalesce(t.missed_date, s.last_missed_date),
    last_missed_reason = coalesce(t.reason, s.last_missed_reason),
    error              = CASE WHEN t.fired > 0 THEN NULL ELSE coalesce(t.error, s.error) END
FROM unnest(:tenants::text[], :names::text[], :next_dates::timestamptz[], :fire_dates::timestamptz[], :job_ids::uuid[], :pipeline_ids::uuid[], :fired::integer[],
            :missed::integer[], :missed_dates::timestamptz[], :reasons::text[], :errors::text[])
  AS t (tenant, name, next_date, fire_date, job_id, pipeline_id, fired, missed, missed_date, reason, error)
WHERE s.tenant = t.tenant AND s.name = t.name;

-- name: break_off(tenant, name, error)!
UPDATE jobservice.schedule s SET paused = true, pause_reason = 'broken', error = :error, updated_date = clock_timestamp() WHERE s.tenant = :tenant AND s.name = :name;

-- name: lock(tenant, name)^
SELECT s.tenant, s.name, s.job::text, s.pipeline::text, s.cron, s.every, s.time_zone, s.catch_up, s.catch_up_within, s.overlap,
       s.source, s.config_queues, s.paused, s.pause_reason, s.next_fire_date, s.last_job_id, s.last_pipeline_id, s.waiting, clock_timestamp() AS now
FROM jobservice.schedule s WHERE s.tenant = :tenant AND s.name = :name FOR NO KEY UPDATE;

-- name: now()$
SELECT clock_timestamp();

-- name: insert(tenant, name, job, pipeline, cron, every, time_zone, catch_up, catch_up_within, overlap, source, config_queues, paused, next_date)$
INSERT INTO jobservice.schedule (tenant, name, job, pipeline, cron, every, time_zone, catch_up, catch_up_within, overlap, source, config_queues, paused, pause_reason, next_fire_date)
VALUES (:tenant, :name, :job::text::jsonb, :pipeline::text::jsonb, :cron, :every::integer, :time_zone, :catch_up, :catch_up_within::integer, :overlap, :source,
        :config_queues::text, :paused::boolean, CASE WHEN :paused::boolean THEN 'user' END, :next_date::timestamptz)
ON CONFLICT DO NOTHING RETURNING true;

-- name: change(tenant, name, job, pipeline, cron, every, time_zone, catch_up, catch_up_within, overlap, config_queues, next_date)!
UPDATE jobservice.schedule s
SET job = :job::text::jsonb, pipeline = :pipeline::text::jsonb, cron = :cron, every = :every::integer, time_zone = :time_zone, catch_up = :catch_up,
    catch_up_within = :catch_up_within::integer, overlap = :overlap, config_queues = :config_queues::text, next_fire_date = :next_date::timestamptz,
    error = NULL, updated_date = clock_timestamp()
WHERE s.tenant = :tenant AND s.name = :name;

-- name: set_paused(tenant, name, reason, next_date)!
-- With a reason: paused. Without: due from this date on; what it would have fired meanwhile is not missed.
UPDATE jobservice.schedule s
SET paused = :reason::text IS NOT NULL, pause_reason = :reason::text, next_fire_date = coalesce(:next_date::timestamptz, s.next_fire_date),
    error = CASE WHEN :reason::text IS NOT NULL THEN s.error END, updated_date = clock_timestamp()
WHERE s.tenant = :tenant AND s.name = :name;

-- name: pause_removed(config_queues, tenants, names)
-- Schedules of the configuration of daemons of these queues that it does not name any more.
UPDATE jobservice.schedule s SET paused = true, pause_reason = 'removed', updated_date = clock_timestamp()
WHERE s.source = 'config' AND s.config_queues = :config_queues AND s.pause_reason IS DISTINCT FROM 'removed'
  AND (s.tenant, s.name) NOT IN (SELECT * FROM unnest(:tenants::text[], :names::text[]))
RETURNING s.tenant, s.name;

-- name: ran_now(tenant, name, fire_date, job_id, pipeline_id)!
UPDATE jobservice.schedule s
SET last_fire_date = :fire_date::timestamptz, last_job_id = coalesce(:job_id::uuid, s.last_job_id), last_pipeline_id = coalesce(:pipeline_id::uuid, s.last_pipeline_id),
    fired = s.fired + 1, error = NULL
WHERE s.tenant = :tenant AND s.name = :name;

-- name: remove(tenant, name)$
-- Its waiting ticks go with it.
DELETE FROM jobservice.schedule s WHERE s.tenant = :tenant AND s.name = :name RETURNING s.waiting;

-- name: announce(date)$
SELECT jobservice.announce_fire_date(:date::timestamptz)::text;

-- name: find(tenant, name)
-- Schedules with what is known of their last job, and whether a living daemon of its queue knows the class of the next one.
SELECT s.tenant, s.name, s.job::text, s.pipeline::text, s.cron, s.every, s.time_zone, s.catch_up, s.catch_up_within, s.overlap, s.source, s.paused, s.pause_reason,
       s.next_fire_date, s.last_fire_date, s.last_job_id, s.last_pipeline_id, s.fired, s.missed, s.last_missed_date, s.last_missed_reason, s.error,
       s.created_date, s.updated_date, s.waiting, (SELECT min(w.since) FROM jobservice.waiting_tick w WHERE w.tenant = s.tenant AND w.schedule = s.name) AS waiting_since,
       coalesce((SELECT j.status FROM jobservice.job_info j WHERE j.id = s.last_job_id), (SELECT p.status FROM jobservice.pipeline p WHERE p.id = s.last_pipeline_id)) AS last_status,
       CASE WHEN s.job IS NOT NULL THEN EXISTS (
         SELECT FROM jobservice.daemon d
         WHERE d.stopped_at IS NULL AND d.lost_at IS NULL AND coalesce(s.job ->> 'queue', 'default') = ANY (d.queues) AND s.job ->> 'job_class' = ANY (d.job_classes)) END AS class_known
FROM jobservice.schedule s
WHERE (:tenant::text IS NULL OR s.tenant = :tenant) AND (:name::text IS NULL OR s.name = :name) ORDER BY s.tenant, s.name;
