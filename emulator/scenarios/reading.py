"""Scenario files, read: what is wrong with one is told in one sentence."""

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from emulator.scenarios.schema import Scenario

FOLDER = Path(__file__).parent
_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<key>[^`]*)`")
_MISSING = re.compile(r"Object missing required field `(?P<key>[^`]*)`")
_PARTS = re.compile(r"\.([A-Za-z0-9_-]+)|\[(\d+)\]")


_KINDS = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false", "array": "a list"}
"""What msgspec calls TOML's kinds of values, in words."""


class InvalidScenario(Exception):
    """A scenario that cannot be run. The message names file, key, value and bound."""


def ready_scenarios() -> dict[str, Scenario]:
    """The scenarios that come with the emulator, by name."""
    return {path.stem: load_scenario(path) for path in sorted(FOLDER.glob("*.toml"))}


def find_scenario(name: str) -> Path:
    """The file of a ready scenario, or the file of that name.

    Raises:
      InvalidScenario: there is neither.

    """
    ready = FOLDER / f"{name}.toml"
    if re.fullmatch(r"[a-z0-9-]+", name) and ready.exists():
        return ready
    if Path(name).is_file():
        return Path(name)
    names = ", ".join(path.stem for path in sorted(FOLDER.glob("*.toml")))
    raise InvalidScenario(f"scenario must be a TOML file or one of {names}; got {name}")


def load_scenario(path: Path) -> Scenario:
    """Reads a scenario file; paths in it count from its own folder.

    Raises:
      InvalidScenario: see there.

    """
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidScenario(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidScenario(f"{path} is not TOML: {error}") from None
    try:
        scenario = msgspec.convert(said, Scenario)
    except msgspec.ValidationError as error:
        raise InvalidScenario(f"{path}: {_in_words(str(error), said)}") from None
    return _anchored(scenario, path.parent)


def check_files(scenario: Scenario, name: str) -> None:
    """Checks that the files which a scenario names are there, before anything long begins.

    Raises:
      InvalidScenario: one is not.

    """
    if scenario.traces.csv is not None and not Path(scenario.traces.csv).is_file():
        raise InvalidScenario(f"{name}: traces.csv must be a file, got {scenario.traces.csv}")
    for number, population in enumerate(scenario.populations):
        corpus = population.corpus
        if corpus != "chitchat" and not corpus.startswith("made-up:") and not Path(corpus).is_file():
            raise InvalidScenario(
                f'{name}: populations[{number}].corpus must be "chitchat", "made-up:LANGUAGE" or a file, got {corpus}'
            )


def _in_words(error: str, said: dict[str, Any]) -> str:
    """What msgspec found, with the key as a person wrote it and the value that stands there."""
    found = _PLACE.match(error)
    what, path = (error, "$") if found is None else (found["what"], found["path"] or "$")
    section = path.removeprefix("$").removeprefix(".")
    if unknown := _UNKNOWN.match(what):
        return f"unknown key {_joined(section, unknown['key'])}"
    if missing := _MISSING.match(what):
        return f"key {_joined(section, missing['key'])} is missing"
    if what.startswith("Expected "):
        wanted = what.removeprefix("Expected ").split(", got")[0]
        for name, words in _KINDS.items():
            wanted = wanted.replace(f"`{name}`", words)
        return f"{section} must be {wanted}, got {_value(path, said)!r}"
    if what.startswith("Invalid enum value"):
        return f"{section} must be one of {', '.join(_names(path))}, got {_value(path, said)!r}"
    return f"{section}: {what}" if section else what


def _joined(section: str, key: str) -> str:
    return f"{section}.{key}" if section else key


def _value(path: str, said: Any) -> Any:
    for name, number in _PARTS.findall(path):
        said = said[name] if name else said[int(number)]
    return said


def _names(path: str) -> list[str]:
    """The names that the schema allows at a path."""
    kind: Any = msgspec.inspect.type_info(Scenario)
    for name, _ in _PARTS.findall(path):
        fields = {field.encode_name: field.type for field in kind.fields} if name else {}
        kind = fields.get(name) or kind.item_type
    return sorted(map(str, kind.values))


def _anchored(scenario: Scenario, folder: Path) -> Scenario:
    populations = tuple(
        each
        if each.corpus == "chitchat" or each.corpus.startswith("made-up:")
        else msgspec.structs.replace(each, corpus=str(folder / each.corpus))
        for each in scenario.populations
    )
    traces = scenario.traces
    if traces.csv is not None:
        traces = msgspec.structs.replace(traces, csv=str(folder / traces.csv))
    return msgspec.structs.replace(scenario, populations=populations, traces=traces)
