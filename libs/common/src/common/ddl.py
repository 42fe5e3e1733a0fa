"""DDL every service's migrations share: outbox, inbox, idempotency, projections, row-level security, `my_roots()`."""

from collections.abc import Sequence
from typing import Any, Protocol


class Op(Protocol):
    """The part of `alembic.op` migrations use for shared DDL."""

    def execute(self, sqltext: str) -> Any:
        """Run DDL."""


def install_shared(op: Op, schema: str, expired: Sequence[str] = ()) -> None:
    """First revision of every service: outbox, inbox, idempotency, partition functions.

    `drop_expired()` also deletes `expired` ("table WHERE condition"). Frozen with that revision: a later change is a
    new function called by a new revision.
    """
    deletions = "".join(f"DELETE FROM {schema}.{rows};\n" for rows in expired)
    for statement in SHARED_DDL:
        op.execute(statement.replace("-- EXPIRED", deletions).replace("SCHEMA_NAME", schema))


def drop_shared(op: Op, schema: str) -> None:
    """Undo `install_shared`."""
    for table in ("outbox", "outbox_sent", "inbox", "idempotency"):
        op.execute(f"DROP TABLE {schema}.{table}")
    for function in ("ensure_partitions", "drop_expired", "app_user"):
        op.execute(f"DROP FUNCTION {schema}.{function}()")
    op.execute(f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} REVOKE ALL ON TABLES FROM {schema}")
    op.execute(f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} REVOKE ALL ON SEQUENCES FROM {schema}")


def protect(op: Op, schema: str, table: str, rule: str, *, check: str | None = None) -> None:
    """Row-level security on `table`: `rule` for the runtime role, everything for the owner, reads for the definer."""
    name = f"{schema}.{table}"
    for statement in (
        f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY",
        f"CREATE POLICY runtime ON {name} TO {schema} USING ({rule}) WITH CHECK ({check or rule})",
        f"CREATE POLICY owner ON {name} TO {schema}_owner USING (true) WITH CHECK (true)",
        f"CREATE POLICY definer ON {name} FOR SELECT TO {schema}_definer USING (true)",
        f"GRANT SELECT ON {name} TO {schema}_definer",
    ):
        op.execute(statement)


def define(
    op: Op, schema: str, signature: str, returns: str, body: str, *, language: str = "sql", writes: bool = False
) -> None:
    """A SECURITY DEFINER function of the definer role, callable by the runtime role only; STABLE unless it `writes`."""
    name, kind = f"{schema}.{signature}", "VOLATILE" if writes else "STABLE"
    for statement in (
        f"CREATE FUNCTION {name} RETURNS {returns} LANGUAGE {language} {kind} SECURITY DEFINER SET search_path = '' "
        f"AS $body$ {body} $body$",
        f"ALTER FUNCTION {name} OWNER TO {schema}_definer",
        f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC",
        f"GRANT EXECUTE ON FUNCTION {name} TO {schema}",
    ):
        op.execute(statement)


SHARED_DDL = (
    "CREATE FUNCTION SCHEMA_NAME.app_user() RETURNS uuid LANGUAGE sql STABLE SET search_path = '' "
    "AS $$ SELECT nullif(current_setting('app.user_id', true), '')::uuid $$",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA SCHEMA_NAME GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO SCHEMA_NAME",
    "GRANT SELECT ON SCHEMA_NAME.alembic_version TO SCHEMA_NAME",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA SCHEMA_NAME GRANT USAGE ON SEQUENCES TO SCHEMA_NAME",
    """CREATE TABLE SCHEMA_NAME.outbox (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        event_id uuid NOT NULL CONSTRAINT uq_outbox_event_id UNIQUE,
        type text NOT NULL,
        aggregate_id uuid NOT NULL,
        aggregate_version bigint NOT NULL,
        data jsonb NOT NULL,
        headers jsonb NOT NULL,
        occurred_at timestamptz NOT NULL DEFAULT now(),
        attempts integer NOT NULL DEFAULT 0,
        next_at timestamptz NOT NULL DEFAULT now()
    ) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0)""",
    """CREATE TABLE SCHEMA_NAME.outbox_sent (
        id bigint NOT NULL,
        event_id uuid NOT NULL,
        type text NOT NULL,
        aggregate_id uuid NOT NULL,
        aggregate_version bigint NOT NULL,
        data jsonb NOT NULL,
        headers jsonb NOT NULL,
        occurred_at timestamptz NOT NULL,
        sent_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (sent_at, id)
    ) PARTITION BY RANGE (sent_at)""",
    "CREATE INDEX ix_outbox_sent_aggregate ON SCHEMA_NAME.outbox_sent (aggregate_id, aggregate_version)",
    """CREATE TABLE SCHEMA_NAME.inbox (
        consumer text NOT NULL,
        event_id uuid NOT NULL,
        processed_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (consumer, event_id)
    )""",
    "CREATE INDEX ix_inbox_processed_at ON SCHEMA_NAME.inbox (processed_at)",
    """CREATE TABLE SCHEMA_NAME.idempotency (
        user_id uuid NOT NULL,
        method text NOT NULL,
        path text NOT NULL,
        key text NOT NULL,
        request_hash bytea NOT NULL,
        status integer,
        headers jsonb,
        body bytea,
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (user_id, method, path, key)
    )""",
    "CREATE INDEX ix_idempotency_created_at ON SCHEMA_NAME.idempotency (created_at)",
    """CREATE FUNCTION SCHEMA_NAME.ensure_partitions() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
       SET search_path = '' AS $$
       DECLARE day date;
       BEGIN
         PERFORM pg_advisory_xact_lock(hashtext('SCHEMA_NAME.housekeeping'));  -- replicas keep house at the same time
         FOR day IN SELECT d::date FROM generate_series(current_date - 1, current_date + 7, interval '1 day') AS d LOOP
           EXECUTE format(
             'CREATE TABLE IF NOT EXISTS SCHEMA_NAME.%I PARTITION OF SCHEMA_NAME.outbox_sent '
             'FOR VALUES FROM (%L) TO (%L)',
             'outbox_sent_p' || to_char(day, 'YYYYMMDD'), day, day + 1);
         END LOOP;
       END $$""",
    """CREATE FUNCTION SCHEMA_NAME.drop_expired() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
       SET search_path = '' AS $$
       DECLARE part name;
       BEGIN
         PERFORM pg_advisory_xact_lock(hashtext('SCHEMA_NAME.housekeeping'));
         FOR part IN
           SELECT c.relname FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
           WHERE i.inhparent = 'SCHEMA_NAME.outbox_sent'::regclass
             AND c.relname < 'outbox_sent_p' || to_char(current_date - 7, 'YYYYMMDD')
         LOOP
           EXECUTE format('DROP TABLE SCHEMA_NAME.%I', part);
         END LOOP;
         DELETE FROM SCHEMA_NAME.idempotency WHERE created_at < now() - interval '24 hours';
         DELETE FROM SCHEMA_NAME.inbox WHERE processed_at < now() - interval '14 days';
         -- EXPIRED
       END $$""",
    "REVOKE ALL ON FUNCTION SCHEMA_NAME.ensure_partitions(), SCHEMA_NAME.drop_expired() FROM PUBLIC",
    "GRANT EXECUTE ON FUNCTION SCHEMA_NAME.ensure_partitions(), SCHEMA_NAME.drop_expired() TO SCHEMA_NAME",
    "SELECT SCHEMA_NAME.ensure_partitions()",
)


def install_bus(op: Op, schema: str) -> None:
    """Second revision of every service: who may do what with events. Frozen with that revision."""
    for statement in BUS_DDL:
        op.execute(statement.replace("SCHEMA_NAME", schema))


def drop_bus(op: Op, schema: str) -> None:
    """Undo `install_bus`."""
    for statement in BUS_UNDO:
        op.execute(statement.replace("SCHEMA_NAME", schema))


BUS_DDL = (
    "ALTER TABLE SCHEMA_NAME.outbox DROP COLUMN attempts, DROP COLUMN next_at",
    "REVOKE UPDATE, DELETE ON SCHEMA_NAME.outbox FROM SCHEMA_NAME",
    "REVOKE INSERT, UPDATE, DELETE ON SCHEMA_NAME.outbox_sent, SCHEMA_NAME.inbox FROM SCHEMA_NAME",
    """CREATE VIEW SCHEMA_NAME.event AS
       SELECT id, event_id, type, aggregate_id, aggregate_version, data, headers, occurred_at FROM SCHEMA_NAME.outbox
       UNION ALL
       SELECT id, event_id, type, aggregate_id, aggregate_version, data, headers, occurred_at
       FROM SCHEMA_NAME.outbox_sent""",
    "REVOKE INSERT, UPDATE, DELETE ON SCHEMA_NAME.event FROM SCHEMA_NAME",
    "GRANT SELECT, DELETE ON SCHEMA_NAME.outbox TO SCHEMA_NAME_worker",
    "GRANT SELECT, INSERT ON SCHEMA_NAME.outbox_sent, SCHEMA_NAME.inbox TO SCHEMA_NAME_worker",
)
BUS_UNDO = (
    "DROP VIEW SCHEMA_NAME.event",
    "REVOKE ALL ON SCHEMA_NAME.outbox, SCHEMA_NAME.outbox_sent, SCHEMA_NAME.inbox FROM SCHEMA_NAME_worker",
    "GRANT INSERT, UPDATE, DELETE ON SCHEMA_NAME.outbox, SCHEMA_NAME.outbox_sent, SCHEMA_NAME.inbox TO SCHEMA_NAME",
    "ALTER TABLE SCHEMA_NAME.outbox ADD COLUMN attempts integer NOT NULL DEFAULT 0, "
    "ADD COLUMN next_at timestamptz NOT NULL DEFAULT now()",
)


def install_projections(op: Op, schema: str) -> None:
    """What a service knows of workspaces and users by events; only the worker role writes projections."""
    op.execute(
        f"CREATE TABLE {schema}.access_workspace (workspace_id uuid PRIMARY KEY, name text NOT NULL, "
        "version bigint NOT NULL)"
    )
    op.execute(
        f"CREATE TABLE {schema}.access_user (user_id uuid PRIMARY KEY, display_name text NOT NULL, "
        "version bigint NOT NULL)"
    )
    for table in PROJECTIONS:
        op.execute(f"REVOKE INSERT, UPDATE, DELETE ON {schema}.{table} FROM {schema}")
        op.execute(f"GRANT SELECT, INSERT, UPDATE ON {schema}.{table} TO {schema}_worker")


def drop_projections(op: Op, schema: str) -> None:
    """Undo `install_projections`."""
    op.execute(f"DROP TABLE {schema}.access_workspace, {schema}.access_user")
    op.execute(f"GRANT INSERT, UPDATE, DELETE ON {schema}.access_member TO {schema}")
    op.execute(f"REVOKE ALL ON {schema}.access_member FROM {schema}_worker")


PROJECTIONS = ("access_member", "access_workspace", "access_user")


def install_access_projection(op: Op, schema: str) -> None:
    """Projection of memberships (facts of auth-gateway) and `my_roots()`, the unit of row-level security."""
    op.execute(
        f"""CREATE TABLE {schema}.access_member (
            workspace_id uuid NOT NULL,
            user_id uuid NOT NULL,
            role text NOT NULL,
            version bigint NOT NULL,
            removed boolean NOT NULL DEFAULT false,
            PRIMARY KEY (user_id, workspace_id)
        )"""
    )
    define_roots(op, schema, "access_member")


def define_roots(op: Op, schema: str, table: str) -> None:
    """`my_roots()`: access roots the current user may read, from the memberships in `table`.

    PL/pgSQL, since its plan is kept for the session: an SQL function is planned on every call (50 µs, measured).
    """
    op.execute(f"GRANT SELECT ON {schema}.{table} TO {schema}_definer")
    define(
        op,
        schema,
        "my_roots()",
        "uuid[]",
        f"BEGIN RETURN coalesce((SELECT array_agg(m.workspace_id) FROM {schema}.{table} m "
        "WHERE m.user_id = nullif(current_setting('app.user_id', true), '')::uuid AND NOT m.removed), '{}'); END",
        language="plpgsql",
    )
