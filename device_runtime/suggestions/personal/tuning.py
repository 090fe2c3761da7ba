"""How much a person's own words may say: what foresaw their own later messages best."""

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, NamedTuple

import msgspec
import numpy as np

from device_runtime.suggestions.next_word import FLOOR, DoubleArray, NextWordModel, Outlook, never, polled
from device_runtime.suggestions.personal.blend import tuned_probabilities
from device_runtime.suggestions.personal.cache import PersonalCache, in_context
from device_runtime.suggestions.personal.output_layer import NUM_WORDS, OutputLayer
from tokenizer.text import Token
from tokenizer.vocabulary import UNKNOWN_ID

WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.3)
"""What the weight of the cache is chosen from."""

MIN_WORDS = 100
"""Fewer words than this say nothing: personalisation stays off."""

_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Tuning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What tuning found.

    Attributes:
      weight: of the cache; 0 where it does not help.
      fine_tuned: whether the output layer's fine-tuned weights are kept.
      num_words: that it was tried on.
      gain: of the log-likelihood over the shared model's, in nats a word; 0 if neither helps.

    """

    weight: _Share = 0.0
    fine_tuned: bool = False
    num_words: int = 0
    gain: float = 0.0

    @property
    def helps(self) -> bool:
        """Whether there is anything to suggest with besides the shared model."""
        return self.weight > 0 or self.fine_tuned


class _Foreseen(NamedTuple):
    """A word that was typed, and what was foreseen before it."""

    token: Token
    word_id: int
    outlook: Outlook
    tuned: DoubleArray


class Shares(NamedTuple):
    """The probability of each word that was typed, float64 [words] each.

    Attributes:
      shared: by the shared model.
      tuned: by the same with the output layer as it was then.
      cached: by the cache as it was then.

    """

    shared: DoubleArray
    tuned: DoubleArray
    cached: DoubleArray


def tune(
    model: NextWordModel,
    messages: Sequence[Sequence[Token]],
    cache: PersonalCache,
    *,
    max_words: int = 3_000,
    unlearnt: frozenset[str] = frozenset(),
    should_stop: Callable[[], bool] = never,
) -> tuple[Tuning, OutputLayer | None]:
    """Lets an empty cache and an untrained layer live through the messages again, each foreseen before it is learnt.

    Args:
      model: the shared one.
      messages: the person's, oldest first.
      cache: empty; has learnt all messages afterwards.
      max_words: of the newest messages, that are foreseen and that the layer learns. The cache learns the older ones,
        too.
      unlearnt: words that the cache does not learn, see `PersonalCache.learn`.
      should_stop: polled before every message.

    Returns:
      What was found, and the trained layer if it is kept.

    Guarantees:
      Whatever is kept gained more than one standard error on words that it had not yet learnt: the cache over the
      shared model, and the layer over the cache alone. What happened to help by chance does not count as help.

    Raises:
      InvalidModel: the model failed.
      Interrupted: `should_stop` said so.

    """
    layer = new_layer(model)
    first = _first_within(messages, max_words)
    rows: list[tuple[float, float, float]] = []
    for position, tokens in enumerate(polled(messages, should_stop)):
        if position >= first:
            rows += _live_through(model, layer, cache, tokens)
        cache.learn(tokens, unlearnt=unlearnt)
    tuning = choose(Shares(*np.array(rows, dtype=np.float64).reshape(-1, 3).T))
    return tuning, layer if tuning.fine_tuned else None


def new_layer(model: NextWordModel) -> OutputLayer:
    """One that has learnt nothing yet."""
    projected = model.projected(model.start.state)
    return OutputLayer(0 if projected is None else len(projected), min(NUM_WORDS, len(model.vocabulary)))


def _first_within(messages: Sequence[Sequence[Token]], max_words: int) -> int:
    """The first of the newest messages that together have at most `max_words` words."""
    left = max_words
    for position in reversed(range(len(messages))):
        left -= sum(token.is_word for token in messages[position])
        if left < 0:
            return position + 1
    return 0


def _live_through(
    model: NextWordModel, layer: OutputLayer, cache: PersonalCache, tokens: Sequence[Token]
) -> Iterator[tuple[float, float, float]]:
    """The probability of each word of a message by model, layer and cache; then the layer learns the message."""
    own = set(cache.own_words())
    contexts = (context for context, token in in_context(tokens) if token.is_word)
    words = _foresee(model, layer, tokens)
    for (token, word_id, outlook, tuned), context in zip(words, contexts, strict=True):
        cached = cache.share(token.text, context) if word_id != UNKNOWN_ID or token.text in own else 0.0
        yield float(model.probabilities(outlook.logits)[word_id]), float(tuned[word_id]), cached
    _learn(model, layer, words)


def teach(model: NextWordModel, layer: OutputLayer, tokens: Sequence[Token]) -> None:
    """Lets a layer learn one more message, as `tune` lets it.

    Raises:
      InvalidModel: the model failed.

    """
    _learn(model, layer, _foresee(model, layer, tokens))


def _foresee(model: NextWordModel, layer: OutputLayer, tokens: Sequence[Token]) -> list[_Foreseen]:
    """The words of a message, each with what model and layer foresaw."""
    return [
        _Foreseen(token, model.vocabulary.id_of(token.text), outlook, tuned_probabilities(model, layer, outlook))
        for token, outlook in model.replay(tokens)
    ]


def _learn(model: NextWordModel, layer: OutputLayer, words: Sequence[_Foreseen]) -> None:
    """One step for each word that the vocabulary has."""
    for _, word_id, outlook, tuned in words:
        projected = model.projected(outlook.state)
        if word_id != UNKNOWN_ID and projected is not None:
            layer.learn(tuned, projected, word_id)


def choose(shares: Shares) -> Tuning:
    """Picks what foresaw best, and keeps it if it is surely better than less."""
    num_words = len(shares.shared)
    if num_words < MIN_WORDS:
        return Tuning(num_words=num_words)
    alone = _logarithms(shares.shared)
    weight, cached = _best_weight(shares.shared, shares.cached)
    layer_weight, layered = _best_weight(shares.tuned, shares.cached)
    fine_tuned = _is_surely_better(layered, cached)
    chosen = layered if fine_tuned else cached
    if not _is_surely_better(chosen, alone):
        return Tuning(num_words=num_words)
    return Tuning(
        weight=layer_weight if fine_tuned else weight,
        fine_tuned=fine_tuned,
        num_words=num_words,
        gain=float((chosen - alone).mean()),
    )


def _best_weight(model: DoubleArray, cached: DoubleArray) -> tuple[float, DoubleArray]:
    """The weight under which all words together were likeliest, and their logarithms under it."""
    tried = [(weight, _logarithms((1 - weight) * model + weight * cached)) for weight in WEIGHTS]
    return max(tried, key=lambda each: float(each[1].sum()))


def _logarithms(shares: DoubleArray) -> DoubleArray:
    logarithms: DoubleArray = np.log(np.maximum(shares, FLOOR))
    return logarithms


def _is_surely_better(ours: DoubleArray, theirs: DoubleArray) -> bool:
    """By more than one standard error of the mean difference."""
    gains = ours - theirs
    return bool(gains.mean() > gains.std() / np.sqrt(len(gains)))
