"""Unusual pictures are either packed as viewers show them, or rejected with a reason."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from ganealogy.data.pictures import Rejected, pack


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def gradient(width: int = 40, height: int = 40) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 255 // width, y * 255 // height, 0 * x], -1).astype(np.uint8))


def colour(content: bytes) -> list[int]:
    """Return the packed picture's middle pixel."""
    return pack(content, 8, 3, "crop")[4, 4].tolist()


def test_packed_pictures_have_the_given_size_and_channels() -> None:
    assert pack(encoded(gradient(), "PNG"), 16, 3, "crop").shape == (16, 16, 3)
    assert pack(encoded(gradient(), "PNG"), 16, 1, "crop").shape == (16, 16, 1)
    grey = pack(encoded(gradient().convert("L"), "PNG"), 16, 3, "crop")
    assert (grey[..., 0] == grey[..., 1]).all() and (grey[..., 0] == grey[..., 2]).all()


def test_a_picture_of_the_final_size_is_unchanged() -> None:
    image = gradient(32, 32)
    assert (pack(encoded(image, "PNG"), 32, 3, "crop") == np.asarray(image)).all()
    assert (pack(encoded(image, "PNG"), 32, 3, "pad") == np.asarray(image)).all()


@pytest.mark.parametrize("size", [(89, 109), (178, 218), (64, 48), (33, 100), (64, 65)])
def test_crop_equals_torchvisions_on_a_pil_image(size: tuple[int, int]) -> None:
    from torchvision.transforms import v2

    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    theirs = np.asarray(v2.Resize(32)(v2.CenterCrop(min(size))(image)))
    assert (pack(encoded(image, "PNG"), 32, 3, "crop") == theirs).all()


def test_crop_is_centred() -> None:
    wide = Image.new("RGB", (60, 20), "red")
    wide.paste("blue", (20, 0, 40, 20))
    packed = pack(encoded(wide, "PNG"), 20, 3, "crop")
    assert (packed == [0, 0, 255]).all()


def test_shrinking_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    packed = pack(encoded(Image.fromarray(stripes), "PNG"), 16, 3, "crop")
    assert abs(packed[2:-2, 2:-2].astype(int) - 127).max() <= 2  # without antialiasing: all black or all white


def test_pad_adds_zeros_on_all_sides() -> None:
    packed = pack(encoded(Image.new("L", (28, 28), 255), "PNG"), 32, 1, "pad")
    assert packed[2:30, 2:30].min() == 255 and packed.sum() == 255 * 28 * 28
    assert (pack(np.full((28, 28), 255, np.uint8), 32, 1, "pad") == packed).all()


def test_a_large_jpeg_decoded_at_a_fraction_is_nearly_equal() -> None:
    image = gradient(800, 600)
    whole = pack(encoded(image, "PNG"), 32, 3, "crop").astype(int)
    assert abs(pack(encoded(image, "JPEG", quality=95), 32, 3, "crop") - whole).max() <= 6


def test_exif_orientation_is_applied() -> None:
    image = Image.new("RGB", (40, 40), "red")
    image.paste("blue", (0, 0, 40, 20))  # blue above
    exif = Image.Exif()
    exif[0x0112] = 3  # rotated by 180 degrees
    packed = pack(encoded(image, "JPEG", exif=exif, quality=100, subsampling=0), 8, 3, "crop").astype(int)
    assert packed[1, 4, 0] > 200 and packed[6, 4, 2] > 200


def test_transparency_is_flattened_on_white() -> None:
    assert colour(encoded(Image.new("RGBA", (8, 8), (255, 0, 0, 0)), "PNG")) == [255, 255, 255]
    assert colour(encoded(Image.new("RGBA", (8, 8), (255, 0, 0, 128)), "PNG")) == [255, 127, 127]
    assert colour(encoded(Image.new("LA", (8, 8), (0, 0)), "PNG")) == [255, 255, 255]
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 0, 0, 255])
    assert colour(encoded(palette, "PNG")) == [0, 0, 255]
    assert colour(encoded(palette, "PNG", transparency=1)) == [255, 255, 255]
    assert colour(encoded(palette, "GIF")) == [0, 0, 255]


def test_other_colour_modes_are_converted() -> None:
    assert colour(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF")) == [255, 0, 0]
    red = colour(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100))
    assert red[0] > 240 and red[1] < 15
    assert colour(encoded(Image.new("1", (8, 8), 1), "PNG")) == [255, 255, 255]
    assert colour(encoded(gradient(8, 8), "WEBP", lossless=True)) == np.asarray(gradient(8, 8))[4, 4].tolist()


def test_sixteen_bits_keep_their_high_byte() -> None:
    deep = np.full((8, 8), 40_000, np.uint16)
    assert colour(encoded(Image.fromarray(deep), "PNG")) == [40_000 >> 8] * 3
    assert colour(encoded(Image.fromarray(deep), "TIFF")) == [40_000 >> 8] * 3


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_greys_of_fewer_bits_in_sixteen_keep_their_brightness(bits: int, kind: str) -> None:
    ramp = np.linspace(0, 2**bits - 1, 64).astype(np.uint16).reshape(8, 8)
    packed = pack(encoded(Image.fromarray(ramp), kind), 8, 1, "crop")[..., 0]
    assert (packed == ramp >> (bits - 8)).all() and packed.max() == 255


def test_integer_greys_of_thirty_two_bits_are_scaled_too_and_negative_ones_rejected() -> None:
    ramp = np.linspace(0, 4095, 64).astype(np.int32).reshape(8, 8)
    assert (pack(encoded(Image.fromarray(ramp), "TIFF"), 8, 1, "crop")[..., 0] == ramp >> 4).all()
    with pytest.raises(Rejected, match="negative"):
        pack(encoded(Image.fromarray(ramp - 9), "TIFF"), 8, 1, "crop")
    assert pack(encoded(Image.fromarray(ramp * 0), "TIFF"), 8, 1, "crop").max() == 0


MALFORMED = {
    "no TIFF header": b"Exif\0\0garbage",
    "cut short": b"Exif\0\0II*\0\x08\0\0\0\x09",
    "an offset outside": b"Exif\0\0II*\0\xff\xff\xff\x7f",
    "an orientation of a wrong type": b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\x02\0\x09\0\0\0\xff\xff\xff\x7f\0\0\0\0",
    "an orientation that is none": b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\x63\0\0\0\0\0\0\0",
}


@pytest.mark.parametrize("fault", MALFORMED)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_a_malformed_exif_block_does_not_decide_over_the_pixels(fault: str, kind: str) -> None:
    image = gradient(16, 16)
    options = {"lossless": True} if kind == "WEBP" else {}
    clean, faulty = encoded(image, kind, **options), encoded(image, kind, exif=MALFORMED[fault], **options)
    assert clean != faulty
    assert (pack(faulty, 16, 3, "crop") == pack(clean, 16, 3, "crop")).all()


def test_a_malformed_text_chunk_of_exif_does_not_either() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", "\nexif\n 99\nno hexadecimal digits")
    content = encoded(gradient(16, 16), "PNG", pnginfo=info)
    assert (pack(content, 16, 3, "crop") == np.asarray(gradient(16, 16))).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_equals_pillows(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(gradient(24, 24), "PNG", exif=exif)
    theirs = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    assert (pack(content, 24, 3, "crop") == np.asarray(theirs)).all()


def bomb(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes whose header declares a huge picture."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


frames = [Image.new("RGB", (20, 20), name) for name in ("red", "blue")]
REJECTED = {
    "a truncated jpeg": (encoded(gradient(), "JPEG")[:400], "cannot be decoded"),
    "a truncated png": (encoded(gradient(), "PNG")[:90], "cannot be decoded"),
    "text": (b"plain text\n" * 100, "not a picture"),
    "nothing": (b"", "not a picture"),
    "a zip": (b"PK\3\4" + bytes(100), "not a picture"),
    "an eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EOF\n", "not a picture"),
    "an animation": (encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), r"animated .*2 frames"),
    "pages": (encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:]), "of several pages"),
    "1x1": (encoded(Image.new("RGB", (1, 1)), "PNG"), "1x1 is too small"),
    "a line": (encoded(Image.new("RGB", (500, 3)), "PNG"), "500x3 is too small"),
    "a bomb": (bomb(20_000, 20_000), "decompression bomb"),
    "a middling bomb": (bomb(12_000, 9_000), "decompression bomb"),
    "floats": (encoded(Image.new("F", (20, 20)), "TIFF"), "no agreed conversion"),
}


@pytest.mark.parametrize("case", REJECTED)
def test_an_unusable_picture_is_rejected_with_its_reason(case: str) -> None:
    content, reason = REJECTED[case]
    with pytest.raises(Rejected, match=reason) as caught:
        pack(content, 16, 3, "crop")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_larger_than_the_padded_square_is_rejected() -> None:
    with pytest.raises(Rejected, match=r"40x40 is larger than image_size 32: use dataset\.fit 'crop'"):
        pack(encoded(gradient(), "PNG"), 32, 3, "pad")


def test_random_damage_gives_pixels_or_a_reason() -> None:
    generator = np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"):
        content = encoded(gradient(), kind)
        for _ in range(60):
            broken = bytearray(content)
            for place in generator.integers(0, len(content), 3):
                broken[place] = generator.integers(0, 256)
            with contextlib.suppress(Rejected):
                assert pack(bytes(broken), 16, 3, "crop").shape == (16, 16, 3)


def test_squash_uses_the_whole_picture_as_torchvisions_resize() -> None:
    from torchvision.transforms.functional import resize

    wide = gradient(90, 40)
    packed = pack(encoded(wide, "PNG"), 32, 3, "squash")
    assert np.array_equal(packed, np.asarray(resize(wide, [32, 32])))
    assert packed[0, 0, 0] < 10 and packed[0, -1, 0] > 240, "both ends are in it, unlike with crop"
    assert pack(encoded(wide, "PNG"), 32, 3, "crop")[0, 0, 0] > 60
    with pytest.raises(Rejected, match="too small"):
        pack(encoded(gradient(90, 15), "PNG"), 32, 3, "squash")
