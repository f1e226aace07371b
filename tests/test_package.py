"""What a checkout and the wheel hold, and that the wheel works in an environment of its own."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import nst
from support import REPOSITORY, TINY, posix


def test_top_level() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if tracked.returncode != 0:
        pytest.skip("not a checkout")
    found = {line.partition("/")[0] for line in tracked.stdout.splitlines()}
    files = "CHANGELOG.md CITATION.cff CONTRIBUTING.md LICENSE README.md pyproject.toml"
    assert {name for name in found if not name.startswith(".")} == {
        *"conf nst outputs scripts tests".split(),
        *files.split(),
    }


def test_citation_is_of_this_version_and_names_the_paper() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert (citation["version"], citation["license"]) == (nst.__version__, project["license"])
    assert citation["title"].startswith(f"{project['name']}: ")
    (paper,) = citation["references"]
    assert [author["family-names"] for author in paper["authors"]] == ["Gatys", "Ecker", "Bethge"]
    assert paper["doi"] == "10.1109/CVPR.2016.265"


def test_workflow_runs_the_checks_on_each_python_that_is_named() -> None:
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/test.yml").read_text())
    job = workflow["jobs"]["test"]
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    prefix = "Programming Language :: Python :: 3."
    named = {line[len(prefix) - 2 :] for line in project["classifiers"] if line.startswith(prefix)}
    assert set(job["strategy"]["matrix"]["python"]) == named
    assert project["requires-python"] == f">={min(named)}"
    assert [step["run"] for step in job["steps"] if "run" in step] == ["./scripts/test"]


def test_checks_before_a_commit_are_those_of_the_tests() -> None:
    config = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())
    hooks = [hook["entry"].split() for each in config["repos"] for hook in each["hooks"]]
    tools = (" ".join(word for word in hook if word != "--force-exclude") for hook in hooks)
    script = (REPOSITORY / "scripts/test").read_text().splitlines()
    checks = [line.replace(" --check", "").removesuffix(" .") for line in script]
    assert list(tools) == [line for line in checks if line.startswith(("ruff", "mypy"))]


@posix
@pytest.mark.parametrize(
    ("arguments", "painted"),
    [
        (["size=64"], ["model.weights=embedded", "size=64"]),
        ([], ["model.weights=embedded"]),
        (["model.weights=auto", "content=a b.jpg"], ["model.weights=auto", "content=a b.jpg"]),
        (["size=9", "resume=outputs/x"], ["size=9", "resume=outputs/x"]),
    ],
)
def test_demo_takes_the_embedded_network_unless_asked(
    arguments: list[str], painted: list[str], tmp_path: Path
) -> None:
    """With a stand-in for the environment's Python, which notes what it is asked for."""
    (tmp_path / "scripts").mkdir()
    for name in ("pyproject.toml", "scripts/demo", "scripts/_setup.sh"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nfor word; do echo "$word" >> asked; done\nexit ${CODE:-0}\n')
    python.chmod(0o755)
    demo = [tmp_path / "scripts/demo", *arguments]
    done = subprocess.run(demo, cwd=tmp_path, capture_output=True, text=True, check=True)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[asked.index("nst") + 1 :] == painted
    assert "--editable" in asked
    for told in ("3 GB", "whl/cpu", "model.weights=imagenet", "548 MB", "tensorboard --logdir"):
        assert told in done.stdout
    again = subprocess.run(demo, env={"CODE": "7"}, capture_output=True, text=True)
    assert (again.returncode, again.stdout) == (7, "")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        timeout=120,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_wheel_holds_the_package_its_configs_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    configs = {f"nst/{path.relative_to(REPOSITORY)}" for path in REPOSITORY.glob("conf/**/*.yaml")}
    assert configs <= names
    samples = {str(path.relative_to(REPOSITORY)) for path in REPOSITORY.glob("nst/samples/*")}
    assert {"nst/samples/content.jpg", "nst/samples/style.jpg"} <= samples <= names
    assert {"nst/network/embedded/vgg19.safetensors", "nst/network/embedded/README.md"} <= names
    assert {"nst/report/report.html.j2", "nst/py.typed"} <= names
    assert "nst/cli/plugins/hydra_plugins/nst_launcher.py" in names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"nst"}


@pytest.mark.slow
@posix
def test_wheel_works_in_a_new_environment_and_another_folder(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)  # where this checkout may be
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True, timeout=120)
    # The dependencies are those of the environment that runs the tests: several gigabytes that
    # need not be installed twice. Its own, editable, nst is not seen from there.
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    work = tmp_path / "elsewhere"
    work.mkdir()
    where = subprocess.run(
        [python, "-c", "import nst; print(nst.__file__)"],
        cwd=work,
        check=True,
        capture_output=True,
        text=True,
    )
    assert Path(where.stdout.strip()).is_relative_to(site)
    # The types are seen from there too, and are the right ones.
    (work / "mine.py").write_text(
        "import nst\n"
        "seconds: float = nst.stylize('a', 'b', budget=nst.Budget(evaluations=3)).seconds\n"
        "nst.Loss(strength='much')\n"
    )
    check = ["-m", "mypy", "--strict", "--python-executable", python, "mine.py"]
    checked = subprocess.run([sys.executable, *check], cwd=work, capture_output=True, text=True)
    (complaint,) = [line for line in checked.stdout.splitlines() if ": error: " in line]
    assert complaint.startswith('mine.py:3: error: Argument "strength" to "Loss"')
    command = [environment / "bin" / "nst", *TINY, "optimizer=adam,lbfgs", "name=w", "--multirun"]
    done = subprocess.run(command, cwd=work, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(list(work.glob("outputs/w/*/result.png"))) == 2
    assert (work / "outputs" / "w" / "report.html").exists()
