-- Calls of the functions that move pipelines; docs/pipelines.md has the protocol, schema.sql their text.

-- name: settle(stages, changes, start_dates, patience)$
-- (The wait is bounded first.)
SELECT jobservice.settle(CASE WHEN bound <> '' THEN :stages::uuid[] END, :changes::text[], start_dates => :start_dates::timestamptz[]) FROM set_config('lock_timeout', :patience, true) AS bound;

-- name: held(stages)
-- Those of these stages whose pipeline somebody holds.
SELECT t.id FROM jobservice.stage t
WHERE t.id = ANY (:stages::uuid[]) AND t.pipeline_id <> ALL (ARRAY(
  SELECT p.id FROM jobservice.pipeline p WHERE p.id = ANY (ARRAY(SELECT s.pipeline_id FROM jobservice.stage s WHERE s.id = ANY (:stages::uuid[]))) FOR NO KEY UPDATE SKIP LOCKED));

-- name: settle_also(pipelines)$
SELECT jobservice.settle('{}', '{}', :pipelines::uuid[]);

-- name: change_stages(changes, touched, patience)
-- (Not for its value: a function of no result still has a row.)
SELECT jobservice.change_stages(CASE WHEN bound <> '' THEN :changes::text::jsonb END, :touched::uuid[])::text FROM set_config('lock_timeout', :patience, true) AS bound;

-- name: lock_with_parts(touched, parents, patience)$
-- The pipelines of these stages and those of parts that these jobs have had, in the order of all.
SELECT count(*) FROM (
  SELECT p.id FROM set_config('lock_timeout', :patience, true) AS bound, jobservice.pipeline p
  WHERE bound <> '' AND p.id = ANY (ARRAY(SELECT t.pipeline_id FROM jobservice.stage t WHERE t.id = ANY (:touched::uuid[]))
                                    || ARRAY(SELECT c.id FROM jobservice.pipeline c WHERE c.parent_job = ANY (:parents::uuid[])))
  ORDER BY p.id FOR NO KEY UPDATE OF p) l;

-- name: start_parts(parent, plan)
SELECT jobservice.start_parts(:parent::uuid, :plan::text::jsonb)::text;

-- name: unsettled(after, batch)
-- Pipelines of which jobs are left to be moved, and that nobody moves just now: in turns, from behind this one on.
SELECT p.id FROM jobservice.pipeline p WHERE p.unsettled ORDER BY p.id <= :after::uuid, p.id LIMIT :batch::integer FOR NO KEY UPDATE SKIP LOCKED;

-- name: settle_doubts(batch)$
SELECT jobservice.settle_doubts(:batch::integer);

-- name: submit_pipeline(pipeline)^
SELECT s.pipeline_id, s.created FROM jobservice.submit_pipeline(:pipeline::text::jsonb) s;

-- name: add_stages(pipeline, stages, tenant)
SELECT s AS id FROM jobservice.add_stages(:pipeline::uuid, :stages::text::jsonb, :tenant) s;

-- name: add_jobs(stage, jobs, tenant)
SELECT s.job_id, s.created FROM jobservice.add_jobs(:stage::uuid, :jobs::text::jsonb, :tenant) s;

-- name: command_pipelines(ids, verb, argument, tenant)
SELECT c.pipeline_id AS id, c.status, c.accepted, c.code, c.reason FROM jobservice.command_pipelines(:ids::uuid[], :verb, :argument::text::jsonb, :tenant) c;

-- name: jobs_of(pipelines, tenant)$
-- How many jobs these have together.
SELECT coalesce(sum(t.total), 0) FROM jobservice.pipeline p JOIN jobservice.stage t ON t.pipeline_id = p.id
WHERE p.id = ANY (:pipelines::uuid[]) AND (:tenant::text IS NULL OR p.tenant = :tenant);

-- name: command_stages(ids, verb, argument, tenant)
SELECT c.stage_id AS id, c.status, c.accepted, c.code, c.reason FROM jobservice.command_stages(:ids::uuid[], :verb, :argument::text::jsonb, :tenant) c;
