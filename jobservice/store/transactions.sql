-- name: begin_work(lock_timeout)$
-- Bounds the waits for locks of this transaction, and names it, so that its fate can be asked for.
SELECT pg_current_xact_id()::text FROM set_config('lock_timeout', :lock_timeout, true);

-- name: fate(transaction)$
-- committed, aborted, in progress; NULL when it is too long ago.
SELECT pg_xact_status(:transaction::text::xid8);
