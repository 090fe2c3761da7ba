"""What an operator does, as plain functions: the command line and rehearsals call these.

They work on the database, beside a running service or without one.
"""

from aggregation_service.operations.budgets import BudgetOutlook, budget_outlook
from aggregation_service.operations.discoveries import (
    DiscoverySettings,
    NewDiscovery,
    approved_words,
    checked_parameters,
    create_discovery,
    decide_words,
    list_words,
)
from aggregation_service.operations.evaluations import EvaluationSettings, create_evaluation
from aggregation_service.operations.identities import (
    NewToken,
    count_devices,
    create_enrolment_token,
    list_devices,
    list_enrolment_tokens,
    revoke_device,
    revoke_enrolment_token,
)
from aggregation_service.operations.populations import (
    add_population,
    get_policy,
    list_populations,
    privacy_statement,
    set_policy,
    summaries,
)
from aggregation_service.operations.releases import (
    Proposal,
    list_releases,
    propose_release,
    publish_candidate,
    publish_release,
    rollback_release,
    set_rollout,
)
from aggregation_service.operations.setup import (
    ServicePaths,
    gunicorn_command,
    initialise,
    make_session_key,
    prepare_database,
    public_key,
    server_environment,
)
from aggregation_service.operations.shared import OperationError
from aggregation_service.operations.tasks import create_task, current_checkpoint, current_version, end_task
from aggregation_service.releases.statements import STATEMENT_FILE

__all__ = [
    "STATEMENT_FILE",
    "BudgetOutlook",
    "DiscoverySettings",
    "EvaluationSettings",
    "NewDiscovery",
    "NewToken",
    "OperationError",
    "Proposal",
    "ServicePaths",
    "add_population",
    "approved_words",
    "budget_outlook",
    "checked_parameters",
    "count_devices",
    "create_discovery",
    "create_enrolment_token",
    "create_evaluation",
    "create_task",
    "current_checkpoint",
    "current_version",
    "decide_words",
    "end_task",
    "get_policy",
    "gunicorn_command",
    "initialise",
    "list_devices",
    "list_enrolment_tokens",
    "list_populations",
    "list_releases",
    "list_words",
    "make_session_key",
    "prepare_database",
    "privacy_statement",
    "propose_release",
    "public_key",
    "publish_candidate",
    "publish_release",
    "revoke_device",
    "revoke_enrolment_token",
    "rollback_release",
    "server_environment",
    "set_policy",
    "set_rollout",
    "summaries",
]
