"""What an operator does about who may take part: enrolment tokens and the revocation of devices."""

from dataclasses import dataclass

from aggregation_service import audit
from aggregation_service.config import ServiceConfig
from aggregation_service.identity import devices, tokens
from aggregation_service.identity.tokens import EnrolmentToken
from aggregation_service.operations.shared import OperationError, opened, require_population
from aggregation_service.service import clock_of

MAX_USES = 10_000_000
MAX_DAYS = 3660.0
_DAY_S = 86_400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class NewToken:
    """A token that was just made; `token` is shown this once and kept nowhere."""

    id: int
    token: str
    expires_at: float


def create_enrolment_token(
    config: ServiceConfig, population: str, *, uses: int, days: float, actor: str | None = None
) -> NewToken:
    """Makes a token that enrols devices in a population.

    Args:
      config: the service.
      population: an existing one.
      uses: how many devices it may enrol, 1 to `MAX_USES`.
      days: after which it is void, more than 0 and at most `MAX_DAYS`.
      actor: who does it, for the audit log; None for the user of this machine.

    Raises:
      OperationError: unknown population, or a number out of its bound.

    """
    if not 1 <= uses <= MAX_USES:
        raise OperationError(f"uses must be in 1 to {MAX_USES}, got {uses}")
    if not 0 < days <= MAX_DAYS:
        raise OperationError(f"days must be in (0, {MAX_DAYS:.0f}], got {days}")
    actor = actor or audit.machine_actor()
    now = clock_of(config).now()
    expires_at = now + days * _DAY_S
    with opened(config) as database, database.write() as connection:
        require_population(connection, population)
        number, token = tokens.add(connection, population, uses=uses, expires_at=expires_at, created_by=actor, now=now)
        details = {"token": number, "uses": uses, "expires_at": expires_at}
        audit.record(connection, actor=actor, action="token.created", subject=population, details=details, now=now)
    return NewToken(id=number, token=token, expires_at=expires_at)


def list_enrolment_tokens(config: ServiceConfig, population: str) -> list[EnrolmentToken]:
    """The population's tokens, oldest first, without the tokens themselves.

    Raises:
      OperationError: unknown population.

    """
    with opened(config) as database, database.read() as connection:
        require_population(connection, population)
        return tokens.list_all(connection, population)


def revoke_enrolment_token(config: ServiceConfig, population: str, token_id: int, *, actor: str | None = None) -> None:
    """Takes a token's remaining uses; devices that it enrolled stay enrolled.

    Raises:
      OperationError: unknown population or token.

    """
    now = clock_of(config).now()
    with opened(config) as database, database.write() as connection:
        require_population(connection, population)
        if not tokens.revoke(connection, population, token_id):
            raise OperationError(f"population {population} has no enrolment token {token_id}")
        audit.record(
            connection,
            actor=actor or audit.machine_actor(),
            action="token.revoked",
            subject=population,
            details={"token": token_id},
            now=now,
        )


def count_devices(config: ServiceConfig, population: str) -> dict[str, int]:
    """How many of the population's devices are `enrolled` and how many `revoked`.

    Raises:
      OperationError: unknown population.

    """
    with opened(config) as database, database.read() as connection:
        require_population(connection, population)
        return devices.count_by_state(connection, population)


def list_devices(config: ServiceConfig, population: str) -> list[tuple[str, bool]]:
    """Ids of the population's devices in the order of their enrolment, and whether each was revoked.

    Raises:
      OperationError: unknown population.

    """
    with opened(config) as database, database.read() as connection:
        require_population(connection, population)
        return devices.list_ids(connection, population)


def revoke_device(config: ServiceConfig, population: str, device_id: str, *, actor: str | None = None) -> None:
    """Refuses a device's requests from now on, for good. What it reported before stays in the sums.

    Raises:
      OperationError: unknown population or device, or one that was revoked before.

    """
    now = clock_of(config).now()
    with opened(config) as database, database.write() as connection:
        require_population(connection, population)
        if not devices.revoke(connection, population, device_id, now):
            raise OperationError(f"population {population} has no device of this id that is not revoked yet")
        audit.record(
            connection,
            actor=actor or audit.machine_actor(),
            action="device.revoked",
            subject=f"{population}/{device_id}",
            details={},
            now=now,
        )
