import pytest
from made_up_costs import make_run

from evaluation.planning.checking import MEMORY, QUANTITIES, check_model, predict
from evaluation.planning.costs import NoCosts, unit_costs


def test_a_service_that_is_as_the_model_says_is_predicted_exactly() -> None:
    checks = check_model([make_run(32), make_run(128), make_run(512)])
    assert len(checks) == 3 * (len(QUANTITIES) + 1)
    assert max(abs(check.error) for check in checks) < 1e-9


def test_no_size_is_predicted_from_itself() -> None:
    for check in check_model([make_run(32), make_run(128), make_run(512)]):
        assert check.cohort not in check.fitted_on
        assert len(check.fitted_on) == 2


def test_a_size_that_is_dearer_than_the_others_is_found_out() -> None:
    checks = check_model([make_run(32), make_run(128), make_run(512, factor=2.0)])
    at_512 = {check.quantity: check.error for check in checks if check.cohort == 512}
    assert at_512["CPU of the service"] == pytest.approx(-0.5, abs=0.05)
    assert at_512[MEMORY] == pytest.approx(-0.5)
    at_32 = {check.quantity: check.error for check in checks if check.cohort == 32}
    assert at_32["CPU of the service"] > 0.5


def test_a_prediction_looks_at_numbers_of_requests_only() -> None:
    units = unit_costs([make_run(32)])
    assert predict(units, make_run(64)) == predict(units, make_run(64, factor=3.0))


def test_one_run_cannot_check_itself() -> None:
    with pytest.raises(NoCosts, match="takes at least 2, got 1"):
        check_model([make_run(32)])
