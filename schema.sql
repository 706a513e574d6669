-- JobService: the whole schema, readable from top to bottom. Applied by `jobservice schema apply` (idempotent, under an
-- advisory lock) or by `psql -1 -f schema.sql`. Another schema name replaces the word in the next two statements.
--
-- First the tables of queues, jobs, events and pipelines, then the functions, noun by noun; aging, steps and schedules bring
-- their tables with them.
--
-- Who calls what: `submit`, `submit_pipeline`, `add_stages`, `add_jobs`, `stop`, `stop_jobs`, `command_pipelines`,
-- `command_stages`, `hold_class` and `release_class` are for everybody; the other functions are parts of those, or the
-- daemon's. All other status changes are statements of the daemon and the client (jobservice/**/*.sql), each one guarded
-- update with its outbox row. docs/lifecycle.md tells the protocol.

CREATE SCHEMA IF NOT EXISTS jobservice;
SET search_path = jobservice, pg_temp;

CREATE TABLE IF NOT EXISTS schema_version (
  version    integer PRIMARY KEY,
  applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What SQL functions must know of the installation; the daemon writes its settings here at boot.
CREATE TABLE IF NOT EXISTS setting (
  name  text PRIMARY KEY,
  value jsonb NOT NULL
);

-- ----------------------------------------------------------------------------- queues, tenants, keys, holds, daemons

-- One row per queue: its limits, and the turnstile through which its claims pass one at a time.
CREATE TABLE IF NOT EXISTS queue (
  queue        text PRIMARY KEY,
  max_running  integer CHECK (max_running >= 0),
  paused       boolean NOT NULL DEFAULT false,
  events       text NOT NULL DEFAULT 'all' CHECK (events IN ('all', 'final', 'none')),   -- which status changes are published
  rate         integer CHECK (rate > 0),                                                 -- starts in
  rate_period  double precision NOT NULL DEFAULT 1 CHECK (rate_period BETWEEN 0.001 AND 1e9),   -- so many seconds,
  rate_burst   integer CHECK (rate_burst BETWEEN 1 AND rate),                            -- and so many at once; NULL: as many as the rate
  rate_full_at timestamptz,                                                              -- all that is kept of the bucket; `claim` writes it
  created_date timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE queue ADD COLUMN IF NOT EXISTS events text NOT NULL DEFAULT 'all' CHECK (events IN ('all', 'final', 'none'));
ALTER TABLE queue ADD COLUMN IF NOT EXISTS rate integer CHECK (rate > 0),
  ADD COLUMN IF NOT EXISTS rate_period double precision NOT NULL DEFAULT 1 CHECK (rate_period BETWEEN 0.001 AND 1e9),
  ADD COLUMN IF NOT EXISTS rate_burst integer CHECK (rate_burst BETWEEN 1 AND rate), ADD COLUMN IF NOT EXISTS rate_full_at timestamptz;

-- Tenants that have a limit, a weight, a pause, or are known where only known ones may submit.
CREATE TABLE IF NOT EXISTS tenant (
  tenant       text PRIMARY KEY,
  max_running  integer CHECK (max_running >= 0),
  weight       real NOT NULL DEFAULT 1 CHECK (weight > 0 AND weight < 'Infinity'),
  paused       boolean NOT NULL DEFAULT false,
  rate         integer CHECK (rate > 0),                                                 -- starts in
  rate_period  double precision NOT NULL DEFAULT 1 CHECK (rate_period BETWEEN 0.001 AND 1e9),   -- so many seconds,
  rate_burst   integer CHECK (rate_burst BETWEEN 1 AND rate),                            -- and so many at once; NULL: as many as the rate
  rate_full_at timestamptz,                                                              -- all that is kept of the bucket; `claim` writes it
  created_date timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE tenant ADD COLUMN IF NOT EXISTS rate integer CHECK (rate > 0),
  ADD COLUMN IF NOT EXISTS rate_period double precision NOT NULL DEFAULT 1 CHECK (rate_period BETWEEN 0.001 AND 1e9),
  ADD COLUMN IF NOT EXISTS rate_burst integer CHECK (rate_burst BETWEEN 1 AND rate), ADD COLUMN IF NOT EXISTS rate_full_at timestamptz;
DROP INDEX IF EXISTS tenant_limited;
CREATE INDEX IF NOT EXISTS tenant_bounded ON tenant (tenant) WHERE max_running IS NOT NULL OR rate IS NOT NULL;

-- A tenant's share of one queue, as operators want it.
CREATE TABLE IF NOT EXISTS tenant_share (
  queue       text NOT NULL,
  tenant      text NOT NULL,
  max_running integer CHECK (max_running >= 0),
  weight      real CHECK (weight > 0 AND weight < 'Infinity'),   -- NULL: the tenant's own
  PRIMARY KEY (queue, tenant)
);
ALTER TABLE tenant_share DROP COLUMN IF EXISTS charged, DROP COLUMN IF EXISTS active;

-- Jobs of one tenant with the same key run at most `max_running` at a time, on all queues together. The row is the turnstile: live jobs
-- are counted. Rows that say no more than the default and that no job needs are deleted; a missing one is made when a job needs it.
CREATE TABLE IF NOT EXISTS concurrency_key (
  tenant      text NOT NULL,
  key         text NOT NULL,
  max_running integer NOT NULL DEFAULT 1 CHECK (max_running >= 0),
  PRIMARY KEY (tenant, key)
);

-- Job classes of which nothing starts until they are released, whether anybody knows them or not; `*` holds all. Written by `hold_class` and
-- `release_class` only: a row deleted by hand leaves behind what claims have put aside for it.
CREATE TABLE IF NOT EXISTS class_hold (
  job_class    text PRIMARY KEY,
  reason       text,
  created_date timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What claims have put aside for a pipeline or a class that was in other hands just then: whether it is held still, somebody has to look afterwards.
-- Claims only insert here. Whoever looks, each second, lets in what is held no more and deletes the row.
CREATE TABLE IF NOT EXISTS doubtful_hold (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  pipeline_id uuid,
  job_class   text,
  CHECK (num_nonnulls(pipeline_id, job_class) = 1)
);

-- A daemon is a fresh id per boot. `counter` is its heartbeat; others watch it stand still.
CREATE TABLE IF NOT EXISTS daemon (
  id          uuid PRIMARY KEY,
  host        text NOT NULL,
  pid         integer NOT NULL,
  version     text NOT NULL,
  queues      text[] NOT NULL,
  job_classes text[] NOT NULL,
  capacity    integer NOT NULL,
  running     integer NOT NULL DEFAULT 0,
  stuck       integer NOT NULL DEFAULT 0,                        -- runs that were given up and go on: their slots are given to others
  counter     bigint NOT NULL DEFAULT 0,
  idle        boolean NOT NULL DEFAULT false,                    -- submitters notify only when a daemon is idle
  draining    boolean NOT NULL DEFAULT false,
  withheld_classes text[] NOT NULL DEFAULT '{}',                 -- of job_classes: no room for their workspaces, so not claimed now
  http_url    text,
  started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  beat_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  lost_at     timestamptz,
  stopped_at  timestamptz
) WITH (fillfactor = 50);

-- -------------------------------------------------------------------------------------------------------------- jobs

CREATE TABLE IF NOT EXISTS job_info (
  id                   uuid PRIMARY KEY,
  number               bigint GENERATED ALWAYS AS IDENTITY,      -- submission order within a priority
  tenant               text NOT NULL,
  queue                text NOT NULL,
  job_class            text NOT NULL,
  status               text NOT NULL,
  priority             integer NOT NULL DEFAULT 0,
  run                  integer NOT NULL DEFAULT 0,               -- with daemon_id the fence; only grows
  attempt              integer NOT NULL DEFAULT 0,               -- runs that count against max_attempts
  max_attempts         integer,                                  -- NULL: as the job class says
  lost_runs            integer NOT NULL DEFAULT 0,
  sequence             integer NOT NULL DEFAULT 1,               -- counts the status changes
  daemon_id            uuid,
  turn                 bigint NOT NULL DEFAULT 0,                -- of the last claim
  held                 text,                                     -- what holds a PENDING job; only its verb releases it
  blocked              boolean NOT NULL DEFAULT false,           -- QUEUED, but not to be claimed: its concurrency key is taken, or it is
  on_hold              boolean NOT NULL DEFAULT false CHECK (NOT on_hold OR blocked),   -- put aside: its class is held, its pipeline paused or ending
  locked               boolean NOT NULL DEFAULT false,           -- never cleaned
  owner                text,
  description          text,
  parameters           jsonb NOT NULL DEFAULT '{}',
  user_metadata        jsonb NOT NULL DEFAULT '{}',
  concurrency_key      text,
  correlation_id       text,
  traceparent          text,
  pipeline_id          uuid,
  stage_id             uuid,
  rerun_of             uuid,
  timeout              double precision,                         -- seconds: do not run longer than
  expiration_date      timestamptz,                              -- do not start after
  trigger_after_date   timestamptz,
  created_date         timestamptz NOT NULL DEFAULT clock_timestamp(),
  queued_date          timestamptz,
  claim_date           timestamptz,
  start_date           timestamptz,
  stop_date            timestamptz,
  stop_requested_at    timestamptz,
  stop_reason          text,
  percent_completed    smallint NOT NULL DEFAULT 0 CHECK (percent_completed BETWEEN 0 AND 100),
  progress_done        bigint,
  progress_total       bigint,
  progress_message     text,
  estimated_completion timestamptz,
  result               jsonb,
  result_class         text,
  error_type           text,
  error_message        text,
  stack_trace          text
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
-- A job is written two or three times after its submission, and never HOT: each change of status changes what is in the partial indexes.
-- Half of each page free keeps its versions on one page: 4 to 5 % less WAL than with 70, 12 % less than with 100, and the smallest table (452,
-- 527 and 699 bytes a job). Vacuum reads all of the large indexes whatever it clears, 6 s with ten million jobs, so at one row in twenty.

ALTER TABLE job_info ADD COLUMN IF NOT EXISTS progress_info jsonb;   -- what its job tells beside the counts, and its named steps
ALTER TABLE job_info ADD COLUMN IF NOT EXISTS given_priority integer;   -- what somebody gave, where waiting has raised `priority`; else NULL
ALTER TABLE job_info ADD COLUMN IF NOT EXISTS turn bigint NOT NULL DEFAULT 0;
ALTER TABLE job_info ADD COLUMN IF NOT EXISTS on_hold boolean NOT NULL DEFAULT false CHECK (NOT on_hold OR blocked);
ALTER TABLE job_info ADD COLUMN IF NOT EXISTS has_parts boolean NOT NULL DEFAULT false;   -- it has parted a step: until it ends it keeps its concurrency key and does not expire

-- The status and what belongs to it: a row that breaks this can be written by nobody. (IS TRUE: a CHECK lets NULL pass.)
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conrelid = 'job_info'::regclass AND c.conname = 'job_info_status_whole') THEN
    ALTER TABLE job_info DROP CONSTRAINT IF EXISTS job_info_status_fits;
    ALTER TABLE job_info ADD CONSTRAINT job_info_status_whole CHECK ((CASE status
        WHEN 'PENDING'   THEN held IN ('user', 'trigger', 'backoff', 'stage', 'parts') AND daemon_id IS NULL AND claim_date IS NULL AND stop_date IS NULL
                              AND (held NOT IN ('trigger', 'backoff') OR trigger_after_date IS NOT NULL)
        WHEN 'QUEUED'    THEN held IS NULL AND daemon_id IS NULL AND queued_date IS NOT NULL AND claim_date IS NULL AND stop_date IS NULL
                              AND stop_requested_at IS NULL
        WHEN 'TO_BE_RUN' THEN held IS NULL AND NOT blocked AND daemon_id IS NOT NULL AND run > 0 AND claim_date IS NOT NULL AND start_date IS NULL AND stop_date IS NULL
        WHEN 'RUNNING'   THEN held IS NULL AND NOT blocked AND daemon_id IS NOT NULL AND run > 0 AND start_date IS NOT NULL AND stop_date IS NULL
        WHEN 'SUCCEEDED' THEN stop_date IS NOT NULL AND start_date IS NOT NULL AND percent_completed = 100 AND error_message IS NULL
        WHEN 'FAILED'    THEN stop_date IS NOT NULL AND error_message IS NOT NULL
        WHEN 'ABORTED'   THEN stop_date IS NOT NULL
        ELSE false END) IS TRUE);
  END IF;
END $$;

-- Every status change writes into each index whose predicate the new row meets, so each one names its reader.
DROP INDEX IF EXISTS job_info_claim, job_info_live;
CREATE INDEX IF NOT EXISTS job_info_claimable ON job_info (queue, tenant, (~priority), number) WHERE status = 'QUEUED' AND NOT blocked;
CREATE INDEX IF NOT EXISTS job_info_live_turn ON job_info (queue, turn, daemon_id) WHERE status IN ('TO_BE_RUN', 'RUNNING');
CREATE INDEX IF NOT EXISTS job_info_due       ON job_info (trigger_after_date) WHERE status = 'PENDING' AND held IN ('trigger', 'backoff');
CREATE INDEX IF NOT EXISTS job_info_held      ON job_info (created_date) WHERE status = 'PENDING' AND held IN ('user', 'stage');
CREATE INDEX IF NOT EXISTS job_info_expiry    ON job_info (expiration_date) WHERE status IN ('PENDING', 'QUEUED') AND expiration_date IS NOT NULL;
DROP INDEX IF EXISTS job_info_keyed, job_info_key_wait, job_info_blocked;
CREATE INDEX IF NOT EXISTS job_info_key_live  ON job_info (tenant, concurrency_key) WHERE concurrency_key IS NOT NULL AND status IN ('TO_BE_RUN', 'RUNNING');
CREATE INDEX IF NOT EXISTS job_info_key_kept  ON job_info (tenant, concurrency_key) WHERE concurrency_key IS NOT NULL AND has_parts AND status IN ('PENDING', 'QUEUED');
CREATE INDEX IF NOT EXISTS job_info_key_next  ON job_info (tenant, concurrency_key, queue, priority DESC, number) WHERE concurrency_key IS NOT NULL AND status = 'QUEUED' AND NOT on_hold;
CREATE INDEX IF NOT EXISTS job_info_key_full  ON job_info (tenant, concurrency_key) WHERE status = 'QUEUED' AND blocked AND NOT on_hold;
CREATE INDEX IF NOT EXISTS job_info_on_hold   ON job_info (job_class) WHERE status = 'QUEUED' AND on_hold;
CREATE INDEX IF NOT EXISTS job_info_paused    ON job_info (pipeline_id, number) WHERE status = 'QUEUED' AND on_hold AND pipeline_id IS NOT NULL;
DROP INDEX IF EXISTS job_info_retention;
CREATE INDEX IF NOT EXISTS job_info_clean     ON job_info (status, stop_date) WHERE status IN ('SUCCEEDED', 'FAILED', 'ABORTED') AND stage_id IS NULL;
CREATE INDEX IF NOT EXISTS job_info_stage     ON job_info (stage_id, status, number) WHERE stage_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS job_info_locked    ON job_info (stage_id) WHERE locked AND stage_id IS NOT NULL;
-- The one full index, for lists; without a tenant the key serves. Its predicate is always true, and keeps statements that name jobs by id away:
-- a plan that was made on an empty table may else search by id in here, through all tenants.
DROP INDEX IF EXISTS job_info_list;
CREATE INDEX IF NOT EXISTS job_info_of_tenant ON job_info (tenant, id) WHERE tenant IS NOT NULL;

-- ------------------------------------------------------------------------------------------- what the claim works from
--
-- A claim may not walk all tenants that have something queued, and under an old snapshot (a dump, a forgotten transaction) not all index
-- entries of what was claimed meanwhile, which nobody may clear away. So it keeps books. Only `claim` writes them, inside the turnstile,
-- each time in a row of a higher turn: the newest is found first, whatever older ones cannot be cleared away. docs/fair-share.md.

-- The number of a claim. It orders what claims of one queue wrote.
CREATE SEQUENCE IF NOT EXISTS claim_turn;

-- One row for each statement and tenant that made jobs claimable: its next claim takes it in and deletes it. Written by triggers, so that
-- no statement can forget it, and only inserted, so that no submitter ever waits for a claim or a claim for a submitter.
CREATE TABLE IF NOT EXISTS tenant_call (
  queue  text NOT NULL,
  writer xid8 NOT NULL DEFAULT pg_current_xact_id(),             -- what is older than all that still runs was read
  tenant text NOT NULL,
  rank   integer,                                                -- of the first of the jobs, in the order of job_info_claimable;
  number bigint                                                  -- NULL: only what operators say of it is new
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

CREATE INDEX IF NOT EXISTS tenant_call_next ON tenant_call (queue, writer);

-- What a tenant has used of a queue, and whether there may be something to claim for it.
CREATE TABLE IF NOT EXISTS tenant_account (
  queue   text NOT NULL,
  tenant  text NOT NULL,
  turn    bigint NOT NULL,
  active  boolean NOT NULL,                                      -- there may be something to claim for it
  since   bigint,                                                -- the claim in which it came, to take part in all since; NULL: it takes no part
  weight  real NOT NULL,
  charged double precision NOT NULL DEFAULT 0,                   -- slot-seconds of ended runs
  spent   double precision NOT NULL GENERATED ALWAYS AS (charged / weight) STORED,
  rank    integer NOT NULL,                                      -- before these two there is nothing claimable in job_info_claimable
  number  bigint NOT NULL,
  PRIMARY KEY (queue, tenant, turn)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

CREATE INDEX IF NOT EXISTS tenant_account_next ON tenant_account (queue, weight, spent, tenant) WHERE active;

-- Where the claims of a queue begin to look. Written only when a look has met many entries of what is gone.
CREATE TABLE IF NOT EXISTS claim_bound (
  queue       text NOT NULL,
  turn        bigint NOT NULL,
  spent       double precision NOT NULL,                         -- no active account has spent less
  writer      xid8 NOT NULL,                                     -- all calls of older transactions are taken in
  live_turn   bigint NOT NULL,                                   -- live jobs of older claims: none but these
  live_before uuid[] NOT NULL,
  PRIMARY KEY (queue, turn)
);

-- By the owner's rights: whoever may queue jobs need not be granted the books.
CREATE OR REPLACE FUNCTION call_inserted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  INSERT INTO tenant_call (queue, tenant, rank, number)
  SELECT DISTINCT ON (f.queue, f.tenant) f.queue, f.tenant, ~f.priority, f.number FROM fresh f
  WHERE f.status = 'QUEUED' AND NOT f.blocked ORDER BY f.queue, f.tenant, ~f.priority, f.number;
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION call_updated() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  INSERT INTO tenant_call (queue, tenant, rank, number) VALUES (NEW.queue, NEW.tenant, ~NEW.priority, NEW.number);
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION call_told() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  INSERT INTO tenant_call (queue, tenant)
  SELECT q.queue, coalesce(NEW.tenant, OLD.tenant) FROM queue q
  WHERE TG_TABLE_NAME = 'tenant' OR q.queue = coalesce(to_jsonb(NEW), to_jsonb(OLD)) ->> 'queue';
  RETURN NULL;
END $$;

-- The first for whole batches at once. The second only for jobs that become claimable another way: on the hot path nothing but its
-- condition is evaluated.
CREATE OR REPLACE TRIGGER job_info_call_inserted AFTER INSERT ON job_info REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION call_inserted();
CREATE OR REPLACE TRIGGER job_info_call_updated AFTER UPDATE OF status, blocked, priority, queue, tenant ON job_info FOR EACH ROW
  WHEN (NEW.status = 'QUEUED' AND NOT NEW.blocked AND (OLD.status <> 'QUEUED' OR OLD.blocked OR OLD.priority < NEW.priority
                                                       OR (OLD.queue, OLD.tenant) <> (NEW.queue, NEW.tenant))) EXECUTE FUNCTION call_updated();
CREATE OR REPLACE TRIGGER tenant_call_told AFTER INSERT OR DELETE OR UPDATE OF weight, paused, max_running ON tenant FOR EACH ROW EXECUTE FUNCTION call_told();
CREATE OR REPLACE TRIGGER tenant_share_call_told AFTER INSERT OR DELETE OR UPDATE OF weight, max_running ON tenant_share FOR EACH ROW EXECUTE FUNCTION call_told();

-- ------------------------------------------------------------- what jobs leave behind, and what is published of them

-- Runs that did not end their job: retried, handed back, lost, or followed by a restart. The last run is the row in job_info.
CREATE TABLE IF NOT EXISTS job_run (
  job_id        uuid NOT NULL,
  run           integer NOT NULL,
  attempt       integer NOT NULL,
  daemon_id     uuid,
  claim_date    timestamptz,
  start_date    timestamptz,
  end_date      timestamptz NOT NULL,
  ending        text NOT NULL,                                   -- retried, handed_back, lost, or the status it had ended with
  error_type    text,
  error_message text,
  PRIMARY KEY (job_id, run)
);

-- A key lives as long as its job.
CREATE TABLE IF NOT EXISTS idempotency_key (
  tenant text NOT NULL,
  key    text NOT NULL,
  job_id uuid NOT NULL,
  PRIMARY KEY (tenant, key)
);
CREATE INDEX IF NOT EXISTS idempotency_key_job ON idempotency_key (job_id);

-- Facts, one row per transaction: arrays of one length, sorted by sequence within a job. Deleted once the broker has confirmed.
-- The id is drawn after the job rows are locked, without cache: ids follow each job's order.
CREATE TABLE IF NOT EXISTS outbox (
  id         bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,
  daemon_id  uuid,                                               -- who publishes it; NULL: whoever sweeps
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  job_ids    uuid[] NOT NULL,
  sequences  integer[] NOT NULL,
  runs       integer[] NOT NULL,
  attempts   integer[] NOT NULL,
  statuses   text[] NOT NULL,
  previous   text[] NOT NULL,
  times      timestamptz[] NOT NULL,
  priorities integer[] NOT NULL,
  percents   smallint[] NOT NULL,
  details    jsonb[] NOT NULL                                    -- NULL, or {"error": {"type", "message"}, "will_retry"}
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- Outbox rows that cannot be decoded, set aside so that the rest goes on.
CREATE TABLE IF NOT EXISTS outbox_rejected (
  id          bigint PRIMARY KEY,
  rejected_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  reason      text NOT NULL,
  content     jsonb NOT NULL
);

-- Durable subscriptions, as the client that declared the queue said.
CREATE TABLE IF NOT EXISTS subscription (
  name         text PRIMARY KEY,
  filter       jsonb NOT NULL,
  created_date timestamptz NOT NULL DEFAULT clock_timestamp()
);


-- ---------------------------------------------------------------------------- pipelines and their stages: the tables

-- Pipelines: ordered stages of jobs. docs/pipelines.md has the protocol. The row is the lock of the whole tree: whoever writes it or one of its
-- stages holds it, and who holds it waits for no job row.
CREATE TABLE IF NOT EXISTS pipeline (
  id                uuid PRIMARY KEY,
  tenant            text NOT NULL,
  name              text NOT NULL,
  queue             text NOT NULL,
  priority          integer NOT NULL DEFAULT 0,
  status            text NOT NULL DEFAULT 'PENDING' CHECK (status IN ('PENDING', 'QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'ABORTED')),
  open              boolean NOT NULL DEFAULT false,              -- not sealed: it cannot finish
  paused            boolean NOT NULL DEFAULT false,              -- nothing new starts
  ending            text CHECK (ending IN ('FAILED', 'ABORTED')),   -- how it ends once its last job has
  reason            text,                                        -- why it failed or was aborted
  unsettled         boolean NOT NULL DEFAULT false,              -- jobs are left to be moved: any daemon goes on
  cleaned           boolean NOT NULL DEFAULT false,              -- its jobs are being deleted: it is not restarted any more
  sequence          integer NOT NULL DEFAULT 1,
  percent_completed smallint NOT NULL DEFAULT 0,
  data              jsonb NOT NULL DEFAULT '{}',
  user_metadata     jsonb NOT NULL DEFAULT '{}',
  owner             text,
  description       text,
  correlation_id    text,
  traceparent       text,
  idempotency_key   text,
  parent_job        uuid,                                        -- the job whose step these are the parts of
  created_date      timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_date      timestamptz NOT NULL DEFAULT clock_timestamp(),
  start_date        timestamptz,
  stop_date         timestamptz,
  CONSTRAINT pipeline_status_fits CHECK ((status IN ('SUCCEEDED', 'FAILED', 'ABORTED')) = (stop_date IS NOT NULL) AND (stop_date IS NULL OR parent_job IS NOT NULL OR NOT unsettled))
) WITH (fillfactor = 50);
ALTER TABLE pipeline ADD COLUMN IF NOT EXISTS priority_left int8range;   -- numbers of the jobs that are still to get its priority, if they wait
CREATE UNIQUE INDEX IF NOT EXISTS pipeline_key ON pipeline (tenant, idempotency_key) WHERE idempotency_key IS NOT NULL;
DROP INDEX IF EXISTS pipeline_list;
CREATE INDEX IF NOT EXISTS pipeline_of_tenant  ON pipeline (tenant, id) WHERE tenant IS NOT NULL;    -- as job_info_of_tenant
CREATE INDEX IF NOT EXISTS pipeline_parent     ON pipeline (parent_job) WHERE parent_job IS NOT NULL;
CREATE INDEX IF NOT EXISTS pipeline_unsettled  ON pipeline (id) WHERE unsettled;
CREATE INDEX IF NOT EXISTS pipeline_holding    ON pipeline (id) WHERE (paused OR ending IS NOT NULL) AND stop_date IS NULL;
CREATE INDEX IF NOT EXISTS pipeline_retention  ON pipeline (status, stop_date) WHERE status IN ('SUCCEEDED', 'FAILED', 'ABORTED');
CREATE INDEX IF NOT EXISTS pipeline_held       ON pipeline (created_date) WHERE status = 'PENDING';

-- Waiting and live jobs are counted from their own rows, by whoever asks.
CREATE TABLE IF NOT EXISTS stage (
  id                uuid PRIMARY KEY,
  pipeline_id       uuid NOT NULL REFERENCES pipeline ON DELETE CASCADE,
  position          integer NOT NULL CHECK (position > 0),
  name              text NOT NULL,
  job_class         text,                                        -- of its jobs that name none
  status            text NOT NULL DEFAULT 'PENDING' CHECK (status IN ('PENDING', 'QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'ABORTED')),
  hold              boolean NOT NULL DEFAULT false,              -- does not open before it is released
  open              boolean NOT NULL DEFAULT false,              -- not sealed: more jobs will come
  on_failure        text NOT NULL DEFAULT 'finish_stage' CHECK (on_failure IN ('finish_stage', 'abort_stage', 'continue')),
  allowed_failures  double precision NOT NULL DEFAULT 0 CHECK (allowed_failures BETWEEN 0 AND 1),   -- a share of its jobs
  max_attempts      integer NOT NULL DEFAULT 3,                  -- of its jobs that say nothing else
  reason            text,
  total             integer NOT NULL DEFAULT 0,                  -- its jobs,
  succeeded         integer NOT NULL DEFAULT 0,                  -- those that have ended so,
  failed            integer NOT NULL DEFAULT 0,
  aborted           integer NOT NULL DEFAULT 0,
  retried           integer NOT NULL DEFAULT 0,                  -- and runs that were followed by another attempt
  percent_completed smallint GENERATED ALWAYS AS (CASE WHEN status = 'SUCCEEDED' THEN 100 WHEN total = 0 THEN 0 ELSE succeeded::bigint * 100 / total END) STORED,
  sequence          integer NOT NULL DEFAULT 1,
  told_percent      smallint NOT NULL DEFAULT 0,                 -- the progress that was told last, and when
  told_at           timestamptz,
  data              jsonb NOT NULL DEFAULT '{}',
  user_metadata     jsonb NOT NULL DEFAULT '{}',
  created_date      timestamptz NOT NULL DEFAULT clock_timestamp(),
  open_date         timestamptz,
  start_date        timestamptz,
  stop_date         timestamptz,
  idempotency_key   text,                                        -- what is added twice under one key is there once
  UNIQUE (pipeline_id, position),
  CONSTRAINT stage_counts_fit CHECK (least(succeeded, failed, aborted, retried) >= 0 AND succeeded + failed + aborted <= total),
  CONSTRAINT stage_status_fits CHECK ((status IN ('SUCCEEDED', 'FAILED', 'ABORTED')) = (stop_date IS NOT NULL) AND (stop_date IS NULL OR succeeded + failed + aborted = total))
) WITH (fillfactor = 50);
ALTER TABLE stage ADD COLUMN IF NOT EXISTS idempotency_key text;
CREATE UNIQUE INDEX IF NOT EXISTS stage_key ON stage (pipeline_id, idempotency_key) WHERE idempotency_key IS NOT NULL;

-- What is to be published of pipelines and stages: arrays of facts in their order, one row per transaction. The id is drawn under the pipeline's lock.
CREATE TABLE IF NOT EXISTS pipeline_outbox (
  id         bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  facts      jsonb NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- Rows of it that could not be decoded, out of the way of the others.
CREATE TABLE IF NOT EXISTS pipeline_outbox_rejected (
  id          bigint PRIMARY KEY,
  rejected_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  reason      text NOT NULL,
  content     jsonb NOT NULL
);

-- ----------------------------------------------------------------------------------------- what is told, and to whom

-- Wakes the idle daemons of these queues. NOTIFY makes commits queue up behind each other, so only where somebody sleeps.
CREATE OR REPLACE FUNCTION wake(queues text[]) RETURNS void LANGUAGE sql VOLATILE SET search_path FROM CURRENT AS $$
  SELECT pg_notify(current_schema() || '_wake', q) FROM unnest(queues) q
  WHERE EXISTS (SELECT FROM daemon d WHERE d.idle AND d.stopped_at IS NULL AND d.lost_at IS NULL AND q = ANY (d.queues))
$$;

-- What a statement that queued jobs or wrote facts for others to publish says to the daemons.
CREATE OR REPLACE FUNCTION announce(queues text[], facts boolean) RETURNS void LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
BEGIN
  PERFORM wake(queues);
  IF facts THEN
    PERFORM pg_notify(current_schema() || '_facts', '');
  END IF;
END $$;

-- Whether a status change is published by a queue whose `events` are these.
CREATE OR REPLACE FUNCTION is_published(events text, status text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
  SELECT events = 'all' OR events = 'final' AND status IN ('SUCCEEDED', 'FAILED', 'ABORTED')
$$;

-- What a run told of its progress, as it is kept: of each step, `at` and `took` in microseconds from the run's start become dates, none of them later than
-- the end of the run: the start is stamped when its flush arrives.
CREATE OR REPLACE FUNCTION dated_steps(info jsonb, start_date timestamptz, stop_date timestamptz) RETURNS jsonb LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN jsonb_typeof(info -> 'steps') = 'object' THEN info || jsonb_build_object('steps', (
    SELECT jsonb_object_agg(e.key, jsonb_build_object('status', e.value -> 'status', 'elapsed_ms', round((e.value ->> 'took')::bigint / 1000.0),
                                                      'started', to_char(least(d.begun, stop_date) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                                                      'ended', to_char(CASE WHEN d.over IS NOT NULL THEN least(d.over, stop_date) END AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')))
    FROM jsonb_each(info -> 'steps') e,
      LATERAL (SELECT start_date + (e.value ->> 'at')::bigint * interval '1 microsecond' AS begun,
                      start_date + ((e.value ->> 'at')::bigint + (e.value ->> 'took')::bigint) * interval '1 microsecond' AS over) d)) ELSE info END
$$;

-- The same behind the end of a run that was lost: what it left running has failed.
CREATE OR REPLACE FUNCTION ended_steps(info jsonb, moment timestamptz) RETURNS jsonb LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN jsonb_typeof(info -> 'steps') = 'object' THEN info || jsonb_build_object('steps', (
    SELECT jsonb_object_agg(e.key, e.value || CASE WHEN e.value ->> 'status' = 'running'
                                                   THEN jsonb_build_object('status', 'failed', 'ended', to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                                                                           'elapsed_ms', round(1000 * extract(epoch FROM moment - (e.value ->> 'started')::timestamptz)))
                                                   ELSE '{}' END)
    FROM jsonb_each(info -> 'steps') e)) ELSE info END
$$;

-- ---------------------------------------------------------------------------------------------------------- submission

-- A time-ordered id (RFC 9562, version 7) of the database's clock: neighbours in time are neighbours in the key's index.
CREATE OR REPLACE FUNCTION new_job_id() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
  SELECT encode(set_bit(set_bit(
    overlay(uuid_send(gen_random_uuid()) PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6),
    52, 1), 53, 1), 'hex')::uuid
$$;

-- The date, or NULL when the text is none. A zone is demanded: timestamptz itself would take the session's silently.
CREATE OR REPLACE FUNCTION zoned_date(written text) RETURNS timestamptz LANGUAGE plpgsql STABLE STRICT AS $$
BEGIN
  IF written !~ '^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d([.,]\d+)?)?\s?([Zz]|[+-]\d\d(:?\d\d)?)$' THEN
    RETURN NULL;
  END IF;
  RETURN replace(written, ',', '.')::timestamptz;
EXCEPTION WHEN data_exception THEN
  RETURN NULL;
END $$;

-- NULL when the document may be stored, else what is wrong with it. The size test first: most documents end there.
CREATE OR REPLACE FUNCTION document_problem(document jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE
    WHEN jsonb_typeof(document) <> 'object' THEN 'must be an object'
    WHEN pg_column_size(document) > 1048576 THEN 'is larger than 1 MiB'
    WHEN pg_column_size(document) > 260 AND jsonb_path_exists(document, 'strict $.**{65}') THEN 'is nested deeper than 64'
    WHEN jsonb_path_exists(document, 'strict $.** ? (@.type() == "number" && (@ > 1.7976931348623157e308 || @ < -1.7976931348623157e308))')
      THEN 'holds a number that is not finite as a double'
  END
$$;

CREATE OR REPLACE FUNCTION first_member(document jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT k FROM jsonb_object_keys(document) k ORDER BY k LIMIT 1
$$;

-- What is wrong with one submitted job: [code, field, text], or NULL. The one set of rules for every door. PostgreSQL puts it into the
-- statement that asks, and does not call it for each job, as long as it is one expression without a subquery and a volatile function.
CREATE OR REPLACE FUNCTION submission_problem(job jsonb) RETURNS text[] LANGUAGE sql STABLE AS $$
  SELECT CASE
    WHEN jsonb_typeof(job) <> 'object' THEN ARRAY['bad_field', NULL, 'a job must be an object']
    WHEN job - ARRAY['job_class', 'tenant', 'queue', 'parameters', 'priority', 'description', 'owner', 'expiration_date', 'trigger_after_date', 'timeout',
                     'max_attempts', 'idempotency_key', 'concurrency_key', 'correlation_id', 'traceparent', 'user_metadata', 'locked', 'status'] <> '{}'
      THEN ARRAY['unknown_field', first_member(job - ARRAY['job_class', 'tenant', 'queue', 'parameters', 'priority', 'description', 'owner',
             'expiration_date', 'trigger_after_date', 'timeout', 'max_attempts', 'idempotency_key', 'concurrency_key', 'correlation_id', 'traceparent', 'user_metadata',
             'locked', 'status']), 'is not a field of a submission']
    WHEN NOT job ? 'job_class' THEN ARRAY['bad_field', 'job_class', 'is required']
    WHEN jsonb_typeof(job -> 'job_class') <> 'string' OR job ->> 'job_class' !~ '^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$'
      THEN ARRAY['bad_field', 'job_class', 'must match [A-Za-z0-9][A-Za-z0-9_-]{0,63}']
    WHEN job -> 'tenant' <> 'null' AND (jsonb_typeof(job -> 'tenant') <> 'string' OR job ->> 'tenant' !~ '^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$')
      THEN ARRAY['bad_field', 'tenant', 'must match [A-Za-z0-9][A-Za-z0-9_-]{0,63}']
    WHEN job -> 'queue' <> 'null' AND (jsonb_typeof(job -> 'queue') <> 'string' OR job ->> 'queue' !~ '^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$')
      THEN ARRAY['bad_field', 'queue', 'must match [A-Za-z0-9][A-Za-z0-9_-]{0,63}']
    WHEN job -> 'parameters' <> 'null' AND document_problem(job -> 'parameters') IS NOT NULL
      THEN ARRAY[CASE WHEN document_problem(job -> 'parameters') LIKE '%larger%' THEN 'too_large' ELSE 'bad_field' END, 'parameters', document_problem(job -> 'parameters')]
    WHEN job -> 'user_metadata' <> 'null' AND document_problem(job -> 'user_metadata') IS NOT NULL
      THEN ARRAY[CASE WHEN document_problem(job -> 'user_metadata') LIKE '%larger%' THEN 'too_large' ELSE 'bad_field' END, 'user_metadata', document_problem(job -> 'user_metadata')]
    WHEN job -> 'priority' <> 'null' AND NOT CASE jsonb_typeof(job -> 'priority')
           WHEN 'number' THEN (job -> 'priority')::numeric BETWEEN -2147483648 AND 2147483647 AND (job -> 'priority')::numeric = trunc((job -> 'priority')::numeric)
           WHEN 'string' THEN job ->> 'priority' IN ('VERY_LOW', 'LOW', 'MEDIUM', 'HIGH', 'VERY_HIGH') ELSE false END
      THEN ARRAY['bad_field', 'priority', 'must be a whole number of 32 bits, or one of VERY_LOW, LOW, MEDIUM, HIGH, VERY_HIGH']
    WHEN job -> 'max_attempts' <> 'null' AND NOT CASE jsonb_typeof(job -> 'max_attempts')
           WHEN 'number' THEN (job -> 'max_attempts')::numeric BETWEEN 1 AND 1000000 AND (job -> 'max_attempts')::numeric = trunc((job -> 'max_attempts')::numeric) ELSE false END
      THEN ARRAY['bad_field', 'max_attempts', 'must be a whole number from 1 to 1,000,000']
    WHEN job -> 'timeout' <> 'null' AND NOT CASE jsonb_typeof(job -> 'timeout') WHEN 'number' THEN (job -> 'timeout')::numeric > 0 AND (job -> 'timeout')::numeric < 1e9 ELSE false END
      THEN ARRAY['bad_field', 'timeout', 'must be a number of seconds above 0']
    WHEN job -> 'locked' <> 'null' AND jsonb_typeof(job -> 'locked') <> 'boolean' THEN ARRAY['bad_field', 'locked', 'must be true or false']
    WHEN job -> 'status' <> 'null' AND coalesce(job ->> 'status', '') NOT IN ('PENDING', 'QUEUED') THEN ARRAY['bad_field', 'status', 'must be PENDING or QUEUED']
    WHEN job -> 'description' <> 'null' AND (jsonb_typeof(job -> 'description') <> 'string' OR length(job ->> 'description') > 10000)
      THEN ARRAY['bad_field', 'description', 'must be a text of at most 10,000 characters']
    WHEN job -> 'owner' <> 'null' AND (jsonb_typeof(job -> 'owner') <> 'string' OR length(job ->> 'owner') > 255)
      THEN ARRAY['bad_field', 'owner', 'must be a text of at most 255 characters']
    WHEN job -> 'correlation_id' <> 'null' AND (jsonb_typeof(job -> 'correlation_id') <> 'string' OR length(job ->> 'correlation_id') > 255)
      THEN ARRAY['bad_field', 'correlation_id', 'must be a text of at most 255 characters']
    WHEN job -> 'traceparent' <> 'null' AND (jsonb_typeof(job -> 'traceparent') <> 'string' OR length(job ->> 'traceparent') > 255)
      THEN ARRAY['bad_field', 'traceparent', 'must be a text of at most 255 characters']
    WHEN job -> 'idempotency_key' <> 'null' AND (jsonb_typeof(job -> 'idempotency_key') <> 'string' OR length(job ->> 'idempotency_key') NOT BETWEEN 1 AND 512)
      THEN ARRAY['bad_field', 'idempotency_key', 'must be a text of 1 to 512 characters']
    WHEN job -> 'concurrency_key' <> 'null' AND (jsonb_typeof(job -> 'concurrency_key') <> 'string' OR length(job ->> 'concurrency_key') NOT BETWEEN 1 AND 255)
      THEN ARRAY['bad_field', 'concurrency_key', 'must be a text of 1 to 255 characters']
    WHEN job -> 'expiration_date' <> 'null' AND zoned_date(CASE jsonb_typeof(job -> 'expiration_date') WHEN 'string' THEN job ->> 'expiration_date' ELSE '' END) IS NULL
      THEN ARRAY['bad_field', 'expiration_date', 'must be an ISO 8601 date with a zone, such as 2026-01-31T12:00:00Z']
    WHEN job -> 'expiration_date' <> 'null' AND zoned_date(job ->> 'expiration_date') <= statement_timestamp() THEN ARRAY['bad_field', 'expiration_date', 'is in the past']
    WHEN job -> 'trigger_after_date' <> 'null' AND zoned_date(CASE jsonb_typeof(job -> 'trigger_after_date') WHEN 'string' THEN job ->> 'trigger_after_date' ELSE '' END) IS NULL
      THEN ARRAY['bad_field', 'trigger_after_date', 'must be an ISO 8601 date with a zone, such as 2026-01-31T12:00:00Z']
  END
$$;

CREATE OR REPLACE FUNCTION priority_number(written text) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE written WHEN 'VERY_LOW' THEN -200 WHEN 'LOW' THEN -100 WHEN 'MEDIUM' THEN 0 WHEN 'HIGH' THEN 100 WHEN 'VERY_HIGH' THEN 200 ELSE written::numeric::integer END
$$;

-- The row of a submitted job, which was found good. PostgreSQL puts it into the statement that asks, as it does submission_problem.
CREATE OR REPLACE FUNCTION submitted_row(job jsonb, new_id uuid, held_by text, moment timestamptz, for_pipeline uuid, for_stage uuid)
RETURNS TABLE (id uuid, tenant text, queue text, job_class text, status text, held text, priority integer, max_attempts integer, locked boolean, owner text,
               description text, parameters jsonb, user_metadata jsonb, concurrency_key text, correlation_id text, traceparent text, timeout double precision,
               expiration_date timestamptz, trigger_after_date timestamptz, created_date timestamptz, queued_date timestamptz, pipeline_id uuid, stage_id uuid)
LANGUAGE sql STABLE AS $$
  SELECT new_id, coalesce(job ->> 'tenant', 'default'), coalesce(job ->> 'queue', 'default'), job ->> 'job_class',
         CASE WHEN h.held IS NULL THEN 'QUEUED' ELSE 'PENDING' END, h.held,
         coalesce(priority_number(job ->> 'priority'), 0), (job ->> 'max_attempts')::numeric::integer, coalesce((job ->> 'locked')::boolean, false),
         job ->> 'owner', job ->> 'description', coalesce(nullif(job -> 'parameters', 'null'), '{}'), coalesce(nullif(job -> 'user_metadata', 'null'), '{}'),
         job ->> 'concurrency_key', job ->> 'correlation_id', job ->> 'traceparent', (job ->> 'timeout')::double precision,
         zoned_date(job ->> 'expiration_date'), d.trigger_date, moment, CASE WHEN h.held IS NULL THEN moment END, for_pipeline, for_stage
  FROM (SELECT CASE WHEN job ->> 'trigger_after_date' IS NOT NULL THEN zoned_date(job ->> 'trigger_after_date') END AS trigger_date) d,
       LATERAL (SELECT CASE WHEN held_by IS NOT NULL THEN held_by WHEN d.trigger_date > moment THEN 'trigger' WHEN job ->> 'status' = 'PENDING' THEN 'user' END AS held) h
$$;

-- Makes the rows of these concurrency keys where there are none. Nobody is waited for who has made one and not committed: a client may take his time, and
-- whoever queues jobs may hold rows that all need. Without a row a claim puts the job aside, and the look of any daemon comes here again.
CREATE OR REPLACE FUNCTION make_keys(tenants text[], keys text[]) RETURNS void LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
DECLARE
  missing  record;
  patience text := current_setting('lock_timeout');
BEGIN
  INSERT INTO concurrency_key (tenant, key) SELECT '', '' WHERE false;     -- the lock of the table, for which it is waited
  PERFORM set_config('lock_timeout', '10ms', true);
  BEGIN
    INSERT INTO concurrency_key (tenant, key)
    SELECT DISTINCT u.tenant, u.key FROM unnest(tenants, keys) u(tenant, key)
    WHERE NOT EXISTS (SELECT FROM concurrency_key k WHERE k.tenant = u.tenant AND k.key = u.key) ORDER BY 1, 2 ON CONFLICT DO NOTHING;
  EXCEPTION WHEN lock_not_available THEN
    FOR missing IN SELECT DISTINCT u.tenant, u.key FROM unnest(tenants, keys) u(tenant, key)
                   WHERE NOT EXISTS (SELECT FROM concurrency_key k WHERE k.tenant = u.tenant AND k.key = u.key) ORDER BY 1, 2 LOOP
      BEGIN
        INSERT INTO concurrency_key (tenant, key) VALUES (missing.tenant, missing.key) ON CONFLICT DO NOTHING;
      EXCEPTION WHEN lock_not_available THEN
        NULL;
      END;
    END LOOP;
  END;
  PERFORM set_config('lock_timeout', patience, true);
END $$;

-- What `submit` does, also for the jobs of a stage: `held_by` is 'stage' where that is not open.
CREATE OR REPLACE FUNCTION submit_into(jobs jsonb, for_pipeline uuid, for_stage uuid, held_by text) RETURNS TABLE (job_id uuid, created boolean)
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT SET enable_seqscan = off AS $$
DECLARE
  problem      record;
  ids          uuid[];
  stored_ids   uuid[];
  keyed        bigint;
  fresh_keys   bigint;
  crowded      boolean;
  now_is       timestamptz := clock_timestamp();
  woken        text[];
  soon         boolean;
BEGIN
  IF jsonb_typeof(jobs) = 'object' THEN
    jobs := jsonb_build_array(jobs);
  ELSIF jobs IS NULL OR jsonb_typeof(jobs) <> 'array' THEN
    RAISE EXCEPTION 'a submission must be an object or an array of objects' USING ERRCODE = '22023', DETAIL = '{"code": "bad_field", "field": null, "index": null}';
  END IF;

  SELECT e.n - 1 AS index, p.problem[1] AS code, p.problem[2] AS field, p.problem[3] AS reason INTO problem
  FROM jsonb_array_elements(jobs) WITH ORDINALITY e(job, n), LATERAL (SELECT submission_problem(e.job) AS problem) p
  WHERE p.problem IS NOT NULL ORDER BY e.n LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION '%', 'job ' || problem.index || ': ' || coalesce(problem.field || ' ', '') || problem.reason
      USING ERRCODE = '22023', DETAIL = jsonb_build_object('code', problem.code, 'field', problem.field, 'index', problem.index)::text;
  END IF;
  IF EXISTS (SELECT FROM setting s WHERE s.name = 'tenants.closed' AND s.value = 'true') THEN
    SELECT e.n - 1 AS index, coalesce(e.job ->> 'tenant', 'default') AS tenant INTO problem
    FROM jsonb_array_elements(jobs) WITH ORDINALITY e(job, n)
    WHERE NOT EXISTS (SELECT FROM tenant t WHERE t.tenant = coalesce(e.job ->> 'tenant', 'default')) ORDER BY e.n LIMIT 1;
    IF FOUND THEN
      RAISE EXCEPTION '%', 'job ' || problem.index || ': tenant ' || problem.tenant || ' is not known, and only known tenants may submit'
        USING ERRCODE = '22023', DETAIL = jsonb_build_object('code', 'unknown_tenant', 'field', 'tenant', 'index', problem.index)::text;
    END IF;
  END IF;

  SELECT array_agg(new_job_id()), count(e.job ->> 'idempotency_key'), count(e.job ->> 'concurrency_key') > 0
  INTO ids, keyed, crowded FROM jsonb_array_elements(jobs) e(job);
  stored_ids := ids;

  -- What looks for a key is a subquery, not a join, and reads no table as a whole: for a join every key that there is would be read and hashed, for one
  -- job as for thousands, and a plan made while there are few keys is still used when there are many.
  IF keyed > 0 THEN
    -- In order, so that two batches cannot deadlock; looked up in the next statement, whose snapshot sees what this one waited for.
    INSERT INTO idempotency_key (tenant, key, job_id)
    SELECT coalesce(e.job ->> 'tenant', 'default'), e.job ->> 'idempotency_key', ids[e.n]
    FROM jsonb_array_elements(jobs) WITH ORDINALITY e(job, n)
    WHERE e.job ->> 'idempotency_key' IS NOT NULL ORDER BY 1, 2, e.n
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS fresh_keys = ROW_COUNT;
    IF fresh_keys < keyed THEN
      SELECT array_agg(coalesce((SELECT k.job_id FROM idempotency_key k
                                 WHERE k.tenant = coalesce(e.job ->> 'tenant', 'default') AND k.key = e.job ->> 'idempotency_key'), ids[e.n]) ORDER BY e.n)
      INTO stored_ids FROM jsonb_array_elements(jobs) WITH ORDINALITY e(job, n);
    END IF;
  END IF;

  IF crowded THEN
    PERFORM make_keys(array_agg(coalesce(e.job ->> 'tenant', 'default')), array_agg(e.job ->> 'concurrency_key'))
    FROM jsonb_array_elements(jobs) e(job) WHERE e.job ->> 'concurrency_key' IS NOT NULL;
  END IF;

  WITH stored AS (
    INSERT INTO job_info (id, tenant, queue, job_class, status, held, priority, max_attempts, locked, owner, description, parameters, user_metadata,
                          concurrency_key, correlation_id, traceparent, timeout, expiration_date, trigger_after_date, created_date, queued_date,
                          pipeline_id, stage_id)
    SELECT r.* FROM jsonb_array_elements(jobs) WITH ORDINALITY e(job, n), LATERAL submitted_row(e.job, ids[e.n], held_by, now_is, for_pipeline, for_stage) r
    WHERE stored_ids[e.n] = ids[e.n] ORDER BY e.n
    RETURNING id, queue, status, held, priority, trigger_after_date
  ), told AS (
    INSERT INTO outbox (job_ids, sequences, runs, attempts, statuses, previous, times, priorities, percents, details)
    SELECT array_agg(s.id), array_agg(1), array_agg(0), array_agg(0), array_agg(s.status), array_agg(NULL::text), array_agg(now_is), array_agg(s.priority),
           array_agg(0::smallint), array_agg(NULL::jsonb)
    FROM stored s WHERE EXISTS (SELECT FROM setting x WHERE x.name = 'events.submissions' AND x.value = 'true')
      AND NOT EXISTS (SELECT FROM queue q WHERE q.queue = s.queue AND NOT is_published(q.events, s.status)) HAVING count(*) > 0
  )
  SELECT array_agg(DISTINCT s.queue) FILTER (WHERE s.status = 'QUEUED'),
         coalesce(bool_or(s.held = 'trigger' AND s.trigger_after_date < now_is + interval '2 seconds'), false)
  INTO woken, soon FROM stored s;

  PERFORM wake(woken);
  IF soon THEN            -- later ones are seen by every daemon's own look each second
    PERFORM pg_notify(current_schema() || '_due', '');
  END IF;
  RETURN QUERY SELECT f.id, f.id = ids[f.n] FROM unnest(stored_ids) WITH ORDINALITY f(id, n) ORDER BY f.n;
END $$;

-- Stores the jobs of a JSON array (or one object), all or none. Returns one row for each, in the order given; `created` is
-- false where the idempotency key named a job that existed. Bad input: SQLSTATE 22023, DETAIL is {"code", "field", "index"}.
-- One job without keys is what most callers send. Its row comes from a statement that is started in half the time of the one for many (100 µs of
-- 220 in all); whatever else there is to it, and every refusal, is submit_into's.
CREATE OR REPLACE FUNCTION submit(jobs jsonb) RETURNS TABLE (job_id uuid, created boolean) LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
DECLARE
  job    jsonb := CASE jsonb_typeof(jobs) WHEN 'object' THEN jobs WHEN 'array' THEN CASE jsonb_array_length(jobs) WHEN 1 THEN jobs -> 0 END END;
  now_is timestamptz := clock_timestamp();
  stored record;
BEGIN
  IF job IS NULL OR job ?| ARRAY['idempotency_key', 'concurrency_key', 'trigger_after_date'] OR submission_problem(job) IS NOT NULL
     OR EXISTS (SELECT FROM setting s WHERE s.name IN ('tenants.closed', 'events.submissions') AND s.value = 'true') THEN
    RETURN QUERY SELECT s.job_id, s.created FROM submit_into(jobs, NULL, NULL, NULL) s;
    RETURN;
  END IF;
  job_id := new_job_id();
  created := true;
  INSERT INTO job_info (id, tenant, queue, job_class, status, held, priority, max_attempts, locked, owner, description, parameters, user_metadata,
                        concurrency_key, correlation_id, traceparent, timeout, expiration_date, trigger_after_date, created_date, queued_date,
                        pipeline_id, stage_id)
  SELECT r.* FROM submitted_row(job, job_id, NULL, now_is, NULL, NULL) r
  RETURNING queue, status INTO stored;
  IF stored.status = 'QUEUED' THEN
    PERFORM wake(ARRAY[stored.queue]);
  END IF;
  RETURN NEXT;
END $$;


-- ---------------------------------------------------------------------------------------------------------------- stop

-- Stops jobs: waiting ones end ABORTED here and now, live ones get a mark that their daemon obeys, ended ones stay as they are.
-- One row for each id, in the order given. `only_tenant` walls off: another tenant's job is as unknown as none. `settles`: their stages are
-- told here and now; `settle` itself calls it without.
DROP FUNCTION IF EXISTS stop_jobs(uuid[], text, text);
CREATE OR REPLACE FUNCTION stop_jobs(ids uuid[], reason text DEFAULT NULL, only_tenant text DEFAULT NULL, settles boolean DEFAULT true)
RETURNS TABLE (job_id uuid, status text, accepted boolean, code text)
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT SET enable_nestloop = off AS $$
DECLARE
  -- Of an array whose length is not known ten rows are expected: the rows locked and the rows changed, 1,000 of each, were compared by nested loops.
  why   text := left(coalesce(nullif(reason, ''), 'stopped'), 1000);
  seen  jsonb;
  woken uuid[];
  told  boolean;
  of_stages uuid[];   -- of each job that is ABORTED now
  parts uuid[];       -- pipelines of their parts
BEGIN
  WITH locked AS MATERIALIZED (
    SELECT j.id, j.status AS was, j.blocked, j.tenant, j.concurrency_key FROM job_info j
    WHERE j.id = ANY (stop_jobs.ids) AND (only_tenant IS NULL OR j.tenant = only_tenant) ORDER BY j.id FOR NO KEY UPDATE
  ), changed AS (
    -- One update decides by CASE on the row it holds: two updates share a snapshot, and a stop during a claim would hit neither.
    UPDATE job_info j
    SET status            = CASE WHEN j.status IN ('PENDING', 'QUEUED') THEN 'ABORTED' ELSE j.status END,
        stop_date         = CASE WHEN j.status IN ('PENDING', 'QUEUED') THEN clock_timestamp() END,
        sequence          = j.sequence + CASE WHEN j.status IN ('PENDING', 'QUEUED') THEN 1 ELSE 0 END,
        held              = NULL,
        blocked           = false,
        on_hold           = false,
        stop_requested_at = coalesce(j.stop_requested_at, clock_timestamp()),
        stop_reason       = coalesce(j.stop_reason, why),
        estimated_completion = CASE WHEN j.status NOT IN ('PENDING', 'QUEUED') THEN j.estimated_completion END
    FROM locked l
    WHERE j.id = l.id AND j.id = ANY (stop_jobs.ids) AND j.status IN ('PENDING', 'QUEUED', 'TO_BE_RUN', 'RUNNING')
    RETURNING j.id, j.queue, j.status, l.was, j.sequence, j.run, j.attempt, j.stop_date, j.priority, j.percent_completed, j.daemon_id, j.stage_id
  ), box AS (
    INSERT INTO outbox (job_ids, sequences, runs, attempts, statuses, previous, times, priorities, percents, details)
    SELECT array_agg(c.id), array_agg(c.sequence), array_agg(c.run), array_agg(c.attempt), array_agg(c.status), array_agg(c.was), array_agg(c.stop_date),
           array_agg(c.priority), array_agg(c.percent_completed), array_agg(NULL::jsonb)
    FROM changed c
    WHERE c.status = 'ABORTED' AND NOT EXISTS (SELECT FROM queue q WHERE q.queue = c.queue AND NOT is_published(q.events, c.status))
    HAVING count(*) > 0 RETURNING id
  )
  SELECT jsonb_object_agg(l.id, jsonb_build_array(coalesce(c.status, l.was), c.id IS NOT NULL)),
         array_agg(DISTINCT c.daemon_id) FILTER (WHERE c.daemon_id IS NOT NULL), EXISTS (SELECT FROM box),
         array_agg(c.stage_id) FILTER (WHERE c.status = 'ABORTED' AND c.stage_id IS NOT NULL)
  INTO seen, woken, told, of_stages FROM locked l LEFT JOIN changed c ON c.id = l.id;

  PERFORM pg_notify(current_schema() || '_stop', d::text) FROM unnest(woken) d;
  IF told THEN
    PERFORM pg_notify(current_schema() || '_facts', '');
  END IF;
  -- Only where there are parts: who may stop jobs need not have the right to write pipelines.
  IF EXISTS (SELECT FROM pipeline p WHERE p.parent_job = ANY (stop_jobs.ids)) THEN
    parts := ARRAY(SELECT p.id FROM pipeline p WHERE p.parent_job = ANY (stop_jobs.ids) AND p.stop_date IS NULL AND p.ending IS NULL
                                                 AND seen -> (p.parent_job::text) ->> 0 = 'ABORTED');
    IF settles THEN      -- else they are held already
      PERFORM FROM pipeline p WHERE p.id = ANY (parts || ARRAY(SELECT t.pipeline_id FROM stage t WHERE t.id = ANY (of_stages))) ORDER BY p.id FOR NO KEY UPDATE;
    END IF;
    PERFORM FROM command_pipelines(parts, 'stop', to_jsonb(why));
  END IF;
  IF settles AND of_stages IS NOT NULL THEN
    PERFORM settle(of_stages, array_fill('ABORTED'::text, ARRAY[cardinality(of_stages)]));
  END IF;
  RETURN QUERY
  SELECT i.id, seen -> (i.id::text) ->> 0, coalesce((seen -> (i.id::text) ->> 1)::boolean, false),
         CASE WHEN seen -> (i.id::text) IS NULL THEN 'unknown_job' WHEN NOT (seen -> (i.id::text) ->> 1)::boolean THEN 'not_legal' END
  FROM unnest(stop_jobs.ids) WITH ORDINALITY i(id, n) ORDER BY i.n;
END $$;

-- Stops one job and returns the status it is in afterwards; a job that had ended stays as it was. Unknown: SQLSTATE P0002.
CREATE OR REPLACE FUNCTION stop(job_id uuid, reason text DEFAULT NULL) RETURNS text LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
DECLARE
  answer record;
BEGIN
  SELECT * INTO answer FROM stop_jobs(ARRAY[stop.job_id], stop.reason);
  IF answer.code = 'unknown_job' THEN
    RAISE EXCEPTION 'there is no job %', stop.job_id USING ERRCODE = 'P0002', DETAIL = '{"code": "unknown_job"}';
  END IF;
  RETURN answer.status;
END $$;


-- ----------------------------------------------------------------------------------------------------------- pipelines

-- What is published of one change of a pipeline (`s` NULL) or of one of its stages.
CREATE OR REPLACE FUNCTION pipeline_fact(p pipeline, s stage, previous text, moment timestamptz) RETURNS jsonb LANGUAGE sql STABLE AS $$
  SELECT jsonb_build_object('kind', CASE WHEN (s).id IS NULL THEN 'pipeline' ELSE 'stage' END, 'pipeline_id', (p).id, 'stage_id', (s).id, 'tenant', (p).tenant,
           'name', (p).name, 'owner', (p).owner, 'description', (p).description, 'correlation_id', (p).correlation_id, 'traceparent', (p).traceparent,
           'previous_status', previous, 'time', moment)
      || CASE WHEN (s).id IS NULL
           THEN jsonb_build_object('status', (p).status, 'sequence', (p).sequence, 'percent_completed', (p).percent_completed, 'reason', (p).reason,
                                   'priority', (p).priority)
           ELSE jsonb_build_object('status', (s).status, 'sequence', (s).sequence, 'percent_completed', (s).percent_completed, 'reason', (s).reason,
                                   'position', (s).position, 'stage_name', (s).name, 'job_class', (s).job_class, 'total', (s).total, 'succeeded', (s).succeeded,
                                   'failed', (s).failed, 'aborted', (s).aborted, 'retried', (s).retried) END
$$;

-- How many of a stage's jobs may fail or be aborted.
CREATE OR REPLACE FUNCTION failures_allowed(s stage) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN (s).on_failure = 'continue' THEN floor((s).allowed_failures * (s).total + 1e-9)::integer ELSE 0 END
$$;

-- Lets the next jobs of an open stage run: PENDING → QUEUED, or to their trigger date. How many; rows that somebody holds are left out.
CREATE OR REPLACE FUNCTION enqueue_stage(for_stage uuid, batch integer) RETURNS integer LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
DECLARE
  moved  integer;
  woken  text[];
  told   boolean;
  soon   boolean;
  tenants text[];     -- of jobs with a concurrency key, and their keys
  keys   text[];
  moment timestamptz := clock_timestamp();
BEGIN
  WITH locked AS MATERIALIZED (
    SELECT j.id FROM job_info j WHERE j.stage_id = for_stage AND j.status = 'PENDING' AND j.held = 'stage' ORDER BY j.number LIMIT batch FOR NO KEY UPDATE SKIP LOCKED
  ), changed AS (
    UPDATE job_info j
    SET status      = CASE WHEN j.trigger_after_date > moment THEN 'PENDING' ELSE 'QUEUED' END,
        held        = CASE WHEN j.trigger_after_date > moment THEN 'trigger' END,
        queued_date = CASE WHEN j.trigger_after_date > moment THEN NULL ELSE moment END,
        sequence    = j.sequence + CASE WHEN j.trigger_after_date > moment THEN 0 ELSE 1 END
    -- Not with `=`: the planner would take a partial index instead of the key, and read all jobs that are held for each thousand.
    WHERE j.id = ANY (ARRAY(SELECT l.id FROM locked l)) AND j.status IS NOT DISTINCT FROM 'PENDING' AND j.held IS NOT DISTINCT FROM 'stage'
    RETURNING j.id, j.status, j.queue, j.sequence, j.run, j.attempt, j.priority, j.percent_completed, j.tenant, j.concurrency_key, j.trigger_after_date
  ), box AS (
    INSERT INTO outbox (job_ids, sequences, runs, attempts, statuses, previous, times, priorities, percents, details)
    SELECT array_agg(c.id), array_agg(c.sequence), array_agg(c.run), array_agg(c.attempt), array_agg('QUEUED'::text), array_agg('PENDING'::text), array_agg(moment),
           array_agg(c.priority), array_agg(c.percent_completed), array_agg(NULL::jsonb)
    FROM changed c WHERE c.status = 'QUEUED' AND NOT EXISTS (SELECT FROM queue q WHERE q.queue = c.queue AND NOT is_published(q.events, 'QUEUED'))
    HAVING count(*) > 0 RETURNING id
  )
  SELECT count(*), array_agg(DISTINCT c.queue) FILTER (WHERE c.status = 'QUEUED'), EXISTS (SELECT FROM box),
         coalesce(bool_or(c.trigger_after_date > moment AND c.trigger_after_date < moment + interval '2 seconds'), false),
         array_agg(c.tenant) FILTER (WHERE c.concurrency_key IS NOT NULL), array_agg(c.concurrency_key) FILTER (WHERE c.concurrency_key IS NOT NULL)
  INTO moved, woken, told, soon, tenants, keys FROM changed c;
  IF keys IS NOT NULL THEN
    PERFORM make_keys(tenants, keys);
  END IF;
  PERFORM announce(woken, told);
  IF soon THEN
    PERFORM pg_notify(current_schema() || '_due', '');
  END IF;
  RETURN moved;
END $$;

-- Lets jobs that claims have put aside for a pipeline into the claimable index again, apart from those of a held class. How many; rows that
-- somebody holds are left out. The pipeline's row is held, so no claim puts more aside.
CREATE OR REPLACE FUNCTION let_in(for_pipeline uuid, batch integer) RETURNS integer LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
DECLARE
  queues text[];
BEGIN
  WITH freed AS (
    UPDATE job_info j SET blocked = false, on_hold = false
    WHERE j.status = 'QUEUED' AND j.on_hold AND j.id = ANY (ARRAY(
      SELECT w.id FROM job_info w
      WHERE w.pipeline_id = for_pipeline AND w.status = 'QUEUED' AND w.on_hold AND NOT EXISTS (SELECT FROM class_hold h WHERE h.job_class = w.job_class)
      ORDER BY w.number LIMIT batch FOR NO KEY UPDATE OF w SKIP LOCKED))
    RETURNING j.queue
  )
  SELECT array_agg(f.queue) INTO queues FROM freed f;
  PERFORM wake(ARRAY(SELECT DISTINCT unnest(queues)));
  RETURN coalesce(cardinality(queues), 0);
END $$;

-- Gives the next waiting jobs of a pipeline its priority, in the order of submission. Which are left, what somebody holds among them, and whether more
-- can get it at once.
CREATE OR REPLACE FUNCTION give_priority(p pipeline, batch integer, OUT still int8range, OUT more boolean) LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
BEGIN
  WITH next AS MATERIALIZED (
    SELECT w.id, w.number FROM stage t, unnest(ARRAY['PENDING', 'QUEUED']) s(status), LATERAL (
      SELECT j.id, j.number FROM job_info j
      WHERE j.stage_id = t.id AND j.status = s.status AND j.number >= lower(p.priority_left) AND j.number < upper(p.priority_left)
        AND (j.priority <> p.priority OR j.given_priority IS NOT NULL)
      ORDER BY j.number LIMIT batch) w
    WHERE t.pipeline_id = p.id AND t.stop_date IS NULL ORDER BY w.number LIMIT batch
  ), locked AS MATERIALIZED (
    SELECT j.id FROM job_info j WHERE j.id = ANY (ARRAY(SELECT n.id FROM next n)) ORDER BY j.id FOR NO KEY UPDATE SKIP LOCKED
  ), changed AS (
    UPDATE job_info j SET priority = p.priority, given_priority = NULL
    WHERE j.id = ANY (ARRAY(SELECT l.id FROM locked l)) AND j.status IN ('PENDING', 'QUEUED') RETURNING 1
  )
  SELECT CASE WHEN count(*) = batch OR count(l.id) < count(*)
              THEN nullif(int8range(coalesce(min(n.number) FILTER (WHERE l.id IS NULL), max(n.number) + 1), upper(p.priority_left)), 'empty') END,
         count(*) = batch AND EXISTS (SELECT FROM changed)
  INTO still, more FROM next n LEFT JOIN locked l ON l.id = n.id;
END $$;

-- Moves pipelines on after jobs of their stages have changed, in the transaction that changed them. `stages` and `changes` have one element for
-- each job that changed: started, retried, SUCCEEDED, FAILED, ABORTED; `start_dates` too, with the date of each start. `also` names pipelines to be
-- looked at whatever changed. Who calls it may hold job rows; it takes the pipelines' rows in order, and from there on waits for nothing. True where
-- jobs are left that can be moved at once: whoever calls `settle` for it again moves the next ones. Rows that somebody holds are left for a later look;
-- in both cases the pipeline is `unsettled`. docs/pipelines.md has the protocol. The plans are pinned as those of `claim` are.
DROP FUNCTION IF EXISTS settle(uuid[], text[], uuid[]);
CREATE OR REPLACE FUNCTION settle(stages uuid[], changes text[], also uuid[] DEFAULT '{}', start_dates timestamptz[] DEFAULT '{}') RETURNS boolean LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_nestloop = on SET jit = off AS $$
DECLARE
  p         pipeline%ROWTYPE;
  before    pipeline%ROWTYPE;
  s         stage%ROWTYPE;
  held      uuid[];
  moment    timestamptz;
  told      jsonb[] := '{}';      -- no document: each fact would copy those before it
  begun     uuid[];               -- stages that began to run,
  news      uuid[];               -- and with them those that are to tell how far they are
  behind    integer;              -- the position of the last stage that ended here
  unended   uuid[];
  budget    integer := 1000;      -- jobs moved in one call
  turn      integer;              -- and for one pipeline: what is left unsettled goes on in turns
  share     integer;              -- what is left of it
  searching boolean;              -- whether to look for jobs that are left to be moved
  moved     integer;
  ids       uuid[];
  free      uuid[];               -- pipelines of parts of these jobs
  was       text;
  bad       integer;
  well      boolean;
  left_over boolean := false;
  awaited   boolean := false;     -- a tick waits for the end of one of these
  of_parts  uuid[] := '{}';       -- pipelines of parts that go on
BEGIN
  held := ARRAY(SELECT x.id FROM pipeline x
                WHERE x.id = ANY (also || ARRAY(SELECT t.pipeline_id FROM stage t WHERE t.id = ANY (stages))) ORDER BY x.id FOR NO KEY UPDATE);
  moment := clock_timestamp();

  -- The counters of all stages in one statement.
  IF stages <> '{}' THEN
    WITH delta AS (
      SELECT c.stage, count(*) FILTER (WHERE c.change = 'started') AS started, count(*) FILTER (WHERE c.change = 'retried') AS retried,
             count(*) FILTER (WHERE c.change = 'SUCCEEDED') AS succeeded, count(*) FILTER (WHERE c.change = 'FAILED') AS failed,
             count(*) FILTER (WHERE c.change = 'ABORTED') AS aborted, min(c.start_date) FILTER (WHERE c.change = 'started') AS start_date
      FROM unnest(stages, changes, start_dates) c(stage, change, start_date) GROUP BY c.stage
    ), next AS (
      SELECT d.*, t.status = 'QUEUED' AND d.started > 0 AS begins,
             t.status = 'RUNNING' AND t.told_at < moment - interval '1 second' AND t.succeeded + d.succeeded < t.total
               AND (t.succeeded + d.succeeded) * 100 / t.total > t.told_percent AS progresses
      FROM delta d JOIN stage t ON t.id = d.stage WHERE t.stop_date IS NULL
    ), counted AS (
      UPDATE stage t
      SET succeeded    = t.succeeded + n.succeeded,
          failed       = t.failed + n.failed,
          aborted      = t.aborted + n.aborted,
          retried      = t.retried + n.retried,
          status       = CASE WHEN n.begins THEN 'RUNNING' ELSE t.status END,
          start_date   = least(t.start_date, n.start_date),   -- what started first may be written last
          sequence     = t.sequence + (n.begins OR n.progresses)::integer,
          told_at      = CASE WHEN n.begins OR n.progresses THEN moment ELSE t.told_at END,
          told_percent = CASE WHEN n.begins OR n.progresses THEN (t.succeeded + n.succeeded) * 100 / t.total ELSE t.told_percent END
      FROM next n WHERE t.id = n.stage RETURNING t.id, n.begins, n.begins OR n.progresses AS tells
    )
    SELECT array_agg(c.id) FILTER (WHERE c.begins), array_agg(c.id) FILTER (WHERE c.tells) INTO begun, news FROM counted c;
  END IF;

  FOR p IN SELECT * FROM pipeline x WHERE x.id = ANY (held) AND (x.stop_date IS NULL OR x.unsettled) ORDER BY x.id LOOP
    before := p;
    IF p.stop_date IS NOT NULL THEN
      IF resume_parent(p.parent_job) THEN
        UPDATE pipeline x SET unsettled = false WHERE x.id = p.id;
      END IF;
      CONTINUE;
    END IF;
    searching := p.unsettled OR p.id = ANY (also);
    turn := CASE WHEN also = '{}' THEN 1000 ELSE 1 + 999 / cardinality(also) END;
    share := least(budget, turn);
    p.unsettled := false;

    IF news IS NOT NULL THEN
      FOR s IN SELECT * FROM stage t WHERE t.pipeline_id = p.id AND t.id = ANY (news) ORDER BY t.position LOOP
        told := told || pipeline_fact(p, s, CASE WHEN s.id = ANY (begun) THEN 'QUEUED' ELSE s.status END, moment);
        IF p.status = 'QUEUED' AND s.status = 'RUNNING' THEN
          p.status := 'RUNNING';
          p.start_date := s.start_date;
          p.sequence := p.sequence + 1;
          told := told || pipeline_fact(p, NULL, 'QUEUED', moment);
        END IF;
      END LOOP;
    END IF;

    behind := 0;
    WHILE p.ending IS NULL AND p.status IN ('QUEUED', 'RUNNING') LOOP
      SELECT * INTO s FROM stage t WHERE t.pipeline_id = p.id AND t.position > behind AND t.stop_date IS NULL ORDER BY t.position LIMIT 1;
      IF NOT FOUND THEN
        EXIT WHEN p.open OR p.paused;
        was := p.status;
        p.status := 'SUCCEEDED';
        p.stop_date := moment;
        p.percent_completed := 100;
        p.sequence := p.sequence + 1;
        told := told || pipeline_fact(p, NULL, was, moment);
        EXIT;
      END IF;
      IF s.status = 'PENDING' THEN
        EXIT WHEN p.paused OR s.hold;
        UPDATE stage t SET status = 'QUEUED', open_date = moment, sequence = t.sequence + 1 WHERE t.id = s.id RETURNING * INTO s;
        told := told || pipeline_fact(p, s, 'PENDING', moment);
        searching := true;
      END IF;
      -- While it is paused they stay where they are: `resume` looks for them.
      IF searching AND NOT p.paused AND s.succeeded + s.failed + s.aborted < s.total THEN
        moved := enqueue_stage(s.id, share);
        budget := budget - moved;
        share := share - moved;
        p.unsettled := EXISTS (SELECT FROM job_info j WHERE j.stage_id = s.id AND j.status = 'PENDING' AND j.held = 'stage');
      END IF;
      bad := s.failed + s.aborted;
      IF bad > failures_allowed(s) AND (s.on_failure = 'abort_stage' OR s.succeeded + bad = s.total AND NOT s.open) THEN
        p.ending := 'FAILED';
        p.reason := format('stage %s (%s): %s of its %s jobs failed%s', s.position, s.name, bad, s.total,
                           CASE WHEN s.aborted = bad THEN ' (aborted)' WHEN s.aborted > 0 THEN format(' (%s of them aborted)', s.aborted) ELSE '' END);
        EXIT;
      END IF;
      EXIT WHEN s.succeeded + bad < s.total OR s.open OR s.total = 0 AND (p.open OR p.paused);
      was := s.status;
      UPDATE stage t SET status = 'SUCCEEDED', stop_date = moment, sequence = t.sequence + 1 WHERE t.id = s.id RETURNING * INTO s;
      told := told || pipeline_fact(p, s, was, moment);
      behind := s.position;
      searching := false;
    END LOOP;

    IF (before.unsettled OR p.id = ANY (also)) AND p.ending IS NULL AND NOT p.paused AND p.stop_date IS NULL THEN
      moved := let_in(p.id, share);
      budget := budget - moved;
      share := share - moved;
      p.unsettled := p.unsettled OR EXISTS (SELECT FROM job_info j WHERE j.pipeline_id = p.id AND j.status = 'QUEUED' AND j.on_hold
                                              AND NOT EXISTS (SELECT FROM class_hold h WHERE h.job_class = j.job_class));
    END IF;

    IF p.priority_left IS NOT NULL AND p.ending IS NULL AND p.stop_date IS NULL THEN
      IF p.id = ANY (also) THEN     -- not by those who end jobs
        SELECT g.still, g.more OR left_over INTO p.priority_left, left_over FROM give_priority(p, turn) g;
      END IF;
      p.unsettled := p.unsettled OR p.priority_left IS NOT NULL;
    END IF;

    IF p.ending IS NOT NULL THEN
      IF searching OR before.ending IS NULL THEN
        unended := ARRAY(SELECT t.id FROM stage t WHERE t.pipeline_id = p.id AND t.stop_date IS NULL);
        -- Those that wait, then those that live: each is a range of the index, and what has ended is not read.
        ids := ARRAY(SELECT j.id FROM job_info j WHERE j.stage_id = ANY (unended) AND j.status IN ('PENDING', 'QUEUED') LIMIT share FOR NO KEY UPDATE SKIP LOCKED);
        ids := ids || ARRAY(SELECT j.id FROM job_info j WHERE j.stage_id = ANY (unended) AND j.status IN ('TO_BE_RUN', 'RUNNING') AND j.stop_requested_at IS NULL
                            LIMIT share - cardinality(ids) FOR NO KEY UPDATE SKIP LOCKED);
        budget := budget - cardinality(ids);
        share := share - cardinality(ids);
        -- Nor for a pipeline does it wait: a job stays as it is while somebody holds that of its parts.
        IF EXISTS (SELECT FROM pipeline x WHERE x.parent_job = ANY (ids)) THEN
          free := ARRAY(SELECT x.id FROM pipeline x WHERE x.parent_job = ANY (ids) AND x.stop_date IS NULL ORDER BY x.id FOR NO KEY UPDATE SKIP LOCKED);
          ids := ARRAY(SELECT i.id FROM unnest(ids) i(id)
                       WHERE NOT EXISTS (SELECT FROM pipeline x WHERE x.parent_job = i.id AND x.stop_date IS NULL AND x.ending IS NULL AND x.id <> ALL (free)));
        END IF;
        UPDATE stage t SET aborted = t.aborted + d.aborted
        FROM (SELECT j.stage_id, count(*) AS aborted FROM stop_jobs(ids, p.reason, NULL, false) x JOIN job_info j ON j.id = x.job_id WHERE x.status = 'ABORTED' GROUP BY j.stage_id) d
        WHERE t.id = d.stage_id;
        p.unsettled := EXISTS (SELECT FROM job_info j WHERE j.stage_id = ANY (unended) AND j.status IN ('PENDING', 'QUEUED'))
                    OR EXISTS (SELECT FROM job_info j WHERE j.stage_id = ANY (unended) AND j.status IN ('TO_BE_RUN', 'RUNNING') AND j.stop_requested_at IS NULL);
      END IF;
      FOR s IN SELECT * FROM stage t WHERE t.pipeline_id = p.id AND t.stop_date IS NULL AND t.succeeded + t.failed + t.aborted = t.total ORDER BY t.position LOOP
        was := s.status;
        -- All its jobs ended by themselves before the end reached them. What was aborted is none of the failures that it may have.
        well := s.open_date IS NOT NULL AND s.total > 0 AND NOT s.open AND s.aborted = 0 AND s.failed <= failures_allowed(s);
        UPDATE stage t
        SET status    = CASE WHEN well THEN 'SUCCEEDED' WHEN s.open_date IS NULL OR p.ending = 'ABORTED' THEN 'ABORTED' ELSE 'FAILED' END,
            reason    = CASE WHEN NOT well THEN p.reason END, stop_date = moment, sequence = t.sequence + 1
        WHERE t.id = s.id RETURNING * INTO s;
        told := told || pipeline_fact(p, s, was, moment);
      END LOOP;
    END IF;

    left_over := left_over OR p.unsettled AND share <= 0;
    SELECT CASE WHEN p.status = 'SUCCEEDED' THEN 100 ELSE coalesce(floor(avg(t.percent_completed)), 0) END,
           least(p.start_date, min(t.start_date) FILTER (WHERE t.stop_date IS NULL OR t.stop_date = moment))
    INTO p.percent_completed, p.start_date FROM stage t WHERE t.pipeline_id = p.id;
    IF p.ending IS NOT NULL AND NOT EXISTS (SELECT FROM stage t WHERE t.pipeline_id = p.id AND t.stop_date IS NULL) THEN
      was := p.status;
      -- Stopped so late that all had succeeded: nobody writes over that.
      p.status := CASE WHEN p.open OR p.start_date IS NULL OR EXISTS (SELECT FROM stage t WHERE t.pipeline_id = p.id AND t.status <> 'SUCCEEDED') THEN p.ending ELSE 'SUCCEEDED' END;
      p.reason := CASE WHEN p.status <> 'SUCCEEDED' THEN p.reason END;
      p.ending := NULL;
      p.stop_date := moment;
      p.unsettled := false;
      p.sequence := p.sequence + 1;
      told := told || pipeline_fact(p, NULL, was, moment);
    END IF;
    IF p.stop_date IS NOT NULL AND p.parent_job IS NOT NULL THEN
      p.unsettled := NOT resume_parent(p.parent_job);
    ELSIF p.stop_date IS NOT NULL THEN
      awaited := awaited OR EXISTS (SELECT FROM schedule x WHERE x.last_pipeline_id = p.id AND x.waiting > 0 AND NOT x.paused);
    END IF;
    IF (p.sequence, p.percent_completed, p.unsettled, p.priority_left, p.ending, p.start_date)
       IS DISTINCT FROM (before.sequence, before.percent_completed, before.unsettled, before.priority_left, before.ending, before.start_date) THEN
      UPDATE pipeline x
      SET status = p.status, ending = p.ending, reason = p.reason, unsettled = p.unsettled, priority_left = p.priority_left, sequence = p.sequence,
          percent_completed = p.percent_completed, start_date = p.start_date, stop_date = p.stop_date, updated_date = moment
      WHERE x.id = p.id;
    END IF;
    IF p.parent_job IS NOT NULL AND p.stop_date IS NULL THEN
      of_parts := of_parts || p.id;
    END IF;
  END LOOP;

  IF of_parts <> '{}' THEN
    PERFORM tell_parents(of_parts);
  END IF;
  IF told <> '{}' THEN
    INSERT INTO pipeline_outbox (facts) SELECT to_jsonb(told[n:n + 999]) FROM generate_series(1, cardinality(told), 1000) n ORDER BY n;
    PERFORM pg_notify(current_schema() || '_facts', '');
  END IF;
  IF left_over OR awaited THEN
    PERFORM pg_notify(current_schema() || '_due', '');
  END IF;
  RETURN left_over;
END $$;

-- What is wrong with a pipeline, apart from its stages, or with one of its stages, apart from its jobs: [code, field, text], or NULL. In plpgsql,
-- which keeps the plan for the session: as SQL functions they were planned anew for each document.
CREATE OR REPLACE FUNCTION pipeline_problem(pipeline jsonb) RETURNS text[] LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
  RETURN CASE
    WHEN jsonb_typeof(pipeline) <> 'object' THEN ARRAY['bad_field', NULL, 'a pipeline must be an object']
    WHEN pipeline - ARRAY['name', 'tenant', 'queue', 'priority', 'owner', 'description', 'correlation_id', 'traceparent', 'data', 'user_metadata', 'status', 'open',
                          'idempotency_key', 'stages'] <> '{}'
      THEN ARRAY['unknown_field', first_member(pipeline - ARRAY['name', 'tenant', 'queue', 'priority', 'owner', 'description', 'correlation_id', 'traceparent', 'data',
                   'user_metadata', 'status', 'open', 'idempotency_key', 'stages']), 'is not a field of a pipeline']
    WHEN jsonb_typeof(pipeline -> 'name') IS DISTINCT FROM 'string' OR pipeline ->> 'name' !~ '^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$'
      THEN ARRAY['bad_field', 'name', 'is required and must match [A-Za-z0-9][A-Za-z0-9_-]{0,63}']
    WHEN pipeline -> 'open' <> 'null' AND jsonb_typeof(pipeline -> 'open') <> 'boolean' THEN ARRAY['bad_field', 'open', 'must be true or false']
    WHEN pipeline -> 'data' <> 'null' AND document_problem(pipeline -> 'data') IS NOT NULL
      THEN ARRAY[CASE WHEN document_problem(pipeline -> 'data') LIKE '%larger%' THEN 'too_large' ELSE 'bad_field' END, 'data', document_problem(pipeline -> 'data')]
    WHEN pipeline -> 'stages' <> 'null' AND jsonb_typeof(pipeline -> 'stages') <> 'array' THEN ARRAY['bad_field', 'stages', 'must be an array']
    ELSE submission_problem((pipeline - ARRAY['name', 'data', 'open', 'stages']) || '{"job_class": "any"}')
  END;
END $$;

CREATE OR REPLACE FUNCTION stage_problem(stage jsonb) RETURNS text[] LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
  RETURN CASE
    WHEN jsonb_typeof(stage) <> 'object' THEN ARRAY['bad_field', NULL, 'a stage must be an object']
    WHEN stage - ARRAY['name', 'job_class', 'data', 'user_metadata', 'hold', 'open', 'on_failure', 'allowed_failures', 'max_attempts', 'idempotency_key', 'jobs'] <> '{}'
      THEN ARRAY['unknown_field', first_member(stage - ARRAY['name', 'job_class', 'data', 'user_metadata', 'hold', 'open', 'on_failure', 'allowed_failures', 'max_attempts',
                   'idempotency_key', 'jobs']), 'is not a field of a stage']
    WHEN stage -> 'name' <> 'null' AND (jsonb_typeof(stage -> 'name') <> 'string' OR stage ->> 'name' !~ '^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$')
      THEN ARRAY['bad_field', 'name', 'must match [A-Za-z0-9][A-Za-z0-9_-]{0,63}']
    WHEN stage -> 'hold' <> 'null' AND jsonb_typeof(stage -> 'hold') <> 'boolean' THEN ARRAY['bad_field', 'hold', 'must be true or false']
    WHEN stage -> 'open' <> 'null' AND jsonb_typeof(stage -> 'open') <> 'boolean' THEN ARRAY['bad_field', 'open', 'must be true or false']
    WHEN stage -> 'on_failure' <> 'null' AND coalesce(stage ->> 'on_failure', '') NOT IN ('finish_stage', 'abort_stage', 'continue')
      THEN ARRAY['bad_field', 'on_failure', 'must be finish_stage, abort_stage or continue']
    WHEN stage -> 'allowed_failures' <> 'null' AND NOT CASE jsonb_typeof(stage -> 'allowed_failures') WHEN 'number' THEN (stage -> 'allowed_failures')::numeric BETWEEN 0 AND 1 ELSE false END
      THEN ARRAY['bad_field', 'allowed_failures', 'must be a share from 0 to 1']
    WHEN stage -> 'allowed_failures' <> 'null' AND coalesce(stage ->> 'on_failure', '') <> 'continue' THEN ARRAY['bad_field', 'allowed_failures', 'goes with on_failure continue only']
    WHEN stage -> 'data' <> 'null' AND document_problem(stage -> 'data') IS NOT NULL
      THEN ARRAY[CASE WHEN document_problem(stage -> 'data') LIKE '%larger%' THEN 'too_large' ELSE 'bad_field' END, 'data', document_problem(stage -> 'data')]
    WHEN stage -> 'jobs' <> 'null' AND jsonb_typeof(stage -> 'jobs') <> 'array' THEN ARRAY['bad_field', 'jobs', 'must be an array']
    ELSE submission_problem(jsonb_strip_nulls(jsonb_build_object('job_class', coalesce(nullif(stage -> 'job_class', 'null'), '"any"'), 'user_metadata', stage -> 'user_metadata',
                                                                 'max_attempts', stage -> 'max_attempts', 'idempotency_key', stage -> 'idempotency_key')))
  END;
END $$;

-- Refuses a document for what is wrong at `place` in it.
CREATE OR REPLACE FUNCTION refuse_document(place text, problem text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  field text := nullif(concat_ws('.', nullif(place, ''), problem[2]), '');
BEGIN
  RAISE EXCEPTION '%', concat_ws(' ', field, problem[3]) USING ERRCODE = '22023', DETAIL = jsonb_build_object('code', problem[1], 'field', field, 'index', NULL)::text;
END $$;

-- Stores jobs of a stage whose pipeline's row is held; `place` names the array in what was submitted.
CREATE OR REPLACE FUNCTION store_stage_jobs(p pipeline, s stage, jobs jsonb, place text) RETURNS TABLE (job_id uuid, created boolean)
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
DECLARE
  inherited jsonb := jsonb_strip_nulls(jsonb_build_object('job_class', (s).job_class, 'tenant', (p).tenant, 'queue', (p).queue, 'priority', (p).priority, 'owner', (p).owner,
                       'description', (p).description, 'correlation_id', (p).correlation_id, 'traceparent', (p).traceparent, 'max_attempts', (s).max_attempts));
  wrong     record;
  said      text;
  detail    text;
BEGIN
  IF jsonb_typeof(jobs) IS DISTINCT FROM 'array' THEN
    PERFORM refuse_document(place, ARRAY['bad_field', NULL, 'must be an array']);
  END IF;
  SELECT e.n - 1 AS n, CASE WHEN jsonb_typeof(e.job) <> 'object' THEN '' WHEN e.job ? 'status' THEN 'status' ELSE 'tenant' END AS field INTO wrong
  FROM jsonb_array_elements(jobs) WITH ORDINALITY e(job, n)
  WHERE jsonb_typeof(e.job) <> 'object' OR e.job -> 'status' <> 'null' OR e.job -> 'tenant' <> 'null' AND e.job ->> 'tenant' <> (p).tenant ORDER BY e.n LIMIT 1;
  IF FOUND THEN
    PERFORM refuse_document(format('%s[%s]', place, wrong.n), CASE wrong.field
      WHEN '' THEN ARRAY['bad_field', NULL, 'must be an object']
      WHEN 'status' THEN ARRAY['bad_field', 'status', 'cannot be given: the stage decides when its jobs are queued']
      ELSE ARRAY['bad_field', 'tenant', 'must be that of the pipeline'] END);
  END IF;
  RETURN QUERY SELECT r.job_id, r.created
  FROM submit_into((SELECT coalesce(jsonb_agg(inherited || jsonb_strip_nulls(e.job - ARRAY['parameters', 'user_metadata'])
                                              || CASE WHEN e.job ? 'parameters' THEN jsonb_build_object('parameters', e.job -> 'parameters') ELSE '{}' END
                                              || CASE WHEN e.job ? 'user_metadata' THEN jsonb_build_object('user_metadata', e.job -> 'user_metadata') ELSE '{}' END ORDER BY e.n), '[]')
                    FROM jsonb_array_elements(jobs) WITH ORDINALITY e(job, n)),
                   (p).id, (s).id, CASE WHEN (s).status = 'PENDING' OR (p).paused THEN 'stage' END) r;
EXCEPTION WHEN invalid_parameter_value THEN
  GET STACKED DIAGNOSTICS said = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
  IF detail::jsonb -> 'index' = 'null' THEN
    RAISE;
  END IF;
  RAISE EXCEPTION '%', regexp_replace(said, '^job (\d+): ', place || '[\1]' || CASE WHEN detail::jsonb ->> 'field' IS NULL THEN ' ' ELSE '.' END)
    USING ERRCODE = '22023', DETAIL = jsonb_build_object('code', detail::jsonb ->> 'code', 'index', NULL,
      'field', format('%s[%s]', place, detail::jsonb ->> 'index') || coalesce('.' || (detail::jsonb ->> 'field'), ''))::text;
END $$;

-- Whether jobs of this class may come to run: false where living daemons serve the queue, and no living one of any queue knows the class. Without a
-- daemon nobody can tell.
CREATE OR REPLACE FUNCTION is_runnable_class(job_class text, for_queue text) RETURNS boolean LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
  SELECT EXISTS (SELECT FROM daemon d WHERE d.lost_at IS NULL AND d.stopped_at IS NULL AND is_runnable_class.job_class = ANY (d.job_classes))
    OR NOT EXISTS (SELECT FROM daemon d WHERE d.lost_at IS NULL AND d.stopped_at IS NULL AND for_queue = ANY (d.queues))
$$;

-- Stores stages of a pipeline whose row is held, behind those it has.
CREATE OR REPLACE FUNCTION store_stages(p pipeline, stages jsonb, place text) RETURNS uuid[] LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
DECLARE
  e      record;
  s      stage%ROWTYPE;
  made   uuid[] := '{}';
  at_position integer := coalesce((SELECT max(t.position) FROM stage t WHERE t.pipeline_id = (p).id), 0);
  known  uuid;
  stored integer;
  opens  boolean;     -- the first stage of a pipeline that has started: its jobs are queued at once
BEGIN
  FOR e IN SELECT x.stage, x.n - 1 AS n, stage_problem(x.stage) AS problem FROM jsonb_array_elements(stages) WITH ORDINALITY x(stage, n) ORDER BY x.n LOOP
    IF e.problem IS NOT NULL THEN
      PERFORM refuse_document(format('%s[%s]', place, e.n), e.problem);
    END IF;
    IF e.stage ->> 'idempotency_key' IS NOT NULL THEN
      SELECT t.id INTO known FROM stage t WHERE t.pipeline_id = (p).id AND t.idempotency_key = e.stage ->> 'idempotency_key';
      IF FOUND THEN
        made := made || known;
        CONTINUE;
      END IF;
    END IF;
    IF e.stage ->> 'job_class' IS NOT NULL AND NOT is_runnable_class(e.stage ->> 'job_class', (p).queue) THEN
      PERFORM refuse_document(format('%s[%s]', place, e.n), ARRAY['unknown_class', 'job_class',
        format('%s is known to no living daemon: correct it, or start a daemon that has this class first', e.stage ->> 'job_class')]);
    END IF;
    at_position := at_position + 1;
    opens := at_position = 1 AND (p).status = 'QUEUED' AND NOT (p).paused AND NOT coalesce((e.stage ->> 'hold')::boolean, false)
             AND CASE jsonb_typeof(e.stage -> 'jobs') WHEN 'array' THEN e.stage -> 'jobs' <> '[]' ELSE false END;
    INSERT INTO stage (status, sequence, open_date, id, pipeline_id, position, name, job_class, hold, open, on_failure, allowed_failures, max_attempts, data, user_metadata, idempotency_key)
    VALUES (CASE WHEN opens THEN 'QUEUED' ELSE 'PENDING' END, CASE WHEN opens THEN 2 ELSE 1 END, CASE WHEN opens THEN clock_timestamp() END, new_job_id(), (p).id, at_position, coalesce(e.stage ->> 'name', 'stage-' || at_position), e.stage ->> 'job_class',
            coalesce((e.stage ->> 'hold')::boolean, false), coalesce((e.stage ->> 'open')::boolean, false), coalesce(e.stage ->> 'on_failure', 'finish_stage'),
            CASE WHEN e.stage ->> 'on_failure' = 'continue' THEN coalesce((e.stage ->> 'allowed_failures')::double precision, 1) ELSE 0 END,
            coalesce((e.stage ->> 'max_attempts')::numeric::integer, 3), coalesce(nullif(e.stage -> 'data', 'null'), '{}'), coalesce(nullif(e.stage -> 'user_metadata', 'null'), '{}'),
            e.stage ->> 'idempotency_key')
    RETURNING * INTO s;
    made := made || s.id;
    IF jsonb_typeof(e.stage -> 'jobs') = 'array' THEN
      SELECT count(*) FILTER (WHERE r.created) INTO stored FROM store_stage_jobs(p, s, e.stage -> 'jobs', format('%s[%s].jobs', place, e.n)) r;
      UPDATE stage t SET total = stored WHERE t.id = s.id RETURNING * INTO s;
    END IF;
    IF opens THEN
      INSERT INTO pipeline_outbox (facts) VALUES (jsonb_build_array(pipeline_fact(p, s, 'PENDING', s.open_date)));
      PERFORM pg_notify(current_schema() || '_facts', '');
    END IF;
  END LOOP;
  RETURN made;
END $$;

-- Stores a pipeline with its stages and their jobs, all or nothing, and starts it unless its status is PENDING. `created` is false where the
-- idempotency key named one that existed. Bad input: SQLSTATE 22023, DETAIL {"code", "field", "index"}; the field is a path such as stages[1].jobs[0].priority.
CREATE OR REPLACE FUNCTION submit_pipeline(pipeline jsonb) RETURNS TABLE (pipeline_id uuid, created boolean)
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
  given   jsonb := submit_pipeline.pipeline;
  problem text[] := pipeline_problem(submit_pipeline.pipeline);
  p       pipeline%ROWTYPE;
  starts  boolean := coalesce(submit_pipeline.pipeline ->> 'status', 'QUEUED') = 'QUEUED';
BEGIN
  IF given IS NULL OR problem IS NOT NULL THEN
    PERFORM refuse_document('', coalesce(problem, ARRAY['bad_field', NULL, 'a pipeline must be an object']));
  END IF;
  IF EXISTS (SELECT FROM setting x WHERE x.name = 'tenants.closed' AND x.value = 'true')
     AND NOT EXISTS (SELECT FROM tenant t WHERE t.tenant = coalesce(given ->> 'tenant', 'default')) THEN
    PERFORM refuse_document('', ARRAY['unknown_tenant', 'tenant', coalesce(given ->> 'tenant', 'default') || ' is not known, and only known tenants may submit']);
  END IF;
  INSERT INTO pipeline (status, sequence, id, tenant, name, queue, priority, open, owner, description, correlation_id, traceparent, data, user_metadata, idempotency_key)
  VALUES (CASE WHEN starts THEN 'QUEUED' ELSE 'PENDING' END, CASE WHEN starts THEN 2 ELSE 1 END, new_job_id(), coalesce(given ->> 'tenant', 'default'), given ->> 'name', coalesce(given ->> 'queue', 'default'), coalesce(priority_number(given ->> 'priority'), 0),
          coalesce((given ->> 'open')::boolean, false), given ->> 'owner', given ->> 'description', given ->> 'correlation_id', given ->> 'traceparent',
          coalesce(nullif(given -> 'data', 'null'), '{}'), coalesce(nullif(given -> 'user_metadata', 'null'), '{}'), given ->> 'idempotency_key')
  ON CONFLICT (tenant, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING RETURNING * INTO p;
  IF NOT FOUND THEN
    RETURN QUERY SELECT x.id, false FROM pipeline x WHERE x.tenant = coalesce(given ->> 'tenant', 'default') AND x.idempotency_key = given ->> 'idempotency_key';
    RETURN;
  END IF;
  IF starts THEN
    INSERT INTO pipeline_outbox (facts) VALUES (jsonb_build_array(pipeline_fact(p, NULL, 'PENDING', p.created_date)));
    PERFORM pg_notify(current_schema() || '_facts', '');
  END IF;
  IF jsonb_typeof(given -> 'stages') = 'array' THEN
    PERFORM store_stages(p, given -> 'stages', 'stages');
  END IF;
  PERFORM settle('{}', '{}', ARRAY[p.id]);
  RETURN QUERY SELECT p.id, true;
END $$;

-- A pipeline's row, held, where something may be added to it. SQLSTATE P0002 where there is none, 22023 where it is too late.
CREATE OR REPLACE FUNCTION growing_pipeline(wanted uuid, only_tenant text) RETURNS pipeline LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
DECLARE
  p pipeline%ROWTYPE;
BEGIN
  SELECT * INTO p FROM pipeline x WHERE x.id = wanted AND (only_tenant IS NULL OR x.tenant = only_tenant) FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no pipeline %', wanted USING ERRCODE = 'P0002', DETAIL = '{"code": "unknown_pipeline"}';
  ELSIF p.stop_date IS NOT NULL OR p.ending IS NOT NULL THEN
    RAISE EXCEPTION 'nothing can be added to pipeline %: it %', wanted, CASE WHEN p.ending IS NOT NULL THEN 'is ending ' || p.ending ELSE 'is ' || p.status END
      USING ERRCODE = '22023', DETAIL = jsonb_build_object('code', 'not_legal', 'field', NULL, 'index', NULL, 'status', p.status)::text;
  END IF;
  RETURN p;
END $$;

-- Adds stages (one object or an array) behind those that a pipeline has; their ids, in order.
CREATE OR REPLACE FUNCTION add_stages(to_pipeline uuid, stages jsonb, only_tenant text DEFAULT NULL) RETURNS SETOF uuid LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
DECLARE
  p    pipeline%ROWTYPE := growing_pipeline(to_pipeline, only_tenant);
  made uuid[];
BEGIN
  made := store_stages(p, CASE WHEN jsonb_typeof(stages) = 'array' THEN stages ELSE jsonb_build_array(stages) END, 'stages');
  PERFORM settle('{}', '{}', ARRAY[p.id]);
  RETURN QUERY SELECT unnest(made);
END $$;

-- Adds jobs (one object or an array) to a stage that is not final; as `submit`.
CREATE OR REPLACE FUNCTION add_jobs(to_stage uuid, jobs jsonb, only_tenant text DEFAULT NULL) RETURNS TABLE (job_id uuid, created boolean)
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
DECLARE
  of_pipeline uuid := (SELECT t.pipeline_id FROM stage t WHERE t.id = to_stage);
  p    pipeline%ROWTYPE;
  s    stage%ROWTYPE;
  ids  uuid[];
  news boolean[];
BEGIN
  PERFORM FROM pipeline x WHERE x.id = of_pipeline AND (only_tenant IS NULL OR x.tenant = only_tenant) FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no stage %', to_stage USING ERRCODE = 'P0002', DETAIL = '{"code": "unknown_stage"}';
  END IF;
  SELECT * INTO s FROM stage t WHERE t.id = to_stage;
  IF s.stop_date IS NOT NULL THEN      -- told before its pipeline is looked at, which may have ended otherwise
    RAISE EXCEPTION 'nothing can be added to stage % (%): it has %', s.position, s.name, s.status
      USING ERRCODE = '22023', DETAIL = jsonb_build_object('code', 'not_legal', 'field', NULL, 'index', NULL, 'status', s.status)::text;
  END IF;
  p := growing_pipeline(of_pipeline, only_tenant);
  SELECT array_agg(r.job_id), array_agg(r.created) INTO ids, news
  FROM store_stage_jobs(p, s, CASE WHEN jsonb_typeof(jobs) = 'array' THEN jobs ELSE jsonb_build_array(jobs) END, 'jobs') r;
  UPDATE stage t SET total = t.total + (SELECT count(*) FILTER (WHERE n) FROM unnest(news) n) WHERE t.id = s.id;
  PERFORM settle('{}', '{}', ARRAY[p.id]);
  RETURN QUERY SELECT * FROM unnest(ids, news);
END $$;

-- What users do to pipelines: start, pause, resume, stop, seal, restart, set_priority, update_metadata, delete. One row for each id, in the order
-- given: the status afterwards, whether it was accepted, and if not, the code and the reason. `argument`: of stop the reason, of set_priority the
-- number or name, of update_metadata what is merged. docs/pipelines.md has the table of what is legal; domain/pipelines.py has it as data.
CREATE OR REPLACE FUNCTION command_pipelines(ids uuid[], verb text, argument jsonb DEFAULT NULL, only_tenant text DEFAULT NULL)
RETURNS TABLE (pipeline_id uuid, status text, accepted boolean, code text, reason text) LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT SET enable_nestloop = on AS $$
#variable_conflict use_column
DECLARE
  p        pipeline%ROWTYPE;
  legal    boolean;
  why      text;
  answers  jsonb := '{}';
  problem  text[];
BEGIN
  IF verb IS NULL OR verb NOT IN ('start', 'pause', 'resume', 'stop', 'seal', 'restart', 'set_priority', 'update_metadata', 'delete') THEN
    PERFORM refuse_document('', ARRAY['bad_field', 'verb', quote_nullable(verb) || ' is none for pipelines']);
  END IF;
  problem := CASE verb WHEN 'set_priority' THEN submission_problem(jsonb_build_object('job_class', 'any', 'priority', coalesce(nullif(argument, 'null'), '""')))
                       WHEN 'update_metadata' THEN submission_problem(jsonb_build_object('job_class', 'any', 'user_metadata', coalesce(nullif(argument, 'null'), '""'))) END;
  IF problem IS NOT NULL THEN
    PERFORM refuse_document('', problem);
  END IF;

  -- Through the turnstiles, as a hold: whoever has the answer knows that no claim is under way that has not read it. The pipelines come before them: a
  -- claim waits for no pipeline, and who waited for one with the turnstiles in hand would hold up all claims.
  IF verb = 'pause' THEN
    PERFORM FROM pipeline x WHERE x.id = ANY (ids) AND (only_tenant IS NULL OR x.tenant = only_tenant) ORDER BY x.id FOR NO KEY UPDATE;
    PERFORM FROM queue q ORDER BY q.queue FOR SHARE;
    -- What is claimed begins at once, but for runs that wait for a process: their daemons compare now, and hand them back.
    PERFORM pg_notify(current_schema() || '_stop', j.daemon_id::text) FROM job_info j JOIN stage t ON t.id = j.stage_id JOIN pipeline x ON x.id = t.pipeline_id
    WHERE x.id = ANY (ids) AND (only_tenant IS NULL OR x.tenant = only_tenant) AND j.status = 'TO_BE_RUN';
  END IF;
  FOR p IN SELECT * FROM pipeline x WHERE x.id = ANY (ids) AND (only_tenant IS NULL OR x.tenant = only_tenant) ORDER BY x.id FOR NO KEY UPDATE LOOP
    why := NULL;
    legal := CASE verb
      WHEN 'start' THEN p.status = 'PENDING' AND p.ending IS NULL
      WHEN 'pause' THEN p.status IN ('QUEUED', 'RUNNING') AND p.ending IS NULL
      WHEN 'resume' THEN p.status IN ('QUEUED', 'RUNNING') AND p.ending IS NULL
      WHEN 'stop' THEN p.stop_date IS NULL
      WHEN 'seal' THEN p.stop_date IS NULL AND p.open
      WHEN 'restart' THEN p.status IN ('FAILED', 'ABORTED') AND NOT p.cleaned
      WHEN 'set_priority' THEN p.stop_date IS NULL
      WHEN 'delete' THEN p.stop_date IS NOT NULL
      ELSE true END;
    IF NOT legal AND p.ending IS NOT NULL THEN
      why := 'it is ending ' || p.ending;
    ELSIF verb = 'restart' AND p.cleaned THEN
      why := 'its time has passed: its jobs are being deleted';
    ELSIF verb = 'seal' AND NOT legal AND p.stop_date IS NULL THEN
      why := 'it is not open';
    ELSIF verb = 'delete' AND legal AND EXISTS (SELECT FROM outbox o, unnest(o.job_ids) i(id) JOIN job_info j ON j.id = i.id JOIN stage t ON t.id = j.stage_id WHERE t.pipeline_id = p.id) THEN
      legal := false;
      why := 'events of its jobs are not published yet; try again when they are';
    END IF;
    IF legal THEN
      CASE verb
        WHEN 'start' THEN
          UPDATE pipeline x SET status = 'QUEUED', sequence = x.sequence + 1, updated_date = clock_timestamp() WHERE x.id = p.id RETURNING * INTO p;
          INSERT INTO pipeline_outbox (facts) VALUES (jsonb_build_array(pipeline_fact(p, NULL, 'PENDING', p.updated_date)));
        WHEN 'pause' THEN
          UPDATE pipeline x SET paused = true, updated_date = clock_timestamp() WHERE x.id = p.id AND NOT x.paused;
        WHEN 'resume' THEN
          UPDATE pipeline x SET paused = false, updated_date = clock_timestamp() WHERE x.id = p.id AND x.paused;
        WHEN 'stop' THEN
          UPDATE pipeline x SET ending = 'ABORTED', reason = left(coalesce(nullif(argument ->> 0, ''), 'the pipeline was stopped'), 1000), updated_date = clock_timestamp()
          WHERE x.id = p.id AND x.ending IS DISTINCT FROM 'ABORTED';
        WHEN 'seal' THEN
          UPDATE pipeline x SET open = false, updated_date = clock_timestamp() WHERE x.id = p.id;
          UPDATE stage t SET open = false WHERE t.pipeline_id = p.id AND t.open;
        WHEN 'restart' THEN
          BEGIN
            PERFORM restart_pipeline(p);
          EXCEPTION WHEN lock_not_available THEN
            legal := false;
            why := 'somebody holds one of its jobs; try again';
          END;
        WHEN 'set_priority' THEN
          -- Of the jobs that it has now: what is added later brings its own.
          UPDATE pipeline x
          SET priority = priority_number(argument #>> '{}'), priority_left = int8range(0, last_number(), '[]'), updated_date = clock_timestamp() WHERE x.id = p.id;
        WHEN 'update_metadata' THEN
          IF document_problem(merged(p.user_metadata, argument)) IS NOT NULL THEN
            PERFORM refuse_document('', ARRAY['too_large', 'user_metadata', document_problem(merged(p.user_metadata, argument))]);
          END IF;
          UPDATE pipeline x SET user_metadata = merged(x.user_metadata, argument), updated_date = clock_timestamp() WHERE x.id = p.id;
        WHEN 'delete' THEN
          BEGIN
            PERFORM FROM job_info j JOIN stage t ON t.id = j.stage_id WHERE t.pipeline_id = p.id ORDER BY j.id FOR UPDATE OF j NOWAIT;
            DELETE FROM idempotency_key k USING job_info j JOIN stage t ON t.id = j.stage_id WHERE t.pipeline_id = p.id AND k.job_id = j.id;
            DELETE FROM job_run r USING job_info j JOIN stage t ON t.id = j.stage_id WHERE t.pipeline_id = p.id AND r.job_id = j.id;
            DELETE FROM job_info j USING stage t WHERE t.pipeline_id = p.id AND j.stage_id = t.id;
            DELETE FROM pipeline x WHERE x.id = p.id;
          EXCEPTION WHEN lock_not_available THEN
            legal := false;
            why := 'somebody holds one of its jobs; try again';
          END;
      END CASE;
    END IF;
    answers := answers || jsonb_build_object(p.id, jsonb_build_object('accepted', legal, 'was', p.status, 'why', why));
  END LOOP;

  IF verb IN ('start', 'resume', 'stop', 'seal', 'restart', 'set_priority') THEN
    PERFORM settle('{}', '{}', ARRAY(SELECT k.id::uuid FROM jsonb_object_keys(answers) k(id) WHERE (answers -> k.id ->> 'accepted')::boolean));
  END IF;
  IF verb IN ('start', 'restart') THEN
    PERFORM pg_notify(current_schema() || '_facts', '');
  END IF;
  RETURN QUERY
  SELECT i.id, coalesce(x.status, answers -> i.id::text ->> 'was'), coalesce((answers -> i.id::text ->> 'accepted')::boolean, false),
         CASE WHEN answers -> i.id::text IS NULL THEN 'unknown_pipeline' WHEN NOT (answers -> i.id::text ->> 'accepted')::boolean THEN 'not_legal' END,
         answers -> i.id::text ->> 'why'
  FROM unnest(command_pipelines.ids) WITH ORDINALITY i(id, n)
  LEFT JOIN pipeline x ON x.id = i.id AND answers ? i.id::text ORDER BY i.n;
END $$;

-- Failed and aborted jobs wait for their stages again; what succeeded stays. An expiration date that has passed is gone: with it none would run
-- again. The pipeline's row is held. SQLSTATE 55P03 where somebody holds one of the jobs.
CREATE OR REPLACE FUNCTION restart_pipeline(p pipeline) RETURNS void LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off AS $$
DECLARE
  moment timestamptz := clock_timestamp();
  now_is pipeline%ROWTYPE;
  ids    uuid[];
  part   uuid[];
BEGIN
  ids := ARRAY(SELECT j.id FROM job_info j JOIN stage t ON t.id = j.stage_id
               WHERE t.pipeline_id = (p).id AND t.status <> 'SUCCEEDED' AND j.status IN ('FAILED', 'ABORTED') ORDER BY j.id FOR NO KEY UPDATE OF j NOWAIT);
  FOR n IN 0 .. (cardinality(ids) - 1) / 1000 LOOP      -- no row of the outbox is larger than others write it
    part := ids[n * 1000 + 1 : n * 1000 + 1000];
    WITH again AS MATERIALIZED (
      SELECT j.id, j.status AS was, j.run, j.attempt, j.daemon_id, j.claim_date, j.start_date, j.stop_date, j.error_type, j.error_message FROM job_info j WHERE j.id = ANY (part)
    ), changed AS (
      UPDATE job_info j
      SET status = 'PENDING', held = 'stage', blocked = false, on_hold = false, has_parts = false, queued_date = NULL, sequence = j.sequence + 1, attempt = 0, lost_runs = 0, daemon_id = NULL,
          claim_date = NULL, start_date = NULL, stop_date = NULL, stop_requested_at = NULL, stop_reason = NULL, percent_completed = 0, progress_done = NULL,
          progress_total = NULL, progress_message = NULL, progress_info = NULL, estimated_completion = NULL, result = NULL, result_class = NULL, error_type = NULL, error_message = NULL,
          stack_trace = NULL, trigger_after_date = NULL, expiration_date = CASE WHEN j.expiration_date > moment THEN j.expiration_date END
      FROM again a WHERE j.id = a.id AND j.id = ANY (part)
      RETURNING j.id, j.queue, j.sequence, j.run, j.attempt, j.priority, j.percent_completed, a.was
    ), history AS (
      INSERT INTO job_run (job_id, run, attempt, daemon_id, claim_date, start_date, end_date, ending, error_type, error_message)
      SELECT a.id, a.run, a.attempt, a.daemon_id, a.claim_date, a.start_date, a.stop_date, a.was, a.error_type, a.error_message
      FROM again a WHERE a.run > 0 ON CONFLICT DO NOTHING
    )
    INSERT INTO outbox (job_ids, sequences, runs, attempts, statuses, previous, times, priorities, percents, details)
    SELECT array_agg(c.id), array_agg(c.sequence), array_agg(c.run), array_agg(c.attempt), array_agg('PENDING'::text), array_agg(c.was), array_agg(moment),
           array_agg(c.priority), array_agg(c.percent_completed), array_agg(NULL::jsonb)
    FROM changed c WHERE NOT EXISTS (SELECT FROM queue q WHERE q.queue = c.queue AND NOT is_published(q.events, 'PENDING')) HAVING count(*) > 0;
  END LOOP;
  UPDATE pipeline x
  SET status = 'QUEUED', ending = NULL, reason = NULL, paused = false, stop_date = NULL, start_date = NULL, sequence = x.sequence + 1, updated_date = moment
  WHERE x.id = (p).id RETURNING * INTO now_is;
  WITH old AS (
    SELECT t.id, t.status FROM stage t WHERE t.pipeline_id = (p).id AND t.status <> 'SUCCEEDED'
  ), again AS (
    UPDATE stage t
    SET status = 'PENDING', failed = 0, aborted = 0, reason = NULL, stop_date = NULL, start_date = NULL, open_date = NULL, sequence = t.sequence + 1, told_percent = 0, told_at = NULL
    FROM old o WHERE t.id = o.id RETURNING t::stage AS s, o.status AS was
  )
  INSERT INTO pipeline_outbox (facts)
  SELECT jsonb_build_array(pipeline_fact(now_is, NULL, (p).status, moment)) || coalesce(jsonb_agg(pipeline_fact(now_is, a.s, a.was, moment) ORDER BY (a.s).position), '[]') FROM again a;
END $$;

-- What users do to stages: release, seal, update_metadata, increment_metadata ({"key", "by"}). Rows as of `command_pipelines`.
CREATE OR REPLACE FUNCTION command_stages(ids uuid[], verb text, argument jsonb DEFAULT NULL, only_tenant text DEFAULT NULL)
RETURNS TABLE (stage_id uuid, status text, accepted boolean, code text, reason text) LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
  p       pipeline%ROWTYPE;
  s       stage%ROWTYPE;
  legal   boolean;
  answers jsonb := '{}';
  settled uuid[] := '{}';
BEGIN
  IF verb IS NULL OR verb NOT IN ('release', 'seal', 'update_metadata', 'increment_metadata') THEN
    PERFORM refuse_document('', ARRAY['bad_field', 'verb', quote_nullable(verb) || ' is none for stages']);
  ELSIF verb = 'update_metadata' AND document_problem(coalesce(argument, '""')) IS NOT NULL THEN
    PERFORM refuse_document('', ARRAY['bad_field', 'user_metadata', document_problem(coalesce(argument, '""'))]);
  ELSIF verb = 'increment_metadata' AND (coalesce(jsonb_typeof(argument -> 'key'), '') <> 'string' OR coalesce(jsonb_typeof(argument -> 'by'), '') <> 'number') THEN
    PERFORM refuse_document('', ARRAY['bad_field', NULL, 'a key and a number are needed']);
  END IF;
  FOR p IN SELECT * FROM pipeline x WHERE x.id = ANY (ARRAY(SELECT t.pipeline_id FROM stage t WHERE t.id = ANY (command_stages.ids)))
             AND (only_tenant IS NULL OR x.tenant = only_tenant) ORDER BY x.id FOR NO KEY UPDATE LOOP
    FOR s IN SELECT * FROM stage t WHERE t.pipeline_id = p.id AND t.id = ANY (command_stages.ids) ORDER BY t.position LOOP
      legal := CASE verb WHEN 'release' THEN s.status = 'PENDING' AND p.ending IS NULL OR s.open_date IS NOT NULL AND s.stop_date IS NULL
                         WHEN 'seal' THEN s.open AND s.stop_date IS NULL ELSE true END;
      IF legal THEN
        CASE verb
          WHEN 'release' THEN UPDATE stage t SET hold = false WHERE t.id = s.id AND t.hold;
          WHEN 'seal' THEN UPDATE stage t SET open = false WHERE t.id = s.id;
          WHEN 'update_metadata' THEN PERFORM keep_metadata(s.id, merged(s.user_metadata, argument));
          WHEN 'increment_metadata' THEN
            IF jsonb_typeof(s.user_metadata -> (argument ->> 'key')) NOT IN ('number', 'null') THEN
              PERFORM refuse_document('', ARRAY['bad_field', 'user_metadata.' || (argument ->> 'key'), 'is no number, and cannot be incremented']);
            END IF;
            PERFORM keep_metadata(s.id, s.user_metadata || jsonb_build_object(argument ->> 'key', coalesce((s.user_metadata ->> (argument ->> 'key'))::numeric, 0) + (argument ->> 'by')::numeric));
        END CASE;
        settled := settled || p.id;
      END IF;
      answers := answers || jsonb_build_object(s.id, legal);
    END LOOP;
  END LOOP;
  IF verb IN ('release', 'seal') AND settled <> '{}' THEN
    PERFORM settle('{}', '{}', settled);
  END IF;
  RETURN QUERY
  SELECT i.id, t.status, coalesce((answers ->> i.id::text)::boolean, false),
         CASE WHEN answers -> i.id::text IS NULL THEN 'unknown_stage' WHEN NOT (answers ->> i.id::text)::boolean THEN 'not_legal' END,
         CASE WHEN verb = 'seal' AND t.stop_date IS NULL AND NOT (answers ->> i.id::text)::boolean THEN 'it is not open' END
  FROM unnest(command_stages.ids) WITH ORDINALITY i(id, n) LEFT JOIN stage t ON t.id = i.id AND answers ? i.id::text ORDER BY i.n;
END $$;

-- Merged member by member, as RFC 7396 does on the first level; null removes.
CREATE OR REPLACE FUNCTION merged(document jsonb, patch jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
  SELECT (document || patch) - ARRAY(SELECT e.key FROM jsonb_each(patch) e WHERE e.value = 'null')
$$;

-- Writes a stage's metadata, as one of its changes has made them. A part of those.
CREATE OR REPLACE FUNCTION keep_metadata(of_stage uuid, document jsonb) RETURNS void LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
DECLARE
  problem text := document_problem(document);
BEGIN
  IF problem IS NOT NULL THEN
    PERFORM refuse_document('', ARRAY[CASE WHEN problem LIKE '%larger%' THEN 'too_large' ELSE 'bad_field' END, 'user_metadata', problem]);
  END IF;
  UPDATE stage t SET user_metadata = document WHERE t.id = of_stage;
END $$;

-- What jobs of stages asked for, in the transaction of their success: an array of {"jobs"}, {"merge"} or {"increment", "by"}, each with its "stage_id", or
-- with "stage", a name: the first of it from the stage "from" on. A "pipeline_id" walls off: a stage of another one is as unknown as none. All metadata
-- of a stage is written once, whatever the number of changes. `touched` are stages of which the caller will settle jobs: their pipelines are locked along.
CREATE OR REPLACE FUNCTION change_stages(changes jsonb, touched uuid[] DEFAULT '{}') RETURNS void LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
DECLARE
  e        record;
  current  uuid;
  document jsonb;
BEGIN
  PERFORM FROM pipeline p
  WHERE p.id IN (SELECT t.pipeline_id FROM stage t WHERE t.id = ANY (touched)
                 UNION SELECT coalesce((c.change ->> 'pipeline_id')::uuid, (SELECT t.pipeline_id FROM stage t WHERE t.id = (c.change ->> 'stage_id')::uuid))
                 FROM jsonb_array_elements(changes) c(change))
  ORDER BY p.id FOR NO KEY UPDATE;
  FOR e IN
    SELECT c.change, t.id, t.user_metadata FROM jsonb_array_elements(changes) WITH ORDINALITY c(change, n) LEFT JOIN LATERAL (
      SELECT t.id, t.user_metadata FROM stage t
      WHERE CASE WHEN c.change ? 'stage_id' THEN t.id = (c.change ->> 'stage_id')::uuid AND t.pipeline_id = coalesce((c.change ->> 'pipeline_id')::uuid, t.pipeline_id)
                 ELSE t.pipeline_id = (c.change ->> 'pipeline_id')::uuid AND t.name = c.change ->> 'stage'
                      AND t.position >= (SELECT f.position FROM stage f WHERE f.id = (c.change ->> 'from')::uuid) END
      ORDER BY t.position LIMIT 1) t ON true
    ORDER BY c.change ? 'jobs', t.id, c.n      -- what is added settles, and so writes the rows: after the documents that were read here
  LOOP
    IF e.id IS NULL THEN
      RAISE EXCEPTION 'there is no stage % in this pipeline', coalesce(e.change ->> 'stage_id', quote_literal(e.change ->> 'stage'))
        USING ERRCODE = '22023', DETAIL = '{"code": "unknown_stage", "field": null, "index": null}';
    END IF;
    IF current IS DISTINCT FROM e.id OR e.change ? 'jobs' THEN
      PERFORM keep_metadata(current, document);
      current := CASE WHEN NOT e.change ? 'jobs' THEN e.id END;
      document := e.user_metadata;
    END IF;
    IF e.change ? 'jobs' THEN
      PERFORM add_jobs(e.id, e.change -> 'jobs');
    ELSIF e.change ? 'merge' THEN
      document := merged(document, e.change -> 'merge');
    ELSIF jsonb_typeof(document -> (e.change ->> 'increment')) NOT IN ('number', 'null') THEN
      PERFORM refuse_document('', ARRAY['bad_field', 'user_metadata.' || (e.change ->> 'increment'), 'is no number, and cannot be incremented']);
    ELSE
      document := document || jsonb_build_object(e.change ->> 'increment', coalesce((document ->> (e.change ->> 'increment'))::numeric, 0) + (e.change ->> 'by')::numeric);
    END IF;
  END LOOP;
  PERFORM keep_metadata(current, document);
END $$;


-- --------------------------------------------------------------------------------------------------------------- claim

-- A rate is a bucket of `burst` tokens, one for each start, filled up by `rate` in each `period` seconds. Kept of it is only the moment at
-- which it will be full, as in the virtual scheduling of ITU-T I.371. A moment further away than an empty bucket needs (the clock was
-- set back, the rate was changed) counts as an empty one.

-- How many may start at this moment; NULL without a rate.
CREATE OR REPLACE FUNCTION rate_room(rate integer, period double precision, burst integer, full_at timestamptz, moment timestamptz)
RETURNS integer LANGUAGE sql IMMUTABLE AS $$
  SELECT greatest(0, least(coalesce(burst, rate), floor(coalesce(burst, rate) - extract(epoch FROM coalesce(full_at, moment) - moment) * rate / period)))::integer
$$;

-- When the next one may start, where none may at this moment.
CREATE OR REPLACE FUNCTION rate_next(rate integer, period double precision, burst integer, full_at timestamptz, moment timestamptz)
RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
  SELECT least(coalesce(full_at, moment), moment + make_interval(secs => coalesce(burst, rate) * period / rate)) - make_interval(secs => (coalesce(burst, rate) - 1) * period / rate)
$$;

-- When the bucket will be full after `starts` at this moment. Rounded up to the microsecond: never one too many.
CREATE OR REPLACE FUNCTION rate_spent(rate integer, period double precision, burst integer, full_at timestamptz, moment timestamptz, starts integer)
RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
  SELECT greatest(moment, least(coalesce(full_at, moment), moment + make_interval(secs => coalesce(burst, rate) * period / rate)))
         + make_interval(secs => ceil(starts * period / rate * 1e6) / 1e6)
$$;

-- Calls the tenants whose first claimable job on these queues no claim would find, and returns them. There are none unless rows came or went
-- without their triggers (a restored or replicated table, a hand in the books). Exact at any moment: who has called is not forgotten.
CREATE OR REPLACE FUNCTION call_forgotten(queues text[]) RETURNS TABLE (queue text, tenant text) LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH RECURSIVE waiting AS (   -- a loose index scan: one probe for each tenant
    SELECT f.* FROM unnest(queues) q(queue), LATERAL (
      SELECT j.queue, j.tenant, ~j.priority AS rank, j.number FROM job_info j
      WHERE j.queue = q.queue AND j.status = 'QUEUED' AND NOT j.blocked ORDER BY j.tenant, ~j.priority, j.number LIMIT 1) f
    UNION ALL
    SELECT n.* FROM waiting w, LATERAL (
      SELECT j.queue, j.tenant, ~j.priority AS rank, j.number FROM job_info j
      WHERE j.queue = w.queue AND j.tenant > w.tenant AND j.status = 'QUEUED' AND NOT j.blocked ORDER BY j.tenant, ~j.priority, j.number LIMIT 1) n
  ), bound AS MATERIALIZED (
    SELECT DISTINCT ON (b.queue) b.queue, b.spent, b.writer FROM claim_bound b WHERE b.queue = ANY (queues) ORDER BY b.queue, b.turn DESC
  ), pending AS MATERIALIZED (
    SELECT DISTINCT ON (c.queue, c.tenant) c.queue, c.tenant, c.rank, c.number FROM tenant_call c LEFT JOIN bound b ON b.queue = c.queue
    WHERE c.queue = ANY (queues) AND (b.writer IS NULL OR c.writer >= b.writer OR b.writer > pg_snapshot_xmin(pg_current_snapshot()))
    ORDER BY c.queue, c.tenant, c.rank, c.number
  )
  INSERT INTO tenant_call (queue, tenant, rank, number)
  SELECT w.queue, w.tenant, w.rank, w.number
  FROM waiting w
  LEFT JOIN LATERAL (SELECT n.* FROM tenant_account n WHERE n.queue = w.queue AND n.tenant = w.tenant ORDER BY n.turn DESC LIMIT 1) a ON true
  LEFT JOIN bound b ON b.queue = w.queue
  LEFT JOIN pending c ON c.queue = w.queue AND c.tenant = w.tenant
  LEFT JOIN tenant t ON t.tenant = w.tenant
  LEFT JOIN tenant_share s ON s.queue = w.queue AND s.tenant = w.tenant
  WHERE (((a.active AND a.spent >= coalesce(b.spent, '-Infinity')) OR c.tenant IS NOT NULL)
         AND ((a.rank, a.number) <= (w.rank, w.number) OR (c.rank, c.number) <= (w.rank, w.number))) IS NOT TRUE
    AND t.paused IS NOT TRUE AND coalesce(least(s.max_running, t.max_running), 1) > 0     -- these call when they may
  RETURNING queue, tenant;
  IF FOUND THEN
    PERFORM wake(queues);
  END IF;
END $$;

-- Jobs that were queued before there were triggers.
DO $$ BEGIN
  PERFORM call_forgotten(ARRAY(SELECT q.queue FROM queue q));
END $$;

-- How many entries of what is gone scans of an index have met in this session so far. Needs track_counts, as autovacuum does.
CREATE OR REPLACE FUNCTION entries_of_gone(index regclass) RETURNS bigint LANGUAGE sql VOLATILE AS $$
  SELECT pg_stat_get_xact_tuples_returned(index) - pg_stat_get_xact_tuples_fetched(index)
$$;

-- Writes where the next claims begin to look. A part of `claim`.
CREATE OR REPLACE FUNCTION keep_bound(bound claim_bound, this_turn bigint) RETURNS void LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
BEGIN
  UPDATE claim_bound b SET turn = this_turn, spent = bound.spent, writer = bound.writer, live_turn = bound.live_turn, live_before = bound.live_before
  WHERE b.queue = bound.queue AND b.turn = bound.turn;
  IF NOT FOUND THEN
    INSERT INTO claim_bound (queue, turn, spent, writer, live_turn, live_before)
    VALUES (bound.queue, this_turn, bound.spent, bound.writer, bound.live_turn, bound.live_before);
  END IF;
END $$;

-- What is live, by the claims' books: of each queue what was claimed since the bound, and what was live then. A look at the index alone meets
-- under an old snapshot all that has ended since. What came past the claims, by a hand in the tables, may be missing.
CREATE OR REPLACE FUNCTION live_in_books() RETURNS TABLE (id uuid, tenant text, daemon_id uuid) LANGUAGE plpgsql STABLE SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT j.id, j.tenant, j.daemon_id
  FROM queue q LEFT JOIN LATERAL (SELECT b.live_turn, b.live_before FROM claim_bound b WHERE b.queue = q.queue ORDER BY b.turn DESC LIMIT 1) b ON true,
    LATERAL (
      SELECT j.id, j.tenant, j.daemon_id FROM job_info j WHERE j.queue = q.queue AND j.turn >= coalesce(b.live_turn, 0) AND j.status IN ('TO_BE_RUN', 'RUNNING')
      UNION ALL
      SELECT j.id, j.tenant, j.daemon_id FROM (SELECT j.* FROM job_info j WHERE j.id = ANY (b.live_before) OFFSET 0) j
      WHERE j.turn < b.live_turn AND j.status IN ('TO_BE_RUN', 'RUNNING')) j;
END $$;

-- Slots in use over all queues, by tenant, of those that have a limit over all. A part of `claim`, which counts once more when it holds
-- their rows.
CREATE OR REPLACE FUNCTION slots_over_all() RETURNS jsonb LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
BEGIN
  RETURN (SELECT jsonb_object_agg(o.tenant, o.slots) FROM (
    SELECT j.tenant, count(*) AS slots FROM live_in_books() j
    WHERE EXISTS (SELECT FROM tenant t WHERE t.tenant = j.tenant AND t.max_running IS NOT NULL) GROUP BY j.tenant) o);
END $$;

-- Where who comes new starts: at the least spent of those that took part in an earlier claim and do in this one. A part of `claim`.
CREATE OR REPLACE FUNCTION start_of_new(for_queue text, this_turn bigint, moment timestamptz, least_spent double precision,
                                        live_names text[], live_slots integer[], live_seconds double precision[], over_all jsonb) RETURNS double precision
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
  of_live    double precision;
  of_resting double precision;
  heaviest   real;
BEGIN
  IF live_names <> '{}' THEN
    SELECT min((a.charged + l.seconds) / a.weight) INTO of_live
    FROM unnest(live_names, live_slots, live_seconds) l(tenant, slots, seconds),
      LATERAL (SELECT n.* FROM tenant_account n WHERE n.queue = for_queue AND n.tenant = l.tenant ORDER BY n.turn DESC LIMIT 1) a
    LEFT JOIN tenant_share s ON s.queue = for_queue AND s.tenant = a.tenant LEFT JOIN tenant t ON t.tenant = a.tenant
    WHERE a.active AND a.since < this_turn AND t.paused IS NOT TRUE
      AND coalesce(least(s.max_running - l.slots, t.max_running - coalesce((over_all ->> t.tenant)::integer, 0),
                         CASE WHEN t.rate IS NOT NULL THEN rate_room(t.rate, t.rate_period, t.rate_burst, t.rate_full_at, moment) END), 1) > 0;
  END IF;
  SELECT n.weight INTO heaviest FROM tenant_account n WHERE n.queue = for_queue AND n.active ORDER BY n.weight DESC, n.spent DESC LIMIT 1;
  IF heaviest IS NOT NULL THEN
    WITH RECURSIVE class AS (
      SELECT heaviest AS weight
      UNION ALL
      SELECT n.weight FROM class c, LATERAL (
        SELECT n.weight FROM tenant_account n WHERE n.queue = for_queue AND n.active AND n.weight < c.weight ORDER BY n.weight DESC, n.spent DESC LIMIT 1) n
    )
    SELECT min(r.spent) INTO of_resting FROM class c, LATERAL (
      SELECT a.spent FROM tenant_account a
      LEFT JOIN tenant_share s ON s.queue = for_queue AND s.tenant = a.tenant LEFT JOIN tenant t ON t.tenant = a.tenant,
        LATERAL (SELECT FROM job_info j WHERE j.queue = for_queue AND j.tenant = a.tenant AND j.status = 'QUEUED' AND NOT j.blocked
                   AND (~j.priority, j.number) >= (a.rank, a.number) ORDER BY ~j.priority, j.number LIMIT 1) w
      WHERE a.queue = for_queue AND a.weight = c.weight AND a.active AND a.spent >= least_spent AND a.since < this_turn
        AND a.tenant NOT IN (SELECT unnest(live_names)) AND t.paused IS NOT TRUE
        AND coalesce(least(s.max_running, t.max_running - coalesce((over_all ->> t.tenant)::integer, 0),
                           CASE WHEN t.rate IS NOT NULL THEN rate_room(t.rate, t.rate_period, t.rate_burst, t.rate_full_at, moment) END), 1) > 0
      ORDER BY a.spent LIMIT 1) r;
  END IF;
  RETURN least(of_live, of_resting);
END $$;

-- The books after these tenants have called: new weights, new beginnings of backlogs; who comes new is charged what makes it start level with
-- the last of those that were there. Returns the least that any of them has spent. A part of `claim`.
DROP FUNCTION IF EXISTS take_in(text, bigint, timestamptz, double precision, text[], integer[], double precision[], jsonb, text[], integer[], bigint[]);
CREATE OR REPLACE FUNCTION take_in(for_queue text, this_turn bigint, moment timestamptz, least_spent double precision,
                                   live_names text[], live_slots integer[], live_seconds double precision[], settings boolean, over_all jsonb,
                                   called text[], ranks integer[], numbers bigint[]) RETURNS double precision
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
  a       record;
  earlier boolean;
  start   double precision;
  lowest  double precision;
BEGIN
  -- One alone, of which operators say nothing: what most calls are.
  IF cardinality(called) = 1 AND NOT settings THEN
    SELECT n.ctid AS place, n.active, n.since, n.weight, n.rank, n.number, n.spent INTO a
    FROM tenant_account n WHERE n.queue = for_queue AND n.tenant = called[1] ORDER BY n.turn DESC LIMIT 1;
    IF FOUND THEN
      earlier := coalesce((ranks[1], numbers[1]) < (a.rank, a.number), false);
      IF a.active AND a.since IS NOT NULL AND a.weight = 1 AND NOT earlier THEN
        RETURN a.spent;
      END IF;
      IF a.since IS NULL THEN
        start := start_of_new(for_queue, this_turn, moment, least_spent, live_names, live_slots, live_seconds, over_all)
                 - coalesce(live_seconds[array_position(live_names, called[1])], 0);
      END IF;
      UPDATE tenant_account n
      SET turn = this_turn, active = true, weight = 1, since = coalesce(n.since, this_turn), charged = greatest(n.charged, start),
          rank = CASE WHEN earlier THEN ranks[1] ELSE n.rank END, number = CASE WHEN earlier THEN numbers[1] ELSE n.number END
      WHERE n.ctid = a.place RETURNING n.spent INTO lowest;
      RETURN lowest;
    END IF;
  END IF;

  IF EXISTS (SELECT FROM unnest(called) c(tenant)
             LEFT JOIN LATERAL (SELECT n.since FROM tenant_account n WHERE n.queue = for_queue AND n.tenant = c.tenant ORDER BY n.turn DESC LIMIT 1) a ON true
             WHERE a.since IS NULL) THEN
    start := start_of_new(for_queue, this_turn, moment, least_spent, live_names, live_slots, live_seconds, over_all);
  END IF;

  WITH call AS (
    SELECT c.tenant, c.rank, c.number, a.place, a.active, a.since, a.spent, a.weight AS weighed, coalesce(s.weight, t.weight, 1) AS weight,
           coalesce((c.rank, c.number) < (a.rank, a.number), false) AS earlier,
           t.paused IS NOT TRUE AND coalesce(least(
             CASE WHEN s.max_running IS NOT NULL THEN
               s.max_running - coalesce((SELECT l.slots FROM unnest(live_names, live_slots) l(tenant, slots) WHERE l.tenant = s.tenant), 0) END,
             t.max_running - coalesce((over_all ->> t.tenant)::integer, 0),
             CASE WHEN t.rate IS NOT NULL THEN rate_room(t.rate, t.rate_period, t.rate_burst, t.rate_full_at, moment) END), 1) > 0 AS takes_part,
           t.paused IS TRUE OR coalesce(least(s.max_running, t.max_running), 1) <= 0 AS shut,
           coalesce((SELECT l.seconds FROM unnest(live_names, live_seconds) l(tenant, seconds) WHERE a.since IS NULL AND l.tenant = c.tenant), 0) AS seconds
    FROM unnest(called, ranks, numbers) c(tenant, rank, number)
    LEFT JOIN LATERAL (SELECT n.ctid AS place, n.* FROM tenant_account n WHERE n.queue = for_queue AND n.tenant = c.tenant ORDER BY n.turn DESC LIMIT 1) a ON true
    LEFT JOIN tenant_share s ON s.queue = for_queue AND s.tenant = c.tenant
    LEFT JOIN tenant t ON t.tenant = c.tenant
  ), changed AS (
    UPDATE tenant_account a
    SET turn = this_turn, active = NOT c.shut, weight = c.weight,
        since = CASE WHEN c.takes_part THEN coalesce(a.since, this_turn) END,
        charged = CASE WHEN c.takes_part AND a.since IS NULL THEN greatest(a.charged, start * c.weight - c.seconds) ELSE a.charged END,
        rank = CASE WHEN c.earlier THEN c.rank ELSE a.rank END, number = CASE WHEN c.earlier THEN c.number ELSE a.number END
    FROM call c
    WHERE a.ctid = c.place AND (c.active = c.shut OR c.earlier OR c.weight <> c.weighed OR c.takes_part <> (c.since IS NOT NULL))
    RETURNING a.tenant, a.spent
  ), made AS (
    INSERT INTO tenant_account (queue, tenant, turn, active, since, weight, charged, rank, number)
    SELECT for_queue, c.tenant, this_turn, NOT c.shut, CASE WHEN c.takes_part THEN this_turn END, c.weight,
           CASE WHEN c.takes_part THEN greatest(0, coalesce(start * c.weight - c.seconds, 0)) ELSE 0 END, -2147483648, 0
    FROM call c WHERE c.place IS NULL AND c.number IS NOT NULL
    RETURNING spent
  )
  SELECT min(e.spent) INTO lowest FROM (
    SELECT n.spent FROM changed n UNION ALL SELECT n.spent FROM made n
    UNION ALL SELECT c.spent FROM call c WHERE c.tenant NOT IN (SELECT n.tenant FROM changed n)) e;
  RETURN lowest;
END $$;

-- What no active account has spent less than. A part of `claim`.
CREATE OR REPLACE FUNCTION bound_of_spent(for_queue text, least_spent double precision) RETURNS double precision LANGUAGE sql VOLATILE SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$
  WITH RECURSIVE class AS (
    (SELECT n.weight FROM tenant_account n WHERE n.queue = for_queue AND n.active ORDER BY n.weight DESC, n.spent DESC LIMIT 1)
    UNION ALL
    SELECT n.weight FROM class c, LATERAL (
      SELECT n.weight FROM tenant_account n WHERE n.queue = for_queue AND n.active AND n.weight < c.weight ORDER BY n.weight DESC, n.spent DESC LIMIT 1) n
  )
  SELECT min(l.spent) FROM class c, LATERAL (
    SELECT n.spent FROM tenant_account n WHERE n.queue = for_queue AND n.weight = c.weight AND n.active AND n.spent >= least_spent ORDER BY n.spent LIMIT 1) l
$$;

-- Of these jobs, whose rows the claim holds: those that may run. Those of a held class, or of a pipeline that is paused or ending, leave the
-- claimable index until `release_class` or `settle` lets them in again, and with them those behind them, as far as a look at the next rows goes.
-- The rows of what holds them are shared until the commit: whoever releases waits for it, and sees in its next statement what was put aside
-- here. Nothing waits in here: where one of them is in other hands a job is left out for the next claim, or with `in_doubt`, where there are so
-- many that those behind them would never be seen, put aside all the same: `settle_doubts` looks again. A part of `claim`.
DROP FUNCTION IF EXISTS put_on_hold(text, uuid[]);
CREATE OR REPLACE FUNCTION put_on_hold(for_queue text, jobs uuid[], in_doubt boolean, OUT runnable uuid[], OUT left_out uuid[], OUT gone integer)
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
DECLARE
  classes      text[] := ARRAY(SELECT h.job_class FROM class_hold h WHERE h.job_class IN (SELECT j.job_class FROM job_info j WHERE j.id = ANY (jobs)) FOR SHARE SKIP LOCKED);
  pipelines    uuid[] := ARRAY(SELECT p.id FROM pipeline p WHERE p.id = ANY (ARRAY(SELECT j.pipeline_id FROM job_info j WHERE j.id = ANY (jobs)))
                                 AND (p.paused OR p.ending IS NOT NULL) AND p.stop_date IS NULL FOR SHARE SKIP LOCKED);
  busy_classes text[] := ARRAY(SELECT h.job_class FROM class_hold h WHERE h.job_class <> ALL (classes));
  ids          uuid[];
BEGIN
  IF in_doubt THEN
    WITH doubt AS (
      INSERT INTO doubtful_hold (pipeline_id, job_class)
      SELECT p.id, NULL FROM pipeline p WHERE p.id = ANY (ARRAY(SELECT j.pipeline_id FROM job_info j WHERE j.id = ANY (jobs))) AND p.id <> ALL (pipelines)
                                          AND (p.paused OR p.ending IS NOT NULL) AND p.stop_date IS NULL
      UNION ALL
      SELECT NULL, b.job_class FROM unnest(busy_classes) b(job_class) WHERE b.job_class IN (SELECT j.job_class FROM job_info j WHERE j.id = ANY (jobs))
      RETURNING doubtful_hold.*
    )
    SELECT pipelines || array_agg(d.pipeline_id) FILTER (WHERE d.pipeline_id IS NOT NULL), classes || array_agg(d.job_class) FILTER (WHERE d.job_class IS NOT NULL)
    INTO pipelines, classes FROM doubt d;
    busy_classes := ARRAY(SELECT b FROM unnest(busy_classes) b WHERE b <> ALL (classes));
  END IF;
  SELECT coalesce(array_agg(x.id) FILTER (WHERE NOT x.held AND NOT x.busy), '{}'), coalesce(array_agg(x.id) FILTER (WHERE x.busy), '{}'),
         array_agg(x.id) FILTER (WHERE x.held AND NOT x.busy)
  INTO runnable, left_out, ids
  FROM (SELECT j.id, j.job_class = ANY (classes) OR (j.pipeline_id = ANY (pipelines)) IS TRUE AS held,
               j.job_class = ANY (busy_classes) OR (j.pipeline_id <> ALL (pipelines)) IS TRUE
                 AND EXISTS (SELECT FROM pipeline p WHERE p.id = j.pipeline_id AND (p.paused OR p.ending IS NOT NULL) AND p.stop_date IS NULL) AS busy
        FROM job_info j WHERE j.id = ANY (jobs)) x;
  IF ids IS NULL THEN
    gone := cardinality(left_out);
    RETURN;
  END IF;
  -- Also those that wait for the same keys: they would come in one by one instead.
  ids := ids || ARRAY(
    SELECT b.id FROM job_info b
    WHERE b.id = ANY (ARRAY(
        SELECT w.id FROM (
          SELECT n.* FROM (SELECT DISTINCT f.tenant FROM job_info f WHERE f.id = ANY (ids)) t,
          LATERAL (
            SELECT n.id, n.job_class, n.pipeline_id FROM job_info n WHERE n.queue = for_queue AND n.tenant = t.tenant AND n.status = 'QUEUED' AND NOT n.blocked
            ORDER BY ~n.priority, n.number LIMIT 256) n
          UNION ALL
          SELECT n.* FROM (SELECT DISTINCT f.tenant, f.concurrency_key FROM job_info f WHERE f.id = ANY (ids) AND f.concurrency_key IS NOT NULL) k,
          LATERAL (
            SELECT n.id, n.job_class, n.pipeline_id FROM job_info n
            WHERE n.tenant = k.tenant AND n.concurrency_key = k.concurrency_key AND n.queue = for_queue AND n.status = 'QUEUED' AND NOT n.on_hold
            ORDER BY n.priority DESC, n.number LIMIT 256) n) w
        WHERE w.id <> ALL (jobs) AND (w.job_class = ANY (classes) OR w.pipeline_id = ANY (pipelines)) AND w.job_class <> ALL (busy_classes)
          AND (w.pipeline_id IS NULL OR w.pipeline_id = ANY (pipelines)
               OR NOT EXISTS (SELECT FROM pipeline p WHERE p.id = w.pipeline_id AND (p.paused OR p.ending IS NOT NULL) AND p.stop_date IS NULL))
        LIMIT 1000))
      AND b.status = 'QUEUED' AND NOT b.on_hold FOR NO KEY UPDATE SKIP LOCKED);
  UPDATE job_info j SET blocked = true, on_hold = true WHERE j.id = ANY (ids) AND j.status = 'QUEUED';
  gone := cardinality(ids) + cardinality(left_out);
END $$;

-- An earlier one knew nothing of `ended`; beside the new one a call without it would be ambiguous.
DROP FUNCTION IF EXISTS claim(text, integer, uuid, text[], text[], double precision[]);

-- Claims up to `slots` jobs of one queue for daemon `me`: fair between tenants, by priority and submission order inside one, never
-- above a limit. One call is one transaction, committed by the server. docs/fair-share.md has the rule and where it comes from.
--   charged_*: slot-seconds of runs that ended since this daemon's last claim, by tenant; told here, where the turnstile makes
--              this the only writer of accounts, instead of in every flush, where two daemons would wait for each other.
--   skipped_classes: classes that this daemon does not know, or has no room for; `tenant/class` for those of one tenant alone.
--   ended: jobs whose runs have ended at this daemon and whose rows do not say so yet. They are charged already, and count neither as
--          slots in use nor as running time for the fair choice; limits count rows.
-- Each row says which of the run's changes are published, as the queue has it now: the run keeps that. Where nothing could be claimed only
-- because of a rate, one row without an id says in how many seconds that ends.
-- The plan is pinned: estimates of a queue that fills and empties are always wrong, and the good plan is known.
CREATE OR REPLACE FUNCTION claim(for_queue text, slots integer, me uuid, skipped_classes text[], charged_tenants text[], charged_seconds double precision[],
                                 ended uuid[] DEFAULT '{}')
RETURNS TABLE (id uuid, tenant text, job_class text, run integer, attempt integer, max_attempts integer, sequence integer, priority integer, parameters text,
               expired boolean, timeout double precision, user_metadata text, owner text, description text, correlation_id text, traceparent text,
               concurrency_key text, pipeline_id uuid, stage_id uuid, created_date timestamptz, claim_date timestamptz, outbox_id bigint,
               events text, again_in double precision)
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_sort = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
  turnstile  queue%ROWTYPE;
  bound      claim_bound%ROWTYPE;
  learned    boolean := false;     -- the bound is to be written
  this_turn  bigint;
  free       integer := slots;
  live_ids   uuid[];               -- live jobs on this queue, and of each:
  live_dates timestamptz[];        --   when it was claimed
  live_names text[];               -- tenants with such ones, and of each:
  live_slots integer[] := '{}';    --   how many
  live_busy  integer[] := '{}';    --   how many that have not ended at their daemon
  live_seconds double precision[] := '{}'; --   what these have taken
  busy_names text[] := '{}';       -- those with some that have not; all others rest
  in_use     integer;
  settings   boolean;              -- some tenant has a limit, a rate, a weight or a pause
  over_all   jsonb;
  called     text[];
  ranks      integer[];
  numbers    bigint[];
  read_to    xid8;
  called_to  xid8;                 -- the last that was read, where there are more
  looks      integer;              -- how many resting tenants of each weight are looked at
  thorough   boolean := false;     -- the busy ones are looked at too, and `lowest` is what the last one has spent
  names      text[];               -- those looked at, and of each:
  busies     integer[];            --   slots in use on this queue
  run_seconds double precision[];  --   what live runs have taken
  spents     double precision[];   --   slot-seconds over weight
  sinces     bigint[];             --   the claim in which it came
  weights    real[];
  rooms      integer[];            --   how many more its limits allow
  from_ranks integer[];            --   where its backlog begins
  from_numbers bigint[];
  absent     text[];               -- tenants that may run nothing now
  closed     text[];               --   and of them, those that will say when they may
  resting    integer;              -- how many of those looked at, the first, have no live job
  newcomers  boolean;              -- some come new that are not charged for it yet
  start      double precision;     -- what who comes new has spent at least
  lowest     double precision;     -- what the last one has spent, or less
  heaviest   real;
  end_weights real[];              -- weights of which there are more resting tenants than were looked at,
  end_spents double precision[];   --   and what the last that was looked at has spent
  chosen     uuid[];
  winners    text[];
  taken      uuid[];
  passed     uuid[] := '{}';
  limited    text[] := '{}';       -- tenants with a limit or a rate over all queues whose row is held
  moment     timestamptz;          -- the database's clock, after the locks
  careful    boolean := false;
  depth      integer;              -- how far into each tenant's backlog the choice looks
  fullest    double precision;     -- the slots over weight of the last who was given one, before it,
  furthest   double precision;     --   and the most that any of them has spent
  width      integer;              -- how many tenants the choice looks at; NULL: all
  last_slots double precision;     -- the slots over weight of the last of these,
  last_spent double precision;     --   and what it has spent
  unseen     boolean;              -- a resting one that was not looked at could come before the last that was chosen
  edge       double precision;     -- the least slots over weight of those whose next job was not looked at
  crowded    boolean;
  key_tenants text[];
  key_names  text[];
  full_ids   uuid[];      -- jobs whose key is full
  left_ids   uuid[];      -- jobs whose key is in other hands just now
  held_classes text[];
  of_held    boolean;     -- some of the jobs taken are of them, or of a pipeline that is paused or ending
  of_pipelines uuid[];
  kept_back  integer;     -- how many of the jobs taken may not run
  rounds     integer := 0;
  aside      integer := 0;
  patience   CONSTANT integer := 500;   -- entries of what is gone that a look may meet: about 0.1 ms
  most_calls CONSTANT integer := 100000; -- that one claim takes in
  gone_jobs  bigint := entries_of_gone('job_info_claimable');
  gone_accounts bigint := entries_of_gone('tenant_account_next');
  gone       bigint;
BEGIN
  SELECT * INTO turnstile FROM queue q WHERE q.queue = for_queue FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'queue % has no row; the daemon makes it at its start', for_queue USING ERRCODE = 'P0002';
  END IF;
  IF NOT EXISTS (SELECT FROM daemon d WHERE d.id = me AND d.lost_at IS NULL AND d.stopped_at IS NULL) THEN
    RAISE EXCEPTION 'daemon % is not alive in the books; it may not claim', me USING ERRCODE = '55000';
  END IF;
  -- From here each statement sees all that earlier holders of the turnstile committed.
  moment := clock_timestamp();
  this_turn := nextval('claim_turn');
  SELECT b.* INTO bound FROM claim_bound b WHERE b.queue = for_queue ORDER BY b.turn DESC LIMIT 1;
  IF NOT FOUND THEN
    bound := ROW(for_queue, 0, '-Infinity', '0', 0, '{}')::claim_bound;
  END IF;
  -- A dump restored on another server: transactions are numbered anew, and before they get to the old bound it must be gone.
  IF bound.writer > pg_snapshot_xmin(pg_current_snapshot()) THEN
    bound.writer := '0';
    learned := true;
  END IF;
  IF bound.turn >= this_turn THEN    -- the sequence was set back, or not replicated
    this_turn := setval('claim_turn', bound.turn + 1);
  END IF;
  IF charged_tenants <> '{}' THEN
    UPDATE tenant_account a SET charged = a.charged + c.seconds, turn = this_turn
    FROM unnest(charged_tenants, charged_seconds) c(tenant, seconds),
      LATERAL (SELECT n.ctid FROM tenant_account n WHERE n.queue = for_queue AND n.tenant = c.tenant ORDER BY n.turn DESC LIMIT 1) n
    WHERE a.ctid = n.ctid;
  END IF;

  -- Live jobs. Only a claim makes one, so older ones than a claim that kept a list are on its list. (OFFSET 0: by their key, and not by
  -- the index that is full of what is gone; and looked up among the ended once a row.)
  gone := entries_of_gone('job_info_live_turn');
  SELECT coalesce(array_agg(j.id), '{}'), coalesce(array_agg(j.tenant), '{}'), coalesce(array_agg(j.claim_date), '{}') INTO live_ids, live_names, live_dates
  FROM job_info j WHERE j.queue = for_queue AND j.turn >= bound.live_turn AND j.status IN ('TO_BE_RUN', 'RUNNING');
  IF bound.live_before <> '{}' THEN
    SELECT live_ids || array_agg(j.id), live_names || array_agg(j.tenant), live_dates || array_agg(j.claim_date) INTO live_ids, live_names, live_dates
    FROM (SELECT j.* FROM job_info j WHERE j.id = ANY (bound.live_before) OFFSET 0) j WHERE j.turn < bound.live_turn AND j.status IN ('TO_BE_RUN', 'RUNNING');
  END IF;
  in_use := cardinality(live_ids);
  IF entries_of_gone('job_info_live_turn') - gone > patience + 4 * in_use THEN
    bound.live_before := live_ids;
    bound.live_turn := this_turn;
    learned := true;
  END IF;
  IF in_use > 0 THEN
    SELECT array_agg(l.tenant), array_agg(l.slots), array_agg(l.busy), array_agg(l.seconds), coalesce(array_agg(l.tenant) FILTER (WHERE l.busy > 0), '{}')
    INTO live_names, live_slots, live_busy, live_seconds, busy_names
    FROM (
      SELECT l.tenant, count(*)::integer AS slots, count(*) FILTER (WHERE NOT l.over)::integer AS busy,
             coalesce(sum(date_part('epoch', moment - l.claim_date)) FILTER (WHERE NOT l.over), 0) AS seconds
      FROM (SELECT l.tenant, l.claim_date, ended <> '{}' AND l.id IN (SELECT unnest(ended)) AS over
            FROM unnest(live_ids, live_names, live_dates) l(id, tenant, claim_date) OFFSET 0) l
      GROUP BY l.tenant) l;
  END IF;
  settings := EXISTS (SELECT FROM tenant) OR EXISTS (SELECT FROM tenant_share s WHERE s.queue = for_queue);
  IF settings THEN
    IF EXISTS (SELECT FROM tenant t WHERE t.max_running IS NOT NULL) THEN
      over_all := slots_over_all();
    END IF;
  END IF;

  -- Calls.
  gone := entries_of_gone('tenant_call_next');
  read_to := pg_snapshot_xmin(pg_current_snapshot());
  IF EXISTS (SELECT FROM tenant_call c WHERE c.queue = for_queue AND c.writer >= bound.writer) THEN
    WITH call AS (
      DELETE FROM tenant_call c
      WHERE c.ctid = ANY (ARRAY(SELECT n.ctid FROM tenant_call n WHERE n.queue = for_queue AND n.writer >= bound.writer ORDER BY n.writer LIMIT most_calls))
      RETURNING c.tenant, c.rank, c.number, c.writer)
    SELECT array_agg(c.tenant), array_agg(c.rank), array_agg(c.number), CASE WHEN count(*) = most_calls THEN max(c.writer) END
    INTO called, ranks, numbers, called_to FROM call c;
    IF cardinality(called) > 1 THEN
      SELECT array_agg(f.tenant), array_agg(f.rank), array_agg(f.number) INTO called, ranks, numbers FROM (
        SELECT DISTINCT ON (c.tenant) c.tenant, c.rank, c.number FROM unnest(called, ranks, numbers) c(tenant, rank, number) ORDER BY c.tenant, c.rank, c.number) f;
    END IF;
    read_to := least(read_to, called_to);
  END IF;
  IF entries_of_gone('tenant_call_next') - gone > patience THEN
    bound.writer := read_to;
    learned := true;
  END IF;
  IF called IS NOT NULL THEN
    lowest := take_in(for_queue, this_turn, moment, bound.spent, live_names, live_slots, live_seconds, settings, over_all, called, ranks, numbers);
    IF lowest < bound.spent THEN
      bound.spent := lowest;
      learned := true;
    END IF;
  END IF;
  IF learned THEN
    PERFORM keep_bound(bound, this_turn);
    bound.turn := this_turn;
  END IF;

  held_classes := ARRAY(SELECT h.job_class FROM class_hold h);
  IF turnstile.paused OR slots <= 0 OR '*' = ANY (held_classes) THEN
    RETURN;
  END IF;
  IF turnstile.rate IS NOT NULL THEN
    slots := least(slots, rate_room(turnstile.rate, turnstile.rate_period, turnstile.rate_burst, turnstile.rate_full_at, moment));
    IF slots <= 0 THEN
      again_in := extract(epoch FROM rate_next(turnstile.rate, turnstile.rate_period, turnstile.rate_burst, turnstile.rate_full_at, moment) - moment);
      RETURN NEXT;
      RETURN;
    END IF;
  END IF;
  free := least(slots, turnstile.max_running - in_use);
  IF free <= 0 THEN
    RETURN;
  END IF;
  looks := free + 1;    -- with one more than can be chosen the end of them is in sight

  LOOP
    IF names IS NULL THEN
      -- Who is looked at. Of the tenants that rest, those of one weight stand in the order of the rule: by what they have spent. So as
      -- many of each weight as there are slots suffice, unless these have too little. The busy ones are looked at only when they can win.
      -- Weights are looked for from above: the entries of what is gone are at the lower end.
      SELECT n.weight INTO heaviest FROM tenant_account n WHERE n.queue = for_queue AND n.active ORDER BY n.weight DESC, n.spent DESC LIMIT 1;
      IF NOT EXISTS (SELECT FROM tenant_account n WHERE n.queue = for_queue AND n.active AND n.weight < heaviest) THEN
        SELECT coalesce(array_agg(a.tenant), '{}'), coalesce(array_agg(a.spent), '{}'), coalesce(array_agg(a.since), '{}'), coalesce(array_agg(a.weight), '{}'),
               coalesce(array_agg(a.rank), '{}'), coalesce(array_agg(a.number), '{}'),
               (SELECT n.spent FROM tenant_account n WHERE n.queue = for_queue AND n.weight = heaviest AND n.active AND n.spent >= bound.spent ORDER BY n.spent LIMIT 1)
        INTO names, spents, sinces, weights, from_ranks, from_numbers, lowest
        FROM (SELECT n.tenant, n.spent, n.weight, n.since, n.rank, n.number FROM tenant_account n
              WHERE n.queue = for_queue AND n.weight = heaviest AND n.active AND n.spent >= bound.spent AND n.tenant <> ALL (busy_names)
              ORDER BY n.spent, n.tenant LIMIT looks) a;
        end_weights := CASE WHEN cardinality(names) = looks THEN ARRAY[heaviest] END;
        end_spents := spents[looks:looks];
      ELSE
        WITH RECURSIVE class AS (
          SELECT heaviest AS weight
          UNION ALL
          SELECT n.weight FROM class c, LATERAL (
            SELECT n.weight FROM tenant_account n WHERE n.queue = for_queue AND n.active AND n.weight < c.weight ORDER BY n.weight DESC, n.spent DESC LIMIT 1) n
        ), seen AS MATERIALIZED (
          SELECT a.*
          FROM class c,
            LATERAL (SELECT n.tenant, n.spent, n.weight, n.since, n.rank, n.number, row_number() OVER (ORDER BY n.spent, n.tenant) AS nth FROM tenant_account n
                     WHERE n.queue = for_queue AND n.weight = c.weight AND n.active AND n.spent >= bound.spent AND n.tenant NOT IN (SELECT unnest(busy_names))
                     ORDER BY n.spent, n.tenant LIMIT looks) a
        )
        SELECT coalesce(array_agg(s.tenant), '{}'), coalesce(array_agg(s.spent), '{}'), coalesce(array_agg(s.since), '{}'), coalesce(array_agg(s.weight), '{}'),
               coalesce(array_agg(s.rank), '{}'), coalesce(array_agg(s.number), '{}'),
               array_agg(s.weight) FILTER (WHERE s.nth = looks), array_agg(s.spent) FILTER (WHERE s.nth = looks),
               (SELECT min(l.spent) FROM class c, LATERAL (
                  SELECT n.spent FROM tenant_account n WHERE n.queue = for_queue AND n.weight = c.weight AND n.active AND n.spent >= bound.spent ORDER BY n.spent LIMIT 1) l)
        INTO names, spents, sinces, weights, from_ranks, from_numbers, end_weights, end_spents, lowest FROM seen s;
      END IF;
      busies := array_fill(0, ARRAY[cardinality(names)]);
      run_seconds := array_fill(0::double precision, ARRAY[cardinality(names)]);
      resting := cardinality(names);
      thorough := thorough OR resting < free;
      IF thorough AND busy_names <> '{}' THEN
        SELECT names || array_agg(l.tenant), busies || array_agg(l.busy), run_seconds || array_agg(l.seconds),
               spents || array_agg((coalesce(a.charged, 0) + l.seconds) / coalesce(a.weight, 1)), sinces || array_agg(a.since),
               weights || array_agg(coalesce(a.weight, 1)), from_ranks || array_agg(coalesce(a.rank, -2147483648)),
               from_numbers || array_agg(coalesce(a.number, 0))
        INTO names, busies, run_seconds, spents, sinces, weights, from_ranks, from_numbers
        FROM unnest(live_names, live_busy, live_seconds) l(tenant, busy, seconds)
        LEFT JOIN LATERAL (SELECT n.charged, n.weight, n.since, n.rank, n.number FROM tenant_account n WHERE n.queue = for_queue AND n.tenant = l.tenant
                           ORDER BY n.turn DESC LIMIT 1) a ON true
        WHERE l.busy > 0;
      END IF;

      EXIT WHEN names = '{}';

      IF settings THEN
        -- Tenants with a limit or a rate over all queues: their rows are a turnstile of their own, passed in order of name. Who holds some
        -- waits for no other: another queue's claim may hold that one and wait for these.
        IF EXISTS (SELECT FROM tenant t WHERE t.max_running IS NOT NULL OR t.rate IS NOT NULL) THEN
          IF limited = '{}' THEN
            SELECT coalesce(array_agg(l.tenant), '{}') INTO limited FROM (
              SELECT t.tenant FROM tenant t WHERE t.tenant = ANY (names) AND (t.max_running IS NOT NULL OR t.rate IS NOT NULL) ORDER BY t.tenant FOR NO KEY UPDATE) l;
          ELSE
            SELECT limited || array_agg(l.tenant) INTO limited FROM (
              SELECT t.tenant FROM tenant t WHERE t.tenant = ANY (names) AND t.tenant <> ALL (limited) AND (t.max_running IS NOT NULL OR t.rate IS NOT NULL)
              ORDER BY t.tenant FOR NO KEY UPDATE SKIP LOCKED) l;
          END IF;
          moment := clock_timestamp();
          over_all := slots_over_all();
        END IF;

        SELECT coalesce(array_agg(least(slots, p.room) ORDER BY p.n), '{}'), array_agg(p.tenant) FILTER (WHERE p.paused OR p.room <= 0 AND p.known),
               array_agg(p.tenant) FILTER (WHERE p.paused OR p.shut),
               least(again_in, extract(epoch FROM min(p.rate_next) FILTER (WHERE p.known AND NOT p.paused AND coalesce(p.room_rows, 1) > 0 AND p.rate_room <= 0) - moment)),
               bool_or(p.since IS NULL AND p.known AND NOT p.paused AND coalesce(p.room, 1) > 0)
        INTO rooms, absent, closed, again_in, newcomers
        FROM (
          SELECT p.*, CASE WHEN p.paused OR NOT p.known THEN 0 ELSE least(p.room_rows, p.rate_room) END AS room
          FROM (
            SELECT m.n, m.tenant, m.since, t.paused IS TRUE AS paused, t.tenant IS NULL OR t.max_running IS NULL AND t.rate IS NULL OR t.tenant = ANY (limited) AS known,
                   coalesce(least(s.max_running, t.max_running), 1) <= 0 AS shut,
                   least(CASE WHEN s.max_running IS NOT NULL THEN   -- limits count rows
                           s.max_running - coalesce((SELECT l.slots FROM unnest(live_names, live_slots) l(tenant, slots) WHERE l.tenant = s.tenant), 0) END,
                         t.max_running - coalesce((over_all ->> m.tenant)::integer, 0)) AS room_rows,
                   CASE WHEN t.rate IS NOT NULL THEN rate_room(t.rate, t.rate_period, t.rate_burst, t.rate_full_at, moment) END AS rate_room,
                   CASE WHEN t.rate IS NOT NULL THEN rate_next(t.rate, t.rate_period, t.rate_burst, t.rate_full_at, moment) END AS rate_next
            FROM unnest(names, sinces) WITH ORDINALITY m(tenant, since, n)
            LEFT JOIN tenant_share s ON s.queue = for_queue AND s.tenant = m.tenant
            LEFT JOIN LATERAL (SELECT t.* FROM tenant t WHERE t.tenant = m.tenant) t ON true) p) p;
      ELSE
        rooms := array_fill(slots, ARRAY[cardinality(names)]);
        newcomers := array_position(sinces, NULL) IS NOT NULL;
      END IF;

      -- Who comes new has spent no less than those that were there.
      IF newcomers THEN
        start := start_of_new(for_queue, this_turn, moment, bound.spent, live_names, live_slots, live_seconds, over_all);
        spents := ARRAY(SELECT CASE WHEN m.since IS NULL THEN greatest(m.spent, start) ELSE m.spent END
                        FROM unnest(spents, sinces) WITH ORDINALITY m(spent, since, n) ORDER BY m.n);
      END IF;
      IF thorough AND cardinality(names) = 1 THEN
        lowest := spents[1];
      ELSIF thorough THEN
        lowest := (SELECT m.spent FROM (SELECT * FROM unnest(names, spents, rooms, from_ranks, from_numbers) m(tenant, spent, room, rank, number)
                                        WHERE m.room > 0 ORDER BY m.spent OFFSET 0) m,
                     LATERAL (SELECT FROM job_info j WHERE j.queue = for_queue AND j.tenant = m.tenant AND j.status = 'QUEUED' AND NOT j.blocked
                                AND (~j.priority, j.number) >= (m.rank, m.number) ORDER BY ~j.priority, j.number LIMIT 1) w LIMIT 1);
      END IF;
      depth := CASE WHEN free * cardinality(names) <= 64 THEN free    -- less than to choose once more
                    ELSE least(free, 1 + CASE WHEN cardinality(names) < free THEN free / cardinality(names) ELSE 0 END) END;
      width := CASE WHEN cardinality(names) > 2 * free THEN greatest(free, 2) END;
    END IF;

    IF cardinality(names) = 1 THEN
      -- Its first jobs, locked while looking: what somebody holds is left out.
      SELECT array_agg(c.id), bool_or(c.concurrency_key IS NOT NULL), bool_or(c.job_class = ANY (held_classes)), array_agg(c.pipeline_id) FILTER (WHERE c.pipeline_id IS NOT NULL)
      INTO taken, crowded, of_held, of_pipelines FROM (
        SELECT j.id, j.concurrency_key, j.job_class, j.pipeline_id FROM job_info j
        WHERE j.queue = for_queue AND j.tenant = names[1] AND j.status = 'QUEUED' AND NOT j.blocked AND (~j.priority, j.number) >= (from_ranks[1], from_numbers[1])
          AND j.id <> ALL (passed) AND j.job_class <> ALL (skipped_classes) AND (skipped_classes = '{}' OR j.tenant || '/' || j.job_class <> ALL (skipped_classes))
        ORDER BY ~j.priority, j.number LIMIT greatest(0, least(free, rooms[1])) FOR NO KEY UPDATE SKIP LOCKED) c;
      chosen := taken;
      winners := CASE WHEN resting = 1 AND taken IS NOT NULL THEN names END;
      fullest := (busies[1] + least(2, (spents[1] - lowest) * weights[1]) + cardinality(taken) - 1) / weights[1];
      furthest := spents[1];
    ELSIF NOT careful THEN
      -- The nth job of a tenant comes when so many of its slots are in use and n - 1 more: counted before it is given, since counted after
      -- it a light tenant beside a heavy one would never get the only slot. One slot counts for each second of slot time that it is ahead of
      -- the last one, two at most. Looked at are the first so many of these tenants, and a window of each one's backlog. It was too little for
      -- an exact answer where the next tenant, or the first job behind a window, could come before the last that was chosen.
      SELECT array_agg(c.id), array_agg(DISTINCT c.tenant) FILTER (WHERE c.rests), max(c.slots), max(c.spent), min(c.behind) FILTER (WHERE c.nth = depth),
             max(c.last_slots), max(c.last_spent)
      INTO chosen, winners, fullest, furthest, edge, last_slots, last_spent FROM (
        SELECT c.id, t.tenant, t.n <= resting AS rests, t.spent, c.nth, (t.used + (c.nth - 1)) / t.weight AS slots, (t.used + c.nth) / t.weight AS behind,
               t.last_slots, t.last_spent
        FROM (SELECT m.*, max(m.used / m.weight) OVER () AS last_slots, first_value(m.spent) OVER (ORDER BY m.used / m.weight DESC, m.spent DESC) AS last_spent
              FROM (SELECT m.*, m.busy + least(2, (m.spent - lowest) * m.weight) AS used
                    FROM unnest(names, busies, spents, sinces, weights, rooms, from_ranks, from_numbers) WITH ORDINALITY AS m(tenant, busy, spent, since, weight, room, rank, number, n)
                    WHERE m.room > 0
                    ORDER BY (m.busy + least(2, (m.spent - lowest) * m.weight)) / m.weight, m.spent, coalesce(m.since < this_turn, false), m.tenant LIMIT width) m) t,
        LATERAL (
          SELECT j.id, row_number() OVER (ORDER BY ~j.priority, j.number) AS nth FROM job_info j
          WHERE j.queue = for_queue AND j.tenant = t.tenant AND j.status = 'QUEUED' AND NOT j.blocked AND (~j.priority, j.number) >= (t.rank, t.number)
            AND j.id <> ALL (passed) AND j.job_class <> ALL (skipped_classes) AND (skipped_classes = '{}' OR j.tenant || '/' || j.job_class <> ALL (skipped_classes))
          ORDER BY ~j.priority, j.number LIMIT least(depth, t.room)) c
        ORDER BY (t.used + (c.nth - 1)) / t.weight, t.spent, coalesce(t.since < this_turn, false), t.tenant, c.nth LIMIT free) c;
    ELSE
      -- Somebody holds rows of the backlog: lock while looking, so that what is held is left out of the choice. Nothing waits in here.
      SELECT array_agg(c.id), array_agg(DISTINCT c.tenant) FILTER (WHERE c.rests), max(c.slots), max(c.spent)
      INTO chosen, winners, fullest, furthest FROM (
        SELECT c.id, t.tenant, t.n <= resting AS rests, t.spent, (t.used + (c.nth - 1)) / t.weight AS slots
        FROM (SELECT *, m.busy + least(2, (m.spent - lowest) * m.weight) AS used
              FROM unnest(names, busies, spents, sinces, weights, rooms, from_ranks, from_numbers) WITH ORDINALITY AS m(tenant, busy, spent, since, weight, room, rank, number, n)) t,
        LATERAL (
          SELECT f.id, row_number() OVER (ORDER BY ~f.priority, f.number) AS nth FROM (
            SELECT j.id, j.priority, j.number FROM job_info j
            WHERE j.queue = for_queue AND j.tenant = t.tenant AND j.status = 'QUEUED' AND NOT j.blocked AND (~j.priority, j.number) >= (t.rank, t.number)
              AND j.id <> ALL (passed) AND j.job_class <> ALL (skipped_classes) AND (skipped_classes = '{}' OR j.tenant || '/' || j.job_class <> ALL (skipped_classes))
            ORDER BY ~j.priority, j.number LIMIT greatest(0, least(free, t.room)) FOR NO KEY UPDATE SKIP LOCKED) f) c
        ORDER BY (t.used + (c.nth - 1)) / t.weight, t.spent, coalesce(t.since < this_turn, false), t.tenant, c.nth LIMIT free) c;
    END IF;
    unseen := false;
    IF end_weights IS NOT NULL THEN
      unseen := coalesce(cardinality(chosen), 0) < free OR EXISTS (
        SELECT FROM (SELECT least(2, (e.spent - lowest) * e.weight) / e.weight AS slots, e.spent FROM unnest(end_weights, end_spents) e(weight, spent)) e
        WHERE (e.slots, e.spent) < (fullest, furthest) OR called IS NOT NULL AND (e.slots, e.spent) = (fullest, furthest));
    END IF;
    -- Could one that was not looked at come before the last that was chosen? A busy tenant not before one slot over the heaviest weight; below
    -- that what is ahead of the last counts in full, so that it does not matter how much the last has spent.
    IF NOT careful AND width < cardinality(names) AND (coalesce(cardinality(chosen), 0) < free OR (fullest, furthest) > (last_slots, last_spent)) THEN
      width := width * 4;
      CONTINUE;
    ELSIF NOT thorough AND (coalesce(cardinality(chosen), 0) < free OR fullest >= 1 / heaviest) THEN
      thorough := true;
      names := NULL;
      CONTINUE;
    ELSIF unseen THEN
      looks := looks * 2;
      names := NULL;
      CONTINUE;
    ELSIF NOT careful AND depth < free AND (edge <= fullest OR edge IS NOT NULL AND cardinality(chosen) < free) THEN
      depth := least(free, depth * 4);
      CONTINUE;
    END IF;
    EXIT WHEN chosen IS NULL;

    IF cardinality(names) > 1 THEN
      SELECT array_agg(l.id), bool_or(l.concurrency_key IS NOT NULL), bool_or(l.job_class = ANY (held_classes)), array_agg(l.pipeline_id) FILTER (WHERE l.pipeline_id IS NOT NULL)
      INTO taken, crowded, of_held, of_pipelines FROM (
        SELECT j.id, j.concurrency_key, j.job_class, j.pipeline_id FROM job_info j WHERE j.id = ANY (chosen) AND j.status = 'QUEUED' AND NOT j.blocked ORDER BY j.id FOR NO KEY UPDATE SKIP LOCKED) l;
      IF cardinality(taken) IS DISTINCT FROM cardinality(chosen) AND NOT careful THEN
        careful := true;
        CONTINUE;
      END IF;
    END IF;
    kept_back := 0;
    IF of_pipelines IS NOT NULL AND NOT of_held THEN     -- by itself: a query begins to cost before its condition is looked at
      of_held := EXISTS (SELECT FROM pipeline p WHERE p.id = ANY (of_pipelines) AND (p.paused OR p.ending IS NOT NULL) AND p.stop_date IS NULL);
    END IF;
    IF of_held THEN
      SELECT h.runnable, cardinality(taken) - cardinality(h.runnable), passed || h.left_out, aside + h.gone
      INTO taken, kept_back, passed, aside FROM put_on_hold(for_queue, taken, rounds >= 3) h;
    END IF;
    EXIT WHEN taken IS NULL OR NOT crowded AND kept_back = 0;

    -- Concurrency keys. A key whose row another queue's claim holds is left for next time; a job whose key is full leaves the
    -- claimable index (`blocked`) until the key is free. The lock comes first, the count in the next statement. So does one whose key has no
    -- row: to make it here could mean to wait for a submitter; `unblock` makes it.
    SELECT coalesce(array_agg(k.tenant), '{}'), coalesce(array_agg(k.key), '{}') INTO key_tenants, key_names FROM (
      SELECT k.tenant, k.key FROM concurrency_key k
      WHERE (k.tenant, k.key) IN (SELECT j.tenant, j.concurrency_key FROM job_info j WHERE j.id = ANY (taken) AND j.concurrency_key IS NOT NULL)
      ORDER BY k.tenant, k.key FOR NO KEY UPDATE SKIP LOCKED) k;
    WITH room AS (
      SELECT k.tenant, k.key, k.max_running
             - (SELECT count(*) FROM job_info l WHERE l.tenant = k.tenant AND l.concurrency_key = k.key AND l.status IN ('TO_BE_RUN', 'RUNNING'))
             - (SELECT count(*) FROM job_info l WHERE l.tenant = k.tenant AND l.concurrency_key = k.key AND l.has_parts AND l.status IN ('PENDING', 'QUEUED')) AS room      -- it waits for its parts, or has done so
      FROM concurrency_key k WHERE (k.tenant, k.key) IN (SELECT * FROM unnest(key_tenants, key_names))
    ), ranked AS (
      SELECT j.id, coalesce(r.room, CASE WHEN NOT EXISTS (SELECT FROM concurrency_key k WHERE k.tenant = j.tenant AND k.key = j.concurrency_key) THEN 0 END) AS room,
             CASE WHEN NOT j.has_parts      -- else it holds a place already
                  THEN row_number() OVER (PARTITION BY j.tenant, j.concurrency_key, j.has_parts ORDER BY j.priority DESC, j.number) END AS nth
      FROM job_info j LEFT JOIN room r ON r.tenant = j.tenant AND r.key = j.concurrency_key
      WHERE j.id = ANY (taken) AND j.concurrency_key IS NOT NULL
    )
    SELECT coalesce(array_agg(x.id) FILTER (WHERE x.room IS NOT NULL AND x.nth > x.room), '{}'), coalesce(array_agg(x.id) FILTER (WHERE x.room IS NULL), '{}')
    INTO full_ids, left_ids FROM ranked x;
    EXIT WHEN full_ids = '{}' AND left_ids = '{}' AND kept_back = 0;
    IF rounds >= 3 THEN     -- many jobs, and a key that somebody holds for long: aside with them too, until a daemon's look finds it free
      full_ids := full_ids || ARRAY(SELECT j.id FROM job_info j WHERE j.id = ANY (left_ids) AND NOT j.has_parts);      -- those that hold a place wait for no other's
      left_ids := ARRAY(SELECT l FROM unnest(left_ids) l WHERE l <> ALL (full_ids));
    END IF;
    -- Those behind them with the same keys too, as far as a look at the next rows goes: one by one, a long backlog of a full key
    -- would stand before all others for many claims.
    full_ids := full_ids || ARRAY(
      SELECT b.id FROM job_info b
      WHERE b.id = ANY (ARRAY(
          SELECT w.id FROM (SELECT DISTINCT f.tenant FROM job_info f WHERE f.id = ANY (full_ids)) t,
          LATERAL (
            SELECT n.id, n.concurrency_key, n.has_parts FROM job_info n WHERE n.queue = for_queue AND n.tenant = t.tenant AND n.status = 'QUEUED' AND NOT n.blocked
            ORDER BY ~n.priority, n.number LIMIT 256) w
          WHERE w.id <> ALL (taken) AND NOT w.has_parts AND (t.tenant, w.concurrency_key) IN (SELECT f.tenant, f.concurrency_key FROM job_info f WHERE f.id = ANY (full_ids))))
        AND b.status = 'QUEUED' AND NOT b.blocked FOR NO KEY UPDATE SKIP LOCKED);
    UPDATE job_info j SET blocked = true WHERE j.id = ANY (full_ids) AND j.status = 'QUEUED';
    passed := passed || left_ids;
    rounds := rounds + 1;
    aside := aside + cardinality(full_ids) + cardinality(left_ids);
    IF rounds >= 4 THEN    -- a long backlog of one key is put aside over several claims, not in one; but few jobs cost nobody else a slot
      taken := ARRAY(SELECT t FROM unnest(taken) t WHERE t <> ALL (full_ids) AND t <> ALL (left_ids));
      EXIT WHEN taken <> '{}' OR rounds >= 32 OR aside >= 1000;
    END IF;
  END LOOP;

  -- What was learned on the way. Who takes no part any more; who may run nothing until somebody changes that leaves the order, and so does who
  -- was next and has nothing, until it calls; who came new is charged for it.
  IF absent IS NOT NULL THEN
    UPDATE tenant_account a SET since = NULL, active = a.tenant <> ALL (coalesce(closed, '{}')), turn = this_turn
    FROM unnest(absent) r(tenant), LATERAL (SELECT n.ctid, n.since, n.active FROM tenant_account n WHERE n.queue = for_queue AND n.tenant = r.tenant ORDER BY n.turn DESC LIMIT 1) n
    WHERE a.ctid = n.ctid AND (n.since IS NOT NULL OR n.active AND n.active <> (a.tenant <> ALL (coalesce(closed, '{}'))));
  END IF;
  IF newcomers THEN
    UPDATE tenant_account a SET since = this_turn, charged = greatest(a.charged, start * a.weight - r.seconds), turn = this_turn
    FROM unnest(names, run_seconds, sinces, rooms) r(tenant, seconds, since, room),
      LATERAL (SELECT n.ctid FROM tenant_account n WHERE n.queue = for_queue AND n.tenant = r.tenant ORDER BY n.turn DESC LIMIT 1) n
    WHERE r.since IS NULL AND r.room > 0 AND a.ctid = n.ctid;
  END IF;
  IF resting > coalesce(cardinality(winners), 0) THEN
    UPDATE tenant_account a SET active = false, since = NULL, rank = 2147483647, number = 9223372036854775807, turn = this_turn
    FROM unnest(names[:resting], weights[:resting], spents[:resting], rooms[:resting]) r(tenant, weight, spent, room),
      LATERAL (SELECT n.ctid, n.rank, n.number FROM tenant_account n WHERE n.queue = for_queue AND n.tenant = r.tenant ORDER BY n.turn DESC LIMIT 1) n
    WHERE r.tenant NOT IN (SELECT unnest(winners)) AND r.tenant NOT IN (SELECT unnest(live_names)) AND r.room > 0
      AND (coalesce(cardinality(chosen), 0) < free OR least(2, (r.spent - lowest) * r.weight) / r.weight <= fullest)
      -- Not with NOT EXISTS: that is made a join, and before a backlog has been analysed one that reads all of the queue for each tenant.
      AND a.ctid = n.ctid AND (
      SELECT j.number FROM job_info j WHERE j.queue = for_queue AND j.tenant = r.tenant AND j.status = 'QUEUED' AND NOT j.blocked AND (~j.priority, j.number) >= (n.rank, n.number)
      ORDER BY ~j.priority, j.number LIMIT 1) IS NULL;
  END IF;
  IF entries_of_gone('job_info_claimable') - gone_jobs > patience + 4 * slots THEN
    UPDATE tenant_account a SET rank = w.rank, number = w.number, turn = this_turn
    FROM unnest(names) r(tenant),
      LATERAL (SELECT n.ctid, n.rank, n.number FROM tenant_account n WHERE n.queue = for_queue AND n.tenant = r.tenant ORDER BY n.turn DESC LIMIT 1) n,
      LATERAL (SELECT ~j.priority AS rank, j.number FROM job_info j
               WHERE j.queue = for_queue AND j.tenant = r.tenant AND j.status = 'QUEUED' AND NOT j.blocked AND (~j.priority, j.number) >= (n.rank, n.number)
               ORDER BY ~j.priority, j.number LIMIT 1) w
    WHERE a.ctid = n.ctid AND (w.rank, w.number) > (n.rank, n.number);
  END IF;
  IF entries_of_gone('tenant_account_next') - gone_accounts > patience + 4 * slots THEN
    bound.spent := coalesce(bound_of_spent(for_queue, bound.spent), bound.spent);
    PERFORM keep_bound(bound, this_turn);
  END IF;
  IF taken IS NULL OR taken = '{}' OR chosen IS NULL THEN
    IF called_to IS NOT NULL OR taken = '{}' AND chosen IS NOT NULL THEN
      again_in := 0;      -- there are more calls; or what was put aside was enough for one claim, and stood before all others
    END IF;
    IF again_in IS NOT NULL THEN
      RETURN NEXT;
    END IF;
    RETURN;
  END IF;

  -- The moment of the starts is that of the rates: whoever counts claim dates finds no more than a bucket gives.
  moment := clock_timestamp();
  IF turnstile.rate IS NOT NULL THEN
    UPDATE queue q SET rate_full_at = rate_spent(q.rate, q.rate_period, q.rate_burst, q.rate_full_at, moment, cardinality(taken)) WHERE q.queue = for_queue;
  END IF;
  IF limited <> '{}' THEN
    UPDATE tenant t SET rate_full_at = rate_spent(t.rate, t.rate_period, t.rate_burst, t.rate_full_at, moment, s.starts)
    FROM (SELECT j.tenant, count(*)::integer AS starts FROM job_info j WHERE j.id = ANY (taken) GROUP BY j.tenant) s
    WHERE t.tenant = s.tenant AND t.tenant = ANY (limited) AND t.rate IS NOT NULL;
  END IF;

  RETURN QUERY
  WITH claimed AS (
    UPDATE job_info j
    SET status = 'TO_BE_RUN', run = j.run + 1, attempt = j.attempt + 1, sequence = j.sequence + 1, daemon_id = me, turn = this_turn, claim_date = moment
    WHERE j.id = ANY (taken) AND j.status = 'QUEUED'
    RETURNING j.*
  ), box AS (
    INSERT INTO outbox (daemon_id, job_ids, sequences, runs, attempts, statuses, previous, times, priorities, percents, details)
    SELECT me, array_agg(c.id), array_agg(c.sequence), array_agg(c.run), array_agg(c.attempt), array_agg(c.status), array_agg('QUEUED'::text), array_agg(c.claim_date),
           array_agg(c.priority), array_agg(c.percent_completed), array_agg(NULL::jsonb)
    FROM claimed c WHERE is_published(turnstile.events, 'TO_BE_RUN') HAVING count(*) > 0 RETURNING id
  )
  SELECT c.id, c.tenant, c.job_class, c.run, c.attempt, c.max_attempts, c.sequence, c.priority, c.parameters::text,
         coalesce(c.expiration_date <= c.claim_date AND NOT c.has_parts, false), c.timeout, c.user_metadata::text, c.owner, c.description, c.correlation_id, c.traceparent,
         c.concurrency_key, c.pipeline_id, c.stage_id, c.created_date, c.claim_date, (SELECT b.id FROM box b),
         turnstile.events, NULL::double precision
  FROM claimed c;
END $$;

-- Lets jobs that wait for these keys into the claimable index again: of each queue the first ones, as many as the key has room for. Whoever
-- claims first gets the room, and the others leave the index again: so a queue that is paused, full or served by nobody holds up no other.
-- Called after a keyed run has ended and its end is committed; each daemon's look each second does it for all keys, should a caller have
-- died in between.
CREATE OR REPLACE FUNCTION unblock(tenants text[], keys text[]) RETURNS integer LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
DECLARE
  queues   text[];
  patience text := current_setting('lock_timeout');
BEGIN
  IF EXISTS (SELECT FROM unnest(tenants, keys) u(tenant, key) WHERE NOT EXISTS (SELECT FROM concurrency_key k WHERE k.tenant = u.tenant AND k.key = u.key)) THEN
    PERFORM make_keys(array_agg(u.tenant), array_agg(u.key)) FROM unnest(tenants, keys) u(tenant, key)
    WHERE EXISTS (SELECT FROM job_info j WHERE j.tenant = u.tenant AND j.concurrency_key = u.key AND j.status = 'QUEUED' AND j.blocked AND NOT j.on_hold);
  END IF;
  -- A claim holds a key for milliseconds, a client may hold it as long as he likes: that one is left to the look.
  PERFORM set_config('lock_timeout', '10ms', true);
  BEGIN
    PERFORM FROM concurrency_key k WHERE (k.tenant, k.key) IN (SELECT * FROM unnest(tenants, keys)) ORDER BY k.tenant, k.key FOR NO KEY UPDATE;
  EXCEPTION WHEN lock_not_available THEN
    SELECT array_agg(l.tenant), array_agg(l.key) INTO tenants, keys FROM (
      SELECT k.tenant, k.key FROM concurrency_key k WHERE (k.tenant, k.key) IN (SELECT * FROM unnest(tenants, keys)) ORDER BY k.tenant, k.key FOR NO KEY UPDATE SKIP LOCKED) l;
  END;
  PERFORM set_config('lock_timeout', patience, true);
  WITH RECURSIVE room AS (
    SELECT k.tenant, k.key, k.max_running
           - (SELECT count(*) FROM job_info l WHERE l.tenant = k.tenant AND l.concurrency_key = k.key AND l.status IN ('TO_BE_RUN', 'RUNNING'))
           - (SELECT count(*) FROM job_info l WHERE l.tenant = k.tenant AND l.concurrency_key = k.key AND l.has_parts AND l.status IN ('PENDING', 'QUEUED')) AS room
    FROM concurrency_key k WHERE (k.tenant, k.key) IN (SELECT * FROM unnest(tenants, keys))
  ), place AS (               -- the queues in which jobs wait for the key: one probe of the index for each
    SELECT r.tenant, r.key, r.room, (SELECT min(b.queue) FROM job_info b WHERE b.tenant = r.tenant AND b.concurrency_key = r.key AND b.status = 'QUEUED' AND NOT b.on_hold) AS queue
    FROM room r WHERE r.room > 0
    UNION ALL
    SELECT p.tenant, p.key, p.room, (SELECT min(b.queue) FROM job_info b WHERE b.tenant = p.tenant AND b.concurrency_key = p.key AND b.status = 'QUEUED' AND NOT b.on_hold AND b.queue > p.queue)
    FROM place p WHERE p.queue IS NOT NULL
  ), freed AS (               -- the first of all that wait there, blocked or not: nobody is overtaken by a later submission
    UPDATE job_info j SET blocked = false
    WHERE j.status = 'QUEUED' AND j.blocked AND NOT j.on_hold AND j.id = ANY (ARRAY(
      SELECT n.id FROM place p, LATERAL (
        SELECT b.id FROM job_info b WHERE b.tenant = p.tenant AND b.concurrency_key = p.key AND b.queue = p.queue AND b.status = 'QUEUED' AND NOT b.on_hold AND NOT b.has_parts
        ORDER BY b.priority DESC, b.number LIMIT p.room FOR NO KEY UPDATE SKIP LOCKED) n))
    RETURNING j.queue
  )
  SELECT array_agg(f.queue) INTO queues FROM freed f;
  PERFORM wake(ARRAY(SELECT DISTINCT unnest(queues)));
  RETURN coalesce(cardinality(queues), 0);
END $$;


-- ------------------------------------------------------------------------------------------------------------- aging

-- Queues in which waiting raises priorities; none where there is no row. Every period a step: docs/fair-share.md#aging. It goes through the tenants, and
-- in each from the most urgent priority on which something waits to the least, in bounded batches: the row says how far it has come.
CREATE TABLE IF NOT EXISTS aging (
  queue      text PRIMARY KEY,
  period     double precision NOT NULL CHECK (period BETWEEN 1 AND 1e9),   -- seconds
  next_date  timestamptz NOT NULL,                               -- of the next step; of one under way when it was due
  up_to      bigint NOT NULL,                                    -- jobs with higher numbers were submitted after the last step had begun
  begun_date timestamptz,                                        -- of the step under way; NULL: there is none
  begun_at   bigint NOT NULL DEFAULT 0,                          -- the highest number at that time
  tenant     text NOT NULL DEFAULT '',                           -- whom it has come to,
  rank       integer NOT NULL DEFAULT 0,                         -- the priority, in the order of job_info_claimable,
  above      integer                                             -- and to which one its old jobs rise; NULL: those have risen, or are the first
);

-- The number of the job that was submitted last.
CREATE OR REPLACE FUNCTION last_number() RETURNS bigint LANGUAGE sql VOLATILE SET search_path FROM CURRENT AS $$
  SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('job_info', 'number')), 0)
$$;

-- One batch of a step of aging that is due, of any queue: at most so many jobs raised and priorities looked at. `more`: it is to be called again.
CREATE OR REPLACE FUNCTION raise_waiting(batch integer) RETURNS TABLE (raised integer, more boolean) LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
DECLARE
  a      aging%ROWTYPE;
  place  record;
  room   integer := batch;
  moved  integer;
BEGIN
  raised := 0;
  more := false;
  SELECT * INTO a FROM aging x WHERE x.next_date <= clock_timestamp() ORDER BY x.next_date LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN NEXT;
    RETURN;
  END IF;
  IF a.begun_date IS NULL THEN
    a.begun_date := clock_timestamp();
    a.begun_at := last_number();
    a.tenant := '';        -- before all
  END IF;
  LOOP
    IF a.above IS NOT NULL THEN
      -- By number, so all old ones come first. What a client or a claim holds is left for the next step: nobody waits here.
      WITH locked AS MATERIALIZED (
        SELECT j.id FROM job_info j
        WHERE j.queue = a.queue AND j.tenant = a.tenant AND ~j.priority = a.rank AND j.number <= a.up_to AND j.status = 'QUEUED' AND NOT j.blocked
        ORDER BY j.tenant, ~j.priority, j.number LIMIT room FOR NO KEY UPDATE SKIP LOCKED
      ), changed AS (
        UPDATE job_info j SET priority = ~a.above, given_priority = coalesce(j.given_priority, j.priority)
        WHERE j.id = ANY (ARRAY(SELECT l.id FROM locked l)) RETURNING 1
      )
      SELECT count(*) INTO moved FROM changed;
      raised := raised + moved;
      room := room - moved;
      EXIT WHEN room <= 0;   -- more of them may be there
      a.above := NULL;
    END IF;
    SELECT j.tenant, ~j.priority AS rank INTO place FROM job_info j
    WHERE j.queue = a.queue AND j.status = 'QUEUED' AND NOT j.blocked
      AND (j.tenant, ~j.priority) > (a.tenant, CASE WHEN a.tenant = '' THEN -2147483648 ELSE a.rank END)
    ORDER BY j.tenant, ~j.priority, j.number LIMIT 1;
    IF NOT FOUND THEN
      a.up_to := a.begun_at;
      a.next_date := greatest(a.begun_date + make_interval(secs => a.period), clock_timestamp());
      a.begun_date := NULL;
      EXIT;
    END IF;
    a.above := CASE WHEN place.tenant = a.tenant THEN a.rank END;
    a.tenant := place.tenant;
    a.rank := place.rank;
    room := room - 1;
    EXIT WHEN room <= 0;
  END LOOP;
  UPDATE aging x SET next_date = a.next_date, up_to = a.up_to, begun_date = a.begun_date, begun_at = a.begun_at, tenant = a.tenant, rank = a.rank, above = a.above
  WHERE x.queue = a.queue;
  more := a.begun_date IS NOT NULL;
  RETURN NEXT;
END $$;

-- --------------------------------------------------------------------------------------------------------------- holds

-- Written while the hold's row is new or gone and not committed, so that the ids follow each class's order.
CREATE OR REPLACE FUNCTION tell_of_class(h class_hold, status text, moment timestamptz) RETURNS void LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
BEGIN
  INSERT INTO pipeline_outbox (facts)
  VALUES (jsonb_build_array(jsonb_build_object('kind', 'class', 'job_class', (h).job_class, 'status', status, 'reason', (h).reason, 'time', moment)));
  PERFORM pg_notify(current_schema() || '_facts', '');
END $$;

-- Starts no more jobs of a class, `*` for all, until it is released; what runs goes on. False where it is held already: that hold stays as it is. It passes
-- the turnstiles of all queues, and keeps them until its commit: whoever has the answer knows that no claim is under way that has not read it.
CREATE OR REPLACE FUNCTION hold_class(job_class text, reason text DEFAULT NULL) RETURNS boolean LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
DECLARE
  h class_hold%ROWTYPE;
BEGIN
  IF coalesce(hold_class.job_class, '') !~ '^([A-Za-z0-9][A-Za-z0-9_-]{0,63}|\*)$' THEN
    PERFORM refuse_document('', ARRAY['bad_field', 'job_class', 'must match [A-Za-z0-9][A-Za-z0-9_-]{0,63}, or be * for all']);
  END IF;
  -- Before the turnstiles, which would be held for as long as somebody who releases it just now takes.
  INSERT INTO class_hold AS c (job_class, reason) VALUES (hold_class.job_class, left(nullif(hold_class.reason, ''), 1000)) ON CONFLICT DO NOTHING RETURNING * INTO h;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM FROM queue q ORDER BY q.queue FOR SHARE;
  PERFORM pg_notify(current_schema() || '_stop', j.daemon_id::text) FROM job_info j     -- as for a pause
  WHERE j.status = 'TO_BE_RUN' AND hold_class.job_class IN (j.job_class, '*') AND j.queue IN (SELECT q.queue FROM queue q);
  PERFORM tell_of_class(h, 'HELD', h.created_date);
  RETURN true;
END $$;

-- Lets jobs of a class, or with `*` all, start again, apart from those that something else holds. False where it was not held.
CREATE OR REPLACE FUNCTION release_class(job_class text) RETURNS boolean LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
DECLARE
  h class_hold%ROWTYPE;
BEGIN
  DELETE FROM class_hold c WHERE c.job_class = release_class.job_class RETURNING * INTO h;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  -- A statement of its own: it sees what was put aside by the claims that the one above has waited for. Those of a paused pipeline come in too, and
  -- the claim puts them aside again: to look at the pipelines here, while `settle` looks at the classes, would leave behind what both let in at once.
  UPDATE job_info j SET blocked = false, on_hold = false
  WHERE j.id = ANY (ARRAY(SELECT w.id FROM job_info w WHERE w.job_class = release_class.job_class AND w.status = 'QUEUED' AND w.on_hold ORDER BY w.id FOR NO KEY UPDATE))
    AND j.status = 'QUEUED' AND j.on_hold;
  PERFORM wake(ARRAY(SELECT DISTINCT q FROM daemon d, unnest(d.queues) q WHERE d.idle AND d.stopped_at IS NULL AND d.lost_at IS NULL));
  PERFORM tell_of_class(h, 'RELEASED', clock_timestamp());
  RETURN true;
END $$;

-- Looks again at what claims have put aside in doubt: what nothing holds any more comes in, at most `batch` jobs of classes, and of pipelines as many
-- as one `settle` moves. Nobody waits: what is in other hands still is left for the next look. True where more can be let in at once.
CREATE OR REPLACE FUNCTION settle_doubts(batch integer) RETURNS boolean LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
DECLARE
  -- Each is seen with the jobs of its claim: what is let in below is all that it is about.
  doubts    bigint[] := ARRAY(SELECT d.id FROM doubtful_hold d FOR UPDATE SKIP LOCKED);
  pipelines uuid[];
  sure      text[];     -- classes that are held, and nobody is about to change that
  released  text[];
  queues    text[];
  moved     integer;
  more      boolean := false;
BEGIN
  IF doubts = '{}' THEN
    RETURN false;
  END IF;
  pipelines := ARRAY(SELECT p.id FROM pipeline p WHERE p.id IN (SELECT d.pipeline_id FROM doubtful_hold d WHERE d.id = ANY (doubts)) ORDER BY p.id FOR NO KEY UPDATE SKIP LOCKED);
  sure := ARRAY(SELECT h.job_class FROM class_hold h WHERE h.job_class IN (SELECT d.job_class FROM doubtful_hold d WHERE d.id = ANY (doubts)) FOR SHARE SKIP LOCKED);
  released := ARRAY(SELECT DISTINCT d.job_class FROM doubtful_hold d
                    WHERE d.id = ANY (doubts) AND d.job_class IS NOT NULL AND NOT EXISTS (SELECT FROM class_hold h WHERE h.job_class = d.job_class));
  IF pipelines <> '{}' THEN
    more := settle('{}', '{}', pipelines);
  END IF;
  WITH freed AS (
    UPDATE job_info j SET blocked = false, on_hold = false
    WHERE j.status = 'QUEUED' AND j.on_hold AND j.id = ANY (ARRAY(
      SELECT w.id FROM job_info w WHERE w.job_class = ANY (released) AND w.status = 'QUEUED' AND w.on_hold LIMIT batch FOR NO KEY UPDATE SKIP LOCKED))
    RETURNING j.queue
  )
  SELECT count(*), array_agg(DISTINCT f.queue) INTO moved, queues FROM freed f;
  PERFORM wake(queues);
  DELETE FROM doubtful_hold d
  WHERE d.id = ANY (doubts)
    AND CASE WHEN d.job_class IS NULL THEN d.pipeline_id = ANY (pipelines) OR NOT EXISTS (SELECT FROM pipeline p WHERE p.id = d.pipeline_id)
             ELSE d.job_class = ANY (sure)
               OR d.job_class = ANY (released) AND NOT EXISTS (SELECT FROM job_info j WHERE j.job_class = d.job_class AND j.status = 'QUEUED' AND j.on_hold) END;
  RETURN more OR moved = batch;
END $$;


-- --------------------------------------------------------------------------------------------------------------- steps

-- A job with steps: the same class and the same identifying parameters are one instance, however often it is executed. A new run of one that has
-- SUCCEEDED is another generation. docs/steps.md has the protocol.
CREATE TABLE IF NOT EXISTS job_instance (
  id           uuid PRIMARY KEY,
  tenant       text NOT NULL,
  job_class    text NOT NULL,
  key          text NOT NULL,                                    -- SHA-256 of the identifying parameters, as canonical JSON
  generation   integer NOT NULL DEFAULT 1,
  parameters   jsonb NOT NULL,
  status       text NOT NULL DEFAULT 'STARTED' CHECK (status IN ('STARTED', 'SUCCEEDED')),
  context      jsonb NOT NULL DEFAULT '{}',                      -- what its steps share
  last_job     uuid,
  created_date timestamptz NOT NULL DEFAULT clock_timestamp(),
  UNIQUE (tenant, job_class, key, generation)
);

CREATE INDEX IF NOT EXISTS job_instance_retention ON job_instance (created_date, id);

-- Which jobs have executed an instance. Live is one at a time; whether it is so still, its job's row says.
CREATE TABLE IF NOT EXISTS job_execution (
  job_id       uuid PRIMARY KEY,
  instance_id  uuid NOT NULL REFERENCES job_instance ON DELETE CASCADE,
  live         boolean NOT NULL,
  created_date timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX IF NOT EXISTS job_execution_live ON job_execution (instance_id) WHERE live;
CREATE INDEX IF NOT EXISTS job_execution_instance    ON job_execution (instance_id);

-- How far a step of an instance is: part -1 the step itself, 0 and up its partitions. `job_id` and `run` are its fence: who begins it writes
-- them, and only that run commits its chunks.
CREATE TABLE IF NOT EXISTS step_execution (
  instance_id  uuid NOT NULL REFERENCES job_instance ON DELETE CASCADE,
  step         text NOT NULL,
  part         integer NOT NULL DEFAULT -1,
  status       text NOT NULL DEFAULT 'PENDING' CHECK (status IN ('PENDING', 'STARTED', 'SUCCEEDED', 'FAILED', 'SKIPPED')),
  job_id       uuid,
  run          integer,
  epoch        text,                                             -- job and restart in which it was started last
  starts       integer NOT NULL DEFAULT 0,
  low          jsonb,                                            -- of a part: its range, frozen when it was planned
  high         jsonb,
  position     jsonb,                                            -- behind the last item that is committed
  expected     bigint,                                           -- items to be read, where they were counted
  read         bigint NOT NULL DEFAULT 0,
  filtered     bigint NOT NULL DEFAULT 0,
  written      bigint NOT NULL DEFAULT 0,
  skipped      bigint NOT NULL DEFAULT 0,
  commits      bigint NOT NULL DEFAULT 0,
  rollbacks    bigint NOT NULL DEFAULT 0,
  context      jsonb NOT NULL DEFAULT '{}',                      -- its state, as of the last commit
  exit_description text,
  error_type   text,
  error_message text,
  start_date   timestamptz,
  stop_date    timestamptz,
  PRIMARY KEY (instance_id, step, part)
) WITH (fillfactor = 50);

-- Of a step in parts, for the progress of its job: how many chunk steps the job has, how many are begun with this one; what was told of its parts last.
ALTER TABLE step_execution ADD COLUMN IF NOT EXISTS chunk_steps integer, ADD COLUMN IF NOT EXISTS chunk_steps_begun integer,
  ADD COLUMN IF NOT EXISTS told_at timestamptz, ADD COLUMN IF NOT EXISTS told_read bigint, ADD COLUMN IF NOT EXISTS told_rate double precision;

-- The runs of steps, for people.
CREATE TABLE IF NOT EXISTS step_run (
  instance_id  uuid NOT NULL REFERENCES job_instance ON DELETE CASCADE,
  step         text NOT NULL,
  part         integer NOT NULL,
  job_id       uuid NOT NULL,
  run          integer NOT NULL,
  status       text NOT NULL,                                    -- STARTED, SUCCEEDED, SKIPPED, FAILED, ABORTED, HANDED_BACK, PARKED, LOST
  start_date   timestamptz NOT NULL DEFAULT clock_timestamp(),
  end_date     timestamptz,
  read         bigint,                                           -- what this run did
  filtered     bigint,
  written      bigint,
  skipped      bigint,
  commits      bigint,
  rollbacks    bigint,
  error_type   text,
  error_message text,
  PRIMARY KEY (instance_id, step, part, job_id, run)
);

-- Takes an instance for a run of a job: its row with `answer` OPEN, or why it is refused: ALREADY_RUNNING, ALREADY_COMPLETE, RESTART_PREVENTED, with
-- the job that did it; RUN_LOST where the run is not the job's current one. `epoch` tells restarts apart; a run that was lost, handed back or retried goes on in
-- the same one. A job stays with the instance that it has executed, whatever its class takes for identifying by now.
CREATE OR REPLACE FUNCTION open_instance(for_job uuid, of_run integer, of_daemon uuid, identity text, identifying jsonb, anew boolean, restartable boolean)
RETURNS TABLE (answer text, instance_id uuid, generation integer, context jsonb, other_job uuid, epoch text) LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
  j        record;
  i        job_instance%ROWTYPE;
  other    uuid;
  restarts integer;
BEGIN
  SELECT x.tenant, x.job_class INTO j FROM job_info x
  WHERE x.id = for_job AND x.run = of_run AND x.daemon_id = of_daemon AND x.status IN ('TO_BE_RUN', 'RUNNING') FOR SHARE;
  IF NOT FOUND THEN
    RETURN QUERY SELECT 'RUN_LOST', NULL::uuid, 0, NULL::jsonb, NULL::uuid, NULL::text;
    RETURN;
  END IF;
  restarts := (SELECT count(*) FROM job_run r WHERE r.job_id = for_job AND r.ending IN ('FAILED', 'ABORTED'));
  identity := coalesce((SELECT x.key FROM job_execution e JOIN job_instance x ON x.id = e.instance_id WHERE e.job_id = for_job AND x.job_class = j.job_class), identity);
  LOOP
    SELECT * INTO i FROM job_instance x WHERE x.tenant = j.tenant AND x.job_class = j.job_class AND x.key = identity ORDER BY x.generation DESC LIMIT 1 FOR NO KEY UPDATE;
    IF NOT FOUND THEN
      INSERT INTO job_instance (id, tenant, job_class, key, parameters) VALUES (new_job_id(), j.tenant, j.job_class, identity, identifying)
      ON CONFLICT (tenant, job_class, key, generation) DO NOTHING;
    ELSE      -- while this waited for the row, its next generation may have come
      EXIT WHEN NOT EXISTS (SELECT FROM job_instance x WHERE x.tenant = i.tenant AND x.job_class = i.job_class AND x.key = i.key AND x.generation > i.generation);
    END IF;
  END LOOP;
  UPDATE job_execution e SET live = false
  WHERE e.instance_id = i.id AND e.live AND e.job_id <> for_job
    AND NOT EXISTS (SELECT FROM job_info x WHERE x.id = e.job_id AND x.status IN ('PENDING', 'QUEUED', 'TO_BE_RUN', 'RUNNING'));
  SELECT e.job_id INTO other FROM job_execution e WHERE e.instance_id = i.id AND e.live AND e.job_id <> for_job;
  IF FOUND THEN
    RETURN QUERY SELECT 'ALREADY_RUNNING', i.id, i.generation, i.context, other, NULL::text;
    RETURN;
  END IF;
  IF i.status = 'SUCCEEDED' AND i.last_job <> for_job THEN
    IF NOT anew THEN
      RETURN QUERY SELECT 'ALREADY_COMPLETE', i.id, i.generation, i.context, i.last_job, NULL::text;
      RETURN;
    END IF;
    INSERT INTO job_instance (id, tenant, job_class, key, generation, parameters) VALUES (new_job_id(), i.tenant, i.job_class, i.key, i.generation + 1, identifying) RETURNING * INTO i;
  ELSIF NOT restartable AND (restarts > 0 OR i.last_job <> for_job) THEN
    RETURN QUERY SELECT 'RESTART_PREVENTED', i.id, i.generation, i.context, i.last_job, NULL::text;
    RETURN;
  END IF;
  INSERT INTO job_execution AS e (job_id, instance_id, live) VALUES (for_job, i.id, true) ON CONFLICT (job_id) DO UPDATE SET instance_id = excluded.instance_id, live = true;
  UPDATE job_instance x SET last_job = for_job WHERE x.id = i.id;
  RETURN QUERY SELECT 'OPEN', i.id, i.generation, i.context, NULL::uuid, for_job || ':' || restarts;
END $$;

-- The runs of a step whose end was not written, but this one (NULL: all): LOST, with what they have committed, which is what the others have not.
CREATE OR REPLACE FUNCTION end_lost_runs(of_instance uuid, of_step text, of_part integer, but_job uuid, but_run integer) RETURNS void LANGUAGE sql VOLATILE SET search_path FROM CURRENT AS $$
  UPDATE step_run r
  SET status = 'LOST', end_date = clock_timestamp(), read = greatest(0, x.read - p.read), filtered = greatest(0, x.filtered - p.filtered), written = greatest(0, x.written - p.written),
      skipped = greatest(0, x.skipped - p.skipped), commits = greatest(0, x.commits - p.commits), rollbacks = greatest(0, x.rollbacks - p.rollbacks)
  FROM step_execution x, LATERAL (
    SELECT coalesce(sum(y.read), 0) AS read, coalesce(sum(y.filtered), 0) AS filtered, coalesce(sum(y.written), 0) AS written, coalesce(sum(y.skipped), 0) AS skipped,
           coalesce(sum(y.commits), 0) AS commits, coalesce(sum(y.rollbacks), 0) AS rollbacks
    FROM step_run y WHERE y.instance_id = x.instance_id AND y.step = x.step AND y.part = x.part AND y.status <> 'STARTED' AND y.start_date >= x.start_date) p
  WHERE x.instance_id = of_instance AND x.step = of_step AND x.part = of_part
    AND r.instance_id = of_instance AND r.step = of_step AND r.part = of_part AND r.status = 'STARTED' AND (r.job_id, r.run) IS DISTINCT FROM (but_job, but_run);
$$;

-- Begins or goes on with a step: its row, with `answer` GO, DONE where it is complete, TOO_OFTEN, or RUN_LOST where the run is not the job's current one.
CREATE OR REPLACE FUNCTION begin_step(of_instance uuid, of_step text, of_part integer, for_job uuid, of_run integer, of_daemon uuid, in_epoch text, most_starts integer,
                                      again boolean)
RETURNS TABLE (answer text, "position" jsonb, context jsonb, low jsonb, high jsonb, expected bigint, read bigint, filtered bigint, written bigint, skipped bigint, commits bigint,
               rollbacks bigint, starts integer) LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
  s step_execution%ROWTYPE;
BEGIN
  -- A run that was lost must not take the step from the one that goes on with it.
  PERFORM FROM job_info j WHERE j.id = for_job AND j.run = of_run AND j.daemon_id = of_daemon AND j.status IN ('TO_BE_RUN', 'RUNNING') FOR SHARE;
  IF NOT FOUND THEN
    RETURN QUERY SELECT 'RUN_LOST', NULL::jsonb, NULL::jsonb, NULL::jsonb, NULL::jsonb, NULL::bigint, 0::bigint, 0::bigint, 0::bigint, 0::bigint, 0::bigint, 0::bigint, 0;
    RETURN;
  END IF;
  INSERT INTO step_execution (instance_id, step, part) VALUES (of_instance, of_step, of_part) ON CONFLICT DO NOTHING;
  SELECT * INTO s FROM step_execution x WHERE x.instance_id = of_instance AND x.step = of_step AND x.part = of_part FOR NO KEY UPDATE;   -- waits for a chunk that is being committed
  IF s.status IN ('SUCCEEDED', 'SKIPPED') AND (s.epoch = in_epoch OR NOT again) THEN
    RETURN QUERY SELECT 'DONE', s.position, s.context, s.low, s.high, s.expected, s.read, s.filtered, s.written, s.skipped, s.commits, s.rollbacks, s.starts;
    RETURN;
  END IF;
  IF s.epoch IS DISTINCT FROM in_epoch AND s.starts >= most_starts THEN
    RETURN QUERY SELECT 'TOO_OFTEN', s.position, s.context, s.low, s.high, s.expected, s.read, s.filtered, s.written, s.skipped, s.commits, s.rollbacks, s.starts;
    RETURN;
  END IF;
  IF s.status = 'SUCCEEDED' AND of_part = -1 THEN
    DELETE FROM step_execution x WHERE x.instance_id = of_instance AND x.step = of_step AND x.part >= 0;      -- planned anew
  END IF;
  UPDATE step_execution x
  SET job_id = for_job, run = of_run, epoch = in_epoch, starts = x.starts + (x.epoch IS DISTINCT FROM in_epoch)::integer, status = 'STARTED', error_type = NULL, error_message = NULL,
      stop_date = NULL, start_date = coalesce(CASE WHEN x.status <> 'SUCCEEDED' THEN x.start_date END, clock_timestamp()),
      -- complete, and to be done again: from the beginning
      position = CASE WHEN x.status <> 'SUCCEEDED' THEN x.position END, context = CASE WHEN x.status <> 'SUCCEEDED' THEN x.context ELSE '{}' END,
      read = CASE WHEN x.status <> 'SUCCEEDED' THEN x.read ELSE 0 END, filtered = CASE WHEN x.status <> 'SUCCEEDED' THEN x.filtered ELSE 0 END,
      written = CASE WHEN x.status <> 'SUCCEEDED' THEN x.written ELSE 0 END, skipped = CASE WHEN x.status <> 'SUCCEEDED' THEN x.skipped ELSE 0 END,
      commits = CASE WHEN x.status <> 'SUCCEEDED' THEN x.commits ELSE 0 END, rollbacks = CASE WHEN x.status <> 'SUCCEEDED' THEN x.rollbacks ELSE 0 END,
      expected = CASE WHEN x.status <> 'SUCCEEDED' THEN x.expected END
  WHERE x.instance_id = of_instance AND x.step = of_step AND x.part = of_part RETURNING * INTO s;
  PERFORM end_lost_runs(of_instance, of_step, of_part, for_job, of_run);
  INSERT INTO step_run (instance_id, step, part, job_id, run, status) VALUES (of_instance, of_step, of_part, for_job, of_run, 'STARTED') ON CONFLICT DO NOTHING;
  RETURN QUERY SELECT 'GO', s.position, s.context, s.low, s.high, s.expected, s.read, s.filtered, s.written, s.skipped, s.commits, s.rollbacks, s.starts;
END $$;

-- The parts of a step, planned: their rows and the jobs that do them, frozen; or those of an earlier plan once more, the failed ones only. The
-- parent waits for them (PENDING, held by `parts`) and is queued in the transaction that ends the last one. A part of the flush that parks it.
CREATE OR REPLACE FUNCTION start_parts(parent uuid, plan jsonb) RETURNS void LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
DECLARE
  j       job_info%ROWTYPE;
  p       pipeline%ROWTYPE;
  of_instance uuid := (plan ->> 'instance_id')::uuid;
  of_step text := plan ->> 'step';
  made    uuid;
BEGIN
  SELECT * INTO j FROM job_info x WHERE x.id = parent;
  SELECT * INTO p FROM pipeline x WHERE x.parent_job = parent AND x.name = j.job_class AND x.description = of_step AND x.data ->> 'instance_id' = plan ->> 'instance_id'
    AND NOT x.cleaned AND EXISTS (SELECT FROM step_execution e WHERE e.instance_id = of_instance AND e.step = of_step AND e.part >= 0)
    -- Those of this job that have succeeded are of an older plan, where some of the plan have not: another job has made that.
    AND (x.status <> 'SUCCEEDED' OR NOT EXISTS (SELECT FROM step_execution e WHERE e.instance_id = of_instance AND e.step = of_step AND e.part >= 0 AND e.status <> 'SUCCEEDED'))
  ORDER BY x.id DESC LIMIT 1;
  -- Where another job of the same instance has planned them, its ranges stay, and what is done stays done.
  IF NOT FOUND AND NOT EXISTS (SELECT FROM step_execution x WHERE x.instance_id = of_instance AND x.step = of_step AND x.part >= 0) THEN
    INSERT INTO step_execution (instance_id, step, part, low, high, expected)
    SELECT of_instance, of_step, e.n - 1, e.part -> 'low', e.part -> 'high', (e.part ->> 'expected')::bigint FROM jsonb_array_elements(plan -> 'parts') WITH ORDINALITY e(part, n);
  END IF;
  -- In which start of the job they are let run: a failure that the job finds once it is resumed is one of this start. None, where those of a job that was
  -- stopped and restarted are ending still: it finds them ended, and lets them run again.
  UPDATE step_execution x
  SET context = x.context || jsonb_build_object('$planned', CASE WHEN p.ending IS NULL THEN plan -> 'epoch' END),
      chunk_steps = (plan ->> 'chunk_steps')::integer, chunk_steps_begun = (plan ->> 'chunk_steps_begun')::integer, told_at = NULL, told_read = NULL, told_rate = NULL
  WHERE x.instance_id = of_instance AND x.step = of_step AND x.part = -1;
  IF p.id IS NULL THEN
    SELECT r.pipeline_id INTO made FROM submit_pipeline(jsonb_strip_nulls(jsonb_build_object('name', j.job_class, 'tenant', j.tenant, 'queue', j.queue, 'priority', j.priority, 'owner', j.owner,
              'description', of_step, 'correlation_id', j.correlation_id, 'traceparent', j.traceparent, 'status', 'PENDING'))
            || jsonb_build_object('data', jsonb_build_object('instance_id', of_instance, 'step', of_step, 'parent_job', parent), 'stages', jsonb_build_array(jsonb_build_object(
              'name', of_step, 'job_class', j.job_class, 'max_attempts', coalesce(j.max_attempts, (plan ->> 'max_attempts')::integer), 'jobs',
              (SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('timeout', j.timeout)) || jsonb_build_object('parameters', (plan -> 'parameters')
                         || jsonb_build_object('$part', jsonb_build_object('instance_id', of_instance, 'step', of_step, 'index', s.part))) ORDER BY s.part)
               FROM step_execution s WHERE s.instance_id = of_instance AND s.step = of_step AND s.part >= 0 AND s.status <> 'SUCCEEDED'))))) r;
    UPDATE pipeline x SET parent_job = parent WHERE x.id = made;
    PERFORM command_pipelines(ARRAY[made], 'start');
  ELSIF p.status IN ('FAILED', 'ABORTED') THEN
    IF NOT (SELECT c.accepted FROM command_pipelines(ARRAY[p.id], 'restart') c) THEN
      RAISE EXCEPTION 'somebody holds one of the parts of job %', parent USING ERRCODE = '55P03';
    END IF;
  ELSIF p.stop_date IS NOT NULL THEN
    PERFORM resume_parent(parent);
  END IF;
END $$;

-- Queues a job whose parts have ended: PENDING (held by `parts`) → QUEUED. False where somebody holds its row.
CREATE OR REPLACE FUNCTION resume_parent(parent uuid) RETURNS boolean LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
DECLARE
  told boolean;
  of_queue text;
BEGIN
  WITH locked AS MATERIALIZED (
    SELECT j.id FROM job_info j WHERE j.id = parent AND j.status = 'PENDING' AND j.held = 'parts' FOR NO KEY UPDATE SKIP LOCKED
  ), changed AS (
    UPDATE job_info j SET status = 'QUEUED', held = NULL, queued_date = clock_timestamp(), sequence = j.sequence + 1, estimated_completion = NULL
    WHERE j.id = ANY (ARRAY(SELECT l.id FROM locked l)) AND j.status = 'PENDING' AND j.held = 'parts'
    RETURNING j.id, j.queue, j.sequence, j.run, j.attempt, j.queued_date, j.priority, j.percent_completed
  ), ran AS (
    UPDATE step_execution x SET context = x.context || jsonb_build_object('$parts', x.context -> '$planned')
    FROM changed c JOIN job_execution e ON e.job_id = c.id WHERE x.instance_id = e.instance_id AND x.part = -1 AND x.context ? '$planned'
  ), box AS (
    INSERT INTO outbox (job_ids, sequences, runs, attempts, statuses, previous, times, priorities, percents, details)
    SELECT array_agg(c.id), array_agg(c.sequence), array_agg(c.run), array_agg(c.attempt), array_agg('QUEUED'::text), array_agg('PENDING'::text), array_agg(c.queued_date),
           array_agg(c.priority), array_agg(c.percent_completed), array_agg(NULL::jsonb)
    FROM changed c WHERE NOT EXISTS (SELECT FROM queue q WHERE q.queue = c.queue AND NOT is_published(q.events, 'QUEUED')) HAVING count(*) > 0 RETURNING id
  )
  SELECT min(c.queue), EXISTS (SELECT FROM box) INTO of_queue, told FROM changed c;
  IF of_queue IS NOT NULL THEN
    PERFORM announce(ARRAY[of_queue], told);
    RETURN true;
  END IF;
  RETURN NOT EXISTS (SELECT FROM job_info j WHERE j.id = parent AND j.status = 'PENDING' AND j.held = 'parts');
END $$;

-- How far the jobs are that wait for these parts, at most once a second each. Waits for nobody: what somebody holds, another one tells. docs/steps.md
-- has what the numbers mean.
CREATE OR REPLACE FUNCTION tell_parents(pipelines uuid[]) RETURNS void LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
DECLARE
  w       record;            -- the step whose parts run
  t       record;            -- what is committed, of it and of all
  total   bigint;
  moment  timestamptz;
  seconds double precision;  -- since it was told last
  rate    double precision;  -- items a second, of all parts
BEGIN
  FOR w IN
    SELECT x.parent_job, s.instance_id, s.step, coalesce(s.chunk_steps, 1) AS chunk_steps, coalesce(s.chunk_steps_begun, 1) AS chunk_steps_begun, s.told_at, s.told_read, s.told_rate
    FROM pipeline x JOIN job_execution e ON e.job_id = x.parent_job JOIN step_execution s ON s.instance_id = e.instance_id AND s.step = x.data ->> 'step' AND s.part = -1
    WHERE x.id = ANY (pipelines) AND x.stop_date IS NULL AND (s.told_at IS NULL OR s.told_at <= clock_timestamp() - interval '1 second')
    ORDER BY x.id FOR NO KEY UPDATE OF x, s SKIP LOCKED
  LOOP
    PERFORM FROM job_info j WHERE j.id = w.parent_job AND j.status = 'PENDING' AND j.held = 'parts' FOR NO KEY UPDATE SKIP LOCKED;
    CONTINUE WHEN NOT FOUND;
    SELECT count(*) FILTER (WHERE r.own) AS parts, count(*) FILTER (WHERE r.own AND r.status = 'SUCCEEDED') AS succeeded, count(r.size) FILTER (WHERE r.own) AS known,
           coalesce(sum(r.read) FILTER (WHERE r.own), 0) AS own_read, coalesce(sum(r.size) FILTER (WHERE r.own), 0) AS own_size,
           coalesce(sum(r.read), 0)::bigint AS read, coalesce(sum(coalesce(r.size, r.read)) FILTER (WHERE NOT r.own), 0) AS size_of_others
    INTO t
    FROM (SELECT x.step = w.step AS own, x.status, x.read, CASE WHEN x.status = 'SUCCEEDED' THEN x.read WHEN x.expected IS NOT NULL THEN greatest(x.expected, x.read) END AS size
          FROM step_execution x WHERE x.instance_id = w.instance_id
            AND (x.part >= 0 OR NOT EXISTS (SELECT FROM step_execution y WHERE y.instance_id = x.instance_id AND y.step = x.step AND y.part >= 0))) r;
    moment := clock_timestamp();
    seconds := extract(epoch FROM moment - w.told_at);
    rate := CASE WHEN seconds > 0 AND t.own_read >= w.told_read THEN (t.own_read - w.told_read) / seconds END;
    -- What is half a minute old counts a third of what is new.
    rate := coalesce(w.told_rate + (rate - w.told_rate) * seconds / (seconds + 30), rate);
    total := CASE WHEN t.known > 0 THEN
      least(div((t.size_of_others + greatest(div(t.own_size * t.parts, t.known), t.own_read)) * w.chunk_steps, w.chunk_steps_begun), 9223372036854775807)::bigint END;
    UPDATE job_info j
    SET percent_completed    = CASE WHEN total > 0 THEN greatest(j.percent_completed, least(100, div(100 * t.read::numeric, total))) ELSE j.percent_completed END,
        progress_done        = CASE WHEN total > 0 THEN t.read ELSE j.progress_done END,
        progress_total       = CASE WHEN total > 0 THEN total ELSE j.progress_total END,
        progress_message     = format('%s: %s%s read, %s of %s parts done', w.step, to_char(t.own_read, 'FM999,999,999,999,999,999,990'),
                                      ' of ' || to_char(div(t.own_size * t.parts, nullif(t.known, 0)), 'FM999,999,999,999,999,999,990'), t.succeeded, t.parts),
        estimated_completion = moment + make_interval(secs => CASE WHEN total > 0 AND rate > 0 THEN least((total - t.read) / rate, 1e9) END)
    WHERE j.id = w.parent_job;
    UPDATE step_execution x SET told_at = moment, told_read = t.own_read, told_rate = rate WHERE x.instance_id = w.instance_id AND x.step = w.step AND x.part = -1;
  END LOOP;
END $$;


-- ----------------------------------------------------------------------------------------------------------- schedules

-- What is submitted at which dates. docs/schedules.md has the rules. The row is the lock of its ticks: who fires one holds it, submits, and writes
-- the next date, in one transaction. Fire dates are reckoned by the programs, which know time zones; the database's clock says which has come.
CREATE TABLE IF NOT EXISTS schedule (
  tenant             text NOT NULL,
  name               text NOT NULL,
  job                jsonb,                                      -- what each tick submits, with {fire_date} in its texts:
  pipeline           jsonb,                                      -- a job or a pipeline
  cron               text,                                       -- when: an expression on the clock of the time zone,
  every              integer CHECK (every > 0),                  -- or seconds
  time_zone          text NOT NULL DEFAULT 'UTC',
  catch_up           text NOT NULL DEFAULT 'once' CHECK (catch_up IN ('skip', 'once', 'all')),       -- ticks that come too late
  catch_up_within    integer NOT NULL DEFAULT 86400 CHECK (catch_up_within >= 0),                    -- seconds; older ones are missed
  overlap            text NOT NULL DEFAULT 'allow' CHECK (overlap IN ('allow', 'skip', 'queue')),    -- ticks that come while the last one's job lives
  source             text NOT NULL DEFAULT 'user' CHECK (source IN ('user', 'config')),
  config_queues      text,                                       -- of the daemons whose configuration it is from
  paused             boolean NOT NULL DEFAULT false,
  pause_reason       text CHECK (pause_reason IN ('user', 'removed', 'broken')),   -- by whom: a user, the configuration that names it no more, itself
  next_fire_date     timestamptz,                                -- NULL: never again
  last_fire_date     timestamptz,
  last_job_id        uuid,
  last_pipeline_id   uuid,
  fired              bigint NOT NULL DEFAULT 0,                  -- ticks that submitted,
  missed             bigint NOT NULL DEFAULT 0,                  -- and ticks that did not
  last_missed_date   timestamptz,
  last_missed_reason text CHECK (last_missed_reason IN ('late', 'overlap', 'refused')),
  error              text,                                       -- why the last tick submitted nothing
  created_date       timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_date       timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant, name),
  CONSTRAINT schedule_submits_one_thing CHECK ((job IS NULL) <> (pipeline IS NULL)),
  CONSTRAINT schedule_has_one_timing CHECK ((cron IS NULL) <> (every IS NULL)),
  CONSTRAINT schedule_pause_fits CHECK (paused = (pause_reason IS NOT NULL))
);
ALTER TABLE schedule ADD COLUMN IF NOT EXISTS waiting integer NOT NULL DEFAULT 0 CHECK (waiting >= 0);   -- its rows in waiting_tick
CREATE INDEX IF NOT EXISTS schedule_due ON schedule (next_fire_date) WHERE NOT paused;
CREATE INDEX IF NOT EXISTS schedule_waiting ON schedule (last_pipeline_id) WHERE waiting > 0 AND NOT paused;

-- Ticks of schedules of pipelines that wait for the pipeline of the one before. Written by whoever holds the schedule's row.
CREATE TABLE IF NOT EXISTS waiting_tick (
  tenant     text NOT NULL,
  schedule   text NOT NULL,
  key        text NOT NULL,                                      -- of its submission, which is made once
  fire_date  timestamptz NOT NULL,                               -- the oldest one comes first
  since      timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant, schedule, key),
  FOREIGN KEY (tenant, schedule) REFERENCES schedule (tenant, name) ON DELETE CASCADE
);

-- Wakes the daemons for a fire date that is near. Later ones are seen by every daemon's own look each second.
CREATE OR REPLACE FUNCTION announce_fire_date(fire_date timestamptz) RETURNS void LANGUAGE sql VOLATILE SET search_path FROM CURRENT AS $$
  SELECT pg_notify(current_schema() || '_due', '') WHERE fire_date < clock_timestamp() + interval '2 seconds'
$$;

INSERT INTO schema_version (version) VALUES (1) ON CONFLICT DO NOTHING;
