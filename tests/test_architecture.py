"""The code's shape: who may import whom, and what the library does without."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from support import REPOSITORY, TINY

PACKAGE = REPOSITORY / "nst"
# Data flows one way: each imports those before it alone, and everybody may raise an InputError.
ORDER = "errors files free_memory pictures network objective optim run api report cli".split()
# Within a package, who may import whom.
INSIDE = {
    "pictures": {
        "images": set(),
        "color": {"images"},
        "inputs": {"images"},
        "regions": {"color", "images"},
        "timelapse": {"images"},
    },
    "network": {
        "architecture": set(),
        "preprocessing": set(),
        "weights": {"architecture", "preprocessing"},
        "vgg": {"architecture", "preprocessing", "weights"},
        "plausible": {"vgg", "weights"},
    },
    "objective": {
        "products": set(),
        "tiling": set(),
        "variation": set(),
        "cost": {"statistics", "tiling"},
        "masks": set(),
        "statistics": {"products", "tiling"},
        "magnitudes": {"statistics"},
        "terms": {"statistics"},
        "objective": {"cost", "masks", "statistics", "terms", "tiling", "variation"},
        "transfer": {"objective", "statistics", "terms"},
        "": {"objective", "terms", "transfer"},
        "balanced": {"objective", "terms", "transfer"},
        "gradients": {"balanced", "objective", "terms", "transfer"},
        "batch": {"objective", "statistics", "terms"},
        "yardstick": {"balanced", "objective", "statistics", "terms", "transfer"},
    },
    "optim": {
        "inits": set(),
        "readback": set(),
        "history": set(),
        "eager": set(),
        "lbfgs": {"eager", "history", "readback"},
        "optimizers": {"eager", "history", "lbfgs"},
        "parametrizations": set(),
        "wrappers": {"eager", "optimizers"},
        "gamuts": {"parametrizations"},
        "colors": {"parametrizations"},
        "schedules": set(),
    },
    "run": {
        **{
            module: set()
            for module in ("checkpoint", "clock", "devices", "evaluation", "folder", "strategy")
        },
        **{module: set() for module in ("identity", "memory", "records")},
        "guard": {"records"},
        "plot": {"records"},
        "results": {"plot", "records"},
        "rendezvous": {"memory"},
        "specs": {"memory", "results", "strategy"},
        "state": {"checkpoint", "clock", "evaluation", "records"},
        "tracking": {"records", "results"},
        "trainer": {"checkpoint", "guard", "records", "results", "state"},
    },
    "cli": {
        **{module: set() for module in ("grammar", "help", "settings", "signals")},
        **{module: set() for module in ("streams", "wording")},
        "schema": set(),
        "arguments": {"grammar", "schema"},
        "resume": {"arguments", "grammar"},
        "record": {"settings"},
        "build": {"record", "schema", "settings", "wording"},
        "job": {"build", "record", "signals", "wording"},
        "launcher": {"job", "signals"},
        "study": {"arguments"},
        "plugins": {"launcher", "study"},
        "app": {
            "arguments",
            "build",
            "grammar",
            "help",
            "job",
            "resume",
            "schema",
            "settings",
            "signals",
            "streams",
            "study",
            "wording",
        },
    },
}
FILES = sorted(PACKAGE.rglob("*.py"))


def place(path: Path) -> tuple[str, str]:
    """Package and module of a file, both empty where there is none."""
    parts = [part.removesuffix(".py") for part in path.relative_to(PACKAGE).parts]
    package, module, *_ = [*(part for part in parts if part != "__init__"), "", ""]
    return package, module


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def ours(path: Path) -> set[tuple[str, str]]:
    """Packages and modules of nst that a file imports."""
    found = set()
    for name in imports(path):
        first, *rest = name.split(".")
        if first == "nst":
            package, module, *_ = [*rest, "", ""]
            known = module in INSIDE.get(package, {})
            found.add((package if package in ORDER else "", module if known else ""))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_table(path: Path) -> None:
    package, module = place(path)
    for other, theirs in ours(path) - {("errors", "")}:
        if other == package:
            assert package in ("", "report") or theirs in {module, *INSIDE[package][module]}
        elif package in ("", "__main__"):  # nst itself, which is all of them
            assert (
                other in ("api", "objective", "optim", "pictures", "run")
                if package == ""
                else other == "cli"
            )
        elif other == "":
            assert package == "cli"
        else:
            assert ORDER.index(other) < ORDER.index(package)


def test_the_table_is_of_these_files() -> None:
    found = {place(path) for path in FILES}
    assert {package for package, _ in found} == {"", "__main__", *ORDER}
    for package, modules in INSIDE.items():
        assert {module for other, module in found if other == package} == {"", *modules}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_command_line_knows_hydra(path: Path) -> None:
    known = any(name.split(".")[0] in ("hydra", "omegaconf") for name in imports(path))
    assert not known or place(path)[0] == "cli"


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_a_run_imports_neither_torchs_compiler_nor_plotting(tmp_path: Path, optimizer: str) -> None:
    unwanted = ["torch._dynamo", "torch._inductor", "sympy", "torchvision", "matplotlib", "jinja2"]
    code = f"""
import sys
from nst.cli.app import main
sys.argv = ["nst", *{TINY}, "optimizer={optimizer}"]
try:
    main()
except SystemExit as stop:
    assert not stop.code
assert not [name for name in {unwanted} if name in sys.modules]
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=120)
    assert list(tmp_path.glob("outputs/single/*/result.png"))


@pytest.mark.slow
def test_library_runs_without_hydra_and_plotting() -> None:
    absent = ["hydra", "omegaconf", "matplotlib", "jinja2", "tqdm", "yaml", "safetensors"]
    code = f"""
import sys
for name in {absent}: sys.modules[name] = None
import nst, nst.run.tracking, torch
result = nst.stylize(torch.rand(3, 16, 16), torch.rand(3, 16, 16), size=16,
                     network=nst.Network("random"),
                     budget=nst.Budget(evaluations=1))
assert result.status == "ok"
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
