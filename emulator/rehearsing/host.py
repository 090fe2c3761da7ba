"""The service of a rehearsal: started, killed and started again, always at the same address."""

import os
from contextlib import ExitStack
from pathlib import Path

from emulator.service_process import RunningService, free_port, running_service


class ServiceHost:
    """Where the service runs, or does not.

    Attributes:
      port: at which it listens, on the loopback address.
      url: likewise.
      lie_path: where its lie stands.
      starts: how often it was started, over all processes that lived this rehearsal.

    """

    def __init__(
        self,
        config_path: Path,
        log_path: Path,
        *,
        seed: str | None,
        lie_path: Path = Path(os.devnull),
        starts: int = 0,
        workers: int = 1,
    ):
        """Args: `seed` of its randomness, `lie_path`, `workers`: see `running_service`; `starts` before this host."""
        self.lie_path = lie_path
        self._config_path = config_path
        self._log_path = log_path
        self._seed = seed
        self._workers = workers
        self.port = free_port()
        self._running: RunningService | None = None
        self._stack = ExitStack()
        self.starts = starts
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def is_running(self) -> bool:
        """Whether it was started and not ended since."""
        return self._running is not None

    @property
    def pid(self) -> int | None:
        """Of its main process; None where it does not run."""
        running = self._running
        return None if running is None else running.pid

    def require_alive(self) -> None:
        """Checks that it runs if it should.

        Raises:
          ServiceStopped: it does not.

        """
        if self._running is not None:
            self._running.require_alive()

    def start(self) -> None:
        """Starts it, unless it runs.

        Raises:
          ServiceStopped: it did not come up.

        """
        if self._running is not None:
            return
        self.starts += 1
        seed = None if self._seed is None else f"{self._seed} start {self.starts}"  # or ids would come twice
        context = running_service(
            self._config_path,
            self._log_path,
            port=self.port,
            seed=seed,
            lie_path=self.lie_path,
            workers=self._workers,
        )
        self._running = self._stack.enter_context(context)

    def crash(self) -> None:
        """Kills all its processes at once."""
        if self._running is not None:
            self._running.crash()
        self.stop()

    def stop(self) -> None:
        """Ends it within 5 s; does nothing if it does not run."""
        self._running = None
        self._stack.close()
