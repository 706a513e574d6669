-- What is asked about pipelines and stages. Reads only; every table is qualified, so that each statement works through a transaction pooler.
-- JSON comes as text: a caller's codec for jsonb would otherwise change it.

-- name: get_pipelines(ids)
-- In the order of the ids given; an unknown one has no row.
SELECT p.id AS pipeline_id, p.tenant, p.name, p.queue, p.priority, p.status, p.open, p.paused, p.ending, p.reason, p.sequence, p.percent_completed, p.data::text,
       p.user_metadata::text, p.owner, p.description, p.correlation_id, p.traceparent, p.idempotency_key, p.created_date, p.updated_date, p.start_date, p.stop_date
FROM unnest(:ids::uuid[]) WITH ORDINALITY g(id, n) JOIN jobservice.pipeline p ON p.id = ANY (ARRAY[g.id])
ORDER BY g.n;

-- name: get_stages(pipelines, stages, counted)
-- Those of these pipelines, and these. Waiting and live jobs are counted in the same statement, so that with the counters of the row they make the total.
SELECT t.id AS stage_id, t.pipeline_id, t.position, t.name, t.job_class, t.status, t.hold, t.open, t.on_failure, t.allowed_failures, t.max_attempts, t.reason,
       t.total, t.succeeded, t.failed, t.aborted, t.retried, t.percent_completed, t.sequence, t.data::text, t.user_metadata::text, t.idempotency_key, t.created_date, t.open_date,
       t.start_date, t.stop_date, CASE WHEN :counted THEN coalesce(w.pending, 0) END AS pending, CASE WHEN :counted THEN coalesce(w.queued, 0) END AS queued,
       CASE WHEN :counted THEN coalesce(w.running, 0) END AS running
FROM jobservice.stage t
LEFT JOIN LATERAL (
  SELECT count(*) FILTER (WHERE j.status = 'PENDING') AS pending, count(*) FILTER (WHERE j.status = 'QUEUED') AS queued,
         count(*) FILTER (WHERE j.status IN ('TO_BE_RUN', 'RUNNING')) AS running
  FROM jobservice.job_info j
  WHERE :counted::boolean AND j.stage_id = t.id AND j.status IN ('PENDING', 'QUEUED', 'TO_BE_RUN', 'RUNNING')) w ON true
WHERE t.pipeline_id = ANY (:pipelines::uuid[]) OR t.id = ANY (:stages::uuid[])
ORDER BY t.pipeline_id, t.position;

-- name: stage_ids_of(pipeline)
SELECT t.id FROM jobservice.stage t WHERE t.pipeline_id = :pipeline ORDER BY t.position;

-- name: positions_of(stages)
SELECT t.position FROM unnest(:stages::uuid[]) WITH ORDINALITY g(id, n) JOIN jobservice.stage t ON t.id = ANY (ARRAY[g.id]) ORDER BY g.n;

-- name: find_pipeline_ids(name, statuses, owner, after, limit)
-- Newest first: ids are ordered by time (version 7), so the key is read backwards.
SELECT p.id FROM jobservice.pipeline p
WHERE p.id < coalesce(:after::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  AND (:name::text IS NULL OR p.name = :name)
  AND (:statuses::text[] IS NULL OR p.status = ANY (:statuses))
  AND (:owner::text IS NULL OR p.owner = :owner)
ORDER BY p.id DESC LIMIT :limit;

-- name: find_pipeline_ids_of_tenant(tenant, name, statuses, owner, after, limit)
-- A statement of its own, and bounds instead of an equality, as for the jobs of a tenant: else the planner may walk the key.
SELECT p.id FROM jobservice.pipeline p
WHERE p.tenant >= :tenant AND (p.tenant, p.id) < (:tenant, coalesce(:after::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
  AND (:name::text IS NULL OR p.name = :name)
  AND (:statuses::text[] IS NULL OR p.status = ANY (:statuses))
  AND (:owner::text IS NULL OR p.owner = :owner)
ORDER BY p.tenant DESC, p.id DESC LIMIT :limit;

-- name: count_pipelines(tenant, name, statuses, owner)$
SELECT count(*) FROM jobservice.pipeline p
WHERE (:tenant::text IS NULL OR p.tenant = :tenant)
  AND (:name::text IS NULL OR p.name = :name)
  AND (:statuses::text[] IS NULL OR p.status = ANY (:statuses))
  AND (:owner::text IS NULL OR p.owner = :owner);

-- name: status_of_pipeline(pipeline)$
SELECT p.status FROM jobservice.pipeline p WHERE p.id = :pipeline;

-- name: job_ids_of_stage(stage, statuses, after, limit)
-- In the order of submission. From each status at most a page, by the index: a stage may have 100,000 jobs, and in all statuses together it has no order.
SELECT j.id
FROM unnest(:statuses::text[]) s(status)
CROSS JOIN LATERAL (
  SELECT j.id, j.number FROM jobservice.job_info j
  WHERE j.stage_id = :stage AND j.status = s.status AND j.number > coalesce((SELECT a.number FROM jobservice.job_info a WHERE a.id = :after), 0)
  ORDER BY j.number LIMIT :limit) j
ORDER BY j.number LIMIT :limit;

-- name: unsettled_of(pipelines, stages)
-- Of these pipelines, and of those of these stages, the ones of which jobs are left to be moved; how many jobs each has.
SELECT p.id, (SELECT coalesce(sum(t.total), 0) FROM jobservice.stage t WHERE t.pipeline_id = p.id) AS jobs
FROM jobservice.pipeline p
WHERE p.unsettled AND p.id = ANY (:pipelines::uuid[] || ARRAY(SELECT t.pipeline_id FROM jobservice.stage t WHERE t.id = ANY (:stages::uuid[])));
