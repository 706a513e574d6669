-- The calls of the SQL function `submit`. Each gives a row for each job, in order: its id and whether it is new.

-- name: submit(jobs)
SELECT s.job_id, s.created FROM jobservice.submit(:jobs::text::jsonb) s;

-- name: submit_next(jobs, patience)
-- (The wait for somebody who just now submits with the same key is bounded first.)
SELECT s.job_id FROM set_config('lock_timeout', :patience, true) AS bound, LATERAL jobservice.submit(CASE WHEN bound <> '' THEN :jobs::text::jsonb END) s;

-- name: submit_told(jobs, lock_timeout)
-- With the queues of which no event will come. The wait for somebody who just now submits with the same key is bounded first.
SELECT s.job_id, s.created, (SELECT array_agg(q.queue ORDER BY q.queue) FROM jobservice.queue q WHERE q.events = 'none') AS unpublished
FROM set_config('lock_timeout', :lock_timeout, true) AS bound, LATERAL jobservice.submit(CASE WHEN bound <> '' THEN :jobs::text::jsonb END) s;
