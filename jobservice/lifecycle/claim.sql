-- name: claim(queue, slots, daemon, skipped_classes, charged_tenants, charged_seconds, ended)
-- One call, one transaction, committed by the server. The rule is in the function's text in schema.sql.
SELECT * FROM jobservice.claim(:queue, :slots::integer, :daemon::uuid, :skipped_classes::text[], :charged_tenants::text[], :charged_seconds::double precision[], :ended::uuid[]);

-- name: unblock(tenants, keys)
-- Lets the next jobs of released concurrency keys into the claimable index.
SELECT jobservice.unblock(:tenants::text[], :keys::text[]);
