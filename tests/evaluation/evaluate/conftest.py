import random

import pytest

from evaluation.corpus import Message
from evaluation.evaluate.bootstrap import Interval
from evaluation.evaluate.outcome import (
    Calibration,
    Comparison,
    Evaluation,
    Latency,
    Measured,
    PopulationFound,
    RoundFound,
    Slice,
    Spread,
)

WORDS = ["the", "a", "to", "and", "of", "in", "it", "is", "you", "that", "he", "was", "for", "on", "are", "with"]
WORDS += ["as", "his", "they", "be", "at", "one", "have", "this", "from"]


def chatter(people: int, messages: int, seed: int) -> list[Message]:
    """Made-up messages of frequent and less frequent words; every other user is of one group."""
    generator = random.Random(seed)
    weights = [1 / (2 + place) for place in range(len(WORDS))]
    return [
        Message(
            f"user {user}",
            float(minute),
            " ".join(generator.choices(WORDS, weights, k=generator.randint(1, 8))) + generator.choice(["", " !", "?"]),
            f"group {user % 2}",
        )
        for user in range(people)
        for minute in range(messages)
    ]


@pytest.fixture(scope="session")
def messages() -> list[Message]:
    return chatter(people=30, messages=24, seed=4)


def around(value: float) -> Interval:
    return Interval(value, value * 0.9, value * 1.1)


def measured(predictor: str, top1: float, *, scores: bool) -> Measured:
    """Made-up findings."""
    shares = {"top1": around(top1), "top3": around(1.8 * top1), "keystroke_savings": around(0.4)}
    measures = {**shares, "mrr3": around(top1)}
    if scores:
        measures |= {"mrr": around(1.2 * top1), "perplexity": around(174.0)}
    spread = Spread(p10=top1 / 2, p50=top1, p90=top1 * 1.5)
    part = Slice(name="4 to 8 words", users=9, words=700, measures=shares)
    return Measured(
        predictor=predictor,
        kind="made up",
        sample=not scores,
        users=12,
        words=1_000,
        measures=measures,
        spreads=dict.fromkeys(measures, spread),
        top1_by_percentile=tuple(top1 * place / 20 for place in range(21)),
        by_message_length=(part,),
        by_group=(Slice(name="<nurses>", users=9, words=700, measures=shares),),
        savings_by_letters=tuple(Slice(name=str(n), users=9, words=70, measures=shares) for n in range(1, 4)),
        calibration=(Calibration(words=100, confidence=0.05, hits=0.06),) if scores else None,
        calibration_error=0.01 if scores else None,
    )


@pytest.fixture
def an_evaluation() -> Evaluation:
    """Made-up findings on one population."""
    comparison = Comparison(
        predictor="keyboard",
        reference="<unigram>",
        users=12,
        words=1_000,
        measures={"top1": around(0.13)},
        reference_measures={"top1": around(0.04)},
        differences={"top1": Interval(0.09, 0.08, 0.1)},
        ratios={"top1": Interval(3.25, 3.0, 3.5)},
        worse_for={"top1": 0.0625},
        better_for={"top1": 0.9375},
    )
    population = PopulationFound(
        name="held_out",
        title="People who never trained",
        users=16,
        words=1_300,
        unknown=around(0.04),
        predictors=(measured("<unigram>", 0.04, scores=True), measured("keyboard", 0.13, scores=False)),
        comparisons=(comparison,),
    )
    return Evaluation(
        seed=3,
        corpora=("mine.jsonl",),
        training_corpora=("more.txt",),
        training_messages=4_321,
        vocabulary_size=10_000,
        reference="<unigram>",
        settings={"min_messages": 20, "max_messages": 200, "held_out_share": 0.2},
        populations=(population,),
        latency={"keyboard": Latency(keystrokes=500, median_ms=1.5, p99_ms=9.25)},
        rounds=(RoundFound(number=1, top1=around(0.1), top3=around(0.2)),),
        software={"keychorus": "0.1.0"},
    )
