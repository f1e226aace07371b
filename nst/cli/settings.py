"""A run's settings: its resolved config as text, and the SHA-256 by which runs are told apart."""

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nst.files import sha256

# Groups that are open to classes of the user's.
PLUGGABLE = (
    "optimizer",
    "init",
    "parametrization",
    "gamut",
    "color",
    "content_loss",
    "style_loss",
)
# Keys that name or repeat a run but change nothing in it.
OUTSIDE = ("name", "force", "metric", "resume", "checkpoint", "study")
# Keys whose values may be names of files.
_NAME_FILES = ("content", "style", "regions", "model", *PLUGGABLE)


def resolved_yaml(config: DictConfig) -> str:
    """The config as YAML with all interpolations resolved."""
    return OmegaConf.to_yaml(config, resolve=True)


def settings_json(config: DictConfig) -> str:
    """The resolved config without the keys that change nothing in the run."""
    try:
        values = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    except OmegaConfBaseException:  # a failed run's, whose reason this is
        values = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
    assert isinstance(values, dict)  # noqa: S101 - a config is a mapping
    kept = {key: value for key, value in values.items() if key not in OUTSIDE}
    return json.dumps(kept, sort_keys=True)


def config_sha256(config: DictConfig) -> str:
    """SHA-256 of `settings_json`, with the contents of files in place of their names.

    Files are all pictures, weights of the user's own, and whatever file an option of the
    optimizer, the init, the parametrization, the gamut, the colours or the statistics names; of a
    run's folder that one names, its `result.json` and its picture.
    """
    settings = json.loads(settings_json(config))
    settings |= {key: _contents(settings[key]) for key in _NAME_FILES}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _contents(value: Any) -> Any:
    """A value with the SHA-256 of files in place of their names."""
    if isinstance(value, dict):
        return {k: v if str(k).startswith("_") else _contents(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_contents(one) for one in value]
    if not isinstance(value, str):
        return value
    path = Path(value)
    try:
        if (path / "result.json").is_file():  # a run's folder
            return [_contents(str(one)) for one in sorted(path.glob("result.*"))]
        about = path.stat()
        return _file_sha256(path, about.st_mtime_ns, about.st_size) if path.is_file() else value
    except (OSError, ValueError):
        return value


@lru_cache(maxsize=64)
def _file_sha256(path: Path, _modified: int, _size: int) -> str:
    return sha256(path)
