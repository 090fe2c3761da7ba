#!/usr/bin/env bash
# usage: tests/aarch64/run.sh [FOLDER]
#
# Trains the full-size model on emulated ARM and compares its losses with this machine's, then runs the device role's
# tests on emulated aarch64 as far as they need no TensorFlow and no browser. Not part of continuous integration: it
# takes some ten minutes and 2 GB. FOLDER (default build/aarch64) keeps what was fetched; deleting it starts afresh.
#
# Needs Debian's qemu-user-static, proot and debootstrap, and root for debootstrap. See docs/aarch64.md.
set -euo pipefail
cd "$(dirname "$0")/../.."

root=$PWD
python=$root/.venv/bin/python
folder=$(mkdir -p "${1:-build/aarch64}" && cd "${1:-build/aarch64}" && pwd)
packages=opt/keychorus
test_tools="attrs hypothesis iniconfig packaging pluggy pytest pytest-timeout sortedcontainers"

for tool in qemu-aarch64-static qemu-arm-static proot debootstrap; do
    command -v "$tool" >/dev/null || {
        echo "keychorus: $tool is missing (Debian 12: apt install qemu-user-static proot debootstrap)" >&2
        exit 1
    }
done

# Unpacks a Debian 12 for one architecture: nothing in it is configured, which Python does not mind.
unpack() { # ARCHITECTURE PACKAGES
    local tree=$folder/$1
    [ ! -e "$tree/.complete" ] || return 0
    rm -rf "$tree"
    debootstrap --foreign --variant=minbase --arch="$1" --include="$2" bookworm "$tree"
    for package in "$tree"/var/cache/apt/archives/*.deb; do dpkg-deb -x "$package" "$tree"; done
    rm -f "$tree"/var/cache/apt/archives/*.deb
    touch "$tree/.complete"
}

# Installs locked wheels of another architecture, hashes checked, without running anything of it.
install() { # ARCHITECTURE MACHINE LOCK
    local platforms=()
    for level in manylinux2014 manylinux_2_17 manylinux_2_28 manylinux_2_31 manylinux_2_34; do
        platforms+=(--platform "${level}_$2")
    done
    "$python" -m pip install --disable-pip-version-check --quiet --no-deps --no-compile --upgrade --require-hashes \
        "${platforms[@]}" --python-version 3.11 --implementation cp --abi cp311 --abi abi3 --abi none \
        --only-binary=:all: --target "$folder/$1/$packages" -r "$3"
}

locked() { # LOCK NAME...: the named packages of a lock, with their hashes
    "$python" "$root/tests/aarch64/locked.py" "$@"
}

on_aarch64() {
    PYTHONPATH=/$packages:$root PYTHONDONTWRITEBYTECODE=1 proot -q qemu-aarch64-static -R "$folder/arm64" \
        -b "$root" -b "$folder" -w "$root" /usr/bin/python3.11 "$@"
}

# Without proot, whose calls for a file's status fail for 32-bit programs.
on_armv7l() {
    local tree=$folder/armhf lib=$folder/armhf/usr/lib/arm-linux-gnueabihf
    qemu-arm-static -L "$tree" -E PYTHONHOME="$tree/usr" -E PYTHONDONTWRITEBYTECODE=1 \
        -E LD_LIBRARY_PATH="$lib:$lib/blas:$lib/lapack" \
        -E PYTHONPATH="$tree/$packages:$tree/usr/lib/python3/dist-packages:$root" "$tree/usr/bin/python3.11" "$@"
}

unpack arm64 python3
# shellcheck disable=SC2086
locked requirements/workstation.txt $test_tools > "$folder/test_tools.txt"
install arm64 aarch64 requirements/device.txt
install arm64 aarch64 "$folder/test_tools.txt"

unpack armhf python3,python3-numpy # numpy<2 has no wheel for armv7l
locked requirements/device.txt tflite-runtime > "$folder/armv7l.txt"
install armhf armv7l "$folder/armv7l.txt"

export TF_CPP_MIN_LOG_LEVEL=3
steps=tests/aarch64/training_steps.py
"$python" $steps export "$folder/train.tflite"
"$python" $steps run "$folder/train.tflite" > "$folder/x86_64.json"
on_aarch64 $steps run "$folder/train.tflite" > "$folder/aarch64.json"
on_armv7l $steps run "$folder/train.tflite" > "$folder/armv7l.json"
"$python" $steps compare "$folder/x86_64.json" "$folder/aarch64.json" "$folder/armv7l.json"

# The tests read models that this machine exports: it has TensorFlow.
export KEYCHORUS_TEST_MODELS=$folder/models
mkdir -p "$KEYCHORUS_TEST_MODELS"
tests="tests/tokenizer tests/protocol tests/device_runtime/test_runtime.py tests/device_runtime/rounds/test_trainer.py
    tests/device_runtime/suggestions/test_predictor.py tests/device_runtime/rounds/test_configuration.py
    tests/device_runtime/storage/test_files.py tests/device_runtime/typing_log"
"$python" -m pytest -q -p no:cacheprovider tests/device_runtime/rounds/test_trainer.py tests/device_runtime/suggestions/test_predictor.py
# shellcheck disable=SC2086
on_aarch64 -m pytest -q -p no:cacheprovider -o timeout=1200 -m "not slow" -k "not litert and not runtime_is_chosen and not runtimes and not truncated_model" $tests
