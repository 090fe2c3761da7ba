from pathlib import Path

import pytest
from jinja2 import UndefinedError

from evaluation.pages import render, write_both


def test_both_files_are_written_side_by_side(tmp_path: Path) -> None:
    json_path, html_path = write_both(tmp_path / "new", "result", payload=b"{}", page="<p>ε</p>")
    assert json_path == tmp_path / "new" / "result.json"
    assert html_path == tmp_path / "new" / "result.html"
    assert json_path.read_bytes() == b"{}"
    assert html_path.read_text(encoding="utf-8") == "<p>ε</p>"


def test_what_a_page_lacks_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render("page.html", software={}, json_name="result.json")


def test_the_foot_names_seed_software_and_file_and_escapes_them() -> None:
    page = render("page.html", seed=7, software={"<b>": "1.2"}, json_name="result.json")
    assert "Seed 7." in page
    assert "&lt;b&gt; 1.2." in page
    assert "<code>result.json</code>" in page
