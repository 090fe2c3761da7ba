"""The process that suggests, as a keyboard would run it, for `evaluation.bench.suggest`. Imports nothing else.

Answers each line of standard input, a JSON list of texts to type, with the nanoseconds of every keystroke; ends with
its input. One more line, the empty list, asks for the peak of its resident memory, in bytes.
"""

import re
import sys
import time
from pathlib import Path

import msgspec

from device_runtime.releases.release import PUBLIC_KEY_FILE, open_release, read_public_key
from device_runtime.suggestions.personal import PersonalModel
from device_runtime.suggestions.predictor import Predictor
from device_runtime.typing_log import TypingLog


def keystrokes_ns(predictor: Predictor, texts: list[str], *, carries: bool) -> list[int]:
    """Types `texts` one after the other, and times every keystroke.

    Args:
      predictor: that suggests.
      texts: messages.
      carries: whether the state is carried from keystroke to keystroke, or recomputed from the message's beginning.

    """
    taken = []
    for text in texts:
        predictor.reset()
        for typed in range(len(text) + 1):
            started = time.perf_counter_ns()
            if not carries:
                predictor.reset()
            predictor.suggest(text[:typed])
            taken.append(time.perf_counter_ns() - started)
    return taken


def peak_bytes() -> int:
    """The largest resident memory of this program so far.

    Not `getrusage`: its figure is at least that of whatever program started this one.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.findall(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)[0]) * 1024


def main() -> None:
    """Serves: the arguments are the release's folder, the typing log, and `carried` or `recomputed`."""
    folder, log_path, how = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    with TypingLog(log_path) as log:
        public_key = read_public_key(folder / PUBLIC_KEY_FILE)
        predictor = open_release(folder, public_key).predictor(personal=PersonalModel(log))
        for line in sys.stdin.buffer:
            texts = msgspec.json.decode(line, type=list[str])
            answer = keystrokes_ns(predictor, texts, carries=how == "carried") if texts else [peak_bytes()]
            sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
