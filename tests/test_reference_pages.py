"""The pages of reference: tables say what the config says, commands and links work."""

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import (
    BooleanNode,
    Container,
    DictConfig,
    EnumNode,
    FloatNode,
    IntegerNode,
    Node,
    OmegaConf,
    StringNode,
    open_dict,
)
from PIL import Image

from nst.cli import app, build, schema
from nst.cli.arguments import prepared
from nst.cli.schema.choices import names
from nst.errors import InputError
from nst.run.strategy import Alone
from support import REPOSITORY, TINY, checker_picture, composed, xor_picture

CONF = app.config_dir()
PAGES = {
    str(path.relative_to(REPOSITORY)): path.read_text()
    for pattern in ("*.md", "conf/**/*.md", "nst/**/*.md", "scripts/**/*.md")
    for path in REPOSITORY.glob(pattern)
}
KEYS = PAGES["conf/README.md"]
JOBS = PAGES["conf/hydra/README.md"]

# --- Keys -----------------------------------------------------------------------------------------

FOLDERS = {path.parent.name for path in CONF.glob("*/*.yaml")} - {"rounding"}
# Their options set keys of other groups.
OVERLAYS = sorted(FOLDERS & {"experiment", "study"})
GROUPS = sorted(FOLDERS - {*OVERLAYS})
OPTIONS = {group: {path.stem for path in CONF.glob(f"{group}/*.yaml")} for group in FOLDERS}
# In place of a group, for the keys outside of all groups.
OUTSIDE = ""
REQUIRED = {"image": "init.path=x.png", "result": "init.folder=x"}
NUMBER = re.compile(
    r"(?P<whole>whole )?number"
    r"(?: above (?P<above>\S+)|, at least (?P<least>[^\s,]+)| from (?P<first>\S+) to (?P<last>\S+))"
    r"(?:, below (?P<below>\S+))?(?: or `null`)?"
)


@dataclass
class Row:
    """What a table says of a key."""

    options: list[str]
    key: str
    default: str
    values: str

    def default_of(self, option: str) -> str:
        """`1`; `a`, `b`: `2` is 2 for a and b, and 1 for the others."""
        usual, *exceptions = self.default.split("; ")
        for exception in exceptions:
            options, _, value = exception.rpartition(": ")
            if option in quoted(options):
                return value
        return usual


def section(page: str, heading: str) -> str:
    """What is below a heading, down to the next one of its level or of one above."""
    _, found, text = page.partition(f"\n{heading}\n")
    assert found, f"there is no section {heading}"
    marks = heading.partition(" ")[0]
    return re.split(rf"^#{{1,{len(marks)}}} ", text, maxsplit=1, flags=re.MULTILINE)[0]


def tables(text: str) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Header and rows of each table."""
    for table in re.findall(r"(?:^\|.*\|$\n?)+", text, re.MULTILINE):
        header, _, *rows = ([c.strip() for c in row[1:-1].split("|")] for row in table.splitlines())
        yield header, rows


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]*)`", cell)


def of_group(group: str) -> str:
    return section(KEYS, f"### `{group}`" if group else "## Keys outside the groups")


def rows_of(group: str) -> list[Row]:
    """The rows of tables of keys; those whose header names no options are of all."""
    return [
        Row(quoted(header[0]) or sorted(OPTIONS.get(group, {OUTSIDE})), quoted(key)[0], *cells[:2])
        for header, rows in tables(of_group(group))
        if header[0].startswith("key")
        for key, *cells in rows
    ]


@cache
def config_of(group: str, option: str) -> DictConfig:
    app.register()
    extra = [REQUIRED[option]] if option in REQUIRED else []
    return composed(*([f"{group}={option}", *extra] if group else []))


def nodes_of(group: str, config: DictConfig) -> dict[str, Node]:
    """Every key of a group, or outside of the groups, with its node."""
    if group:
        return nodes(config[group], group)
    found: dict[str, Node] = {}
    for name in config:
        if name not in FOLDERS:
            node = config._get_node(name)
            found |= nodes(node, name) if isinstance(node, DictConfig) else {name: node}
    return found


def nodes(config: DictConfig, within: str) -> dict[str, Node]:
    """Every key below a config; what is made by a class of its own is a key too."""
    found: dict[str, Node] = {}
    for name in config:
        key, node = f"{within}.{name}", config._get_node(name)
        if isinstance(node, DictConfig):
            found |= {key: node} if "_target_" in node else {}
            found |= nodes(node, key)
        elif name not in ("_target_", "_partial_"):
            found[key] = node
    return found


def says(cell: str, node: Node) -> bool:
    """Whether a cell has a node's value; of one that is found elsewhere it says so in words."""
    if isinstance(node, DictConfig):
        return quoted(cell)[0] == node._target_.rpartition(".")[2]
    value = OmegaConf.to_container(node) if isinstance(node, Container) else node._value()
    literal = re.fullmatch("`([^`]*)`", cell)
    if isinstance(value, str) and "${" in value:
        return bool(cell) and not literal
    return literal is not None and OmegaConf.create(f"x: {literal[1]}").x == names(value)


@pytest.mark.parametrize("group", GROUPS)
def test_every_option_of_a_group_is_listed(group: str) -> None:
    listed = [
        row[0] for header, rows in tables(of_group(group)) for row in rows if header[0] == "option"
    ]
    assert {name for cell in listed for name in quoted(cell)} == OPTIONS[group]
    (default,) = (cell for cell in listed if cell.startswith("**"))
    (chosen,) = (
        entry[group]
        for entry in OmegaConf.load(CONF / "config.yaml").defaults
        if isinstance(entry, DictConfig) and group in entry
    )
    assert quoted(default) == [chosen]


@pytest.mark.parametrize("group", OVERLAYS)
def test_every_overlay_is_listed(group: str) -> None:
    ((_, rows),) = tables(of_group(group))
    assert {name for row in rows for name in quoted(row[0])} == OPTIONS[group]


@pytest.mark.parametrize("group", [OUTSIDE, *(group for group in GROUPS if group != "layers")])
def test_every_key_is_listed_with_its_default(group: str) -> None:
    rows = rows_of(group)
    adam = nodes_of("optimizer", config_of("optimizer", "adam"))
    for option in OPTIONS.get(group, {OUTSIDE}):
        listed = {row.key: row.default_of(option) for row in rows if option in row.options}
        found = nodes_of(group, config_of(group, option))
        # An optimizer within another has the keys of its own option, and only what differs is said.
        found = {
            key: node
            for key, node in found.items()
            if adam.get(key.replace("optimizer.optimizer.", "optimizer."), 0) != node
            or key in listed
            or key.count(".") < 2
        }
        assert listed.keys() == found.keys(), option
        wrong = [key for key, node in found.items() if not says(listed[key], node)]
        if option in REQUIRED:
            (required,) = wrong
            assert (required, listed[required]) == (REQUIRED[option].partition("=")[0], "required")
        else:
            assert not wrong, option


@pytest.mark.parametrize("group", [OUTSIDE, *(group for group in GROUPS if group != "layers")])
def test_values_are_those_that_a_key_takes(group: str) -> None:
    for row in rows_of(group):
        config = config_of(group, row.options[0])
        node = nodes_of(group, config)[row.key]
        choices = {*quoted(row.values)}
        if isinstance(node, EnumNode | BooleanNode | FloatNode | IntegerNode | StringNode):
            assert ("null" in choices) == node._is_optional(), row.key
        if isinstance(node, EnumNode):
            assert choices - {"null"} == {member.value for member in node.enum_type}, row.key
        elif isinstance(node, BooleanNode):
            assert choices == {"true", "false"}, row.key
        elif isinstance(node, FloatNode | IntegerNode):
            for value, valid in probes(row.values, whole=isinstance(node, IntegerNode)):
                assert takes(config, row.key, value) == valid, (row.key, value)


def probes(values: str, *, whole: bool) -> Iterator[tuple[float, bool]]:
    """Numbers at the bounds that a cell names, each with whether it is one of the values."""
    found = NUMBER.fullmatch(values)
    assert found, values
    assert bool(found["whole"]) == whole, values
    step = 1 if whole else 1e-6
    bounds = {
        name: ast.literal_eval(text)
        for name, text in found.groupdict().items()
        if name != "whole" and text
    }
    for name, bound in bounds.items():
        inwards = -step if name in ("last", "below") else step
        yield bound, name in ("least", "first", "last")
        yield bound + inwards, True
        yield bound - inwards, False


def takes(config: DictConfig, key: str, value: float) -> bool:
    changed = config.copy()
    OmegaConf.update(changed, key, value)
    try:
        build._prepared(schema.validate(changed), Path(), lambda: None, Alone())
    except InputError:
        return False
    return True


def test_layers_of_each_option_are_listed() -> None:
    ((_, rows),) = tables(of_group("layers"))
    for option, *cells, _ in rows:
        (name,) = quoted(option)
        layers = composed(f"layers={name}").layers
        for term, cell in zip(("content", "style"), cells, strict=True):
            listed = dict(re.findall(r"`(\w+)` (\S+?)(?:,|$)", cell))
            weights = {tap: weight for tap, weight in layers[term].items() if weight}
            assert {tap: float(weight) for tap, weight in listed.items()} == weights, name


def test_every_launcher_and_sweeper_is_listed_and_its_keys_are_true() -> None:
    for preset in (CONF / "hydra").glob("*er/*.yaml"):
        if preset.stem == "nst":  # what there is without a choice
            continue
        assert f"hydra/{preset.parent.name}={preset.stem}" in JOBS
    checked = 0
    for header, rows in tables(JOBS):
        for row in rows if header[0] == "key" else []:
            (key,) = quoted(row[0])
            where, name = re.fullmatch(
                r"hydra\.(launcher|sweeper\.sampler|sweeper)\.(.*)", key
            ).groups()
            file = (
                quoted(row[1])[0]
                if header[1] == "of"
                else {"sweeper": "optuna"}.get(where, "seeded")
            )
            value = OmegaConf.load(CONF / "hydra" / where.replace(".", "/") / f"{file}.yaml")
            for part in name.split("."):
                value = value[part]
            listed = OmegaConf.create(quoted(row[header.index("default")]))
            found = (
                OmegaConf.create("\n".join(listed))
                if len(listed) > 1
                else OmegaConf.create(f"x: {listed[0]}").x
            )
            assert found == value, key
            checked += 1
    assert checked > 10


# --- Commands -------------------------------------------------------------------------------------

# Those of the README are run for real, see test_readme.
COMMANDS = {
    (page, line)
    for page, text in PAGES.items()
    if page != "README.md"
    for line in [
        *(
            line.partition("  #")[0].strip()
            for block in re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
            for line in block.replace("\\\n", " ").splitlines()
            if line.strip()
        ),
        *re.findall(
            r"`(python -m nst(?: [^`]*)?)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
        ),
    ]
}
NST = sorted({line for _, line in COMMANDS if " -m nst" in line and "-m nst.report" not in line})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the pages speak of: pictures, masks, and options of one's own as they have them."""
    for name in ("photo.jpg", "my photo, 2.jpg"):
        xor_picture().save(tmp_path / name)
    for name in ("art.jpg", "a.jpg", "b.jpg", "start.png"):
        checker_picture().save(tmp_path / name)
    mask = Image.linear_gradient("L").point(lambda value: 255 * (value > 100))
    mask.save(tmp_path / "sky.png")
    for name in ("map.png", "style_map.png"):
        mask.convert("RGB").save(tmp_path / name)
    own = section(KEYS, "## Options of your own")
    rmsprop, mean_color, mean = re.findall(r"```yaml\n(.*?)```", own, re.DOTALL)
    inits, losses = re.findall(r"```python\n(.*?)```", own, re.DOTALL)
    for path, text in {
        "my_conf/optimizer/rmsprop.yaml": rmsprop,
        "my_conf/init/mean_color.yaml": mean_color,
        "my_conf/style_loss/mean.yaml": mean,
        "my_inits.py": inits,
        "my_losses.py": losses,
    }.items():
        assert path in own
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def jobs_of(line: str, *more: str) -> list[DictConfig]:
    """The configs of a command's jobs, of many the first and the last."""
    words = shlex.split(line)
    arguments = prepared(words[words.index("nst") + 1 :])
    overrides = [word for word in arguments if "=" in word]
    if "--config-dir" in arguments:
        own = arguments[arguments.index("--config-dir") + 1]
        overrides.append(f"hydra.searchpath=[file://{Path(own).absolute()}]")
    app.register()
    app._prefer_presets()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        if "--multirun" not in arguments:
            jobs = [overrides]
        else:
            parsed = OverridesParser.create().parse_overrides(overrides)
            (jobs,) = BasicSweeper.split_arguments(parsed, None)
            assert len(jobs) > 1 or "hydra/sweeper" in line
        return [
            compose("config", [*job, *more], return_hydra_config=True)
            for job in (jobs if len(jobs) < 3 else [jobs[0], jobs[-1]])
        ]


@pytest.mark.parametrize("line", NST)
@pytest.mark.usefixtures("folder")
def test_command_is_valid(line: str) -> None:
    for config in jobs_of(line):
        build.check(config)


@pytest.mark.parametrize("line", [line for line in NST if "'" in line or "PYTHONPATH=." in line])
def test_command_with_pictures_or_options_of_ones_own_works(line: str, folder: Path) -> None:
    config = jobs_of(line, *TINY)[-1]
    with open_dict(config):
        del config["hydra"]
    left = folder / "run"
    left.mkdir()
    assert build.run(config, left, {}, lambda: None).status == "ok"


def test_other_commands_name_what_there_is() -> None:
    others = {line for _, line in COMMANDS if line not in NST}
    for line in others:
        program, *words = shlex.split(line)
        if program == "python" and words[0].startswith("scripts/"):
            program = words.pop(0)
            source = "\n".join(
                path.read_text() for path in (REPOSITORY / program).parent.glob(Path(program).name)
            )
            for flag in (word for word in words if word.startswith("--")):
                assert f'"{flag}"' in source, line
        if program.startswith(("./scripts/", "scripts/")):
            assert (REPOSITORY / program).is_file(), line
        else:
            assert program in ("sbatch", "tensorboard", "ruff") or words[:2] == [
                "-m",
                "nst.report",
            ], line
    assert len(others) > 10


# --- Links ----------------------------------------------------------------------------------------


def anchors(page: str) -> set[str]:
    """Of a page's headings, as GitHub makes them: a heading that is there twice counts up."""
    text = re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
    found: list[str] = []
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return set(found)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", PAGES[page]):
        target, _, anchor = link.partition("#")
        path = (REPOSITORY / page).parent / target if target else REPOSITORY / page
        assert path.exists(), link
        if anchor:
            assert anchor in anchors(path.read_text()), link


def test_every_page_is_linked_to() -> None:
    linked = {
        ((REPOSITORY / page).parent / link.partition("#")[0]).resolve()
        for page, text in PAGES.items()
        for link in re.findall(r"\]\((?!https?:)([^)\s#]+)", text)
    }
    assert {str(path.relative_to(REPOSITORY)) for path in linked} >= PAGES.keys() - {"README.md"}
