"""Flower's side, run by the Python of Flower's own environment: it knows nothing of this project.

The server is Flower's `SecAggPlusWorkflow` as it is, the clients are its `secaggplus_mod`; between them stands a grid
that hands messages over in memory. Only what the workflow does counts, in CPU time of this process: the clock stands
still while the grid has a message. Clients work once; their answers, byte for byte, serve every later run, in which the
workflow draws the same graph.

Answers each line of standard input with one JSON object. Its arguments, one JSON object, are those of `Setting`.
"""

import copy
import json
import logging
import random
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from flwr.app import ConfigRecord, Context, Message, RecordDict  # type: ignore[import-not-found]
from flwr.client.mod import secaggplus_mod  # type: ignore[import-not-found]
from flwr.common import (  # type: ignore[import-not-found]
    Code,
    FitIns,
    FitRes,
    Status,
    ndarrays_to_parameters,
    parameters_to_ndarrays,
)
from flwr.compat.common import recorddict_compat  # type: ignore[import-not-found]
from flwr.server import LegacyContext  # type: ignore[import-not-found]
from flwr.server.client_proxy import ClientProxy  # type: ignore[import-not-found]
from flwr.server.strategy import Strategy  # type: ignore[import-not-found]
from flwr.server.workflow import SecAggPlusWorkflow  # type: ignore[import-not-found]
from flwr.server.workflow.constant import (  # type: ignore[import-not-found]
    MAIN_CONFIGS_RECORD,
    MAIN_PARAMS_RECORD,
    Key,
)
from flwr.supercore.task_identity import TaskIdentity  # type: ignore[import-not-found]

CLIPPING_RANGE = 8.0
NUM_EXAMPLES = 1000
MASKED_VECTORS = 2  # the third of four stages, counted from 0: clients that drop out are not heard of from here on


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is measured.

    Attributes:
      num_members: clients.
      num_dropped: of them, that share their keys and send no masked vector.
      degree: neighbours of each; Flower counts the client itself too.
      threshold: shares that give a secret.
      value_bits: b; sums are modulo 2^b.
      vector_length: values of one update.
      seed: of the update, the graph and who drops out.

    """

    num_members: int
    num_dropped: int
    degree: int
    threshold: int
    value_bits: int
    vector_length: int
    seed: int

    @property
    def quantization_range(self) -> int:
        """The largest power of two of which as many as there are clients fit into the modulus."""
        return 1 << ((1 << self.value_bits) // self.num_members).bit_length() - 1

    def update(self) -> npt.NDArray[np.float32]:
        """What every client trained: values all over the clipping range."""
        generator = np.random.default_rng(self.seed)
        return generator.uniform(-CLIPPING_RANGE, CLIPPING_RANGE, self.vector_length).astype(np.float32)

    def workflow(self) -> SecAggPlusWorkflow:
        """Flower's server."""
        return SecAggPlusWorkflow(
            num_shares=self.degree + 1,
            reconstruction_threshold=self.threshold,
            max_weight=float(NUM_EXAMPLES),
            clipping_range=CLIPPING_RANGE,
            quantization_range=self.quantization_range,
            modulus_range=1 << self.value_bits,
        )


class Proxy(ClientProxy):  # type: ignore[misc]
    """A client's number; nothing is asked of it."""

    def __init__(self, node_id: int) -> None:
        super().__init__(str(node_id))
        self.node_id = node_id

    get_properties = get_parameters = fit = evaluate = reconnect = NotImplemented


class TakeSum(Strategy):  # type: ignore[misc]
    """Selects all clients and keeps the average that the workflow found: no work of a strategy is counted."""

    def __init__(self, num_members: int) -> None:
        self.average = np.empty(0)
        self._proxies = [Proxy(node_id) for node_id in range(1, num_members + 1)]

    def configure_fit(
        self, server_round: int, parameters: object, client_manager: object
    ) -> list[tuple[Proxy, FitIns]]:
        """All clients, without a model to train: sending it is no part of the protocol."""
        return [(proxy, FitIns(ndarrays_to_parameters([]), {})) for proxy in self._proxies]

    def aggregate_fit(
        self, server_round: int, results: list[tuple[Proxy, FitRes]], failures: list[Exception]
    ) -> tuple[None, dict[str, float]]:
        """The parameters of any result: the workflow has put the average into all of them."""
        (self.average,) = parameters_to_ndarrays(results[0][1].parameters)
        return None, {}

    initialize_parameters = configure_evaluate = aggregate_evaluate = evaluate = NotImplemented


class Clients:
    """The grid, and the clients behind it."""

    def __init__(self, setting: Setting) -> None:
        self.cpu_s = 0.0
        """Spent here in all: by clients, and by handing messages over."""
        self._setting = setting
        update = ndarrays_to_parameters([setting.update()])
        trained = FitRes(Status(Code.OK, ""), update, NUM_EXAMPLES, {})
        self._trained = trained
        node_ids = range(1, setting.num_members + 1)
        self._contexts = {node_id: Context(1, node_id, {}, RecordDict(), {}) for node_id in node_ids}
        self._dropped = set(random.Random(setting.seed).sample(node_ids, setting.num_dropped))  # noqa: S311
        self._answers: list[list[Message]] = []
        self._stage = 0

    def begin(self) -> None:
        """Goes back to the first stage; answers that are known are given again."""
        self._stage = 0

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """What the workflow calls once a stage."""
        started = time.process_time()
        if self._stage == len(self._answers):
            self._answers.append([self._answer(message) for message in messages if self._takes_part(message)])
        answers = self._answers[self._stage]
        self._stage += 1
        self.cpu_s += time.process_time() - started
        return answers

    def _takes_part(self, message: Message) -> bool:
        return self._stage < MASKED_VECTORS or message.metadata.dst_node_id not in self._dropped

    def _answer(self, message: Message) -> Message:
        def train(message: Message, _: Context) -> Message:
            return Message(recorddict_compat.fitres_to_recorddict(self._trained, keep_input=True), reply_to=message)

        own = copy.deepcopy(message)  # clients take messages apart that the server sends to several
        return secaggplus_mod(own, self._contexts[message.metadata.dst_node_id], train)


def main() -> None:
    """Serves until standard input ends."""
    logging.disable(logging.WARNING)
    TaskIdentity.run_id = TaskIdentity.task_id = TaskIdentity.node_id = 1  # a server's process has these
    setting = Setting(**json.loads(sys.argv[1]))
    clients = Clients(setting)
    for _ in sys.stdin:
        sys.stdout.write(json.dumps(run(setting, clients)) + "\n")
        sys.stdout.flush()


def run(setting: Setting, clients: Clients) -> dict[str, float]:
    """One session: the server's CPU seconds, and how far its average is from the clients' update at most."""
    clients.begin()
    random.seed(setting.seed)  # the workflow's graph
    strategy = TakeSum(setting.num_members)
    context = LegacyContext(Context(1, 0, {}, RecordDict(), {}), strategy=strategy)
    context.state.config_records[MAIN_CONFIGS_RECORD] = ConfigRecord({Key.CURRENT_ROUND: 1})
    context.state.array_records[MAIN_PARAMS_RECORD] = recorddict_compat.parameters_to_arrayrecord(
        ndarrays_to_parameters([]), keep_input=True
    )
    before_s, started = clients.cpu_s, time.process_time()
    setting.workflow()(clients, context)
    taken_s = time.process_time() - started - (clients.cpu_s - before_s)
    difference = np.abs(strategy.average - setting.update()) if strategy.average.size else np.array([np.inf])
    return {"cpu_s": taken_s, "error": float(difference.max()), "step": 2 * CLIPPING_RANGE / setting.quantization_range}


if __name__ == "__main__":
    main()
