import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from aggregation_service.rounds.optimizer import ServerAverage
from evaluation.audit.membership import Found, Histogram, MembershipArm
from evaluation.audit.outcome import Audit
from evaluation.audit.reconstruction import Reconstruction, Recovered, Weighed
from evaluation.audit.secret_sharer import Exposure, SecretSharerArm
from evaluation.audit.settings import AuditSettings, MembershipSettings, SecretSharerSettings
from evaluation.corpus import Message
from evaluation.rehearsal.ground import Ground, lay_ground
from evaluation.rehearsal.people import gather_people
from evaluation.rehearsal.settings import RehearsalSettings
from model.network import NetworkShape
from protocol.plan import TrainingParameters
from tokenizer.text import PUNCTUATION
from tokenizer.vocabulary import NUM_SPECIAL

WORDS = 160


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever lays ground (a graph exported, a network pre-trained, in each worker anew) is for CI."""
    for item in items:
        if item.path.parent == Path(__file__).parent and "ground" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


def tiny(**changes: object) -> RehearsalSettings:
    """Rounds of a network with a few thousand weights."""
    chosen = {
        "shape": NetworkShape(vocabulary_size=WORDS + len(PUNCTUATION) + NUM_SPECIAL, embedding_size=16, num_units=24),
        "max_messages": 30,
        "donor_share": 0.1,
        "held_out_share": 0.1,
        "pretraining_epochs": 10,
        "rounds": 4,
        "cohort": 10,
        "training": TrainingParameters(
            batch_size=8, sequence_length=12, local_epochs=1, learning_rate=1.0, max_words=1_000
        ),
        "l2_clip_norm": 1.0,
        "averaged_checkpoints": 2,
        "optimizer": ServerAverage(),
        **changes,
    }
    return RehearsalSettings(**chosen)


def tiny_audit(**changes: object) -> AuditSettings:
    chosen = {
        "rehearsal": tiny(),
        "devices": 12,
        "groups": (6,),
        "secret_sharer": SecretSharerSettings(rates=((0, 0), (12, 30)), phrases=2, references=99),
        "membership": MembershipSettings(canaries=100, rounds=4, min_separation=2, max_participations=2),
        **changes,
    }
    return AuditSettings(**chosen)


def chatter(people: int, messages: int, seed: int) -> list[Message]:
    """Messages of people with a favourite quarter of the words each; common words come more often."""
    generator = random.Random(seed)
    syllables = [first + vowel for first in "bdfgklmnprst" for vowel in "aeiou"]
    words = [one + other for one in syllables for other in syllables][:WORDS]
    sent = []
    for user in range(people):
        mine = generator.sample(words, WORDS // 4)
        weights = [1 / (5 + words.index(word)) for word in mine]
        sent += [
            Message(f"user {user}", float(minute), " ".join(generator.choices(mine, weights, k=6)))
            for minute in range(messages)
        ]
    return sent


@pytest.fixture(scope="session")
def ground(tensorflow: None, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    settings = tiny()
    people = gather_people(chatter(60, 30, seed=3), settings)
    return lay_ground(settings, people, tmp_path_factory.mktemp("ground"), lambda: None)


@pytest.fixture(scope="session")
def small_audit() -> AuditSettings:
    return tiny_audit()


def a_found(sees: str, bound: float) -> Found:
    bars = Histogram(first=-2, counts=(1, 5, 9, 4, 1))
    return Found(sees=sees, mean=1.0, deviation=1.0, estimate=4.4, fitted=bound, counted=1.0, inside=bars, outside=bars)


def an_arm(name: str, bounds: Sequence[float], proven: float = 4.38) -> MembershipArm:
    return MembershipArm(
        name=name,
        noise_multiplier=1.0,
        noise_share=1.0,
        rounds=8,
        participations=2,
        canaries=1000,
        delta=1e-5,
        confidence=0.999,
        proven=proven,
        found=tuple(a_found(sees, bound) for sees, bound in zip(("model", "sums"), bounds, strict=True)),
    )


@pytest.fixture
def an_audit() -> Audit:
    """Made-up findings, none above what was proven."""
    view = Recovered(
        view="one update, <float32>",
        members=1,
        named=140,
        precision=0.991,
        recall=0.948,
        precision_of_group=0.991,
        precision_of_guess=0.554,
        recall_of_guess=0.53,
        weighed=Weighed(
            named=144,
            precision=0.998,
            recall=0.987,
            precision_of_guess=0.547,
            recall_of_guess=0.54,
            precision_of_times=0.934,
            recall_of_times=0.911,
        ),
    )
    exposures = (Exposure(devices=1, copies=10, ranks=(1, 500), ranked=1000),)
    arms = [
        SecretSharerArm(noise_multiplier=z, epsilon=6.57 if z else None, delta=1e-5, top1=0.127, exposures=exposures)
        for z in (None, 0.0, 1.0)
    ]
    return Audit(
        size="small",
        seed=7,
        weights=34_552,
        devices=459,
        cohort=20,
        phrase_rounds=44,
        reconstruction=Reconstruction(devices=100, typed=146, words=991, views=(view,)),
        secret_sharer=tuple(arms),
        membership=(an_arm("independent", (2.3, 4.1)), an_arm("tree", (1.0, 1.5))),
        software={"keychorus": "0.1.0"},
    )
