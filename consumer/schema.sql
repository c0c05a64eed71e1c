-- The table that metrics-consumer writes.
--
--     psql "$DATABASE_URL" -v ON_ERROR_STOP=1 -f schema.sql
--
-- Safe to run again, and on a table with the first seven columns only, which keeps its rows.
-- With the extension timescaledb it becomes a hypertable, without it stays a plain table.
-- metrics-consumer holds this file and runs it at start if something is missing. It is one
-- transaction: all of it is done, or nothing.

BEGIN;

-- Two consumers that start together take turns.
SELECT pg_advisory_xact_lock(hashtext('system_metrics'));

-- A table that the search path finds is the one, in whatever schema it is: a second is not made
-- beside it.
DO $$
BEGIN
    PERFORM set_config('search_path', quote_ident(nspname) || ', ' || current_setting('search_path'), true)
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE pg_class.oid = to_regclass('system_metrics');
END
$$;

CREATE TABLE IF NOT EXISTS system_metrics (
    time           timestamptz NOT NULL,  -- when the kubelet took the sample
    service        text NOT NULL,
    pod_name       text NOT NULL,
    cpu            double precision,      -- percent of one core
    memory         double precision,      -- working set, MiB
    namespace      text,
    node_name      text
);

ALTER TABLE system_metrics
    ADD COLUMN IF NOT EXISTS container_name text,
    ADD COLUMN IF NOT EXISTS network_in     bigint,  -- bytes since the pod started
    ADD COLUMN IF NOT EXISTS network_out    bigint;

DO $$
BEGIN
    -- Installed here already, or on the server and loaded by it: the setting is only there
    -- if the library is, and without the library CREATE EXTENSION would end the session.
    IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')
        AND EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')
        AND current_setting('timescaledb.disable_load', true) IS NOT NULL
    THEN
        BEGIN
            CREATE EXTENSION timescaledb;
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE NOTICE 'timescaledb is available, but % may not create the extension: '
                'system_metrics stays a plain table', current_user;
        END;
    END IF;

    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        -- A chunk should fit into a quarter of the memory: a day is some 200 bytes for each
        -- container and sample, 1.7 GB with 1000 containers and a sample every 10 s.
        PERFORM create_hypertable('system_metrics', 'time',
            chunk_time_interval => interval '1 day',
            if_not_exists => true,
            migrate_data => true);
        -- To drop what is older than 30 days:
        -- PERFORM add_retention_policy('system_metrics', interval '30 days', if_not_exists => true);
    END IF;
END
$$;

-- One row for each sample of a container, however often its record is delivered; also the
-- index for "this pod, newest first". Rows of before have no container_name and never collide.
-- A pod's uid would not do: static pods of one manifest have the same on every node. Further
-- unique constraints have to hold all of these columns, or distinct samples would be one for them.
CREATE UNIQUE INDEX IF NOT EXISTS system_metrics_sample ON system_metrics
    (pod_name, time DESC, namespace, container_name, service, node_name);

-- "All pods, newest first". A hypertable comes with such an index of this name.
CREATE INDEX IF NOT EXISTS system_metrics_time_idx ON system_metrics (time DESC);

COMMIT;
