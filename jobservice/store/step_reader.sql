-- What is asked about jobs with steps. Reads only.

-- name: instance_of(job)^
-- The instance that a job has executed; a part's job belongs to the instance of its step.
SELECT i.id, i.tenant, i.job_class, i.generation, i.parameters::text, i.status, i.context::text, i.last_job, i.created_date,
       ARRAY(SELECT e.job_id FROM jobservice.job_execution e WHERE e.instance_id = i.id ORDER BY e.created_date, e.job_id) AS jobs
FROM jobservice.job_instance i
WHERE i.id = coalesce((SELECT e.instance_id FROM jobservice.job_execution e WHERE e.job_id = :job::uuid),
                      (SELECT (p.data ->> 'instance_id')::uuid FROM jobservice.job_info j JOIN jobservice.pipeline p ON p.id = j.pipeline_id
                       WHERE j.id = :job::uuid AND p.parent_job IS NOT NULL));

-- name: instance(id)^
SELECT i.id, i.tenant, i.job_class, i.generation, i.parameters::text, i.status, i.context::text, i.last_job, i.created_date,
       ARRAY(SELECT e.job_id FROM jobservice.job_execution e WHERE e.instance_id = i.id ORDER BY e.created_date, e.job_id) AS jobs
FROM jobservice.job_instance i WHERE i.id = :id::uuid;

-- name: steps(instance)
-- In the order in which they were begun first, each with its parts behind it; the counts of a step in parts are those of its parts together.
SELECT x.step, x.part, x.status, x.job_id, x.run, x.starts, x.low::text, x.high::text, x.position::text, coalesce(p.expected, x.expected) AS expected,
       coalesce(p.read, x.read) AS read, coalesce(p.filtered, x.filtered) AS filtered, coalesce(p.written, x.written) AS written, coalesce(p.skipped, x.skipped) AS skipped,
       coalesce(p.commits, x.commits) AS commits, coalesce(p.rollbacks, x.rollbacks) AS rollbacks,
       x.exit_description, x.error_type, x.error_message, x.start_date, x.stop_date
FROM jobservice.step_execution x, LATERAL (
  SELECT CASE WHEN count(*) = count(y.expected) THEN sum(y.expected)::bigint END AS expected, sum(y.read)::bigint AS read, sum(y.filtered)::bigint AS filtered,
         sum(y.written)::bigint AS written, sum(y.skipped)::bigint AS skipped, sum(y.commits)::bigint AS commits, sum(y.rollbacks)::bigint AS rollbacks
  FROM jobservice.step_execution y WHERE x.part = -1 AND y.instance_id = x.instance_id AND y.step = x.step AND y.part >= 0) p
WHERE x.instance_id = :instance::uuid
ORDER BY (SELECT min(r.start_date) FROM jobservice.step_run r WHERE r.instance_id = x.instance_id AND r.step = x.step AND r.part = -1) NULLS LAST, x.step, x.part;

-- name: runs(instance)
SELECT r.step, r.part, r.job_id, r.run, coalesce(h.daemon_id, j.daemon_id) AS daemon_id, r.status, r.start_date, r.end_date, r.read, r.filtered, r.written, r.skipped, r.commits, r.rollbacks, r.error_type, r.error_message
FROM jobservice.step_run r LEFT JOIN jobservice.job_run h ON h.job_id = r.job_id AND h.run = r.run LEFT JOIN jobservice.job_info j ON j.id = r.job_id AND j.run = r.run
WHERE r.instance_id = :instance::uuid ORDER BY r.start_date, r.step, r.part, r.run;
