from pathlib import Path

import msgspec

from evaluation.audit.outcome import Audit, Kept, encode_audit
from evaluation.audit.secret_sharer import Exposure

PART = Exposure(devices=1, copies=2, ranks=(3,), ranked=10)


def test_json_reads_as_what_was_written(an_audit: Audit) -> None:
    assert msgspec.json.decode(encode_audit(an_audit), type=Audit) == an_audit


def test_a_bound_above_the_proof_is_a_contradiction(an_audit: Audit) -> None:
    assert an_audit.contradictions == []
    low = [msgspec.structs.replace(arm, proven=3.0) for arm in an_audit.membership]
    (sentence,) = msgspec.structs.replace(an_audit, membership=tuple(low)).contradictions
    assert sentence == (
        "independent noise leaks more than was proven: who sees sums finds epsilon >= 4.10 with 99.9 % confidence, "
        "proven are 3.00 at delta = 1e-05"
    )


def test_parts_run_once(tmp_path: Path) -> None:
    runs = []

    def run() -> Exposure:
        runs.append(1)
        return PART

    kept = Kept(tmp_path / "new")
    assert kept.get_or_run("a", Exposure, run) == kept.get_or_run("a", Exposure, run) == PART
    assert len(runs) == 1
    assert kept.get_or_run("b", Exposure, run) == PART
    assert len(runs) == 2


def test_a_damaged_part_runs_again(tmp_path: Path) -> None:
    (tmp_path / "part-a.json").write_bytes(b'{"devices": 1')
    assert Kept(tmp_path).get_or_run("a", Exposure, lambda: PART) == PART
    assert msgspec.json.decode((tmp_path / "part-a.json").read_bytes(), type=Exposure) == PART
