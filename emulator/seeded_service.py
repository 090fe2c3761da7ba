"""The real service as a rehearsal runs it: one worker, its time a file, its randomness a seed's.

`python -m emulator.seeded_service` is gunicorn, for `emulator.seeded_service:app("7", "lie")`. It differs from
`aggregation_service.wsgi` in two ways, and in nothing that a device could see but lies that a scenario asks for
(`emulator.lying_service`). No thread looks after the rounds: in virtual time nothing is due but when a request comes,
and each request first does what is due; a thread would do the same at moments of real time, which no seed knows. And
what the system's secure source gives elsewhere comes from a seed, a stream a request.
"""

import runpy
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from emulator.entropy import SeededEntropy, replace_entropy
from emulator.lying_service import LyingService

_TIDIED_EVERY_S = 3600.0


def app(seed: str, lie_path: str) -> Callable[..., Iterable[bytes]]:
    """Makes the app of the one worker.

    Args:
      seed: of ids, reconnect windows and noise; another one after each restart, or ids would come twice.
      lie_path: the file of the lie of the hour.

    Raises:
      ConfigError: as `aggregation_service.wsgi.app`.

    """
    entropy = replace_entropy()
    entropy.begin(f"{seed} start")
    from aggregation_service.app import create_app
    from aggregation_service.config import load_config_of_environment
    from aggregation_service.logs import log_to_stderr
    from aggregation_service.problems import TALLY
    from aggregation_service.service import EXTENSION, clock_of

    config = load_config_of_environment()
    log_to_stderr("text")
    made = create_app(config)
    service = made.extensions[EXTENSION]
    made.wsgi_app = _Turns(  # type: ignore[method-assign]  # as Flask's documentation does it
        LyingService(made.wsgi_app, Path(lie_path)),
        entropy,
        seed,
        clock=clock_of(config).now,
        tidy=service.candidate.tick,
        tell=made.extensions[TALLY].write,
    )
    return made


class _Turns:
    """Gives each request a stream of its own, and does what threads and clocks of the machine do elsewhere.

    The coordinator tidies up once a virtual hour, and refusals are written down at once, not every other second.
    """

    def __init__(
        self,
        wsgi_app: Callable[..., Iterable[bytes]],
        entropy: SeededEntropy,
        seed: str,
        *,
        clock: Callable[[], float],
        tidy: Callable[[], bool],
        tell: Callable[[], None],
    ) -> None:
        self._wsgi_app = wsgi_app
        self._entropy = entropy
        self._seed = seed
        self._clock = clock
        self._tidy = tidy
        self._tell = tell
        self._requests = 0
        self._tidied_at = clock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/health":  # asked as often as the machine is slow
            self._requests += 1
            self._entropy.begin(f"{self._seed} {self._requests}")
            if self._clock() >= self._tidied_at + _TIDIED_EVERY_S:
                self._tidied_at = self._clock()
                self._tidy()
        answer = self._wsgi_app(environ, start_response)
        self._tell()
        return answer


if __name__ == "__main__":
    replace_entropy()  # before anything of the service is loaded, by gunicorn or its worker
    runpy.run_module("gunicorn", run_name="__main__", alter_sys=True)
