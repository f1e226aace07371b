"""The report on synthetic sweeps whose losses have a closed form."""

from __future__ import annotations

import ast
import csv
import itertools
import json
import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import rcParams
from matplotlib.figure import Figure
from PIL import Image

import nst.report
from nst.report import Report, ReportError, curves, text, write_report
from nst.report.__main__ import main
from nst.report.canvas import Sheet
from nst.report.curves import band
from nst.report.findings import find
from nst.report.fonts import fonts_for
from nst.report.layout import arrange
from nst.report.measures import first_reach, stability, target_total
from nst.report.observations import Observation
from nst.report.runs import Curve, Losses, PictureLosses, Run
from nst.report.scan import natural, read_curve, read_sweep
from nst.report.sheet import _result, compose

FILES = ("summary.csv", "comparison.png", "losses.png", "report.html")
SHA = "ab" * 32
Total = Callable[[int], float]
Json = dict[str, Any]

# Every synthetic run decays geometrically: total(e) = floor + (start - floor) * rate ** (e - 1).
FLOOR = {"adam": 3.0, "lbfgs": 2.0}
START = {"content": 10.0, "random": 80.0}
RATE = {"adam": 0.96, "lbfgs": 0.80}
SECONDS = {"adam": 0.1, "lbfgs": 0.125}  # per evaluation
EVALUATIONS = 60
ROUNDED = 0.05  # what saving an image adds to its total: less than 5 % of every floor
CLIPPED = 0.031
FOUR = {"optimizer": ["adam", "lbfgs"], "init": ["random", "content"]}
TWELVE = {**FOUR, "seed": ["0", "1", "2"]}
THIRTY = {
    "optimizer": ["adam", "lbfgs"],
    "init": ["random", "content", "style"],
    "seed": list("01234"),
}


def floor(setting: Mapping[str, str]) -> float:
    """Return the limit of a run's total: it depends on optimizer, init and seed."""
    init = 1.25 if setting.get("init") != "content" else 1.0
    return FLOOR[setting.get("optimizer", "adam")] * init + 0.01 * int(setting.get("seed", 0))


def decay(setting: Mapping[str, str]) -> Total:
    start, rate = START.get(setting.get("init", ""), 40.0), RATE[setting.get("optimizer", "adam")]
    limit = floor(setting)
    return lambda evaluation: limit + (start - limit) * rate ** (evaluation - 1)


def spiky(setting: Mapping[str, str]) -> Total:
    """Return `decay`, but for L-BFGS from random a loss that triples at evaluation 9."""
    total = decay(setting)
    jumps = setting["optimizer"] == "lbfgs" and setting["init"] == "random"
    return lambda e: 3 * total(e - 1) if jumps and e == 9 else total(e)


def loss_row(evaluation: int, total: float, per_evaluation: float, from_content: bool) -> Json:
    content = 0.0 if from_content and evaluation == 1 else 0.4 * total
    return {
        "step": evaluation,
        "evaluation": evaluation,
        "seconds": evaluation * per_evaluation,
        "content": content,
        "style": total - content,
        "tv": 0.0,
        "total": total,
        "layers": {"content/relu4_2": content, "style/relu1_1": (total - content) / 1e6},
    }


def rows_for(setting: Mapping[str, str], total: Total, evaluations: int) -> list[Json]:
    pace = SECONDS[setting.get("optimizer", "adam")]
    from_content = setting.get("init") == "content"
    return [loss_row(e, total(e), pace, from_content) for e in range(1, evaluations + 1)]


def picture_of(total: float | None, clipped: float = CLIPPED) -> Json:
    """Return the record of a saved picture; its shares of the terms are not those of a row."""
    content, style = (None, None) if total is None else (0.3 * total, 0.7 * total)
    return {
        "file": "result.png",
        "total": total,
        "content": content,
        "style": style,
        "tv": None if total is None else 0.0,
        "layers": {
            "content/relu4_2": content,
            "style/relu1_1": None if style is None else style / 1e6,
        },
        "clipped": clipped,
    }


def picture_total(total: Total) -> float:
    """Return the total of the picture of a run whose last evaluation is its best."""
    return total(EVALUATIONS) + ROUNDED


def result_for(setting: Mapping[str, str], rows: Sequence[Json], **changes: Any) -> Json:
    seconds = rows[-1]["seconds"]
    best = min(rows, key=lambda row: row["total"])
    return {
        "status": "ok",
        "stop_reason": "evaluations",
        "error": None,
        "final": rows[-1],
        "best": best,
        "picture": picture_of(best["total"] + ROUNDED),
        "steps": len(rows),
        "evaluations": len(rows),
        "seconds": seconds,
        "evaluations_per_second": len(rows) / seconds,
        "size": [16, 12],
        "seed": int(setting.get("seed", 0)),
        "device": "cpu",
        "weights": {"source": "imagenet", "sha256": SHA, "pooling": "avg"},
        "config_sha256": "0" * 64,
        "versions": {"torch": "2.14.1", "nst": "0.1.0"},
    } | changes


def write_run(
    folder: Path,
    setting: Mapping[str, str],
    total: Total | None = None,
    evaluations: int = EVALUATIONS,
    config: Json | None = None,
    **changes: Any,
) -> Path:
    """Write a run folder as a job leaves it."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / "images").mkdir()
    overrides = [f"{key}={value}" for key, value in setting.items()] + ["budget.evaluations=60"]
    (folder / ".hydra/overrides.yaml").write_text(yaml.safe_dump(overrides))
    if config is not None:
        (folder / ".hydra/config.yaml").write_text(yaml.safe_dump(config))
    rows = rows_for(setting, total or decay(setting), evaluations)
    (folder / "losses.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "result.json").write_text(json.dumps(result_for(setting, rows, **changes)))
    for name, colour in {"result": (90, 120, 200), "images/content": (200, 180, 90)}.items():
        Image.new("RGB", (16, 12), colour).save(folder / f"{name}.png")
    Image.new("RGB", (16, 12), (30, 60, 90)).save(folder / "images/style.png")
    return folder


def write_sweep(
    folder: Path,
    factors: Mapping[str, Sequence[str]],
    shape: Callable[[Mapping[str, str]], Total] = decay,
) -> Path:
    for levels in itertools.product(*factors.values()):
        setting = dict(zip(factors, levels, strict=True))
        slug = "_".join(f"{key}-{value}" for key, value in sorted(setting.items()))
        write_run(folder / slug, setting, shape(setting))
    return folder


def break_job(run: Path, **result: Any) -> None:
    """Turn a finished run into a failed one."""
    found = json.loads((run / "result.json").read_text())
    found |= {"status": "failed", "stop_reason": "exception", "final": None, "best": None}
    found["picture"] = None
    (run / "result.json").write_text(json.dumps(found | result))
    (run / "result.png").unlink()


def kill_job(run: Path) -> None:
    """Turn a finished run into one killed at its tenth evaluation, in the middle of a line."""
    (run / "result.json").unlink()
    (run / "result.png").unlink()
    lines = (run / "losses.jsonl").read_text().splitlines(keepends=True)
    (run / "losses.jsonl").write_text("".join(lines[:10]) + lines[10][:17])
    (run / ".hydra/config.yaml").write_text("loss: {style_weight: [")


def read_csv(folder: Path) -> list[dict[str, str]]:
    with (folder / "summary.csv").open(newline="") as file:
        return list(csv.DictReader(file))


class Page(HTMLParser):
    """The text, table rows and references of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.rows: list[list[str]] = []
        self.references: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.references += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page_of(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return write_report(write_sweep(tmp_path_factory.mktemp("four"), FOUR, spiky))


@pytest.fixture(scope="module")
def twelve(tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = write_sweep(tmp_path_factory.mktemp("twelve"), TWELVE, spiky)
    break_job(folder / "init-content_optimizer-adam_seed-1", error="RuntimeError: out of memory")
    kill_job(folder / "init-random_optimizer-lbfgs_seed-2")
    return write_report(folder)


@pytest.fixture(scope="module")
def thirty(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return write_report(write_sweep(tmp_path_factory.mktemp("thirty"), THIRTY))


def test_files_are_whole_and_nothing_else_is_left(four: Report) -> None:
    assert [path.name for path in four.files] == list(FILES)
    beside = {path.name for path in four.folder.iterdir() if not (path / ".hydra").is_dir()}
    assert beside == {*FILES, ".nst"}
    for name in ("comparison.png", "losses.png"):
        with Image.open(four.folder / name) as picture:
            picture.verify()


def test_csv_holds_a_row_per_run_with_what_was_swept(four: Report) -> None:
    rows = read_csv(four.folder)
    assert four.factors == {"optimizer": ("adam", "lbfgs"), "init": ("content", "random")}
    assert [(row["optimizer"], row["init"]) for row in rows] == [
        ("adam", "content"),
        ("adam", "random"),
        ("lbfgs", "content"),
        ("lbfgs", "random"),
    ]
    for row, run in zip(rows, four.runs, strict=True):
        total = spiky(row)(EVALUATIONS)
        assert row["run"] == f"init-{row['init']}_optimizer-{row['optimizer']}" == run.name
        assert (row["status"], row["stop_reason"], row["error"]) == ("ok", "evaluations", "")
        assert float(row["final_total"]) == float(row["best_total"]) == total
        saved = total + ROUNDED
        assert float(row["picture_total"]) == saved
        assert float(row["picture_content"]) == float(row["content/relu4_2"]) == 0.3 * saved
        assert float(row["picture_style"]) == 0.7 * saved
        assert float(row["style/relu1_1"]) == pytest.approx(0.7e-6 * saved)
        assert (float(row["picture_tv"]), float(row["clipped"])) == (0.0, CLIPPED)
        assert int(row["evaluations"]) == int(row["best_evaluation"]) == EVALUATIONS
        assert float(row["evaluations_per_second"]) == pytest.approx(1 / SECONDS[row["optimizer"]])
        assert row["weights"] == f"imagenet {SHA}"


def test_convergence_matches_the_closed_form(four: Report) -> None:
    worst = {"optimizer": "adam", "init": "random"}
    target = decay(worst)(EVALUATIONS)
    for row in read_csv(four.folder):
        limit, start, rate = floor(row), START[row["init"]], RATE[row["optimizer"]]
        needed = 1 + math.ceil(math.log((target - limit) / (start - limit)) / math.log(rate) - 1e-9)
        assert float(row["target_total"]) == target
        assert int(row["evaluations_to_target"]) == max(1, needed)
        expected = max(1, needed) * SECONDS[row["optimizer"]]
        assert float(row["seconds_to_target"]) == pytest.approx(expected)


def test_stability_matches_the_closed_form(four: Report) -> None:
    for row in read_csv(four.folder):
        jumps = (row["optimizer"], row["init"]) == ("lbfgs", "random")
        assert float(row["largest_jump"]) == pytest.approx(3.0 if jumps else 1.0)
        assert float(row["raised_share"]) == pytest.approx(jumps / (EVALUATIONS - 1))


def test_factor_ratios_are_those_of_the_csv(four: Report) -> None:
    totals = {(r["optimizer"], r["init"]): float(r["picture_total"]) for r in read_csv(four.folder)}
    effects = {effect.factor: effect for effect in four.findings.effects}
    optimizer, init = effects["optimizer"], effects["init"]
    assert (optimizer.level, optimizer.baseline) == ("adam", "lbfgs")
    assert (init.level, init.baseline) == ("random", "content")
    assert optimizer.ratios == {
        "init=content": totals["adam", "content"] / totals["lbfgs", "content"],
        "init=random": totals["adam", "random"] / totals["lbfgs", "random"],
    }
    product = math.prod(optimizer.ratios.values())
    assert optimizer.geometric_mean == pytest.approx(math.sqrt(product))


def test_all_five_observations_hold_in_a_sweep_made_so(four: Report) -> None:
    found = four.findings.observations
    assert [item.verdict for item in found] == ["holds"] * 5
    first = found[0].numbers["init=random"]
    # Of the pair Adam is worse, so it needs all its evaluations to get where it ends.
    assert first["second_evaluations"] == EVALUATIONS
    assert first["second_seconds"] == pytest.approx(EVALUATIONS * SECONDS["adam"])
    assert first["final_ratio"] == pytest.approx(
        picture_total(decay({"optimizer": "adam", "init": "random"}))
        / picture_total(decay({"optimizer": "lbfgs", "init": "random"}))
    )
    assert found[1].numbers["optimizer=lbfgs"]["second_jump"] == pytest.approx(3.0)
    assert found[2].numbers[""] == {"unstable": 1, "runs": 1, "jump": pytest.approx(3.0)}


def test_observations_do_not_hold_where_the_roles_are_swapped(tmp_path: Path) -> None:
    other = {"adam": "lbfgs", "lbfgs": "adam", "content": "random", "random": "content"}
    write_sweep(tmp_path, FOUR, lambda s: decay({key: other[value] for key, value in s.items()}))
    found = find(read_sweep(tmp_path)).observations
    verdicts = [item.verdict for item in found]
    assert verdicts == ["does not hold", *["not seen here"] * 2, *["does not hold"] * 2]


def test_partly_holding_is_not_holding_and_says_so(tmp_path: Path) -> None:
    def shape(setting: Mapping[str, str]) -> Total:
        swap = {"adam": "lbfgs", "lbfgs": "adam"}
        mirrored = dict(setting, optimizer=swap[setting["optimizer"]])
        return decay(mirrored if setting["init"] == "random" else setting)

    first = find(read_sweep(write_sweep(tmp_path, FOUR, shape))).observations[0]
    assert first.verdict == "does not hold"
    assert first.evidence[0] == "It holds in 1 of 2 comparisons."
    failing = [line.partition(":")[0] for line in first.evidence if "does not hold here" in line]
    assert failing == ["init=random"]


def test_ties_say_nothing_against_a_claim(tmp_path: Path) -> None:
    def shape(setting: Mapping[str, str]) -> Total:
        alike = setting["init"] == "random"
        return decay(dict(setting, optimizer="adam") if alike else setting)

    first = find(read_sweep(write_sweep(tmp_path, FOUR, shape))).observations[0]
    assert first.verdict == "holds"
    assert [line.endswith("(a tie)") for line in first.evidence] == [False, True]
    assert first.evidence[1].startswith("init=random: L-BFGS and Adam both ended at ")


@pytest.mark.parametrize(
    ("ties", "summary"),
    [
        (1, "It holds in 4 of 4 comparisons; 1 is a tie."),
        (5, "All 5 comparisons are ties."),
    ],
)
def test_many_comparisons_are_summed_up_with_their_ties(
    tmp_path: Path, ties: int, summary: str
) -> None:
    factors = {"optimizer": ["adam", "lbfgs"], "size": ["1", "2", "3", "4", "5"]}

    def shape(setting: Mapping[str, str]) -> Total:
        return decay(dict(setting, optimizer="adam") if int(setting["size"]) <= ties else setting)

    first = find(read_sweep(write_sweep(tmp_path, factors, shape))).observations[0]
    assert first.verdict == ("not seen here" if ties == 5 else "holds")
    assert first.evidence[0] == summary
    assert len(first.evidence) == 6


def test_settings_that_end_alike_have_no_winner(tmp_path: Path) -> None:
    for name in "ab":
        write_run(tmp_path / name, {"model.weights": name}, lambda e: 2 / e)
    found = find(read_sweep(tmp_path))
    assert found.headline.startswith("All settings ended at the same total loss, ")
    assert found.best is None


@pytest.mark.parametrize(
    ("factors", "testable"),
    [
        ({"optimizer": ["adam", "lbfgs"]}, [0]),
        ({"init": ["content", "random"]}, [3, 4]),
        ({"optimizer": ["lbfgs", "sgd"], "init": ["content", "random"]}, [1, 2, 3, 4]),
        ({"size": ["64", "96"]}, []),
    ],
)
def test_observations_need_their_factors(
    tmp_path: Path, factors: dict[str, list[str]], testable: list[int]
) -> None:
    def shape(setting: Mapping[str, str]) -> Total:
        known = {key: value for key, value in setting.items() if value != "sgd"}
        return decay(known)

    for levels in itertools.product(*factors.values()):
        setting = dict(zip(factors, levels, strict=True))
        plain = {k: v for k, v in setting.items() if v != "sgd"}
        run = write_run(tmp_path / "-".join(levels), plain, shape(setting))
        overrides = [f"{key}={value}" for key, value in setting.items()]
        (run / ".hydra/overrides.yaml").write_text(yaml.safe_dump(overrides))
    found = find(read_sweep(tmp_path)).observations
    assert [i for i, item in enumerate(found) if item.verdict != "not testable here"] == testable


def test_the_optimizer_is_known_where_only_the_init_was_swept(tmp_path: Path) -> None:
    for init in ("content", "random"):
        run = write_run(tmp_path / init, {"init": init}, decay({"optimizer": "lbfgs"}))
        choices = {"hydra": {"runtime": {"choices": {"optimizer": "lbfgs", "init": init}}}}
        (run / ".hydra/hydra.yaml").write_text(yaml.safe_dump(choices))
    stable: Observation = find(read_sweep(tmp_path)).observations[1]
    assert stable.verdict == "not seen here"  # two equal runs: neither is more stable
    assert stable.numbers == {
        "": {"first_raised": 0, "second_raised": 0, "first_jump": 1, "second_jump": 1}
    }


def test_seeds_are_repetitions(twelve: Report) -> None:
    assert "seed" in twelve.factors
    assert len(twelve.findings.settings) == 4
    rows = read_csv(twelve.folder)
    for item in twelve.findings.settings:
        totals = [
            float(row["picture_total"])
            for row in rows
            if row["status"] == "ok"
            and all(row[key] == value for key, value in item.setting.levels.items())
        ]
        assert item.score is not None
        assert item.score.n == len(totals) >= 2
        assert item.score.mean == pytest.approx(statistics.fmean(totals))
        assert item.score.std == pytest.approx(statistics.stdev(totals))
        assert (item.score.low, item.score.high) == (min(totals), max(totals))


def test_findings_use_the_means_over_seeds(twelve: Report) -> None:
    def typical(optimizer: str, init: str) -> float:
        return statistics.fmean(
            float(row["picture_total"])
            for row in read_csv(twelve.folder)
            if (row["optimizer"], row["init"], row["status"]) == (optimizer, init, "ok")
        )

    effect = next(e for e in twelve.findings.effects if e.factor == "optimizer")
    for init in ("content", "random"):
        expected = typical("adam", init) / typical("lbfgs", init)
        assert effect.ratios[f"init={init}"] == pytest.approx(expected)
    best, worst = typical("lbfgs", "content"), typical("adam", "random")
    assert f"{text.number(worst / best)} times lower than Adam from random" in (
        twelve.findings.headline
    )


def test_page_says_what_the_csv_says(twelve: Report) -> None:
    page = page_of(twelve.folder)
    rows = read_csv(twelve.folder)
    table = page.rows[-len(rows) :]
    for row, cells in zip(rows, table, strict=True):
        assert cells[:3] == [row["optimizer"], row["init"], row["seed"]]
        assert cells[3].startswith(row["status"])
        for cell, column in zip(cells[4:8], ("total", "content", "style"), strict=False):
            value = row[f"picture_{column}"]
            assert cell == text.number(float(value) if value else None)
        assert cells[7] == ("3.1 %" if row["clipped"] else "-")
        assert cells[8] == text.number(float(row["best_total"]) if row["best_total"] else None)
        reached = row["evaluations_to_target"]
        assert cells[10] == (reached or "never")
    assert twelve.findings.headline.replace("\u00a0", " ") in page.text
    for item in twelve.findings.observations:
        assert item.claim in page.text
        assert item.evidence[0].replace("\u00a0", " ") in page.text


def test_page_shows_films_by_relative_links(tmp_path: Path) -> None:
    for seed, film in (("0", "timelapse.mp4"), ("1", "timelapse.webp"), ("2", "../mine.gif")):
        run = write_run(tmp_path / f"a run, seed={seed}", {"seed": seed}, timelapse=film)
        (run / film).write_bytes(b"a film")
    write_run(tmp_path / "gone", {"seed": "3"}, timelapse="timelapse.gif")
    write_report(tmp_path)
    films = [path for path in page_of(tmp_path).references if not path.startswith("data:")]
    assert [unquote(path) for path in films] == [
        "a run, seed=0/timelapse.mp4",
        "a run, seed=1/timelapse.webp",
    ]
    source = (tmp_path / "report.html").read_text("utf-8")
    assert re.search(r'<video src="a%20run[^>]*controls loop muted', source)
    assert re.search(r'<img src="a%20run[^>]*alt="Timelapse of seed=1"', source)


def test_page_is_self_contained(thirty: Report) -> None:
    source = (thirty.folder / "report.html").read_text(encoding="utf-8")
    assert all(ref.startswith("data:") for ref in Page(source).references)
    code = re.sub(r"data:[^\"]*", "", source)
    assert not re.search(r"https?://|@import|url\(|fetch\(", code)
    assert source.startswith("<!doctype html>")


def test_page_escapes_what_runs_say(tmp_path: Path) -> None:
    for value in ("<script>alert(1)</script>", "a&b"):
        write_run(tmp_path / str(len(value)), {"note": value}, decay({}))
    write_report(tmp_path)
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in source
    assert "a&amp;b" in source


def test_failed_and_killed_jobs_are_part_of_the_report(twelve: Report) -> None:
    rows = {row["run"]: row for row in read_csv(twelve.folder)}
    failed = rows["init-content_optimizer-adam_seed-1"]
    killed = rows["init-random_optimizer-lbfgs_seed-2"]
    assert (failed["status"], failed["picture_total"]) == ("failed", "")
    assert failed["error"] == "RuntimeError: out of memory"
    assert (killed["status"], killed["evaluations"]) == ("missing", "")
    assert "no result.json" in killed["error"]
    assert twelve.findings.counts == {"ok": 10, "failed": 1, "missing": 1}
    run = next(run for run in twelve.runs if run.status == "missing")
    assert len(run.curve) == 10  # the cut eleventh line is left out
    said = next(line for line in twelve.findings.warnings if "No final result" in line)
    assert "from 2 of 12 runs" in said
    assert f"failed (RuntimeError: out of memory): {failed['run']}" in said


def test_a_sweep_where_nothing_finished(tmp_path: Path) -> None:
    write_sweep(tmp_path, FOUR)
    for run in tmp_path.iterdir():
        break_job(run)
        (run / "losses.jsonl").unlink()
        (run / "images/content.png").unlink()
    report = write_report(tmp_path)
    assert report.findings.headline.startswith("No run finished")
    assert {item.verdict for item in report.findings.observations} == {"not testable here"}
    assert all(row["picture_total"] == "" for row in read_csv(tmp_path))


def test_folders_with_next_to_nothing_in_them(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / ".hydra").mkdir(parents=True)
    (tmp_path / "a" / "result.json").write_text('{"status": "ok", "final"')
    (tmp_path / "b" / "result.json").write_text('["ok"]')
    (tmp_path / "b" / "losses.jsonl").write_bytes(b'\xff\xfe\n[1]\n{"total": 1}\nnull\n')
    (tmp_path / "b" / "result.png").write_bytes(b"no picture")
    (tmp_path / ".submitit").mkdir()
    (tmp_path / "multirun.yaml").touch()
    report = write_report(tmp_path)
    assert [(run.name, run.status) for run in report.runs] == [("a", "missing"), ("b", "missing")]
    assert report.factors == {}


def test_a_diverged_run_is_not_the_target(tmp_path: Path) -> None:
    write_run(tmp_path / "good", {"optimizer": "adam"})
    write_run(tmp_path / "bad", {"optimizer": "lbfgs"}, lambda e: 40.0 * 1.5 ** (e - 1))
    report = write_report(tmp_path)
    rows = {row["run"]: row for row in read_csv(tmp_path)}
    assert float(rows["bad"]["target_total"]) == float(rows["good"]["final_total"])
    assert rows["bad"]["evaluations_to_target"] == ""
    assert report.findings.observations[0].verdict == "does not hold"


def test_a_picture_with_a_non_finite_loss_is_no_result(tmp_path: Path) -> None:
    write_run(tmp_path / "a", {"init": "content"})
    write_run(tmp_path / "b", {"init": "random"}, picture=picture_of(None))
    report = write_report(tmp_path)
    assert [run.ok for run in report.runs] == [True, False]
    assert [item.score is None for item in report.findings.settings] == [False, True]
    assert any("non-finite loss: b" in line for line in report.findings.warnings)


def test_a_non_finite_end_is_a_jump_and_no_target(tmp_path: Path) -> None:
    totals = [40.0, 30.0, math.nan]
    run = write_run(tmp_path / "b", {"init": "random"}, lambda e: totals[e - 1], evaluations=3)
    assert "NaN" in (run / "losses.jsonl").read_text()
    report = write_report(tmp_path)
    found = report.findings.runs["b"]
    assert found.stability is not None
    assert (found.stability.raised, found.stability.jump) == (0.5, math.inf)
    assert found.target is None
    assert report.runs[0].ok  # the picture is of the best image, whose loss is finite


def test_a_run_stopped_by_a_non_finite_loss_is_unstable(tmp_path: Path) -> None:
    stopped: Json = {"status": "failed", "stop_reason": "non_finite"}
    setting = {"optimizer": "lbfgs", "init": "random"}
    write_run(tmp_path / "a", setting, evaluations=5, **stopped)
    write_run(tmp_path / "b", {"optimizer": "lbfgs", "init": "content"})
    found = find(read_sweep(tmp_path))
    steady = found.runs["a"].stability
    assert steady is not None
    assert (steady.raised, steady.jump) == (0.2, math.inf)  # 5 rows and the one that has none
    assert found.runs["a"].reach is None
    assert [item.verdict for item in found.observations[1:3]] == ["holds", "holds"]


def test_one_run_and_a_folder_of_single_runs(tmp_path: Path) -> None:
    run = write_run(tmp_path / "2025-01-01" / "a", {"optimizer": "adam"})
    one = write_report(run)
    assert [found.name for found in one.runs] == ["a"]
    assert one.findings.headline.startswith("The run ended at a total loss of")
    assert {path.parent for path in one.files} == {run}
    write_run(tmp_path / "2025-01-01" / "b", {"optimizer": "adam"})
    both = write_report(tmp_path / "2025-01-01")
    assert len(both.findings.settings) == 1  # the same setting twice is a repetition
    assert both.findings.repeated
    assert "(the same in 2 runs) after" in both.findings.headline
    assert "±" not in both.findings.headline


def test_a_level_left_at_its_default_is_filled_in(tmp_path: Path) -> None:
    write_run(tmp_path / "a", {"optimizer": "adam"}, config={"size": 64})
    write_run(tmp_path / "b", {"optimizer": "adam", "size": "128"}, config={"size": 128})
    plus = write_run(tmp_path / "c", {"optimizer": "adam"}, config={"size": 64})
    overrides = ["++optimizer=adam", "+experiment=quick", "budget.evaluations=60"]
    (plus / ".hydra/overrides.yaml").write_text(yaml.safe_dump(overrides))
    report = write_report(tmp_path)
    assert report.factors == {"size": ("64", "128"), "experiment": ("default", "quick")}


def test_a_run_with_nothing_but_defaults_counts(tmp_path: Path) -> None:
    default = write_run(tmp_path / "a", {}, config={"seed": 0})
    (default / ".hydra/overrides.yaml").write_text("[]")
    choices = {"hydra": {"runtime": {"choices": {"optimizer": "lbfgs"}}}}
    (default / ".hydra/hydra.yaml").write_text(yaml.safe_dump(choices))
    other = write_run(tmp_path / "b", {}, config={"seed": 0})
    (other / ".hydra/overrides.yaml").write_text("['optimizer=adam']")
    assert write_report(tmp_path).factors == {"optimizer": ("adam", "lbfgs")}


@pytest.mark.parametrize(
    ("picture", "shown"),
    [
        (picture_of(1.0), (90, 120, 200)),
        ({**picture_of(1.0), "file": "result.tiff"}, (9, 99, 9)),
        ("result.png", (90, 120, 200)),
        ({**picture_of(1.0), "file": "result.webp"}, None),
    ],
)
def test_the_sheet_shows_the_picture_that_the_record_names(
    tmp_path: Path, picture: Json | str, shown: tuple[int, int, int] | None
) -> None:
    run = write_run(tmp_path / "a", {"optimizer": "adam"}, picture=picture)
    Image.new("RGB", (16, 12), (9, 99, 9)).save(run / "result.tiff")
    (run / "result.jpg").write_text("somebody's")
    found = _result(read_sweep(tmp_path).runs[0])
    assert (None if found is None else tuple(found[0, 0])) == shown


@pytest.mark.parametrize(
    ("first", "second", "aspect"),
    [
        ({"weights": {"source": "random", "sha256": "c" * 64}}, {}, "networks"),
        ({"weights": {"source": "imagenet", "sha256": SHA, "pooling": "avg", "padding": "zeros"}},
         {"weights": {"source": "imagenet", "sha256": SHA, "pooling": "avg", "padding": "reflect"}},
         "networks"),
        ({"size": [32, 24]}, {}, "image sizes"),
        ({"config": {"loss": {"style_weight": 1e5}}}, {"config": {"loss": {"style_weight": 1e6}}},
         "sets of loss weights"),
        ({"config": {"layers": {"style": {"relu1_1": 1}}}}, {"config": {"layers": {"style": {}}}},
         "sets of layers"),
    ],
)  # fmt: skip
def test_totals_that_cannot_be_compared_are_not(
    tmp_path: Path, first: Json, second: Json, aspect: str
) -> None:
    write_run(tmp_path / "a", {"optimizer": "adam"}, **first)
    write_run(tmp_path / "b", {"optimizer": "lbfgs"}, **second)
    found = find(read_sweep(tmp_path))
    assert any(f"2 different {aspect}" in line for line in found.warnings)
    assert "no overall winner" in found.headline
    assert (found.effects, found.best) == ((), None)
    assert found.observations[0].verdict == "not testable here"


def test_comparable_runs_are_compared_within_a_sweep_over_weights(tmp_path: Path) -> None:
    factors = {"optimizer": ["adam", "lbfgs"], "loss.style_weight": ["1e4", "1e6"]}
    found = find(read_sweep(write_sweep(tmp_path, factors)))
    assert [(e.factor, len(e.ratios)) for e in found.effects] == [("optimizer", 2)]
    assert found.observations[0].verdict == "holds"


def test_swept_loss_weights_are_ranked_by_the_fixed_yardstick(tmp_path: Path) -> None:
    fixed = {"1e4": (0.5, 0.4), "1e6": (0.3, 0.06)}  # what is left of content and style
    for weight, (content, style) in fixed.items():
        setting = {"loss.style_weight": weight}
        measured = {"content_share": content, "style_share": style, "balance": content + style}
        write_run(tmp_path / f"w{weight}", setting, lambda e: 1 / e, yardstick=measured)
    report = write_report(tmp_path)
    best = min(fixed, key=lambda weight: sum(fixed[weight]))
    assert report.findings.best == f"w{best}"
    assert report.findings.ranked_by.startswith("balance")
    scores = {s.setting.levels["loss.style_weight"]: s.score for s in report.findings.settings}
    for weight, (content, style) in fixed.items():
        found = scores[weight]
        assert found is not None
        assert found.mean == pytest.approx(content + style)
    rows = {row["run"]: row for row in read_csv(tmp_path)}
    assert float(rows["w1e4"]["style_share"]) == pytest.approx(0.4)
    (warning,) = (text for text in report.findings.warnings if "not comparable" in text)
    assert "ranked by balance" in warning
    assert "2.50 times lower" in report.findings.headline


def test_runs_without_a_yardstick_are_not_ranked_across_objectives(tmp_path: Path) -> None:
    for weight in ("1e4", "1e6"):
        write_run(tmp_path / weight, {"loss.style_weight": weight})
    assert find(read_sweep(tmp_path)).best is None


def write_gamuts(folder: Path) -> Path:
    """Write two runs; the one of the higher loss while optimising saved the better picture."""
    for gamut, total, picture in ("srgb", 6, picture_of(0.102, 0)), ("free", 3, picture_of(24.5)):
        write_run(
            folder / gamut,
            {"gamut": gamut},
            lambda e, total=total: total / e,
            config={"gamut": {"_target_": f"nst.gamuts.{gamut}"}},
            picture=picture,
        )
    return folder


def test_runs_are_ranked_by_their_pictures(tmp_path: Path) -> None:
    report = write_report(write_gamuts(tmp_path))
    free, srgb = report.runs
    assert free.final is not None
    assert srgb.final is not None
    assert (free.final.total, srgb.final.total) == (0.05, 0.1)
    found = report.findings
    assert found.best == "srgb"
    assert found.headline.startswith(
        "The setting gamut=srgb reached the lowest total loss, 0.102 after"
    )
    assert "240 times lower than gamut=free (24.5)" in found.headline
    (effect,) = found.effects
    assert (effect.level, effect.baseline) == ("free", "srgb")
    assert effect.geometric_mean == pytest.approx(24.5 / 0.102)
    scores = {item.setting.levels["gamut"]: item for item in found.settings}
    for gamut, total in {"srgb": 0.102, "free": 24.5}.items():
        terms = scores[gamut].score, scores[gamut].content, scores[gamut].style
        means = [term.mean if term else None for term in terms]
        assert means == pytest.approx([total, 0.3 * total, 0.7 * total])
    assert not any("comparable" in warning for warning in found.warnings)


def test_convergence_is_that_of_the_evaluations(tmp_path: Path) -> None:
    found = find(read_sweep(write_gamuts(tmp_path)))
    assert {item.target for item in found.runs.values()} == {0.1}
    reached = {name: item.reach.evaluations for name, item in found.runs.items() if item.reach}
    assert reached == {"srgb": EVALUATIONS, "free": EVALUATIONS // 2}


def test_observed_losses_are_of_pictures_and_targets_of_evaluations(tmp_path: Path) -> None:
    for optimizer, total in {"adam": 9.0, "lbfgs": 12.0}.items():
        setting = {"optimizer": optimizer}
        write_run(tmp_path / optimizer, setting, decay(setting), picture=picture_of(total))
    first = find(read_sweep(tmp_path)).observations[0]
    assert first.verdict == "does not hold"
    (evidence,) = first.evidence
    assert evidence.startswith("L-BFGS ended at 12.0, 1.33 times higher than Adam (9.00); ")
    target = text.number(decay({"optimizer": "adam"})(EVALUATIONS))
    assert f"to reach {target} while optimising, L-BFGS took" in evidence


def excess_cautions(folder: Path) -> list[str]:
    warnings = find(read_sweep(folder)).warnings
    return [warning for warning in warnings if "optimised" in warning]


def test_a_picture_worse_than_the_image_optimised_is_a_caution(tmp_path: Path) -> None:
    assert excess_cautions(write_gamuts(tmp_path)) == [
        "The saved picture of free has 490 times the loss of the image that was optimised: it left "
        "the range that a picture can hold (gamut=free), and 3.1 % of its pixels were clipped."
    ]


def test_how_much_style_has_no_winner(tmp_path: Path) -> None:
    for strength, balance in {"0.2": 0.3, "0.8": 0.5}.items():
        setting, measured = {"loss.strength": strength}, {"balance": balance}
        write_run(tmp_path / strength, setting, lambda e: 3 / e, yardstick=measured)
    found = find(read_sweep(tmp_path))
    assert found.best is None
    assert "question of taste" in found.headline
    (tmp_path / "optimization_results.yaml").write_text("name: optuna")  # told what to minimise
    assert find(read_sweep(tmp_path)).best == "0.2"
    for run in find(read_sweep(tmp_path)).runs:
        break_job(tmp_path / run)
    assert "No run finished" in find(read_sweep(tmp_path)).headline


def test_a_picture_that_is_an_average_says_so(tmp_path: Path) -> None:
    config = {"optimizer": {"_target_": "nst.averaged"}}
    write_run(
        tmp_path / "a", {"seed": "0"}, lambda e: 3 / e, picture=picture_of(5.0), config=config
    )
    (caution,) = excess_cautions(tmp_path)
    assert caution.endswith(
        "average of the iterates, which has not caught up with the best of them."
    )


def test_of_several_worse_pictures_the_worst_is_named(tmp_path: Path) -> None:
    write_gamuts(tmp_path)
    write_run(tmp_path / "other", {"gamut": "free"}, lambda e: 3 / e, picture=picture_of(5.0))
    assert excess_cautions(tmp_path) == [
        "The saved pictures of 2 of 3 runs have up to 490 times the loss of the images that were "
        "optimised; the factor is largest for free: it left the range that a picture can hold "
        "(gamut=free), and 3.1 % of its pixels were clipped."
    ]


@pytest.mark.parametrize(("total", "said"), [(2.1, 0), (2.11, 1), (1.9, 0), (None, 0)])
def test_a_picture_worse_by_5_percent_is_none(
    tmp_path: Path, total: float | None, said: int
) -> None:
    write_run(tmp_path / "a", {}, lambda e: 120 / e, picture=picture_of(total))
    assert len(excess_cautions(tmp_path)) == said


@pytest.mark.parametrize(
    ("config", "clipped", "cause"),
    [
        ({"gamut": {"_target_": "nst.gamuts.free"}}, 0.5, "hold (gamut=free), and 50 % of"),
        ({"gamut": {"_target_": "nst.gamuts.srgb"}}, 0.5, "hold, and 50 % of its pixels"),
        ({}, 0.5, "hold, and 50 % of its pixels"),
        ({"gamut": {"_target_": "nst.gamuts.free"}}, 0.0, "rounded to what its file can hold."),
        ({"color": {"_target_": "nst.colors.OriginalColors"}}, 0.5, "(color=original_colors)"),
        (
            {"optimizer": {"_target_": "nst.scheduled", "optimizer": {"_target_": "nst.averaged"}}},
            0.5,
            "average of the iterates",
        ),
    ],
)
def test_the_cause_of_a_worse_picture_is_the_runs_own(
    tmp_path: Path, config: Json, clipped: float, cause: str
) -> None:
    picture = picture_of(99.0, clipped)
    write_run(tmp_path / "a", {}, config=config, picture=picture)
    (caution,) = excess_cautions(tmp_path)
    assert cause in caution


@pytest.mark.parametrize("picture", ["result.png", None])
def test_a_run_whose_picture_was_not_measured_counts_by_its_best_row(
    tmp_path: Path, picture: str | None
) -> None:
    def rising(evaluation: int) -> float:
        return 4.0 + abs(evaluation - 30)

    write_run(tmp_path / "old", {"init": "random"}, rising, picture=picture)
    write_run(tmp_path / "new", {"init": "content"}, lambda e: 6.0)
    report = write_report(tmp_path)
    assert report.findings.best == "old"
    head, _, cells = page_of(tmp_path).rows[-3:]
    shown = dict(zip(head, cells, strict=True))
    assert (shown["total"], shown["clipped"], shown["while optimising"]) == ("4.00", "-", "4.00")
    row = next(row for row in read_csv(tmp_path) if row["run"] == "old")
    assert (float(row["picture_total"]), float(row["final_total"])) == (4.0, 34.0)
    assert (float(row["picture_content"]), row["clipped"]) == (1.6, "")
    sentence = (
        "The saved picture of old was not measured, because an earlier version of nst made it: "
        "the run counts by its best evaluation."
    )
    assert sentence in report.findings.warnings
    write_run(tmp_path / "older", {"init": "random"}, rising, picture=picture, best=None)
    found = find(read_sweep(tmp_path))
    assert any("pictures of 2 of 3 runs were not measured" in line for line in found.warnings)
    (scores,) = (s.setting.scores for s in found.settings if s.setting.levels["init"] == "random")
    assert sorted(scores) == [4.0, 34.0]


def test_columns_of_the_csv_say_what_they_measure(four: Report) -> None:
    names = list(read_csv(four.folder)[0])
    start = names.index("stop_reason")
    assert names[start + 1 : start + 9] == [
        *("picture_total", "picture_content", "picture_style", "picture_tv", "clipped"),
        *("final_total", "best_total", "best_evaluation"),
    ]
    assert not {"final_content", "final_style", "final_tv"} & set(names)


def test_the_page_tells_pictures_from_evaluations(tmp_path: Path) -> None:
    write_report(write_gamuts(tmp_path))
    page = page_of(tmp_path)
    head, free, srgb = page.rows[-3:]
    columns = dict(zip(head, zip(free, srgb, strict=True), strict=True))
    assert columns["total"] == ("24.5", "0.102")
    assert columns["content"] == (text.number(0.3 * 24.5), text.number(0.3 * 0.102))
    assert columns["clipped"] == ("3.1 %", "0 %")
    assert columns["while optimising"] == ("0.0500", "0.100")
    assert "Losses in the tables are those of the saved pictures" in page.text


def test_random_filters_and_unequal_budgets_are_said(tmp_path: Path) -> None:
    weights = {"source": "random", "sha256": SHA, "pooling": "avg"}
    write_run(tmp_path / "a", {"optimizer": "adam"}, weights=weights, evaluations=40)
    write_run(tmp_path / "b", {"optimizer": "lbfgs"}, weights=weights, evaluations=80)
    warnings = " ".join(find(read_sweep(tmp_path)).warnings)
    assert "filters are random" in warnings
    assert "(40 to 80)" in warnings
    assert "comparable" not in warnings


@pytest.mark.parametrize(
    ("kept", "evaluations", "size", "said"),
    [
        ({"history_size": 12, "history_precision": "bf16"}, 60, "auto", "12 (bf16) and 60 (fp32)"),
        # More pairs than evaluations are never made.
        ({"history_size": 40, "history_precision": "fp32"}, 40, "auto", ""),
        ({"history_size": 12, "history_precision": "fp32"}, 60, 12, ""),
        ({"history_size": "many"}, 60, "auto", ""),
    ],
)
def test_histories_that_memory_cut_are_said(
    tmp_path: Path, kept: Json, evaluations: int, size: object, said: str
) -> None:
    whole = {"history_size": 100, "history_precision": "fp32"}
    for name, memory in {"a": kept, "b": whole}.items():
        config = {"optimizer": {"history_size": size if name == "a" else "auto"}}
        setting = {"init": name}
        write_run(tmp_path / name, setting, evaluations=evaluations, config=config, memory=memory)
    warnings = " ".join(find(read_sweep(tmp_path)).warnings)
    assert said in warnings
    assert ("pairs" in warnings) == bool(said)


def test_short_runs_whose_history_memory_did_not_cut_are_not_said_to_be(tmp_path: Path) -> None:
    for name, evaluations in {"a": 4, "b": 12}.items():
        config = {"optimizer": {"history_size": "auto"}}
        whole = {"history_size": 100, "history_precision": "fp32"}
        setting = {"budget.evaluations": str(evaluations)}
        write_run(tmp_path / name, setting, evaluations=evaluations, config=config, memory=whole)
    warnings = " ".join(find(read_sweep(tmp_path)).warnings)
    assert "(4 to 12)" in warnings
    assert "pairs" not in warnings


def test_a_resumed_run_counts_each_evaluation_once(tmp_path: Path) -> None:
    rows = rows_for({}, decay({}), 20)
    torn = json.dumps(rows[12])[:30] + "\n"
    again = [dict(row, total=row["total"] + 1) for row in rows[10:]]
    path = tmp_path / "losses.jsonl"
    lines = [*map(json.dumps, rows[:12]), torn.strip(), *map(json.dumps, again)]
    path.write_text("\n".join(lines))
    curve = read_curve(path)
    assert curve.evaluation.tolist() == list(range(1, 21))
    assert curve.total[10] == rows[10]["total"] + 1


def test_zero_losses_stay_off_the_log_scale(four: Report) -> None:
    run = next(run for run in four.runs if run.levels["init"] == "content")
    assert run.curve.content[0] == 0
    drawn = band([run], "evaluation", "content")
    assert drawn is not None
    assert drawn.x[0] == 2
    assert (drawn.mean > 0).all()


def test_bands_are_mean_and_range_over_seeds(twelve: Report) -> None:
    runs = next(
        item.setting.finished
        for item in twelve.findings.settings
        if item.setting.levels == {"optimizer": "lbfgs", "init": "content"}
    )
    drawn = band(runs, "evaluation", "total")
    values = np.stack([run.curve.total for run in runs])
    assert drawn is not None
    np.testing.assert_allclose(drawn.mean, values.mean(axis=0))
    np.testing.assert_allclose(drawn.low, values.min(axis=0))
    np.testing.assert_allclose(drawn.high, values.max(axis=0))


@pytest.mark.parametrize(("name", "shape"), [("four", (2, 2)), ("twelve", (2, 6))])
def test_two_factors_are_rows_and_columns(
    name: str, shape: tuple[int, int], request: pytest.FixtureRequest
) -> None:
    layout = arrange(read_sweep(request.getfixturevalue(name).folder))
    assert (len(layout.rows), len(layout.columns)) == shape
    assert layout.row_axes == ("optimizer",)
    assert layout.column_axes[0] == "init"


def test_layouts_of_other_sweeps(tmp_path: Path) -> None:
    one = arrange(read_sweep(write_sweep(tmp_path / "one", {"init": ["content", "random"]})))
    assert (len(one.rows), len(one.columns), one.flat) == (1, 2, False)
    rates = {"optimizer.lr": [str(n / 10) for n in range(1, 13)]}
    many = arrange(read_sweep(write_sweep(tmp_path / "many", rates)))
    assert many.flat
    assert len(many.columns) <= 8
    assert len(many.cells) == 12


def test_the_first_factor_has_the_rows_unless_the_shape_is_bad(tmp_path: Path) -> None:
    layers, strengths = ["a", "b", "c", "d", "e"], ["0.1", "0.3", "0.5", "0.8"]
    grid = {"layers": layers, "loss.strength": strengths}
    assert arrange(read_sweep(write_sweep(tmp_path / "grid", grid))).row_axes == ("layers",)
    tall = {"layers": layers, "loss.strength": strengths[:2]}
    assert arrange(read_sweep(write_sweep(tmp_path / "tall", tall))).column_axes == ("layers",)


def test_an_option_with_levels_of_its_own_has_a_row_and_effects_of_its_own(tmp_path: Path) -> None:
    for optimizer, rates in (("adam", ("0.1", "0.2", "0.4")), ("lbfgs", ("1", "2"))):
        for number, rate in enumerate(rates, start=1):
            setting = {"optimizer": optimizer, "optimizer.lr": rate}
            write_run(tmp_path / f"{optimizer}-{rate}", setting, lambda e, n=number: n + 9 / e)
    sweep = read_sweep(tmp_path)
    layout = arrange(sweep)
    assert layout.flat
    shown = {place: run.name for place, run in layout.cells.items()}
    assert shown == {
        **{(0, column): f"adam-{rate}" for column, rate in enumerate(("0.1", "0.2", "0.4"))},
        **{(1, column): f"lbfgs-{rate}" for column, rate in enumerate(("1", "2"))},
    }
    effects = {(effect.level, effect.baseline) for effect in find(sweep).effects}
    assert effects == {("0.2", "0.1"), ("0.4", "0.1"), ("2", "1")}


def test_weights_that_were_found_are_named(tmp_path: Path) -> None:
    for weights, source in (("auto", "imagenet"), ("random", "random")):
        found = {"source": source, "sha256": SHA}
        write_run(tmp_path / weights, {"model.weights": weights}, weights=found)
    levels = [run.levels["model.weights"] for run in read_sweep(tmp_path).runs]
    assert levels == ["auto (imagenet)", "random"]


def test_the_question_of_a_study_heads_its_page(tmp_path: Path) -> None:
    write_gamuts(tmp_path)
    study = "study:\n  question: Which layers, and why?\n"
    (tmp_path / "multirun.yaml").write_text(study)
    write_report(tmp_path)
    page = page_of(tmp_path)
    assert "<title>Which layers, and why?</title>" in (tmp_path / "report.html").read_text()
    assert f"{tmp_path.name} Which layers, and why? The setting gamut=" in page.text
    assert "known observations" not in page.text
    sheet = compose(read_sweep(tmp_path), "Which layers, and why? " * 9, None)
    assert_nothing_overlaps(sheet)


def assert_nothing_overlaps(sheet: Sheet) -> None:
    sheet.png()
    page = sheet.figure.bbox
    boxes = [words.get_window_extent() for words in sheet.figure.texts]
    tiles = [axes.get_window_extent() for axes in sheet.figure.axes]
    for box in boxes:
        assert page.x0 <= box.x0 < box.x1 <= page.x1
        assert page.y0 <= box.y0 < box.y1 <= page.y1
    for one, other in itertools.combinations(boxes + tiles, 2):
        assert not one.overlaps(other)


@pytest.mark.parametrize("name", ["four", "twelve", "thirty"])
def test_labels_of_the_contact_sheet_do_not_overlap(
    name: str, request: pytest.FixtureRequest
) -> None:
    report = request.getfixturevalue(name)
    sheet = compose(read_sweep(report.folder), "title", report.findings.best)
    assert len(sheet.figure.axes) == len(report.runs) + 2
    assert_nothing_overlaps(sheet)
    captions = [words.get_text() for words in sheet.figure.texts]
    for run in report.runs:
        if run.picture is not None:
            total = text.number(run.picture.total)
            assert any(line.endswith(f"total {total}") for line in captions)


@pytest.mark.parametrize("count", [2, 3, 4, 6, 8, 12])
def test_captions_name_the_loss_while_optimising(tmp_path: Path, count: int) -> None:
    for rate in range(count):
        setting = {"optimizer.lr": str(rate)}
        write_run(tmp_path / f"{rate}", setting, lambda e: 3 / e, picture=picture_of(95.8 + rate))
    write_run(tmp_path / "near", {"optimizer.lr": "99"}, lambda e: 120 / e)
    sheet = compose(read_sweep(tmp_path), "title", "0")
    captions = [words.get_text() for words in sheet.figure.texts]
    whole = " ".join(captions)
    assert "best: total 95.8 (0.0500 while optimising)" in whole
    assert whole.count("total") == count + 1
    assert whole.count("(0.0500 while optimising)") == count
    assert "total 2.05" in captions
    assert_nothing_overlaps(sheet)


PHOTOS = [r"'photos/it\'s (1).jpg'", "photos/_DSC0001.jpg", "photos/IMG_20240115_093412.jpg"]
PAINTINGS = [f"art/{name}.png" for name in ("great_wave_off_kanagawa_by_hokusai", *"abcd")]


@pytest.mark.parametrize(
    ("factors", "inputs"),
    [
        ({"content": PHOTOS, "style": PAINTINGS}, 3 + 5),
        ({"style": PAINTINGS[:2], "optimizer": ["adam", "lbfgs"], "content": PHOTOS}, 2 + 2 * 3),
        ({"content": PHOTOS[:2], "seed": ["0", "1"]}, 2 + 1),
        ({"style": PAINTINGS}, 5 + 1),
        ({"content": [f"photos/{number}.jpg" for number in range(40)]}, 1),
    ],
    ids=lambda value: " x ".join(value) if isinstance(value, dict) else "",
)
def test_swept_pictures_are_at_their_rows_and_columns(
    tmp_path: Path, factors: dict[str, list[str]], inputs: int
) -> None:
    runs = list(itertools.product(*factors.values()))
    for number, levels in enumerate(runs):
        write_run(tmp_path / str(number), dict(zip(factors, levels, strict=True)), lambda e: 3 / e)
    sweep = read_sweep(tmp_path)
    sheet = compose(sweep, "title", None)
    assert len(sheet.figure.axes) == len(runs) + inputs
    assert_nothing_overlaps(sheet)
    written = {words.get_text() for words in sheet.figure.texts}
    if PHOTOS[0] in factors.get("content", ()):
        assert {"it's (1).jpg", "_DSC0001.jpg"} <= written
    if factors.get("style") == PAINTINGS:
        assert {"a.png", "b.png", "c.png", "d.png"} <= written


def test_levels_are_named_as_shortly_as_tells_them_apart(tmp_path: Path) -> None:
    paths = ["in/a/x.jpg", "in/b/x.jpg", "'in/b/사 <진>$y$.jpg'", r"'\${z}\\'"]
    for number, path in enumerate(paths):
        write_run(tmp_path / str(number), {"content": path, "style": f"s/_{number}.png"})
    report = write_report(tmp_path)
    assert set(report.factors["content"]) == {
        *("a/x.jpg", "b/x.jpg", "b/사 <진>$y$.jpg", "${z}\\"),
    }
    assert report.factors["style"] == ("_0.png", "_1.png", "_2.png", "_3.png")
    assert "b/사 &lt;진&gt;$y$.jpg" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert {row["content"] for row in read_csv(tmp_path)} == {
        *("in/a/x.jpg", "in/b/x.jpg", "in/b/사 <진>$y$.jpg", "${z}\\"),
    }


def test_every_setting_is_in_the_legend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    legends = []
    made = Figure.legend

    def legend(figure: Figure, **options: Any) -> Any:
        legends.append(made(figure, **options))
        return legends[-1]

    monkeypatch.setattr(Figure, "legend", legend)
    names = ["_DSC1.jpg", "a_$x_.jpg", "$b$.jpg"]
    write_report(write_sweep(tmp_path, {"content": names}))
    (found,) = legends
    assert {line.get_text() for line in found.get_texts()} == set(names)


def test_letters_that_the_usual_font_lacks() -> None:
    circled = "\u24b6"  # which another font that comes with matplotlib has
    with fonts_for(["a", circled, "\ue123"]):
        families = rcParams["font.family"]
        assert len(families) > 1
        sheet = Sheet(2, 1)
        sheet.write(1, 0.5, circled + "\ue123", bold=True)
        sheet.png()
    with fonts_for(["äß"]):
        assert rcParams["font.family"] == families[:1]


def test_long_labels_are_cut_by_their_width() -> None:
    assert text.level("사" * 12) == "사" * 12
    cut = text.level("사" * 30 + ".jpg")
    assert text.width(cut) <= text.LONGEST_LEVEL
    assert cut.endswith("사.jpg")
    assert text.level("a\nb") == "a b"


def test_command_prints_the_outcome(four: Report, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(four.folder)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.count("ok (evaluations)") == 4
    totals = [line.split()[3] for line in captured.out.splitlines()[1:5]]
    assert totals == [text.number(picture_total(spiky(run.levels))) for run in four.runs]
    assert four.findings.headline in captured.out
    assert captured.out.splitlines()[-4:] == [str(four.folder / name) for name in FILES]


@pytest.mark.parametrize("kind", ["absent", "file", "empty"])
def test_command_refuses_a_bad_folder_in_one_line(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / kind
    if kind == "file":
        folder.touch()
    if kind == "empty":
        folder.mkdir()
    assert main([str(folder)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert str(folder) in captured.err
    with pytest.raises(ReportError):
        write_report(folder)


def test_command_refuses_where_it_cannot_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    write_run(tmp_path / "a", {"optimizer": "adam"})
    monkeypatch.setattr(nst.report, "atomic_write", full)
    assert main([str(tmp_path)]) == 2
    expected = f"nst.report: error: {tmp_path / 'summary.csv'}: No space left on device\n"
    assert capsys.readouterr().err == expected


def test_writing_again_gives_the_same_bytes(four: Report) -> None:
    before = {path.name: path.read_bytes() for path in four.files}
    write_report(four.folder)
    assert {path.name: path.read_bytes() for path in four.files} == before


def test_the_report_needs_neither_torch_nor_hydra_of_its_own() -> None:
    for path in Path(nst.report.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"torch", "torchvision", "hydra"}


def run_of(totals: Sequence[float]) -> Run:
    """Return a finished run with the given totals, one second per evaluation."""
    values = np.array(totals)
    count = np.arange(1, len(totals) + 1, dtype=float)
    final = Losses(len(totals), float(len(totals)), 0, 0, 0, totals[-1])
    curve = Curve(count, count, values, values, values)
    picture = PictureLosses(totals[-1], 0, 0, 0, {}, None, measured=True)
    return Run("run", Path(), "ok", {}, {}, {}, curve, picture=picture, final=final)


losses = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=30)


@given(losses)
def test_stability_against_a_plain_loop(totals: list[float]) -> None:
    found = stability(run_of(totals))
    pairs = list(itertools.pairwise(totals))
    if not pairs:
        assert found is None
        return
    assert found is not None
    assert found.raised == pytest.approx(sum(b > a for a, b in pairs) / len(pairs))
    assert found.jump == pytest.approx(max(1.0, *(b / a for a, b in pairs)))


@given(losses, st.floats(1e-6, 1e6))
def test_reach_is_the_first_evaluation_at_the_target(totals: list[float], target: float) -> None:
    run = run_of(totals)
    reach = first_reach(run, target)
    hits = [i for i, total in enumerate(totals, start=1) if total <= target]
    if not hits or totals[-1] > totals[0]:
        assert reach is None
    else:
        assert reach is not None
        assert (reach.evaluations, reach.seconds) == (hits[0], hits[0])


@given(st.lists(losses, min_size=1, max_size=4))
def test_every_run_that_improved_reaches_the_target(curves: list[list[float]]) -> None:
    runs = [run_of(totals) for totals in curves]
    target = target_total(runs)
    for run in runs:
        if run.curve.total[-1] <= run.curve.total[0]:
            assert first_reach(run, target) is not None


def test_levels_sort_as_numbers_where_they_are_numbers() -> None:
    assert sorted(["10", "9", "1e-3", "0.1"], key=natural) == ["1e-3", "0.1", "9", "10"]
    assert sorted(["run10", "run9", "default"], key=natural) == ["default", "run9", "run10"]
    assert sorted(["nan", "1", "inf"], key=natural) == ["1", "inf", "nan"]


@pytest.mark.parametrize(
    ("value", "written"),
    [(0.0, "0"), (2.1834, "2.18"), (60, "60.0"), (999.6, "1,000"), (123456, "123,456"),
     (1.5e-5, "1.50e-05"), (2e9, "2.00e+09"), (math.nan, "-"), (None, "-")],
)  # fmt: skip
def test_numbers_are_short(value: float | None, written: str) -> None:
    assert text.number(value) == written


def test_one_great_jump_is_less_stable_than_many_small_rises(tmp_path: Path) -> None:
    shapes: dict[str, Total] = {
        "content": lambda e: 10 / e * (1.2 if e % 4 == 0 else 1.0),
        "random": lambda e: 80 / e * (50.0 if e == 9 else 1.0),
    }
    for init, shape in shapes.items():
        setting = {"optimizer": "lbfgs", "init": init}
        write_run(tmp_path / init, setting, shape)
    stable = find(read_sweep(tmp_path)).observations[1]
    assert "more stable" in stable.claim
    assert stable.verdict == "holds"
    (figures,) = stable.numbers.values()
    assert figures["first_raised"] > figures["second_raised"]
    assert figures["first_jump"] < 2 < figures["second_jump"]


def test_many_factors_do_not_take_for_ever() -> None:
    axes = [f"key{number}" for number in range(40)]
    settings = [SimpleNamespace(levels={axis: str(index) for axis in axes}) for index in range(200)]
    assert curves._lined_axes(settings, axes) is None
