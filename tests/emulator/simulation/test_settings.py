import math
from itertools import product

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation_service.rounds.optimizer import ServerAdam, ServerMomentum
from emulator.simulation.settings import AGGREGATORS, OPTIMIZERS, RunSettings, sweep_runs

numbers = st.lists(st.floats(0.01, 10), min_size=1, max_size=3, unique=True)
CHOICES = {
    "aggregators": ["mean"],
    "noise_multipliers": [0.0],
    "clip_norms": [1.0],
    "learning_rates": [0.5],
    "server_optimizers": ["momentum"],
    "server_learning_rates": [None],
    "rounds": 3,
    "cohort": 10,
    "seed": 1,
}
RUN = sweep_runs(**CHOICES)[0]


@given(
    st.fixed_dictionaries(
        {
            "aggregators": st.lists(st.sampled_from(AGGREGATORS), min_size=1, unique=True),
            "noise_multipliers": numbers,
            "clip_norms": numbers,
            "learning_rates": numbers,
            "server_optimizers": st.lists(st.sampled_from(sorted(OPTIMIZERS)), min_size=1, unique=True),
            "server_learning_rates": numbers,
        }
    )
)
def test_a_sweep_is_every_combination_once(choices):
    if choices["aggregators"] == ["mean"]:
        choices["noise_multipliers"] = [0.0]
    runs = sweep_runs(**CHOICES | choices)
    mechanisms = {
        (name, noise if name != "mean" else 0.0)
        for name, noise in product(choices["aggregators"], choices["noise_multipliers"])
    }
    kinds = [OPTIMIZERS[name] for name in choices["server_optimizers"]]
    expected = product(
        mechanisms, choices["clip_norms"], choices["learning_rates"], kinds, choices["server_learning_rates"]
    )
    seen = [
        (
            (run.aggregator, run.noise_multiplier),
            run.l2_clip_norm,
            run.learning_rate,
            type(run.optimizer),
            run.optimizer.learning_rate,
        )
        for run in runs
    ]
    assert set(seen) == set(expected)
    assert len(seen) == len(set(seen)) == len({run.key("ground") for run in runs})


def test_without_a_server_rate_the_optimiser_has_its_own():
    runs = sweep_runs(**CHOICES | {"server_optimizers": ["momentum", "adam"]})
    assert [run.optimizer for run in runs] == [ServerMomentum(), ServerAdam()]


def test_a_key_hangs_on_every_setting_and_on_the_ground():
    changed = {
        "aggregator": "tree", "l2_clip_norm": 2.0, "learning_rate": 0.6, "optimizer": ServerAdam(), "rounds": 4,
        "cohort": 11, "seed": 2,
    }  # fmt: skip
    others = [msgspec.structs.replace(RUN, **{name: value}) for name, value in changed.items()]
    others.append(msgspec.structs.replace(others[0], noise_multiplier=0.1))
    keys = {run.key("ground") for run in [RUN, *others]} | {RUN.key("other ground")}
    assert len(keys) == len(RunSettings.__struct_fields__) + 2
    assert RUN.key("ground") == msgspec.json.decode(msgspec.json.encode(RUN), type=RunSettings).key("ground")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"learning_rates": [0.0]}, "learning_rate must be a finite number > 0, got 0.0"),
        ({"clip_norms": [-1.0]}, "l2_clip_norm must be a finite number > 0, got -1.0"),
        ({"clip_norms": [math.inf]}, "l2_clip_norm must be a finite number > 0, got inf"),
        ({"aggregators": ["tree"], "noise_multipliers": [-0.1]}, "noise_multiplier must be a finite number >= 0"),
        ({"aggregators": ["tree"], "noise_multipliers": [math.nan]}, "noise_multiplier must be a finite number >= 0"),
        ({"noise_multipliers": [0.1]}, "noise needs the aggregator gaussian or tree, got mean alone"),
        ({"server_learning_rates": [0.0]}, "server_learning_rate must be in"),
        ({"rounds": 0}, "rounds must be >= 1, got 0"),
        ({"cohort": 0}, "cohort must be >= 1, got 0"),
    ],
)
def test_absurd_settings_are_refused(change, told):
    with pytest.raises(ValueError, match=told.replace("(", r"\(")):
        sweep_runs(**CHOICES | change)


def test_the_mean_has_no_noise():
    with pytest.raises(ValueError, match=r"the aggregator mean adds no noise, noise_multiplier must be 0, got 0.1"):
        msgspec.structs.replace(RUN, noise_multiplier=0.1)
