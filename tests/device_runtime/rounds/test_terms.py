"""What the last round offered and the owner asked for is remembered, to be shown; nothing is decided by it."""

import msgspec
import pytest

from device_runtime.rounds.configuration import NoiseByService, PlainReports, WeakPromise
from device_runtime.rounds.outcome import Event
from device_runtime.rounds.terms import TERMS_FILE, Offer, Terms, TermsFile, Wishes
from protocol.plan import PrivacyPromise, encode_plan

PROMISE = PrivacyPromise(max_epsilon=4.0, delta=1e-6)


@pytest.fixture
def terms(tmp_path):
    return TermsFile(tmp_path / "tests")


def test_before_the_first_round_nothing_is_known(terms):
    assert terms.load() == Terms()


def test_wishes_and_offers_do_not_overwrite_each_other(terms, plan):
    wishes = Wishes(require_secure_aggregation=True, weakest_promise=PROMISE)
    terms.note_wishes(wishes)
    with terms.noting(plan):
        pass
    offer = Offer(kind="training", privacy=plan.privacy)
    assert terms.load() == Terms(wishes=wishes, offer=offer)
    terms.note_wishes(Wishes())
    assert terms.load() == Terms(wishes=Wishes(), offer=offer)


@pytest.mark.parametrize("refusal", [PlainReports, NoiseByService, WeakPromise])
def test_a_refusal_is_remembered_and_raised(terms, plan, refusal):
    with pytest.raises(refusal), terms.noting(plan):
        raise refusal("not so")
    assert terms.load().offer.refusal == "not so"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"[" * 100_000, b"[]", b'{"wishes": 3}', b'{"offer": {"kind": "x"}}']
)
def test_a_damaged_file_reads_as_an_empty_one_and_is_replaced(terms, tmp_path, content):
    terms.note_wishes(Wishes())
    (tmp_path / "tests" / TERMS_FILE).write_bytes(content)
    assert terms.load() == Terms()
    terms.note_wishes(Wishes(weakest_promise=PROMISE))
    assert terms.load().wishes.weakest_promise == PROMISE


@pytest.mark.parametrize(("asked", "refused"), [(None, False), (PROMISE, True)])
def test_a_round_leaves_its_terms_whether_it_is_accepted_or_not(
    *, new_agent, service, round_files, plan, terms, asked, refused
):
    privacy = msgspec.structs.replace(plan.privacy, promise=PrivacyPromise(max_epsilon=8.0, delta=1e-6))
    service.offer(round_files | {"plan": encode_plan(msgspec.structs.replace(plan, privacy=privacy))})
    agent = new_agent(weakest_promise=asked)
    agent.step()
    assert (agent.step().event is Event.REFUSED) == refused
    offer = terms.load().offer
    assert offer.privacy == privacy
    assert offer.refusal.startswith("this device's owner asks for ε <= 4" if refused else "")
    assert bool(offer.refusal) == refused
