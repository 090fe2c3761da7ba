import math
import warnings
from pathlib import Path

import pytest

from evaluation.metrics import Accuracy
from evaluation.report_schema import (
    AccuracySection,
    AtScale,
    ByPredictor,
    BytesSection,
    CurveSection,
    FleetSection,
    ModelSection,
    PrivacySection,
    Report,
    Round,
)
from evaluation.statement import write_statement


def make_accuracy(top1: float, perplexity: float | None) -> Accuracy:
    return Accuracy(
        top1=top1,
        top3=top1 * 1.8,
        keystroke_savings=0.4 + top1 / 3,
        perplexity=perplexity,
        num_targets=28_114,
        num_unknown=1_020,
    )


def make_round(number: int) -> Round:
    return Round(
        number=number,
        selected=26,
        reported=20 + number % 4,
        dropped=2 - number % 2,
        interrupted=number % 3,
        top1=0.115 + 0.025 * (1 - math.exp(-number / 6)) + 0.0006 * (-1) ** number,
        top3=0.21 + 0.03 * (1 - math.exp(-number / 6)),
        loss=6.1 - number / 40,
        epsilon=45 * math.sqrt(number),
        seconds=6.2,
    )


@pytest.fixture
def report() -> Report:
    """A report with made-up figures, as a run of the demo would give it."""
    return Report(
        name="demo",
        seed=20,
        corpus="two-person chats of anonymous volunteers",
        accuracy=AccuracySection(
            held_out=ByPredictor(
                unigram=make_accuracy(0.041, 561.8),
                pretrained=make_accuracy(0.115, 231.0),
                federated=make_accuracy(0.138, 174.2),
            ),
            devices=ByPredictor(
                unigram=make_accuracy(0.042, 549.0),
                pretrained=make_accuracy(0.117, 228.0),
                federated=make_accuracy(0.143, None),
            ),
        ),
        privacy=PrivacySection(
            epsilon=212.4,
            delta=1e-5,
            mechanism="Gaussian",
            trust_mode="central noise, plain upload: the service sees single updates, in memory, and adds the noise",
            noise_multiplier=0.1,
            l2_clip_norm=0.8,
            max_participations=7,
            statement=write_statement(
                epsilon=212.4,
                delta=1e-5,
                cohort=20,
                population=337,
                scale_epsilon=0.87,
                scale_cohort=5_000,
                scale_rounds=24,
                scale_delta=1e-10,
                scale_population=10_000_000,
            ),
            at_scale=AtScale(cohort=5_000, population=10_000_000, rounds=24, epsilon=0.87, delta=1e-10),
        ),
        bytes=BytesSection(up_per_device_round=5_689_012.0, down_per_device_round=5_810_233.5),
        rounds=tuple(make_round(number) for number in range(1, 25)),
        curve=CurveSection(unigram_top1=0.042, pretrained_top1=0.114, num_targets=7_000),
        seconds={
            "read the corpus": 2.1,
            "train the vocabulary": 3.4,
            "pre-train": 61.0,
            "export": 7.9,
            "start the service": 1.2,
            "federated rounds": 148.7,
            "evaluate": 14.2,
        },
        fleet=FleetSection(devices=337, donors=159, held_out=119),
        model=ModelSection(parameters=1_422_250, vocabulary_size=10_000),
        software={"keychorus": "0.1.0", "tensorflow": "2.14.1", "tflite-runtime": "2.14.0"},
    )


@pytest.fixture(scope="session")
def tensorflow() -> None:
    """Imports TensorFlow once: its own import meets a deprecated name of a package that it pins."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow as tf

        assert tf.__version__


@pytest.fixture(scope="session")
def release_folder(tensorflow: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of a tiny network with random weights and made-up words."""
    from evaluation.bench.suggest import make_release
    from model.network import NetworkShape

    folder = tmp_path_factory.mktemp("made") / "release"
    make_release(folder, NetworkShape(vocabulary_size=200, embedding_size=8, num_units=12), seed=1)
    return folder
