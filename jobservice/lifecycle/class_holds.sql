-- Job classes of which nothing starts. The functions are in schema.sql.

-- name: hold(job_class, reason)$
SELECT jobservice.hold_class(:job_class, :reason);

-- name: release(job_class)$
SELECT jobservice.release_class(:job_class);

-- name: held()
-- All at once first, then by name. Counts stop at 10,001.
SELECT h.job_class, h.reason, h.created_date,
       (SELECT count(*) FROM (SELECT FROM jobservice.job_info j WHERE j.job_class = h.job_class AND j.status = 'QUEUED' AND j.on_hold LIMIT 10001) w) AS put_aside
FROM jobservice.class_hold h ORDER BY h.job_class <> '*', h.job_class;
