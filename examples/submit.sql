-- Submit from any language that speaks SQL, inside your own transaction: psql "$JOBSERVICE_DATABASE_URL" -f submit.sql
CREATE TABLE IF NOT EXISTS invoices (number integer PRIMARY KEY);

BEGIN;
INSERT INTO invoices (number) VALUES (4711);
SELECT * FROM jobservice.submit('[{"job_class": "RunCommand", "tenant": "acme", "parameters": {"arguments": ["echo", "4711"]},
                                   "idempotency_key": "invoice-4711"}]'::jsonb);
COMMIT;
