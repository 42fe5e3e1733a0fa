"""Migrations of ai-proxy: complete, reversible, in step with the models; only their owner may run them."""

import pytest
from alembic import command

from common.migrations import config
from common.testing.migrations import check_up_and_down

PROTECTED = {"budget", "counter", "reservation", "process", "meter", "usage", "own_key"}


def test_up_matches_the_models_and_down_leaves_nothing(environment):
    made = check_up_and_down("ai-proxy", environment)
    assert {row[1] for row in made if row[0] == "policy"} == PROTECTED


def test_the_runtime_role_cannot_migrate(environment):
    with pytest.raises(Exception, match="must be owner"):
        command.downgrade(config("ai-proxy", environment["AI_PROXY_DATABASE_URL"]), "base")
