"""Looks for a new release, as a step that the daemon can tell and write down like those of the agent."""

from collections.abc import Callable
from functools import partial

from device_runtime.environment import DeviceEnvironment
from device_runtime.network.client import ServiceClient
from device_runtime.network.transfer import TransferStopped
from device_runtime.releases.keeper import RELEASES, ReleaseKeeper, Verdict
from device_runtime.rounds.agent import Enrolment
from device_runtime.rounds.enrolling import enrolled_signer
from device_runtime.rounds.outcome import Event, Outcome
from device_runtime.typing_log import TypingLog


class ReleaseRefresh:
    """The release keeper of one device and population, with a client of its own."""

    def __init__(self, environment: DeviceEnvironment, enrolment: Enrolment, log: TypingLog):
        """Asks nobody yet.

        Raises:
          InsecureAddress: the service's address would ask over the network unencrypted.

        """
        folder = environment.data_directory / enrolment.population / RELEASES
        should_stop = _should_stop(environment)
        self._signer = partial(enrolled_signer, environment, enrolment.population, enrolment.public_key)
        self._client = ServiceClient(enrolment.service_url, environment.http, should_stop)
        self._keeper = ReleaseKeeper(
            folder, enrolment.public_key, enrolment.population, log=log, should_stop=should_stop
        )

    def __call__(self) -> Outcome:
        """Asks for the newest release and adopts it if it should be.

        Guarantees:
          ends within a second of the end of any condition, or of the process.

        Raises:
          TransferStopped: it was cut short; nothing has changed.

        """
        self._client.signer = self._signer()
        before = self._client.bytes_up, self._client.bytes_down
        decision = self._keeper.refresh(self._client)
        if decision.verdict is Verdict.INTERRUPTED:
            raise TransferStopped("the comparison of releases was stopped")
        return Outcome(
            event=Event.RELEASE_ADOPTED if decision.verdict is Verdict.ADOPTED else Event.RELEASE_KEPT,
            reason=decision.verdict.value,
            numbers={"num_words": decision.num_words, "gain_nats": decision.gain_nats},
            bytes_up=self._client.bytes_up - before[0],
            bytes_down=self._client.bytes_down - before[1],
            model_version=decision.model_version,
        )


def _should_stop(environment: DeviceEnvironment) -> Callable[[], bool]:
    return lambda: environment.is_ending() or not environment.conditions.read().eligible
