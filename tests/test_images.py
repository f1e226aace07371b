"""Reading, resizing and writing pictures."""

import io
import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.transforms as T
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from nst.pictures import images
from nst.pictures.images import ImageError


def gradient(width: int = 40, height: int = 24) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 6, y * 10, x + y], -1).astype(np.uint8)


@pytest.fixture
def picture() -> Image.Image:
    return Image.fromarray(gradient())


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm", "gif", "webp", "jpg"])
def test_formats(picture: Image.Image, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    lossless = {"webp": {"lossless": True}}.get(suffix, {})
    picture.save(path, **lossless)
    loaded = images.load(path)
    assert (loaded.mode, loaded.size) == ("RGB", picture.size)
    tolerance = {"gif": 40, "jpg": 40}.get(suffix, 0)
    difference = np.asarray(loaded).astype(int) - gradient()
    assert np.abs(difference).max() <= tolerance


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(
    picture: Image.Image, tmp_path: Path, orientation: int
) -> None:
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # PIL transposes that store it so
    stored = picture if orientation == 1 else picture.transpose(undo[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(np.asarray(images.load(tmp_path / "a.png")), gradient())


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 256).reshape(16, 16).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    loaded = np.asarray(images.load(tmp_path / "a.png"))
    assert np.array_equal(loaded[..., 0].ravel(), np.arange(256))


def test_floating_point_grey_is_taken_as_zero_to_one(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    Image.fromarray(values).save(tmp_path / "a.tiff")
    assert np.array_equal(np.asarray(images.load(tmp_path / "a.tiff"))[..., 1].ravel(), range(256))


def test_transparency_is_composited_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert images.load(tmp_path / "clear.png").getpixel((0, 0)) == (255, 255, 255)
    Image.new("RGBA", (4, 4), (0, 0, 0, 128)).save(tmp_path / "half.png")
    assert images.load(tmp_path / "half.png").getpixel((0, 0)) == (127, 127, 127)
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([10, 20, 30])
    palette.save(tmp_path / "palette.png", transparency=0)
    assert images.load(tmp_path / "palette.png").getpixel((0, 0)) == (255, 255, 255)


def test_grey_palette_and_cmyk(picture: Image.Image, tmp_path: Path) -> None:
    picture.convert("L").save(tmp_path / "grey.png")
    assert images.load(tmp_path / "grey.png").mode == "RGB"
    picture.convert("P").save(tmp_path / "palette.png")
    assert images.load(tmp_path / "palette.png").mode == "RGB"
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg", quality=95)
    red, green, blue = images.load(tmp_path / "cmyk.jpg").getpixel((4, 4))
    assert red > 200 > 60 > max(green, blue)


def test_colour_profile_is_converted_to_srgb(picture: Image.Image, tmp_path: Path) -> None:
    same = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture.save(tmp_path / "srgb.png", icc_profile=same)
    difference = np.asarray(images.load(tmp_path / "srgb.png")).astype(int) - gradient()
    assert np.abs(difference).max() <= 1
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    picture.save(tmp_path / "wrong.png", icc_profile=lab)
    assert np.array_equal(np.asarray(images.load(tmp_path / "wrong.png")), gradient())


def test_unusable_files_are_one_error_that_names_them(picture: Image.Image, tmp_path: Path) -> None:
    picture.save(tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "empty.png").touch()
    Image.new("L", (2, 2)).save(tmp_path / "a.ico")
    for name, reason in {
        "cut.png": "damaged",
        "text.jpg": "not a picture",
        "empty.png": "not a picture",
        "a.ico": "not a picture",
        "missing.png": "no such file",
        ".": "is a folder",
    }.items():
        with pytest.raises(ImageError, match=reason) as caught:
            images.load(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_decompression_bomb_is_refused(picture: Image.Image, tmp_path: Path, monkeypatch) -> None:
    picture.save(tmp_path / "a.png")
    size = f"{picture.width} x {picture.height} px"
    megapixels = picture.width * picture.height / 1e6
    for factor in (0.9, 0.1):  # Pillow itself warns to twice its limit, beyond it raises
        with pytest.raises(ImageError, match=f"{size}, more than max_megapixels="):
            images.load(tmp_path / "a.png", max_megapixels=factor * megapixels)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for limit in (megapixels, None):
        assert images.load(tmp_path / "a.png", max_megapixels=limit).size == picture.size
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="may read everything")
def test_unreadable_file(picture: Image.Image, tmp_path: Path) -> None:
    picture.save(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(ImageError, match="permission denied"):
        images.load(tmp_path / "a.png")


def test_tensor_pictures() -> None:
    pixels = torch.rand(3, 5, 7)
    picture = images.load(pixels)
    assert picture.size == (7, 5)
    restored = torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255
    torch.testing.assert_close(restored, pixels, atol=0.5 / 255 + 1e-6, rtol=0)
    assert images.load(pixels[None]).size == (7, 5)
    for wrong in (torch.rand(1, 5, 7), torch.rand(2, 3, 5, 7), torch.zeros(3, 5, 7).int()):
        with pytest.raises(ImageError, match="tensor picture"):
            images.load(wrong)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (255 * torch.rand(3, 5, 7), r"must be in \[0, 1\], not in .*divide 8-bit values by 255"),
        (torch.randn(1, 3, 5, 7), r"must be in \[0, 1\]"),
        (torch.full((3, 4, 4), float("nan")), "not finite"),
        (torch.full((3, 4, 4), float("inf")), "not finite"),
        (torch.zeros(3, 0, 4), "tensor picture must be"),
    ],
)
def test_tensor_outside_its_range_is_refused(pixels: torch.Tensor, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        images.load(pixels)


def test_tensor_that_overshoots_as_resizing_does_is_taken() -> None:
    pixels = torch.tensor([-0.005, 0.5, 1.005]).expand(3, 2, 3)
    assert np.asarray(images.load(pixels))[0, :, 0].tolist() == [0, 128, 255]


def test_what_is_no_picture_is_refused_in_one_short_line() -> None:
    for wrong in (np.zeros((300, 300, 3)), None, [[0]], 7):
        with pytest.raises(ImageError, match=f"not {type(wrong).__name__}$"):
            images.load(wrong)


@pytest.mark.parametrize(
    ("values", "expected", "white"),
    [
        ([0, 128, 255], [0, 128, 255], "255"),
        ([0, 32768, 65535], [0, 128, 255], "65535"),
        ([0, 1000], [0, 4], "65535"),
        ([0, 2**30, 2**31 - 1], [0, 128, 255], "2147483647"),
    ],
)
@pytest.mark.parametrize("where", ["file", "memory"])
def test_thirty_two_bit_grey_has_the_range_of_its_values_and_says_so(
    values, expected, white: str, where: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    deep = Image.fromarray(np.array([values], np.int32))
    assert deep.mode == "I"
    deep.save(tmp_path / "deep.tiff")
    loaded = images.load(deep if where == "memory" else tmp_path / "deep.tiff")
    assert np.asarray(loaded)[0, :, 0].tolist() == expected
    assert f"{white} is taken as white" in caplog.text


def test_values_below_black_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.fromarray(np.array([[-50, 0, 255]], np.int32)).save(tmp_path / "deep.tiff")
    assert np.asarray(images.load(tmp_path / "deep.tiff"))[0, :, 0].tolist() == [0, 0, 255]
    assert "values down to -50; those below 0 are taken as black" in caplog.text


@pytest.mark.parametrize("suffix", ["png", "tiff", "pgm"])
def test_sixteen_bit_grey_is_what_its_file_says(
    suffix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Image.fromarray(np.array([[0, 200]], np.uint16)).save(tmp_path / f"dark.{suffix}")
    assert np.asarray(images.load(tmp_path / f"dark.{suffix}"))[0, :, 0].tolist() == [0, 1]
    assert not caplog.records


def test_to_tensor_equals_torchvision(picture: Image.Image) -> None:
    expected = T.Compose([T.Resize((16, 16)), T.ToTensor(), T.Normalize(images.MEAN, images.STD)])(
        picture
    )
    torch.testing.assert_close(images.to_tensor(picture, 16, "stretch")[0], expected)


@pytest.mark.parametrize(("size", "expected"), [(20, (12, 20)), (80, (48, 80)), (1, (1, 1))])
def test_fit_keeps_the_aspect(picture: Image.Image, size: int, expected: tuple[int, int]) -> None:
    assert images.target_size(picture, size) == expected
    assert images.to_tensor(picture, size).shape[2:] == expected


def test_tensor_and_back_is_the_same_picture(picture: Image.Image) -> None:
    back = images.to_picture(images.to_tensor(picture, (24, 40)))
    assert np.array_equal(np.asarray(back), gradient())


def test_export_clamps() -> None:
    assert images.to_picture(torch.full((1, 3, 2, 2), 99.0)).getpixel((0, 0)) == (255,) * 3
    assert images.to_picture(torch.full((1, 3, 2, 2), -99.0)).getpixel((0, 0)) == (0,) * 3


def test_save_is_whole_or_not_at_all(picture: Image.Image, tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.png"
    images.save(picture, path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nst.files.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        images.save(Image.new("RGB", (9, 9)), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_twelve_bits_of_a_tiff_are_scaled(tmp_path: Path) -> None:
    """Pillow reads 12 bits as they are; a TIFF of them by hand, since nothing here writes one."""
    values = np.array([0, 1000, 2048, 4095])
    packed = bytearray()
    for first, second in values.reshape(-1, 2):
        packed += bytes([first >> 4, (first & 15) << 4 | second >> 8, second & 255])
    entries = [
        (256, 4, 4), (257, 4, 1), (258, 3, 12), (259, 3, 1), (262, 3, 1),
        (273, 4, 8 + 2 + 9 * 12 + 4), (277, 3, 1), (278, 4, 1), (279, 4, len(packed)),
    ]  # fmt: skip
    directory = struct.pack("<H", len(entries))
    for tag, kind, value in entries:
        directory += struct.pack("<HHII", tag, kind, 1, value)
    header = struct.pack("<2sHI", b"II", 42, 8)
    (tmp_path / "a.tiff").write_bytes(header + directory + struct.pack("<I", 0) + packed)
    loaded = np.asarray(images.load(tmp_path / "a.tiff"))
    assert loaded[0, :, 0].tolist() == [0, 62, 128, 255]


def test_floating_point_beyond_any_convention_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for white, expected in ((255.0, ""), (1000.0, "values up to 1000, taken as white")):
        caplog.clear()
        Image.fromarray(np.array([[0, white]], np.float32)).save(tmp_path / "a.tiff")
        assert np.asarray(images.load(tmp_path / "a.tiff"))[0, :, 0].tolist() == [0, 255]
        assert expected in caplog.text
        assert bool(expected) == bool(caplog.records)


def test_transparent_value_of_sixteen_bit_grey_is_white(tmp_path: Path) -> None:
    values = np.array([[0, 1000, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png", transparency=1000)
    assert np.asarray(images.load(tmp_path / "a.png"))[0, :, 0].tolist() == [0, 255, 255]


def test_cmyk_and_animations_are_said(
    picture: Image.Image, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    picture.convert("CMYK").save(tmp_path / "print.tiff")
    images.load(tmp_path / "print.tiff")
    assert "print.tiff: CMYK colours, made for print; converted to sRGB" in caplog.text
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert images.load(tmp_path / "a.gif").getpixel((0, 0)) == (255, 0, 0)
    assert "a.gif: has 3 frames, the first is taken" in caplog.text


def test_transparency_is_upright_and_none_where_opaque(tmp_path: Path) -> None:
    alpha = Image.fromarray(np.array([[0, 100], [200, 255]], np.uint8))
    picture = Image.new("RGB", (2, 2), "red")
    picture.putalpha(alpha)
    exif = Image.Exif()
    exif[0x0112] = 3  # turned upside down
    picture.save(tmp_path / "a.png", exif=exif)
    found = images.transparency(tmp_path / "a.png")
    assert found is not None
    assert np.array_equal(np.asarray(found), np.asarray(alpha)[::-1, ::-1])
    picture.putalpha(255)
    assert images.transparency(picture) is None
    assert images.transparency(picture.convert("L")) is None
    assert images.transparency(torch.rand(3, 4, 4)) is None


@pytest.mark.parametrize("suffix", images.WRITTEN)
def test_result_says_what_made_it(picture: Image.Image, tmp_path: Path, suffix: str) -> None:
    # JSON keeps to ASCII, as EXIF does.
    about = {"Software": "nst 1", "nst settings": json.dumps({"size": 64, "style": "Ø.jpg"})}
    images.save(picture, tmp_path / f"a{suffix}", about)
    with Image.open(tmp_path / f"a{suffix}") as loaded:
        if suffix == ".png":
            assert {key: loaded.info[key] for key in about} == about
        else:
            assert loaded.getexif()[0x0131] == "nst 1"
            assert about["nst settings"] in loaded.getexif()[0x010E]
        difference = np.asarray(loaded).astype(int) - gradient()
        assert np.abs(difference).mean() < (0.1 if suffix in (".png", ".tiff") else 8)


@pytest.mark.parametrize("suffix", images.WRITTEN)
def test_transparent_result(tmp_path: Path, suffix: str) -> None:
    images.save(Image.new("RGBA", (8, 8), (255, 0, 0, 0)), tmp_path / f"a{suffix}")
    with Image.open(tmp_path / f"a{suffix}") as loaded:
        loaded.load()
        if suffix == ".jpg":
            assert loaded.getpixel((0, 0)) == (255, 255, 255)
        else:
            assert loaded.getchannel("A").getextrema() == (0, 0)


def encoded(kind: str) -> bytes:
    """A small picture in one of the formats that are read, with what metadata the format takes."""
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"exif": exif} if kind in ("PNG", "JPEG", "WEBP", "TIFF", "AVIF") else {}
    buffer = io.BytesIO()
    Image.fromarray(gradient()).save(buffer, kind, **options)
    return buffer.getvalue()


ENCODED = {kind: encoded(kind) for kind in images.FORMATS}


@settings(max_examples=400, deadline=None)
@given(
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=4)), max_size=6),
    end=st.floats(0.05, 1),
)
@pytest.mark.parametrize("kind", images.FORMATS)
def test_altered_files_give_a_picture_or_an_image_error(
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    edits: list[tuple[float, bytes]],
    end: float,
) -> None:
    data = bytearray(ENCODED[kind])
    for place, new in edits:
        position = int(place * len(data))
        data[position : position + len(new)] = new
    path = tmp_path_factory.getbasetemp() / f"altered.{kind.lower()}"
    path.write_bytes(data[: max(1, int(end * len(data)))])
    try:
        loaded = images.load(path)
    except ImageError as error:
        message = str(error)
        assert str(path) in message
        assert "\n" not in message
    else:
        assert loaded.mode == "RGB"
        assert loaded.size == np.asarray(loaded).shape[1::-1]


def test_floating_point_white_is_1_though_light_goes_beyond(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    values = np.linspace(0, 1.2, 64, dtype=np.float32).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "a.tiff")
    found = np.asarray(images.load(tmp_path / "a.tiff"))[..., 0]
    expected = np.rint(values.clip(0, 1) * 255)
    assert np.abs(found - expected).max() <= 1
    assert "values up to 1.2; 1 is taken as white" in caplog.text


def test_deep_grey_is_what_viewers_show(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "a.tiff", tiffinfo={262: 0})
    found = np.asarray(images.load(tmp_path / "a.tiff"))[..., 0].astype(int)
    assert np.abs(found - (255 - values / 257)).max() <= 1
    signed = (values // 2).astype(np.int16)
    Image.frombytes("I;16", (8, 8), signed.tobytes()).save(tmp_path / "b.tiff", tiffinfo={339: 2})
    with Image.open(tmp_path / "b.tiff") as file:
        assert file.tag_v2[339] == (2,)
    found = np.asarray(images.load(tmp_path / "b.tiff"))[..., 0].astype(int)
    assert np.abs(found - signed / 32767 * 255).max() <= 1


def test_tensor_without_values_is_refused_and_one_with_a_gradient_is_not() -> None:
    with pytest.raises(images.ImageError, match="must hold its values"):
        images.load(torch.empty(3, 8, 8, device="meta"))
    with pytest.raises(images.ImageError, match="must hold its values"):
        images.load(torch.rand(3, 8, 8).to_sparse())
    assert images.load(torch.rand(3, 8, 8, requires_grad=True)).size == (8, 8)
