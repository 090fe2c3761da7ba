"""The Flask app: one blueprint a resource, a fresh app from each call."""

from flask import Flask

from aggregation_service import problems
from aggregation_service.config import ServiceConfig
from aggregation_service.resources import check_ins, files, health, releases, reports, rounds
from aggregation_service.service import EXTENSION, start_service
from protocol.messages import MAX_MESSAGE_BYTES


def create_app(config: ServiceConfig) -> Flask:
    """Makes an app that serves `config`'s database.

    Returns:
      The app; `app.extensions["keychorus"]` is its `Service`, which whoever made the app closes.

    Raises:
      ConfigError: no signing key, or one that others may read.
      OutdatedDatabase: the database was not migrated.

    """
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_MESSAGE_BYTES  # a report raises it for itself, once its bearer is known
    app.url_map.merge_slashes = False  # a doubled slash is an unknown address, not a redirect
    app.extensions[EXTENSION] = start_service(config)
    for resource in (check_ins, files, health, releases, reports, rounds):
        app.register_blueprint(resource.blueprint)
    problems.install(app)
    return app
