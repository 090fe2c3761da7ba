"""What gunicorn loads: `aggregation_service.wsgi:app()`, with KEYCHORUS_SERVICE_CONFIG naming the configuration."""

import atexit
from typing import cast

from flask import Flask

from aggregation_service.app import create_app
from aggregation_service.config import load_config_of_environment
from aggregation_service.logs import LogFormat, log_to_stderr
from aggregation_service.problems import TALLY
from aggregation_service.service import EXTENSION, Service
from aggregation_service.tally import Tally


def app() -> Flask:
    """Makes the app of a worker, whose thread leads the rounds if no other worker's does.

    Raises:
      ConfigError: the variable is not set, or its file is not a configuration.

    """
    config = load_config_of_environment()
    log_to_stderr(cast(LogFormat, config.log_format))  # checked when the configuration was read
    made = create_app(config)
    service = cast(Service, made.extensions[EXTENSION])
    service.thread.start()
    atexit.register(service.close)  # so that another worker may lead at once
    atexit.register(cast(Tally, made.extensions[TALLY]).write)  # before that: what is registered last runs first
    return made
