-- name: claim(queue, slots, daemon, skipped_classes, charged_tenants, charged_seconds, ended)
-- One call, one transaction, committed by the server. The rule is in the function's text in schema.sql.
SELECT * FROM jobservice.claim(:queue, :slots::integer, :daemon::uuid, :skipped_classes::text[], :charged_tenants::text[], :charged_seconds::double precision[], :ended::uuid[]);

-- name: unblock(tenants, keys)
-- Lets the next jobs of released concurrency keys into the claimable index.
SELECT jobservice.unblock(:tenants::text[], :keys::text[]);

-- name: stages_of(ids)
-- Stages and their pipelines as they are, for the jobs that a claim brought.
SELECT s.id, (to_jsonb(s) || jsonb_build_object('stage_id', s.id))::text AS stage, (to_jsonb(p) || jsonb_build_object('pipeline_id', p.id))::text AS pipeline
FROM jobservice.stage s JOIN jobservice.pipeline p ON p.id = ANY (ARRAY[s.pipeline_id]) WHERE s.id = ANY (:ids::uuid[]);
