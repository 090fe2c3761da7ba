"""The demo's report: what was measured, put where `evaluation.report_schema` has a place for it."""

from collections.abc import Sequence

from aggregation_service.rounds.state import Phase
from device_runtime.rounds.outcome import Event
from emulator.demo.federation import FederatedRun
from emulator.demo.measuring import Curve
from emulator.demo.people import People
from emulator.demo.settings import DemoSettings
from evaluation import report_schema as schema
from evaluation.metrics import Accuracy
from evaluation.report import software_versions
from evaluation.statement import write_statement

CORPUS = "chitchat-dataset 0.9.0: chats of anonymous senders (MIT); public word counts: wordfreq 3.1.1 (CC-BY-SA-4.0)"


def make_report(
    settings: DemoSettings,
    people: People,
    run: FederatedRun,
    *,
    accuracy: schema.AccuracySection,
    curve: Curve,
    seconds: dict[str, float],
    seed: int,
) -> schema.Report:
    """Puts the whole run into a report."""
    return schema.Report(
        name=settings.name,
        seed=seed,
        corpus=CORPUS,
        accuracy=accuracy,
        privacy=_privacy(settings, people, run),
        bytes=_bytes(run),
        rounds=_rounds(run, curve.rounds),
        curve=schema.CurveSection(
            unigram_top1=curve.unigram.top1,
            pretrained_top1=curve.pretrained.top1,
            num_targets=curve.unigram.num_targets,
        ),
        seconds=seconds,
        fleet=schema.FleetSection(
            devices=len(people.training), donors=people.num_donors, held_out=len(people.held_out)
        ),
        model=schema.ModelSection(
            parameters=settings.shape.num_weights, vocabulary_size=settings.shape.vocabulary_size
        ),
        software=software_versions(),
    )


def _privacy(settings: DemoSettings, people: People, run: FederatedRun) -> schema.PrivacySection:
    statement = run.statement
    scale = statement.at_scale(
        cohort=settings.scale_cohort,
        population=settings.scale_population,
        rounds=settings.rounds,
        delta=settings.scale_delta,
    )
    return schema.PrivacySection(
        epsilon=statement.epsilon,
        delta=statement.delta,
        mechanism=statement.mechanism,
        trust_mode=statement.trust_mode,
        noise_multiplier=statement.noise_multiplier,
        l2_clip_norm=statement.l2_clip_norm,
        max_participations=statement.max_participations,
        statement=write_statement(
            epsilon=statement.epsilon,
            delta=statement.delta,
            cohort=statement.report_goal,
            population=len(people.training),
            scale_epsilon=scale.epsilon,
            scale_cohort=scale.cohort,
            scale_population=scale.population,
            scale_rounds=scale.rounds,
            scale_delta=scale.delta,
        ),
        at_scale=schema.AtScale(
            cohort=scale.cohort,
            population=scale.population,
            rounds=scale.rounds,
            epsilon=scale.epsilon,
            delta=scale.delta,
        ),
    )


def _bytes(run: FederatedRun) -> schema.BytesSection:
    events = run.totals.events
    # A late report is uploaded whole, too, and so is a masked one whose device or group was lost afterwards.
    uploads = events[Event.MASKED] or events[Event.REPORTED] + events[Event.REJECTED]
    return schema.BytesSection(
        up_per_device_round=run.totals.bytes_up / max(1, uploads),
        down_per_device_round=run.totals.bytes_down / max(1, events[Event.CONFIGURED]),
    )


def _rounds(run: FederatedRun, curve: Sequence[Accuracy]) -> tuple[schema.Round, ...]:
    closed = [summary for summary in run.summary.rounds if summary.phase is Phase.CLOSED]
    return tuple(
        schema.Round(
            number=number,
            selected=summary.selected,
            reported=summary.reported,
            interrupted=seen.interrupted,
            dropped=max(0, summary.selected - summary.reported - seen.interrupted),
            top1=point.top1,
            top3=point.top3,
            loss=seen.loss,
            epsilon=summary.epsilon,
            seconds=seen.seconds,
        )
        for number, (summary, seen, point) in enumerate(zip(closed, run.rounds, curve, strict=True), start=1)
    )
