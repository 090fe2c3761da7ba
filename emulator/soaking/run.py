"""A soak from its first device to its report."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from emulator.rehearsing.world import Layout
from emulator.soaking.audit import processes_check
from emulator.soaking.databases import database
from emulator.soaking.fleet import lay_ground, make_world
from emulator.soaking.life import Progress, live
from emulator.soaking.processes import end_left_over, marked, wait_for_end
from emulator.soaking.settings import POPULATION, SoakSettings
from emulator.soaking.witness import Witness
from evaluation.soak.outcome import SoakReport
from evaluation.soak.report import write_soak_report


@dataclass(frozen=True, kw_only=True)
class Soaked:
    """A soak that came to its end, whatever it found."""

    report: SoakReport
    json_path: Path
    html_path: Path


def run_soak(settings: SoakSettings, folder: Path, *, num_workers: int, progress: Progress) -> Soaked:
    """Soaks the service, checks its books against the devices', and writes `soak.json` and `soak.html`.

    Args:
      settings: how large, with which database.
      folder: takes the report, and the world for as long as the soak lasts; that of one that failed is kept.
      num_workers: processes that train.
      progress: told how far it is.

    Guarantees:
      Whatever ends it, Ctrl-C too, ends the service, its database and all processes within 5 s.

    Raises:
      CannotRun: no PostgreSQL can be started on this machine.
      ServiceStopped: the service did not come back after it was killed.

    """
    layout, began = Layout(folder=folder.absolute(), is_virtual=True), time.perf_counter()
    shutil.rmtree(layout.world, ignore_errors=True)
    # A service that is killed leaves its folder of metrics behind: here, where the world's end removes it.
    with marked(PROMETHEUS_MULTIPROC_DIR=str(layout.folder / "world" / "metrics")) as mark:
        try:
            report = _soak(settings, layout, num_workers, progress)
        except BaseException:
            end_left_over(mark)
            raise
        left = wait_for_end(mark)
        end_left_over(mark)
    checks = (*report.checks, processes_check(left))
    report = msgspec.structs.replace(report, checks=checks, seconds=time.perf_counter() - began)
    json_path, html_path = write_soak_report(report, layout.folder)
    if not report.failures:
        shutil.rmtree(layout.world)
    return Soaked(report=report, json_path=json_path, html_path=html_path)


def _soak(settings: SoakSettings, layout: Layout, num_workers: int, progress: Progress) -> SoakReport:
    laid = lay_ground(settings, layout.folder / "ground")
    with database(settings.database) as where:
        make_world(layout, settings, laid, where.url)
        witness = Witness(population=POPULATION, plan=settings.plan(laid.ground.settings))
        return live(settings, layout, where, witness, num_workers=num_workers, progress=progress)
