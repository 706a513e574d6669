-- name: backlog(queues)^
-- What waits on these queues. Counted is at most 10,000 of each queue: a probe must not walk a long backlog. (In the index's order: a bitmap
-- would be made of all of it first.)
SELECT count(*) AS queued, extract(epoch FROM clock_timestamp() - min(s.queued_date))::double precision AS oldest_seconds
FROM unnest(:queues::text[]) q,
  LATERAL (SELECT j.queued_date FROM jobservice.job_info j WHERE j.queue = q AND j.status = 'QUEUED' AND NOT j.blocked ORDER BY j.tenant LIMIT 10000) s;
