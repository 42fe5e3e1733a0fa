"""Devices and their cursors; what each scope holds, numbered and summed up, in place of the items of before; conflicts.

Items are carried over with the number of their last log entry. Rules of roots become items with their next change.
"""

from alembic import op

from common.access.ddl import MY_ACCESS
from common.ddl import define, protect

revision = "0006"
down_revision = "0005"

MY_SCOPE = (
    "CASE scope_kind WHEN 'user' THEN scope_id = (SELECT sync.app_user()) "
    "ELSE scope_id = ANY((SELECT sync.my_roots())::uuid[]) END"
)
MINE = "user_id = (SELECT sync.app_user())"
CHECKSUM = (
    "('x' || left(encode(sha256(convert_to(entity || ':' || id || ':' || version || ':' || coalesce(content_hash, ''), "
    "'UTF8')), 'hex'), 16))::bit(64)::bigint"
)

TABLES = (
    "ALTER TABLE sync.item RENAME TO item_before",
    "ALTER INDEX sync.item_pkey RENAME TO item_before_pkey",
    """CREATE TABLE sync.item (
        scope_kind text NOT NULL,
        scope_id uuid NOT NULL,
        entity text NOT NULL,
        id uuid NOT NULL,
        seq bigint NOT NULL,
        version bigint NOT NULL,
        gone boolean NOT NULL,
        reason text,
        checksum bigint NOT NULL,
        content_hash text,
        size bigint,
        parent_id uuid,
        title text,
        data jsonb NOT NULL,
        actor uuid,
        device_id uuid,
        op_id uuid,
        changed_at timestamptz NOT NULL,
        PRIMARY KEY (scope_kind, scope_id, entity, id)
    ) WITH (fillfactor = 70)""",
    f"""INSERT INTO sync.item (scope_kind, scope_id, entity, id, seq, version, gone, reason, checksum, content_hash,
            size, parent_id, title, data, changed_at)
        SELECT 'root', root_id, entity, id, l.seq, version, removed, CASE WHEN removed THEN 'removed' END, {CHECKSUM},
               content_hash, size, coalesce(data ->> 'folder_id', data ->> 'parent_id')::uuid, title, data, changed_at
        FROM sync.item_before i, LATERAL (SELECT max(l.seq) AS seq FROM sync.sync_log l WHERE l.scope_kind = 'root'
            AND l.scope_id = i.root_id AND l.aggregate_id = i.id) AS l WHERE l.seq IS NOT NULL""",
    "DROP TABLE sync.item_before",
    "CREATE INDEX ix_item_seq ON sync.item (scope_kind, scope_id, seq)",
    "CREATE INDEX ix_item_id ON sync.item (id) WHERE reason IS DISTINCT FROM 'moved'",
    "CREATE INDEX ix_item_gone ON sync.item (changed_at) WHERE gone",
    "ALTER TABLE sync.scope ADD items bigint NOT NULL DEFAULT 0, ADD checksum bigint NOT NULL DEFAULT 0, "
    "ADD low_seq bigint NOT NULL DEFAULT 0",
    """UPDATE sync.scope AS s SET items = i.items,
        checksum = ('x' || lpad(to_hex(((i.checksum % 18446744073709551616 + 18446744073709551616)
            % 18446744073709551616 / 4294967296)::bigint), 8, '0') || lpad(to_hex((((i.checksum % 4294967296)
            + 4294967296) % 4294967296)::bigint), 8, '0'))::bit(64)::bigint
        FROM (SELECT scope_kind, scope_id, count(*) AS items, sum(checksum::numeric) AS checksum
              FROM sync.item WHERE NOT gone GROUP BY 1, 2) AS i
        WHERE s.kind = i.scope_kind AND s.id = i.scope_id""",
    """CREATE TABLE sync.device (
        id uuid PRIMARY KEY,
        user_id uuid NOT NULL,
        session_id uuid NOT NULL,
        name text NOT NULL,
        platform text NOT NULL,
        app_version text,
        created_at timestamptz NOT NULL DEFAULT now(),
        seen_at timestamptz NOT NULL DEFAULT now(),
        removed_at timestamptz,
        last_n bigint NOT NULL DEFAULT 0,
        lease uuid,
        leased_until timestamptz
    ) WITH (fillfactor = 70)""",
    "CREATE INDEX ix_device_user_id ON sync.device (user_id)",
    """CREATE TABLE sync.cursor (
        device_id uuid NOT NULL,
        nonce uuid NOT NULL,
        user_id uuid NOT NULL,
        generation bigint NOT NULL,
        positions bytea NOT NULL,
        used_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (device_id, nonce),
        CONSTRAINT fk_cursor_device_id FOREIGN KEY (device_id) REFERENCES sync.device (id) ON DELETE CASCADE
    )""",
    "CREATE INDEX ix_cursor_used_at ON sync.cursor (used_at)",
    """CREATE TABLE sync.conflict (
        copy_id uuid PRIMARY KEY,
        document_id uuid NOT NULL,
        user_id uuid NOT NULL,
        device_id uuid,
        op_id uuid,
        created_at timestamptz NOT NULL,
        resolved_at timestamptz,
        resolved_by uuid,
        choice text
    )""",
    "CREATE INDEX ix_conflict_document_id ON sync.conflict (document_id)",
    """CREATE TABLE sync.epoch (
        one boolean PRIMARY KEY DEFAULT true CHECK (one),
        epoch uuid NOT NULL,
        began_at timestamptz NOT NULL DEFAULT now()
    )""",
    "INSERT INTO sync.epoch (epoch) VALUES (gen_random_uuid())",
)

FORGET = """CREATE FUNCTION sync.forget_removals(days integer) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = '' AS $$
    DECLARE horizon timestamptz := now() - make_interval(days => days);
    BEGIN
      PERFORM pg_advisory_xact_lock(hashtext('sync.housekeeping'));
      DELETE FROM sync.cursor WHERE used_at < horizon;
      PERFORM 1 FROM sync.scope s WHERE EXISTS (SELECT 1 FROM sync.item i WHERE i.scope_kind = s.kind
        AND i.scope_id = s.id AND i.gone AND i.changed_at < horizon) ORDER BY kind, id FOR UPDATE;
      WITH dropped AS (
        DELETE FROM sync.item WHERE gone AND changed_at < horizon RETURNING scope_kind, scope_id, seq
      ), low AS (SELECT scope_kind, scope_id, max(seq) AS seq FROM dropped GROUP BY 1, 2)
      UPDATE sync.scope AS s SET low_seq = greatest(s.low_seq, low.seq)
      FROM low WHERE s.kind = low.scope_kind AND s.id = low.scope_id;
    END $$"""

MY_SCOPES = (
    MY_ACCESS.replace(" AND m.workspace_id = place", "")
    .replace("SCHEMA_NAME", "sync")
    .replace(
        "SELECT reach.root_id, ",
        "SELECT r.kind, r.id, r.role, coalesce(s.seq, 0), coalesce(s.low_seq, 0), coalesce(s.items, 0), "
        "coalesce(s.checksum, 0) FROM (SELECT 'user' AS kind, me AS id, 'owner' AS role WHERE me IS NOT NULL UNION ALL "
        "SELECT 'root', reach.root_id, ",
    )
    .replace("GROUP BY reach.root_id;", "GROUP BY reach.root_id) AS r LEFT JOIN sync.scope s ON s.kind = r.kind "
             "AND s.id = r.id ORDER BY r.kind DESC, r.id;")
)  # fmt: skip


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
    op.execute("REVOKE ALL ON sync.item, sync.conflict, sync.epoch FROM sync")
    op.execute("GRANT SELECT, INSERT, UPDATE ON sync.item TO sync_worker")
    op.execute("GRANT SELECT, INSERT ON sync.conflict TO sync_worker")
    op.execute("GRANT SELECT ON sync.item, sync.conflict, sync.epoch TO sync")
    op.execute("GRANT UPDATE (resolved_at, resolved_by, choice) ON sync.conflict TO sync")
    op.execute("GRANT SELECT ON sync.device TO sync_worker")
    protect(op, "sync", "device", MINE)
    protect(op, "sync", "cursor", MINE)
    op.execute("CREATE POLICY worker ON sync.device FOR SELECT TO sync_worker USING (true)")
    for table, rule in (
        ("item", MY_SCOPE),
        (
            "conflict",
            "(SELECT true FROM sync.item i WHERE i.id = copy_id AND i.entity = 'document' "
            "AND i.reason IS DISTINCT FROM 'moved' LIMIT 1)",
        ),
    ):
        op.execute(f"ALTER TABLE sync.{table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE sync.{table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY runtime ON sync.{table} TO sync USING ({rule})")
        op.execute(f"CREATE POLICY worker ON sync.{table} TO sync_worker USING (true) WITH CHECK (true)")
        op.execute(f"CREATE POLICY owner ON sync.{table} TO sync_owner USING (true) WITH CHECK (true)")
    op.execute("GRANT SELECT ON sync.scope TO sync_definer")
    op.execute("CREATE POLICY definer ON sync.scope FOR SELECT TO sync_definer USING (true)")
    define(
        op, "sync", "my_scopes()",
        "TABLE (kind text, id uuid, role text, seq bigint, low_seq bigint, items bigint, checksum bigint)",
        MY_SCOPES, language="plpgsql",
    )  # fmt: skip
    op.execute(FORGET)
    op.execute("REVOKE ALL ON FUNCTION sync.forget_removals(integer) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION sync.forget_removals(integer) TO sync")


def downgrade() -> None:
    op.execute("DROP FUNCTION sync.forget_removals(integer), sync.my_scopes()")
    op.execute("DROP POLICY definer ON sync.scope")
    op.execute("REVOKE SELECT ON sync.scope FROM sync_definer")
    op.execute("DROP TABLE sync.cursor, sync.device, sync.conflict, sync.epoch")
    op.execute("ALTER TABLE sync.scope DROP COLUMN items, DROP COLUMN checksum, DROP COLUMN low_seq")
    op.execute("ALTER TABLE sync.item RENAME TO item_after")
    op.execute("ALTER INDEX sync.item_pkey RENAME TO item_after_pkey")
    op.execute(
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
    )"""
    )
    op.execute("CREATE INDEX ix_item_root_id ON sync.item (root_id, entity, id)")
    op.execute(
        "INSERT INTO sync.item SELECT DISTINCT ON (entity, id) entity, id, scope_id, version, content_hash, size, "
        "title, gone, data, changed_at FROM sync.item_after WHERE scope_kind = 'root' AND entity <> 'grant' "
        "ORDER BY entity, id, version DESC, gone"
    )
    op.execute("DROP TABLE sync.item_after")
    op.execute("REVOKE ALL ON sync.item FROM sync")
    op.execute("GRANT SELECT, INSERT, UPDATE ON sync.item TO sync_worker")
    op.execute("GRANT SELECT ON sync.item TO sync")
    op.execute("ALTER TABLE sync.item ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE sync.item FORCE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY runtime ON sync.item FOR SELECT TO sync USING (root_id = ANY((SELECT sync.my_roots())::uuid[]))"
    )
    op.execute("CREATE POLICY worker ON sync.item TO sync_worker USING (true) WITH CHECK (true)")
    op.execute("CREATE POLICY owner ON sync.item TO sync_owner USING (true) WITH CHECK (true)")
