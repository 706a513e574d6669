-- Where jobs with steps stand. Every write names the run that may do it; docs/steps.md has the protocol.

-- name: open_instance(job, run, daemon, key, parameters, anew, restartable)^
SELECT o.answer, o.instance_id, o.generation, o.context::text, o.other_job, o.epoch
FROM jobservice.open_instance(:job::uuid, :run::integer, :daemon::uuid, :key, :parameters::text::jsonb, :anew::boolean, :restartable::boolean) o;

-- name: begin_step(instance, step, part, job, run, daemon, epoch, most_starts, again)^
SELECT b.answer, b.position::text, b.context::text, b.low::text, b.high::text, b.expected, b.read, b.filtered, b.written, b.skipped, b.commits, b.rollbacks, b.starts
FROM jobservice.begin_step(:instance::uuid, :step, :part::integer, :job::uuid, :run::integer, :daemon::uuid, :epoch, :most_starts::integer, :again::boolean) b;

-- name: stand(instance, step, part)^
-- How a step stands, after a commit whose answer was lost. The lock waits for one that is under way still.
SELECT x.status, x.position::text, x.context::text, x.read, x.filtered, x.written, x.skipped, x.commits, x.rollbacks
FROM jobservice.step_execution x WHERE x.instance_id = :instance::uuid AND x.step = :step AND x.part = :part::integer FOR NO KEY UPDATE;

-- name: checkpoint(instance, step, part, job, run, daemon, position, context, read, filtered, written, skipped, commits, rollbacks)$
-- The last statement of a chunk's transaction. No row where the run is not the job's current one any more: then nothing of the chunk is
-- committed. The share of the job's row keeps a rescue away until the commit. A job that gets on is not what kills its daemons: its lost runs count no more.
-- A context that stands already is not sent: NULL.
WITH fence AS MATERIALIZED (
  SELECT j.id, j.lost_runs FROM jobservice.job_info j
  WHERE j.id = :job::uuid AND j.run = :run::integer AND j.daemon_id = :daemon::uuid AND j.status IN ('TO_BE_RUN', 'RUNNING') FOR SHARE
), kept AS (
  UPDATE jobservice.step_execution x
  SET position = :position::text::jsonb, context = coalesce(:context::text::jsonb, x.context), read = :read, filtered = :filtered, written = :written,
      skipped = :skipped, commits = :commits, rollbacks = :rollbacks
  WHERE x.instance_id = :instance::uuid AND x.step = :step AND x.part = :part::integer AND x.job_id = :job::uuid AND x.run = :run::integer AND x.commits = :commits - 1
    AND EXISTS (SELECT FROM fence)
  RETURNING x.commits
), forgiven AS (
  UPDATE jobservice.job_info j SET lost_runs = 0 FROM fence f, kept WHERE j.id = ANY (ARRAY[f.id]) AND f.lost_runs > 0
)
SELECT commits FROM kept;

-- name: expect(instance, step, part, expected)!
UPDATE jobservice.step_execution SET expected = :expected WHERE instance_id = :instance::uuid AND step = :step AND part = :part::integer;

-- name: end_step(instance, step, part, job, run, daemon, status, context, shared, exit_description, error_type, error_message, all_rollbacks, read, filtered, written, skipped, commits, rollbacks)$
-- The end of a step in this run: SUCCEEDED, SKIPPED, FAILED, or ABORTED, HANDED_BACK and PARKED, which leave it to be gone on with. `read` and the rest are what
-- this run has done. Sent again it changes nothing, and what has ended well stays so.
WITH fence AS MATERIALIZED (
  SELECT j.id, j.lost_runs FROM jobservice.job_info j
  WHERE j.id = :job::uuid AND j.run = :run::integer AND j.daemon_id = :daemon::uuid AND j.status IN ('TO_BE_RUN', 'RUNNING') FOR SHARE
), ended AS (
  UPDATE jobservice.step_execution x
  SET status = CASE WHEN :status IN ('ABORTED', 'HANDED_BACK', 'PARKED') THEN x.status ELSE :status END, context = coalesce(:context::text::jsonb, x.context),
      stop_date = clock_timestamp(), exit_description = coalesce(:exit_description, x.exit_description), error_type = :error_type, error_message = :error_message, rollbacks = :all_rollbacks,
      -- of a step in parts, which commits no chunk itself
      read = coalesce(p.read, x.read), filtered = coalesce(p.filtered, x.filtered), written = coalesce(p.written, x.written), skipped = coalesce(p.skipped, x.skipped),
      commits = coalesce(p.commits, x.commits)
  FROM (SELECT sum(y.read) AS read, sum(y.filtered) AS filtered, sum(y.written) AS written, sum(y.skipped) AS skipped, sum(y.commits) AS commits
        FROM jobservice.step_execution y WHERE :part = -1 AND :status = 'SUCCEEDED' AND y.instance_id = :instance::uuid AND y.step = :step AND y.part >= 0) p
  WHERE x.instance_id = :instance::uuid AND x.step = :step AND x.part = :part::integer AND x.job_id = :job::uuid AND x.run = :run::integer AND x.status IN ('STARTED', :status)
    AND EXISTS (SELECT FROM fence)
  RETURNING x.instance_id
), forgiven AS (
  UPDATE jobservice.job_info j SET lost_runs = 0 FROM fence f, ended WHERE j.id = ANY (ARRAY[f.id]) AND f.lost_runs > 0 AND :status = 'SUCCEEDED'
), shared AS (
  UPDATE jobservice.job_instance i SET context = :shared::text::jsonb FROM ended e WHERE i.id = e.instance_id AND :shared::text IS NOT NULL
), told AS (
  UPDATE jobservice.step_run r
  SET status = :status, end_date = clock_timestamp(), error_type = :error_type, error_message = :error_message, read = :read, filtered = :filtered, written = :written,
      skipped = :skipped, commits = :commits, rollbacks = :rollbacks
  FROM ended e WHERE r.instance_id = e.instance_id AND r.step = :step AND r.part = :part::integer AND r.job_id = :job::uuid AND r.run = :run::integer
)
SELECT count(*) FROM ended;

-- name: finish_instance(instance, job, run, daemon, done, message)$
-- With how far the job has come, which no tick of its daemon may find any more; `done` NULL: nothing was counted.
WITH fence AS MATERIALIZED (
  SELECT j.id FROM jobservice.job_info j
  WHERE j.id = :job::uuid AND j.run = :run::integer AND j.daemon_id = :daemon::uuid AND j.status IN ('TO_BE_RUN', 'RUNNING') FOR SHARE
), told AS (
  UPDATE jobservice.job_info j SET progress_done = coalesce(:done::bigint, j.progress_done), progress_total = coalesce(:done::bigint, j.progress_total),
         progress_message = coalesce(:message::text, j.progress_message)
  FROM fence f WHERE j.id = ANY (ARRAY[f.id]) AND (:done::bigint IS NOT NULL OR :message::text IS NOT NULL)
)
UPDATE jobservice.job_instance i SET status = 'SUCCEEDED' WHERE i.id = :instance::uuid AND i.last_job = :job::uuid AND EXISTS (SELECT FROM fence) RETURNING i.id;

-- name: parts(instance, step)
SELECT x.part, x.status, x.low::text, x.high::text, x.context::text, x.expected, x.read, x.filtered, x.written, x.skipped, x.commits, x.rollbacks, x.error_type, x.error_message
FROM jobservice.step_execution x WHERE x.instance_id = :instance::uuid AND x.step = :step AND x.part >= 0 ORDER BY x.part;

-- name: totals(instance, beside)^
-- What is committed of what was counted, over all steps but this one.
SELECT coalesce(sum(x.read), 0)::bigint AS done,
       coalesce(sum(CASE WHEN x.status = 'SUCCEEDED' OR x.expected IS NULL THEN x.read ELSE greatest(x.expected, x.read) END), 0)::bigint AS expected
FROM jobservice.step_execution x
WHERE x.instance_id = :instance::uuid AND x.step <> :beside
  AND (x.part >= 0 OR NOT EXISTS (SELECT FROM jobservice.step_execution p WHERE p.instance_id = x.instance_id AND p.step = x.step AND p.part >= 0));

-- name: strange(instance, known, epoch)$
SELECT x.step FROM jobservice.step_execution x
WHERE x.instance_id = :instance::uuid AND x.part = -1 AND x.status = 'STARTED' AND x.epoch = :epoch AND x.step <> ALL (:known::text[]) LIMIT 1;

-- name: stood_in(instance, step, stand_in, epoch)$
-- Why a step has failed in this start of the job, where the one that stands in for it was begun; else nothing.
SELECT concat_ws(': ', x.error_type, x.error_message)
FROM jobservice.step_execution x JOIN jobservice.step_execution s ON s.instance_id = x.instance_id AND s.step = :stand_in AND s.part = -1 AND s.epoch = :epoch
WHERE x.instance_id = :instance::uuid AND x.step = :step AND x.part = -1 AND x.status = 'FAILED' AND x.epoch = :epoch;

-- name: instance_of_part(instance, step, part, job)^
-- For the run of a part: no row where this job is not one that the service itself has made for that part.
SELECT i.context::text, (SELECT count(*) FROM jobservice.step_execution x WHERE x.instance_id = i.id AND x.step = :step AND x.part >= 0) AS parts
FROM jobservice.job_instance i JOIN jobservice.job_info j ON j.id = :job::uuid AND j.tenant = i.tenant AND j.job_class = i.job_class
JOIN jobservice.pipeline p ON p.id = j.pipeline_id AND p.parent_job IS NOT NULL AND p.data ->> 'instance_id' = i.id::text AND p.data ->> 'step' = :step
WHERE i.id = :instance::uuid AND EXISTS (SELECT FROM jobservice.step_execution x WHERE x.instance_id = i.id AND x.step = :step AND x.part = :part::integer);
