-- What jobs did, as the jobs themselves wrote it. A write is accepted only from the run that the job's row names as its
-- current one, and the row is held (FOR SHARE) until the write is committed: the way a job author fences an effect.
CREATE SCHEMA chaos;

CREATE TABLE chaos.effect (
  job_id uuid PRIMARY KEY,
  run    integer NOT NULL,      -- only ever replaced by a larger one
  steps  integer NOT NULL,
  done   boolean NOT NULL
);

-- One row for each execution that began. Two of one run would be two daemons (or one, twice) at the same work.
CREATE TABLE chaos.execution (
  job_id    uuid NOT NULL,
  run       integer NOT NULL,
  execution uuid NOT NULL,
  PRIMARY KEY (job_id, run, execution)
);

-- Writes that came too late: from runs that had been replaced, or whose job had ended.
CREATE TABLE chaos.refused (
  job_id uuid NOT NULL,
  run    integer NOT NULL,
  at     timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Begins (first write of a run), goes on, or is done. False: this run may not write any more. Saying it again is harmless.
CREATE FUNCTION chaos.write(job uuid, this_run integer, this_execution uuid, is_done boolean) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO chaos.execution VALUES (job, this_run, this_execution) ON CONFLICT DO NOTHING;
  PERFORM FROM jobservice.job_info j WHERE j.id = job AND j.run = this_run AND j.status IN ('TO_BE_RUN', 'RUNNING') FOR SHARE;
  IF FOUND THEN
    INSERT INTO chaos.effect AS e VALUES (job, this_run, 1, is_done)
    ON CONFLICT (job_id) DO UPDATE SET run = this_run, done = is_done, steps = CASE e.run WHEN this_run THEN e.steps + 1 ELSE 1 END
    WHERE e.run <= this_run;
    IF FOUND THEN
      RETURN true;
    END IF;
  END IF;
  INSERT INTO chaos.refused VALUES (job, this_run);
  RETURN false;
END $$;
