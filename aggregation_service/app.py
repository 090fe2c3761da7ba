"""The Flask app: one blueprint a resource, a fresh app from each call."""

from flask import Flask

from aggregation_service import limits, problems
from aggregation_service.config import ServiceConfig
from aggregation_service.dashboard import actions, pages, review
from aggregation_service.observing import observe
from aggregation_service.operators import login
from aggregation_service.resources import (
    admin,
    check_ins,
    devices,
    files,
    health,
    metrics,
    openapi,
    releases,
    reports,
    rounds,
    secure_aggregation,
)
from aggregation_service.service import EXTENSION, refuse_without_tables, start_service
from protocol.messages import MAX_MESSAGE_BYTES


def create_app(config: ServiceConfig) -> Flask:
    """Makes an app that serves `config`'s database.

    Returns:
      The app; `app.extensions["keychorus"]` is its `Service`, which whoever made the app closes.

    Raises:
      ConfigError: no signing key or session key, or one that others may read.
      OutdatedDatabase: the database was not migrated.

    """
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_MESSAGE_BYTES  # a report raises it for itself, once its bearer is known
    app.url_map.merge_slashes = False  # a doubled slash is an unknown address, not a redirect
    observe(app, config.trusted_proxies)
    limits.install(app, config)
    login.install(app, config)
    app.extensions[EXTENSION] = start_service(config)
    app.before_request(refuse_without_tables)
    for resource in (
        admin,
        check_ins,
        devices,
        files,
        health,
        metrics,
        openapi,
        releases,
        reports,
        rounds,
        secure_aggregation,
    ):
        app.register_blueprint(resource.blueprint)
    for part in (pages, actions, review):
        app.register_blueprint(part.blueprint)
    problems.install(app)
    return app
