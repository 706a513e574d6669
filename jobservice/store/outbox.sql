-- name: own(daemon, batch)
-- This daemon's rows that memory does not hold, in the order of their ids.
SELECT o.id, o.daemon_id, o.job_ids, o.sequences, o.runs, o.attempts, o.statuses, o.previous, o.times, o.priorities, o.percents, o.details::text[] AS details
FROM jobservice.outbox o WHERE o.daemon_id = :daemon::uuid ORDER BY o.id LIMIT :batch::integer;

-- name: ownerless(batch)
-- Rows of clients, and of daemons that are not alive, in the order of their ids.
SELECT o.id, o.daemon_id, o.job_ids, o.sequences, o.runs, o.attempts, o.statuses, o.previous, o.times, o.priorities, o.percents, o.details::text[] AS details
FROM jobservice.outbox o LEFT JOIN jobservice.daemon d ON d.id = o.daemon_id
WHERE o.daemon_id IS NULL OR d.id IS NULL OR d.lost_at IS NOT NULL OR d.stopped_at IS NOT NULL ORDER BY o.id LIMIT :batch::integer;

-- name: earlier(before, jobs)
-- Rows of anybody with a smaller id that hold one of these jobs: to be published first, or a job's events overtake each other.
SELECT o.id, o.daemon_id, o.job_ids, o.sequences, o.runs, o.attempts, o.statuses, o.previous, o.times, o.priorities, o.percents, o.details::text[] AS details
FROM jobservice.outbox o WHERE o.id < :before::bigint AND o.job_ids && :jobs::uuid[] ORDER BY o.id;

-- name: own_ids(daemon)
SELECT o.id FROM jobservice.outbox o WHERE o.daemon_id = :daemon::uuid ORDER BY o.id LIMIT 100000;

-- name: cards(jobs)
-- What events say of jobs and what never changes; the result too, since a job that has SUCCEEDED stays so.
SELECT j.id, j.tenant, j.queue, j.job_class, j.owner, j.description, j.correlation_id, j.traceparent, j.pipeline_id, j.stage_id,
       CASE WHEN j.status = 'SUCCEEDED' AND octet_length(j.result::text) <= 70000 THEN j.result::text
            WHEN j.status = 'SUCCEEDED' AND j.result IS NOT NULL THEN '' END AS result
FROM jobservice.job_info j WHERE j.id = ANY (:jobs::uuid[]);

-- name: delete(ids)!
DELETE FROM jobservice.outbox WHERE id = ANY (:ids::bigint[]);

-- name: set_aside(id, reason)!
-- Out of the way of the others, for a human to look at.
WITH gone AS (DELETE FROM jobservice.outbox o WHERE o.id = :id::bigint RETURNING o.id, to_jsonb(o) AS content)
INSERT INTO jobservice.outbox_rejected (id, reason, content) SELECT g.id, :reason, g.content FROM gone g;

-- name: try_sweep_lock(name)$
SELECT pg_try_advisory_lock(hashtext(:name || ' sweep'));

-- name: release_sweep_lock(name)$
SELECT pg_advisory_unlock(hashtext(:name || ' sweep'));
