import pytest

from evaluation.bench import measured_service
from evaluation.bench.measured_service import WrongSum, measure_service, num_turns
from evaluation.bench.secure_session import Members, NoSession, Setting
from model.network import FULL
from protocol.checkpoints import difference_bytes
from protocol.plan import Plan, PrivacyParameters, SecureAggregationParameters, TrainingParameters, encode_plan
from protocol.secure_aggregation.masked_input import masked_input_bytes

SETTING = Setting(num_members=24, vector_length=3000, mode="semi_honest", dropping_out=0.1)


@pytest.mark.parametrize("value_bits", [12, 16])
def test_a_session_ends_with_the_true_sum_and_tells_its_cost(value_bits: int) -> None:
    setting = Setting(num_members=24, vector_length=3000, value_bits=value_bits, mode="semi_honest")
    turns: list[int] = []
    cost = measure_service(setting, on_turn=lambda: turns.append(1))
    assert len(turns) == num_turns(setting)
    assert cost.cpu_s == pytest.approx(sum(cost.cpu_s_by_stage.values()))
    assert {"accept_bundle", "add_masked", "unmask", "decode_sum"} <= cost.cpu_s_by_stage.keys()
    assert min(cost.cpu_s_by_stage.values()) >= 0  # a clock may be too coarse for a stage of so small a session
    assert cost.cpu_s > 0
    assert 0 <= cost.peak_bytes < 50e6  # 0 where all fits memory that the process had already
    assert masked_input_bytes(setting.parameters) < cost.bytes_up < masked_input_bytes(setting.parameters) + 5000
    assert 1000 < cost.bytes_down < 10_000


def test_a_wrong_sum_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Members.true_sum
    monkeypatch.setattr(Members, "true_sum", lambda self: honest(self) ^ 1)
    with pytest.raises(WrongSum, match="it is another one"):
        measure_service(SETTING)


def test_a_service_that_ends_is_told(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(measured_service.Members, "confirmation", lambda *_: b"nonsense")
    with pytest.raises(NoSession, match="must go on after"):
        measure_service(SETTING)
    assert "not a valid Confirmation" in capfd.readouterr().err


def test_a_rounds_download_of_the_full_model_is_small() -> None:
    """For a device that holds the base: the difference, the plan, and all that its group of 128 tells it."""
    secure = SecureAggregationParameters(value_bits=12, min_members=32, max_members=128)
    privacy = PrivacyParameters(l2_clip_norm=1, noise_multiplier=1, report_goal=100, minimum_separation_s=86_400)
    training = TrainingParameters(
        batch_size=16, sequence_length=12, local_epochs=1, learning_rate=0.5, max_words=10_000
    )
    plan = Plan(tensors=FULL.tensors, training=training, privacy=privacy, secure_aggregation=secure)
    # What a member is told is keys and shares: as long for a short vector as for a long one.
    group = measure_service(Setting(num_members=128, vector_length=1_000, value_bits=12, mode=secure.mode))
    assert difference_bytes(FULL.num_weights) + len(encode_plan(plan)) + group.bytes_down <= 1_500_000
