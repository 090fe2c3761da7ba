"""Who may see the pages, and what they tell of a service: empty, with a population that lived, with a spent budget."""

import re
from typing import Any

import numpy as np
import pytest

from aggregation_service import operations
from aggregation_service.dashboard.views import releases
from aggregation_service.operations.clipping import with_count_noise
from aggregation_service.policy import PopulationPolicy
from aggregation_service.privacy.adaptive_clipping import ClippingParameters, ClippingState
from aggregation_service.storage import models
from aggregation_service.storage.leadership import newest_holder
from aggregation_service.storage.tables import clipping_states

PAGES = ("/dashboard/", "/dashboard/populations/en-gb", "/dashboard/audit")
RELEASE = "/dashboard/populations/en-gb/releases/1"


@pytest.mark.parametrize("path", [*PAGES, RELEASE, f"{RELEASE}/statement.json"])
def test_strangers_are_led_to_the_login(rehearsal: Any, path: str) -> None:
    response = rehearsal.request("GET", path, headers={"Accept": "text/html"})
    assert response.status_code == 303
    assert response.headers["Location"].startswith("/login?next=")
    assert rehearsal.request("GET", path, headers={"Accept": "application/json"}).status_code == 401


@pytest.mark.parametrize("path", PAGES)
def test_pages_allow_no_script_and_are_not_kept(viewer: Any, path: str) -> None:
    response = viewer.get(path)
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "unsafe-inline" not in policy
    assert response.headers["Cache-Control"] == "no-store"
    for needs_a_weaker_policy in ("<script", "<style", " style=", " onclick=", "http://", "https://"):
        assert needs_a_weaker_policy not in response.text


def test_the_login_page_has_the_same_look(rehearsal: Any) -> None:
    page = rehearsal.request("GET", "/login").text
    assert "/dashboard/static/dashboard.css" in page
    assert "Log out" not in page


def test_static_files_are_served_to_anybody(rehearsal: Any) -> None:
    for name in ("dashboard.css", "charts.css", "chorus.svg"):
        with rehearsal.request("GET", f"/dashboard/static/{name}") as response:
            assert response.status_code == 200


def test_an_empty_service_says_what_to_do(viewer: Any) -> None:
    assert "keychorus service task create en-gb" in viewer.read("/dashboard/")
    page = viewer.read("/dashboard/populations/en-gb")
    for said in ("keychorus service task create en-gb", "No round was opened yet", "Nothing was released yet"):
        assert said in page
    assert "No budget is set: training never stops by itself." in page


def test_the_overview_says_who_took_the_lead(rehearsal: Any, viewer: Any) -> None:
    rehearsal.wait(600)
    with rehearsal.service.database.read() as connection:
        holder = newest_holder(connection)
    assert holder is not None
    assert f"coordinated by <code>{holder.name}</code>, which took the lead 10 min ago." in viewer.read("/dashboard/")
    with rehearsal.service.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM coordinator")
    assert "Nobody coordinates rounds yet" in viewer.read("/dashboard/")


def test_a_population_that_lived(lived: Any, reader: Any) -> None:
    page = reader.read("/dashboard/populations/en-gb")
    summary = lived.summary()
    phases = [entry["phase"] for entry in summary["rounds"]]
    assert (phases.count("closed"), phases.count("abandoned")) == (6, 2)
    for said in ("too few reports", "too few devices", "1 of 4 reports", "5 of 6 devices", "ε", "of 20"):
        assert said in page
    assert page.count('<svg viewBox="0 0 600') == 5  # recall is not measured
    assert "No evaluation round has closed yet" in page
    assert f'<th scope="row" class="number">{len(phases)}</th>' in page


def test_no_page_names_a_device(lived: Any, reader: Any) -> None:
    for path in (*PAGES, RELEASE):
        page = reader.read(path)
        assert lived.keys
        assert not [device for device in lived.keys if device in page]


def test_the_overview_counts_as_the_database_does(lived: Any, reader: Any) -> None:
    page = reader.read("/dashboard/")
    version, _ = lived.weights()
    assert re.search(rf"model version</dt><dd>{version}</dd>", page)
    assert f"<dd>{lived.summary()['devices']}</dd>" in page
    assert "2 of the last 8 rounds abandoned" not in page  # each reason has its own
    assert "1 of the last 8 rounds abandoned, too few reports: give devices more time" in page


def test_a_spent_budget_is_an_alarm(lived: Any, reader: Any) -> None:
    for budget, said in ((0.5, "budget is spent"), (lived.summary()["epsilon"] * 1.1, "budget is nearly spent")):
        with lived.service.database.write() as connection:
            models.set_policy(connection, "en-gb", PopulationPolicy(epsilon_budget=budget))
        assert said in reader.read("/dashboard/")
    with lived.service.database.write() as connection:
        models.set_policy(connection, "en-gb", PopulationPolicy(epsilon_budget=20.0))
    assert "budget is" not in reader.read("/dashboard/populations/en-gb")


def test_a_release_tells_what_it_does_not_protect(lived: Any, reader: Any) -> None:
    page = reader.read(RELEASE)
    statement = operations.privacy_statement(lived.config, "en-gb")
    assert statement is not None
    for text in statement.not_protected:
        assert text[1:40] in page
    assert "What is not protected" in page
    assert "What is not checked" in page
    assert "files were made from the model version that the release names" in page
    assert "changes the odds" in page


def test_a_statement_is_kept_as_it_was_signed_or_as_a_page(lived: Any, reader: Any) -> None:
    assert f'href="{RELEASE}/statement.html"' in reader.read(RELEASE)
    for ending, mimetype in (("json", "application/json"), ("html", "text/html")):
        response = reader.get(f"{RELEASE}/statement.{ending}")
        assert (response.status_code, response.mimetype) == (200, mimetype)
        assert response.headers["Content-Disposition"].startswith("attachment; filename=")
    with lived.service.database.read() as connection:
        signed = releases.find_statement(connection, "en-gb", 1)
    assert reader.get(f"{RELEASE}/statement.json").data == signed
    assert "Privacy statement of release 1 of en-gb" in reader.read(f"{RELEASE}/statement.html")
    for missing in (
        "populations/en-gb/releases/77/statement.html",
        f"{RELEASE.removeprefix('/dashboard/')}/statement.txt",
    ):
        assert reader.get(f"/dashboard/{missing}").status_code == 404


@pytest.mark.parametrize("path", ["populations/none", "populations/en-gb/releases/77", "populations/none/releases/1"])
def test_what_is_not_there_is_a_page_too(viewer: Any, path: str) -> None:
    response = viewer.get(f"/dashboard/{path}")
    assert response.status_code == 404
    assert response.mimetype == "text/html"
    assert "All populations" in response.text


def test_rounds_are_paged(rehearsal: Any, plans: Any, viewer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aggregation_service.dashboard.views.rounds.PAGE_ROUNDS", 4)
    rehearsal.create_task(plans(goal=1, noise=1.0))
    for _ in range(7):
        rehearsal.report(rehearsal.select(), rehearsal.update())
        rehearsal.summary()
    first = viewer.read("/dashboard/populations/en-gb")
    older = re.search(r'href="([^"]*before=\d+)#rounds">Older', first)
    assert older
    second = viewer.read(older[1])
    numbers = [[int(n) for n in re.findall(r'<th scope="row" class="number">(\d+)<', page)] for page in (first, second)]
    assert numbers[0] + numbers[1] == list(range(max(numbers[0]), 0, -1))
    assert "Newer rounds" in second
    assert "Newer rounds" not in first


def test_a_value_of_an_address_that_is_no_number_is_ignored(viewer: Any) -> None:
    for path in ("/dashboard/populations/en-gb?before=x", "/dashboard/audit?before=x"):
        assert viewer.get(path).status_code == 200


def test_the_audit_log_shows_that_its_chain_holds_or_not(viewer: Any) -> None:
    assert "The chain holds" in viewer.read("/dashboard/audit")
    with viewer.rehearsal.service.database.write() as connection:
        connection.exec_driver_sql("UPDATE audit SET actor = 'somebody else' WHERE id = 1")
    page = viewer.read("/dashboard/audit")
    assert "The chain is broken" in page
    assert "entry 1 was changed" in page


def test_a_clipping_norm_that_adapts_is_shown_as_it_is_now(rehearsal: Any, plans: Any, viewer: Any) -> None:
    plan = with_count_noise(plans(goal=1, noise=1.0), 5.0)
    clipping = ClippingParameters(floor=0.5, ceiling=2.0, learning_rate=2.0)
    rehearsal.create_task(plan, adaptive_clipping=clipping)
    norm = re.compile(r"<dt>L2 clip norm</dt><dd>([^<]*)</dd>")
    assert norm.findall(viewer.read("/dashboard/populations/en-gb")) == ["1"]
    rehearsal.report(rehearsal.select(), np.zeros(38, np.float32))
    with rehearsal.service.database.write() as connection:
        state = ClippingState(context="task 1", step=1, l2_clip_norm=0.625)
        connection.execute(clipping_states.update().values(state=state.to_bytes().decode()))
    page = viewer.read("/dashboard/populations/en-gb")
    assert norm.findall(page) == ["0.625"]
    assert "target quantile 0.5" in page
    with rehearsal.service.database.write() as connection:
        connection.execute(clipping_states.update().values(state="{}"))
    assert norm.findall(viewer.read("/dashboard/populations/en-gb")) == ["1"]
