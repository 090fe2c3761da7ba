"""The text of a folder's experiments: who trains, who is held out, and the vocabulary that all share."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from evaluation.corpus import Message, clean, load_corpus, load_jsonl
from evaluation.experiments.settings import TextSettings
from evaluation.split import split_by_time, split_senders
from tokenizer.training import count_words, train_vocabulary
from tokenizer.vocabulary import Vocabulary

_NO_CAP = 2**62


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Messages by role; never part of a `repr`.

    Attributes:
      public: nobody's secret.
      training: the earlier messages of each person who trains.
      later: the last messages of the same people: what settings are chosen by.
      held_out: all messages of people who never train: what is reported in the end.

    """

    public: list[str] = field(repr=False)
    training: dict[str, list[str]] = field(repr=False)
    later: dict[str, list[str]] = field(repr=False)
    held_out: dict[str, list[str]] = field(repr=False)

    def pooled(self, which: str) -> list[str]:
        """The messages of `Central.text`, those of one person side by side."""
        own = [text for texts in self.training.values() for text in texts]
        return {"public": self.public, "population": own, "pooled": self.public + own}[which]

    def public_devices(self) -> dict[str, list[str]]:
        """Public text in the order of its files, dealt out to made-up devices: as much each as a person has."""
        size = max(1, sum(map(len, self.training.values())) // len(self.training))
        return {f"public {begin:08}": self.public[begin : begin + size] for begin in range(0, len(self.public), size)}


def read_texts(settings: TextSettings) -> Texts:
    """Reads and splits the corpora.

    Raises:
      CorpusError: one cannot be read.
      ValueError: nobody wrote enough to train, or nobody is held out.

    """
    people = _people(settings)
    senders = split_senders(people, seed=settings.seed, donor_share=0.0, held_out_share=settings.held_out_share)
    if not (senders.devices and senders.held_out):
        raise ValueError(
            f"people with at least {settings.min_messages} messages must be enough to train and to be held out, "
            f"got {len(people)}"
        )
    halves = {user: split_by_time(people[user], settings.test_share) for user in senders.devices}
    return Texts(
        public=[message.text for name in settings.public for message in load_jsonl(Path(name))],
        training={user: _texts(earlier) for user, (earlier, _) in halves.items()},
        later={user: _texts(later) for user, (_, later) in halves.items()},
        held_out={user: _texts(people[user]) for user in senders.held_out},
    )


def make_vocabulary(texts: Texts, size: int) -> Vocabulary:
    """The words of all text that anything trains on, most frequent first.

    How a keyboard gets its words without anybody's text is another question; all that is compared here has the same.
    """
    counts = count_words(texts.pooled("pooled"))
    return Vocabulary(train_vocabulary({word: float(count) for word, count in counts.items()}, size))


def _people(settings: TextSettings) -> dict[str, list[Message]]:
    """The same people and messages as `keychorus evaluate` has with the same options."""
    most = settings.max_messages or _NO_CAP
    return clean(load_corpus(settings.population), max_per_user=most, min_per_user=settings.min_messages).messages


def _texts(messages: Iterable[Message]) -> list[str]:
    return [message.text for message in messages]
