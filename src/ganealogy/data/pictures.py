"""Decode one picture and fit it to a square of uint8 pixels, or reject it with a reason."""

from __future__ import annotations

import io
import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".ppm", ".pgm"),
    ".avif",
)
# Of files without such a suffix. Not TIFF's: raw files of cameras begin with it, and Pillow reads their thumbnail.
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")
SIGNATURE_BYTES = 12
# Only these decoders: some of Pillow's others (EPS) start other programs.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "AVIF")
MAX_PIXELS = 100_000_000
"""Larger pictures are treated as decompression bombs (a 100-megapixel RGB picture fills 300 MB)."""
TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF's orientation → the operation that turns the picture upright."""
MAX_ENLARGEMENT = 2
"""A GAN would learn the interpolation blur of pictures that are enlarged more."""

Fit = Literal["crop", "squash", "pad"]
Pixels = NDArray[np.uint8]


class Rejected(Exception):  # noqa: N818
    """This picture cannot be used; the message is the reason listed in the manifest."""


class TooLarge(Rejected):
    """There is not enough memory to decode this picture here."""


def has_signature(header: bytes) -> bool:
    """Return whether a file's first SIGNATURE_BYTES bytes are those of a JPEG, PNG, GIF, WebP or AVIF."""
    is_webp = header.startswith(b"RIFF") and header[8:12] == b"WEBP"
    return header.startswith(SIGNATURES) or is_webp or header[4:12] == b"ftypavif"


def pack(content: bytes | Pixels, size: int, channels: int, fit: Fit) -> Pixels:
    """Return a picture as (size, size, channels) pixels. Raises: Rejected with the reason."""
    image = Image.fromarray(content) if isinstance(content, np.ndarray) else decode(content, 3 * size)
    square = FITS[fit](image, size)
    square = square.convert("L" if channels == 1 else "RGB")  # L: the luma of ITU-R 601, as torchvision's Grayscale
    return np.asarray(square).reshape(size, size, channels)


def decode(content: bytes, min_side: int = 0) -> Image.Image:
    """Decode into mode L or RGB, upright and opaque.

    The decoder itself scales a large JPEG by 1/2, 1/4 or 1/8, but not below `min_side`: several times faster for
    photographs, and the final resize follows anyway.

    Raises: Rejected if it is no picture, truncated, animated, too large, or of a mode without agreed 8-bit colours.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about odd EXIF and about bombs, which are rejected below
            Image.init()
            image: Image.Image = Image.open(io.BytesIO(content), formats=[f for f in FORMATS if f in Image.OPEN])
            if image.width * image.height > MAX_PIXELS:
                raise Rejected(f"{image.width}x{image.height} pixels, more than {MAX_PIXELS:,}: a decompression bomb?")
            # A phone's MPO is a photograph followed by a preview; other formats with more frames are not one picture.
            if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
                raise Rejected(f"animated or of several pages ({getattr(image, 'n_frames', 0)} frames)")
            if image.format == "JPEG" and image.mode in ("L", "RGB") and min_side:
                scale = min(image.size) // min_side  # draft() expects the full size, not the short side
                if scale >= 2:
                    image.draft(image.mode, (image.width // scale, image.height // scale))
            image.load()
            return _eight_bits(_upright(image))
    except Rejected:
        raise
    except UnidentifiedImageError:
        raise Rejected("not a picture in a known format") from None
    except Image.DecompressionBombError:
        raise Rejected("far too many pixels: a decompression bomb?") from None
    except MemoryError:
        raise TooLarge("too large for the memory") from None
    except Exception as error:  # decoders raise anything on damaged bytes: SyntaxError, IndexError, struct.error, ...
        raise Rejected(f"cannot be decoded: {' '.join(str(error).split())[:120] or type(error).__name__}") from None


def _upright(image: Image.Image) -> Image.Image:
    """Apply EXIF's orientation. An EXIF block that cannot be read counts as none: the pixels are whole."""
    try:
        method = TRANSPOSITIONS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # as from decoders: anything
        return image
    return image if method is None else image.transpose(method)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Convert to mode L or RGB, with transparent parts on white.

    Integer grey keeps the highest 8 bits of its largest value.

    Raises: Rejected.
    """
    if image.mode in ("L", "RGB"):
        return image if "transparency" not in image.info else _on_white(image)
    if image.mode.startswith("I"):
        # Integer grey, often of 12 bits in 16. Pillow's own conversion clips in some releases and scales in others.
        values: NDArray[Any] = np.asarray(image)
        if values.min() < 0:
            raise Rejected("negative grey values have no agreed conversion to 8-bit colours")
        return Image.fromarray((values >> max(0, int(values.max()).bit_length() - 8)).astype(np.uint8))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa", "P"):
        return _on_white(image)
    if image.mode in ("1", "CMYK", "YCbCr", "RGBX"):
        return image.convert("RGB")
    raise Rejected(f"mode {image.mode} has no agreed conversion to 8-bit colours")


def _on_white(image: Image.Image) -> Image.Image:
    colours = image if image.mode == "RGBA" else image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours).convert("RGB")


def crop(image: Image.Image, size: int) -> Image.Image:
    """Resize the largest centred square with an antialiased bilinear filter. Raises: Rejected if it is too small.

    Pixel for pixel as torchvision's `CenterCrop` and `Resize` on a PIL image, the protocol of the GAN tutorials.
    Borders are whole pixels, so that pictures of the final size stay unchanged.
    """
    short = _large_enough(image, size)
    if image.size == (size, size):
        return image
    left, top = round((image.width - short) / 2), round((image.height - short) / 2)
    square = image.crop((left, top, left + short, top + short))
    return square.resize((size, size), Image.Resampling.BILINEAR)


def squash(image: Image.Image, size: int) -> Image.Image:
    """Resize to a square, whatever the shape, with an antialiased bilinear filter. Raises: Rejected if it is too small.

    Pixel for pixel as torchvision's `Resize((size, size))` on a PIL image.
    """
    _large_enough(image, size)
    return image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BILINEAR)


def _large_enough(image: Image.Image, size: int) -> int:
    """Return the short side. Raises: Rejected if it is too small."""
    short = min(image.size)
    if short * MAX_ENLARGEMENT < size:
        raise Rejected(f"{image.width}x{image.height} is too small: under 1/{MAX_ENLARGEMENT} of image_size {size}")
    return short


def pad(image: Image.Image, size: int) -> Image.Image:
    """Centre the unscaled picture on black (zeros). Raises: Rejected if it is too large."""
    if max(image.size) > size:
        raise Rejected(f"{image.width}x{image.height} is larger than image_size {size}: use dataset.fit 'crop'")
    square = Image.new(image.mode, (size, size))
    square.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    return square


FITS = {"crop": crop, "squash": squash, "pad": pad}
