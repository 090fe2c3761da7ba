#!/bin/sh
# usage: requirements/setup.sh ROLE FOLDER
#
# Makes FOLDER a virtual environment with exactly the locked packages of ROLE (device, service, workstation, cluster or
# simulation) and this project. Costs nothing when it is that already.
#
# The device and service roles get a copy of this checkout's project: what runs does not change before this is run
# again, and needs no checkout. The others work on the checkout itself.
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
    cluster) need_mb=5000 ;;
    simulation) need_mb=7000 ;;
    *) fail "the role must be device, service, workstation, cluster or simulation, got '$role'" ;;
esac

case $role in
    device | service) is_copy=yes ;;
    *) is_copy=no ;;
esac
packages=$(for init in */__init__.py; do dirname "$init"; done)

describe() {
    pwd -P
    cat "$lock" pyproject.toml
    # shellcheck disable=SC2086  # names of packages have no spaces
    [ $is_copy = no ] || find $packages -type f ! -name '*.pyc' -exec sha256sum {} + | LC_ALL=C sort
}

stamp=$folder/.keychorus-lock
wanted=$(describe | sha256sum | cut -d' ' -f1)
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
if [ $is_copy = yes ]; then
    # Elsewhere, for a build leaves files behind that the next one would install.
    copy=$(mktemp -d)
    trap 'rm -rf "$copy"' EXIT
    # shellcheck disable=SC2086
    cp -R pyproject.toml README.md LICENSE $packages "$copy"
    set -- --force-reinstall "$copy"
else
    set -- --editable .
fi
"$folder/bin/python" -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --no-index "$@" ||
    fail "the project itself could not be installed (see pip's message above)"
# What runs on devices stays small: neither is needed once the role is installed.
[ "$role" != device ] || "$folder/bin/python" -m pip uninstall --disable-pip-version-check --quiet --yes setuptools pip
echo "$wanted" > "$stamp"
echo "keychorus: $folder/bin/keychorus is ready"
