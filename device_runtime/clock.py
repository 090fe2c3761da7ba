"""What time it is: injected everywhere, so that the emulator and the tests live in a time of their own.

Apart from `device_runtime.environment`, which loads the HTTP library: what only suggests does without its 10 MB.
"""

from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds since 1970. It may jump in either direction: nothing may rely on it growing."""
