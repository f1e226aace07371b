"""Reading, resizing and writing pictures."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.transforms as T
from PIL import Image, ImageCms

from nst import images
from nst.images import ImageError


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
    for limit in (900, 500, 100):  # Pillow warns to twice its limit, beyond it raises
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(ImageError, match="decompression bomb"):
            images.load(tmp_path / "a.png")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
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
