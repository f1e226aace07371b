"""The README's commands, run as a reader types them, on top of overrides that make them small."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from support import REPOSITORY, TINY, Command, checker_picture, xor_picture

README = (REPOSITORY / "README.md").read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
LINES = [
    line.partition("  #")[0].strip()
    for block in BLOCKS
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip() and not line.startswith("#")
]
COMMANDS = [line for line in LINES if line.startswith(("python -m nst ", "python -m nst"))]


def test_readme_shows_the_three_commands() -> None:
    assert "python -m nst" in LINES
    assert "python -m nst optimizer=adam,lbfgs init=random,content --multirun" in LINES
    assert "tensorboard --logdir outputs" in LINES
    assert {"./scripts/demo", "./scripts/test"} <= set(LINES)


@pytest.mark.parametrize("line", dict.fromkeys(COMMANDS))
def test_command_works(line: str, nst_command: Command, tmp_path: Path) -> None:
    xor_picture().save(tmp_path / "photo.jpg")
    checker_picture().save(tmp_path / "art.jpg")
    checker_picture().save(tmp_path / "start.png")
    words = shlex.split(line)
    assert words[:3] == ["python", "-m", "nst"]
    # Hydra wants all overrides on one side of its flags.
    keys = {word.partition("=")[0] for word in words}
    small = [word for word in TINY if word.partition("=")[0] not in keys]
    words = [word for word in words[3:] if not word.startswith("size=")]
    # A half or a quarter of it must still do for the network.
    coarse = {"experiment=quality", "schedule=pyramid"} & set(words)
    size = f"size={96 if coarse else 32}"
    words = [*(word for word in small if word not in TINY[:1]), size, *words]
    if "study=tradeoff" in words:  # two of its 20 jobs
        words += ["loss.strength=0.5", "layers=to_relu1_1,to_relu2_1"]
    done = nst_command(*words)
    assert done.returncode == 0, done.stderr
    if "--help" not in words:
        results = list(tmp_path.glob("outputs/**/result.png"))
        assert results
        for path in results:
            Image.open(path).load()


RUNS = (REPOSITORY / "nst/run/README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("page", "left"), [(README, "result.png"), (RUNS, "losses.jsonl")])
def test_library_example_works(page: str, left: str, tmp_path: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    xor_picture().save(tmp_path / "photo.jpg")
    checker_picture().save(tmp_path / "art.jpg")
    block = block.replace("size=512", "size=32").replace("evaluations=300", "evaluations=3")
    subprocess.run([sys.executable, "-c", block], cwd=tmp_path, check=True, timeout=120)
    assert (tmp_path / left).exists()
