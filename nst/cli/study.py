"""`study=NAME`: the overrides of a sweep under one name, with the question that they answer.

`study.sweep` maps keys to values as the command line has them (`adam,lbfgs`), all of which are
combined. `study.each` has more of them, for those jobs alone that have a certain value: of
`init=random: {seed: 0,1,2}` each job from noise gets three seeds, every other job none.

What the command line says of a key counts in place of all that the study says of it.
"""

from collections.abc import Mapping, Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from nst.cli.arguments import prepared
from nst.errors import InputError

# Jobs whose configs `nst.cli.app` has composed before the sweep, by their overrides.
COMPOSED: set[tuple[str, ...]] = set()
# What is settled before there are jobs.
_OF_THE_COMMAND = ("name", "resume", "study")


def overrides(
    study: DictConfig | None, given: Sequence[Override], parser: OverridesParser
) -> list[Override]:
    """What all jobs of a sweep share, and what is combined: the study's, then the command line's.

    Of a key that is there twice, the last one counts later on, in the first one's place.

    Args:
        study: the config's node, see `nst.cli.schema.StudyConf`.
        given: on the command line.
        parser: of overrides.

    Raises:
        nst.errors.InputError: a key of the study that no job can have for its own.
        hydra.errors.HydraException: a value of the study that cannot be parsed.
    """
    own = _parsed(study.sweep, parser) if study is not None else []
    # With a + before it, Hydra takes the same key for another one.
    typed = {_target(one): one.get_key_element() for one in given}
    kept = [
        one
        for one in own
        if typed.get(_target(one), one.get_key_element()) == one.get_key_element()
    ]
    return [*kept, *given]


def jobs(
    study: DictConfig | None, given: Sequence[Override], parser: OverridesParser
) -> list[list[str]]:
    """The overrides of each job of a sweep.

    Args:
        study: see `overrides`.
        given: likewise.
        parser: likewise.

    Raises:
        nst.errors.InputError: see `overrides`; or `each` has a condition on a key that the study
            does not sweep.
        hydra.errors.HydraException: see `overrides`; or a search's values, which are no list.
    """
    found = _combined(overrides(study, given, parser))
    if study is None:
        return found
    typed = {_target(one) for one in given}
    more = [
        (
            _condition(text, study.sweep, parser),
            [one for one in _parsed(values, parser) if _target(one) not in typed],
        )
        for text, values in study.each.items()
    ]
    all_jobs = []
    for job in found:
        has = _values(parser.parse_overrides(job))
        own = [one for condition, values in more if condition & has for one in values]
        all_jobs += _combined([*parser.parse_overrides(job), *own])
    # Where `each` has other values of a key that is swept, several jobs become the same.
    return [list(job) for job in dict.fromkeys(map(tuple, all_jobs))]


def _target(override: Override) -> tuple[str, str | None]:
    """The key or group that an override sets, and where."""
    return override.key_or_group, override.package


def _parsed(values: Mapping[str, str], parser: OverridesParser) -> list[Override]:
    """Values of a study's keys, as if they had been typed."""
    for key, value in values.items():
        if not isinstance(value, str):  # nor a number, which the schema has made one
            raise InputError(
                f"study: {key} must be as on the command line, such as 'a,b', not {value}"
            )
    typed = [f"{key}={value}" for key, value in values.items()]
    found = parser.parse_overrides(prepared([*typed, "--multirun"])[:-1])
    for one in found:
        if one.is_hydra_override() or one.key_or_group in _OF_THE_COMMAND:
            raise InputError(f"study: {one.key_or_group} belongs on the command line")
    return found


def _condition(
    text: str, sweep: Mapping[str, str], parser: OverridesParser
) -> set[tuple[str, str]]:
    """The keys with their values of which a job must have one."""
    key, equals, _ = text.partition("=")
    if not equals or key not in sweep:
        raise InputError(
            f"study.each.{text}: must be KEY=VALUE with a key of study.sweep "
            f"({', '.join(sweep) or 'which is empty'})"
        )
    jobs_with = _combined(parser.parse_overrides(prepared([text, "--multirun"])[:-1]))
    return {found for job in jobs_with for found in _values(parser.parse_overrides(job))}


def _values(overrides: Sequence[Override]) -> set[tuple[str, str]]:
    """Keys with their values, however these are quoted."""
    return {(one.key_or_group, str(one.value())) for one in overrides}


def _combined(found: Sequence[Override]) -> list[list[str]]:
    """Each combination of values; of a key that is there twice the last ones count."""
    (batch,) = BasicSweeper.split_arguments(list(found), None)
    return batch
