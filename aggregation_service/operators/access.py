"""What an operator of a role may do: a decorator for pages and for the admin API."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from flask import abort, g, make_response, request

from aggregation_service.operators import login
from aggregation_service.operators.accounts import Operator, Role
from aggregation_service.refusals import RefusalKind, Refused

_P = ParamSpec("_P")
_R = TypeVar("_R")

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="keychorus", charset="UTF-8"'}


def require_role(role: Role | str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Lets only operators of at least `role` call a view; `operator` may all that `viewer` may.

    Guarantees:
      A request that changes something and is authenticated by what a browser sends of itself comes from our own pages:
      a session's has the CSRF token; HTTP Basic's is JSON, which no form of another site can send.

    Raises (the view):
      Refused: NOT_LOGGED_IN, instead of which a browser is led to the login; NOT_ALLOWED, WRONG_MEDIA_TYPE,
        TOO_MANY_REQUESTS.
      CSRFError: no CSRF token, or another session's; the answer is 400.

    """
    needed = Role(role)

    def decorate(view: Callable[_P, _R]) -> Callable[_P, _R]:
        @wraps(view)
        def guarded(*arguments: _P.args, **named: _P.kwargs) -> _R:
            g.operator = _authorise(needed)
            return view(*arguments, **named)

        return guarded

    return decorate


def current_operator() -> Operator:
    """Who makes the current request, in a view under `require_role`; `.name` is the actor in the audit log."""
    operator: Operator = g.operator
    return operator


def _authorise(needed: Role) -> Operator:
    operator = login.operator_of_request()
    if operator is None:
        if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
            abort(make_response(login.way_to_login()))  # a browser
        raise Refused(RefusalKind.NOT_LOGGED_IN, "log in first, by a session or by HTTP Basic", _CHALLENGE)
    if not operator.role.includes(needed):
        raise Refused(RefusalKind.NOT_ALLOWED, f"this needs the role {needed}; your role is {operator.role}")
    if request.method not in _SAFE_METHODS:
        _check_origin()
    return operator


def _check_origin() -> None:
    if not login.is_by_basic():
        login.check_csrf()
    elif request.mimetype != "application/json":
        raise Refused(RefusalKind.WRONG_MEDIA_TYPE, "a change by HTTP Basic must be application/json")
