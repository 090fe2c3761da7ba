#!/bin/sh
# usage: requirements/lock.sh   (make lock)
#
# Writes the locks from the .in files: names, versions and hashes of every platform's files, never an address.
set -eu
cd "$(dirname "$0")"

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3.11 -m venv "$tools"
"$tools/bin/pip" install --quiet uv

lock() {
    role=$1
    shift
    "$tools/bin/uv" pip compile --quiet --upgrade --python-version 3.11 --python-platform x86_64-manylinux_2_31 \
        --no-header --no-emit-index-url --no-emit-find-links --generate-hashes "$@" "$role.in" -o "$role.txt"
}

lock device
lock service
lock workstation
lock cluster
lock simulation --overrides overrides.txt
lock flower
lock flower-simulation
lock oracles
