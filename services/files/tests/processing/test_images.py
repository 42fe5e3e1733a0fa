"""Images: size by the header, thumbnails, refusals."""

import io
import resource
import struct
import time

import pytest
from PIL import Image, ImageCms

from files.processing.facts import Facts, Problem
from files.processing.images import MAX_PIXELS, image_facts

from . import samples


def facts(data: bytes, media_type: str = "image/png") -> Facts:
    return image_facts(io.BytesIO(data), media_type)


def opened(found: Facts, pixels: int) -> Image.Image:
    image = Image.open(io.BytesIO(found.thumbnails[pixels]))
    assert image.format == "WEBP"
    return image


@pytest.mark.parametrize(
    ("kind", "media_type"),
    [
        ("PNG", "image/png"),
        ("JPEG", "image/jpeg"),
        ("MPO", "image/jpeg"),
        ("GIF", "image/gif"),
        ("WEBP", "image/webp"),
        ("AVIF", "image/avif"),
        ("BMP", "image/bmp"),
        ("TIFF", "image/tiff"),
    ],
)
def test_size_and_two_thumbnails(kind: str, media_type: str) -> None:
    found = facts(samples.saved(samples.picture(2000, 1000), kind), media_type)
    assert (found.media_type, found.width, found.height, found.problem) == (media_type, 2000, 1000, None)
    assert (opened(found, 256).size, opened(found, 1024).size) == ((256, 128), (1024, 512))
    red, green, blue = opened(found, 256).convert("RGB").getpixel((20, 20))
    assert (red > 200, green < 60, blue < 60) == (True, True, True)


def test_an_icon() -> None:
    found = facts(samples.saved(samples.picture(64, 64), "ICO"), "image/x-icon")
    assert (found.width, found.height, opened(found, 256).size) == (64, 64, (64, 64))


def test_a_small_image_is_not_enlarged_and_has_one_thumbnail() -> None:
    found = facts(samples.saved(samples.picture(200, 100), "PNG"))
    assert {pixels: opened(found, pixels).size for pixels in found.thumbnails} == {256: (200, 100)}
    found = facts(samples.saved(samples.picture(300, 100), "PNG"))
    assert {pixels: opened(found, pixels).size for pixels in found.thumbnails} == {256: (256, 85), 1024: (300, 100)}


@pytest.mark.parametrize(("orientation", "turned"), [(1, False), (3, False), (6, True), (8, True)])
def test_the_orientation_is_applied(orientation: int, *, turned: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = facts(samples.saved(samples.picture(400, 200), "JPEG", exif=exif), "image/jpeg")
    assert (found.width, found.height) == ((200, 400) if turned else (400, 200))
    assert opened(found, 256).size == ((128, 256) if turned else (256, 128))
    corner = {1: (5, 5), 3: (250, 120), 6: (120, 5), 8: (5, 250)}[orientation]
    assert opened(found, 256).convert("RGB").getpixel(corner)[0] > 200


def test_metadata_do_not_survive() -> None:
    exif = Image.Exif()
    exif[0x010E] = "SECRET PLACE"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = samples.saved(
        samples.picture(400, 200), "JPEG", exif=exif, icc_profile=profile, comment=b"SECRET", xmp=b"<SECRET/>"
    )
    assert data.count(b"SECRET") == 3
    image = opened(facts(data, "image/jpeg"), 256)
    assert b"SECRET" not in facts(data, "image/jpeg").thumbnails[256]
    assert not set(image.info) & {"exif", "icc_profile", "xmp"}


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_alpha_is_kept(mode: str) -> None:
    image = samples.picture(400, 200, "RGBA")
    image.paste((0, 0, 0, 0), (200, 0, 400, 200))
    kind = "GIF" if mode == "P" else "PNG"
    found = facts(samples.saved(image if mode == "P" else image.convert(mode), kind), f"image/{kind.lower()}")
    small = opened(found, 256)
    assert small.mode == "RGBA"
    assert (small.getpixel((250, 60))[3], small.getpixel((5, 5))[3]) == (0, 255)


def test_a_colour_made_transparent_by_a_chunk_of_its_own() -> None:
    found = facts(samples.saved(samples.picture(400, 200), "PNG", transparency=(0, 0, 255)))
    assert opened(found, 256).getpixel((250, 120))[3] == 0


def test_sixteen_bits_a_sample_keep_their_brightness() -> None:
    image = Image.frombytes("I;16", (300, 300), struct.pack("<H", 0x8000) * 90_000)
    for kind in ("PNG", "TIFF"):
        found = facts(samples.saved(image, kind), f"image/{kind.lower()}")
        assert 120 < opened(found, 256).convert("L").getpixel((9, 9)) < 136, kind


def test_cmyk_becomes_rgb() -> None:
    found = facts(samples.saved(samples.picture(300, 300, "CMYK"), "JPEG"), "image/jpeg")
    assert opened(found, 256).getpixel((5, 5))[0] > 180


def test_of_an_animation_the_first_frame() -> None:
    frames = [Image.new("RGB", (300, 300), colour) for colour in ("red", "blue", "green")]
    for kind in ("GIF", "WEBP"):
        data = samples.saved(frames[0], kind, save_all=True, append_images=frames[1:])
        small = opened(facts(data, f"image/{kind.lower()}"), 256)
        assert getattr(small, "n_frames", 1) == 1
        assert small.convert("RGB").getpixel((9, 9))[0] > 200


@pytest.mark.parametrize("pixels", [False, True])
def test_fifty_thousand_square_is_refused_by_its_header(*, pixels: bool) -> None:
    data = samples.huge_png(50_000, pixels=pixels)
    assert len(data) < 1_000_000
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    found = facts(data)
    assert (found.problem, found.width, found.height, found.thumbnails) == (Problem.IMAGE_TOO_LARGE, 50_000, 50_000, {})
    assert time.perf_counter() - started < 0.5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10_000, "KiB"


def test_just_within_the_limit_is_read() -> None:
    assert MAX_PIXELS == 100_000_000
    found = facts(samples.huge_png(10_000, pixels=True))
    assert (found.problem, opened(found, 1024).size) == (None, (1024, 1024))


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_jpeg_keeps_its_size(share: float) -> None:
    data = samples.saved(samples.noise(600, 400), "JPEG")
    found = facts(data[: int(len(data) * share)], "image/jpeg")
    assert (found.problem, found.width, found.height, found.thumbnails) == (Problem.IMAGE_UNREADABLE, 600, 400, {})


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (b"\x89PNG\r\n\x1a\n<html>", "image/png"),
        (b"", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (samples.saved(samples.picture(20, 20), "GIF"), "image/png"),
        (b"GIF89a" + b"\0" * 7, "image/gif"),
        (b"II*\0\xff\xff\xff\xff", "image/tiff"),
    ],
)
def test_what_is_no_image_is_unreadable(data: bytes, media_type: str) -> None:
    found = facts(data, media_type)
    assert (found.problem, found.width, found.thumbnails) == (Problem.IMAGE_UNREADABLE, None, {})


def test_a_decoder_that_runs_out_of_memory_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "thumbnail", full)
    with pytest.raises(MemoryError):
        facts(samples.saved(samples.picture(20, 20), "PNG"))
