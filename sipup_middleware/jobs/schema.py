"""The tables of a queue on PostgreSQL."""

from __future__ import annotations

__all__ = ("SCHEMA", "VERSION")

VERSION = 1
"""Of `SCHEMA`."""

SCHEMA = """
CREATE TABLE sipup.saq_jobs (
    key        text PRIMARY KEY,
    lock_key   serial NOT NULL,
    job        bytea NOT NULL,
    queue      text NOT NULL,
    status     text NOT NULL,
    priority   smallint NOT NULL DEFAULT 0,
    group_key  text,
    scheduled  bigint NOT NULL DEFAULT floor(extract(epoch FROM now())),
    expire_at  bigint
);
CREATE INDEX saq_jobs_status_queue_group_key_idx ON sipup.saq_jobs (status, queue, group_key);
CREATE INDEX saq_jobs_status_queue_priority_scheduled_idx
    ON sipup.saq_jobs (status, queue, priority, scheduled);

CREATE TABLE sipup.saq_stats (
    worker_id  text PRIMARY KEY,
    stats      jsonb,
    expire_at  bigint,
    metadata   jsonb,
    queue_key  text
);
CREATE INDEX saq_stats_expire_at_idx ON sipup.saq_stats (expire_at);
CREATE INDEX saq_stats_queue_key_idx ON sipup.saq_stats (queue_key);

-- What became of the jobs of each type.
CREATE TABLE sipup.job_tally (
    queue      text NOT NULL,
    type       text NOT NULL,
    completed  bigint NOT NULL DEFAULT 0,
    retried    bigint NOT NULL DEFAULT 0,
    failed     bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (queue, type)
);
"""
"""The first two tables are SAQ's own, of its migrations 1 to 3, in our schema."""
