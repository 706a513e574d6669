-- What users do to jobs that exist. Each returns one row for each id, in the order given: the status afterwards, whether it was accepted,
-- and if not, the code and the reason. `tenant` walls off: another tenant's job is as unknown as none. The updates name the ids once
-- more, and the status that was found instead of a literal one (nor one that follows from it), so that no estimate decides how the rows are
-- found: not by a partial index.

-- name: stop(ids, reason, tenant)
SELECT s.job_id, s.status, s.accepted, s.code, NULL::text AS reason FROM jobservice.stop_jobs(:ids::uuid[], :reason, :tenant) s;

-- name: enqueue(ids, tenant)
-- PENDING → QUEUED for jobs that a user holds; what another reason holds is released by that reason only.
WITH locked AS MATERIALIZED (
  SELECT j.id, j.status AS was, j.held FROM jobservice.job_info j
  WHERE j.id = ANY (:ids::uuid[]) AND (:tenant::text IS NULL OR j.tenant = :tenant) ORDER BY j.id FOR NO KEY UPDATE
), changed AS (
  UPDATE jobservice.job_info j SET status = 'QUEUED', held = NULL, queued_date = clock_timestamp(), sequence = j.sequence + 1
  FROM locked l WHERE j.id = l.id AND j.id = ANY (:ids::uuid[]) AND l.was = 'PENDING' AND l.held = 'user' AND j.status IS NOT DISTINCT FROM l.was AND j.held IS NOT DISTINCT FROM l.held
  RETURNING j.id, j.queue, j.sequence, j.run, j.attempt, j.queued_date, j.priority, j.percent_completed, j.tenant, j.concurrency_key
), box AS (
  INSERT INTO jobservice.outbox (job_ids, sequences, runs, attempts, statuses, previous, times, priorities, percents, details)
  SELECT array_agg(c.id), array_agg(c.sequence), array_agg(c.run), array_agg(c.attempt), array_agg('QUEUED'::text), array_agg('PENDING'::text), array_agg(c.queued_date),
         array_agg(c.priority), array_agg(c.percent_completed), array_agg(NULL::jsonb)
  FROM changed c WHERE NOT EXISTS (SELECT FROM jobservice.queue q WHERE q.queue = c.queue AND NOT jobservice.is_published(q.events, 'QUEUED')) HAVING count(*) > 0 RETURNING id
)
SELECT i.id AS job_id, CASE WHEN c.id IS NOT NULL THEN 'QUEUED' ELSE l.was END AS status, c.id IS NOT NULL AS accepted,
       CASE WHEN l.id IS NULL THEN 'unknown_job' WHEN c.id IS NULL THEN 'not_legal' END AS code,
       CASE WHEN c.id IS NULL AND l.held IS NOT NULL THEN 'held by its ' || l.held END AS reason, a.announce::text,
       (SELECT CASE WHEN count(*) > 0 THEN jobservice.make_keys(array_agg(k.tenant), array_agg(k.concurrency_key))::text END FROM changed k WHERE k.concurrency_key IS NOT NULL) AS keyed
FROM unnest(:ids::uuid[]) WITH ORDINALITY i (id, n) LEFT JOIN locked l ON l.id = i.id LEFT JOIN changed c ON c.id = i.id,
  (SELECT jobservice.announce((SELECT array_agg(DISTINCT queue) FROM changed), EXISTS (SELECT FROM box))) a ORDER BY i.n;

-- name: restart(ids, tenant, expiration)
-- FAILED / ABORTED → QUEUED: the same JobInfo once more. Clears what the last run left, never `run` or `sequence`. Jobs of a pipeline are
-- restarted with it.
WITH locked AS MATERIALIZED (
  SELECT j.id, j.status AS was, j.run, j.attempt, j.daemon_id, j.claim_date, j.start_date, j.stop_date, j.error_type, j.error_message,
         coalesce(:expiration::timestamptz, j.expiration_date) <= clock_timestamp() AS too_late, j.pipeline_id
  FROM jobservice.job_info j
  WHERE j.id = ANY (:ids::uuid[]) AND (:tenant::text IS NULL OR j.tenant = :tenant) ORDER BY j.id FOR NO KEY UPDATE
), changed AS (
  UPDATE jobservice.job_info j
  SET status = 'QUEUED', held = NULL, blocked = false, on_hold = false, has_parts = false, queued_date = clock_timestamp(), sequence = j.sequence + 1, attempt = 0, lost_runs = 0, daemon_id = NULL,
      claim_date = NULL, start_date = NULL, stop_date = NULL, stop_requested_at = NULL, stop_reason = NULL, percent_completed = 0, progress_done = NULL,
      progress_total = NULL, progress_message = NULL, progress_info = NULL, estimated_completion = NULL, result = NULL, result_class = NULL, error_type = NULL, error_message = NULL,
      stack_trace = NULL, trigger_after_date = NULL, expiration_date = coalesce(:expiration::timestamptz, j.expiration_date)
  FROM locked l WHERE j.id = l.id AND j.id = ANY (:ids::uuid[]) AND l.was IN ('FAILED', 'ABORTED') AND j.status IS NOT DISTINCT FROM l.was AND l.too_late IS NOT TRUE AND l.pipeline_id IS NULL
  RETURNING j.id, j.queue, j.sequence, j.run, j.attempt, j.queued_date, j.priority, j.percent_completed, l.was, j.tenant, j.concurrency_key
), box AS (
  INSERT INTO jobservice.outbox (job_ids, sequences, runs, attempts, statuses, previous, times, priorities, percents, details)
  SELECT array_agg(c.id), array_agg(c.sequence), array_agg(c.run), array_agg(c.attempt), array_agg('QUEUED'::text), array_agg(c.was), array_agg(c.queued_date),
         array_agg(c.priority), array_agg(c.percent_completed), array_agg(NULL::jsonb)
  FROM changed c WHERE NOT EXISTS (SELECT FROM jobservice.queue q WHERE q.queue = c.queue AND NOT jobservice.is_published(q.events, 'QUEUED')) HAVING count(*) > 0 RETURNING id
), history AS (
  INSERT INTO jobservice.job_run (job_id, run, attempt, daemon_id, claim_date, start_date, end_date, ending, error_type, error_message)
  SELECT l.id, l.run, l.attempt, l.daemon_id, l.claim_date, l.start_date, l.stop_date, l.was, l.error_type, l.error_message
  FROM locked l JOIN changed c ON c.id = l.id WHERE l.run > 0 ON CONFLICT DO NOTHING
)
SELECT i.id AS job_id, CASE WHEN c.id IS NOT NULL THEN 'QUEUED' ELSE l.was END AS status, c.id IS NOT NULL AS accepted,
       CASE WHEN l.id IS NULL THEN 'unknown_job' WHEN c.id IS NULL THEN 'not_legal' END AS code,
       CASE WHEN c.id IS NULL AND l.was IN ('FAILED', 'ABORTED') AND l.pipeline_id IS NOT NULL THEN format('it belongs to pipeline %s: restart that', l.pipeline_id)
            WHEN c.id IS NULL AND l.was IN ('FAILED', 'ABORTED') AND l.too_late THEN 'its expiration date has passed; give a new one' END AS reason, a.announce::text,
       (SELECT CASE WHEN count(*) > 0 THEN jobservice.make_keys(array_agg(k.tenant), array_agg(k.concurrency_key))::text END FROM changed k WHERE k.concurrency_key IS NOT NULL) AS keyed
FROM unnest(:ids::uuid[]) WITH ORDINALITY i (id, n) LEFT JOIN locked l ON l.id = i.id LEFT JOIN changed c ON c.id = i.id,
  (SELECT jobservice.announce((SELECT array_agg(DISTINCT queue) FROM changed), EXISTS (SELECT FROM box))) a ORDER BY i.n;

-- name: set_locked(ids, tenant, locked)
-- A locked job is never cleaned. Legal in every status; touches nothing else, so no concurrent change is undone.
WITH locked AS MATERIALIZED (
  SELECT j.id FROM jobservice.job_info j WHERE j.id = ANY (:ids::uuid[]) AND (:tenant::text IS NULL OR j.tenant = :tenant) ORDER BY j.id FOR NO KEY UPDATE
), changed AS (
  UPDATE jobservice.job_info j SET locked = :locked::boolean FROM locked l WHERE j.id = l.id AND j.id = ANY (:ids::uuid[]) RETURNING j.id, j.status
)
SELECT i.id AS job_id, c.status, c.id IS NOT NULL AS accepted, CASE WHEN c.id IS NULL THEN 'unknown_job' END AS code, NULL::text AS reason
FROM unnest(:ids::uuid[]) WITH ORDINALITY i (id, n) LEFT JOIN changed c ON c.id = i.id ORDER BY i.n;

-- name: update_waiting(ids, tenant, priority, expiration)
-- A new priority or expiration date for jobs that wait; NULL leaves as it is.
WITH locked AS MATERIALIZED (
  SELECT j.id, j.status FROM jobservice.job_info j WHERE j.id = ANY (:ids::uuid[]) AND (:tenant::text IS NULL OR j.tenant = :tenant) ORDER BY j.id FOR NO KEY UPDATE
), changed AS (
  UPDATE jobservice.job_info j SET priority = coalesce(:priority::integer, j.priority), given_priority = CASE WHEN :priority::integer IS NULL THEN j.given_priority END, expiration_date = coalesce(:expiration::timestamptz, j.expiration_date)
  FROM locked l WHERE j.id = l.id AND j.id = ANY (:ids::uuid[]) AND j.status IN ('PENDING', 'QUEUED') RETURNING j.id
)
SELECT i.id AS job_id, l.status, c.id IS NOT NULL AS accepted, CASE WHEN l.id IS NULL THEN 'unknown_job' WHEN c.id IS NULL THEN 'not_legal' END AS code, NULL::text AS reason
FROM unnest(:ids::uuid[]) WITH ORDINALITY i (id, n) LEFT JOIN locked l ON l.id = i.id LEFT JOIN changed c ON c.id = i.id ORDER BY i.n;

-- name: as_submission(id, tenant)^
-- An ended job as a submission once more; its idempotency key, expiration and trigger dates stay behind. The data that its parameters may refer to.
SELECT j.status, j.id, t.data::text AS stage_data, p.data::text AS pipeline_data, jsonb_strip_nulls(jsonb_build_object('job_class', j.job_class, 'tenant', j.tenant, 'queue', j.queue, 'priority', coalesce(j.given_priority, j.priority), 'description', j.description,
         'owner', j.owner, 'timeout', j.timeout, 'max_attempts', j.max_attempts, 'concurrency_key', j.concurrency_key, 'correlation_id', j.correlation_id,
         'traceparent', j.traceparent, 'locked', j.locked)) || jsonb_build_object('parameters', j.parameters, 'user_metadata', j.user_metadata) AS submission
FROM jobservice.job_info j LEFT JOIN jobservice.stage t ON t.id = j.stage_id LEFT JOIN jobservice.pipeline p ON p.id = t.pipeline_id
WHERE j.id = :id::uuid AND (:tenant::text IS NULL OR j.tenant = :tenant);

-- name: link_rerun(id, original)!
UPDATE jobservice.job_info SET rerun_of = :original::uuid WHERE id = :id::uuid AND run = 0;

-- name: select_ids(tenant, job_class, statuses, owner, batch)
-- The jobs that a selection names, oldest first.
SELECT j.id FROM jobservice.job_info j
WHERE (:tenant::text IS NULL OR j.tenant = :tenant) AND (:job_class::text IS NULL OR j.job_class = :job_class)
  AND (:owner::text IS NULL OR j.owner = :owner) AND j.status = ANY (:statuses::text[]) ORDER BY j.id LIMIT :batch::integer;

-- name: submit(jobs)
SELECT s.job_id, s.created FROM jobservice.submit(:jobs::text::jsonb) s;

-- name: submit_next(jobs, patience)
-- (The wait for somebody who just now submits with the same key is bounded first.)
SELECT s.job_id FROM set_config('lock_timeout', :patience, true) AS bound, LATERAL jobservice.submit(CASE WHEN bound <> '' THEN :jobs::text::jsonb END) s;

-- name: submit_told(jobs, lock_timeout)
-- With the queues of which no event will come. The wait for somebody who just now submits with the same key is bounded first.
SELECT s.job_id, s.created, (SELECT array_agg(q.queue ORDER BY q.queue) FROM jobservice.queue q WHERE q.events = 'none') AS unpublished
FROM set_config('lock_timeout', :lock_timeout, true) AS bound, LATERAL jobservice.submit(CASE WHEN bound <> '' THEN :jobs::text::jsonb END) s;

-- name: set_tenant(tenant, paused, max_running, weight, rate, period, burst)!
-- NULL leaves as it is; a max_running or a rate of -1 takes the limit away. A rate comes with its period and burst.
INSERT INTO jobservice.tenant AS t (tenant, paused, max_running, weight, rate, rate_period, rate_burst)
VALUES (:tenant, coalesce(:paused::boolean, false), nullif(:max_running::integer, -1), coalesce(:weight::real, 1), nullif(:rate::integer, -1),
        coalesce(:period::double precision, 1), :burst::integer)
ON CONFLICT (tenant) DO UPDATE SET paused = coalesce(:paused::boolean, t.paused), weight = coalesce(:weight::real, t.weight),
  max_running = CASE WHEN :max_running::integer IS NULL THEN t.max_running ELSE nullif(:max_running::integer, -1) END,
  rate = CASE WHEN :rate::integer IS NULL THEN t.rate ELSE nullif(:rate::integer, -1) END,
  rate_period = CASE WHEN :rate::integer IS NULL THEN t.rate_period ELSE coalesce(:period::double precision, 1) END,
  rate_burst = CASE WHEN :rate::integer IS NULL THEN t.rate_burst ELSE :burst::integer END,
  rate_full_at = CASE WHEN t.rate IS NULL THEN NULL ELSE t.rate_full_at END;

-- name: set_queue(queue, paused, max_running, events, rate, period, burst)!
INSERT INTO jobservice.queue AS q (queue, paused, max_running, events, rate, rate_period, rate_burst)
VALUES (:queue, coalesce(:paused::boolean, false), nullif(:max_running::integer, -1), coalesce(:events, 'all'), nullif(:rate::integer, -1),
        coalesce(:period::double precision, 1), :burst::integer)
ON CONFLICT (queue) DO UPDATE SET paused = coalesce(:paused::boolean, q.paused), events = coalesce(:events, q.events),
  max_running = CASE WHEN :max_running::integer IS NULL THEN q.max_running ELSE nullif(:max_running::integer, -1) END,
  rate = CASE WHEN :rate::integer IS NULL THEN q.rate ELSE nullif(:rate::integer, -1) END,
  rate_period = CASE WHEN :rate::integer IS NULL THEN q.rate_period ELSE coalesce(:period::double precision, 1) END,
  rate_burst = CASE WHEN :rate::integer IS NULL THEN q.rate_burst ELSE :burst::integer END,
  rate_full_at = CASE WHEN q.rate IS NULL THEN NULL ELSE q.rate_full_at END;

-- name: set_aging(queue, period)!
-- A first step comes a period from now, of jobs that are there now; where another period was set, a period after the last one.
INSERT INTO jobservice.aging AS a (queue, period, next_date, up_to)
VALUES (:queue, :period::double precision, clock_timestamp() + make_interval(secs => :period::double precision), jobservice.last_number())
ON CONFLICT (queue) DO UPDATE SET period = excluded.period,
  next_date = CASE WHEN a.begun_date IS NULL THEN a.next_date + make_interval(secs => excluded.period - a.period) ELSE a.next_date END;

-- name: end_aging(queue)!
DELETE FROM jobservice.aging a WHERE a.queue = :queue;

-- name: set_share(queue, tenant, max_running, weight)!
-- Limit and weight of a tenant on one queue; -1 and 0 take them away.
INSERT INTO jobservice.tenant_share AS s (queue, tenant, max_running, weight)
VALUES (:queue, :tenant, nullif(:max_running::integer, -1), nullif(:weight::real, 0))
ON CONFLICT (queue, tenant) DO UPDATE SET
  max_running = CASE WHEN :max_running::integer IS NULL THEN s.max_running ELSE nullif(:max_running::integer, -1) END,
  weight = CASE WHEN :weight::real IS NULL THEN s.weight ELSE nullif(:weight::real, 0) END;

-- name: set_key(tenant, key, max_running)!
-- How many jobs of a concurrency key run at a time.
INSERT INTO jobservice.concurrency_key AS k (tenant, key, max_running) VALUES (:tenant, :key, :max_running::integer)
ON CONFLICT (tenant, key) DO UPDATE SET max_running = excluded.max_running;

-- name: wake_queue(queue)
SELECT jobservice.wake(ARRAY[:queue::text])::text;

-- name: wake_idle()
-- Wakes all idle daemons: a tenant may run again, on queues that need not be known here.
SELECT jobservice.wake(ARRAY(SELECT DISTINCT q FROM jobservice.daemon d, unnest(d.queues) q WHERE d.idle AND d.stopped_at IS NULL AND d.lost_at IS NULL))::text;

-- name: notify_drain(channel, daemon)
-- Tells all daemons, or the one that is named, to drain.
SELECT pg_notify(:channel, :daemon)::text;
