import numpy as np
import pytest
from PIL import Image

from mmadapt.data.media import read_image
from mmadapt.data.media.decode import image as operation
from mmadapt.data.media.decode.errors import Unreadable
from mmadapt.errors import MediaError

ORIENTATION = 0x0112
QUARTERS = {"red": (200, 0, 0), "green": (0, 200, 0), "blue": (0, 0, 200), "grey": (90, 90, 90)}


def picture():
    """Red and green above, blue and grey below; wider than high."""
    image = Image.new("RGB", (48, 32))
    for i, colour in enumerate(QUARTERS.values()):
        image.paste(colour, (24 * (i % 2), 16 * (i // 2), 24 * (i % 2) + 24, 16 * (i // 2) + 16))
    return image


def assert_is_picture(image, atol=0):
    assert image.mode == "RGB" and image.size == (48, 32)
    for i, colour in enumerate(QUARTERS.values()):
        pixel = image.getpixel((24 * (i % 2) + 12, 16 * (i // 2) + 8))
        np.testing.assert_allclose(pixel, colour, atol=atol)


def failure(path):
    with pytest.raises(MediaError) as caught:
        read_image(path)
    error = caught.value
    assert error.path == path and str(error).startswith(f"{path}: cannot read image: ")
    return error.reason


@pytest.mark.parametrize(
    ("suffix", "atol"),
    [("png", 0), ("bmp", 0), ("tiff", 0), ("gif", 0), ("ppm", 0), ("jpg", 12), ("webp", 30)],
)
def test_formats(tmp_path, suffix, atol):
    picture().save(tmp_path / f"a.{suffix}")
    assert_is_picture(read_image(tmp_path / f"a.{suffix}"), atol)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = picture() if orientation == 1 else picture().transpose(undo[orientation])
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored.save(tmp_path / "a.jpg", exif=exif, quality=95)
    assert_is_picture(read_image(tmp_path / "a.jpg"), atol=12)


def test_alpha_is_shown_on_white(tmp_path):
    image = Image.new("RGBA", (3, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (200, 100, 0, 255))
    image.putpixel((2, 0), (0, 0, 0, 128))
    image.save(tmp_path / "a.png")
    pixels = np.asarray(read_image(tmp_path / "a.png"))[0]
    np.testing.assert_allclose(pixels, [[255] * 3, [200, 100, 0], [127] * 3], atol=1)


def test_grey_with_alpha(tmp_path):
    Image.new("LA", (2, 2), (0, 0)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").getpixel((0, 0)) == (255, 255, 255)


def test_palette_and_its_transparent_colour(tmp_path):
    picture().quantize(4).save(tmp_path / "p.png")
    assert_is_picture(read_image(tmp_path / "p.png"))
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 0, 200, 0])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "t.png", transparency=0)
    read = read_image(tmp_path / "t.png")
    assert [read.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (0, 200, 0)]


@pytest.mark.parametrize("suffix", ["jpg", "tiff"])
def test_cmyk(tmp_path, suffix):
    picture().convert("CMYK").save(tmp_path / f"a.{suffix}")
    assert_is_picture(read_image(tmp_path / f"a.{suffix}"), atol=12)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bits_are_scaled(tmp_path, suffix):
    values = np.array([[0, 200, 257, 25700, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    pixels = np.asarray(read_image(tmp_path / f"a.{suffix}"))
    assert pixels.tolist() == [[[v] * 3 for v in (0, 1, 1, 100, 255)]]


def test_one_bit(tmp_path):
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "a.png")
    assert np.asarray(read_image(tmp_path / "a.png")).tolist() == [[[255] * 3, [0] * 3]]


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_of_an_animation_the_first_picture_comes(tmp_path, suffix):
    other = Image.new("RGB", (48, 32), (255, 255, 255))
    path = tmp_path / f"a.{suffix}"
    picture().save(path, save_all=True, append_images=[other, other], duration=50)
    assert_is_picture(read_image(path), atol=30 if suffix == "webp" else 0)


def test_what_is_no_picture(tmp_path):
    assert failure(tmp_path / "no.png") == "no such file"
    assert failure(tmp_path) == "it is a folder"
    (tmp_path / "a.png").write_text("no picture")
    assert failure(tmp_path / "a.png") == "it is not a picture of a format that Pillow knows"
    (tmp_path / "b.jpg").write_bytes(np.random.default_rng(0).bytes(5000))
    assert failure(tmp_path / "b.jpg") == "it is not a picture of a format that Pillow knows"


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "webp", "bmp"])
def test_cut_picture(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "damaged" in failure(path) or "not a picture" in failure(path)


def test_floating_point_pixels(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "a.tiff")
    assert "no agreed range" in failure(tmp_path / "a.tiff")


def test_a_small_file_of_a_huge_picture_is_refused(tmp_path):
    Image.new("1", (20_000, 10_000)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 100_000
    assert "20000 x 10000 pixels, more than 134,217,728" in failure(tmp_path / "bomb.png")


def test_the_limit_of_pillow_itself_does_not_come_first(tmp_path, monkeypatch):
    picture().save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    monkeypatch.setattr(operation, "MAX_IMAGE_PIXELS", 48 * 32)
    assert operation.read({"path": str(tmp_path / "a.png")})[1].shape == (32, 48, 3)
    monkeypatch.setattr(operation, "MAX_IMAGE_PIXELS", 48 * 32 - 1)
    with pytest.raises(Unreadable, match="48 x 32"):
        operation.read({"path": str(tmp_path / "a.png")})
