"""The privacy statement as a page of its own: one file without a script or an address, to print, send or publish."""

from functools import cache

from flask import Flask

from aggregation_service.dashboard import figures
from aggregation_service.privacy.statement import PrivacyStatement
from aggregation_service.privacy.wording import tell_mechanism


def statement_page(statement: PrivacyStatement, *, population: str, release_id: int | None = None) -> str:
    """Writes a statement as HTML.

    Args:
      statement: which.
      population: that it is of.
      release_id: of the release that it went out with; None for one that is of no release.

    """
    title = population if release_id is None else f"release {release_id} of {population}"
    shown = {"statement": statement, "population": population, "title": title, "tell_mechanism": tell_mechanism}
    return _pages().jinja_env.get_template("dashboard/statement.html").render(shown)


@cache
def _pages() -> Flask:
    """An app that answers nothing: its templates are found, and escape, as those of the dashboard do."""
    app = Flask("aggregation_service.dashboard")
    for write in figures.FILTERS:
        app.add_template_filter(write)
    return app
