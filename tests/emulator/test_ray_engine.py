"""A scenario on a Ray cluster of two nodes, against the same on this machine.

`tests/test_roles.py` builds the cluster role's environment and runs this file in it.
"""

from importlib.util import find_spec

import pytest

from emulator.engine import NoCluster
from emulator.rehearsing.run import Options, run_scenario
from emulator.scenarios.reading import load_scenario

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: tests/test_roles.py runs it in its environment"),
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::ResourceWarning", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # Ray's own sockets
]

SCENARIO = """
about = "A few devices for a few hours, some of which vanish or are killed."
days = 0.16
devices = 8
[model]
pretraining_epochs = 1
[[populations]]
corpus = "made-up:en"
[task]
report_goal = 4
minimum_reports = 3
minimum_separation_h = 1
selection_timeout_h = 0.5
noise_multiplier = 0.05
[traces]
nights_charged = 1.0
[typists]
vanish_rate = 0.2
[hardware]
kills_per_step = 0.05
[[adversaries]]
kind = "boosted"
share = 0.1
[[events]]
at_h = 0
do = "release"
"""


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    yield made
    made.shutdown()


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")


def test_a_cluster_gives_the_report_that_one_machine_gives(tmp_path, cluster):
    from emulator.ray_engine import RayEngine

    (tmp_path / "short.toml").write_text(SCENARIO)
    scenario = load_scenario(tmp_path / "short.toml")
    engines = []

    def open_engine(num_workers, lanes):
        engines.append(RayEngine(num_workers, lanes, address=cluster.address))
        return engines[-1]

    spread = run_scenario(
        scenario, Options(name="short", folder=tmp_path / "spread", num_workers=1, open_engine=open_engine)
    )
    alone = run_scenario(scenario, Options(name="short", folder=tmp_path / "alone", num_workers=2))
    assert spread.json_path.read_bytes() == alone.json_path.read_bytes()
    assert spread.html_path.read_bytes() == alone.html_path.read_bytes()
    assert spread.report.events["trained"] > 0
    (engine,) = engines
    assert len(engine.steps_by_node) == 2
    assert sum(engine.steps_by_node.values()) >= spread.report.events["trained"]


def test_where_no_cluster_is_one_sentence_says_so(tmp_path):
    from emulator.ray_engine import RayEngine

    with (
        pytest.raises(NoCluster, match=r"a Ray cluster must be at 127\.0\.0\.1:9"),
        RayEngine(1, address="127.0.0.1:9"),
    ):
        pass
