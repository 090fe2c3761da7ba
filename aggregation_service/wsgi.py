"""What gunicorn loads: `aggregation_service.wsgi:app()`, with KEYCHORUS_SERVICE_CONFIG naming the configuration."""

from flask import Flask

from aggregation_service.app import create_app
from aggregation_service.config import load_config_of_environment
from aggregation_service.logs import log_to_stderr


def app() -> Flask:
    """Makes the app of a worker.

    Raises:
      ConfigError: the variable is not set, or its file is not a configuration.

    """
    log_to_stderr()
    return create_app(load_config_of_environment())
