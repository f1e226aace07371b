"""The code's shape: who may import whom, and what the library does without."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from support import REPOSITORY

PACKAGE = REPOSITORY / "nst"
# Everybody may raise an InputError; beyond that, data flows one way.
ALLOWED = {
    "errors": set(),
    "files": set(),
    "folder": {"files"},
    "images": {"files"},
    "products": set(),
    "functional": {"products"},
    "weights": set(),
    "vgg": {"weights"},
    "tiling": {"vgg", "weights"},
    "objective": {"devices", "functional", "products", "tiling", "vgg"},
    "balanced": {"objective", "vgg"},
    "batch": {"functional", "objective", "tiling"},
    "rendezvous": {"batch", "memory", "objective", "vgg"},
    "identity": set(),
    "inits": set(),
    "inputs": {"images"},
    "readback": set(),
    "lbfgs": {"readback"},
    "optimizers": {"lbfgs"},
    "clock": set(),
    "schedules": {"objective"},
    "evaluation": {"objective", "parametrizations"},
    "state": {"checkpoint", "clock", "evaluation", "parametrizations", "records", "schedules"},
    "parametrizations": set(),
    "gamuts": {"images", "parametrizations"},
    "checkpoint": {"files"},
    "records": set(),
    "guard": {"records"},
    "results": {"records", "vgg"},
    "devices": set(),
    "memory": {"tiling", "weights"},
    "trainer": {
        *("checkpoint", "guard", "parametrizations", "readback", "records", "schedules", "state"),
    },
    "yardstick": {"balanced", "objective", "results", "vgg", "weights"},
    "api": {
        *("images", "functional", "weights", "vgg", "objective", "inits", "optimizers", "trainer"),
        *(
            "balanced",
            "devices",
            "gamuts",
            "guard",
            "identity",
            "inputs",
            "memory",
            "parametrizations",
            "records",
        ),
        *("rendezvous", "results", "schedules", "tiling", "yardstick"),
    },
    "tracking": {"images", "files", "records", "results"},
    "schema": set(),
    "report": {"images", "files", "folder", "results"},
    "build": {
        *("schema", "api", "images", "files", "tracking", "records", "vgg", "checkpoint", "guard"),
        *("folder", "rendezvous", "results", "schedules"),
        "",
    },
    "resume": {"checkpoint", "folder"},
    "wording": set(),
    "job": {
        *("balanced", "build", "files", "folder", "memory", "rendezvous", "results", "schema"),
        "wording",
    },
    "plugins": {"launcher"},
    "launcher": {"devices", "job", "rendezvous", "schema"},
    "arguments": {"schema"},
    "streams": set(),
    "app": {
        *("arguments", "build", "folder", "job", "report", "resume", "schema", "streams"),
        *("wording", ""),
    },
    "__main__": {"app"},
    "": {
        "api",
        "gamuts",
        "inits",
        "optimizers",
        "parametrizations",
        "records",
        "results",
        "schedules",
    },
}
FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    """Top module of a file: `report` for `nst/report/page.py`, empty for `nst/__init__.py`."""
    first = path.relative_to(PACKAGE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def ours(name: str) -> str | None:
    """The module of this package that an imported name belongs to."""
    first, *rest = name.split(".")
    if first != "nst":
        return None
    return rest[0] if rest and (f"{rest[0]}" in ALLOWED) else ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_table(path: Path) -> None:
    module = module_of(path)
    used = {ours(name) for name in imports(path)} - {None, module, "errors"}
    assert used <= ALLOWED[module]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_command_line_knows_hydra(path: Path) -> None:
    known = any(name.split(".")[0] in ("hydra", "omegaconf") for name in imports(path))
    assert not known or module_of(path) in (
        *("app", "arguments", "build", "job", "launcher", "plugins", "schema", "wording"),
    )


def test_library_runs_without_hydra_and_plotting() -> None:
    absent = ["hydra", "omegaconf", "matplotlib", "jinja2", "tqdm", "yaml", "safetensors"]
    code = f"""
import sys
for name in {absent}: sys.modules[name] = None
import nst, nst.tracking, torch
result = nst.stylize(torch.rand(3, 16, 16), torch.rand(3, 16, 16), size=16, weights="random",
                     budget=nst.Budget(evaluations=1))
assert result.status == "ok"
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
