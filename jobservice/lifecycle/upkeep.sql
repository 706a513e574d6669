-- Statements of any daemon, on its own initiative. Their facts belong to nobody (`daemon_id` NULL): whoever sweeps publishes them.
-- What is due is looked for with now(): clock_timestamp() may change within a scan, so no index can be searched by it, and a look
-- would read all that is not due yet. `ANY (ARRAY[x.id])` and `coalesce(…, false)` say to the planner that rows which were found are to be taken by
-- their key, and not once more by the partial index that found them: see PINNED_PLANS.

-- name: look(queues)^
-- What there is to do, in one probe of each partial index: the only query that an idle daemon's upkeep sends. Whether something may be claimed is asked
-- of the claims' books and not of job_info_claimable: under an old snapshot that is full of what was claimed since (2.7 s for a million).
SELECT (SELECT min(j.trigger_after_date) - clock_timestamp() FROM jobservice.job_info j WHERE j.status = 'PENDING' AND j.held IN ('trigger', 'backoff')) AS next_due,
       (SELECT min(s.next_fire_date) - clock_timestamp() FROM jobservice.schedule s WHERE NOT s.paused) AS next_fire,
       EXISTS (SELECT FROM jobservice.schedule s
               WHERE s.waiting > 0 AND NOT s.paused
                 AND NOT (s.overlap = 'queue' AND s.pipeline IS NOT NULL
                          AND (coalesce((SELECT p.stop_date IS NULL FROM jobservice.pipeline p WHERE p.id = s.last_pipeline_id), false)
                               OR coalesce((SELECT j.status IN ('PENDING', 'QUEUED', 'TO_BE_RUN', 'RUNNING') FROM jobservice.job_info j WHERE j.id = s.last_job_id), false)))) AS freed,
       (SELECT min(a.next_date) - clock_timestamp() FROM jobservice.aging a) AS next_step,
       EXISTS (SELECT FROM jobservice.job_info j WHERE j.status IN ('PENDING', 'QUEUED') AND j.expiration_date <= now() AND NOT j.has_parts) AS expired,
       EXISTS (SELECT FROM jobservice.job_info j WHERE j.status = 'QUEUED' AND j.blocked AND NOT j.on_hold) AS blocked,
       EXISTS (SELECT FROM unnest(:queues::text[]) q
               LEFT JOIN LATERAL (SELECT b.writer FROM jobservice.claim_bound b WHERE b.queue = q ORDER BY b.turn DESC LIMIT 1) b ON true,
               LATERAL (SELECT FROM jobservice.tenant_call c
                        WHERE c.queue = q AND c.writer >= CASE WHEN b.writer <= pg_snapshot_xmin(pg_current_snapshot()) THEN b.writer ELSE '0' END
                        ORDER BY c.writer LIMIT 1) c)
       OR EXISTS (SELECT FROM unnest(:queues::text[]) q,
                  LATERAL (SELECT FROM jobservice.tenant_account n WHERE n.queue = q AND n.active ORDER BY n.weight DESC, n.spent DESC LIMIT 1) n) AS claimable,
       EXISTS (SELECT FROM jobservice.pipeline p WHERE p.unsettled) OR EXISTS (SELECT FROM jobservice.doubtful_hold) AS unsettled,
       EXISTS (SELECT FROM jobservice.outbox o LEFT JOIN jobservice.daemon d ON d.id = o.daemon_id
               WHERE o.daemon_id IS NULL OR d.id IS NULL OR d.lost_at IS NOT NULL OR d.stopped_at IS NOT NULL)
       OR EXISTS (SELECT FROM jobservice.pipeline_outbox) AS unpublished;

-- name: enqueue_due(batch)
-- PENDING → QUEUED for jobs whose trigger date has come. Returns the queues, one row for each job.
WITH locked AS MATERIALIZED (
  SELECT j.id FROM jobservice.job_info j
  WHERE j.id = ANY (ARRAY(SELECT d.id FROM jobservice.job_info d WHERE d.status = 'PENDING' AND d.held IN ('trigger', 'backoff') AND d.trigger_after_date <= now()
                          ORDER BY d.trigger_after_date LIMIT :batch::integer))
    AND j.status = 'PENDING' ORDER BY j.id FOR NO KEY UPDATE SKIP LOCKED
), changed AS (
  UPDATE jobservice.job_info j SET status = 'QUEUED', held = NULL, queued_date = clock_timestamp(), sequence = j.sequence + 1
  FROM locked l WHERE j.id = ANY (ARRAY[l.id]) AND j.status = 'PENDING' AND coalesce(j.held IN ('trigger', 'backoff') AND j.trigger_after_date <= clock_timestamp(), false)
  RETURNING j.id, j.queue, j.sequence, j.run, j.attempt, j.queued_date, j.priority, j.percent_completed, j.tenant, j.concurrency_key
), box AS (
  INSERT INTO jobservice.outbox (job_ids, sequences, runs, attempts, statuses, previous, times, priorities, percents, details)
  SELECT array_agg(c.id), array_agg(c.sequence), array_agg(c.run), array_agg(c.attempt), array_agg('QUEUED'::text), array_agg('PENDING'::text), array_agg(c.queued_date),
         array_agg(c.priority), array_agg(c.percent_completed), array_agg(NULL::jsonb)
  FROM changed c WHERE NOT EXISTS (SELECT FROM jobservice.queue q WHERE q.queue = c.queue AND NOT jobservice.is_published(q.events, 'QUEUED')) HAVING count(*) > 0 RETURNING id
)
SELECT c.id, c.queue, a.announce::text,
       (SELECT CASE WHEN count(*) > 0 THEN jobservice.make_keys(array_agg(k.tenant), array_agg(k.concurrency_key))::text END FROM changed k WHERE k.concurrency_key IS NOT NULL) AS keyed
FROM changed c,
  (SELECT jobservice.announce((SELECT array_agg(DISTINCT queue) FROM changed), EXISTS (SELECT FROM box))) a;

-- name: expire(batch)
-- PENDING / QUEUED → FAILED for waiting jobs whose expiration date has passed. One that has had parts has started long ago.
WITH locked AS MATERIALIZED (
  SELECT j.id, j.status AS was FROM jobservice.job_info j
  WHERE j.id = ANY (ARRAY(SELECT d.id FROM jobservice.job_info d WHERE d.status IN ('PENDING', 'QUEUED') AND d.expiration_date <= now() AND NOT d.has_parts
                          ORDER BY d.expiration_date LIMIT :batch::integer))
    AND j.status IN ('PENDING', 'QUEUED')
    -- What belongs to a pipeline that somebody holds is left for a later look.
    AND (j.pipeline_id IS NULL OR EXISTS (SELECT FROM jobservice.pipeline p WHERE p.id = j.pipeline_id FOR NO KEY UPDATE SKIP LOCKED))
  ORDER BY j.id FOR NO KEY UPDATE SKIP LOCKED
), changed AS (
  UPDATE jobservice.job_info j
  SET status = 'FAILED', held = NULL, blocked = false, on_hold = false, stop_date = clock_timestamp(), sequence = j.sequence + 1, error_type = 'Expired', error_message = 'Expiration date reached'
  FROM locked l WHERE j.id = ANY (ARRAY[l.id]) AND j.status IN ('PENDING', 'QUEUED') AND coalesce(j.expiration_date <= clock_timestamp(), false) AND NOT j.has_parts
  RETURNING j.id, j.queue, j.status, l.was, j.sequence, j.run, j.attempt, j.stop_date, j.priority, j.percent_completed, j.error_type, j.error_message, j.stage_id
), box AS (
  INSERT INTO jobservice.outbox (job_ids, sequences, runs, attempts, statuses, previous, times, priorities, percents, details)
  SELECT array_agg(c.id), array_agg(c.sequence), array_agg(c.run), array_agg(c.attempt), array_agg('FAILED'::text), array_agg(c.was), array_agg(c.stop_date),
         array_agg(c.priority), array_agg(c.percent_completed), array_agg(jsonb_build_object('error', jsonb_build_object('type', c.error_type, 'message', c.error_message)))
  FROM changed c WHERE NOT EXISTS (SELECT FROM jobservice.queue q WHERE q.queue = c.queue AND NOT jobservice.is_published(q.events, 'FAILED')) HAVING count(*) > 0 RETURNING id
)
SELECT c.id, c.status, c.stage_id, a.announce::text FROM changed c, (SELECT jobservice.announce(NULL, EXISTS (SELECT FROM box))) a;

-- name: mark_lost(daemon, counter)$
-- Conditional on the counter that was watched: a heartbeat in between wins.
UPDATE jobservice.daemon SET lost_at = clock_timestamp()
WHERE id = :daemon::uuid AND counter = :counter AND lost_at IS NULL AND stopped_at IS NULL RETURNING id;

-- name: cut_off(daemon)
-- Ends the sessions of a daemon that is marked lost: one that is frozen may hold the sweep's lock, or a row. It comes back to its lost mark.
SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a JOIN jobservice.daemon d ON d.id = :daemon::uuid AND d.lost_at IS NOT NULL
WHERE a.datname = current_database() AND a.usename = current_user AND a.application_name LIKE 'jobservice %' || d.id::text;

-- name: rescue(max_lost_runs, batch)
-- TO_BE_RUN / RUNNING → QUEUED for jobs whose daemon is not alive: missing, marked lost, or stopped. No attempt is spent, but a lost run
-- counts: from `max_lost_runs` on the job is poison and ends FAILED. A job with a stop mark ends ABORTED. SKIP LOCKED: a late finish
-- that holds the row decides first, and is looked at again. What a daemon left behind that ended in good order was not lost with it: the
-- answer to its last claim came too late, or the database was away when it handed back. It counts as handed back.
WITH locked AS MATERIALIZED (
  SELECT j.id, j.status AS was, j.run, j.daemon_id, j.claim_date, j.start_date, j.attempt,
         o.lost, CASE WHEN j.stop_requested_at IS NOT NULL THEN 'ABORTED' WHEN o.lost AND j.lost_runs + 1 >= :max_lost_runs::integer THEN 'FAILED' ELSE 'QUEUED' END AS becomes
  FROM jobservice.job_info j LEFT JOIN jobservice.daemon d ON d.id = j.daemon_id, LATERAL (SELECT d.stopped_at IS NULL OR d.lost_at IS NOT NULL AS lost) o
  WHERE j.status IN ('TO_BE_RUN', 'RUNNING') AND (d.id IS NULL OR d.lost_at IS NOT NULL OR d.stopped_at IS NOT NULL)
    -- A pipeline that somebody holds: its jobs are left for a later look.
    AND (j.pipeline_id IS NULL OR EXISTS (SELECT FROM jobservice.pipeline p WHERE p.id = j.pipeline_id FOR NO KEY UPDATE SKIP LOCKED))
  ORDER BY j.id LIMIT :batch::integer FOR NO KEY UPDATE OF j SKIP LOCKED
), changed AS (
  UPDATE jobservice.job_info j
  SET status               = l.becomes,
      sequence             = j.sequence + 1,
      lost_runs            = j.lost_runs + l.lost::integer,
      attempt              = j.attempt - (l.becomes = 'QUEUED')::integer,
      daemon_id            = CASE WHEN l.becomes <> 'QUEUED' THEN j.daemon_id END,
      queued_date          = CASE WHEN l.becomes = 'QUEUED' THEN clock_timestamp() ELSE j.queued_date END,
      claim_date           = CASE WHEN l.becomes <> 'QUEUED' THEN j.claim_date END,
      start_date           = CASE WHEN l.becomes <> 'QUEUED' THEN j.start_date END,
      stop_date            = CASE WHEN l.becomes <> 'QUEUED' THEN clock_timestamp() END,
      error_type           = CASE WHEN l.becomes = 'FAILED' THEN 'LostTooOften' END,
      error_message        = CASE WHEN l.becomes = 'FAILED' THEN format('the daemons running this job were lost %s times (daemon.max_lost_runs); the last was %s', j.lost_runs + 1, j.daemon_id) END,
      percent_completed    = CASE WHEN l.becomes = 'QUEUED' THEN 0 ELSE j.percent_completed END,
      progress_done        = CASE WHEN l.becomes <> 'QUEUED' THEN j.progress_done END,
      progress_total       = CASE WHEN l.becomes <> 'QUEUED' THEN j.progress_total END,
      progress_message     = CASE WHEN l.becomes <> 'QUEUED' THEN j.progress_message END,
      progress_info        = CASE WHEN l.becomes <> 'QUEUED' THEN jobservice.ended_steps(j.progress_info, clock_timestamp()) END,
      estimated_completion = NULL
  -- The run: who was claimed anew between this statement's look and its lock comes from `locked` as if it had no daemon, but with a newer run.
  FROM locked l WHERE j.id = ANY (ARRAY[l.id]) AND j.status = l.was AND j.run = l.run
  RETURNING j.id, j.queue, j.status, l.was, j.sequence, j.run, j.attempt, j.priority, j.percent_completed, j.error_type, j.error_message, clock_timestamp() AS at, j.stage_id,
            l.daemon_id AS lost_daemon, l.claim_date AS claimed_at, l.start_date AS started_at, l.attempt AS spent, l.lost
), box AS (
  INSERT INTO jobservice.outbox (job_ids, sequences, runs, attempts, statuses, previous, times, priorities, percents, details)
  SELECT array_agg(c.id), array_agg(c.sequence), array_agg(c.run), array_agg(c.attempt), array_agg(c.status), array_agg(c.was), array_agg(c.at), array_agg(c.priority),
         array_agg(c.percent_completed), array_agg(CASE WHEN c.status = 'FAILED' THEN jsonb_build_object('error', jsonb_build_object('type', c.error_type, 'message', c.error_message)) END)
  FROM changed c WHERE NOT EXISTS (SELECT FROM jobservice.queue q WHERE q.queue = c.queue AND NOT jobservice.is_published(q.events, c.status)) HAVING count(*) > 0 RETURNING id
), history AS (
  INSERT INTO jobservice.job_run (job_id, run, attempt, daemon_id, claim_date, start_date, end_date, ending)
  SELECT c.id, c.run, c.spent, c.lost_daemon, c.claimed_at, c.started_at, c.at, CASE WHEN c.lost THEN 'lost' ELSE 'handed_back' END FROM changed c WHERE c.status = 'QUEUED' ON CONFLICT DO NOTHING
)
SELECT c.id, c.queue, c.status, c.stage_id, c.lost_daemon, a.announce::text FROM changed c,
  (SELECT jobservice.announce((SELECT array_agg(DISTINCT queue) FROM changed WHERE status = 'QUEUED'), EXISTS (SELECT FROM box))) a;

-- name: end_lost_steps(ids)
-- What the runs of these jobs, which were rescued just now, were at: the runs of their steps are LOST, and the step of a job that is poison has FAILED of that.
WITH step AS MATERIALIZED (
  SELECT x.instance_id, x.step, x.part, x.job_id, x.run, j.status, j.error_type, j.error_message, j.stop_date
  FROM jobservice.job_info j LEFT JOIN jobservice.pipeline p ON p.id = j.pipeline_id AND p.parent_job IS NOT NULL
  JOIN jobservice.job_execution e ON e.job_id = coalesce(p.parent_job, j.id)
  JOIN jobservice.step_execution x ON x.instance_id = e.instance_id AND x.job_id = j.id AND x.run = j.run AND x.status = 'STARTED'
  WHERE j.id = ANY (:ids::uuid[])
), failed AS (
  UPDATE jobservice.step_execution x SET status = 'FAILED', stop_date = s.stop_date, error_type = s.error_type, error_message = s.error_message
  FROM step s WHERE s.status = 'FAILED' AND x.instance_id = s.instance_id AND x.step = s.step AND x.part = s.part AND x.job_id = s.job_id AND x.run = s.run AND x.status = 'STARTED'
)
SELECT jobservice.end_lost_runs(s.instance_id, s.step, s.part, NULL, NULL)::text FROM step s;

-- name: blocked_keys(after_tenant, after_key, batch)
-- Keys for which jobs wait outside the claimable index, in order, from behind this one on: one probe of the index for each.
WITH RECURSIVE blocked AS (
  (SELECT j.tenant, j.concurrency_key AS key FROM jobservice.job_info j
   WHERE j.status = 'QUEUED' AND j.blocked AND NOT j.on_hold AND (j.tenant, j.concurrency_key) > (:after_tenant::text, :after_key::text)
   ORDER BY j.tenant, j.concurrency_key LIMIT 1)
  UNION ALL
  SELECT n.tenant, n.key FROM blocked b, LATERAL (
    SELECT j.tenant, j.concurrency_key AS key FROM jobservice.job_info j
    WHERE j.status = 'QUEUED' AND j.blocked AND NOT j.on_hold AND (j.tenant, j.concurrency_key) > (b.tenant, b.key)
    ORDER BY j.tenant, j.concurrency_key LIMIT 1) n
)
SELECT b.tenant, b.key FROM blocked b LIMIT :batch::integer;

-- name: forget_keys(after_tenant, after_key, batch)^
-- Looks at so many keys from behind this one on, and deletes those that say no more than the default and that no job waits for or holds.
-- A job may come in just now: its claim puts it aside, and `unblock` makes the key's row again. A row that a claim holds is left alone.
WITH looked_at AS MATERIALIZED (
  SELECT k.tenant, k.key FROM jobservice.concurrency_key k WHERE (k.tenant, k.key) > (:after_tenant::text, :after_key::text)
  ORDER BY k.tenant, k.key LIMIT :batch::integer
), unneeded AS MATERIALIZED (
  SELECT k.tenant, k.key FROM looked_at l JOIN jobservice.concurrency_key k ON k.tenant = l.tenant AND k.key = l.key
  WHERE k.max_running = 1
    AND NOT EXISTS (SELECT FROM jobservice.job_info j WHERE j.tenant = k.tenant AND j.concurrency_key = k.key AND j.status IN ('TO_BE_RUN', 'RUNNING'))
    AND NOT EXISTS (SELECT FROM jobservice.job_info j WHERE j.tenant = k.tenant AND j.concurrency_key = k.key AND j.status = 'QUEUED' AND NOT j.on_hold)
  ORDER BY k.tenant, k.key FOR UPDATE OF k SKIP LOCKED
), gone AS (
  DELETE FROM jobservice.concurrency_key k USING unneeded u WHERE k.tenant = u.tenant AND k.key = u.key RETURNING 1
)
SELECT (SELECT count(*) FROM looked_at) AS looked_at, (SELECT count(*) FROM gone) AS gone, l.tenant, l.key
FROM looked_at l ORDER BY l.tenant DESC, l.key DESC LIMIT 1;

-- name: clean(status, older_than, batch)$
-- Deletes ended jobs of one status, a bounded batch a call; never a locked one, never one with unpublished facts. Returns how many. Jobs of
-- stages go with their pipeline.
WITH old AS MATERIALIZED (
  SELECT j.id FROM jobservice.job_info j
  WHERE j.status = :status AND j.status IN ('SUCCEEDED', 'FAILED', 'ABORTED') AND j.stage_id IS NULL AND j.stop_date < now() - make_interval(secs => :older_than::double precision)
    -- A row is written up to a statement's time after the dates that it tells of, so the oldest one's own jobs need the minute.
    AND j.stop_date < coalesce((SELECT o.created_at - interval '1 minute' FROM jobservice.outbox o ORDER BY o.id LIMIT 1), 'infinity') AND NOT j.locked
  ORDER BY j.stop_date LIMIT :batch::integer FOR UPDATE SKIP LOCKED
), gone AS (
  DELETE FROM jobservice.job_info j USING old o WHERE j.id = ANY (ARRAY[o.id]) AND j.status IN ('SUCCEEDED', 'FAILED', 'ABORTED') AND NOT j.locked RETURNING j.id
), keys AS (
  DELETE FROM jobservice.idempotency_key k USING gone g WHERE k.job_id = ANY (ARRAY[g.id])
), runs AS (
  DELETE FROM jobservice.job_run r USING gone g WHERE r.job_id = ANY (ARRAY[g.id])
)
SELECT count(*) FROM gone;

-- name: clean_instances(older_than, after_date, after_id, batch)^
-- Looks at so many instances of jobs with steps that were made longer ago, from behind this one on, and deletes those of which no job is left, with
-- their steps and runs. One that a job takes just now is left alone.
WITH looked_at AS MATERIALIZED (
  SELECT i.id, i.created_date, i.last_job FROM jobservice.job_instance i
  WHERE i.created_date < now() - make_interval(secs => :older_than::double precision) AND (i.created_date, i.id) > (:after_date::timestamptz, :after_id::uuid)
  ORDER BY i.created_date, i.id LIMIT :batch::integer
), old AS MATERIALIZED (
  SELECT i.id FROM looked_at l JOIN jobservice.job_instance i ON i.id = l.id
  WHERE i.last_job IS NOT DISTINCT FROM l.last_job
    AND NOT EXISTS (SELECT FROM jobservice.job_execution e WHERE e.instance_id = i.id
                      AND (EXISTS (SELECT FROM jobservice.job_info j WHERE j.id = e.job_id) OR EXISTS (SELECT FROM jobservice.pipeline p WHERE p.parent_job = e.job_id)))
  ORDER BY i.id FOR UPDATE OF i SKIP LOCKED
), gone AS (
  DELETE FROM jobservice.job_instance i USING old o WHERE i.id = o.id RETURNING 1
)
SELECT (SELECT count(*) FROM looked_at) AS looked_at, (SELECT count(*) FROM gone) AS gone, l.created_date, l.id
FROM looked_at l ORDER BY l.created_date DESC, l.id DESC LIMIT 1;

-- name: abandon_pending(older_than, batch)
-- PENDING → ABORTED for jobs that a user has held for longer than `retention.pending`; the next cleaning takes them.
WITH locked AS MATERIALIZED (
  SELECT j.id FROM jobservice.job_info j
  WHERE j.status = 'PENDING' AND j.held = 'user' AND j.created_date < now() - make_interval(secs => :older_than::double precision) AND NOT j.locked
  ORDER BY j.created_date LIMIT :batch::integer
)
SELECT s.job_id FROM (SELECT array_agg(l.id) AS ids FROM locked l) x, LATERAL jobservice.stop_jobs(x.ids, 'held for longer than retention.pending') s WHERE x.ids IS NOT NULL;

-- name: raise_waiting(batch)^
SELECT r.raised, r.more FROM jobservice.raise_waiting(:batch::integer) r;

-- name: forget_daemons(older_than)$
-- Deletes the rows of daemons that ended long ago and that no job or outbox row names.
WITH gone AS (
  DELETE FROM jobservice.daemon d
  WHERE coalesce(d.lost_at, d.stopped_at) < clock_timestamp() - make_interval(secs => :older_than::double precision)
    AND NOT EXISTS (SELECT FROM jobservice.job_info j WHERE j.daemon_id = d.id AND j.status IN ('TO_BE_RUN', 'RUNNING'))
    AND NOT EXISTS (SELECT FROM jobservice.outbox o WHERE o.daemon_id = d.id) RETURNING 1
) SELECT count(*) FROM gone;

-- name: may_audit(seconds)$
-- True for one daemon in so many seconds, of all that ask.
INSERT INTO jobservice.setting (name, value) VALUES ('claim.audited', to_jsonb(clock_timestamp()))
ON CONFLICT (name) DO UPDATE SET value = excluded.value
WHERE (setting.value #>> '{}')::timestamptz NOT BETWEEN clock_timestamp() - make_interval(secs => :seconds) AND clock_timestamp() RETURNING true;

-- name: call_forgotten()
-- Tenants with claimable jobs that no claim would have found; the next one does.
SELECT f.queue, f.tenant FROM jobservice.call_forgotten(ARRAY(SELECT q.queue FROM jobservice.queue q)) f ORDER BY f.queue, f.tenant;
