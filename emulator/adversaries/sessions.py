"""Sessions whose requests pass through hands of one's own, on the way to the same connections."""

from collections.abc import Callable

import requests
from requests.adapters import BaseAdapter


def wrapped(session: requests.Session, wrap: Callable[[BaseAdapter], BaseAdapter]) -> requests.Session:
    """A session that sends through `wrap` of the adapter that `session` has."""
    made = requests.Session()
    made.trust_env = False
    for scheme in ("http://", "https://"):
        made.mount(scheme, wrap(session.get_adapter(scheme)))
    return made
