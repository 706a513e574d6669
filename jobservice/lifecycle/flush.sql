-- name: flush(daemon, ids, runs, begun, outcomes, reasons, results, result_classes, error_types, error_messages, stack_traces, delays, infos, events, confirmed)
-- Writes the starts and ends of many runs at once, and deletes the outbox rows that the broker has confirmed meanwhile.
-- An item is one run: `begun` is the seconds from its start until this was sent, where this daemon has not yet seen the start committed, `outcome` is
-- SUCCEEDED, FAILED, RETRIED (again after `delay` seconds), PARKED (until its parts have ended), ABORTED, HANDED_BACK, or NULL for a start alone. `info` is
-- what its job told of its progress, if it did. `events` is what
-- the queue published when the run was claimed. Returned are the runs that were changed: what is missing is stale, was written before by a flush whose answer was lost, or is held by somebody just now.
WITH item AS (
  SELECT * FROM unnest(:ids::uuid[], :runs::integer[], :begun::double precision[], :outcomes::text[], :reasons::text[], :results::text[],
                       :result_classes::text[], :error_types::text[], :error_messages::text[], :stack_traces::text[], :delays::double precision[], :infos::text[], :events::text[])
    AS t (id, run, begun, outcome, reason, result, result_class, error_type, error_message, stack_trace, delay, info, events)
), locked AS MATERIALIZED (     -- before any update, ascending, and without waiting: a row that a client holds must not hold up all others
  SELECT j.id, j.status AS was, j.run, j.daemon_id, j.claim_date, j.start_date, j.stop_requested_at
  FROM jobservice.job_info j WHERE j.id = ANY (:ids::uuid[]) ORDER BY j.id FOR NO KEY UPDATE SKIP LOCKED
), target AS MATERIALIZED (     -- the fence, and what each run becomes; the date of an end is taken after the wait for the lock, a start counts from the arrival of this
  SELECT i.*, l.was, l.claim_date, l.stop_requested_at, c.at,
         CASE WHEN l.was = 'TO_BE_RUN' AND i.begun IS NOT NULL THEN greatest(l.claim_date, statement_timestamp() - make_interval(secs => i.begun)) ELSE l.start_date END AS started,
         l.was = 'TO_BE_RUN' AND i.begun IS NOT NULL AS starts, i.outcome IS NOT NULL AS ends,
         CASE WHEN i.outcome IS NULL THEN 'RUNNING'
              WHEN i.outcome NOT IN ('RETRIED', 'PARKED', 'HANDED_BACK') THEN i.outcome
              WHEN l.stop_requested_at IS NOT NULL THEN 'ABORTED'
              WHEN i.delay > 0 OR i.outcome = 'PARKED' THEN 'PENDING'
              ELSE 'QUEUED' END AS becomes
  FROM item i JOIN locked l ON l.id = i.id, LATERAL (SELECT clock_timestamp() AS at) c
  WHERE l.run = i.run AND l.daemon_id = :daemon::uuid
    AND (l.was = 'TO_BE_RUN' AND (i.begun IS NOT NULL OR i.outcome IN ('FAILED', 'ABORTED', 'HANDED_BACK')) OR l.was = 'RUNNING' AND i.outcome IS NOT NULL)
), changed AS (
  UPDATE jobservice.job_info j
  SET status               = t.becomes,
      sequence             = j.sequence + t.starts::integer + t.ends::integer,
      daemon_id            = CASE WHEN t.becomes NOT IN ('QUEUED', 'PENDING') THEN j.daemon_id END,
      attempt              = j.attempt - (t.becomes = 'QUEUED' AND t.outcome = 'HANDED_BACK' OR t.becomes = 'PENDING' AND t.outcome = 'PARKED')::integer,
      held                 = CASE WHEN t.becomes = 'PENDING' AND t.outcome = 'PARKED' THEN 'parts' WHEN t.becomes = 'PENDING' THEN 'backoff' END,
      has_parts            = j.has_parts OR t.outcome IS NOT DISTINCT FROM 'PARKED',
      trigger_after_date   = CASE WHEN t.becomes = 'PENDING' AND t.outcome <> 'PARKED' THEN t.at + make_interval(secs => t.delay) ELSE j.trigger_after_date END,
      queued_date          = CASE WHEN t.becomes = 'QUEUED' THEN t.at ELSE j.queued_date END,
      claim_date           = CASE WHEN t.becomes NOT IN ('QUEUED', 'PENDING') THEN j.claim_date END,
      start_date           = CASE WHEN t.becomes NOT IN ('QUEUED', 'PENDING') THEN t.started END,
      stop_date            = CASE WHEN t.becomes IN ('SUCCEEDED', 'FAILED', 'ABORTED') THEN t.at END,
      stop_reason          = CASE WHEN t.becomes <> 'ABORTED' THEN j.stop_reason
                                  WHEN t.outcome = 'ABORTED' AND starts_with(t.reason, coalesce(j.stop_reason, '')) THEN t.reason  -- the run may know more
                                  ELSE coalesce(j.stop_reason, t.reason) END,
      percent_completed    = CASE WHEN t.becomes = 'SUCCEEDED' THEN 100 WHEN t.outcome = 'PARKED' THEN j.percent_completed WHEN t.becomes IN ('QUEUED', 'PENDING') THEN 0 ELSE j.percent_completed END,
      progress_done        = CASE WHEN t.outcome = 'PARKED' OR t.becomes NOT IN ('QUEUED', 'PENDING') THEN j.progress_done END,
      progress_total       = CASE WHEN t.outcome = 'PARKED' OR t.becomes NOT IN ('QUEUED', 'PENDING') THEN j.progress_total END,
      progress_message     = CASE WHEN t.outcome = 'PARKED' OR t.becomes NOT IN ('QUEUED', 'PENDING') THEN j.progress_message END,
      progress_info        = CASE WHEN t.outcome IS DISTINCT FROM 'PARKED' AND t.becomes IN ('QUEUED', 'PENDING') THEN NULL WHEN t.info IS NULL THEN j.progress_info
                                  ELSE jobservice.dated_steps(t.info::jsonb, t.started, t.at) END,
      estimated_completion = NULL,
      result               = t.result::jsonb,
      result_class         = t.result_class,
      error_type           = CASE WHEN t.becomes = 'FAILED' THEN t.error_type END,
      error_message        = CASE WHEN t.becomes = 'FAILED' THEN t.error_message END,
      stack_trace          = CASE WHEN t.becomes = 'FAILED' THEN t.stack_trace END
  FROM target t
  WHERE j.id = ANY (ARRAY[t.id]) AND j.run = t.run AND j.daemon_id = :daemon::uuid AND j.status = t.was
  RETURNING j.id, j.run, j.status, j.sequence, j.attempt, j.priority, j.percent_completed, t.started AS start_date, t.at, t.starts, t.ends, t.was,
            t.stop_requested_at IS NOT NULL AS stop_requested, t.outcome, t.error_type, t.error_message, t.claim_date AS claimed_at, t.events
), fact AS (
  SELECT c.id, c.sequence - c.ends::integer AS sequence, c.run, c.attempt, 'RUNNING' AS status, 'TO_BE_RUN' AS previous, c.start_date AS time, c.priority,
         0::smallint AS percent, NULL::jsonb AS detail
  FROM changed c WHERE c.starts AND jobservice.is_published(c.events, 'RUNNING')
  UNION ALL
  SELECT c.id, c.sequence, c.run, c.attempt, c.status, CASE WHEN c.starts THEN 'RUNNING' ELSE c.was END, c.at, c.priority, c.percent_completed,
         CASE WHEN c.status = 'FAILED' OR c.outcome = 'RETRIED' AND c.status <> 'ABORTED'
              THEN jsonb_build_object('error', jsonb_build_object('type', c.error_type, 'message', c.error_message), 'will_retry', c.status <> 'FAILED') END
  FROM changed c WHERE c.ends AND jobservice.is_published(c.events, c.status)
), box AS (
  INSERT INTO jobservice.outbox (daemon_id, job_ids, sequences, runs, attempts, statuses, previous, times, priorities, percents, details)
  SELECT :daemon::uuid, array_agg(f.id), array_agg(f.sequence), array_agg(f.run), array_agg(f.attempt), array_agg(f.status), array_agg(f.previous), array_agg(f.time),
         array_agg(f.priority), array_agg(f.percent), array_agg(f.detail)
  FROM (SELECT * FROM fact ORDER BY sequence) f HAVING count(*) > 0 RETURNING id
), history AS (
  INSERT INTO jobservice.job_run (job_id, run, attempt, daemon_id, claim_date, start_date, end_date, ending, error_type, error_message)
  SELECT c.id, c.run, c.attempt + (c.outcome IN ('HANDED_BACK', 'PARKED'))::integer, :daemon::uuid, c.claimed_at, c.start_date, c.at, lower(c.outcome), c.error_type, c.error_message
  FROM changed c WHERE c.status IN ('QUEUED', 'PENDING')
  ON CONFLICT DO NOTHING
), gone AS (
  DELETE FROM jobservice.outbox WHERE id = ANY (:confirmed::bigint[])
)
SELECT c.id, c.run, c.status, c.was, c.sequence, c.attempt, c.priority, c.percent_completed, c.start_date, c.at, c.starts, c.ends, c.stop_requested, b.id AS outbox_id
FROM changed c LEFT JOIN box b ON true;

-- name: standing(ids)
-- How jobs stand, for runs that a flush did not change.
SELECT j.id, j.run, j.daemon_id, j.status FROM jobservice.job_info j WHERE j.id = ANY (:ids::uuid[]);

-- name: advance(daemon, ids, runs, percents, done, totals, messages, remaining, infos)
-- The progress of all runs of a daemon that moved since the last tick, in one statement. Never falls, never after the end. Returned are
-- the jobs it was written of; as in a flush, a row that somebody holds is left for the next tick.
WITH locked AS MATERIALIZED (
  SELECT j.id FROM jobservice.job_info j WHERE j.id = ANY (:ids::uuid[]) ORDER BY j.id FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE jobservice.job_info j
SET percent_completed = greatest(j.percent_completed, t.percent), progress_done = t.done, progress_total = t.total, progress_message = t.message,
    estimated_completion = clock_timestamp() + make_interval(secs => t.remaining),
    progress_info = CASE WHEN t.info IS NULL THEN j.progress_info ELSE jobservice.dated_steps(t.info::jsonb, j.start_date, NULL) END
FROM unnest(:ids::uuid[], :runs::integer[], :percents::smallint[], :done::bigint[], :totals::bigint[], :messages::text[], :remaining::double precision[],
            :infos::text[])
  AS t (id, run, percent, done, total, message, remaining, info) JOIN locked l ON l.id = t.id
WHERE j.id = ANY (ARRAY[t.id]) AND j.run = t.run AND j.daemon_id = :daemon::uuid AND j.status = 'RUNNING'
RETURNING j.id;

-- name: tell_parents(pipelines)
SELECT jobservice.tell_parents(:pipelines::uuid[])::text;
