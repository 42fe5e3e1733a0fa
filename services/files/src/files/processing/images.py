"""Facts and thumbnails of raster images."""

import io
from collections.abc import Mapping
from contextlib import suppress
from typing import BinaryIO, Final

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    Image,
    ImageCms,
    ImageFile,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from .facts import THUMBNAIL_PIXELS, Facts, Problem

MAX_PIXELS: Final = 100_000_000
"""Larger images are refused by their header, before a pixel is decoded."""
FORMATS: Final = {
    "image/png": ("PNG",),
    "image/jpeg": ("JPEG", "MPO"),
    "image/gif": ("GIF",),
    "image/webp": ("WEBP",),
    "image/avif": ("AVIF",),
    "image/bmp": ("BMP",),
    "image/tiff": ("TIFF",),
    "image/x-icon": ("ICO",),
}
"""Only the decoder of the sniffed type is tried."""
_LOADED: Final = (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
"""Decoders are modules, and a job can open none."""
_ORIENTATION: Final = 0x0112
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What sets an image upright, by its EXIF orientation (Exif 2.32, 4.6.4)."""
_ON_ITS_SIDE: Final = (5, 6, 7, 8)
_QUALITY: Final = 80
_METHOD: Final = 2
"""Of WebP encoding: half the time of the default for a few per cent more bytes."""

Image.preinit()  # or the first image opened would do it, in a job
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # a job may start no threads
Image.MAX_IMAGE_PIXELS = None  # the limit is our own, so that the facts can name the size


def image_facts(file: BinaryIO, media_type: str) -> Facts:
    """Size and thumbnails of the first frame; a damaged image keeps the size its header states."""
    size: tuple[int | None, int | None] = (None, None)
    try:
        with Image.open(file, formats=FORMATS[media_type]) as image:
            size = width, height = image.size
            if width * height > MAX_PIXELS:
                return Facts(media_type, *size, problem=Problem.IMAGE_TOO_LARGE)
            small, orientation = _small(image), _orientation(image)
            if orientation in _ON_ITS_SIDE:
                size = height, width
            return Facts(media_type, *size, thumbnails=thumbnails(_upright(small, orientation)))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - decoders raise whatever they come across
        return Facts(media_type, *size, problem=Problem.IMAGE_UNREADABLE)


def thumbnails(image: Image.Image) -> Mapping[int, bytes]:
    """WebP images by longest side in pixels, without metadata, never enlarged; alpha is kept."""
    made = {}
    for pixels in THUMBNAIL_PIXELS:
        small = image.copy()
        small.thumbnail((pixels, pixels))
        made[pixels] = _webp(small)
        if max(image.size) <= pixels:
            break
    return made


def _orientation(image: ImageFile.ImageFile) -> int:
    """As EXIF has it, of a loaded image; 1 where Pillow has seen to it, or for damaged EXIF."""
    orientation = 1
    if image.format != TiffImagePlugin.TiffImageFile.format:
        with suppress(Exception):
            orientation = int(image.getexif().get(_ORIENTATION, 1))
    return orientation


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _small(image: ImageFile.ImageFile) -> Image.Image:
    """The first frame in sRGB, as large as the largest thumbnail: what is costly is done once."""
    longest = THUMBNAIL_PIXELS[-1]
    image.draft(None, (2 * longest, 2 * longest))
    image.load()
    small = _in_colour(image)
    small.thumbnail((longest, longest))
    return _in_srgb(small, image.info.get("icc_profile"))


def _in_colour(image: Image.Image) -> Image.Image:
    if image.mode in {"RGB", "RGBA", "L", "CMYK"} and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        image = image.point(lambda value: value / 256).convert("L")  # 16 bits a sample, as PNG and TIFF have them
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """With the profile applied, since it is stripped; a profile that makes no sense is left out."""
    if profile and image.mode in {"RGB", "RGBA", "CMYK"}:
        with suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
            given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            mode = "RGB" if image.mode == "CMYK" else image.mode
            done = ImageCms.profileToProfile(image, given, ImageCms.createProfile("sRGB"), outputMode=mode)
            return done or image
    return image if image.mode in {"RGB", "RGBA"} else image.convert("RGB")


def _webp(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "WEBP", quality=_QUALITY, method=_METHOD, exif=b"", icc_profile=b"", xmp=b"")
    return out.getvalue()
