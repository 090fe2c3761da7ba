#!/bin/sh
# usage: requirements/setup.sh ROLE FOLDER
#
# Makes FOLDER a virtual environment with exactly the locked packages of ROLE (device, service, workstation or
# simulation) and this project. Costs nothing when it is that already.
set -eu

role=$1
folder=$2
cd "$(dirname "$0")/.."
lock=requirements/$role.txt

fail() {
    echo "keychorus: $1" >&2
    exit 1
}

case $role in
    device) need_mb=500 ;;
    service) need_mb=700 ;;
    workstation) need_mb=4500 ;;
    simulation) need_mb=7000 ;;
    *) fail "the role must be device, service, workstation or simulation, got '$role'" ;;
esac

stamp=$folder/.keychorus-lock
wanted=$(cat "$lock" pyproject.toml | sha256sum | cut -d' ' -f1)
[ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ] || [ ! -x "$folder/bin/keychorus" ] || exit 0

python=${PYTHON:-python3.11}
command -v "$python" >/dev/null 2>&1 || python=python3
command -v "$python" >/dev/null 2>&1 || fail "Python 3.11 is needed, and no python3 was found (Debian 12: apt install python3 python3-venv)"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
[ "$version" = 3.11 ] || fail "Python 3.11 is needed, $python is $version (set PYTHON to another one)"
"$python" -c 'import ensurepip, venv' 2>/dev/null || fail "Python's venv module is missing (Debian 12: apt install python3-venv)"

mkdir -p "$folder"
free_mb=$(df -Pm "$folder" | awk 'NR == 2 { print $4 }')
[ -x "$folder/bin/keychorus" ] || [ "$free_mb" -ge "$need_mb" ] ||
    fail "the $role role needs $need_mb MB of free disk space to install, $folder has $free_mb MB"

echo "keychorus: installing the $role role into $folder"
rm -f "$stamp"
"$python" -m venv "$folder"
"$folder/bin/python" -m pip install --disable-pip-version-check --no-deps --require-hashes -r "$lock" ||
    fail "the packages of $lock could not be installed (see pip's message above)"
"$folder/bin/python" -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --no-index --editable . ||
    fail "the project itself could not be installed (see pip's message above)"
# What runs on devices stays small: neither is needed once the role is installed.
[ "$role" != device ] || "$folder/bin/python" -m pip uninstall --disable-pip-version-check --quiet --yes setuptools pip
echo "$wanted" > "$stamp"
echo "keychorus: $folder/bin/keychorus is ready"
