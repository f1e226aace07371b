"""What may be typed as a picture: any name of a file, folders, patterns."""

import os
from pathlib import Path

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from nst.cli.arguments import prepared
from nst.cli.grammar import read
from nst.report.scan import _unquote

# Made of what means something to Hydra, OmegaConf or a shell, or of anything.
NAMES = st.one_of(
    st.text("ab1._-= ,'\"\\${}()[]~+#:*?\n사é", min_size=1, max_size=12),
    st.text(min_size=1, max_size=60),
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


def touched(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def values(argument: str) -> list[object]:
    """What the config of each job has where an argument is a sweep."""
    (jobs,) = BasicSweeper.split_arguments([OverridesParser.create().parse_override(argument)], 99)
    found = []
    for (job,) in jobs:
        override = OverridesParser.create().parse_override(job)
        found.append(OmegaConf.to_container(OmegaConf.create({"x": override.value()}))["x"])
        if isinstance(found[-1], str) and "${" in found[-1]:
            found[-1] = OmegaConf.create({"x": override.value()}).x
    return found


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=NAMES, other=NAMES)
def test_name_of_a_file_is_taken_literally(here: Path, name: str, other: str) -> None:
    try:
        touched(here, f"d/{name}", other)
    except (OSError, UnicodeEncodeError, ValueError):  # the file system does not allow it
        assume(False)
    assume((here / "d" / name).is_file() and (here / other).is_file() and other.lower() != "null")
    (argument,) = prepared([f"content=d/{name}"])
    assert values(argument) == [f"d/{name}"]
    assert read(argument.partition("=")[2]) == _unquote(argument.partition("=")[2]) == f"d/{name}"
    (argument,) = prepared([f"content={other}"])
    assert values(argument) == [other]
    if "," in name + other or name != name.rstrip() or other != other.strip():
        return  # neither a sweep nor a list can tell such names apart
    argument, _ = prepared([f"content=d/{name},{other}", "-m"])
    assert values(argument) == list(dict.fromkeys([f"d/{name}", other]))
    if {*"[]"} & {*name, *other}:
        return
    (argument,) = prepared([f"style=[d/{name},{other}]"])
    parsed = OmegaConf.create({"x": OverridesParser.create().parse_override(argument).value()})
    assert list(parsed.x) == [f"d/{name}", other]
    assert read(argument.partition("=")[2]) == [f"d/{name}", other]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("content=photo.jpg", "content=photo.jpg"),
        ("content='IMG (1).jpg'", "content='IMG (1).jpg'"),
        ("content=null", "content=null"),
        ("content=./null", "content=./null"),
        ("content=~/p q.jpg", "content='HOME/p q.jpg'"),
        ("content=~/none.jpg", "content=HOME/none.jpg"),
        ("content=${style}", "content=${style}"),
        ("content=", "content="),
        ("++init.path=a#b", "++init.path='a#b'"),
        ("style=[a#b,~/p q.jpg,007]", "style=['a#b','HOME/p q.jpg',007]"),
        ("regions.style=[IMG (1).jpg,null]", "regions.style=['IMG (1).jpg',null]"),
        ("regions.content=[ [1].png , null ]", "regions.content=['[1].png',null]"),
        ("model.weights=w=1.pth", "model.weights='w=1.pth'"),
        ("resume=run (1)", "resume='run (1)'"),
        ("hydra.run.dir=new (1)", "hydra.run.dir='new (1)'"),
        ("hydra.run.dir=~/${now:%Y}", "hydra.run.dir=HOME/${now:%Y}"),
        ("name=it's", r"name='it\'s'"),
        ("optimizer.lr=it's", "optimizer.lr=it's"),
    ],
)
def test_texts_are_what_was_typed(here: Path, typed: str, meant: str) -> None:
    touched(here, "null", "IMG (1).jpg", "[1].png", "w=1.pth", "run (1)/x", "home/p q.jpg")
    assert prepared([typed]) == [meant.replace("HOME", str(here / "home"))]


def test_folders_and_patterns_are_sweeps_of_their_pictures(here: Path) -> None:
    touched(here, "p/b.jpg", "p/a (1).PNG", "p/c.heic", "p/notes.txt", "p/.d.jpg", "p/q/e.jpg")
    touched(here, "x,y.jpg", "home/s/f.webp")
    for typed, found in {
        "content=p": ["p/a (1).PNG", "p/b.jpg", "p/c.heic"],
        "style=p/": ["p/a (1).PNG", "p/b.jpg", "p/c.heic"],
        "content=p/[ab]*": ["p/a (1).PNG", "p/b.jpg"],
        "content=p/?.jpg": ["p/b.jpg"],
        "content=p/**/*.jpg": ["p/b.jpg", "p/q/e.jpg"],
        "content=p/q,p/b.jpg,p/*.jpg": ["p/q/e.jpg", "p/b.jpg"],
        "content=~/s": [os.path.join(here, "home/s/f.webp")],
        "content=x,y.jpg": ["x,y.jpg"],
    }.items():
        argument, flag = prepared([typed, "--multirun"])
        assert values(argument) == found
        assert flag == "--multirun"
    assert prepared(["init.path=p", "-m"]) == ["init.path=p", "-m"]
    assert prepared(["content='p/*.jpg'", "-m"]) == ["content='p/*.jpg'", "-m"]
