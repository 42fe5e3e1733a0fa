"""`make epoch`: begin a new incarnation of sync's database after a backup was restored (docs/sync.md, section 3)."""

import os
import sys

import psycopg


def rotate(url: str) -> str:
    """Name the incarnation anew, as the schema's owner; the new name. Every cursor answers 410 from now on."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(
            "UPDATE sync.epoch SET epoch = gen_random_uuid(), began_at = now() RETURNING epoch"
        ).fetchone()
    assert row is not None
    return str(row[0])


def main() -> int:
    """Rotate and say so."""
    url = os.environ.get("SYNC_OWNER_DATABASE_URL")
    if not url:
        sys.stderr.write("SYNC_OWNER_DATABASE_URL is not set: `make epoch` sets it for the local fleet\n")
        return 2
    print(f"epoch {rotate(url)}: every device bootstraps with its next request and hands in what the server lost")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
