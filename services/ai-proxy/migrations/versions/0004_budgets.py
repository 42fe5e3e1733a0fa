"""Budgets: running counters, what is reserved and by whom, the ledger of calls, own keys.

Counters, reservations and the ledger are written by `reserve` and `settle` only: whoever calls cannot skip a check.
"""

from alembic import op

from common.ddl import define, protect

revision = "0004"
down_revision = "0003"

TABLES = (
    """CREATE TABLE ai_proxy.budget (
        id uuid PRIMARY KEY,
        kind text NOT NULL,
        subject_id uuid NOT NULL,
        place_id uuid NOT NULL,
        enabled boolean NOT NULL,
        models text[],
        day_tokens bigint,
        day_micro_usd bigint,
        month_tokens bigint,
        month_micro_usd bigint,
        version bigint NOT NULL,
        updated_by uuid NOT NULL,
        updated_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT uq_budget_kind_subject_id_place_id UNIQUE (kind, subject_id, place_id)
    )""",
    """CREATE TABLE ai_proxy.counter (
        kind text NOT NULL,
        subject_id uuid NOT NULL,
        place_id uuid NOT NULL,
        period text NOT NULL,
        starts_on date NOT NULL,
        spent_tokens bigint NOT NULL DEFAULT 0,
        spent_micro_usd bigint NOT NULL DEFAULT 0,
        reserved_tokens bigint NOT NULL DEFAULT 0,
        reserved_micro_usd bigint NOT NULL DEFAULT 0,
        calls bigint NOT NULL DEFAULT 0,
        PRIMARY KEY (kind, subject_id, place_id, period, starts_on),
        CONSTRAINT ck_counter_amounts CHECK (reserved_tokens >= 0 AND reserved_micro_usd >= 0)
    ) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02)""",
    """CREATE TABLE ai_proxy.reservation (
        id uuid PRIMARY KEY,
        process_id uuid NOT NULL,
        user_id uuid NOT NULL,
        workspace_id uuid,
        document_id uuid,
        day date NOT NULL,
        provider text NOT NULL,
        model text NOT NULL,
        operation text NOT NULL,
        streamed boolean NOT NULL,
        own_key boolean NOT NULL,
        tokens bigint NOT NULL,
        micro_usd bigint NOT NULL,
        input_tokens bigint NOT NULL,
        output_tokens bigint NOT NULL,
        seen_tokens bigint NOT NULL DEFAULT 0,
        created_at timestamptz NOT NULL DEFAULT now()
    ) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02)""",
    """CREATE TABLE ai_proxy.process (
        id uuid PRIMARY KEY,
        beat_at timestamptz NOT NULL,
        leased_until timestamptz NOT NULL
    )""",
    """CREATE TABLE ai_proxy.meter (
        subject_id uuid PRIMARY KEY,
        level bigint NOT NULL,
        at timestamptz NOT NULL,
        open integer NOT NULL DEFAULT 0,
        CONSTRAINT ck_meter_open CHECK (open >= 0)
    ) WITH (fillfactor = 50)""",
    """CREATE TABLE ai_proxy.usage (
        id uuid PRIMARY KEY,
        at timestamptz NOT NULL,
        user_id uuid NOT NULL,
        workspace_id uuid,
        document_id uuid,
        provider text NOT NULL,
        model text NOT NULL,
        operation text NOT NULL,
        own_key boolean NOT NULL,
        input_tokens bigint NOT NULL,
        cached_tokens bigint NOT NULL,
        output_tokens bigint NOT NULL,
        micro_usd bigint NOT NULL,
        outcome text NOT NULL,
        estimated boolean NOT NULL,
        status integer,
        first_byte_ms integer,
        total_ms integer NOT NULL
    )""",
    "CREATE INDEX ix_usage_user_id_at ON ai_proxy.usage (user_id, at)",
    "CREATE INDEX ix_usage_workspace_id_at ON ai_proxy.usage (workspace_id, at)",
    "CREATE INDEX ix_usage_at ON ai_proxy.usage USING brin (at)",
    """CREATE TABLE ai_proxy.own_key (
        id uuid PRIMARY KEY,
        kind text NOT NULL,
        owner_id uuid NOT NULL,
        provider text NOT NULL,
        wrapped_key bytea NOT NULL,
        ciphertext bytea NOT NULL,
        last4 text NOT NULL,
        version bigint NOT NULL,
        created_by uuid NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT uq_own_key_kind_owner_id_provider UNIQUE (kind, owner_id, provider)
    )""",
)

ME = "user_id = ai_proxy.app_user()"
MANAGED = "ai_proxy.my_role(%s) IN ('owner', 'admin')"
PLACE = (
    "(kind = 'user' AND subject_id = ai_proxy.app_user()) OR (kind = 'member' AND subject_id = ai_proxy.app_user()) "
    "OR (kind IN ('workspace', 'document') AND place_id = ANY((SELECT ai_proxy.my_workspaces())::uuid[])) "
    f"OR (kind = 'member' AND {MANAGED % 'place_id'})"
)
MINE_TO_SET = (
    "(kind = 'user' AND subject_id = ai_proxy.app_user()) "
    f"OR (kind IN ('member', 'workspace') AND {MANAGED % 'place_id'}) "
    "OR (kind = 'document' AND place_id = ANY((SELECT ai_proxy.my_workspaces())::uuid[]))"
)
KEY = f"(kind = 'user' AND owner_id = ai_proxy.app_user()) OR (kind = 'workspace' AND {MANAGED % 'owner_id'})"
POLICIES = (
    ("budget", PLACE, MINE_TO_SET),
    ("counter", PLACE, "false"),
    ("reservation", ME, "false"),
    ("process", "false", "false"),
    ("meter", "subject_id = ai_proxy.app_user()", "false"),
    ("usage", f"{ME} OR {MANAGED % 'workspace_id'}", "false"),
    ("own_key", KEY, KEY),
)
BY_FUNCTIONS = ("counter", "reservation", "meter", "usage")

_SCOPES = """
    FROM (VALUES ('user', {user}, '00000000-0000-0000-0000-000000000000'::uuid, 1, true),
        ('member', {user}, {place}, 5, {place} IS NOT NULL), ('workspace', {place}, {place}, 9, {place} IS NOT NULL),
        ('document', {document}, {place}, 13, {place} IS NOT NULL AND {document} IS NOT NULL)
    ) AS k (kind, subject_id, place_id, slot, given)
    CROSS JOIN (VALUES ('day', {day}, 0), ('month', date_trunc('month', {day})::date, 2)) AS p (period, starts_on, turn)
"""
_OF_RESERVE = _SCOPES.format(user="me", place="place", document="p_document", day="today")
_SAME = """(c.kind, c.subject_id, c.place_id, c.period, c.starts_on)
            = ({0}.kind, {0}.subject_id, {0}.place_id, {1}.period, {1}.starts_on)"""
_LOCK = "pg_advisory_xact_lock(hashtextextended('ai-proxy:' || {0}::text, 0))"

# Everything a call has to pass, in one transaction: rights, switches, budgets, how many at once, tokens a minute.
# Calls of a workspace or user pass one after the other: first the workspace is locked, then the user, so that there is
# never a deadlock; what is read from then on stays, and who is refused has written nothing.
RESERVE = f"""DECLARE
    me constant uuid := ai_proxy.app_user();
    mine uuid[];
    place uuid := p_workspace;
    today constant date := (now() AT TIME ZONE 'UTC')::date;
    spot record;
    busy record;
    found record;
    complete boolean := true;
BEGIN
    IF p_document IS NOT NULL THEN
        IF ai_proxy.my_role(p_root) IS NULL OR NOT (p_root = place OR EXISTS (
            SELECT 1 FROM ai_proxy.access_root a WHERE a.root_id = p_root AND a.workspace_id = place))
        THEN
            verdict := 'document_not_found'; RETURN NEXT; RETURN;
        END IF;
    ELSIF place IS NOT NULL THEN
        IF ai_proxy.my_role(place) IS NULL THEN
            mine := ai_proxy.my_workspaces();
            verdict := CASE WHEN place = ANY(mine) THEN 'action_forbidden' ELSE 'workspace_not_found' END; RETURN NEXT;
            RETURN;
        END IF;
    ELSE
        mine := ai_proxy.my_workspaces();
        IF cardinality(mine) = 1 AND ai_proxy.my_role(mine[1]) IS NOT NULL THEN place := mine[1];
        ELSIF NOT p_personal THEN
            verdict := 'workspace_required'; RETURN NEXT; RETURN;
        END IF;
    END IF;
    IF place IS NOT NULL THEN PERFORM {_LOCK.format("place")}; END IF;
    PERFORM {_LOCK.format("me")};
    FOR spot IN
        SELECT k.kind, p.period, c.calls IS NOT NULL AS known, b.enabled, b.models,
            coalesce(c.spent_tokens + c.reserved_tokens, 0) AS tokens,
            coalesce(c.spent_micro_usd + c.reserved_micro_usd, 0) AS micro_usd,
            least(CASE p.period WHEN 'day' THEN b.day_tokens ELSE b.month_tokens END,
                p_ceilings[k.slot + p.turn]) AS most_tokens,
            least(CASE p.period WHEN 'day' THEN b.day_micro_usd ELSE b.month_micro_usd END,
                p_ceilings[k.slot + p.turn + 1]) AS most_micro_usd
        {_OF_RESERVE}
        LEFT JOIN ai_proxy.counter c ON {_SAME.format("k", "p")}
        LEFT JOIN ai_proxy.budget b
            ON (b.kind, b.subject_id, b.place_id) = (k.kind, k.subject_id, k.place_id)
        WHERE k.given ORDER BY k.kind, p.period
    LOOP
        complete := complete AND spot.known;
        IF spot.enabled = false THEN
            verdict := 'ai_off'; about := spot.kind; RETURN NEXT; RETURN;
        END IF;
        IF NOT p_models <@ spot.models THEN
            verdict := 'model_not_allowed'; about := spot.kind; RETURN NEXT; RETURN;
        END IF;
        IF p_tokens > 0 AND spot.tokens + p_tokens > spot.most_tokens THEN
            verdict := 'budget_exceeded'; about := spot.kind;
            about_period := spot.period; about_unit := 'tokens'; RETURN NEXT; RETURN;
        END IF;
        IF p_micro_usd > 0 AND spot.micro_usd + p_micro_usd > spot.most_micro_usd THEN
            verdict := 'budget_exceeded'; about := spot.kind;
            about_period := spot.period; about_unit := 'money'; RETURN NEXT; RETURN;
        END IF;
    END LOOP;
    SELECT coalesce(max(m.open) FILTER (WHERE m.subject_id = me), 0) AS of_user,
        coalesce(max(m.open) FILTER (WHERE m.subject_id = place), 0) AS of_workspace,
        least(p_tokens_per_minute, max(m.level + (greatest(extract(epoch FROM clock_timestamp() - m.at), 0)
            * p_tokens_per_minute / 60)::bigint) FILTER (WHERE m.subject_id = me)) AS level, count(*) AS known
    INTO busy FROM ai_proxy.meter m WHERE m.subject_id IN (me, place);
    IF busy.of_user >= p_user_calls THEN
        verdict := 'too_many_calls'; about := 'user'; retry_after := 1; RETURN NEXT; RETURN;
    END IF;
    IF busy.of_workspace >= p_workspace_calls THEN
        verdict := 'too_many_calls'; about := 'workspace'; retry_after := 1; RETURN NEXT; RETURN;
    END IF;
    IF busy.level <= 0 AND p_tokens > 0 THEN
        verdict := 'tokens_per_minute'; about := 'user';
        retry_after := least(ceil((1 - busy.level) * 60.0 / p_tokens_per_minute), 86400)::int; RETURN NEXT; RETURN;
    END IF;
    SELECT k.id, k.wrapped_key, k.ciphertext, k.kind || ':' || k.owner_id AS owner INTO found FROM ai_proxy.own_key k
    WHERE k.provider = p_provider AND (k.kind, k.owner_id) IN (('user', me), ('workspace', place))
    ORDER BY k.kind LIMIT 1;
    IF NOT complete THEN  -- the first call of a day
        INSERT INTO ai_proxy.counter (kind, subject_id, place_id, period, starts_on)
        SELECT k.kind, k.subject_id, k.place_id, p.period, p.starts_on {_OF_RESERVE} WHERE k.given
        ON CONFLICT DO NOTHING;
    END IF;
    IF busy.known < num_nonnulls(me, place) THEN
        INSERT INTO ai_proxy.meter (subject_id, level, at)
        SELECT one, p_tokens_per_minute, clock_timestamp() FROM unnest(ARRAY[me, place]) AS one WHERE one IS NOT NULL
        ON CONFLICT DO NOTHING;
    END IF;
    WITH noted AS (
        INSERT INTO ai_proxy.reservation (id, process_id, user_id, workspace_id, document_id, day, provider, model,
            operation, streamed, own_key, tokens, micro_usd, input_tokens, output_tokens)
        VALUES (p_id, p_process, me, place, p_document, today, p_provider, coalesce(p_models[1], ''), p_operation,
            p_streamed, found.id IS NOT NULL, p_tokens, p_micro_usd, p_input_tokens, p_output_tokens)
    ), metered AS (
        UPDATE ai_proxy.meter m SET open = m.open + 1, at = clock_timestamp(),
            level = CASE WHEN m.subject_id = me THEN coalesce(busy.level, m.level) ELSE m.level END
        WHERE m.subject_id IN (me, place)
    )
    UPDATE ai_proxy.counter c SET reserved_tokens = c.reserved_tokens + p_tokens,
        reserved_micro_usd = c.reserved_micro_usd + p_micro_usd
    {_OF_RESERVE} WHERE k.given AND {_SAME.format("k", "p")};
    verdict := 'ok'; in_workspace := place; counted_on := today;
    key_wrapped := found.wrapped_key; key_ciphertext := found.ciphertext; key_owner := found.owner;
    -- Nobody waits for the disk before the provider is asked: a lost reservation is counted when it is settled.
    PERFORM set_config('synchronous_commit', 'off', true);
    RETURN NEXT;
END"""

_CALLS = """json_to_recordset(p_calls) AS given (id uuid, "user" uuid, workspace uuid, document uuid, day date,
        operation text, own_key boolean, provider text, model text, input_tokens bigint, cached_tokens bigint,
        output_tokens bigint, micro_usd bigint, outcome text, estimated boolean, status integer,
        first_byte_ms integer, total_ms integer)"""
_USAGE = """(id, at, user_id, workspace_id, document_id, provider, model, operation, own_key,
        input_tokens, cached_tokens, output_tokens, micro_usd, outcome, estimated, status, first_byte_ms, total_ms)"""
_USED = """{0}.id, {0}.begun, {0}."user", {0}.workspace, {0}.document,
        {0}.provider, {0}.model, {0}.operation, {0}.own_key, {0}.input_tokens, {0}.cached_tokens, {0}.output_tokens,
        {0}.micro_usd, {0}.outcome, {0}.estimated, {0}.status, {0}.first_byte_ms, {0}.total_ms"""
_OF_DUE = (
    _SCOPES.format(user='due."user"', place="due.workspace", document="due.document", day="due.day")
    .replace("CROSS JOIN", "CROSS JOIN LATERAL")
    .replace("FROM (", "CROSS JOIN LATERAL (", 1)
)
_OF_LATE = _SCOPES.format(user='late."user"', place="late.workspace", document="late.document", day="late.day")

# Calls that have ended, several at once: what they share is written once. It locks as `reserve` does.
# Once for each call: whoever comes second changes nothing, but for a process that was thought dead: what it knows takes
# the place of what was guessed. A server that crashed may have lost a reservation of its last moments; such a call is
# counted all the same.
SETTLE = f"""DECLARE
    spot record;
    late record;
    freed uuid[];
    guessed record;
BEGIN
    FOR spot IN
        SELECT DISTINCT s.turn, s.id FROM json_to_recordset(p_calls) AS c ("user" uuid, workspace uuid)
        CROSS JOIN LATERAL (VALUES (1, c.workspace), (2, c."user")) AS s (turn, id) WHERE s.id IS NOT NULL
        ORDER BY s.turn, s.id
    LOOP
        PERFORM {_LOCK.format("spot.id")};
    END LOOP;
    WITH call AS MATERIALIZED (SELECT * FROM {_CALLS}
    ), gone AS (
        DELETE FROM ai_proxy.reservation r USING call WHERE r.id = call.id
        RETURNING r.id, r.created_at AS begun, r.user_id AS "user", r.workspace_id AS workspace,
            r.document_id AS document, r.day, r.operation, r.own_key, r.tokens, r.micro_usd AS reserved_micro_usd
    ), due AS MATERIALIZED (
        SELECT gone.*, call.provider, call.model, call.input_tokens, call.cached_tokens, call.output_tokens,
            call.micro_usd, call.outcome, call.estimated, call.status, call.first_byte_ms, call.total_ms
        FROM call JOIN gone USING (id)
    ), noted AS (
        INSERT INTO ai_proxy.usage {_USAGE} SELECT {_USED.format("due")} FROM due
    ), metered AS (
        UPDATE ai_proxy.meter m SET level = m.level - s.tokens, open = m.open - s.calls
        FROM (
            SELECT k.subject_id, sum(k.tokens)::bigint AS tokens, count(*)::integer AS calls FROM due
            CROSS JOIN LATERAL (VALUES (due."user", due.input_tokens + due.output_tokens), (due.workspace, 0))
                AS k (subject_id, tokens)
            GROUP BY k.subject_id
        ) AS s WHERE m.subject_id = s.subject_id
    ), counted AS (
        UPDATE ai_proxy.counter c SET spent_tokens = c.spent_tokens + s.tokens,
            spent_micro_usd = c.spent_micro_usd + s.micro_usd, reserved_tokens = c.reserved_tokens - s.reserved_tokens,
            reserved_micro_usd = c.reserved_micro_usd - s.reserved_micro_usd, calls = c.calls + s.calls
        FROM (
            SELECT k.kind, k.subject_id, k.place_id, p.period, p.starts_on, count(*) AS calls,
                sum(due.input_tokens + due.output_tokens)::bigint AS tokens, sum(due.micro_usd)::bigint AS micro_usd,
                sum(due.tokens)::bigint AS reserved_tokens, sum(due.reserved_micro_usd)::bigint AS reserved_micro_usd
            FROM due {_OF_DUE} WHERE k.given
            GROUP BY k.kind, k.subject_id, k.place_id, p.period, p.starts_on
        ) AS s WHERE {_SAME.format("s", "s")}
    )
    SELECT array_agg(gone.id) INTO freed FROM gone;
    IF cardinality(freed) = json_array_length(p_calls) THEN RETURN; END IF;
    FOR late IN
        SELECT given.*, to_timestamp(
            ('x' || left(replace(given.id::text, '-', ''), 12))::bit(48)::bigint / 1000.0) AS begun
        FROM {_CALLS} WHERE given.id <> ALL(coalesce(freed, '{{}}'))
    LOOP
        DELETE FROM ai_proxy.usage u WHERE u.id = late.id AND u.outcome = 'crashed' AND late.outcome <> 'crashed'
        RETURNING u.input_tokens + u.output_tokens AS tokens, u.micro_usd, 1 AS calls INTO guessed;
        CONTINUE WHEN guessed IS NULL AND EXISTS (SELECT 1 FROM ai_proxy.usage u WHERE u.id = late.id);
        INSERT INTO ai_proxy.counter (kind, subject_id, place_id, period, starts_on)
        SELECT k.kind, k.subject_id, k.place_id, p.period, p.starts_on {_OF_LATE} WHERE k.given
        ON CONFLICT DO NOTHING;
        UPDATE ai_proxy.counter c SET calls = c.calls + 1 - coalesce(guessed.calls, 0),
            spent_tokens = c.spent_tokens + late.input_tokens + late.output_tokens - coalesce(guessed.tokens, 0),
            spent_micro_usd = c.spent_micro_usd + late.micro_usd - coalesce(guessed.micro_usd, 0)
        {_OF_LATE} WHERE k.given AND {_SAME.format("k", "p")};
        UPDATE ai_proxy.meter m
        SET level = m.level - late.input_tokens - late.output_tokens + coalesce(guessed.tokens, 0)
        WHERE m.subject_id = late."user";
        INSERT INTO ai_proxy.usage {_USAGE} VALUES ({_USED.format("late")});
    END LOOP;
END"""

RESERVE_SIGNATURE = (
    "reserve(p_id uuid, p_process uuid, p_workspace uuid, p_document uuid, p_root uuid, p_personal boolean, "
    "p_provider text, p_models text[], p_operation text, p_streamed boolean, p_tokens bigint, p_micro_usd bigint, "
    "p_input_tokens bigint, p_output_tokens bigint, p_ceilings bigint[], p_user_calls integer, "
    "p_workspace_calls integer, p_tokens_per_minute bigint)"
)
ADMITTED = (
    "TABLE (verdict text, about text, about_period text, about_unit text, retry_after integer, in_workspace uuid, "
    "counted_on date, key_wrapped bytea, key_ciphertext bytea, key_owner text)"
)
SETTLE_SIGNATURE = "settle(p_calls json)"
FORGET = """CREATE FUNCTION ai_proxy.forget_usage(days integer) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = '' AS $$
    BEGIN
        days := greatest(days, 32);
        DELETE FROM ai_proxy.usage WHERE at < now() - make_interval(days => days);
        DELETE FROM ai_proxy.counter WHERE starts_on < current_date - days;
        DELETE FROM ai_proxy.process WHERE leased_until < now() - interval '1 day';
    END $$"""


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
    for table, rule, check in POLICIES:
        protect(op, "ai_proxy", table, rule, check=check)
    op.execute("REVOKE DELETE ON ai_proxy.budget FROM ai_proxy")
    op.execute("REVOKE INSERT, UPDATE, DELETE ON ai_proxy.process FROM ai_proxy")
    for table in BY_FUNCTIONS:
        op.execute(f"REVOKE INSERT, UPDATE, DELETE ON ai_proxy.{table} FROM ai_proxy")
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ai_proxy.{table} TO ai_proxy_definer")
        op.execute(f"CREATE POLICY function ON ai_proxy.{table} TO ai_proxy_definer USING (true) WITH CHECK (true)")
    for table in ("reservation", "process"):
        op.execute(f"CREATE POLICY worker ON ai_proxy.{table} TO ai_proxy_worker USING (true) WITH CHECK (true)")
    op.execute("GRANT SELECT, UPDATE ON ai_proxy.reservation TO ai_proxy_worker")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ai_proxy.process TO ai_proxy_worker")
    define(op, "ai_proxy", RESERVE_SIGNATURE, ADMITTED, RESERVE, language="plpgsql", writes=True)
    define(op, "ai_proxy", SETTLE_SIGNATURE, "void", SETTLE, language="plpgsql", writes=True)
    op.execute("GRANT EXECUTE ON FUNCTION ai_proxy.settle TO ai_proxy_worker")
    op.execute(FORGET)
    op.execute("REVOKE ALL ON FUNCTION ai_proxy.forget_usage(integer) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION ai_proxy.forget_usage(integer) TO ai_proxy")


def downgrade() -> None:
    op.execute("DROP FUNCTION ai_proxy.reserve, ai_proxy.settle, ai_proxy.forget_usage")
    for table in ("own_key", "usage", "meter", "process", "reservation", "counter", "budget"):
        op.execute(f"DROP TABLE ai_proxy.{table} CASCADE")
