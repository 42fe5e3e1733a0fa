"""Whoever may read a log may read its head too, so that a missing end is seen; housekeeping survives stray rows."""

from alembic import op

revision = "0004"
down_revision = "0003"

MY_LOG = (
    "CASE kind WHEN 'user' THEN id = (SELECT sync.app_user()) "
    "ELSE id = ANY((SELECT sync.my_administered_roots())::uuid[]) END"
)

# A month whose rows lie in the default partition already cannot get one of its own: they stay there.
ENSURE = """CREATE OR REPLACE FUNCTION sync.ensure_log_partitions() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
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
            BEGIN
              EXECUTE format('CREATE TABLE sync.%I PARTITION OF sync.%I FOR VALUES FROM (%L) TO (%L)',
                part, parent, month, (month + interval '1 month')::date);
              EXECUTE format('REVOKE ALL ON sync.%I FROM sync, sync_worker', part);
            EXCEPTION WHEN check_violation THEN
              RAISE WARNING 'rows of % are in the default partition of %', month, parent;
            END;
          END IF;
        END LOOP;
      END LOOP;
    END $$"""


def upgrade() -> None:
    op.execute("ALTER TABLE sync.scope ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE sync.scope FORCE ROW LEVEL SECURITY")
    op.execute("GRANT SELECT ON sync.scope TO sync")
    op.execute(f"CREATE POLICY runtime ON sync.scope FOR SELECT TO sync USING ({MY_LOG})")
    op.execute("CREATE POLICY worker ON sync.scope TO sync_worker USING (true) WITH CHECK (true)")
    op.execute("CREATE POLICY owner ON sync.scope TO sync_owner USING (true) WITH CHECK (true)")
    op.execute(ENSURE)


def downgrade() -> None:
    for policy in ("runtime", "worker", "owner"):
        op.execute(f"DROP POLICY {policy} ON sync.scope")
    op.execute("REVOKE SELECT ON sync.scope FROM sync")
    op.execute("ALTER TABLE sync.scope NO FORCE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE sync.scope DISABLE ROW LEVEL SECURITY")
