#!/bin/sh
# Makes .venv what uv.lock says: finds Python, gets uv if there is none, syncs. Silent and quick if nothing is to be done.
# `bootstrap.sh uv …` then runs that uv.
set -eu
cd "$(dirname "$0")/../.."

UV_VERSION=0.13.9
OLDEST_UV=0.9.0
STAMP=.venv/.mdcreator-stamp

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

# What the environment was made from; the folder counts because a copied environment points to the old one.
fingerprint() {
    cat uv.lock pyproject.toml libs/*/pyproject.toml services/*/pyproject.toml | cksum
    pwd
    echo "${UV_PYTHON:-${PYTHON:-any}}"
}

is_recent_python() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    for candidate in "${PYTHON:-}" .venv/bin/python python3.11 python3.12 python3.13 python3 /usr/bin/python3; do
        if [ -n "$candidate" ] && is_recent_python "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer was not found. On Debian or Ubuntu: apt-get install python3 python3-venv" \
        "If it is installed under another name: make up PYTHON=/path/to/python3"
}

# Prints the uv to use: a recent one from PATH, or a pinned one installed privately.
find_uv() {
    if command -v uv >/dev/null 2>&1; then
        version=$(uv --version 2>/dev/null | cut -d' ' -f2)
        if [ "$(printf '%s\n%s\n' "$OLDEST_UV" "${version:-0}" | sort -V | head -n1)" = "$OLDEST_UV" ]; then
            command -v uv
            return
        fi
    fi
    if ! [ -x .state/uv/bin/uv ] || ! .state/uv/bin/uv --version 2>/dev/null | grep -qF " $UV_VERSION"; then
        install_uv "$1"
    fi
    printf '%s\n' "$(pwd)/.state/uv/bin/uv"
}

install_uv() {
    echo "  getting uv $UV_VERSION" >&2
    mkdir -p .state
    chmod 711 .state
    rm -rf .state/uv
    if ! "$1" -m venv .state/uv >/dev/null 2>&1; then
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
            echo "  installing python3-venv" >&2
            DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends --no-upgrade python3-venv \
                >/dev/null 2>&1 || true
        fi
        rm -rf .state/uv
        "$1" -m venv .state/uv >/dev/null 2>&1 || fail "$1 cannot make virtual environments." \
            "On Debian or Ubuntu: apt-get install python3-venv. Or install uv yourself: https://docs.astral.sh/uv/"
    fi
    .state/uv/bin/python -m pip install -qq --disable-pip-version-check "uv==$UV_VERSION" >&2 ||
        fail "uv $UV_VERSION could not be installed with pip (no network?). Install uv yourself: https://docs.astral.sh/uv/"
}

sync() {
    echo "Preparing the Python environment (.venv)"
    if [ -f "$STAMP" ] && [ "$(sed -n 2p "$STAMP")" != "$(pwd)" ]; then
        rm -rf .venv # a copy of another checkout's: its scripts start that one's Python
    fi
    python=$(find_python)
    uv=$(find_uv "$python")
    "$uv" sync --frozen --quiet --python "${UV_PYTHON:-$python}" || fail "uv sync failed, see above."
    fingerprint >"$STAMP"
}

unset VIRTUAL_ENV CONDA_PREFIX
export UV_PROJECT_ENVIRONMENT=.venv UV_PYTHON_DOWNLOADS=never
if ! [ -x .venv/bin/python ] || ! [ -f "$STAMP" ] || [ "$(cat "$STAMP")" != "$(fingerprint)" ]; then
    sync
fi
if [ "${1:-}" = uv ]; then
    shift
    uv=$(find_uv .venv/bin/python)
    exec "$uv" "$@"
fi
