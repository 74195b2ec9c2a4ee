"""Broken, odd and hostile images through fit and predict.

    python examples/benchmarks/robustness.py

Draws faces, writes them in many formats and mutates them: 10,000 files in the
families of the table that is printed in the end, some as images in memory. All
are read one by one, then fitted and predicted with on_error="skip" and "raise"
by an untrained network of 32 pixels; 500,000 links to a few thousand files then
show whether memory stays flat. Exits with status 1 if a requirement fails.

Needs Linux or macOS; memory is measured on Linux only. On two cores it takes
a quarter of an hour or so. --images 300 --paths 5000 makes a quick trial; --images 0 and
--paths 0 leave a part out.
"""

from __future__ import annotations

import argparse
import faulthandler
import functools
import gzip
import io
import os
import struct
import sys
import tempfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from memory import anonymous_memory, peak_memory
from PIL import Image, ImageCms, features

from skage import AgeBinner, BinnedAgeRegressor, Runtime, VGG16Classifier
from skage._activations.frozen import FrozenNetwork
from skage._images.reading import MAX_FILE_BYTES, ImageError, digest_and_decoder, resize
from skage.datasets import make_faces

SIZE = 32
HANG = 10  # seconds that an image may take
N_THREADS = 2  # that read
N_ALONE = 500  # images that are predicted once more, each alone
N_FILES = 3000  # behind the many paths
PER_PIXEL = 20  # bytes that a decoded picture and its copies may take
FLAT = 100e6  # bytes that memory may grow by between a tenth and all of the paths
ORIENTATION = 0x0112

# --- Formats -----------------------------------------------------------------

PHOTOGRAPHS: dict[str, tuple[str, dict[str, Any]]] = {
    "JPEG": (".jpg", {"format": "JPEG", "quality": 90}),
    "progressive JPEG": (".jpeg", {"format": "JPEG", "progressive": True}),
    "PNG": (".png", {"format": "PNG"}),
    "GIF": (".gif", {"format": "GIF"}),
    "BMP": (".bmp", {"format": "BMP"}),
    "TIFF": (".tif", {"format": "TIFF"}),
    "LZW TIFF": (".tiff", {"format": "TIFF", "compression": "tiff_lzw"}),
    "JPEG TIFF": (".tif", {"format": "TIFF", "compression": "jpeg"}),
    "WebP": (".webp", {"format": "WEBP"}),
    "lossless WebP": (".webp", {"format": "WEBP", "lossless": True}),
    "JPEG 2000": (".jp2", {"format": "JPEG2000"}),
    "PPM": (".ppm", {"format": "PPM"}),
}
if features.check("avif"):
    PHOTOGRAPHS["AVIF"] = (".avif", {"format": "AVIF", "speed": 10})
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "TGA": (".tga", {"format": "TGA", "compression": "tga_rle"}),
    "PCX": (".pcx", {"format": "PCX"}),
    "SGI": (".sgi", {"format": "SGI"}),
    "DDS": (".dds", {"format": "DDS"}),
    "IM": (".im", {"format": "IM"}),
    "MPO": (".mpo", {"format": "MPO"}),
    "ICO": (".ico", {"format": "ICO"}),
    "ICNS": (".icns", {"format": "ICNS"}),
    "EPS": (".eps", {"format": "EPS"}),
    "PDF": (".pdf", {"format": "PDF"}),
}
EXTENSIONS = sorted({extension for extension, _ in (PHOTOGRAPHS | OTHERS).values()})
MODES = [
    *(("PNG", mode) for mode in ("1", "L", "P", "LA", "RGB", "RGBA", "I;16")),
    *(("JPEG", mode) for mode in ("L", "RGB", "CMYK", "YCbCr")),
    *(("GIF", mode) for mode in ("L", "P")),
    *(("BMP", mode) for mode in ("1", "L", "P", "RGB", "RGBA")),
    *(("WEBP", mode) for mode in ("RGB", "RGBA")),
    *(("TIFF", mode) for mode in ("1", "L", "P", "LA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")),
    *(("TIFF", mode) for mode in ("LAB", "I", "I;16", "I;16B", "F")),
]
IN_MEMORY = ["1", "L", "P", "LA", "La", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr"]
IN_MEMORY += ["HSV", "LAB", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"]


def encode(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


def convert(image: Image.Image, mode: str) -> Image.Image:
    """To any mode that Pillow knows, and not only to those that it converts to."""
    if mode in ("I", "I;16", "I;16B"):
        kind = {"I": np.int32, "I;16": np.uint16, "I;16B": np.dtype(">u2")}[mode]
        return Image.fromarray((np.asarray(image.convert("L"), int) * 257).astype(kind))
    if mode in ("I;16L", "I;16N"):
        return Image.new(mode, image.size, 30_000)
    if mode == "LAB":
        return Image.frombytes("LAB", image.size, image.tobytes())
    if mode in ("PA", "La", "RGBa"):
        image = image.convert({"PA": "P", "La": "LA", "RGBa": "RGBA"}[mode])
    return image.convert(mode)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def png(width: int, height: int, bits: int, colour: int, body: bytes, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", body)
    return b"\x89PNG\r\n\x1a\n" + chunks + png_chunk(b"IEND", b"")


def tiff(tags: dict[int, tuple[int, int, int]], body: bytes = b"") -> bytes:
    """Tags as type, count, and value or offset."""
    entries = b"".join(struct.pack("<HHII", tag, *value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + body


def exif_block(kind: int, count: int, value: int, n_more: int = 0) -> bytes:
    """EXIF whose orientation has this type, count and value."""
    more = {0x9000 + i: (4, 2**31, 2**31) for i in range(n_more)}
    return b"Exif\0\0" + tiff({ORIENTATION: (kind, count, value), **more})


# --- The families ------------------------------------------------------------


@dataclass
class Sample:
    """An item of X. `fate` says whether it must be read, or must not; None: either."""

    item: Any
    fate: bool | None = None
    family: str = ""


class Maker:
    """Draws, encodes and writes; all by one seed."""

    def __init__(self, folder: Path, seed: int):
        self.folder, self.rng, self.n_files = folder, np.random.default_rng(seed), 0
        faces = make_faces(8, image_size=64, random_state=seed)
        self.pictures = [Image.fromarray(pixels) for pixels in faces.data]
        self.pictures += [self.pictures[0].resize(size) for size in ((600, 800), (317, 211))]

    def pick(self, options: Sequence[Any]) -> Any:
        return options[self.rng.integers(len(options))]

    def picture(self) -> Image.Image:
        return self.pick(self.pictures)

    @functools.cache  # noqa: B019
    def _encoded(self, name: str, index: int) -> bytes:
        return encode(self.pictures[index], **(PHOTOGRAPHS | OTHERS)[name][1])

    def encoded(self, formats: dict[str, Any] = PHOTOGRAPHS) -> tuple[str, bytes]:
        """The extension and content of a sound file."""
        name = self.pick(list(formats))
        return formats[name][0], self._encoded(name, int(self.rng.integers(len(self.pictures))))

    def new_path(self, end: str = "") -> str:
        self.n_files += 1
        folder = self.folder / f"{self.n_files // 1000:03}"
        folder.mkdir(exist_ok=True)
        return str(folder / f"{self.n_files:06}{end}")

    def write(self, end: str, data: bytes) -> str:
        path = self.new_path(end)
        with open(path, "wb") as file:
            file.write(data)
        return path

    def good(self) -> str:
        return self.write(*self.encoded())


FAMILIES: dict[str, Callable[[Maker], Sample]] = {}


def family(function: Callable[[Maker], Sample]) -> Callable[[Maker], Sample]:
    FAMILIES[function.__name__.replace("_", " ")] = function
    return function


@family
def sound(make: Maker) -> Sample:
    return Sample(make.good(), True)


@family
def truncated(make: Maker) -> Sample:
    end, data = make.encoded()
    far, near = int(make.rng.integers(1, len(data))), int(make.rng.integers(1, 64))
    return Sample(make.write(end, data[: make.pick((far, near, len(data) - near))]))


def flip_bits(make: Maker, data: bytes) -> bytes:
    changed = np.frombuffer(data, np.uint8).copy()
    where = make.rng.integers(make.pick((64, len(data))), size=2 ** make.rng.integers(7))
    changed[where % len(data)] ^= (1 << make.rng.integers(8, size=len(where))).astype(np.uint8)
    return changed.tobytes()


@family
def bit_flipped(make: Maker) -> Sample:
    end, data = make.encoded()
    return Sample(make.write(end, flip_bits(make, data)))


@family
def spliced(make: Maker) -> Sample:
    end, data = make.encoded()
    a, b = sorted(make.rng.integers(len(data) + 1, size=2))
    other = make.encoded()[1]
    ways = (
        data[:a] + data[b:],
        data[:b] + data[a:],
        data[:a] + bytes(b - a) + data[b:],
        data[:a] + make.rng.bytes(b - a) + data[b:],
        make.rng.bytes(20) + data,
        data[:a] + other[a:],
    )
    return Sample(make.write(end, make.pick(ways)))


@family
def followed_by_more(make: Maker) -> Sample:
    end, data = make.encoded()
    more = make.pick((make.rng.bytes(1000), make.encoded()[1], bytes(5000), b"\r\n"))
    # OpenJPEG takes what follows for broken boxes.
    return Sample(make.write(end, data + more), None if end == ".jp2" else True)


@family
def wrong_extension(make: Maker) -> Sample:
    end = make.pick([*EXTENSIONS, "", ".txt", ".JPG", ".heic", ".exe"])
    return Sample(make.write(end, make.encoded()[1]), True)


@family
def modes(make: Maker) -> Sample:
    format, mode = make.pick(MODES)
    data = encode(convert(make.picture(), mode), format=format)
    return Sample(make.write("." + format.lower(), data), True)


@family
def in_memory(make: Maker) -> Sample:
    image = convert(make.picture(), make.pick(IN_MEMORY))
    broken = Image.open(io.BytesIO(make._encoded("PNG", 0)[:-100]))
    hollow = Image.new("F", (4, 4), make.pick((np.nan, np.inf, -np.inf)))
    ways = [(image, True)] * 6
    ways += [(broken, False), (hollow, False), (Image.new("RGB", (0, 5)), False)]
    return Sample(*make.pick(ways))


@family
def sizes(make: Maker) -> Sample:
    size = make.pick([(1, 1), (1, 2), (2, 1), (3, 7), (12_000, 1), (1, 12_000), (3, 5000)])
    end, options = make.pick(list(PHOTOGRAPHS.values()))
    image = make.picture().resize(size)
    return Sample(make.write(end, encode(image, **options)), True)


@family
def exif_orientation(make: Maker) -> Sample:
    exif = Image.Exif()
    exif[ORIENTATION] = int(make.rng.integers(0, 10))
    end, options = PHOTOGRAPHS[make.pick(["JPEG", "PNG", "WebP", "TIFF"])]
    return Sample(make.write(end, encode(make.picture(), exif=exif, **options)), True)


@family
def broken_exif(make: Maker) -> Sample:
    whole = exif_block(3, 1, 6, n_more=int(make.rng.integers(40)))
    blocks = [
        whole[: make.rng.integers(6, len(whole))],
        flip_bits(make, whole),
        exif_block(int(make.rng.integers(16)), int(make.pick((0, 1, 2, 2**31))), 8),
        b"Exif\0\0" + make.rng.bytes(50),
        b"Exif\0\0MM\0*" + b"\xff" * 60_000,
        whole + make.rng.bytes(60_000),
        b"",
    ]
    xmp = b'<x:xmpmeta tiff:Orientation="9">' + make.rng.bytes(20)
    name, options = make.pick([("JPEG", {}), ("PNG", {}), ("WebP", {}), ("JPEG", {"xmp": xmp})])
    end, how = PHOTOGRAPHS[name]
    block = b"Exif\0\0" + make.pick(blocks).removeprefix(b"Exif\0\0")
    data = encode(make.picture(), exif=block, **how, **options)
    if make.rng.integers(5) == 0:  # as ImageMagick writes it
        text = png_chunk(b"tEXt", b"Raw profile type exif\0\nexif\n  9\nno hex at all\n")
        end, data = ".png", png(1, 1, 8, 0, zlib.compress(b"\0\0"), text)
    return Sample(make.write(end, data), True)


@family
def animated(make: Maker) -> Sample:
    frames = [make.picture().resize((48, 40)) for _ in range(3)]
    different = [make.picture().resize((20 + 30 * i, 90 - 30 * i)) for i in range(3)]
    ways: list[tuple[str, list[Image.Image]]] = [
        ("GIF", frames),
        ("WebP", frames),
        ("PNG", frames),
        ("TIFF", different),
    ]
    if "AVIF" in PHOTOGRAPHS:
        ways.append(("AVIF", frames))
    name, pictures = make.pick(ways)
    end, options = PHOTOGRAPHS[name]
    how = {"save_all": True, "append_images": pictures[1:], **options}
    return Sample(make.write(end, encode(pictures[0], **how)), True)


@family
def animated_and_mutated(make: Maker) -> Sample:
    path = animated(make).item
    data = Path(path).read_bytes()
    cut = data[: make.rng.integers(1, len(data))]
    Path(path).write_bytes(make.pick((cut, flip_bits(make, data))))
    return Sample(path)


@family
def transparency(make: Maker) -> Sample:
    face = make.picture()
    palette = face.convert("P")
    ways = [
        (face.convert("RGBA"), {"format": "PNG"}),
        (face, {"format": "PNG", "transparency": (0, 0, 0)}),
        (face.convert("L"), {"format": "PNG", "transparency": 7}),
        (face.convert("1"), {"format": "PNG", "transparency": 1}),
        (palette, {"format": "PNG", "transparency": make.rng.bytes(200)}),
        (palette, {"format": "PNG", "transparency": 3}),
        (palette, {"format": "GIF", "transparency": int(make.rng.integers(256))}),
        (convert(face, "I;16"), {"format": "PNG", "transparency": 500}),
    ]
    image, options = make.pick(ways)
    if image.mode == "RGBA":
        image.putalpha(Image.effect_noise(image.size, 100))
    return Sample(make.write("." + options["format"].lower(), encode(image, **options)), True)


@family
def wide(make: Maker) -> Sample:
    """More than 8 bits: whole numbers and floats, some not finite or of no known range."""
    values = np.asarray(make.picture().convert("L")) / np.float32(255)
    holes = values.copy()
    holes[3, 4] = make.pick((np.nan, np.inf, -np.inf))
    floats = [values, values * 255, values * 65_535, values * 1.0001, np.zeros_like(values)]
    ways = [(array, True) for array in floats] + [(values - 0.5, False)]
    ways += [((values * 1e9).astype(np.int32), False), ((-values * 1e9).astype(np.int32), False)]
    ways += [((values * 65_535).astype(kind), True) for kind in (np.uint16, ">u2")]
    array, fate = make.pick([*ways, (holes, False), (holes, False)])
    return Sample(make.write(".tif", encode(Image.fromarray(array), format="TIFF")), fate)


@family
def cmyk(make: Maker) -> Sample:
    image = make.picture().convert("CMYK")
    data = encode(image, format="JPEG", progressive=bool(make.rng.integers(2)))
    start = data.index(b"\xff\xee")  # Adobe's mark, which says that the inks are inverted
    bare = data[:start] + data[start + 16 :]
    return Sample(make.write(".jpg", make.pick((data, bare))), True)


@family
def colour_profiles(make: Maker) -> Sample:
    """sRGB, one whose red is another's green, and broken ones, which spoil no picture."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    other = srgb
    for old, new in ((b"rXYZ", b"xXYZ"), (b"gXYZ", b"rXYZ"), (b"xXYZ", b"gXYZ")):
        other = other.replace(old, new)
    cut, grey = srgb[: make.rng.integers(len(srgb))], srgb.replace(b"RGB ", b"GRAY")
    profiles = (srgb, other, cut, grey, flip_bits(make, srgb), flip_bits(make, other), b"", b"\0")
    end, options = PHOTOGRAPHS[make.pick(["JPEG", "PNG", "WebP", "TIFF"])]
    image = make.picture().convert(make.pick(["L", "RGB"]))
    return Sample(make.write(end, encode(image, icc_profile=make.pick(profiles), **options)), True)


@family
def zero_bytes(make: Maker) -> Sample:
    path = make.write(make.pick(EXTENSIONS), bytes(int(make.pick((0, 0, 1, 50, 5000)))))
    if make.rng.integers(10) == 0:
        os.truncate(path, MAX_FILE_BYTES + 1)  # a hole: it fills no disk
    return Sample(path, False)


@family
def texts(make: Maker) -> Sample:
    ways = (
        b"not an image\n" * 20,
        b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        b'{"error": "expired"}',
        b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n",
        "Gesicht für später\r\n".encode("utf-16"),
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        encode(make.picture(), format="EPS"),
        b"#!/bin/sh\nexit 1\n",
        b"\x1c\x01\x5a\x00\x03\x1b%G\x1c\x02\x05\x00\x04name",  # IPTC
    )
    return Sample(make.write(make.pick(EXTENSIONS), make.pick(ways)), False)


@functools.cache
def blank_png(side: int, alpha: bool = False) -> bytes:
    """A sound picture of few bytes: black and white, or grey with alpha."""
    bits, colour, row = (8, 4, 2 * side) if alpha else (1, 0, -(-side // 8))
    return png(side, side, bits, colour, zlib.compress(bytes((1 + row) * side)))


@functools.cache
def inflated_text() -> bytes:
    return png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(10**8), 9))


def patched(data: bytes, mark: bytes, skip: int, pattern: str, *values: int) -> bytes:
    at = data.index(mark) + skip
    new = struct.pack(pattern, *values)
    return data[:at] + new + data[at + len(new) :]


@functools.cache
def endless_jpeg(side: int, n_scans: int) -> bytes:
    """The last scan over and over: each goes through all pixels, in a hundred bytes."""
    data = encode(Image.new("L", (side, side)), format="JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * n_scans + data[-2:]


def fits(side: int) -> bytes:
    """Few compressed bytes for so many pixels, over which Pillow goes one by one."""

    def unit(**cards: Any) -> bytes:
        lines = [f"{key:<8}= {value}".ljust(80) for key, value in cards.items()]
        return ("".join(lines) + "END").ljust(2880).encode()

    table = {"XTENSION": "'BINTABLE'", "NAXIS": 2, "NAXIS1": 0, "NAXIS2": 0, "BITPIX": 8}
    packed = {"ZIMAGE": "T", "ZCMPTYPE": "'GZIP_1  '", "ZBITPIX": 8, "ZNAXIS": 2}
    data = gzip.compress(bytes(100)).ljust(2880, b"\0")
    return (
        unit(SIMPLE="T", BITPIX=8, NAXIS=0)
        + unit(**table, **packed, ZNAXIS1=side, ZNAXIS2=side)
        + data
    )


def forged_headers(make: Maker) -> list[tuple[str, bytes]]:
    """Small files that claim to be large pictures."""
    side = int(make.pick((60_000, 12_000)))  # beyond Pillow's error, and its warning
    jp2 = make._encoded("JPEG 2000", 0)
    strips = {278: (4, 1, side), 273: (4, 1, 8), 279: (4, 1, 100), 262: (3, 1, 1)}
    tags = {256: (4, 1, side), 257: (4, 1, side), 258: (3, 1, 8), 277: (3, 1, 1), **strips}
    packed = tags | {259: (3, 1, int(make.pick((5, 7, 8, 32_773))))}
    tiles = {322: (4, 1, side), 323: (4, 1, side), 324: (4, 1, 8), 325: (4, 1, 100)}
    tiled = {tag: value for tag, value in packed.items() if tag not in strips} | tiles
    found = [
        (".png", png(side, side, 8, 2, zlib.compress(bytes(1000)))),
        (".png", blank_png(12_000)),
        (".jpg", patched(make._encoded("JPEG", 0), b"\xff\xc0", 5, ">HH", side, side)),
        (".jpg", patched(make._encoded("progressive JPEG", 0), b"\xff\xc2", 5, ">HH", side, side)),
        (".gif", patched(make._encoded("GIF", 0), b"GIF8", 6, "<HH", side, side)),
        (".gif", patched(make._encoded("GIF", 0), b"\x2c\0\0\0\0", 5, "<HH", 65_535, 65_535)),
        (".bmp", patched(make._encoded("BMP", 0), b"BM", 18, "<ii", side, side)),
        (".tif", tiff(tags, bytes(100))),
        (".tif", tiff(packed, bytes(100))),
        (".tif", tiff(tiled | {262: (3, 1, 1)}, bytes(100))),
        (".webp", patched(make._encoded("lossless WebP", 0), b"VP8L", 9, "<I", 0x0FFFFFFF)),
        (".jp2", patched(jp2, b"\xff\x51", 6, ">II", side, side)),
        (".ppm", b"P6 %d %d 255\n" % (side, side) + bytes(100)),
        (".tga", struct.pack("<BBB5x4HBB", 0, 0, 10, 0, 0, side, side, 24, 0) + bytes(100)),
        (".psd", struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, side, side, 8, 3) + bytes(100)),
        (".qoi", b"qoif" + struct.pack(">IIBB", side, side, 3, 0) + bytes(100)),
        (".sgi", patched(make._encoded("SGI", 0), b"\x01\xda", 6, ">HH", side, side)),
        (".dds", patched(make._encoded("DDS", 0), b"DDS ", 12, "<II", side, side)),
        (".fits", fits(9400)),
        (".jpg", endless_jpeg(9400, 2000)),
    ]
    if "AVIF" in PHOTOGRAPHS:
        avif = make._encoded("AVIF", 0)
        found.append((".avif", patched(avif, b"ispe", 8, ">II", side, side)))
    return found


@family
def bombs(make: Maker) -> Sample:
    end, data = make.pick(forged_headers(make))
    return Sample(make.write(end, data), False)


@family
def large(make: Maker) -> Sample:
    """Just within Pillow's bound, seldom; else text that inflates, or a few million pixels."""
    inflating = png(1, 1, 8, 0, zlib.compress(b"\0\0"), inflated_text())
    ways: list[tuple[bytes, bool | None]] = [(blank_png(1500), True)] * 36
    ways += [(inflating, None)] * 2
    ways += [(blank_png(9400), True), (blank_png(9400, alpha=True), True)]
    data, fate = make.pick(ways)
    return Sample(make.write(".png", data), fate)


def icon(data: bytes) -> bytes:
    """An ICO file that holds any PNG."""
    return struct.pack("<HHH4BHHII", 0, 1, 1, 32, 32, 0, 0, 1, 32, len(data), 22) + data


def iptc(data: bytes) -> bytes:
    """An IPTC file that holds any image."""
    fields = [(3, 60, b"\1\0"), (3, 20, b"\0\x20"), (3, 30, b"\0\x20"), (3, 120, b"\5")]
    head = b"".join(struct.pack(">BBBH", 28, *f[:2], len(f[2])) + f[2] for f in fields)
    parts = [data[i : i + 30_000] for i in range(0, len(data), 30_000)]
    return head + b"".join(struct.pack(">BBBH", 28, 8, 10, len(p)) + p for p in parts)


@family
def nested(make: Maker) -> Sample:
    """Files that Pillow would open within a file, whatever their format and size."""
    bomb = make.pick((blank_png(12_000), blank_png(1500), make._encoded("PNG", 0)))
    icns = b"icns" + struct.pack(">I4sI", len(bomb) + 16, b"ic07", len(bomb) + 8) + bomb
    eps = encode(make.picture(), format="EPS")
    ways = [(".ico", icon(bomb)), (".icns", icns), (".iim", iptc(bomb)), (".iim", iptc(eps))]
    return Sample(make.write(*make.pick(ways)), False)


@family
def other_formats(make: Maker) -> Sample:
    end, data = make.encoded(OTHERS)
    cut = data[: make.rng.integers(1, len(data))]
    return Sample(make.write(end, make.pick((data, data, cut, flip_bits(make, data)))))


@family
def noise(make: Maker) -> Sample:
    """A sound beginning, then anything: all of Pillow's readers get their turn."""
    forged = [data[:20] for _, data in forged_headers(make)]
    written = [make._encoded(name, 0)[:20] for name in PHOTOGRAPHS | OTHERS]
    marks = [b"#define x_width 9\n", b"/* XPM */", b"SIMPLE  =", b"\xd7\xcd\xc6\x9a", b"BLP2"]
    start = make.pick([*forged, *written, *marks, b"IIMM", b"FTEX", b"\1\x0e\0\0", b""])
    start = start[: make.rng.integers(2, 21)]
    return Sample(make.write(make.pick(EXTENSIONS), start + make.rng.bytes(3000)))


@family
def folders(make: Maker) -> Sample:
    path = make.new_path(".jpg")
    os.mkdir(path)
    return Sample(make.pick((path, path + "/", make.good() + "/")), False)


@family
def unreadable(make: Maker) -> Sample:
    path = make.good()
    os.chmod(path, 0)
    return Sample(path, os.geteuid() == 0)


@family
def links(make: Maker) -> Sample:
    path, other = make.new_path(".jpg"), make.new_path(".jpg")
    good, fate = make.pick([(True, True), (False, False)])
    if good:
        target = make.good()
        make.pick((os.symlink, os.link))(target, path)
        return Sample(path, fate)
    os.symlink(path, other)
    targets = [other, path, make.new_path(), str(make.folder), "x" * 200]
    os.symlink(make.pick(targets), path)
    return Sample(path, fate)


@family
def special_files(make: Maker) -> Sample:
    path, link = make.new_path(".jpg"), make.new_path(".jpg")
    os.mkfifo(path)
    os.symlink(make.pick((path, "/dev/null", "/dev/zero", "/dev/stdin")), link)
    return Sample(make.pick((path, link)), False)


@family
def names(make: Maker) -> Sample:
    """Odd names of sound files, and of files that are not there."""
    ways = [" ", " a  b .jpg", "größe.png", "顔.jpg", "\N{GRINNING FACE}", "a\nb.jpg", "%s{}"]
    ways += ["\x1b[31m.png", "'\"\\", ".jpg", "e\u0301.gif", "\u202egpj.exe", "x" * 200, "~", "*?"]
    ways += [os.fsdecode(name) for name in (b"\xff\xfe.jpg", b"caf\xe9.png", b"\x80")]
    path = make.new_path(make.pick(ways))
    if make.rng.integers(3) == 0:
        return Sample(path, False)
    os.rename(make.good(), path)
    return Sample(make.pick((path, Path(path))), True)


@family
def missing(make: Maker) -> Sample:
    path = make.new_path(".jpg")
    ways = [path, Path(path), path + "/a.png", "", "a\0b.jpg", path + "x" * 300, "/" * 5000 + "a"]
    return Sample(make.pick([*ways, "\ud800.jpg", "https://example.org/a.jpg"]), False)


def make_samples(folder: Path, n: int, seed: int) -> list[Sample]:
    make = Maker(folder, seed)
    samples = []
    for i in range(n):
        name = list(FAMILIES)[i % len(FAMILIES)]
        sample = FAMILIES[name](make)
        sample.family = name
        samples.append(sample)
    return samples


# --- Measuring ---------------------------------------------------------------


class Watched(Sequence):
    """Images that tell when so many parts of them have been asked for."""

    def __init__(self, items: Sequence[Any], parts: Sequence[float], tell: Callable[[float], None]):
        self.items, self.tell = items, tell
        self.marks = {int(part * len(items)) - 1: part for part in parts}

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Any:
        if (part := self.marks.pop(i, None)) is not None:
            self.tell(part)
        return self.items[i]


@dataclass
class Outcome:
    """What came of reading one image."""

    seconds: float
    read: bool = False
    refusal: str | None = None
    crash: str | None = None


def read(item: Any, position: int) -> Outcome:
    start = time.perf_counter()
    outcome = Outcome(0)
    try:
        resize(digest_and_decoder(item, position)[1](SIZE), SIZE)
        outcome.read = True
    except ImageError as error:
        outcome.refusal = str(error)
    except Exception as error:
        outcome.crash = f"{type(error).__name__}: {error}"
    outcome.seconds = time.perf_counter() - start
    return outcome


def is_named(sample: Sample, position: int, message: str) -> bool:
    if isinstance(sample.item, Image.Image):
        return f"(item {position})" in message
    path = os.fspath(sample.item)
    return f"{path if path and path.isprintable() else repr(path)} (item {position})" in message


def tiny_model(on_error: str = "skip", **options: Any) -> BinnedAgeRegressor:
    defaults = {
        "weights": None,
        "image_size": SIZE,
        "hidden_layer_sizes": (16,),
        "n_components": None,
        "test_augment": None,
        "max_epochs": 1,
        "random_state": 0,
        "runtime": Runtime(n_jobs=N_THREADS),
    }
    classifier = VGG16Classifier(on_error=on_error, **defaults | options)
    return BinnedAgeRegressor(classifier, AgeBinner(5))


# --- The run -----------------------------------------------------------------


def say(*words: Any, sep: str = " ") -> None:
    print(*words, sep=sep, flush=True)


class Requirements:
    """Whether each was met, told at once and in the end."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.lines: list[str] = []
        self.all_met = True

    def __call__(self, met: Any, text: str) -> None:
        self.lines.append(f"{'PASS' if met else 'FAIL'} {text}")
        self.all_met &= bool(met)
        say(f"{time.perf_counter() - self.start:.0f} s:", self.lines[-1])


def read_all(samples: list[Sample], require: Requirements) -> list[Outcome]:
    """Each image by itself, in this thread."""
    outcomes = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for i, sample in enumerate(samples):
            outcomes.append(read(sample.item, i))
            if len(outcomes) % 2000 == 0:
                say(f"  {len(outcomes)} read")
    kinds = Counter(f"{w.category.__name__}, {Path(w.filename).name}" for w in caught)
    say(f"warnings that came of it: {len(caught)}", dict(kinds))
    pairs = list(zip(samples, outcomes, strict=True))
    crashes = [(s.item, o.crash) for s, o in pairs if o.crash]
    unnamed = [
        (s.item, o.refusal)
        for i, (s, o) in enumerate(pairs)
        if o.refusal and not is_named(s, i, o.refusal)
    ]
    wrong = [
        (s.family, s.item, o.refusal)
        for s, o in pairs
        if s.fate is not None and s.fate != o.read and not o.crash
    ]
    for title, cases in (("crash", crashes), ("unnamed", unnamed), ("wrong fate", wrong)):
        for case in cases[:20]:
            say(f"  {title}:", ascii(case))
    slowest = max(outcomes, key=lambda outcome: outcome.seconds)
    require(not crashes, f"{len(crashes)} crashes in {len(samples)} images")
    require(slowest.seconds < HANG, f"no hang: the slowest took {slowest.seconds:.2f} s")
    n_refused = sum(o.refusal is not None for o in outcomes)
    require(not unnamed, f"{n_refused} refusals, {len(unnamed)} of them without the file's name")
    require(not wrong, f"{len(wrong)} sound images refused, or bad ones read")
    return outcomes


def our_warnings(caught: list[warnings.WarningMessage]) -> list[str]:
    return [str(w.message) for w in caught if "images cannot be read" in str(w.message)]


def skip(
    samples: list[Sample], outcomes: list[Outcome], ages: np.ndarray, require: Requirements
) -> BinnedAgeRegressor:
    """Fit and predict all, leaving out what cannot be read; then some images alone."""
    items = [sample.item for sample in samples]
    is_read = np.array([outcome.read for outcome in outcomes])
    count = f"{(~is_read).sum()} of {len(items)} images cannot be read"
    model = tiny_model()
    before = anonymous_memory()
    with peak_memory() as peak, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")

        def tell(part: float) -> None:
            say(f"  {part:.0%} of predict: at most {peak[0] / 1e6:.0f} MB so far")

        say(f"anonymous memory {before / 1e6:.0f} MB before fit")
        model.fit(items, ages)
        say(f"at most {peak[0] / 1e6:.0f} MB in fit")
        predicted = model.predict(Watched(items, (0.25, 0.5, 0.75, 1), tell))
    found = our_warnings(caught)
    require(
        len(found) == 2 and all(count in text for text in found),
        f'"skip": one warning each of fit and predict, counting {(~is_read).sum()} images',
    )
    require(
        np.array_equal(np.isnan(predicted), ~is_read)
        and model.classifier_.n_skipped_ == (~is_read).sum(),
        '"skip": NaN for what is refused, and for nothing else',
    )
    bound = before + N_THREADS * PER_PIXEL * Image.MAX_IMAGE_PIXELS
    require(
        not peak[0] > bound,  # NaN passes: nothing was measured
        f"most anonymous memory {peak[0] / 1e6:.0f} MB, bound {bound / 1e6:.0f} MB"
        if np.isfinite(peak[0])
        else "memory was not measured: there is no /proc",
    )
    good = np.flatnonzero(is_read)
    chosen = np.random.default_rng(0).permutation(good)[:N_ALONE]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone = np.array([model.predict([items[i]])[0] for i in chosen])
    n_equal = (alone == predicted[chosen]).sum()
    largest = np.abs(alone - predicted[chosen]).max()
    require(
        np.array_equal(alone, predicted[chosen]),
        f"{n_equal} of {len(chosen)} images get alone the age they get among all, to the bit "
        f"({len(np.unique(alone))} different ages, largest difference {largest:.3g} years)",
    )
    return model


def error_of(work: Callable[[], object]) -> str:
    """What an ImageError says; empty if there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            work()
        except ImageError as error:
            return str(error)
    return ""


def refuse(
    samples: list[Sample],
    outcomes: list[Outcome],
    ages: np.ndarray,
    model: BinnedAgeRegressor,
    require: Requirements,
) -> None:
    """The same with on_error="raise": fit must not even begin."""
    items = [sample.item for sample in samples]
    bad = [i for i, outcome in enumerate(outcomes) if not outcome.read]
    count_calls = mock.patch.object(
        FrozenNetwork, "__call__", autospec=True, side_effect=FrozenNetwork.__call__
    )
    with count_calls as forward:
        message = error_of(lambda: tiny_model("raise").fit(items, ages))
    n_named = sum(is_named(samples[i], i, message) for i in bad)
    require(
        f"{len(bad)} images cannot be read" in message
        and n_named == min(len(bad), 20)
        and not forward.call_count,
        f'"raise": fit counts {len(bad)} images and names {n_named}, '
        f"after {forward.call_count} forward passes",
    )
    model.classifier_.set_params(on_error="raise")
    message = error_of(lambda: model.predict(items))
    require(is_named(samples[bad[0]], bad[0], message), '"raise": predict names the first')


def table(samples: list[Sample], outcomes: list[Outcome]) -> None:
    say("\n| family | files | read | refused | crashes | slowest, ms |\n|---|--:|--:|--:|--:|--:|")
    for name in FAMILIES:
        rows = [o for s, o in zip(samples, outcomes, strict=True) if s.family == name]
        if rows:
            counts = [sum(bool(getattr(o, k)) for o in rows) for k in ("read", "refusal", "crash")]
            slowest = 1000 * max(o.seconds for o in rows)
            say("|", " | ".join(map(str, (name, len(rows), *counts, f"{slowest:.0f}"))), "|")


def mutated_images(n: int, seed: int, require: Requirements) -> None:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        samples = make_samples(Path(folder), n, seed)
        say(f"{n} images made in {time.perf_counter() - start:.0f} s")
        if os.geteuid() == 0:
            say("Run by root, who may read any file: the unreadable ones count as readable.")
        ages = np.random.default_rng(seed).uniform(0, 90, n)
        outcomes = read_all(samples, require)
        model = skip(samples, outcomes, ages, require)
        refuse(samples, outcomes, ages, model, require)
        table(samples, outcomes)


def many_links(folder: Path, n_paths: int, seed: int) -> list[str]:
    """Links in folders of a thousand, to a few thousand drawn faces."""
    faces = make_faces(min(N_FILES, n_paths), image_size=SIZE, random_state=seed)
    files = [str(folder / f"{i}.jpg") for i in range(len(faces.data))]
    for path, pixels in zip(files, faces.data, strict=True):
        Image.fromarray(pixels).save(path, quality=90)
    paths = []
    for i in range(n_paths):
        if i % 1000 == 0:
            (folder / f"links{i // 1000}").mkdir()
        paths.append(str(folder / f"links{i // 1000}" / f"{i}.jpg"))
        os.symlink(files[i % len(files)], paths[-1])
    return paths


def many_paths(n_paths: int, seed: int, require: Requirements) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = many_links(Path(folder), n_paths, seed)
        few = paths[:200]
        model = tiny_model().fit(few, np.random.default_rng(seed).uniform(0, 90, len(few)))
        model.classifier_.set_params(runtime__feature_cache=str(Path(folder, "cache")))
        points = {}
        start = time.perf_counter()
        say(f"{n_paths} paths: anonymous memory {anonymous_memory() / 1e6:.0f} MB before")

        def tell(part: float) -> None:
            points[part] = anonymous_memory()
            rate = part * n_paths / (time.perf_counter() - start)
            say(f"  {part:.0%}: anonymous memory {points[part] / 1e6:.0f} MB, {rate:.0f} images/s")

        with peak_memory() as peak:
            predicted = model.predict(Watched(paths, (0.1, 0.5, 1), tell))
        rate = n_paths / (time.perf_counter() - start)
        growth = max(peak[0], points[1]) - points[0.1]
        require(
            not growth > FLAT,
            f"{n_paths} paths: memory grew by {growth / 1e6:.0f} MB from a tenth of them to the "
            f"most, {rate:.0f} images/s",
        )
        n_files = min(N_FILES, n_paths)
        same = np.resize(predicted[:n_files], n_paths)
        require(np.array_equal(predicted, same), "each link gets the age of its file, to the bit")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000, help="mutated images")
    parser.add_argument("--paths", type=int, default=500_000, help="links to a few thousand files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=3600, help="seconds; then it counts as hung")
    options = parser.parse_args()
    faulthandler.enable()
    faulthandler.dump_traceback_later(options.limit, exit=True)
    require = Requirements()
    if options.images:
        mutated_images(options.images, options.seed, require)
    if options.paths:
        many_paths(options.paths, options.seed, require)
    say("", *require.lines, sep="\n")
    sys.exit(not require.all_met)


if __name__ == "__main__":
    main()
