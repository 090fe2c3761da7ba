"""The demo from the first message read to the last figure written."""

import os
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from emulator.demo.federation import FederatedRun, Federation
from emulator.demo.measuring import NUM_MEASUREMENTS, Measuring
from emulator.demo.people import People, gather_people
from emulator.demo.public_model import PublicWords, donor_examples, learn_words, pretrain_on, pretraining_steps
from emulator.demo.reporting import make_report
from emulator.demo.settings import DemoSettings
from emulator.demo.stages import Stages
from evaluation.report import write_report
from evaluation.report_schema import Report
from model.averaging import tail_average
from model.export import export_prediction_model, export_training_graph
from protocol.weights import Weights

RELEASE_FOLDER = "release"
_MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108  # a directory of its own is made in it, for this user alone
_MEMORY_NEEDED = 4 << 30


@dataclass(frozen=True)
class DemoResult:
    """The report, and where it and the release are."""

    report: Report
    json_path: Path
    html_path: Path
    release_folder: Path


def run_demo(settings: DemoSettings, folder: Path, *, seed: int, num_workers: int, console: Console) -> DemoResult:
    """Runs the whole loop and leaves report and release in `folder`.

    Args:
      settings: what to run with.
      folder: made if missing; files of an earlier run are replaced.
      seed: of the split, the first weights, the traces and who vanishes; noise never follows it.
      num_workers: processes that train devices.
      console: shows the progress.

    Raises:
      ServiceStopped, TooFewRounds: see there.

    """
    scratch_folder = tempfile.TemporaryDirectory(prefix="keychorus-demo-", dir=_memory_folder())
    with scratch_folder as scratch, Stages(console) as stages:
        demo = _Demo(settings, stages, seed, num_workers)
        people, words = demo.read()
        pretrained = demo.pretrain(people, words)
        federation = Federation(settings, Path(scratch) / "world", words, seed=seed)
        run = demo.federate(federation, people, pretrained, folder / RELEASE_FOLDER)
        report = demo.measure(people, words, pretrained, run)
        json_path, html_path = write_report(report, folder)
    return DemoResult(report, json_path, html_path, folder / RELEASE_FOLDER)


def _memory_folder() -> Path | None:
    """A file system in memory with room for the fleet's disks; None if there is none.

    Devices and service sync what they write. Of an emulated disk nothing need survive a power cut, and on a real one
    the wait for tens of thousands of syncs is a good part of the run. Whoever sets TMPDIR decides for themselves.
    """
    if "TMPDIR" in os.environ or not os.access(_MEMORY_FOLDER, os.W_OK):
        return None
    return _MEMORY_FOLDER if shutil.disk_usage(_MEMORY_FOLDER).free >= _MEMORY_NEEDED else None


@dataclass(frozen=True)
class _Demo:
    """The stages, each with a progress bar."""

    settings: DemoSettings
    stages: Stages
    seed: int
    num_workers: int

    def read(self) -> tuple[People, PublicWords]:
        settings = self.settings
        with self.stages.stage("corpus", "Reading and splitting the chats"):
            people = gather_people(
                seed=self.seed,
                max_messages=settings.max_messages,
                max_devices=settings.max_devices,
                donor_share=settings.donor_share,
                held_out_share=settings.held_out_share,
            )
        with self.stages.stage("vocabulary", "Training the vocabulary"):
            size = settings.shape.vocabulary_size
            words = learn_words(people.donors, size=size, public_weight=settings.public_weight)
        return people, words

    def pretrain(self, people: People, words: PublicWords) -> Weights:
        examples = donor_examples(people.donors, words.vocabulary)
        epochs = self.settings.pretraining_epochs
        steps = pretraining_steps(examples, epochs)
        with self.stages.stage("pretraining", "Pre-training on donors' text", steps) as advance:
            return pretrain_on(
                examples,
                self.settings.shape,
                words.vocabulary,
                epochs=epochs,
                seed=self.seed,
                on_step=lambda loss: advance(f"loss {loss:.2f}"),
            )

    def federate(
        self, federation: Federation, people: People, pretrained: Weights, release_folder: Path
    ) -> FederatedRun:
        with self.stages.stage("export", "Exporting the training graph"):
            graph = self._training_graph()
        with self.stages.stage("devices", "Filling the devices' typing logs", len(people.training)) as advance:
            federation.add_devices(people.training, lambda: advance(""))
        with ExitStack() as stack:
            with self.stages.stage("service", "Starting the service"):
                service = stack.enter_context(federation.service(pretrained, graph))
            with self.stages.stage("rounds", "Federated rounds over HTTP", self.settings.rounds) as advance:
                run = federation.run(service, num_workers=self.num_workers, on_round=lambda _: advance(""))
            with self.stages.stage("release", "Releasing the model"):
                shutil.rmtree(release_folder, ignore_errors=True)
                federation.release(service, export_prediction_model(self._candidates(run)[-1]), release_folder)
        return run

    def measure(self, people: People, words: PublicWords, pretrained: Weights, run: FederatedRun) -> Report:
        total = NUM_MEASUREMENTS + len(run.rounds)
        with self.stages.stage("evaluation", "Measuring the predictions", total) as advance:
            measuring = Measuring.of(people, words, self.settings)
            candidates = self._candidates(run)
            accuracy = measuring.accuracies(pretrained, candidates[-1], advance)
            curve = measuring.curve(pretrained, candidates, advance)
        seconds = dict(self.stages.seconds)
        return make_report(self.settings, people, run, accuracy=accuracy, curve=curve, seconds=seconds, seed=self.seed)

    def _candidates(self, run: FederatedRun) -> list[Weights]:
        """After each round, what would be released then."""
        checkpoints = [closed.weights for closed in run.rounds]
        newest = self.settings.averaged_checkpoints
        return [tail_average(checkpoints[:end], newest) for end in range(1, len(checkpoints) + 1)]

    def _training_graph(self) -> bytes:
        training = self.settings.plan_training
        return export_training_graph(
            self.settings.shape, batch_size=training.batch_size, sequence_length=training.sequence_length
        )
