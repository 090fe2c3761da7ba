"""Logging in and out, by a page with a session cookie or by HTTP Basic, and what pages answer with."""

import hmac
from datetime import timedelta
from typing import cast
from urllib.parse import quote, urlsplit

from flask import Blueprint, Flask, Request, Response, g, redirect, render_template, request, session
from flask.typing import ResponseReturnValue
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user  # type: ignore[import-untyped]
from flask_wtf.csrf import CSRFError, CSRFProtect  # type: ignore[import-untyped]

from aggregation_service import audit, limits
from aggregation_service.config import ServiceConfig, load_session_key
from aggregation_service.operators.accounts import Operator, check_password, find_operator
from aggregation_service.operators.sessions import end_session, has_ended, new_session_id
from aggregation_service.problems import refuse
from aggregation_service.refusals import RefusalKind, Refused
from aggregation_service.resources.bodies import refuse_chunks
from aggregation_service.service import clock_of, current_service

LOGIN_PATH = "/login"
LOGOUT_PATH = "/logout"
HOME_PATH = "/dashboard/"
"""Where a login leads that was not on its way to another page."""

_CSRF = CSRFProtect()
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # the protection of forms over https reads it
    "Cache-Control": "no-store",
}
_WRONG = "Name or password is wrong, or the account is disabled."
_TOO_MANY = "Too many failed logins: wait a minute, and try again."
_NO_COOKIE = (
    "The form was out of date, or the browser did not keep the session's cookie: "
    "it does so over https, and over http at 127.0.0.1 or localhost only."
)

blueprint = Blueprint("operators", __name__, template_folder="templates")
blueprint.before_request(refuse_chunks)


class _User(UserMixin):  # type: ignore[misc]  # flask-login has no types
    """An operator, as flask-login keeps one; its id binds the session to the password and to the time of the login.

    `session_id` is None where every request logs in anew, by HTTP Basic.
    """

    def __init__(self, operator: Operator, logged_in_at: float, session_id: str | None = None) -> None:
        self.operator = operator
        self.logged_in_at = logged_in_at
        self.session_id = session_id

    def get_id(self) -> str:
        return f"{self.operator.name} {self.operator.fingerprint} {self.logged_in_at} {self.session_id}"


def install(app: Flask, config: ServiceConfig) -> None:
    """Gives `app` the login pages, and sessions signed by the key that only this service has.

    Raises:
      ConfigError: no session key, or one that others may read.

    """
    prefix = "__Host-" if config.cookie_secure else ""  # a browser then takes the cookie from this very host only
    app.config.update(
        SECRET_KEY=load_session_key(config.session_key_path),
        SESSION_COOKIE_NAME=f"{prefix}keychorus",
        SESSION_COOKIE_SECURE=config.cookie_secure,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        SESSION_COOKIE_PATH="/",
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=timedelta(hours=config.session_lifetime_h),
        WTF_CSRF_CHECK_DEFAULT=False,  # `access` checks where a session is used; devices have none
        WTF_CSRF_TIME_LIMIT=None,  # a token lives as long as its session
    )
    manager = LoginManager()
    manager.session_protection = None  # an operator's address may change; the cookie is bound to the password instead
    manager.user_loader(_load_from_session)
    manager.request_loader(_load_from_basic)
    # Not manager.init_app: for its "remember me", which is not offered, it would read devices' sessions too.
    setattr(app, "login_manager", manager)  # noqa: B010
    _CSRF.init_app(app)
    app.register_blueprint(blueprint)


def way_to_login() -> ResponseReturnValue:
    """Leads a browser to the login, and back to its page afterwards."""
    path = quote(request.full_path.removesuffix("?")) if request.method == "GET" else quote(HOME_PATH)
    return redirect(f"{LOGIN_PATH}?next={path}", code=303)


def operator_of_request() -> Operator | None:
    """Who makes the current request, by session or by HTTP Basic; None if nobody is logged in.

    Raises:
      Refused: TOO_MANY_REQUESTS: too many failed logins.

    """
    return cast(Operator, current_user.operator) if current_user.is_authenticated else None


def is_by_basic() -> bool:
    """Whether the current request was authenticated by HTTP Basic, and not by a session; ask who makes it first."""
    return bool(g.get("by_basic", False))


def check_csrf() -> None:
    """Checks that the current request comes from one of our own pages: its form or header has the session's token.

    Raises:
      CSRFError: it has not; the answer is 400.

    """
    _CSRF.protect()


@blueprint.get(LOGIN_PATH, endpoint="login")
def show_login() -> ResponseReturnValue:
    """Shows the form."""
    return render_template("operators/login.html", next_path=local_path(request.args.get("next")), said=None)


@blueprint.post(LOGIN_PATH)
def log_in() -> ResponseReturnValue:
    """Begins a session, and leads to where the operator was going."""
    check_csrf()
    name = request.form.get("name", "")
    next_path = local_path(request.form.get("next"))
    operator = _check(name, request.form.get("password", ""))
    if operator is None:
        return _form_again(_WRONG), 401
    session.clear()  # what a page of before the login knew of the session is worth nothing after it
    session.permanent = True
    login_user(_User(operator, _now(), new_session_id()))
    _record("login.succeeded", operator.name, operator.name)
    return redirect(next_path, code=303)


@blueprint.post(LOGOUT_PATH, endpoint="logout")
def log_out() -> ResponseReturnValue:
    """Ends the session, in every browser that has its cookie."""
    check_csrf()
    session_id: str | None = getattr(current_user, "session_id", None)  # who is not logged in has none
    if session_id is not None:
        service = current_service()
        with service.database.write() as connection:
            end_session(connection, session_id, current_user.logged_in_at + service.config.session_lifetime_h * 3600)
    logout_user()
    session.clear()
    return redirect(LOGIN_PATH, code=303)


def local_path(path: str | None) -> str:
    r"""The path to go to after a login: `path` if it stays with this service, else `HOME_PATH`.

    Example:
      >>> local_path("/dashboard/populations/en-gb?page=2")
      '/dashboard/populations/en-gb?page=2'
      >>> {local_path(path) for path in (None, "", "https://a.example", "//a.example", "/\\a.example", "/\t/a.example")}
      {'/dashboard/'}

    """
    if path is None or not path.startswith("/") or path.startswith("//"):
        return HOME_PATH
    if "\\" in path or not path.isprintable():  # browsers read a backslash as a slash, and skip tabs and line ends
        return HOME_PATH
    parts = urlsplit(path)
    return HOME_PATH if parts.scheme or parts.netloc else path


def _load_from_session(user_id: str) -> _User | None:
    """A session ends with a logout, with its time, with another password, and when its account is disabled."""
    parts = user_id.split(" ")
    if len(parts) != 4:  # of a version that could not end it
        return None
    name, fingerprint, logged_in_at, session_id = parts
    service = current_service()
    with service.database.read() as connection:
        operator = None if has_ended(connection, session_id) else find_operator(connection, name)
    if operator is None or operator.disabled or not hmac.compare_digest(operator.fingerprint, fingerprint):
        return None
    user = _User(operator, float(logged_in_at), session_id)
    return user if _now() - user.logged_in_at < service.config.session_lifetime_h * 3600 else None


def _load_from_basic(asked: Request) -> _User | None:
    credentials = asked.authorization
    if credentials is None or credentials.type != "basic":
        return None
    operator = _check(credentials.username or "", credentials.password or "")
    if operator is None:
        return None
    g.by_basic = True
    return _User(operator, _now())


def _check(name: str, password: str) -> Operator | None:
    """Checks a login, within its limits; the audit log has the failed ones."""
    limits.limit_login(name)
    database = current_service().database
    operator = check_password(database, name, password)
    if operator is None:
        limits.count_failed_login(name)
        with database.read() as connection:
            known = find_operator(connection, name) is not None
        # A name that is not known may be a password that was typed into the wrong field.
        _record("login.failed", "anonymous", name if known else "unknown name")
    return operator


def _record(action: str, actor: str, subject: str) -> None:
    details = {"address": request.remote_addr}
    with current_service().database.write() as connection:
        audit.record(connection, actor=actor, action=action, subject=subject, details=details, now=_now())


def _now() -> float:
    return clock_of(current_service().config).now()


@blueprint.errorhandler(CSRFError)
def _refuse_form(_error: CSRFError) -> ResponseReturnValue:
    """Most likely the cookie was not kept, for it is not sent over plain http; a forged form may see this as well."""
    return _form_again(_NO_COOKIE), 400


@blueprint.errorhandler(Refused)
def _refuse_login(error: Refused) -> ResponseReturnValue:
    problem = refuse(error)
    if error.kind is not RefusalKind.TOO_MANY_REQUESTS:  # no browser sends such a form
        return problem
    return _form_again(_TOO_MANY), problem.status_code, error.headers


def _form_again(said: str) -> str:
    return render_template("operators/login.html", next_path=local_path(request.form.get("next")), said=said)


@blueprint.after_request
def _add_headers(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response
