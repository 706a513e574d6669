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
       CASE WHEN c.id IS NULL AND l.was IN ('FAILED', 'ABORTED') AND l.pipeline_id IS NOT NULL
              THEN (SELECT CASE WHEN p.parent_job IS NULL THEN format('it belongs to pipeline %s: restart that', p.id) ELSE format('it is a part of job %s: restart that', p.parent_job) END
                    FROM jobservice.pipeline p WHERE p.id = l.pipeline_id)
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
FROM jobservice.job_info j LEFT JOIN jobservice.stage t ON t.id = ANY (ARRAY[j.stage_id]) LEFT JOIN jobservice.pipeline p ON p.id = ANY (ARRAY[t.pipeline_id])
WHERE j.id = :id::uuid AND (:tenant::text IS NULL OR j.tenant = :tenant);

-- name: link_rerun(id, original)!
UPDATE jobservice.job_info SET rerun_of = :original::uuid WHERE id = :id::uuid AND run = 0;

-- name: select_ids(tenant, job_class, statuses, owner, batch)
-- The jobs that a selection names, oldest first.
SELECT j.id FROM jobservice.job_info j
WHERE (:tenant::text IS NULL OR j.tenant = :tenant) AND (:job_class::text IS NULL OR j.job_class = :job_class)
  AND (:owner::text IS NULL OR j.owner = :owner) AND j.status = ANY (:statuses::text[]) ORDER BY j.id LIMIT :batch::integer;

-- name: notify_drain(channel, daemon)$
-- Tells all daemons, or the one that is named, to drain.
SELECT pg_notify(:channel, :daemon)::text;
