"""A device's vote in one level of a discovery of new words: chosen once, kept sealed, cast level by level."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from device_runtime.rounds.chosen_words import ChosenWords
from device_runtime.rounds.configuration import DiscoveryConfiguration
from device_runtime.rounds.outcome import Event
from device_runtime.rounds.unknown_words import choose_words, count_unknown
from device_runtime.rounds.work import Work
from device_runtime.suggestions.blocked import BlockList
from protocol.discovery.ballot import Ballot
from protocol.discovery.votes import vote_vector

_SEED_BYTES = 64


@dataclass(frozen=True, kw_only=True)
class Voter:
    """Votes for what the device chose.

    Attributes:
      chosen: where the choice is kept.
      blocked: words that are never voted for.

    """

    chosen: ChosenWords
    blocked: BlockList

    def vote(self, configuration: DiscoveryConfiguration, messages: Iterable[str]) -> Work:
        """Votes in one level. A device that has no unknown word votes for nothing, as one whose words fell out does.

        Args:
          configuration: of the round.
          messages: texts of the log, each one message; read only where nothing was chosen yet.

        Guarantees:
          What was chosen in a discovery's first level is voted for in the later ones, whatever is typed meanwhile; and
          a process that is killed before its vote is in the spool makes the same one again.

        Raises:
          OSError: the choice cannot be written.

        """
        _, ballot, candidates, vocabulary = configuration
        words = self.chosen.recall(ballot.discovery_id)
        if words is None:
            counts = count_unknown(messages, vocabulary, blocked=self.blocked)
            words = choose_words(counts, ballot.parameters, secrets.token_bytes(_SEED_BYTES))
            self.chosen.keep(ballot.discovery_id, words)
        allowed = [word for word in words if word not in self.blocked]
        votes = vote_vector(allowed, candidates, max_words=ballot.parameters.max_words)
        numbers = {"level": ballot.level + 1, "levels": len(ballot.parameters.steps), "votes": float(votes.sum())}
        return Work(Event.VOTED, votes, numbers)

    def finish(self, ballot: Ballot) -> None:
        """Forgets the choice once the last level's votes are in the spool."""
        if ballot.is_last:
            self.chosen.forget()
