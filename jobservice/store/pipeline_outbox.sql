-- name: oldest(batch)
-- In the order of their ids, which is that of each pipeline's changes.
SELECT o.id, o.facts::text AS facts FROM jobservice.pipeline_outbox o ORDER BY o.id LIMIT :batch::integer;

-- name: delete(ids)!
DELETE FROM jobservice.pipeline_outbox WHERE id = ANY (:ids::bigint[]);

-- name: set_aside(id, reason)!
-- Out of the way of the others, for a human to look at.
WITH gone AS (DELETE FROM jobservice.pipeline_outbox o WHERE o.id = :id::bigint RETURNING o.id, to_jsonb(o) AS content)
INSERT INTO jobservice.pipeline_outbox_rejected (id, reason, content) SELECT g.id, :reason, g.content FROM gone g;

-- name: try_lock(name)$
SELECT pg_try_advisory_lock(hashtext(:name || ' pipeline sweep'));

-- name: unlock(name)$
SELECT pg_advisory_unlock(hashtext(:name || ' pipeline sweep'));
