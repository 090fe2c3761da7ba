"""What a round asks a device to compute: local training, an evaluation, or votes; a vector to report in any case."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from device_runtime.rounds.configuration import RoundConfiguration
from device_runtime.rounds.evaluator import evaluate
from device_runtime.rounds.outcome import Event
from device_runtime.rounds.trainer import train
from protocol.arrays import FloatArray
from protocol.clipping import l2_norm


class Work(NamedTuple):
    """What was computed.

    Attributes:
      event: `TRAINED`, `EVALUATED` or `VOTED`.
      vector: float32, not yet clipped: of training [plan.num_weights], of an evaluation its sums, of a discovery its
        votes, which need no clipping.
      numbers: for the outcome.

    """

    event: Event
    vector: FloatArray
    numbers: dict[str, float]


def do_work(
    configuration: RoundConfiguration, messages: Iterable[str], *, seed: int, should_stop: Callable[[], bool]
) -> Work:
    """Computes what the plan of `configuration` says, on `messages`.

    Args:
      configuration: of the round.
      messages: texts of the log, each one message.
      seed: the same seed gives the same vector.
      should_stop: polled between two steps.

    Raises:
      PlanDoesNotFit, WrongContent, NothingToTrain, Interrupted, InvalidModel: as `train` and `evaluate`.

    """
    plan, graph, checkpoint, vocabulary, baseline = configuration
    if plan.kind == "evaluation":
        sums = evaluate(plan, graph, checkpoint, messages, vocabulary, baseline=baseline, should_stop=should_stop)
        return _work(Event.EVALUATED, sums.to_vector(), {"num_targets": sums.num_targets})
    local = train(plan, graph, checkpoint, messages, vocabulary, seed=seed, should_stop=should_stop)
    numbers = {
        "steps": local.steps,
        "num_targets": local.num_targets,
        "first_loss": local.first_loss,
        "last_loss": local.last_loss,
    }
    return _work(Event.TRAINED, local.update, numbers)


def _work(event: Event, vector: FloatArray, numbers: dict[str, float]) -> Work:
    return Work(event, vector, numbers | {"update_norm": l2_norm(vector)})
