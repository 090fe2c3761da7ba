"""Scenario files, read: what is wrong with one is told in one sentence."""

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from emulator.made_up import MADE_UP, known_languages
from emulator.scenarios.schema import NAME_PATTERN, Scenario
from evaluation.corpus import CHITCHAT

FOLDER = Path(__file__).parent
_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<key>.*)`$", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<key>.*)`$")
_PARTS = re.compile(r"\.([A-Za-z0-9_-]+)|\[(\d+)\]")
_MOST_BYTES = 1_000_000
_MOST_SHOWN = 60
"""characters of a value; of a path or a sentence 400."""
_KINDS = {
    "`str | null`": "text",
    "`int`": "a whole number",
    "`float`": "a number",
    "`str`": "text",
    "`bool`": "true or false",
    "`array`": "a list",
    "`object`": "a table",
    f"matching regex {NAME_PATTERN!r}": "of at most 32 letters a-z, digits and hyphens that begins with a letter",
}
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
    if re.fullmatch(r"[a-z0-9-]{1,40}", name) and ready.exists():
        return ready
    if _is_file(name):
        return Path(name)
    names = ", ".join(path.stem for path in sorted(FOLDER.glob("*.toml")))
    raise InvalidScenario(f"scenario must be a TOML file or one of {names}; got {_line(name)}")


def load_scenario(path: Path) -> Scenario:
    """Reads a scenario file; paths in it count from its own folder.

    Raises:
      InvalidScenario: see there.

    """
    said = _parsed(path)
    try:
        scenario = msgspec.convert(said, Scenario)
    except msgspec.ValidationError as error:
        raise InvalidScenario(f"{path}: {_in_words(str(error), said)}") from None
    return _anchored(scenario, path.parent)


def check_files(scenario: Scenario, name: str) -> None:
    """Checks that what a scenario names is there, before anything long begins.

    Raises:
      InvalidScenario: a file or a language is not.

    """
    if scenario.traces.csv is not None and not _is_file(scenario.traces.csv):
        raise InvalidScenario(f"{name}: traces.csv must be a file, got {_line(scenario.traces.csv)}")
    for number, population in enumerate(scenario.populations):
        if wrong := _wrong_corpus(population.corpus):
            raise InvalidScenario(f"{name}: populations[{number}].corpus must be {wrong}")


def _wrong_corpus(corpus: str) -> str:
    """What it should have been, empty if it is that."""
    if corpus == CHITCHAT:
        return ""
    if corpus.startswith(MADE_UP):
        known = known_languages()
        named = corpus.removeprefix(MADE_UP) in known
        return "" if named else f'"{MADE_UP}" and one of {", ".join(known)}; got {_shown(corpus)}'
    return "" if _is_file(corpus) else f'"{CHITCHAT}", "{MADE_UP}LANGUAGE" or a file, got {_line(corpus)}'


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except OSError:  # a name that is too long for any
        return False


def _parsed(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            payload = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InvalidScenario(f"{path} cannot be read: {error.strerror}") from None
    if len(payload) > _MOST_BYTES:
        raise InvalidScenario(f"{path} must have at most {_MOST_BYTES:,} bytes, got more")
    try:
        return tomllib.loads(payload.decode("utf-8-sig"))  # some editors begin with a byte order mark
    except UnicodeDecodeError as error:
        raise InvalidScenario(f"{path} must be in UTF-8, got another byte at {error.start}") from None
    except RecursionError:
        raise InvalidScenario(f"{path} is not TOML of a scenario: its values are nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError, or a number with thousands of digits
        raise InvalidScenario(f"{path} is not TOML: {_line(str(error))}") from None


def _in_words(error: str, said: dict[str, Any]) -> str:
    """What msgspec found, with the key as a person wrote it and the value that stands there."""
    found = _PLACE.match(error)
    what, path = (error, "$") if found is None else (found["what"], found["path"] or "$")
    section = path.removeprefix("$").removeprefix(".")
    if unknown := _UNKNOWN.match(what):
        return f"unknown key {_joined(section, _line(unknown['key']))}"
    if missing := _MISSING.match(what):
        return f"key {_joined(section, missing['key'])} is missing"
    if what.startswith("Expected "):
        wanted = what.removeprefix("Expected ").split(", got")[0]
        for name, words in _KINDS.items():
            wanted = wanted.replace(name, words)
        return f"{section} must be {wanted}, got {_shown(_value(path, said))}"
    if what.startswith("Invalid enum value"):
        return f"{section} must be one of {', '.join(_names(path))}, got {_shown(_value(path, said))}"
    return f"{section}: {_line(what)}" if section else _line(what)


def _shown(value: Any) -> str:
    """A value, short and on one line, as TOML writes it where that is short."""
    match value:
        case bool():
            text = str(value).lower()
        case str():
            text = f'"{value}"'
        case list() | dict():
            text = repr(value)
        case _:
            text = str(value)
    return _line(text, _MOST_SHOWN)


def _line(text: str, most: int = 400) -> str:
    printable = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
    return printable if len(printable) <= most else f"{printable[:most]}…"


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
        if each.corpus == CHITCHAT or each.corpus.startswith(MADE_UP)
        else msgspec.structs.replace(each, corpus=str(folder / each.corpus))
        for each in scenario.populations
    )
    traces = scenario.traces
    if traces.csv is not None:
        traces = msgspec.structs.replace(traces, csv=str(folder / traces.csv))
    return msgspec.structs.replace(scenario, populations=populations, traces=traces)
