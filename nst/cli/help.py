"""What `--help` shows: every key and config group, with the comments of the primary config."""

import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path

import yaml
from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

# Groups that options and schemas are made of; nobody chooses in them.
_INTERNAL = ("hydra", "rounding", "schema")
# Hydra's own groups that nst has options in.
_OF_SWEEPS = {
    "hydra/launcher": "where the jobs of a sweep run (--multirun)",
    "hydra/sweeper": "how a sweep chooses its values: all of them, or a search",
}
_INDENT, _WIDEST = 26, 100


def help_text(config_dir: Path, loader: ConfigLoader) -> str:
    """The keys, the groups with their options, and where to read more.

    Args:
        config_dir: the folder of the config groups.
        loader: knows the options, those in a folder of the user's too.
    """
    text = (config_dir / "config.yaml").read_text(encoding="utf-8")
    described, chosen = _groups(text)
    there = [group for group in loader.list_groups("") if group not in _INTERNAL]
    groups = {group: described.get(group, "") for group in (*described, *there)} | _OF_SWEEPS
    return "\n".join(
        [
            "Keys, with their defaults (KEY=VALUE):",
            *(_entry(key, comment) for key, comment in _keys(text)),
            "",
            "Groups (GROUP=OPTION), an asterisk at the default:",
            *(
                _entry(group, comment, _options(loader, group, chosen.get(group)))
                for group, comment in groups.items()
            ),
            "",
            "Options have keys of their own, listed with comments in the options' files:",
            f"  {config_dir}/GROUP/OPTION.yaml",
            "as composed: python -m nst optimizer=adam --cfg job --package optimizer",
        ]
    )


def _entry(name: str, *paragraphs: str) -> str:
    """A name in the margin, and what is said of it beside it."""
    width = min(_WIDEST, shutil.get_terminal_size().columns) - _INDENT
    lines = [line for each in paragraphs for line in textwrap.wrap(each, max(20, width))]
    margin = f"  {name}".ljust(_INDENT - 1)
    return "\n".join(
        f"{margin if number == 0 else ' ' * (_INDENT - 1)} {line}".rstrip()
        for number, line in enumerate(lines or [""])
    )


def _options(loader: ConfigLoader, group: str, default: str | None) -> str:
    options = loader.get_group_options(group, ObjectType.CONFIG)
    return ", ".join(f"{option}*" if option == default else option for option in options)


def _groups(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """The comment and the default option of each group in the defaults list, in its order."""
    comments, chosen = {}, {}
    defaults = dict(_items(yaml.compose(text)))["defaults"]
    assert isinstance(defaults, SequenceNode)  # noqa: S101 - as Hydra wants it
    for entry in defaults.value:
        if isinstance(entry, MappingNode):
            ((name, option),) = _items(entry)
            if " " not in name:  # neither "optional" nor "override"
                comments[name], chosen[name] = _comment(text, option), option.value
    return comments, chosen


def _keys(text: str) -> Iterator[tuple[str, str]]:
    """Each key outside the groups, such as `size=null`, and its comment."""
    for name, node in _items(yaml.compose(text)):
        if name not in ("defaults", "hydra"):
            yield from _leaves(text, name, node)


def _leaves(text: str, key: str, node: Node) -> Iterator[tuple[str, str]]:
    if isinstance(node, MappingNode):
        for name, child in _items(node):
            yield from _leaves(text, f"{key}.{name}", child)
    else:
        value = text[node.start_mark.index : node.end_mark.index]
        # What is computed is said in the comment.
        yield key if "${" in value else f"{key}={value}", _comment(text, node)


def _items(node: Node | None) -> list[tuple[str, Node]]:
    assert isinstance(node, MappingNode)  # noqa: S101 - as Hydra wants it
    return [(key.value, value) for key, value in node.value if isinstance(key, ScalarNode)]


def _comment(text: str, node: Node) -> str:
    """What stands behind a value in its line."""
    rest = text[node.end_mark.index :].partition("\n")[0].strip()
    return rest.removeprefix("#").strip() if rest.startswith("#") else ""
