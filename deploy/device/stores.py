"""Where a device keeps its state: in memory, or in an SQLite file that survives kill -9."""

import json
import sqlite3
from collections import defaultdict
from pathlib import Path
from typing import Any

from .state import State


class MemoryStore:
    """Keeps the last committed state, to which a crash goes back."""

    def __init__(self) -> None:
        self._kept: dict[str, dict[Any, Any]] = {}

    def load(self, state: State) -> None:
        """Fill a new state."""
        for name, table in state.tables.items():
            table.update(self._kept.get(name, {}))

    def commit(self, state: State) -> None:
        """Keep what changed; rows are replaced, never changed in place."""
        for name, table in state.tables.items():
            kept = self._kept.setdefault(name, {})
            for key in table.changed:
                if key in table:
                    kept[key] = table[key]
                else:
                    kept.pop(key, None)
            table.changed.clear()

    def copy(self) -> "MemoryStore":
        """A backup."""
        other = MemoryStore()
        other._kept = {name: dict(rows) for name, rows in self._kept.items()}
        return other


class SqliteStore:
    """One file; what one step changes is one transaction."""

    def __init__(self, file: Path) -> None:
        self._database = sqlite3.connect(file, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS row (place TEXT, key TEXT, value TEXT NOT NULL, PRIMARY KEY (place, key)) "
            "WITHOUT ROWID"
        )

    def load(self, state: State) -> None:
        """Fill a new state with what was committed."""
        rows: dict[str, dict[Any, Any]] = defaultdict(dict)
        for place, key, value in self._database.execute("SELECT place, key, value FROM row"):
            rows[place][_key(key)] = json.loads(value)
        for place, found in rows.items():
            state.tables[place].update(found)

    def commit(self, state: State) -> None:
        """Write what changed, as a whole; on disk when it returns."""
        kept, gone = [], []
        for place, table in state.tables.items():
            for key in table.changed:
                text = json.dumps(key)
                if key in table:
                    kept.append((place, text, json.dumps(table[key])))
                else:
                    gone.append((place, text))
        self._database.execute("BEGIN IMMEDIATE")
        self._database.executemany("DELETE FROM row WHERE place = ? AND key = ?", gone)
        self._database.executemany("INSERT OR REPLACE INTO row VALUES (?, ?, ?)", kept)
        self._database.execute("COMMIT")
        for table in state.tables.values():
            table.changed.clear()

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _key(text: str) -> Any:
    key = json.loads(text)
    return tuple(key) if isinstance(key, list) else key
