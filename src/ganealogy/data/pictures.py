"""One picture: encoded bytes → decoded → fitted to a square of uint8 pixels, or rejected with a reason."""

from __future__ import annotations

import io
import warnings
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".avif")
# Only these decoders: Pillow knows dozens more, some of which (EPS) start other programs.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")
MAX_PIXELS = 100_000_000
"""Larger pictures are taken for decompression bombs (a 100 megapixel RGB picture fills 300 MB)."""
MAX_ENLARGEMENT = 2
"""A picture blown up further than this would teach a GAN to draw interpolation blur."""

Fit = Literal["crop", "pad"]
Pixels = NDArray[np.uint8]


class Rejected(Exception):  # noqa: N818
    """This picture cannot be used; the message is the reason, as the manifest lists it."""


class Pictures(Protocol):
    """What a source gives to preprocessing: pictures by index."""

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """(N,) class of each picture, when the source has classes."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """For the list of rejected pictures."""

    def read(self, index: int) -> bytes | Pixels:
        """An encoded picture, or the pixels themselves (H, W). Raises: Rejected."""


def pack(content: bytes | Pixels, size: int, channels: int, how: Fit) -> Pixels:
    """A picture as a square of (size, size, channels) pixels. Raises: Rejected with the reason."""
    image = Image.fromarray(content) if isinstance(content, np.ndarray) else decode(content, 3 * size)
    square = (pad if how == "pad" else crop)(image, size)
    square = square.convert("L" if channels == 1 else "RGB")  # L: the luma of ITU-R 601, as torchvision's Grayscale
    return np.asarray(square).reshape(size, size, channels)


def decode(content: bytes, at_least: int = 0) -> Image.Image:
    """Decode into mode L or RGB, upright and opaque.

    A JPEG whose sides are several times `at_least` is decoded at 1/2, 1/4 or 1/8 by the decoder's own scaling, never
    below `at_least`: several times faster for photographs, and the final resize still does the rest.

    Raises: Rejected for what is no picture, truncated, animated, too large, or of a kind without agreed 8-bit colours.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd EXIF and of bombs; bombs are refused below
            Image.init()
            image: Image.Image = Image.open(io.BytesIO(content), formats=[f for f in FORMATS if f in Image.OPEN])
            if image.width * image.height > MAX_PIXELS:
                raise Rejected(f"{image.width}x{image.height} pixels, more than {MAX_PIXELS:,}: a decompression bomb?")
            # A phone's MPO is a photograph with a preview behind it; any other second frame is an animation or pages.
            if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
                raise Rejected(f"animated or of several pages ({getattr(image, 'n_frames', 0)} frames)")
            if image.format == "JPEG" and image.mode in ("L", "RGB") and at_least:
                scale = min(image.size) // at_least  # draft() wants the size itself, not the short side
                if scale >= 2:
                    image.draft(image.mode, (image.width // scale, image.height // scale))
            image.load()
            upright = ImageOps.exif_transpose(image)
            return _eight_bits(upright)
    except Rejected:
        raise
    except UnidentifiedImageError:
        raise Rejected("not a picture in a known format") from None
    except Image.DecompressionBombError:
        raise Rejected("far too many pixels: a decompression bomb?") from None
    except MemoryError:
        raise Rejected("too large for this machine's memory") from None
    except Exception as error:  # decoders raise anything on damaged bytes: SyntaxError, IndexError, struct.error, ...
        raise Rejected(f"cannot be decoded: {' '.join(str(error).split())[:120] or type(error).__name__}") from None


def _eight_bits(image: Image.Image) -> Image.Image:
    """Mode L or RGB; transparent parts on white, as viewers show them. Raises: Rejected."""
    if image.mode in ("L", "RGB"):
        return image if "transparency" not in image.info else _on_white(image)
    if image.mode.startswith("I;16"):
        # 16-bit grey: keep the high byte. Pillow's own conversion clips in some releases and scales in others.
        values: NDArray[Any] = np.asarray(image)
        return Image.fromarray((values >> 8).astype(np.uint8))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa", "P"):
        return _on_white(image)
    if image.mode in ("1", "CMYK", "YCbCr", "RGBX"):
        return image.convert("RGB")
    raise Rejected(f"mode {image.mode} has no agreed conversion to 8-bit colours")


def _on_white(image: Image.Image) -> Image.Image:
    colours = image.convert("RGBA")
    flat = Image.new("RGBA", colours.size, "white")
    flat.alpha_composite(colours)
    return flat.convert("RGB")


def crop(image: Image.Image, size: int) -> Image.Image:
    """The largest centred square, resized with an antialiased bilinear filter.

    To the pixel what torchvision's `CenterCrop` and `Resize` do to a PIL image, the protocol of the GAN tutorials.
    Pillow's filter widens with the reduction, so nothing aliases; whole-pixel borders keep full-size pictures sharp.
    """
    short = min(image.size)
    if short * MAX_ENLARGEMENT < size:
        raise Rejected(f"{image.width}x{image.height} is too small: under 1/{MAX_ENLARGEMENT} of image_size {size}")
    if image.size == (size, size):
        return image
    left, top = round((image.width - short) / 2), round((image.height - short) / 2)
    square = image.crop((left, top, left + short, top + short))
    return square.resize((size, size), Image.Resampling.BILINEAR)


def pad(image: Image.Image, size: int) -> Image.Image:
    """The picture as it is, centred on black (zeros)."""
    if max(image.size) > size:
        raise Rejected(f"{image.width}x{image.height} is larger than image_size {size}: use dataset.fit 'crop'")
    square = Image.new(image.mode, (size, size))
    square.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    return square
