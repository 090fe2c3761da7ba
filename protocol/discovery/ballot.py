"""One level of a discovery, as a round's plan says it to devices; the list of its candidates is a file beside the plan.

A device takes part in a discovery under one id, so that it can keep its choice of words from level to level.
"""

from typing import Annotated

import msgspec

from protocol.discovery.candidates import CandidateList
from protocol.discovery.parameters import MAX_CANDIDATES, MAX_LEVELS, DiscoveryParameters
from protocol.errors import WrongContent
from protocol.messages import Identifier


class Ballot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is voted on in one round.

    Attributes:
      discovery_id: the same in all levels of a discovery, and of no other.
      level: from 0.
      num_candidates: of the level's list: the length of a device's votes.
      parameters: of the discovery.

    Raises:
      ValueError: the discovery has no such level, or the level has fewer candidates.

    """

    discovery_id: Identifier
    level: Annotated[int, msgspec.Meta(ge=0, lt=MAX_LEVELS)]
    num_candidates: Annotated[int, msgspec.Meta(ge=1, le=MAX_CANDIDATES)]
    parameters: DiscoveryParameters

    def __post_init__(self) -> None:
        levels = len(self.parameters.steps)
        if self.level >= levels:
            raise ValueError(f"level must be below the discovery's {levels} levels, got {self.level}")
        most = self.parameters.candidates_by_level[self.level]
        if self.num_candidates > most:
            raise ValueError(f"num_candidates of level {self.level} must be <= {most}, got {self.num_candidates}")

    @property
    def is_last(self) -> bool:
        """Whether the discovery ends with this level."""
        return self.level == len(self.parameters.steps) - 1

    @property
    def next_step(self) -> int | None:
        """Letters that the next level adds; None after the last level."""
        return None if self.is_last else self.parameters.steps[self.level + 1]

    def check_list(self, candidates: CandidateList) -> CandidateList:
        """Device: returns `candidates` if they are a list of this level.

        The hash in the manifest says that they are the signer's, not that the signer made no mistake.

        Raises:
          WrongContent: of other letters, another step, another length of prefixes, or another number of candidates.

        """
        expected = {
            "letters": (self.parameters.letters, candidates.letters),
            "step": (self.parameters.steps[self.level], candidates.step),
            "depth": (sum(self.parameters.steps[: self.level]), candidates.depth),
            "size": (self.num_candidates, candidates.size),
        }
        for name, (said, got) in expected.items():
            if said != got:
                raise WrongContent(f"{name} of a candidate list must be the plan's, {said}, got {got}")
        return candidates
