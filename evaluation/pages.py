"""Pages: what was measured, as one HTML file for people beside the JSON for programs."""

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from evaluation.numbers import gain, human_bytes, number, percent, small


def render(template: str, **shown: object) -> str:
    """A template of this folder as one HTML file that asks for nothing from outside.

    Args:
      template: extends `page.html`.
      shown: what it shows; `seed`, `software` and `json_name` are for the foot of the page.

    """
    environment = Environment(
        loader=PackageLoader("evaluation"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters.update(percent=percent, size=human_bytes, gain=gain, number=number, small=small)
    return environment.get_template(template).render(shown)


def write_both(folder: Path, name: str, *, payload: bytes, page: str) -> tuple[Path, Path]:
    """Writes `name`.json and `name`.html into `folder`, which is made if it is missing; returns both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    json_path, html_path = folder / f"{name}.json", folder / f"{name}.html"
    json_path.write_bytes(payload)
    html_path.write_text(page, encoding="utf-8")
    return json_path, html_path
