"""Several styles, their scale, regions of the picture, and weights by gradients."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import nst
from nst.network.vgg import VGG
from nst.network.weights import Weights
from nst.objective import Objective, Region, Source, transfer
from nst.objective.batch import Batch, signature
from nst.objective.gradients import balanced_by_gradients
from nst.objective.masks import at_layer
from nst.objective.statistics import Gram, Positions
from nst.pictures import images, regions
from support import TINY, Command, checker_picture, stylize, xor_picture

LAYERS = {"content_layers": {"relu2_1": 1.0}, "style_layers": {"relu1_1": 1.0, "relu2_1": 2.0}}
SMALL = {
    "size": 32,
    "weights": "random",
    "device": "cpu",
    "budget": nst.Budget(evaluations=6),
    **LAYERS,
}


@pytest.fixture
def network(weights: Weights) -> VGG:
    return VGG(weights.tensors, ["relu1_1", "relu2_1"]).double()


@pytest.fixture
def pictures() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = ((40, 56), (32, 48), (40, 36), (40, 56))
    return [torch.randn(1, 3, *s, generator=generator, dtype=torch.float64) for s in sizes]


def gram(network: VGG, picture: Tensor, tap: str) -> Tensor:
    feature = network(picture)[tap]
    return Gram().gather(feature, Positions(feature.shape))[0]


def left_half(picture: Tensor) -> Tensor:
    mask = torch.zeros_like(picture[:, :1])
    mask[..., : picture.shape[3] // 2] = 1
    return mask


def two_regions(pictures: Sequence[Tensor]) -> list[Region]:
    """The left half like one picture, the right half like a part of it and like another."""
    content, first, second, _ = pictures
    left = left_half(content)
    sources = [Source(first, left_half(first), 0.25), Source(second, None, 0.75)]
    return [Region([Source(first)], "left", left), Region(sources, "right", 1 - left)]


def slope(objective: Objective, image: Tensor) -> tuple[Tensor, Tensor]:
    leaf = image.clone().requires_grad_()
    terms = objective(leaf)
    (gradient,) = torch.autograd.grad(terms.total, leaf)
    return terms.total.detach(), gradient


def halves(picture: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Masks of a picture's left half and of its right half."""
    left = Image.new("L", picture.size, 0)
    left.paste(255, (0, 0, picture.width // 2, picture.height))
    return left, Image.eval(left, lambda value: 255 - value)


def test_target_of_a_blend_is_the_weighted_sum(network: VGG, pictures: list[Tensor]) -> None:
    content, first, second, image = pictures
    sources = [Source(first, weight=3.0), Source(second, weight=7.0)]
    terms = transfer(network, content, [Region(sources)], **LAYERS)(image)
    blend = 0.3 * gram(network, first, "relu2_1") + 0.7 * gram(network, second, "relu2_1")
    expected = (gram(network, image, "relu2_1") - blend).square().mean()
    torch.testing.assert_close(terms.layers["style/relu2_1"], expected)


def test_gram_of_a_region_is_that_of_its_positions(network: VGG, pictures: list[Tensor]) -> None:
    content, first, _, image = pictures
    found = transfer(network, content, two_regions(pictures), **LAYERS)(image)
    half = network(image)["relu1_1"][..., :28]
    expected = Gram().gather(half, Positions(half.shape))[0] - gram(network, first, "relu1_1")
    torch.testing.assert_close(found.layers["style/relu1_1/left"], expected.square().mean())


@pytest.mark.parametrize("share", [0.25, 0.5])
@pytest.mark.parametrize("shared", [False, True])
def test_region_counts_by_its_share(
    network: VGG, pictures: list[Tensor], share: float, shared: bool
) -> None:
    content, first, _, image = pictures
    mask, source = torch.full_like(content[:, :1], share), Source(first)
    other = source if shared else Source(first)
    parts = [Region([source], "a", mask), Region([other], "b", 1 - mask)]
    whole = transfer(network, content, first, **LAYERS)(image)
    torch.testing.assert_close(
        transfer(network, content, parts, **LAYERS)(image).total, whole.total
    )


def test_single_tiled_and_batched_regions_are_the_same(
    network: VGG, pictures: list[Tensor]
) -> None:
    content, *_, image = pictures

    def make(weight: float, **options: object) -> Objective:
        found = two_regions(pictures)
        return transfer(network, content, found, style_weight=weight, **LAYERS, **options)

    plain = [slope(make(weight, joint=False), image) for weight in (10.0, 20.0)]
    for options in ({}, {"tile_size": 16}):
        for found, expected in zip(slope(make(10.0, **options), image), plain[0], strict=True):
            torch.testing.assert_close(found, expected)
    objectives = [make(10.0), make(20.0)]
    assert signature(objectives[0], image) == signature(objectives[1], image)
    leaves = [image.clone().requires_grad_() for _ in objectives]
    found = Batch(objectives, image)(leaves)
    for terms, leaf, (total, gradient) in zip(found, leaves, plain, strict=True):
        terms.total.backward()
        torch.testing.assert_close(terms.total.detach(), total)
        torch.testing.assert_close(leaf.grad, gradient)


def test_small_region_neither_divides_by_zero_nor_speaks_for_the_whole(
    network: VGG, pictures: list[Tensor]
) -> None:
    content, first, second, image = pictures
    tiny = torch.zeros_like(content[:, :1])
    tiny[..., -4:, -4:] = 1  # 16 positions of relu1_1, and 4 of relu2_1
    parts = [Region([Source(first)], "tiny", tiny), Region([Source(second)], "rest", 1 - tiny)]
    objective = transfer(network, content, parts, **LAYERS)
    shares = {one.key: one.share for one in objective.aims.measures if one.term == "style"}
    assert shares["style/relu1_1/tiny"] == pytest.approx(16 / (40 * 56))
    assert shares["style/relu2_1/tiny"] == pytest.approx(16 / (40 * 56))
    assert slope(objective, image)[1].isfinite().all()
    # Nothing of relu2_1 sees the region alone.
    inside = [Region(one.sources, one.name, one.mask, "inside") for one in parts]
    keys = [one.key for one in transfer(network, content, inside, **LAYERS).aims.measures]
    assert "style/relu2_1/rest" in keys
    assert "style/relu2_1/tiny" not in keys
    empty = Region([Source(first)], "empty", torch.zeros_like(tiny))
    with pytest.raises(nst.InputError, match="the region empty covers nothing"):
        transfer(network, content, [parts[0], empty], **LAYERS)


@pytest.mark.parametrize("tap", ["relu1_1", "relu2_1"])
def test_inside_sees_nothing_of_the_others_and_all_sees_everything(
    network: VGG, pictures: list[Tensor], tap: str
) -> None:
    image, mask = pictures[0], left_half(pictures[0])
    other = torch.where(mask > 0, image, torch.randn_like(image))
    changed = (network(other)[tap] != network(image)[tap]).any(1, keepdim=True)
    inside, simple, most = (
        at_layer(mask, network.architecture, tap, border) for border in ("inside", "simple", "all")
    )
    assert not (changed & (inside > 0)).any()
    assert (inside > 0).sum() > 0.6 * (simple > 0).sum()
    assert (inside <= simple).all()
    assert (simple <= most).all()
    unchanged = torch.where(mask > 0, torch.randn_like(image), image)
    reached = (network(unchanged)[tap] != network(image)[tap]).any(1, keepdim=True)
    assert (most[reached] == 1).all()


@pytest.mark.slow
def test_blend_of_one_and_a_scale_of_1_are_as_if_not_there() -> None:
    content, style, other = xor_picture(), checker_picture(), xor_picture().rotate(90)
    plain = [row.total for row in stylize(content, style, **SMALL).losses]

    def totals(styles: object, **options: object) -> list[float]:
        return [row.total for row in stylize(content, styles, **options, **SMALL).losses]

    assert totals([style, other], style_weights=[1, 0]) == plain
    assert totals([style, other], style_weights=[0, 5]) != plain
    assert totals(style, style_scale=1.0) == plain
    assert totals(style, style_size=32) == plain
    assert totals(style, style_scale=0.5) == totals([style], style_size=[16]) != plain
    ones = Image.new("L", content.size, 255)
    assert totals(style, regions=nst.Regions([ones], [ones])) == plain
    assert totals(style, regions=nst.Regions([None])) == plain


@pytest.mark.slow
def test_each_region_ends_near_its_own_style() -> None:
    content, styles = xor_picture(), [checker_picture(), Image.effect_noise((64, 64), 90)]
    styles = [style.convert("RGB") for style in styles]
    masks = halves(content)
    options = {**SMALL, "size": 64, "budget": nst.Budget(evaluations=150)}
    options |= {"strength": None, "content_weight": 0.0, "init": nst.inits.random}
    result = stylize(content, styles, regions=nst.Regions(masks), **options)
    picture = images.to_tensor(result.picture, 64)
    network = VGG(nst.network.weights.random_weights(0).tensors, ["relu1_1", "relu2_1"], "avg")
    # Away from the border, where a position sees one region alone.
    parts = [picture[..., :24], picture[..., 40:]]
    targets = [images.to_tensor(style, 64) for style in styles]
    for own, part in enumerate(parts):
        for tap in ("relu1_1", "relu2_1"):
            left, right = (
                (gram(network, part, tap) - gram(network, target, tap)).square().mean().item()
                for target in (targets[own], targets[1 - own])
            )
            assert left < right / 10, (own, tap)


def test_null_is_the_rest_and_colours_belong_together() -> None:
    content, style = xor_picture(), checker_picture()
    left, right = halves(content)
    found = regions.load(nst.Regions([left, None]), content, [style, style], None)
    assert [area.name for area in found] == ["region_1", "rest"]
    assert np.array_equal(np.asarray(found[1].mask), np.asarray(right))
    # A third colour, in less than 1 of 200 pixels, is what smoothing leaves of an edge.
    map_ = Image.merge("RGB", (left, right, Image.new("L", left.size)))
    map_.putpixel((0, 0), (200, 40, 0))
    found = regions.load(nst.Regions(map_, [map_, map_]), content, [style, style], None)
    assert {area.name: len(area.styles) for area in found} == {"ff0000": 2, "00ff00": 2}
    masks = {area.name: np.asarray(area.mask) for area in found}
    assert np.array_equal(masks["ff0000"], np.asarray(left))
    one = Image.new("RGB", left.size, (0, 255, 0))
    found = regions.load(nst.Regions(map_, [map_, one]), content, [style, style], None)
    assert {area.name: [n for n, _ in area.styles] for area in found} == {
        "ff0000": [0],
        "00ff00": [0, 1],
    }


def test_masks_are_averaged_over_areas_and_may_be_tensors() -> None:
    content, style = xor_picture(), checker_picture()
    mask = torch.zeros(1, 64, 64)
    mask[..., :20] = 1  # two and a half of eight positions
    (area, _) = regions.load(nst.Regions([mask, None]), content, [style, style], None)
    found = regions.to_tensor(area.mask, (8, 8))
    assert found is not None
    torch.testing.assert_close(
        found[0, 0, 0], torch.tensor([1, 1, 0.5, 0, 0, 0, 0, 0]), atol=2e-3, rtol=0
    )


def test_gradients_have_their_shares_of_the_norm(network: VGG, pictures: list[Tensor]) -> None:
    content, style, _, image = pictures
    objective = balanced_by_gradients(
        network,
        content,
        style,
        image=image,
        content_weight=1.0,
        style_weight=3.0,
        tv_weight=1.0,
        **LAYERS,
    )
    weights = objective.scales

    def norm(**own: float) -> float:
        none = {"content_weight": 0.0, "style_weight": 0.0, "tv_weight": 0.0}
        return slope(transfer(network, content, style, **LAYERS, **{**none, **own}), image)[
            1
        ].norm()

    found = [norm(**{f"{name}_weight": weight}) for name, weight in weights.items()]
    assert found == pytest.approx([0.2, 0.6, 0.2])
    # The content picture has no content gradient, so that of the style picture counts.
    at_content = balanced_by_gradients(network, content, style, image=content, **LAYERS)
    assert all(0 < weight < 1e9 for weight in at_content.scales.values())


def test_run_with_weights_by_gradients_records_them() -> None:
    options = {**SMALL, "strength": None, "gradients": True, "style_weight": 2.0}
    result = stylize(xor_picture(), checker_picture(), **options)
    assert set(result.scales[32]) == {"content", "style"}
    assert result.losses[-1].total < result.losses[0].total
    with pytest.raises(nst.InputError, match="without a strength"):
        nst.Loss(gradients=True)


@pytest.mark.slow
def test_everything_together_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    content = xor_picture()
    styles = [checker_picture(), xor_picture().rotate(90), checker_picture().rotate(45)]
    colours = Image.new("RGB", (64, 64), (255, 0, 0))
    for number, colour in enumerate([(0, 255, 0), (0, 0, 255), (255, 255, 0)], start=1):
        colours.paste(colour, (16 * number, 0, 16 * number + 16, 64))
    options = {
        **SMALL,
        "regions": nst.Regions(colours, [colours] * 3),
        "style_weights": [1, 2, 3],
        "style_scale": [1, 0.75, 1.5],
        "color": nst.colors.Content(),
        "style_loss": nst.statistics.Wasserstein(),
        "schedule": [nst.Scale(0.5, 3), nst.Scale(1, None)],
        "memory": "tiled",
        "tile_size": 16,
        "budget": nst.Budget(evaluations=8),
    }
    whole = stylize(content, styles, **options)
    assert whole.start.tile_size == 16
    asked = iter(["", "", "", "", "", "enough"])
    path = tmp_path / "checkpoint.pt"
    cut = stylize(
        content, styles, checkpoint=path, stop_requested=lambda: next(asked) or None, **options
    )
    assert cut.status == "interrupted"
    rest = stylize(content, styles, resume=path, **options)
    assert [row.total for row in rest.losses] == [row.total for row in whole.losses]
    assert rest.picture.tobytes() == whole.picture.tobytes()
    with pytest.raises(nst.InputError, match="style_weights"):
        stylize(content, styles, resume=path, **{**options, "style_weights": [1, 2, 4]})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"style_weights": [1]}, r"style_weights needs a number for each style \(2\), not 1"),
        ({"style_weights": [1, -1]}, "at least 0"),
        ({"style_weights": [0, 0]}, "not all of them 0"),
        ({"style_weights": ["a", "b"]}, "must be numbers"),
        ({"style_scale": [1]}, "style_scale needs a number"),
        ({"style_scale": 0}, "style_scale must be greater than 0"),
        ({"style_size": [0, 4]}, "style_size must be greater than 0"),
        ({"style_size": 1}, "at 1 px of a style is too small"),
        ({"regions": nst.Regions(["mask"])}, "regions.content needs a mask or null for each of 2"),
        ({"regions": nst.Regions([None, None])}, "only one of the masks can be null"),
        ({"regions": nst.Regions(["ones", None])}, "leave nothing"),
        ({"regions": nst.Regions(["black", None])}, "covers nothing"),
        ({"regions": nst.Regions(["mask", None], ["mask"])}, "regions.style needs a mask or null"),
        (
            {"regions": nst.Regions("map", ["map"])},
            "regions.style needs a map, as regions.content is one",
        ),
        ({"regions": nst.Regions("map", ["map", None])}, "cannot be null"),
        ({"regions": nst.Regions("map", ["mask", "map"])}, "the colour #000000 of the other map"),
        ({"regions": nst.Regions("noise", ["map", "map"])}, "no map of flat colours"),
        ({"regions": nst.Regions(["mask", None]), "style_weights": [1, 2]}, "each region has one"),
        ({"regions": 5}, "regions must be an nst.Regions"),
        ({"color": "match"}, "color must be"),
        ({"style_loss": nst.statistics.MSE()}, "MSE compares position by position, with one"),
    ],
)
def test_what_does_not_fit_is_said_in_a_line(options: dict[str, object], message: str) -> None:
    left, right = halves(xor_picture())
    known = {
        "mask": left,
        "ones": Image.new("L", (64, 64), 255),
        "black": Image.new("L", (64, 64)),
        "map": Image.merge("RGB", (left, right, left)),
        "noise": Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)),
    }
    asked = options.get("regions")
    if isinstance(asked, nst.Regions):
        found = {
            key: [known.get(one) for one in value] if isinstance(value, list) else known.get(value)
            for key, value in vars(asked).items()
            if key != "border"
        }
        options = {**options, "regions": nst.Regions(**found, border=asked.border)}
    with pytest.raises(nst.InputError, match=message) as caught:
        stylize(xor_picture(), [checker_picture()] * 2, **options, **SMALL)
    assert "\n" not in str(caught.value)


def test_mask_of_another_aspect_is_stretched_with_a_word(caplog: pytest.LogCaptureFixture) -> None:
    style = checker_picture()
    mask = Image.new("L", (60, 40), 0)
    mask.paste(255, (0, 0, 30, 40))
    regions.load(nst.Regions([mask, None]), xor_picture(), [style, style], None)
    assert "60 x 40 px, stretched to its picture's 120 x 96" in caplog.text


def test_controls_from_the_command_line(nst_command: Command, tmp_path: Path) -> None:
    pictures = {"content": xor_picture(), "a": checker_picture(), "b": xor_picture().rotate(90)}
    pictures["left"] = halves(xor_picture())[0]
    for name, picture in pictures.items():
        picture.save(tmp_path / f"{name}.png")
    asked = ["content=content.png", *TINY]
    masks = "regions.content=[left.png,null]"
    done = nst_command(*asked, "style=[a.png,b.png]", masks, "color=match", "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    left = json.loads((tmp_path / "out/result.json").read_text())
    assert [style["weight"] for style in left["styles"]] == [0.5, 0.5]
    assert [region["name"] for region in left["regions"]] == ["left", "rest"]
    there = {path.name for path in (tmp_path / "out/images").iterdir()}
    assert {"content.png", "style.png", "style_2.png", "regions.png"} <= there
    sweep = ["style=[a.png,b.png],b.png", "style_scale=1,2", "name=s", "--multirun"]
    done = nst_command(*asked, *sweep)
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "outputs/s/summary.csv").read_text().splitlines()
    assert len(table) == 5
    assert "style_scale" in table[0]
    for wrong in ("style_weights=[1,2]", "regions.content=[left.png,left.png]", "style=3"):
        done = nst_command(*asked, wrong)
        assert (done.returncode, done.stderr.strip().count("\n")) == (2, 0), done.stderr


def test_checkpoint_knows_which_style_a_region_gets(tmp_path: Path) -> None:
    left, right = halves(xor_picture())
    styles = [checker_picture(), xor_picture().rotate(90)]
    path, asked = tmp_path / "checkpoint.pt", iter(["", "", "enough"])

    def run(masks: Sequence[Image.Image], **options: object) -> nst.Result:
        return stylize(xor_picture(), styles, regions=nst.Regions(masks), **SMALL, **options)

    run([left, right], checkpoint=path, stop_requested=lambda: next(asked) or None)
    with pytest.raises(nst.InputError, match="region"):
        run([right, left], resume=path)


def test_style_of_which_nothing_is_left_is_refused() -> None:
    dot = Image.new("L", checker_picture().size)
    dot.putpixel((20, 20), 255)
    asked = nst.Regions(None, [dot], border="inside")
    with pytest.raises(nst.InputError, match=r"nothing of the region .* is left in any layer"):
        stylize(xor_picture(), checker_picture(), regions=asked, **SMALL)


@pytest.mark.parametrize("shape", [(48, 64), (1, 48, 64), (1, 1, 48, 64), (1, 3, 48, 64)])
def test_masks_are_tensors_of_any_usual_shape(shape: tuple[int, ...]) -> None:
    mask, style = torch.zeros(shape), checker_picture()
    mask[..., :32] = 1
    found = regions.load(nst.Regions([mask, None]), xor_picture(), [style, style], None)
    assert np.asarray(found[0].mask).mean() == pytest.approx(127.5, abs=1)


def test_what_is_transparent_in_a_mask_does_not_count(tmp_path: Path) -> None:
    left, _ = halves(xor_picture())
    white = Image.new("RGBA", left.size, "white")
    white.putalpha(left)
    white.save(tmp_path / "mask.png")
    style = checker_picture()
    found = regions.load(
        nst.Regions([tmp_path / "mask.png", None]), xor_picture(), [style] * 2, None
    )
    assert np.array_equal(np.asarray(found[0].mask), np.asarray(left))
    assert [area.name for area in found] == ["mask", "rest"]


def test_border_of_regions_is_one_of_three() -> None:
    with pytest.raises(nst.InputError, match="border must be one of"):
        nst.Regions(border="soft")


@pytest.mark.parametrize("style", [[], None, 5])
def test_a_style_is_needed(style: object) -> None:
    with pytest.raises(nst.InputError, match="style must be a picture or a list of pictures"):
        stylize(xor_picture(), style, **SMALL)
