"""The log of all changes, hash-chained per scope, which is also the audit log; heads of all entities; parked events."""

from alembic import op

from common.ddl import define

revision = "0003"
down_revision = "0002"

MY_ROOT = "root_id = ANY((SELECT sync.my_roots())::uuid[])"
MY_LOG = (
    "CASE scope_kind WHEN 'user' THEN scope_id = (SELECT sync.app_user()) "
    "ELSE scope_id = ANY((SELECT sync.my_administered_roots())::uuid[]) END"
)

TABLES = (
    """CREATE TABLE sync.scope (
        kind text NOT NULL CHECK (kind IN ('root', 'user')),
        id uuid NOT NULL,
        seq bigint NOT NULL DEFAULT 0,
        hash bytea NOT NULL,
        PRIMARY KEY (kind, id)
    ) WITH (fillfactor = 50)""",
    """CREATE TABLE sync.sync_log (
        scope_kind text NOT NULL,
        scope_id uuid NOT NULL,
        seq bigint NOT NULL,
        recorded_at timestamptz NOT NULL,
        event_id uuid NOT NULL,
        type text NOT NULL,
        aggregate_id uuid NOT NULL,
        aggregate_version bigint NOT NULL,
        occurred_at timestamptz NOT NULL,
        commitment bytea NOT NULL,
        hash bytea NOT NULL,
        PRIMARY KEY (scope_kind, scope_id, seq, recorded_at)
    ) PARTITION BY RANGE (recorded_at)""",
    "CREATE INDEX ix_sync_log_aggregate ON sync.sync_log (scope_kind, scope_id, aggregate_id, seq)",
    """CREATE TABLE sync.sync_log_detail (
        scope_kind text NOT NULL,
        scope_id uuid NOT NULL,
        seq bigint NOT NULL,
        recorded_at timestamptz NOT NULL,
        salt bytea NOT NULL,
        personal jsonb NOT NULL,
        actor uuid GENERATED ALWAYS AS ((personal ->> 'actor')::uuid) STORED,
        PRIMARY KEY (scope_kind, scope_id, seq, recorded_at)
    ) PARTITION BY RANGE (recorded_at)""",
    "CREATE INDEX ix_sync_log_detail_actor ON sync.sync_log_detail (scope_kind, scope_id, actor, seq)",
    "CREATE TABLE sync.sync_log_default PARTITION OF sync.sync_log DEFAULT",
    "CREATE TABLE sync.sync_log_detail_default PARTITION OF sync.sync_log_detail DEFAULT",
    """CREATE TABLE sync.item (
        entity text NOT NULL,
        id uuid NOT NULL,
        root_id uuid NOT NULL,
        version bigint NOT NULL,
        content_hash text,
        size bigint,
        title text,
        removed boolean NOT NULL,
        data jsonb NOT NULL,
        changed_at timestamptz NOT NULL,
        PRIMARY KEY (entity, id)
    )""",
    "CREATE INDEX ix_item_root_id ON sync.item (root_id, entity, id)",
    """CREATE TABLE sync.aggregate (
        id uuid PRIMARY KEY,
        producer text NOT NULL,
        version bigint NOT NULL
    ) WITH (fillfactor = 70)""",
    """CREATE TABLE sync.parked (
        aggregate_id uuid NOT NULL,
        version bigint NOT NULL,
        envelope bytea NOT NULL,
        parked_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (aggregate_id, version)
    )""",
)

# A partition queried directly is not under its parent's policies: nobody but the owner may.
ENSURE = """CREATE FUNCTION sync.ensure_log_partitions() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = '' AS $$
    DECLARE month date; parent text; part text;
    BEGIN
      PERFORM pg_advisory_xact_lock(hashtext('sync.housekeeping'));
      FOREACH parent IN ARRAY ARRAY['sync_log', 'sync_log_detail'] LOOP
        FOR month IN SELECT d::date FROM generate_series(
          date_trunc('month', current_date), current_date + interval '3 months', interval '1 month') AS d
        LOOP
          part := parent || '_p' || to_char(month, 'YYYYMM');
          IF to_regclass('sync.' || part) IS NULL THEN
            EXECUTE format('CREATE TABLE sync.%I PARTITION OF sync.%I FOR VALUES FROM (%L) TO (%L)',
              part, parent, month, (month + interval '1 month')::date);
            EXECUTE format('REVOKE ALL ON sync.%I FROM sync, sync_worker', part);
          END IF;
        END LOOP;
      END LOOP;
    END $$"""

RIGHTS = {
    "scope": ("SELECT, INSERT, UPDATE", None),
    "sync_log": ("SELECT, INSERT", MY_LOG),
    "sync_log_detail": ("SELECT, INSERT", MY_LOG),
    "item": ("SELECT, INSERT, UPDATE", MY_ROOT),
    "aggregate": ("SELECT, INSERT, UPDATE", None),
    "parked": ("SELECT, INSERT, DELETE", None),
}


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
    define(
        op,
        "sync",
        "my_administered_roots()",
        "uuid[]",
        "BEGIN RETURN coalesce((SELECT array_agg(m.workspace_id) FROM sync.access_member m "
        "WHERE m.user_id = nullif(current_setting('app.user_id', true), '')::uuid AND NOT m.removed "
        "AND m.role IN ('owner', 'admin')), '{}'); END",
        language="plpgsql",
    )
    for table, (rights, rule) in RIGHTS.items():
        op.execute(f"REVOKE ALL ON sync.{table} FROM sync")
        op.execute(f"GRANT {rights} ON sync.{table} TO sync_worker")
        if rule:
            op.execute(f"ALTER TABLE sync.{table} ENABLE ROW LEVEL SECURITY")
            op.execute(f"ALTER TABLE sync.{table} FORCE ROW LEVEL SECURITY")
            op.execute(f"GRANT SELECT ON sync.{table} TO sync")
            op.execute(f"CREATE POLICY runtime ON sync.{table} FOR SELECT TO sync USING ({rule})")
            op.execute(f"CREATE POLICY worker ON sync.{table} TO sync_worker USING (true) WITH CHECK (true)")
            op.execute(f"CREATE POLICY owner ON sync.{table} TO sync_owner USING (true) WITH CHECK (true)")
    op.execute("REVOKE ALL ON sync.sync_log_default, sync.sync_log_detail_default FROM sync, sync_worker")
    op.execute(ENSURE)
    op.execute("REVOKE ALL ON FUNCTION sync.ensure_log_partitions() FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION sync.ensure_log_partitions() TO sync")
    op.execute("SELECT sync.ensure_log_partitions()")


def downgrade() -> None:
    for table in RIGHTS:
        op.execute(f"DROP TABLE sync.{table}")
    op.execute("DROP FUNCTION sync.ensure_log_partitions()")
    op.execute("DROP FUNCTION sync.my_administered_roots()")
