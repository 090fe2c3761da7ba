"""The gate: a candidate is released only if devices' own words say that it beats the current release.

What it decides on was noised and booked in the ledger already, so deciding costs no privacy (post-processing).
"""

import math

import msgspec
from sqlalchemy import Connection, update

from aggregation_service import audit
from aggregation_service.logs import log_event
from aggregation_service.policy import PopulationPolicy
from aggregation_service.releases.publishing import Signer, release_candidate
from aggregation_service.rounds.accumulator import SumArray
from aggregation_service.storage.models import end_task, get_policy, has_checkpoint
from aggregation_service.storage.releases import ReleaseRecord, current_release, decide_release, list_releases
from aggregation_service.storage.rounds import RoundRecord
from aggregation_service.storage.tables import rounds
from protocol.evaluation import EvaluationSums
from protocol.plan import Plan

ACTOR = "gate"
"""Whom the audit log names."""

LEAST_TARGETS_IN_NOISE = 5.0
"""A noised number of targets below so many standard deviations of its noise may be nothing but noise."""


class EvaluationResult(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an evaluation round found: ratios of noised sums, so a recall may lie a little outside [0, 1].

    Attributes:
      candidate_version: the model version in question.
      baseline_version: the one it is compared with; None if there was none, and then its numbers are 0.
      top1_candidate, top3_candidate: share of targets that the candidate foresaw first, or among its first three.
      loss_candidate: nats a target.
      top1_baseline, top3_baseline, loss_baseline: the same of the baseline.
      standard_error: of `top1_candidate - top1_baseline`, from the known noise alone; 0 without noise.
      num_targets: noised, after clipping.
      num_reports: devices that took part.
      unreadable_because: why the six numbers and `standard_error` are None; None where they are not.

    """

    candidate_version: int
    baseline_version: int | None
    top1_candidate: float | None = None
    top3_candidate: float | None = None
    loss_candidate: float | None = None
    top1_baseline: float | None = None
    top3_baseline: float | None = None
    loss_baseline: float | None = None
    standard_error: float | None = None
    num_targets: float
    num_reports: int
    unreadable_because: str | None = None


def on_evaluated(
    connection: Connection, record: RoundRecord, noised_sum: SumArray, signer: Signer, now: float
) -> EvaluationResult:
    """Takes in an evaluation round that closed: keeps its result, ends its task, decides about the candidate.

    Args:
      connection: the transaction that closes the round; the ledger's entry was committed before.
      record: the round; its task is an evaluation.
      noised_sum: [7], see `protocol.evaluation`.
      signer: of the release, if the candidate becomes one.
      now: seconds since 1970.

    Returns:
      What was found, as it is kept in `rounds.result`.

    Raises:
      ValueError: the round's task has no candidate, or `noised_sum` is of another length.

    """
    task = record.task
    if task.candidate_version is None:
        raise ValueError(f"task {task.id} must have a candidate_version to be evaluated, got none")
    result = read_result(
        EvaluationSums.from_vector(noised_sum),
        candidate_version=task.candidate_version,
        baseline_version=task.baseline_version,
        num_reports=record.state.reported,
        noise_stddev=_noise_stddev(task.plan, record.state.reported),
    )
    text = msgspec.json.encode(result).decode()
    connection.execute(update(rounds).where(rounds.c.id == record.id).values(result=text))
    end_task(connection, task.id, "completed", now)
    for candidate in list_releases(connection, record.population, "candidate"):
        if candidate.model_version == result.candidate_version:
            _decide(connection, candidate, result, signer, now)
    return result


def _noise_stddev(plan: Plan, num_reports: int) -> float:
    """Of the noise on each sum: the service's, or a share of every device."""
    shared = plan.shared_noise
    return plan.privacy.noise_multiplier * plan.l2_sensitivity if shared is None else shared.deviation(num_reports)


def read_result(
    sums: EvaluationSums,
    *,
    candidate_version: int,
    baseline_version: int | None,
    num_reports: int,
    noise_stddev: float,
) -> EvaluationResult:
    """Turns noised sums into ratios.

    | num_targets                                         | result     |
    |-----------------------------------------------------|------------|
    | >= `LEAST_TARGETS_IN_NOISE` deviations of the noise | ratios     |
    | fewer, zero or negative                             | unreadable |

    Args:
      sums: of all devices.
      candidate_version: as in the result.
      baseline_version: as in the result.
      num_reports: as in the result.
      noise_stddev: sigma of the noise on each of the seven sums, >= 0.

    Source of the standard error: the delta method. With d = (a - b) / n and independent noise of deviation sigma on a,
    b and n, the variance of d is (2 + d²) sigma² / n² to first order.

    """
    common = EvaluationResult(
        candidate_version=candidate_version,
        baseline_version=baseline_version,
        num_targets=sums.num_targets,
        num_reports=num_reports,
    )
    least = LEAST_TARGETS_IN_NOISE * noise_stddev
    if not (sums.num_targets > 0 and sums.num_targets >= least):
        reason = f"num_targets must be > 0 and >= {least:.6g}, which its noise asks for, got {sums.num_targets:.6g}"
        return msgspec.structs.replace(common, unreadable_because=reason)
    candidate = [value / sums.num_targets for value in sums.candidate]
    baseline = [value / sums.num_targets if baseline_version is not None else 0.0 for value in sums.baseline]
    gain = candidate[0] - baseline[0]
    num_noised = 1 if baseline_version is None else 2
    return msgspec.structs.replace(
        common,
        top1_candidate=candidate[0],
        top3_candidate=candidate[1],
        loss_candidate=candidate[2],
        top1_baseline=baseline[0],
        top3_baseline=baseline[1],
        loss_baseline=baseline[2],
        standard_error=math.sqrt(num_noised + gain * gain) * noise_stddev / sums.num_targets,
    )


def _decide(
    connection: Connection, candidate: ReleaseRecord, result: EvaluationResult, signer: Signer, now: float
) -> None:
    """Publishes a candidate, refuses it, or leaves it to an operator where the policy has no gate any more."""
    policy = get_policy(connection, candidate.population)
    if policy.gate_margin is None:
        decide_release(connection, candidate.id, "candidate", f"{tell(result)}; the policy has no gate")
        return
    [newest] = list_releases(connection, candidate.population, limit=1)
    if newest.id == candidate.id:
        passed, because = judge(result, policy, comparable_version(connection, candidate.population))
    else:  # its manifest is older than that of another, so devices would refuse it
        passed, because = False, f"release {newest.id} was made while it was being evaluated"
    if passed:
        release_candidate(connection, candidate, decision=because, signer=signer, now=now)
    else:
        decide_release(connection, candidate.id, "refused", because)
    status = "released" if passed else "refused"
    asked = {"margin": policy.gate_margin, "standard_errors": policy.gate_standard_errors}
    audit.record(
        connection,
        actor=ACTOR,
        action=f"release.{status}",
        subject=f"{candidate.population}/{candidate.id}",
        details={**asked, "decision": because, **msgspec.to_builtins(result)},
        now=now,
    )
    log_event("release_decided", population=candidate.population, release=candidate.id, status=status)


def comparable_version(connection: Connection, population: str) -> int | None:
    """The model version of the current release; None if there is no release, or none with weights to evaluate."""
    current = current_release(connection, population)
    if current is None or not has_checkpoint(connection, population, current.model_version):
        return None
    return current.model_version


def judge(result: EvaluationResult, policy: PopulationPolicy, current_version: int | None) -> tuple[bool, str]:
    """Whether a candidate passes, and why in a sentence.

    | what was found                              | passes                                                         |
    |---------------------------------------------|----------------------------------------------------------------|
    | nothing readable                            | no                                                             |
    | another release became the current one      | no                                                             |
    | there is no release to compare with         | yes                                                            |
    | gain in top-1 recall                        | iff >= `gate_margin` + `gate_standard_errors` * standard error |

    Args:
      result: what was found.
      policy: with a `gate_margin`.
      current_version: the model version of the current release, None if there is none.

    Guarantees:
      A candidate whose true gain is the margin or less passes with the normal distribution's probability of more than
      `gate_standard_errors` deviations, at most: 5 % by default. Only the noise is in the standard error; that other
      devices might have found otherwise is not.

    """
    margin = policy.gate_margin or 0.0
    if result.unreadable_because is not None:
        return False, f"the evaluation cannot be read: {result.unreadable_because}"
    if result.baseline_version != current_version:
        return False, f"it was compared with model version {result.baseline_version}, but {current_version} is out now"
    if result.top1_candidate is None or result.top1_baseline is None or result.baseline_version is None:
        return True, f"{tell(result)}; no release to compare with"
    gain = result.top1_candidate - result.top1_baseline
    least = margin + policy.gate_standard_errors * (result.standard_error or 0.0)
    passed = gain >= least
    asked = f"the policy asks for {margin:+.4f}"
    if result.standard_error:
        asked += f" and {policy.gate_standard_errors:g} standard errors of the noise, {least:+.4f}"
    return passed, f"{tell(result)}; {asked}, which it {'has' if passed else 'has not'}"


def tell(result: EvaluationResult) -> str:
    """A result in part of a sentence."""
    if result.top1_candidate is None or result.top1_baseline is None or result.standard_error is None:
        return f"version {result.candidate_version} could not be evaluated"
    candidate = f"version {result.candidate_version} has top-1 recall {result.top1_candidate:.4f}"
    if result.baseline_version is None:
        return f"{candidate} ± {result.standard_error:.4f}"
    gain = result.top1_candidate - result.top1_baseline
    return f"{candidate}, {gain:+.4f} ± {result.standard_error:.4f} over version {result.baseline_version}"
