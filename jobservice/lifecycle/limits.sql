-- What operators set of a queue, a tenant, a tenant on a queue, a concurrency key; and who is woken, since it may start more.

-- name: set_tenant(tenant, paused, max_running, weight, rate, period, burst)!
-- NULL leaves as it is; a max_running or a rate of -1 takes the limit away. A rate comes with its period and burst.
INSERT INTO jobservice.tenant AS t (tenant, paused, max_running, weight, rate, rate_period, rate_burst)
VALUES (:tenant, coalesce(:paused::boolean, false), nullif(:max_running::integer, -1), coalesce(:weight::real, 1), nullif(:rate::integer, -1),
        coalesce(:period::double precision, 1), :burst::integer)
ON CONFLICT (tenant) DO UPDATE SET paused = coalesce(:paused::boolean, t.paused), weight = coalesce(:weight::real, t.weight),
  max_running = CASE WHEN :max_running::integer IS NULL THEN t.max_running ELSE nullif(:max_running::integer, -1) END,
  rate = CASE WHEN :rate::integer IS NULL THEN t.rate ELSE nullif(:rate::integer, -1) END,
  rate_period = CASE WHEN :rate::integer IS NULL THEN t.rate_period ELSE coalesce(:period::double precision, 1) END,
  rate_burst = CASE WHEN :rate::integer IS NULL THEN t.rate_burst ELSE :burst::integer END,
  rate_full_at = CASE WHEN t.rate IS NULL THEN NULL ELSE t.rate_full_at END;

-- name: set_queue(queue, paused, max_running, events, rate, period, burst)!
INSERT INTO jobservice.queue AS q (queue, paused, max_running, events, rate, rate_period, rate_burst)
VALUES (:queue, coalesce(:paused::boolean, false), nullif(:max_running::integer, -1), coalesce(:events, 'all'), nullif(:rate::integer, -1),
        coalesce(:period::double precision, 1), :burst::integer)
ON CONFLICT (queue) DO UPDATE SET paused = coalesce(:paused::boolean, q.paused), events = coalesce(:events, q.events),
  max_running = CASE WHEN :max_running::integer IS NULL THEN q.max_running ELSE nullif(:max_running::integer, -1) END,
  rate = CASE WHEN :rate::integer IS NULL THEN q.rate ELSE nullif(:rate::integer, -1) END,
  rate_period = CASE WHEN :rate::integer IS NULL THEN q.rate_period ELSE coalesce(:period::double precision, 1) END,
  rate_burst = CASE WHEN :rate::integer IS NULL THEN q.rate_burst ELSE :burst::integer END,
  rate_full_at = CASE WHEN q.rate IS NULL THEN NULL ELSE q.rate_full_at END;

-- name: set_aging(queue, period)!
-- A first step comes a period from now, of jobs that are there now; where another period was set, a period after the last one.
INSERT INTO jobservice.aging AS a (queue, period, next_date, up_to)
VALUES (:queue, :period::double precision, clock_timestamp() + make_interval(secs => :period::double precision), jobservice.last_number())
ON CONFLICT (queue) DO UPDATE SET period = excluded.period,
  next_date = CASE WHEN a.begun_date IS NULL THEN a.next_date + make_interval(secs => excluded.period - a.period) ELSE a.next_date END;

-- name: end_aging(queue)!
DELETE FROM jobservice.aging a WHERE a.queue = :queue;

-- name: set_share(queue, tenant, max_running, weight)!
-- Limit and weight of a tenant on one queue; -1 and 0 take them away.
INSERT INTO jobservice.tenant_share AS s (queue, tenant, max_running, weight)
VALUES (:queue, :tenant, nullif(:max_running::integer, -1), nullif(:weight::real, 0))
ON CONFLICT (queue, tenant) DO UPDATE SET
  max_running = CASE WHEN :max_running::integer IS NULL THEN s.max_running ELSE nullif(:max_running::integer, -1) END,
  weight = CASE WHEN :weight::real IS NULL THEN s.weight ELSE nullif(:weight::real, 0) END;

-- name: set_key(tenant, key, max_running)!
-- How many jobs of a concurrency key run at a time.
INSERT INTO jobservice.concurrency_key AS k (tenant, key, max_running) VALUES (:tenant, :key, :max_running::integer)
ON CONFLICT (tenant, key) DO UPDATE SET max_running = excluded.max_running;

-- name: wake_queue(queue)$
SELECT jobservice.wake(ARRAY[:queue::text])::text;

-- name: wake_idle()$
-- Wakes all idle daemons: a tenant may run again, on queues that need not be known here.
SELECT jobservice.wake(ARRAY(SELECT DISTINCT q FROM jobservice.daemon d, unnest(d.queues) q WHERE d.idle AND d.stopped_at IS NULL AND d.lost_at IS NULL))::text;
