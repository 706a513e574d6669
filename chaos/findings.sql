-- name: jobs
SELECT j.id::text AS id, j.tenant, j.job_class, j.status, j.run, j.attempt, j.max_attempts, j.lost_runs, j.sequence, j.stop_requested_at, j.stop_date,
       j.error_type, j.error_message, j.result::text AS result, j.parameters::text AS parameters, j.correlation_id, j.concurrency_key, j.daemon_id::text AS daemon_id,
       j.pipeline_id::text AS pipeline_id, j.stage_id::text AS stage_id
FROM jobservice.job_info j;

-- name: runs
SELECT r.job_id::text AS job_id, r.run, r.ending, r.daemon_id::text AS daemon_id FROM jobservice.job_run r;

-- name: keys
SELECT k.key, k.job_id::text AS job_id FROM jobservice.idempotency_key k;

-- name: effects
SELECT e.job_id::text AS job_id, e.run, e.done FROM chaos.effect e;

-- name: executed_twice
SELECT x.job_id::text AS job_id, x.run FROM chaos.execution x GROUP BY x.job_id, x.run HAVING count(*) > 1;

-- name: daemons
SELECT d.id::text AS id, d.pid, d.beat_at, d.lost_at, d.stopped_at FROM jobservice.daemon d;

-- name: pipelines
SELECT p.id::text AS id, p.idempotency_key, p.status, p.sequence, p.ending, p.unsettled FROM jobservice.pipeline p;

-- name: stages
SELECT s.id::text AS id, s.pipeline_id::text AS pipeline_id, s.position, s.status, s.sequence, s.stop_date, s.on_failure, s.allowed_failures,
       s.total, s.succeeded, s.failed, s.aborted, count(j.id) AS counted_total,
       count(*) FILTER (WHERE j.status = 'SUCCEEDED') AS counted_succeeded, count(*) FILTER (WHERE j.status = 'FAILED') AS counted_failed,
       count(*) FILTER (WHERE j.status = 'ABORTED') AS counted_aborted
FROM jobservice.stage s LEFT JOIN jobservice.job_info j ON j.stage_id = s.id GROUP BY s.id;

-- name: counts
SELECT (SELECT count(*) FROM chaos.execution) AS executions, (SELECT count(*) FROM chaos.refused) AS refused,
       (SELECT count(*) FROM jobservice.outbox) + (SELECT count(*) FROM jobservice.pipeline_outbox) AS outbox,
       (SELECT count(*) FROM jobservice.outbox_rejected) + (SELECT count(*) FROM jobservice.pipeline_outbox_rejected) AS outbox_rejected,
       (SELECT count(*) FROM jobservice.job_info WHERE status NOT IN ('SUCCEEDED', 'FAILED', 'ABORTED')) AS live,
       (SELECT count(*) FROM jobservice.pipeline WHERE stop_date IS NULL) AS live_pipelines,
       (SELECT coalesce(sum(sequence - 1), 0) FROM jobservice.pipeline) + (SELECT coalesce(sum(sequence - 1), 0) FROM jobservice.stage) AS pipeline_changes,
       (SELECT count(*) FROM jobservice.job_info) AS jobs,
       (SELECT coalesce(sum(sequence), 0) FROM jobservice.job_info) AS changes;
