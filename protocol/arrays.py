"""The arrays that weights and updates are made of."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
