"""The tables for people who come from another program: what they are told to type is valid."""

import re
import shlex

import pytest
from hydra import compose, initialize_config_dir

from nst.cli import app, schema
from support import REPOSITORY

_, _, SECTION = (
    (REPOSITORY / "conf/experiment/README.md")
    .read_text()
    .partition("\n## Coming from another program\n")
)
SECTION, _, _ = SECTION.partition("\n## ")
PROGRAMS = {
    preset: [
        [cell.strip() for cell in row.strip("|").split("|")]
        for row in re.findall(r"^\|.*\|$", text, re.MULTILINE)
        if not row.startswith(("|---", "| their flag "))
    ]
    for preset, text in re.findall(
        r"^### [^\n]*: `(experiment=\w+)`\n(.*?)(?=^### |\Z)", SECTION, re.MULTILINE | re.DOTALL
    )
}
TYPED = [
    (preset, typed)
    for preset, rows in PROGRAMS.items()
    for row in rows
    for typed in re.findall(r"`([^`]*=[^`]*)`", row[-1])
]
# The flags that each program's parser has, in any order.
FLAGS = {
    "experiment=neural_style_pt": """
        -style_image -style_blend_weights -content_image -image_size -gpu -content_weight
        -style_weight -normalize_weights -normalize_gradients -tv_weight -num_iterations -init
        -init_image -optimizer -learning_rate -lbfgs_num_correction -print_iter -save_iter
        -output_image -style_scale -original_colors -pooling -model_file -disable_check -backend
        -cudnn_autotune -seed -content_layers -style_layers -multidevice_strategy""",
    "experiment=crowsonkb": """
        content styles --output -o --style-weights -sw --devices --random-seed -r --content-weight
        -cw --tv-weight -tw --optimizer --min-scale -ms --end-scale -s --iterations -i
        --initial-iterations -ii --save-every --step-size -ss --avg-decay -ad --init
        --style-scale-fac --style-size --pooling --proof --web --host --port --browser""",
    "experiment=gordicaleksa": """
        --content_img_name --style_img_name --height --content_weight --style_weight --tv_weight
        --optimizer --model --init_method --saving_freq --should_reconstruct_content
        --should_visualize_representation --reconstruct_script""",
}


def test_every_flag_has_a_row() -> None:
    assert PROGRAMS.keys() == FLAGS.keys()
    for preset, rows in PROGRAMS.items():
        named = {flag for row in rows for flag in re.findall(r"`([^`]+)`", row[0])}
        assert named == set(FLAGS[preset].split())
        assert all(len(row) == 3 and all(row) for row in rows)


@pytest.mark.parametrize("preset", PROGRAMS)
def test_preset_is_valid(preset: str) -> None:
    _check([preset])


@pytest.mark.parametrize(("preset", "typed"), dict.fromkeys(TYPED))
def test_override_is_valid(preset: str, typed: str) -> None:
    overrides = shlex.split(typed)
    if not typed.startswith("experiment="):
        overrides.insert(0, preset)
    _check(overrides)


def _check(overrides: list[str]) -> None:
    app.register()
    with initialize_config_dir(version_base="1.3", config_dir=str(app.config_dir())):
        schema.validate(compose("config", overrides=overrides))
