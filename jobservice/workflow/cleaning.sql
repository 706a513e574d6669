-- Retention of pipelines. What has begun to go is marked, so that nobody restarts the rest of it.

-- name: begin_to_clean(status, older_than, batch)
-- Those whose time has come, the oldest first, held; a day-old fact that is not published keeps all that ended after it.
WITH old AS MATERIALIZED (
  SELECT p.id, p.cleaned FROM jobservice.pipeline p
  WHERE p.status = :status AND p.status IN ('SUCCEEDED', 'FAILED', 'ABORTED') AND NOT p.unsettled
    AND p.stop_date < now() - make_interval(secs => :older_than::double precision)
    AND p.stop_date < coalesce((SELECT o.created_at - interval '1 minute' FROM jobservice.outbox o ORDER BY o.id LIMIT 1), 'infinity')
    AND p.stop_date < coalesce((SELECT o.created_at - interval '1 minute' FROM jobservice.pipeline_outbox o ORDER BY o.id LIMIT 1), 'infinity')
    AND NOT EXISTS (SELECT FROM jobservice.stage t JOIN jobservice.job_info j ON j.stage_id = t.id AND j.stage_id IS NOT NULL WHERE t.pipeline_id = p.id AND j.locked)
  ORDER BY p.stop_date LIMIT :batch::integer FOR UPDATE SKIP LOCKED
), marked AS (
  UPDATE jobservice.pipeline p SET cleaned = true FROM old o WHERE p.id = o.id AND NOT o.cleaned
)
SELECT o.id FROM old o;

-- name: clean_jobs(pipelines, batch)$
WITH old AS MATERIALIZED (
  SELECT j.id FROM jobservice.stage t JOIN jobservice.job_info j ON j.stage_id = t.id
  WHERE t.pipeline_id = ANY (:pipelines::uuid[]) AND NOT j.locked LIMIT :batch::integer FOR UPDATE OF j SKIP LOCKED
), gone AS (
  DELETE FROM jobservice.job_info j WHERE j.id = ANY (ARRAY(SELECT o.id FROM old o)) AND j.status IN ('SUCCEEDED', 'FAILED', 'ABORTED') AND NOT j.locked RETURNING j.id
), keys AS (
  DELETE FROM jobservice.idempotency_key k WHERE k.job_id = ANY (ARRAY(SELECT g.id FROM gone g))
), runs AS (
  DELETE FROM jobservice.job_run r WHERE r.job_id = ANY (ARRAY(SELECT g.id FROM gone g))
)
SELECT count(*) FROM gone;

-- name: forget(pipelines)$
-- Those of which no job is left, with their stages.
WITH gone AS (
  DELETE FROM jobservice.pipeline p
  WHERE p.id = ANY (:pipelines::uuid[])
    AND NOT EXISTS (SELECT FROM jobservice.stage t JOIN jobservice.job_info j ON j.stage_id = t.id WHERE t.pipeline_id = p.id) RETURNING 1
)
SELECT count(*) FROM gone;

-- name: abandon(older_than, batch)
-- Stops pipelines that nobody has started for longer than `retention.pending`; the next cleaning but one takes them.
SELECT c.pipeline_id FROM (
  SELECT array_agg(o.id) AS ids FROM (
    SELECT p.id FROM jobservice.pipeline p
    WHERE p.status = 'PENDING' AND p.ending IS NULL AND p.created_date < now() - make_interval(secs => :older_than::double precision)
      AND NOT EXISTS (SELECT FROM jobservice.stage t JOIN jobservice.job_info j ON j.stage_id = t.id AND j.stage_id IS NOT NULL WHERE t.pipeline_id = p.id AND j.locked)
    ORDER BY p.created_date LIMIT :batch::integer FOR NO KEY UPDATE SKIP LOCKED) o) x,
  LATERAL jobservice.command_pipelines(x.ids, 'stop', '"held for longer than retention.pending"') c WHERE x.ids IS NOT NULL;
