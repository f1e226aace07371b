"""The wheel: what is in it, and that it works from any folder in an environment of its own."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from support import REPOSITORY, TINY


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


def test_wheel_holds_the_package_its_configs_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    configs = {f"nst/{path.relative_to(REPOSITORY)}" for path in REPOSITORY.glob("conf/**/*.yaml")}
    assert configs <= names
    samples = {str(path.relative_to(REPOSITORY)) for path in REPOSITORY.glob("nst/samples/*")}
    assert {"nst/samples/content.jpg", "nst/samples/style.jpg"} <= samples <= names
    assert {"nst/network/embedded/vgg19.safetensors", "nst/network/embedded/README.md"} <= names
    assert "nst/report/report.html.j2" in names
    assert "nst/cli/plugins/hydra_plugins/nst_launcher.py" in names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"nst"}


def test_wheel_works_in_a_new_environment_and_another_folder(wheel: Path, tmp_path: Path) -> None:
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
    command = [environment / "bin" / "nst", *TINY, "optimizer=adam,lbfgs", "name=w", "--multirun"]
    done = subprocess.run(command, cwd=work, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(list(work.glob("outputs/w/*/result.png"))) == 2
    assert (work / "outputs" / "w" / "report.html").exists()
