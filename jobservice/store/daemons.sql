-- name: register(id, host, pid, version, queues, job_classes, capacity, http_url)!
-- Said again where the first answer was lost.
INSERT INTO jobservice.daemon (id, host, pid, version, queues, job_classes, capacity, http_url)
VALUES (:id::uuid, :host, :pid, :version, :queues::text[], :job_classes::text[], :capacity, :http_url) ON CONFLICT (id) DO NOTHING;

-- name: make_queues(queues)!
-- The turnstiles, made at boot; an existing row keeps its limits.
INSERT INTO jobservice.queue (queue) SELECT q FROM unnest(:queues::text[]) q ORDER BY q ON CONFLICT DO NOTHING;

-- name: publish_settings(names, settings)!
-- What the SQL functions must know.
INSERT INTO jobservice.setting (name, value) SELECT n, v::jsonb FROM unnest(:names::text[], :settings::text[]) AS t (n, v)
ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE setting.value IS DISTINCT FROM excluded.value;

-- name: beat(id, running, stuck, draining, withheld)$
-- One heartbeat. NULL: this daemon is marked lost or stopped, or its row is gone.
UPDATE jobservice.daemon SET counter = counter + 1, beat_at = clock_timestamp(), running = :running, stuck = :stuck, draining = :draining,
       withheld_classes = :withheld::text[]
WHERE id = :id::uuid AND lost_at IS NULL AND stopped_at IS NULL RETURNING counter;

-- name: set_idle(id, idle)!
UPDATE jobservice.daemon SET idle = :idle WHERE id = :id::uuid AND idle IS DISTINCT FROM :idle;

-- name: leave(id)!
-- The daemon ends in good order and holds nothing any more.
UPDATE jobservice.daemon SET stopped_at = clock_timestamp(), idle = false, running = 0 WHERE id = :id::uuid AND stopped_at IS NULL;

-- name: others(id, full)
-- The heartbeats to watch, and whether there are live jobs of daemons that are not alive: by the claims' books, or by a look at all entries.
-- (Any queue's name is `>= ''`, and the order is that of the index: for the planner, who would as soon read all jobs by their key where there
-- were none when it planned.)
SELECT d.id, d.counter, NULL::boolean AS orphans FROM jobservice.daemon d WHERE d.id <> :id::uuid AND d.lost_at IS NULL AND d.stopped_at IS NULL
UNION ALL
SELECT NULL, NULL, CASE WHEN :full::boolean
  THEN EXISTS (SELECT FROM jobservice.job_info j LEFT JOIN jobservice.daemon d ON d.id = j.daemon_id
               WHERE j.queue >= '' AND j.status IN ('TO_BE_RUN', 'RUNNING') AND (d.id IS NULL OR d.lost_at IS NOT NULL OR d.stopped_at IS NOT NULL))
  ELSE EXISTS (SELECT FROM jobservice.live_in_books() j LEFT JOIN jobservice.daemon d ON d.id = j.daemon_id
               WHERE d.id IS NULL OR d.lost_at IS NOT NULL OR d.stopped_at IS NOT NULL) END;

-- name: live_jobs(id, held, full)
-- Live jobs that name this daemon, to be compared with memory: what the rows say of those that it holds, and which others there are by the
-- claims' books, or by a look at all entries.
SELECT j.id, j.run, j.tenant, j.queue, j.job_class, j.owner, j.description, j.correlation_id, j.traceparent, j.pipeline_id, j.stage_id,
       CASE WHEN j.stop_requested_at IS NOT NULL THEN coalesce(j.stop_reason, 'stopped') END AS stop_reason,
       CASE WHEN j.status <> 'TO_BE_RUN' THEN NULL      -- what has begun goes on
            WHEN EXISTS (SELECT FROM jobservice.pipeline p WHERE p.id = ANY (ARRAY[j.pipeline_id]) AND p.paused) THEN 'its pipeline is paused'
            WHEN EXISTS (SELECT FROM jobservice.class_hold h WHERE h.job_class IN (j.job_class, '*')) THEN 'its class is held' END AS not_now,
       coalesce((SELECT q.events FROM jobservice.queue q WHERE q.queue = j.queue), 'all') AS events
FROM jobservice.job_info j
WHERE j.id = ANY (ARRAY(
    SELECT h FROM unnest(:held::uuid[]) h
    UNION
    SELECT b.id FROM jobservice.live_in_books() b WHERE b.daemon_id = :id::uuid AND NOT :full::boolean
    UNION
    (SELECT l.id FROM jobservice.job_info l
     WHERE l.queue >= '' AND l.daemon_id = :id::uuid AND l.status IN ('TO_BE_RUN', 'RUNNING') AND :full::boolean ORDER BY l.queue, l.turn)))
  AND coalesce(j.daemon_id = :id::uuid AND j.status IN ('TO_BE_RUN', 'RUNNING'), false);

-- name: class_known_elsewhere(id, queue, job_class)$
SELECT EXISTS (SELECT FROM jobservice.daemon d WHERE d.id <> :id::uuid AND d.lost_at IS NULL AND d.stopped_at IS NULL AND NOT d.draining
               AND :queue = ANY (d.queues) AND :job_class = ANY (d.job_classes));
