#!/bin/sh
# Makes the lock files anew from pyproject.toml: `sh tools/lock.sh` keeps what is locked where it still fits, `sh tools/lock.sh --upgrade`
# takes the newest. The files hold hashes of every wheel and serve each Python from 3.11 on; they never hold the address of an index.
set -eu
cd "$(dirname "$(readlink -f "$0")")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/env"
"$scratch/env/bin/python" -m pip install --quiet --disable-pip-version-check uv

# lock FILE OPTION...
lock() {
    file=$1
    shift
    "$scratch/env/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
        --no-emit-index-url --no-emit-find-links --output-file "$file" "$@"
    if grep -nE '://|^ *--(extra-)?index|^ *--find-links|^ *--trusted-host' "$file"; then
        echo "lock.sh: $file names an index" >&2
        exit 1
    fi
}

lock requirements.lock pyproject.toml "$@"
lock requirements-scan.lock --group scan "$@"
lock requirements-dev.lock pyproject.toml --group dev --constraint requirements.lock "$@"
