"""Rounds of secure aggregation offered to the real agent over HTTP."""

import hashlib

import msgspec
import pytest
from secure_group import Group

from device_runtime.network.identity import load_identity_key
from protocol.plan import SecureAggregationParameters, encode_plan
from protocol.secure_aggregation.signing import Task


@pytest.fixture(scope="module")
def secure_plan(plan):
    secure = SecureAggregationParameters(
        value_bits=16, min_members=5, max_members=8, adversary_fraction=0.05, dropout_fraction=0.25, mode="malicious"
    )
    return msgspec.structs.replace(plan, secure_aggregation=secure)


@pytest.fixture
def secure_files(round_files, secure_plan):
    return round_files | {"plan": encode_plan(secure_plan)}


@pytest.fixture
def begin(service, secure_files, secure_plan, tmp_path):
    """Offers a round and waits for the device with a group of its own."""

    def begin(plan=secure_plan, **options):
        files = secure_files | {"plan": encode_plan(plan)}
        selected = service.offer(files)
        plan_sha256 = hashlib.sha256(files["plan"]).digest()
        task = Task(population="tests", round_id=selected.round_id, plan_sha256=plan_sha256)
        service.group = Group(plan, task, load_identity_key(tmp_path / "tests"), **options)
        return service.group

    return begin


@pytest.fixture
def group(begin):
    return begin()


@pytest.fixture
def agent(new_agent, group):
    return new_agent()
