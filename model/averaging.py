"""The model that is released: the average of the newest checkpoints.

Server momentum and noise make single checkpoints swing from round to round; their average does not, and predicts better
than any of them. It is computed from what was released to the devices already, so it costs no privacy.

Source: Shejwalkar et al. 2022, "Recycling Scraps", arXiv 2210.01864, section 3 (uniform tail averaging).
"""

from collections.abc import Sequence

import numpy as np

from protocol.weights import Weights


def tail_average(checkpoints: Sequence[Weights], newest: int) -> Weights:
    """The mean of the newest checkpoints, weight by weight.

    Args:
      checkpoints: oldest first, all with the same names and shapes.
      newest: how many of them count, at least 1; all if there are fewer.

    Returns:
      float32 weights under the same names.

    Raises:
      ValueError: there is no checkpoint, or `newest` is below 1.

    """
    if newest < 1:
        raise ValueError(f"newest must be >= 1, got {newest}")
    if not checkpoints:
        raise ValueError("checkpoints must have at least 1 entry, got 0")
    tail = checkpoints[-newest:]
    return {name: np.mean([weights[name] for weights in tail], axis=0, dtype=np.float32) for name in tail[0]}
