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
    "CREATE INDEX ix_reservation_user_id ON ai_proxy.reservation (user_id)",
    "CREATE INDEX ix_reservation_workspace_id ON ai_proxy.reservation (workspace_id)",
    "CREATE INDEX ix_reservation_process_id ON ai_proxy.reservation (process_id)",
    """CREATE TABLE ai_proxy.process (
        id uuid PRIMARY KEY,
        beat_at timestamptz NOT NULL,
        leased_until timestamptz NOT NULL
    )""",
    """CREATE TABLE ai_proxy.meter (
        user_id uuid PRIMARY KEY,
        level bigint NOT NULL,
        at timestamptz NOT NULL
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
    "CREATE INDEX ix_usage_at ON ai_proxy.usage (at)",
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
    ("meter", ME, "false"),
    ("usage", f"{ME} OR {MANAGED % 'workspace_id'}", "false"),
    ("own_key", KEY, KEY),
)
BY_FUNCTIONS = ("counter", "reservation", "meter", "usage")

_SCOPES = """
    SELECT k.kind, k.subject_id, k.place_id, p.period, p.starts_on, p.turn
    FROM unnest(kinds, subjects, places) AS k (kind, subject_id, place_id)
    CROSS JOIN (VALUES ('day', today, 0), ('month', date_trunc('month', today)::date, 2)) AS p (period, starts_on, turn)
"""
_LISTS = """
    kinds := ARRAY['user']; subjects := ARRAY[{user}]; places := ARRAY[nobody];
    IF {place} IS NOT NULL THEN
        kinds := kinds || ARRAY['member', 'workspace']; subjects := subjects || ARRAY[{user}, {place}];
        places := places || ARRAY[{place}, {place}];
        IF {document} IS NOT NULL THEN
            kinds := array_append(kinds, 'document'); subjects := subjects || {document}; places := places || {place};
        END IF;
    END IF;
"""
_WORDS = """
    nobody constant uuid := '00000000-0000-0000-0000-000000000000';
    kinds text[];
    subjects uuid[];
    places uuid[];
    today date;
"""

# Everything a call has to pass, in one transaction: rights, switches, budgets, how many at once, tokens a minute.
# Counters are locked in one order, so calls of the same scope pass one after the other and never deadlock.
RESERVE = f"""DECLARE
    me constant uuid := ai_proxy.app_user();
    {_WORDS}
    mine uuid[];
    place uuid := p_workspace;
    spot record;
    left_over bigint;
    locked integer;
    found record;
BEGIN
    today := (now() AT TIME ZONE 'UTC')::date;
    IF p_document IS NOT NULL THEN
        IF ai_proxy.my_role(p_root) IS NULL THEN
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
    {_LISTS.format(user="me", place="place", document="p_document")}
    LOOP
        locked := 0;
        FOR spot IN
            SELECT s.kind, s.period, c.spent_tokens + c.reserved_tokens AS tokens,
                c.spent_micro_usd + c.reserved_micro_usd AS micro_usd, b.enabled, b.models,
                least(CASE WHEN s.period = 'day' THEN b.day_tokens ELSE b.month_tokens END,
                    p_ceilings[array_position(ARRAY['user', 'member', 'workspace', 'document'], s.kind) * 4 - 3
                        + s.turn])
                    AS most_tokens,
                least(CASE WHEN s.period = 'day' THEN b.day_micro_usd ELSE b.month_micro_usd END,
                    p_ceilings[array_position(ARRAY['user', 'member', 'workspace', 'document'], s.kind) * 4 - 2
                        + s.turn])
                    AS most_micro_usd
            FROM ({_SCOPES}) AS s
            JOIN ai_proxy.counter c USING (kind, subject_id, place_id, period, starts_on)
            LEFT JOIN ai_proxy.budget b USING (kind, subject_id, place_id)
            ORDER BY s.kind, s.subject_id, s.place_id, s.period FOR UPDATE OF c
        LOOP
            locked := locked + 1;
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
        EXIT WHEN locked = 2 * cardinality(kinds);
        -- The first call of a day.
        INSERT INTO ai_proxy.counter (kind, subject_id, place_id, period, starts_on)
        SELECT s.kind, s.subject_id, s.place_id, s.period, s.starts_on FROM ({_SCOPES}) AS s
        ORDER BY s.kind, s.subject_id, s.place_id, s.period ON CONFLICT DO NOTHING;
    END LOOP;
    IF (SELECT count(*) FROM ai_proxy.reservation r WHERE r.user_id = me) >= p_user_calls THEN
        verdict := 'too_many_calls'; about := 'user'; retry_after := 1; RETURN NEXT; RETURN;
    END IF;
    IF place IS NOT NULL
        AND (SELECT count(*) FROM ai_proxy.reservation r WHERE r.workspace_id = place) >= p_workspace_calls THEN
        verdict := 'too_many_calls'; about := 'workspace'; retry_after := 1; RETURN NEXT; RETURN;
    END IF;
    INSERT INTO ai_proxy.meter AS m (user_id, level, at) VALUES (me, p_tokens_per_minute, clock_timestamp())
    ON CONFLICT (user_id) DO UPDATE SET at = clock_timestamp(), level = least(p_tokens_per_minute, m.level
        + (greatest(extract(epoch FROM clock_timestamp() - m.at), 0) * p_tokens_per_minute / 60)::bigint)
    RETURNING m.level INTO left_over;
    IF left_over <= 0 AND p_tokens > 0 THEN
        verdict := 'tokens_per_minute'; about := 'user';
        retry_after := ceil((1 - left_over) * 60.0 / p_tokens_per_minute)::int; RETURN NEXT; RETURN;
    END IF;
    SELECT k.id, k.wrapped_key, k.ciphertext, k.kind || ':' || k.owner_id AS owner INTO found FROM ai_proxy.own_key k
    WHERE k.provider = p_provider AND (k.kind, k.owner_id) IN (('user', me), ('workspace', place))
    ORDER BY k.kind LIMIT 1;
    UPDATE ai_proxy.counter c SET reserved_tokens = c.reserved_tokens + p_tokens,
        reserved_micro_usd = c.reserved_micro_usd + p_micro_usd
    FROM ({_SCOPES}) AS s WHERE (c.kind, c.subject_id, c.place_id, c.period, c.starts_on)
        = (s.kind, s.subject_id, s.place_id, s.period, s.starts_on);
    INSERT INTO ai_proxy.reservation (id, process_id, user_id, workspace_id, document_id, day, provider, model,
        operation, streamed, own_key, tokens, micro_usd, input_tokens, output_tokens)
    VALUES (p_id, p_process, me, place, p_document, today, p_provider, coalesce(p_models[1], ''), p_operation,
        p_streamed, found.id IS NOT NULL, p_tokens, p_micro_usd, p_input_tokens, p_output_tokens);
    verdict := 'ok'; in_workspace := place; counted_on := today;
    key_wrapped := found.wrapped_key; key_ciphertext := found.ciphertext; key_owner := found.owner;
    -- Nobody waits for the disk before the provider is asked: a lost reservation is counted when it is settled.
    PERFORM set_config('synchronous_commit', 'off', true);
    RETURN NEXT;
END"""

# Once for each call: whoever comes second changes nothing, but for a process that was thought dead: what it knows takes
# the place of what was guessed. A server that crashed may have lost a reservation of its last moments; such a call is
# counted all the same.
SETTLE = f"""DECLARE
    {_WORDS}
    reserved record;
    guessed_tokens bigint := 0;
    guessed_micro_usd bigint := 0;
    guessed_calls integer := 0;
BEGIN
    today := p_day;
    DELETE FROM ai_proxy.reservation r WHERE r.id = p_id RETURNING r.tokens, r.micro_usd INTO reserved;
    {_LISTS.format(user="p_user", place="p_workspace", document="p_document")}
    IF NOT FOUND THEN
        DELETE FROM ai_proxy.usage u WHERE u.id = p_id AND u.outcome = 'crashed' AND p_outcome <> 'crashed'
        RETURNING u.input_tokens + u.output_tokens, u.micro_usd, 1
        INTO guessed_tokens, guessed_micro_usd, guessed_calls;
        IF NOT FOUND THEN
            guessed_tokens := 0; guessed_micro_usd := 0; guessed_calls := 0;
            IF EXISTS (SELECT 1 FROM ai_proxy.usage u WHERE u.id = p_id) THEN RETURN false; END IF;
        END IF;
        INSERT INTO ai_proxy.counter (kind, subject_id, place_id, period, starts_on)
        SELECT s.kind, s.subject_id, s.place_id, s.period, s.starts_on FROM ({_SCOPES}) AS s
        ORDER BY s.kind, s.subject_id, s.place_id, s.period ON CONFLICT DO NOTHING;
    END IF;
    PERFORM 1 FROM ({_SCOPES}) AS s JOIN ai_proxy.counter c USING (kind, subject_id, place_id, period, starts_on)
    ORDER BY s.kind, s.subject_id, s.place_id, s.period FOR UPDATE OF c;
    UPDATE ai_proxy.counter c SET spent_tokens = c.spent_tokens + p_input_tokens + p_output_tokens - guessed_tokens,
        spent_micro_usd = c.spent_micro_usd + p_micro_usd - guessed_micro_usd,
        reserved_tokens = c.reserved_tokens - coalesce(reserved.tokens, 0),
        reserved_micro_usd = c.reserved_micro_usd - coalesce(reserved.micro_usd, 0), calls = c.calls + 1 - guessed_calls
    FROM ({_SCOPES}) AS s WHERE (c.kind, c.subject_id, c.place_id, c.period, c.starts_on)
        = (s.kind, s.subject_id, s.place_id, s.period, s.starts_on);
    UPDATE ai_proxy.meter m SET level = m.level - p_input_tokens - p_output_tokens + guessed_tokens
    WHERE m.user_id = p_user;
    INSERT INTO ai_proxy.usage (id, at, user_id, workspace_id, document_id, provider, model, operation, own_key,
        input_tokens, cached_tokens, output_tokens, micro_usd, outcome, estimated, status, first_byte_ms, total_ms)
    VALUES (p_id, now() - make_interval(secs => p_total_ms / 1000.0), p_user, p_workspace, p_document, p_provider,
        p_model, p_operation, p_own_key, p_input_tokens, p_cached_tokens, p_output_tokens, p_micro_usd, p_outcome,
        p_estimated, p_status, p_first_byte_ms, p_total_ms);
    RETURN true;
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
SETTLE_SIGNATURE = (
    "settle(p_id uuid, p_user uuid, p_workspace uuid, p_document uuid, p_day date, p_operation text, "
    "p_own_key boolean, p_provider text, p_model text, p_input_tokens bigint, p_cached_tokens bigint, "
    "p_output_tokens bigint, p_micro_usd bigint, p_outcome text, p_estimated boolean, p_status integer, "
    "p_first_byte_ms integer, p_total_ms integer)"
)
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
    define(op, "ai_proxy", SETTLE_SIGNATURE, "boolean", SETTLE, language="plpgsql", writes=True)
    op.execute("GRANT EXECUTE ON FUNCTION ai_proxy.settle TO ai_proxy_worker")
    op.execute(FORGET)
    op.execute("REVOKE ALL ON FUNCTION ai_proxy.forget_usage(integer) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION ai_proxy.forget_usage(integer) TO ai_proxy")


def downgrade() -> None:
    op.execute("DROP FUNCTION ai_proxy.reserve, ai_proxy.settle, ai_proxy.forget_usage")
    for table in ("own_key", "usage", "meter", "process", "reservation", "counter", "budget"):
        op.execute(f"DROP TABLE ai_proxy.{table} CASCADE")
