-- What is asked about jobs. Reads only; every table is qualified, so that each statement works through a transaction pooler.
-- JSON comes as text: a caller's codec for jsonb would otherwise change it.

-- name: get_jobs(ids)
-- In the order of the ids given; an unknown one has no row.
SELECT j.id, j.number, j.tenant, j.queue, j.job_class, j.status, j.priority, j.given_priority, j.run, j.attempt, j.max_attempts, j.lost_runs, j.sequence, j.daemon_id, j.held,
       j.blocked, j.locked, j.owner, j.description, j.parameters::text, j.user_metadata::text, j.concurrency_key, j.correlation_id, j.traceparent,
       j.pipeline_id, j.stage_id, j.rerun_of, j.timeout, j.expiration_date, j.trigger_after_date, j.created_date, j.queued_date, j.claim_date, j.start_date,
       j.stop_date, j.stop_requested_at, j.stop_reason, j.percent_completed, j.progress_done, j.progress_total, j.progress_message, j.progress_info::text, j.estimated_completion,
       j.result::text, j.result_class, j.error_type, j.error_message, j.stack_trace,
       (SELECT k.key FROM jobservice.idempotency_key k WHERE k.job_id = j.id LIMIT 1) AS idempotency_key
FROM unnest(:ids::uuid[]) WITH ORDINALITY g(id, n) JOIN jobservice.job_info j ON j.id = ANY (ARRAY[g.id])
ORDER BY g.n;

-- name: find_job_ids(statuses, job_class, owner, queue, parameters, after, limit)
-- Newest first: ids are ordered by time (version 7), so the key is read backwards. The ids alone: the wide rows of
-- what the filters leave out are never fetched.
SELECT j.id FROM jobservice.job_info j
WHERE j.id < coalesce(:after::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  AND (:statuses::text[] IS NULL OR j.status = ANY (:statuses))
  AND (:job_class::text IS NULL OR j.job_class = :job_class)
  AND (:owner::text IS NULL OR j.owner = :owner)
  AND (:queue::text IS NULL OR j.queue = :queue)
  AND (:parameters::text IS NULL OR j.parameters @> :parameters::text::jsonb)
ORDER BY j.id DESC LIMIT :limit;

-- name: find_job_ids_of_tenant(tenant, statuses, job_class, owner, queue, parameters, after, limit)
-- A statement of its own: with "tenant is null or equal" no plan for all callers could use job_info_of_tenant. Bounds instead of an equality,
-- and the tenant in the order: with an equality the planner may walk the key instead, past whatever other tenants have submitted since.
SELECT j.id FROM jobservice.job_info j
WHERE j.tenant >= :tenant AND (j.tenant, j.id) < (:tenant, coalesce(:after::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
  AND (:statuses::text[] IS NULL OR j.status = ANY (:statuses))
  AND (:job_class::text IS NULL OR j.job_class = :job_class)
  AND (:owner::text IS NULL OR j.owner = :owner)
  AND (:queue::text IS NULL OR j.queue = :queue)
  AND (:parameters::text IS NULL OR j.parameters @> :parameters::text::jsonb)
ORDER BY j.tenant DESC, j.id DESC LIMIT :limit;

-- name: count_jobs(tenant, statuses, job_class, owner, queue, parameters)$
SELECT count(*) FROM jobservice.job_info j
WHERE (:tenant::text IS NULL OR j.tenant = :tenant)
  AND (:statuses::text[] IS NULL OR j.status = ANY (:statuses))
  AND (:job_class::text IS NULL OR j.job_class = :job_class)
  AND (:owner::text IS NULL OR j.owner = :owner)
  AND (:queue::text IS NULL OR j.queue = :queue)
  AND (:parameters::text IS NULL OR j.parameters @> :parameters::text::jsonb);

-- name: status_of(job_id)$
SELECT j.status FROM jobservice.job_info j WHERE j.id = :job_id;

-- name: runs_of(job_id)
-- Earlier runs, and the present one, which is the row itself.
SELECT r.run, r.attempt, r.daemon_id, r.claim_date, r.start_date, r.end_date, r.ending, r.error_type, r.error_message
FROM jobservice.job_run r WHERE r.job_id = :job_id
UNION ALL
SELECT j.run, j.attempt, j.daemon_id, j.claim_date, j.start_date, j.stop_date, j.status, j.error_type, j.error_message
FROM jobservice.job_info j
WHERE j.id = :job_id AND j.claim_date IS NOT NULL AND NOT EXISTS (SELECT FROM jobservice.job_run r WHERE r.job_id = j.id AND r.run = j.run)
ORDER BY run;

-- name: why_not_running(job_id)^
-- The facts from which the reasons are told. Counts stop at 10,001: that many more or less makes no difference to a reader.
SELECT j.status, j.held, j.trigger_after_date, j.blocked AND NOT j.on_hold AS blocked, j.job_class, j.queue, j.tenant,
       -- Neither is in the way of one that has had parts.
       CASE WHEN NOT j.has_parts THEN j.expiration_date END AS expiration_date, CASE WHEN NOT j.has_parts THEN j.concurrency_key END AS concurrency_key,
       coalesce(q.paused, false) AS queue_paused, q.max_running AS queue_max, coalesce(t.paused, false) AS tenant_paused, t.max_running AS tenant_max,
       s.max_running AS share_max, CASE WHEN NOT j.has_parts THEN k.max_running END AS key_max,
       (SELECT coalesce(h.reason, '') FROM jobservice.class_hold h WHERE h.job_class = j.job_class) AS class_hold,
       (SELECT coalesce(h.reason, '') FROM jobservice.class_hold h WHERE h.job_class = '*') AS hold_of_all,
       p.id AS pipeline_id, p.name AS pipeline, p.status AS pipeline_status, coalesce(p.paused, false) AS pipeline_paused, p.ending AS pipeline_ending,
       g.position AS stage_position, g.name AS stage_name, g.hold AS stage_hold,
       q.rate AS queue_rate, q.rate_period AS queue_period, q.rate_burst AS queue_burst, t.rate AS tenant_rate, t.rate_period AS tenant_period,
       t.rate_burst AS tenant_burst,
       CASE WHEN jobservice.rate_room(q.rate, q.rate_period, q.rate_burst, q.rate_full_at, c.now) = 0
            THEN jobservice.rate_next(q.rate, q.rate_period, q.rate_burst, q.rate_full_at, c.now) END AS queue_next,
       CASE WHEN jobservice.rate_room(t.rate, t.rate_period, t.rate_burst, t.rate_full_at, c.now) = 0
            THEN jobservice.rate_next(t.rate, t.rate_period, t.rate_burst, t.rate_full_at, c.now) END AS tenant_next,
       (SELECT count(*) FROM jobservice.job_info l WHERE l.tenant = j.tenant AND l.concurrency_key = j.concurrency_key AND l.status IN ('TO_BE_RUN', 'RUNNING'))
       + (SELECT count(*) FROM jobservice.job_info l WHERE l.tenant = j.tenant AND l.concurrency_key = j.concurrency_key AND l.has_parts AND l.status IN ('PENDING', 'QUEUED')) AS key_live,
       v.queue_live, v.tenant_live, v.share_live,
       (SELECT array_agg(l.id::text ORDER BY l.id) FROM (
          SELECT l.id FROM jobservice.job_info l WHERE l.concurrency_key = j.concurrency_key AND l.tenant = j.tenant
            AND (l.status IN ('TO_BE_RUN', 'RUNNING') OR l.has_parts AND l.status IN ('PENDING', 'QUEUED')) ORDER BY l.id LIMIT 5) l) AS key_holders,
       (SELECT count(*) FROM (
          SELECT FROM jobservice.job_info a WHERE a.status = 'QUEUED' AND NOT a.blocked AND a.queue = j.queue AND a.tenant = j.tenant
            AND (~a.priority, a.number) < (~j.priority, j.number) LIMIT 10001) a) AS ahead,
       d.serving, d.knowing, d.with_room, d.free
FROM jobservice.job_info j
LEFT JOIN jobservice.queue q ON q.queue = j.queue
LEFT JOIN jobservice.tenant t ON t.tenant = j.tenant
LEFT JOIN jobservice.tenant_share s ON s.queue = j.queue AND s.tenant = j.tenant
LEFT JOIN jobservice.concurrency_key k ON k.tenant = j.tenant AND k.key = j.concurrency_key
LEFT JOIN jobservice.pipeline p ON p.id = j.pipeline_id
LEFT JOIN jobservice.stage g ON g.id = j.stage_id
CROSS JOIN LATERAL (SELECT clock_timestamp() AS now) c
CROSS JOIN LATERAL (   -- FILTER, not WHERE: all live jobs are few, and those of a tenant would be looked for among all that it has ever had
  SELECT count(*) FILTER (WHERE l.queue = j.queue) AS queue_live, count(*) FILTER (WHERE l.tenant = j.tenant) AS tenant_live,
         count(*) FILTER (WHERE l.queue = j.queue AND l.tenant = j.tenant) AS share_live
  FROM jobservice.job_info l WHERE l.status IN ('TO_BE_RUN', 'RUNNING')) v
CROSS JOIN LATERAL (
  SELECT count(*) AS serving, count(*) FILTER (WHERE j.job_class = ANY (d.job_classes)) AS knowing,
         count(*) FILTER (WHERE j.job_class = ANY (d.job_classes) AND j.job_class <> ALL (d.withheld_classes)) AS with_room,
         coalesce(sum(d.capacity - d.running) FILTER (WHERE j.job_class = ANY (d.job_classes)), 0) AS free
  FROM jobservice.daemon d WHERE d.lost_at IS NULL AND d.stopped_at IS NULL AND NOT d.draining AND j.queue = ANY (d.queues)) d
WHERE j.id = :job_id;
