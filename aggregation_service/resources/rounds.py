"""GET what operators see of a population's rounds."""

from flask import Blueprint, Response

from aggregation_service.operators.access import require_role
from aggregation_service.resources.bodies import message_response
from aggregation_service.service import current_service, require_population
from aggregation_service.summaries import summarise
from protocol import routes

blueprint = Blueprint("rounds", __name__)


@blueprint.get(routes.rounds("<population>"))
@require_role("viewer")
def rounds(population: str) -> Response:
    """Answers by a `PopulationSummary`; nothing in it is about a single device."""
    require_population(population)
    service = current_service()
    service.coordinator.advance(population)
    return message_response(summarise(service.database, population, service.config.privacy_delta))
