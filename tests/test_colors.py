"""What becomes of the colours, and the arithmetic behind it."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

import nst
from nst import colors, gamuts
from nst.optim import parametrizations, schedules
from nst.optim.parametrizations import Parametrization
from nst.pictures import color, images
from nst.pictures.color import normalised, unit
from support import check_slopes, checker_picture, xor_picture

KINDS = {
    "pixel": parametrizations.pixel,
    "fourier": parametrizations.fourier,
    "fourier_unlimited": partial(parametrizations.fourier, power=1.0, wavelength=None),
}
GAMUTS = {"srgb": gamuts.srgb, "free": gamuts.free}
METHODS = ("cholesky", "image_analogies")


def tensor(picture: Image.Image, size: int | tuple[int, int] = 48) -> Tensor:
    return images.to_tensor(picture, size)


def drawn(seed: int, shape: tuple[int, int] = (24, 32)) -> Tensor:
    """Any colours in range, some of them at the bounds."""
    values = torch.rand(1, 3, *shape, generator=torch.Generator().manual_seed(seed))
    return normalised((1.4 * values - 0.2).clamp(0, 1))


def plain(*rgb: float, shape: tuple[int, int] = (16, 20)) -> Tensor:
    return normalised(torch.tensor(rgb).reshape(1, 3, 1, 1).expand(1, 3, *shape))


def measured(image: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance by torch's own."""
    pixels = unit(image.double())[0].flatten(1)
    return pixels.mean(1), torch.cov(pixels, correction=0)


def close(found: Tensor, expected: Tensor | float, within: float) -> None:
    wanted = torch.as_tensor(expected, dtype=found.dtype).expand_as(found)
    torch.testing.assert_close(found, wanted, atol=within, rtol=0)


# --- Luminance and chroma -------------------------------------------------------------------------


def test_luminance_and_chroma_are_pillows() -> None:
    """Which rounds them down to 8 bits."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    picture = Image.fromarray(pixels)
    planes = torch.from_numpy(np.array(picture.convert("YCbCr"))).double().permute(2, 0, 1)
    image = images.to_tensor(picture, 64).double()
    red, green, blue = 255 * color.chroma(image)[0]
    found = torch.stack([255 * color.luminance(image)[0, 0], 128 + blue / 1.772, 128 + red / 1.402])
    close(found - 0.5, planes, 0.55)
    close(-0.344136 * blue / 1.772 - 0.714136 * red / 1.402, green, 1e-3)


def test_luminance_of_one_picture_and_chroma_of_another_are_pillows() -> None:
    image, content = (
        color.grey(drawn(seed, (48, 48))) * 0.5 + drawn(seed + 1, (48, 48)) * 0.3 for seed in (0, 2)
    )
    both = [images.to_picture(one).convert("YCbCr") for one in (image, content)]
    bands = [both[0].getchannel(0), both[1].getchannel(1), both[1].getchannel(2)]
    expected = images.to_tensor(Image.merge("YCbCr", bands).convert("RGB"), 48)
    made = color.with_chroma_of(image, content)
    low, high = color.luminance_range(content)
    level = color.luminance(image)
    colour = ((level > low + 0.02) & (level < high - 0.02)).expand_as(made)
    assert colour.float().mean() > 0.8
    close(unit(made)[colour], unit(expected)[colour], 5 / 255)


def test_grey_is_the_luminance_in_all_channels() -> None:
    image = drawn(0)
    grey = unit(color.grey(image))
    for channel in grey[0]:
        close(channel, color.luminance(image)[0, 0], 1e-6)
    close(unit(color.grey(plain(0.2, 0.5, 0.9))), 0.2 * 0.299 + 0.5 * 0.587 + 0.9 * 0.114, 1e-6)
    close(color.grey(color.grey(image)), color.grey(image), 1e-6)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000))
def test_the_range_of_luminance_is_where_some_channel_meets_a_bound(seed: int) -> None:
    content = drawn(seed).double()
    low, high = color.luminance_range(content)
    offset = color.chroma(content)
    assert (low <= high).all()
    assert (color.luminance(content) - low).min() > -1e-7
    assert (high - color.luminance(content)).min() > -1e-7
    close((low + offset).amin(1), 0.0, 1e-7)
    close((high + offset).amax(1), 1.0, 1e-7)


def test_the_range_of_greys_is_all_and_of_the_fullest_colours_none() -> None:
    for rgb, expected in (
        ((0.5, 0.5, 0.5), (0.0, 1.0)),
        ((1.0, 0.0, 0.0), (0.299, 0.299)),
        ((0.25, 0.75, 0.25), (0.2935, 0.7935)),
    ):
        for found, bound in zip(color.luminance_range(plain(*rgb)), expected, strict=True):
            close(found, bound, 1e-6)
    low, high = color.luminance_range(plain(1.3, -0.2, 0.5))  # no colour
    assert (low <= high).all()


def test_chroma_of_another_picture() -> None:
    image, content = drawn(1), drawn(2)
    made = color.with_chroma_of(image, content)
    close(color.chroma(made), color.chroma(content), 1e-6)
    low, high = color.luminance_range(content)
    close(color.luminance(made), color.luminance(image).clamp(low, high), 1e-6)
    assert images.clipped(made) == 0
    close(color.with_chroma_of(content, content), content, 1e-5)


# --- Pictures with another's colours --------------------------------------------------------------

ORDINARY = {"xor": tensor(xor_picture()), "checker": tensor(checker_picture()), "drawn": drawn(3)}
SINGULAR = {
    "grey": color.grey(tensor(xor_picture())),
    "two channels": normalised(unit(drawn(4)) * torch.tensor([1.0, 0.0, 1.0])[:, None, None]),
    "one colour": plain(0.2, 0.5, 0.9),
    "black": plain(0.0, 0.0, 0.0),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("content", [*ORDINARY, *SINGULAR])
@pytest.mark.parametrize("style", ORDINARY)
def test_matched_has_the_contents_moments(style: str, content: str, method: color.Method) -> None:
    goal = {**ORDINARY, **SINGULAR}[content]
    made = color.matched(ORDINARY[style], goal, method)
    assert made.shape == ORDINARY[style].shape
    assert made.dtype == torch.float32
    for found, expected in zip(measured(made), measured(goal), strict=True):
        close(found, expected, 1e-5)
    # Deviations too, which are larger than variances.
    close(*(measured(one)[1].diagonal().sqrt() for one in (made, goal)), 1e-3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("content", [*ORDINARY, *SINGULAR])
@pytest.mark.parametrize("style", SINGULAR)
def test_style_with_nothing_to_spread_is_matched_as_far_as_it_goes(
    style: str, content: str, method: color.Method
) -> None:
    goal = {**ORDINARY, **SINGULAR}[content]
    made = color.matched(SINGULAR[style], goal, method)
    close(measured(made)[0], measured(goal)[0], 1e-3)
    assert (measured(made)[1].diagonal() <= measured(goal)[1].diagonal() + 1e-3).all()
    assert made.isfinite().all()


def test_black_and_white_style_becomes_a_line_through_the_contents_colours() -> None:
    made = color.matched(SINGULAR["grey"], ORDINARY["xor"], "image_analogies")
    variances = torch.linalg.eigvalsh(measured(made)[1])
    assert variances[-1] > 0.01
    assert variances[1] < 1e-6


def test_matching_by_hand_where_the_channels_are_independent() -> None:
    """Each is then only shifted and stretched, whatever the method."""
    levels = torch.tensor([-1.0, 1.0])
    grid = torch.stack(torch.meshgrid(levels, levels, levels, indexing="ij")).reshape(1, 3, 2, 4)
    scale = torch.tensor([0.05, 0.1, 0.2])[:, None, None]
    style, content = normalised(0.5 + scale * grid), normalised(0.4 + scale.flip(0) * grid)
    for method in METHODS:
        close(color.matched(style, content, method), content, 1e-5)


def test_methods_differ_in_what_depends_on_the_order_of_channels() -> None:
    style, content = ORDINARY["xor"], ORDINARY["checker"]

    def turned(method: color.Method) -> Tensor:
        both = (normalised(unit(one).flip(1)) for one in (style, content))
        return normalised(unit(color.matched(*both, method)).flip(1))

    close(color.matched(style, content, "image_analogies"), turned("image_analogies"), 1e-4)
    assert (color.matched(style, content, "cholesky") - turned("cholesky")).abs().max() > 0.1
    # Of a triangular matrix: the first channel comes from the first alone.
    red = unit(color.matched(style, content, "cholesky"))[0, 0].flatten().double()
    pair = torch.stack([red, unit(style)[0, 0].flatten().double()])
    assert torch.corrcoef(pair)[0, 1] == pytest.approx(1, abs=1e-6)


def test_matched_to_itself_is_itself() -> None:
    for method in METHODS:
        close(color.matched(ORDINARY["xor"], ORDINARY["xor"], method), ORDINARY["xor"], 1e-5)
    for picture in ORDINARY.values():
        close(color.histogram_matched(picture, picture), picture, 0.03)


def test_histogram_of_as_many_values_is_met_exactly_and_in_order() -> None:
    generator = torch.Generator().manual_seed(5)
    style, content = (torch.randn(1, 3, 12, 10, generator=generator) for _ in range(2))
    made = color.histogram_matched(style, content)
    for found, own, goal in zip(made[0], style[0], content[0], strict=True):
        assert torch.equal(found.flatten().sort()[0], goal.flatten().sort()[0])
        assert torch.equal(found.flatten().argsort(), own.flatten().argsort())


def test_histogram_of_pictures_of_8_bits() -> None:
    style, content = ORDINARY["xor"], tensor(checker_picture(), 31)
    made = unit(color.histogram_matched(style, content))
    for share in torch.linspace(0.05, 0.95, 10):
        for found, goal in zip(made[0], unit(content)[0], strict=True):
            # A value that is often there takes up several quantiles.
            margin = goal.flatten().quantile(torch.tensor([share - 0.05, share + 0.05]))
            assert margin[0] - 0.02 <= found.flatten().quantile(share) <= margin[1] + 0.02


def test_histogram_of_few_colours() -> None:
    two = normalised(torch.tensor([0.0, 1.0]).repeat_interleave(32).repeat(1, 3, 1, 1))
    made = unit(color.histogram_matched(drawn(6), two))
    assert ((made < 1e-6) | (made > 1 - 1e-6)).float().mean() > 0.95
    assert made.mean() == pytest.approx(0.5, abs=0.02)
    (same,) = unit(color.histogram_matched(plain(0.9, 0.9, 0.9), two)).unique().tolist()
    assert 0 <= same <= 1
    median = unit(color.histogram_matched(SINGULAR["one colour"], drawn(7)))[0, :, 0, 0]
    close(median, unit(drawn(7))[0].flatten(1).median(1)[0], 0.01)
    one = color.histogram_matched(drawn(6), SINGULAR["one colour"])
    close(one, SINGULAR["one colour"][..., :1, :1], 1e-6)


@pytest.mark.parametrize("content", [*ORDINARY, *SINGULAR])
@pytest.mark.parametrize("style", [*ORDINARY, *SINGULAR])
def test_luminance_gets_the_contents_mean_and_deviation(style: str, content: str) -> None:
    pictures = {**ORDINARY, **SINGULAR}
    made = color.luminance_matched(pictures[style], pictures[content])
    assert made.shape == pictures[style].shape
    close(color.grey(made), made, 1e-5)
    own, found, goal = (
        color.luminance(one.double()) for one in (pictures[style], made, pictures[content])
    )
    assert found.mean().item() == pytest.approx(goal.mean().item(), abs=1e-6)
    spread = goal.std(correction=0).item() if own.std() > 0.01 else 0.0
    assert found.std(correction=0).item() == pytest.approx(spread, abs=1e-5)


def test_moments_of_several_pictures() -> None:
    one, other = drawn(8), drawn(9, (7, 5)) / 3
    mean, covariance = color.moments([one, other], [3, 1])
    pixels = [unit(each.double())[0].flatten(1) for each in (one, other)]
    # Each pixel as often as it counts: both pictures' numbers of pixels as one.
    together = torch.cat([*3 * [pixels[0].repeat(1, 35)], pixels[1].repeat(1, 768)], dim=1)
    close(mean[:, 0], together.mean(1), 1e-9)
    close(covariance, torch.cov(together, correction=0), 1e-9)
    root = color.square_root(covariance)
    close(root, root.T, 1e-12)
    close(root @ root, covariance, 1e-12)


# --- What becomes of the colours ------------------------------------------------------------------


def of(picture: Image.Image) -> Callable[[Sequence[int]], Tensor]:
    return lambda shape: images.to_tensor(picture, (shape[0], shape[1]))


def toned(kind: str, gamut: str) -> Parametrization:
    """The luminance alone of the xor picture."""
    return colors.Content().parametrized(GAMUTS[gamut](KINDS[kind]), of(xor_picture()))


def test_transfer_leaves_all_as_it_is() -> None:
    content, style, way = drawn(0), drawn(1), colors.Transfer()
    seen_content, (seen_style,) = way.pictures(content, [style])
    assert seen_content is content
    assert seen_style is style
    assert way.seen(content) is content
    assert way.parametrized(nst.pixel, of(xor_picture())) is nst.pixel
    assert way.finished(style, content) is style


@pytest.mark.parametrize(
    ("way", "function"),
    [
        (colors.Match(), partial(color.matched, method="cholesky")),
        (colors.Match("image_analogies"), partial(color.matched, method="image_analogies")),
        (colors.Histogram(), color.histogram_matched),
    ],
)
def test_styles_alone_get_other_colours(
    way: colors.Color, function: Callable[[Tensor, Tensor], Tensor]
) -> None:
    content, styles = drawn(0), [drawn(1), tensor(checker_picture(), 20)]
    seen, found = way.pictures(content, styles)
    assert seen is content
    for one, style in zip(found, styles, strict=True):
        assert torch.equal(one, function(style, content))
    assert way.seen(content) is content
    assert way.parametrized(nst.pixel, of(xor_picture())) is nst.pixel
    assert way.finished(styles[0], content) is styles[0]


def test_unknown_method_is_refused() -> None:
    with pytest.raises(
        nst.InputError, match=r"^color\.method must be cholesky or image_analogies, not pca"
    ):
        colors.Match("pca")  # type: ignore[arg-type]


def test_original_colors_come_at_the_end() -> None:
    content, style, way = drawn(0), drawn(1), colors.OriginalColors()
    assert way.pictures(content, [style]) == (content, [style])
    assert way.seen(style) is style
    assert way.parametrized(nst.pixel, of(xor_picture())) is nst.pixel
    saved = images.to_tensor(images.to_picture(way.finished(1.5 * style, content)), (24, 32))
    assert (color.chroma(saved) - color.chroma(content)).abs().max() < 1 / 255


def test_network_sees_luminance_alone() -> None:
    content, styles = drawn(0), [drawn(1), drawn(2, (9, 8))]
    way = colors.Content()
    seen, found = way.pictures(content, styles)
    assert torch.equal(seen, color.grey(content))
    for one, style in zip(found, styles, strict=True):
        assert torch.equal(one, color.luminance_matched(style, content))
    assert torch.equal(way.seen(content), color.grey(content))
    assert torch.autograd.gradcheck(way.seen, drawn(3, (3, 4)).double().requires_grad_())


@pytest.mark.parametrize("gamut", GAMUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_start_from_the_content_is_the_content(kind: str, gamut: str) -> None:
    content = tensor(xor_picture())
    image = toned(kind, gamut)(content)
    close(unit(image()).detach(), unit(content), 1 / 255)
    for variable in image.variables:
        assert variable.is_leaf
        assert variable.requires_grad
        assert variable.is_contiguous()


@settings(deadline=None, max_examples=60)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    gamut=st.sampled_from(sorted(GAMUTS)),
    seed=st.integers(0, 1000),
    step=st.sampled_from([1e-3, 0.1, 1.0, 100.0]),
)
def test_no_step_changes_the_chroma_or_leaves_the_range(
    kind: str, gamut: str, seed: int, step: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    content = tensor(xor_picture(), (14, 12))
    image = toned(kind, gamut)(step * torch.randn(1, 3, 14, 12, generator=generator))
    for _ in range(3):
        found = image().detach()
        rounding = 1e-6 * (1 + found.abs().max().item())
        close(color.chroma(found), color.chroma(content), rounding)
        if gamut == "srgb":
            assert unit(found).min() >= -1e-5
            assert unit(found).max() <= 1 + 1e-5
            assert images.clipped(found) == 0
            saved = images.to_tensor(images.to_picture(found), (14, 12))
            close(color.chroma(saved), color.chroma(content), 1 / 255)
        with torch.no_grad():
            for variable in image.variables:
                variable += step * torch.randn(variable.shape, generator=generator)


@pytest.mark.parametrize("gamut", GAMUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_image_that_is_assigned_comes_back(kind: str, gamut: str) -> None:
    image = toned(kind, gamut)(tensor(xor_picture()))
    other = tensor(checker_picture(120, 96), 48)
    assert other.shape == image().shape
    given_other = other.clone()
    with torch.no_grad():
        for variable in image.variables:
            variable += torch.randn(variable.shape, generator=torch.Generator().manual_seed(0))
        earlier = image().clone()
    image.assign(other)
    assert torch.equal(other, given_other)
    low, high = color.luminance_range(tensor(xor_picture()))
    wanted = color.luminance(other).clamp(low, high)
    # Where there is no room to speak of, an image without bounds need not be met outside of it.
    room = (high - low) > (0 if gamut == "srgb" else 1 / 512)
    goal = wanted if gamut == "srgb" else color.luminance(other)
    close(color.luminance(image().detach())[room], goal[room], 1 / 255)
    image.assign(earlier)
    close(unit(image()).detach(), unit(earlier), 1 / 255)


@pytest.mark.parametrize("gamut", GAMUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_next_size_has_the_contents_chroma_in_that_size(kind: str, gamut: str) -> None:
    """An image of 24 x 30 px goes on in 48 x 60, as `nst.run.state` does it."""
    make = toned(kind, gamut)
    small = make(drawn(0, (24, 30)))
    content = of(xor_picture())((48, 60))
    start = schedules.enlarged(small().detach(), content)
    large = make(start)
    close(color.chroma(large().detach()), color.chroma(content), 1e-5)
    low, high = color.luminance_range(content)
    within = (color.luminance(start) - low > 0) & (high - color.luminance(start) > 0)
    found = color.luminance(large().detach())
    close(found[within], color.luminance(start)[within], 1 / 255)


@pytest.mark.parametrize("gamut", GAMUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_of_the_variables(kind: str, gamut: str) -> None:
    """Of what the network sees, through luminance, share, range and parametrization."""
    start = drawn(10, (5, 6)).double()
    image = toned(kind, gamut)(start)
    (values,) = image.variables
    before, way = values.detach().clone(), colors.Content()
    weights = torch.randn(start.shape, generator=torch.Generator().manual_seed(2)).double()

    def moved(step: Tensor) -> Tensor:
        with torch.no_grad():
            values.copy_(before + step)
        return (way.seen(image()) * weights).sum()

    check_slopes(moved, values)


@pytest.mark.parametrize("gamut", GAMUTS)
def test_optimizer_finds_a_luminance(gamut: str) -> None:
    content, goal = tensor(xor_picture()), color.grey(drawn(11, (38, 48)))
    image = toned("fourier", gamut)(content)
    way, optimizer = colors.Content(), nst.lbfgs(image.variables)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (way.seen(image()) - goal).square().sum()
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(closure)
    low, high = color.luminance_range(content)
    wanted = color.luminance(goal).clamp(low, high)
    found = color.luminance(image().detach())
    if gamut == "free":
        wanted = torch.where(high - low > 0.05, color.luminance(goal), found)
    assert (found - wanted).abs().mean() < 0.01


@pytest.mark.parametrize("gamut", GAMUTS)
def test_nothing_comes_from_the_host_at_an_evaluation(
    gamut: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CUDA graph can be recorded only of what is on the device already."""
    image = toned("fourier", gamut)(torch.randn(1, 3, 8, 8))
    for host in ("new_tensor", "to", "cpu", "item"):
        monkeypatch.setattr(torch.Tensor, host, None)
    for host in ("tensor", "as_tensor", "from_numpy"):
        monkeypatch.setattr(torch, host, None)
    colors.Content().seen(image()).sum().backward()
