"""What runs in the simulation role's environment only: `tests/test_roles.py` builds it and runs these tests in it."""

from importlib.util import find_spec
from pathlib import Path

import pytest

NEED_TFF = {"test_learning.py", "test_optimizers.py", "test_runtime.py", "test_second_opinion.py"}


def pytest_collection_modifyitems(items):
    absent = pytest.mark.skip(reason="needs TensorFlow Federated: tests/test_roles.py runs it in its environment")
    for item in items:
        if item.path.parent == Path(__file__).parent and item.path.name in NEED_TFF:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning"))  # TFF's own, at import
            if find_spec("tensorflow_federated") is None:
                item.add_marker(absent)
