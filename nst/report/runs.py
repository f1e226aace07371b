"""What a sweep left behind, as plain data: losses, curves, runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SEED = "seed"
DEFAULT = "default"  # level of a factor that a run neither overrides nor records


@dataclass(frozen=True)
class Losses:
    """The losses at one evaluation.

    ``content``, ``style`` and ``tv`` are the weighted terms that add up to ``total``;
    ``layers`` holds the unweighted term of each tap. ``seconds`` is optimisation time.
    ``evaluation`` counts in full-size evaluations.
    """

    evaluation: int
    seconds: float
    content: float
    style: float
    tv: float
    total: float
    layers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PictureLosses:
    """The losses of the picture that a run saved: clipped, and rounded to what its file holds.

    ``content``, ``style`` and ``tv`` are the weighted terms that add up to ``total``;
    ``layers`` holds the unweighted term of each tap. ``clipped`` is the share in [0, 1] of the
    pixels that were clipped, ``None`` where that is unknown. Where the picture was not
    ``measured``, the losses are those of the evaluation that it was made from.
    """

    total: float
    content: float
    style: float
    tv: float
    layers: Mapping[str, float]
    clipped: float | None
    measured: bool


@dataclass(frozen=True)
class Curve:
    """The losses of one run over its evaluations: one-dimensional arrays of one length."""

    evaluation: Floats
    seconds: Floats
    content: Floats
    style: Floats
    total: Floats

    def __len__(self) -> int:
        """Return the number of evaluations."""
        return len(self.total)


@dataclass(frozen=True)
class Run:
    """One run folder, as far as it could be read.

    ``status`` is ``ok``, ``failed``, ``interrupted`` or ``missing`` (no readable
    ``result.json``). ``levels`` names this run's value of every swept factor. ``picture`` and
    ``yardstick`` are of the picture as saved; the latter's unweighted terms do not depend on
    what the run minimised. ``final`` and ``best`` are evaluations, of the image being optimised.
    ``memory`` is what it did and kept for want of it. ``picture_file`` is that of the saved
    picture, ``timelapse`` that of its film. ``overrides`` are ``None`` where they could not be
    read.
    """

    name: str
    folder: Path
    status: str
    overrides: Mapping[str, str] | None
    choices: Mapping[str, str]
    config: Mapping[str, Any]
    curve: Curve
    stop_reason: str = ""
    error: str = ""
    yardstick: Mapping[str, float] = field(default_factory=dict)
    picture: PictureLosses | None = None
    final: Losses | None = None
    best: Losses | None = None
    steps: int | None = None
    evaluations: int | None = None
    seconds: float | None = None
    evaluations_per_second: float | None = None
    size: tuple[int, int] | None = None
    seed: int | None = None
    device: str = ""
    memory: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    picture_file: Path | None = None
    timelapse: Path | None = None
    levels: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the run finished with a picture of a finite total."""
        return self.status == "ok" and self.picture is not None and np.isfinite(self.picture.total)

    def value(self, key: str) -> str:
        """Return the setting of ``key``: overridden, else chosen group, else configured."""
        if self.overrides and key in self.overrides:
            return self.overrides[key]
        if key in self.choices:
            return self.choices[key]
        node: Any = self.config
        for part in key.split("."):
            node = node.get(part) if isinstance(node, Mapping) else None
        return DEFAULT if node is None or isinstance(node, Mapping | list) else str(node)

    def level(self, key: str) -> str:
        """Return the setting of ``key``, ``?`` where no settings could be read.

        Of ``model.weights=auto`` it says which were found.
        """
        if not (self.overrides or self.config):
            return "?"
        value, source = self.value(key), self.weights.get("source")
        return f"auto ({source})" if (key, value) == ("model.weights", "auto") and source else value


@dataclass(frozen=True)
class Sweep:
    """All runs of one folder, ordered by their levels, and what was swept.

    ``factors`` maps each swept override key to its levels in display order. ``seed`` is a
    factor here, but one that only repeats a setting. ``question`` is that of the study which
    the sweep came from, empty where it came from none. ``searched`` is whether a search
    proposed the values.
    """

    folder: Path
    runs: tuple[Run, ...]
    factors: Mapping[str, tuple[str, ...]]
    question: str = ""
    searched: bool = False

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    @property
    def of_taste(self) -> bool:
        """Whether the runs differ in how much style was asked for, which no number ranks.

        A search was told what to minimise.
        """
        return "loss.strength" in self.factors and not self.searched

    @property
    def title(self) -> str:
        """What the sweep is about: its study's question, else the folder's name."""
        return self.question or self.name

    @property
    def axes(self) -> tuple[str, ...]:
        """The factors that make a setting: all but the seed."""
        return tuple(key for key in self.factors if key != SEED)
