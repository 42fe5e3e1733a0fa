"""Saves tell nobody: what the outbox costs is measured against this."""

from documents import repository


def plant() -> None:
    repository.SAVE = repository.SAVE.replace(f", {repository._OUTBOX}", "")
    assert "outbox" not in repository.SAVE
