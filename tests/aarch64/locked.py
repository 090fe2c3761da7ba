"""Prints the named packages of a lock file with their hashes: `locked.py LOCK NAME...`."""

import re
import sys
from pathlib import Path


def main(lock: str, *names: str) -> None:
    entries = {
        match[1]: match[0].rstrip(" \\\n")
        for match in re.finditer(r"^([a-z0-9.-]+)==.*(?:\n +--hash.*)*", Path(lock).read_text(), re.MULTILINE)
    }
    for name in names:
        sys.stdout.write(entries[name] + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
