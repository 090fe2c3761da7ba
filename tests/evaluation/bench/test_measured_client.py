import pytest

from evaluation.bench import measured_client
from evaluation.bench.measured_client import measure_client, prepare
from evaluation.bench.secure_session import Setting
from protocol.secure_aggregation.errors import WrongSession, WrongSurvivors

SETTING = Setting(num_members=40, vector_length=20_000, mode="semi_honest")


def test_a_device_goes_through_all_stages_as_often_as_asked() -> None:
    turns: list[int] = []
    cost = measure_client(SETTING, repeats=3, on_turn=lambda: turns.append(1))
    assert len(cost.cpu_s.values) == 3
    assert len(turns) == 4
    assert min(cost.first_cpu_s, *cost.cpu_s.values) > 1e-3  # 2 agreements with each of 8 neighbours at least
    assert 0 <= cost.peak_bytes < 20e6  # 0 where all fits memory that the process had already


def test_the_device_is_one_that_checks_what_it_is_told() -> None:
    told = prepare(SETTING)
    sharing, _ = told.advertising(SETTING).advertise()
    masking, _ = sharing.share(told.roster)
    values = SETTING.quantiser.encode(SETTING.update(), bytes(32), bytes)
    confirming, _ = masking.mask(told.delivery, values)
    unmasking, _ = confirming.confirm(told.survivor_list)
    with pytest.raises(WrongSession):
        unmasking.unmask(prepare(SETTING).confirmations)


def test_the_device_itself_never_drops_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured_client.Setting, "dropped", lambda _: frozenset(range(40)))
    told = prepare(SETTING)
    sharing, _ = told.advertising(SETTING).advertise()
    masking, _ = sharing.share(told.roster)
    values = SETTING.quantiser.encode(SETTING.update(), bytes(32), bytes)
    confirming, _ = masking.mask(told.delivery, values)
    with pytest.raises(WrongSurvivors, match="survivors must be >= 36, got 1"):
        confirming.confirm(told.survivor_list)
