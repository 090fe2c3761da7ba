"""The review of new words: a page for everybody with a login, and a form on it for operators.

The words came out of sums with noise on them, so whoever may see rounds may see these. The audit log gets their ids.
"""

from typing import cast, get_args

from flask import Blueprint, abort, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue

from aggregation_service.dashboard.frame import frame, read_numbers, show
from aggregation_service.dashboard.views.words import read_words
from aggregation_service.operations.discoveries import decide_words
from aggregation_service.operations.shared import OperationError
from aggregation_service.operators.access import current_operator, require_role
from aggregation_service.service import clock_of, current_service
from aggregation_service.storage.discoveries import WordStatus
from aggregation_service.storage.models import has_population

blueprint = Blueprint("review", __name__, url_prefix="/dashboard")
frame(blueprint)

_WORDS = "/populations/<name>/words"


@blueprint.get(_WORDS)
@require_role("viewer")
def words_page(name: str) -> str:
    """The words of a population that wait, and those that were decided about."""
    service = current_service()
    with service.database.read() as connection:
        if not has_population(connection, name):
            abort(404)
        words = read_words(connection, name)
    return show("words.html", section="populations", name=name, words=words, now=clock_of(service.config).now())


@blueprint.post(_WORDS)
@require_role("operator")
def decide(name: str) -> ResponseReturnValue:
    """Approves or rejects the words that were ticked."""
    status, ids = request.form.get("status", ""), read_numbers(request.form, "word")
    if status not in get_args(WordStatus) or ids is None:
        abort(400)
    try:
        config, actor = current_service().config, current_operator().name
        count = decide_words(config, name, ids, cast(WordStatus, status), actor=actor)
        flash(f"{count} {'word is' if count == 1 else 'words are'} {status}.", "done")
    except OperationError as error:
        flash(f"{str(error)[0].upper()}{str(error)[1:]}.", "error")
    return redirect(url_for("review.words_page", name=name), code=303)
