"""All choices of an evaluation, checked when they are made."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """Who is asked, and how much.

    Attributes:
      seed: of the split, of samples and of the bootstrap.
      held_out_share: expected share of users who are held out, in (0, 1).
      min_messages: of a user; who has fewer is left out.
      max_messages: of a user, the earliest; None for all.
      max_users: of a population; None for all.
      max_words: of a population, in whole users; None for all.
      suggester_words: of a population that suggesters are asked for, in whole users: key by key, they take longer.
      keystrokes: of each predictor, timed one at a time.
      draws: of the bootstrap.

    """

    seed: int = 1
    held_out_share: float = 0.2
    min_messages: int = 20
    max_messages: int | None = 200
    max_users: int | None = None
    max_words: int | None = None
    suggester_words: int = 20_000
    keystrokes: int = 500
    draws: int = 1000

    def __post_init__(self) -> None:
        if not 0 < self.held_out_share < 1:
            raise ValueError(f"held_out_share must be in (0, 1), got {self.held_out_share}")
        if self.min_messages < 2:
            raise ValueError(f"min_messages must be >= 2, got {self.min_messages}")
        if self.max_messages is not None and self.max_messages < self.min_messages:
            raise ValueError(f"max_messages must be >= min_messages {self.min_messages}, got {self.max_messages}")
        for name in ("max_users", "max_words", "suggester_words", "keystrokes", "draws"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be >= 1, got {value}")
