from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from evaluation.audit import attacks
from evaluation.audit.attacks import Attacker
from evaluation.audit.outcome import Audit, Kept
from evaluation.audit.settings import AuditSettings
from evaluation.rehearsal.ground import Ground
from evaluation.rehearsal.local_training import OneProcess

ALL = ("reconstruction", "secret-sharer", "membership")


@contextmanager
def no_bar(title: str, total: int) -> Iterator[object]:
    yield lambda: None


def an_attacker(ground: Ground, settings: AuditSettings, folder: Path) -> Attacker:
    trainers = OneProcess(ground.settings.plain_plan, ground.graph, ground.vocabulary.model)
    return Attacker(settings=settings, ground=ground, trainers=trainers, kept=Kept(folder), bar=no_bar)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audit")


@pytest.fixture(scope="module")
def audit(ground: Ground, small_audit: AuditSettings, folder: Path) -> Audit:
    return an_attacker(ground, small_audit, folder).audit("tiny", ALL)


def test_plain_updates_tell_words_and_noise_hides_them(audit: Audit) -> None:
    assert audit.reconstruction is not None
    plain, quantised, *_, noised = audit.reconstruction.views
    assert plain.precision > 0.9
    assert plain.recall > 0.7
    assert quantised.recall == pytest.approx(plain.recall, abs=0.05)
    assert noised.recall < 0.3


def test_phrases_of_several_devices_are_learned_only_without_noise(audit: Audit) -> None:
    before, without, _, noised = audit.secret_sharer
    assert without.exposures[1].mean > before.exposures[1].mean + 1
    assert noised.exposures[1].mean < without.exposures[1].mean
    assert (before.epsilon, without.epsilon) == (None, None)
    assert noised.epsilon is not None
    assert before.top1 > 0


def test_sound_mechanisms_are_not_contradicted(audit: Audit) -> None:
    assert [arm.name for arm in audit.membership] == ["independent", "tree", "two buffers"]
    assert audit.contradictions == []
    assert all(arm.found[1].mean > 1 for arm in audit.membership)


def test_an_audit_that_is_to_fail_fails(ground: Ground, small_audit: AuditSettings, tmp_path: Path) -> None:
    halved = replace(small_audit, membership=replace(small_audit.membership, noise_share=0.5))
    found = an_attacker(ground, halved, tmp_path).audit("tiny", ["membership"])
    assert {sentence.partition(" noise ")[0] for sentence in found.contradictions} == {
        "independent",
        "tree",
        "two buffers",
    }


def test_what_finished_does_not_run_again(
    audit: Audit, ground: Ground, small_audit: AuditSettings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("ran again")

    module: ModuleType = attacks
    for name in ("reconstruct", "attack_membership", "expose"):
        monkeypatch.setattr(module, name, fail)
    assert an_attacker(ground, small_audit, folder).audit("tiny", ALL) == audit


def test_only_what_is_asked_for_runs(ground: Ground, small_audit: AuditSettings, tmp_path: Path) -> None:
    found = an_attacker(ground, small_audit, tmp_path).audit("tiny", ["reconstruction"])
    assert found.reconstruction is not None
    assert found.secret_sharer == ()
    assert found.membership == ()
