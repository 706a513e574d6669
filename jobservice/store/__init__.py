"""PostgreSQL: sessions, the schema, SQL files, and what is only read. Never changes a job's state."""
