-- What is asked about the installation: daemons, tenants, queues, subscriptions, the outbox. Reads only.

-- name: daemons(ended)
-- `silent_for` is the database's view; who is lost is decided by daemons that watch, never by this number.
SELECT d.id, CASE WHEN d.lost_at IS NOT NULL THEN 'lost' WHEN d.stopped_at IS NOT NULL THEN 'stopped' WHEN d.draining THEN 'draining' ELSE 'alive' END AS state,
       d.host, d.pid, d.version, d.queues, d.job_classes, d.withheld_classes, d.running, d.stuck, d.capacity, d.http_url, d.started_at, d.lost_at, d.stopped_at,
       round(extract(epoch FROM clock_timestamp() - d.beat_at)::numeric, 1)::double precision AS silent_for
FROM jobservice.daemon d
WHERE :ended::boolean OR (d.lost_at IS NULL AND d.stopped_at IS NULL)
ORDER BY d.started_at;

-- name: tenants()
-- Those with settings and those with jobs that wait or run. Status by status, as the partial indexes are: ended jobs cost nothing.
WITH waiting AS (
  SELECT w.tenant, count(*) FILTER (WHERE w.status = 'PENDING') AS pending, count(*) FILTER (WHERE w.status = 'QUEUED') AS queued,
         count(*) FILTER (WHERE w.status = 'RUNNING') AS running
  FROM (
    SELECT j.tenant, 'QUEUED' AS status FROM jobservice.job_info j WHERE j.status = 'QUEUED' AND NOT j.blocked
    UNION ALL SELECT j.tenant, 'QUEUED' FROM jobservice.job_info j WHERE j.status = 'QUEUED' AND j.blocked AND NOT j.on_hold
    UNION ALL SELECT j.tenant, 'QUEUED' FROM jobservice.job_info j WHERE j.status = 'QUEUED' AND j.on_hold
    UNION ALL SELECT j.tenant, 'RUNNING' FROM jobservice.job_info j WHERE j.status IN ('TO_BE_RUN', 'RUNNING')
    UNION ALL SELECT j.tenant, 'PENDING' FROM jobservice.job_info j WHERE j.status = 'PENDING' AND j.held IN ('trigger', 'backoff')
    UNION ALL SELECT j.tenant, 'PENDING' FROM jobservice.job_info j WHERE j.status = 'PENDING' AND j.held IN ('user', 'stage')
  ) w GROUP BY w.tenant
)
SELECT coalesce(t.tenant, w.tenant) AS tenant, coalesce(t.paused, false) AS paused, t.max_running, t.rate, t.rate_period, t.rate_burst AS burst,
       coalesce(t.weight, 1)::double precision AS weight,
       t.tenant IS NOT NULL AS known, coalesce(w.pending, 0) AS pending, coalesce(w.queued, 0) AS queued, coalesce(w.running, 0) AS running
FROM jobservice.tenant t FULL JOIN waiting w ON w.tenant = t.tenant
ORDER BY 1;

-- name: queues()
WITH waiting AS (
  SELECT w.queue, count(*) FILTER (WHERE w.status = 'PENDING') AS pending, count(*) FILTER (WHERE w.status = 'QUEUED') AS queued,
         count(*) FILTER (WHERE w.status = 'RUNNING') AS running,
         round(extract(epoch FROM clock_timestamp() - min(w.queued_date))::numeric, 1)::double precision AS oldest_queued
  FROM (
    SELECT j.queue, 'QUEUED' AS status, j.queued_date FROM jobservice.job_info j WHERE j.status = 'QUEUED' AND NOT j.blocked
    UNION ALL SELECT j.queue, 'QUEUED', j.queued_date FROM jobservice.job_info j WHERE j.status = 'QUEUED' AND j.blocked AND NOT j.on_hold
    UNION ALL SELECT j.queue, 'QUEUED', j.queued_date FROM jobservice.job_info j WHERE j.status = 'QUEUED' AND j.on_hold
    UNION ALL SELECT j.queue, 'RUNNING', NULL FROM jobservice.job_info j WHERE j.status IN ('TO_BE_RUN', 'RUNNING')
    UNION ALL SELECT j.queue, 'PENDING', NULL FROM jobservice.job_info j WHERE j.status = 'PENDING' AND j.held IN ('trigger', 'backoff')
    UNION ALL SELECT j.queue, 'PENDING', NULL FROM jobservice.job_info j WHERE j.status = 'PENDING' AND j.held IN ('user', 'stage')
  ) w GROUP BY w.queue
), served AS (
  SELECT q.queue, count(*) AS daemons FROM jobservice.daemon d, unnest(d.queues) q (queue) WHERE d.lost_at IS NULL AND d.stopped_at IS NULL GROUP BY q.queue
)
SELECT n.queue, coalesce(q.paused, false) AS paused, q.max_running, q.rate, q.rate_period, q.rate_burst AS burst,
       coalesce(q.events, 'all') AS events, a.period AS aging, coalesce(s.daemons, 0) AS daemons, coalesce(w.pending, 0) AS pending,
       coalesce(w.queued, 0) AS queued, coalesce(w.running, 0) AS running, w.oldest_queued
FROM (SELECT queue FROM jobservice.queue UNION SELECT queue FROM waiting UNION SELECT queue FROM served) n
LEFT JOIN jobservice.queue q ON q.queue = n.queue LEFT JOIN waiting w ON w.queue = n.queue LEFT JOIN served s ON s.queue = n.queue
LEFT JOIN jobservice.aging a ON a.queue = n.queue
ORDER BY n.queue;

-- name: event_modes()
SELECT q.queue, q.events FROM jobservice.queue q WHERE q.events <> 'all' ORDER BY q.queue;

-- name: tenant_limits(tenant)
-- Counts of what waits stop at 10,001.
SELECT 'queue' AS kind, s.queue AS name, s.max_running, s.weight::double precision,
       (SELECT count(*) FROM (SELECT FROM jobservice.job_info j WHERE j.queue = s.queue AND j.tenant = s.tenant AND j.status = 'QUEUED' AND NOT j.blocked LIMIT 10001) w) AS queued,
       (SELECT count(*) FILTER (WHERE j.queue = s.queue AND j.tenant = s.tenant) FROM jobservice.job_info j WHERE j.status IN ('TO_BE_RUN', 'RUNNING')) AS running
FROM jobservice.tenant_share s WHERE s.tenant = :tenant AND (s.max_running IS NOT NULL OR s.weight IS NOT NULL)
UNION ALL
(SELECT 'key', k.key, k.max_running, NULL,
        (SELECT count(*) FROM (SELECT FROM jobservice.job_info j WHERE j.tenant = k.tenant AND j.concurrency_key = k.key AND j.status = 'QUEUED' AND NOT j.on_hold LIMIT 10001) w),
        (SELECT count(*) FROM jobservice.job_info j WHERE j.tenant = k.tenant AND j.concurrency_key = k.key AND j.status IN ('TO_BE_RUN', 'RUNNING'))
        + (SELECT count(*) FROM jobservice.job_info j WHERE j.tenant = k.tenant AND j.concurrency_key = k.key AND j.has_parts AND j.status IN ('PENDING', 'QUEUED'))
 FROM jobservice.concurrency_key k
 WHERE k.tenant = :tenant AND (k.max_running <> 1
   OR EXISTS (SELECT FROM jobservice.job_info j WHERE j.tenant = k.tenant AND j.concurrency_key = k.key AND j.status = 'QUEUED' AND NOT j.on_hold)
   OR EXISTS (SELECT FROM jobservice.job_info j WHERE j.tenant = k.tenant AND j.concurrency_key = k.key AND j.status IN ('TO_BE_RUN', 'RUNNING'))
   OR EXISTS (SELECT FROM jobservice.job_info j WHERE j.tenant = k.tenant AND j.concurrency_key = k.key AND j.has_parts AND j.status IN ('PENDING', 'QUEUED')))
 ORDER BY k.key LIMIT 1000)
ORDER BY kind DESC, name;

-- name: is_tenant(tenant)$
-- Whether this tenant has settings or jobs.
SELECT EXISTS (SELECT FROM jobservice.tenant t WHERE t.tenant = :tenant) OR EXISTS (SELECT FROM jobservice.job_info j WHERE j.tenant = :tenant);

-- name: is_queue(queue)$
-- Whether this queue has settings, a daemon, or jobs that wait or run.
SELECT EXISTS (SELECT FROM jobservice.queue q WHERE q.queue = :queue)
    OR EXISTS (SELECT FROM jobservice.daemon d WHERE :queue::text = ANY (d.queues))
    OR EXISTS (SELECT FROM jobservice.job_info j WHERE j.queue = :queue AND j.status = 'QUEUED' AND NOT j.blocked)
    OR EXISTS (SELECT FROM jobservice.job_info j WHERE j.queue = :queue AND j.status = 'QUEUED' AND j.blocked AND NOT j.on_hold)
    OR EXISTS (SELECT FROM jobservice.job_info j WHERE j.queue = :queue AND j.status = 'QUEUED' AND j.on_hold)
    OR EXISTS (SELECT FROM jobservice.job_info j WHERE j.queue = :queue AND j.status IN ('TO_BE_RUN', 'RUNNING'))
    OR EXISTS (SELECT FROM jobservice.job_info j WHERE j.queue = :queue AND j.status = 'PENDING' AND j.held IN ('trigger', 'backoff'))
    OR EXISTS (SELECT FROM jobservice.job_info j WHERE j.queue = :queue AND j.status = 'PENDING' AND j.held IN ('user', 'stage'));

-- name: live_of(tenant)$
-- FILTER, not WHERE: all live jobs are few, and those of a tenant would be looked for among all that it has ever had.
SELECT count(*) FILTER (WHERE j.tenant = :tenant) FROM jobservice.job_info j WHERE j.status IN ('TO_BE_RUN', 'RUNNING');

-- name: subscriptions()
SELECT s.name, s.filter::text, s.created_date FROM jobservice.subscription s ORDER BY s.name;

-- name: remember_subscription(name, filter)!
INSERT INTO jobservice.subscription (name, filter) VALUES (:name, :filter::text::jsonb) ON CONFLICT (name) DO NOTHING;

-- name: forget_subscription(name)!
DELETE FROM jobservice.subscription WHERE name = :name;

-- name: outbox()^
SELECT count(*) AS rows, round(extract(epoch FROM clock_timestamp() - min(o.created_at))::numeric, 1)::double precision AS oldest,
       (SELECT count(*) FROM jobservice.outbox_rejected) + (SELECT count(*) FROM jobservice.pipeline_outbox_rejected) AS rejected
FROM (SELECT j.created_at FROM jobservice.outbox j UNION ALL SELECT p.created_at FROM jobservice.pipeline_outbox p) o;
