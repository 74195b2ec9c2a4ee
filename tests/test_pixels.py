"""What pixels mean, in files that are written byte by byte."""

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageCms

from skage import clear_memory
from skage._images import pixels
from skage._images.pixels import to_rgb
from skage._images.reading import ImageError, digest_and_decoder
from skage._memory import profiles

GREY = np.linspace(0, 255, 120).round().astype(np.uint8).reshape(12, 10)
LEVELS = GREY.astype(np.uint16) * 257  # the same in 16 bits
COLOURS = np.stack([GREY, GREY[::-1], np.roll(GREY, 3, 1)], -1)
TAGS = {
    "bits": 258,
    "compression": 259,
    "meaning": 262,
    "samples": 277,
    "planes": 284,
    "palette": 320,
    "format": 339,
    "subsampling": 530,
}


def tiff(body, bits, meaning=1, big=False, **tags):
    """One strip of 10 x 12 pixels, with these tags."""
    order = ">" if big else "<"
    tags = {"bits": bits, "compression": [1], "samples": [len(bits)]} | tags
    if meaning is not None:
        tags["meaning"] = [meaning]
    entries = {256: [10], 257: [12], 273: None, 278: [12], 279: [len(body)]}
    entries |= {TAGS[name]: values for name, values in tags.items()}
    start = 8 + 2 + 12 * len(entries) + 4
    table, pool = b"", b""
    long = sum(2 * len(v) for v in entries.values() if v is not None and len(v) > 2)
    for tag, values in sorted(entries.items()):
        data = struct.pack(f"{order}{len(values)}H", *values) if values else b""
        kind, count = 3, len(values or [0])
        if values is None:
            kind, data = 4, struct.pack(order + "I", start + long)
        elif len(data) > 4:
            pool, data = pool + data, struct.pack(order + "I", start + len(pool))
        table += struct.pack(order + "HHI", tag, kind, count) + data.ljust(4, b"\0")
    head = (b"MM\0*" if big else b"II*\0") + struct.pack(order + "IH", 8, len(entries))
    return head + table + bytes(4) + pool + body


def png(rows, bits, colour, *chunks):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 10, 12, bits, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    chunks = [(b"IHDR", header), *chunks, (b"IDAT", body), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks)


def profile(space, **tags):
    """A colour profile of version 2."""
    start = 128 + 4 + 12 * (len(tags) + 1)
    table, body = b"", b""
    tags = {"wtpt": b"XYZ \0\0\0\0" + xyz(0.9642, 1, 0.8249), **tags}
    for name, data in tags.items():
        table += struct.pack(">4sII", name.encode(), start + len(body), len(data))
        body += data.ljust(-len(data) % 4 + len(data), b"\0")
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"", 0x02400000, b"prtr", space, b"Lab ")
    head = head[:20] + (b"Lab " if space == b"CMYK" else b"XYZ ") + bytes(12) + b"acsp"
    head = head.ljust(68, b"\0") + xyz(0.9642, 1, 0.8249)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def xyz(*values):
    return struct.pack(">3i", *(round(value * 65536) for value in values))


def curve(gamma):
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


def primaries(gamma, **values):
    return profile(
        b"RGB ",
        **{f"{c}XYZ": b"XYZ \0\0\0\0" + xyz(*value) for c, value in values.items()},
        **{f"{c}TRC": curve(gamma) for c in "rgb"},
    )


# The primaries of Display P3, adapted to D50.
WIDE = primaries(
    2.2, r=(0.5151, 0.2412, -0.001), g=(0.292, 0.6922, 0.0419), b=(0.1571, 0.0666, 0.7841)
)


def in_srgb(values, gamma=2.2):
    """Values of the wide profile, by the formulas: to linear light, by a matrix, and back."""
    matrix = [[1.2249, -0.2247, 0], [-0.042, 1.0419, 0], [-0.0197, -0.0786, 1.0979]]
    linear = ((values / 255) ** gamma @ np.transpose(matrix)).clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return 255 * encoded


def read(data):
    return np.asarray(to_rgb(Image.open(io.BytesIO(data)))).astype(int)


def assert_same(found, expected, tolerance=1):
    expected = np.broadcast_to(expected[..., None] if expected.ndim == 2 else expected, found.shape)
    assert np.abs(found - expected).max() <= tolerance


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("meaning", [0, 1])
def test_a_grey_tiff_is_never_read_as_a_negative_whatever_its_bits(meaning, big):
    order = ">" if big else "<"
    shown = [
        (GREY, 255, "u1", [8], {}),
        (GREY / 255, 1, "f4", [32], {"format": [3]}),
        (GREY * 1.0, 255, "f4", [32], {"format": [3]}),
    ]
    if not (big and meaning == 0):  # Pillow refuses these
        shown.append((LEVELS, 65535, "u2", [16], {}))
    for values, white, kind, bits, tags in shown:
        stored = (white - values if meaning == 0 else values).astype(order + kind)
        assert_same(read(tiff(stored.tobytes(), bits, meaning, big, **tags)), GREY)


def test_a_tiff_of_12_bits_is_as_bright_as_one_of_8():
    values = (GREY.astype(int) * 4095 // 255).reshape(-1, 2)
    packed = [(a >> 4, (a & 15) << 4 | b >> 8, b & 255) for a, b in values.tolist()]
    assert_same(read(tiff(bytes(sum(packed, ())), [12])), GREY)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tiff(GREY.tobytes(), [8], None), "whether 0 is black or white"),
        (tiff(GREY.tobytes(), [8], format=[2]), "signed integers"),
        (tiff(LEVELS.astype("<i2").tobytes(), [16], format=[2]), "signed integers"),
        (tiff(LEVELS.astype("<u4").tobytes(), [32]), None),
        (
            (tiff((LEVELS * 65537.0).astype("<u4").tobytes(), [32])),
            "the value of white is not known",
        ),
        (
            tiff(
                zlib.compress((GREY / 255).astype(">f4").tobytes()),
                *([32], 1, True),
                format=[3],
                compression=[8],
            ),
            "compressed, big-endian",
        ),
        (tiff(bytes(999), [8, 8, 8], 6, subsampling=[2, 2]), "subsampled YCbCr"),
        (tiff(bytes(999), [8, 8, 8], 6), "subsampled YCbCr"),
        (tiff(GREY.tobytes(), [8], 0, planes=[2]), "uncompressed planes"),
        (tiff(GREY.tobytes(), [8], planes=[2]), None),
        (tiff(COLOURS.tobytes(), [8, 8, 8], 6, subsampling=[1, 1]), None),
        (tiff(GREY.tobytes(), [8], 3, palette=[*range(256)] * 3), "its palette has 8-bit values"),
        (tiff(GREY.tobytes(), [8], 3, palette=[257 * i for i in range(256)] * 3), None),
    ],
)
def test_a_tiff_that_would_be_read_wrongly_is_refused_and_says_what_to_do(data, message, tmp_path):
    (tmp_path / "face.tif").write_bytes(data)
    decode = digest_and_decoder(tmp_path / "face.tif", 3)[1]
    if message is None:
        decode()
        return
    with pytest.raises(ImageError, match=message) as caught:
        decode()
    assert "face.tif (item 3)" in str(caught.value)
    assert "onvert it to 8-bit RGB" in str(caught.value)


def test_a_kind_of_tiff_that_pillow_does_not_know_says_what_to_do(tmp_path):
    (tmp_path / "face.tif").write_bytes(tiff(bytes(960), [64], format=[3]))
    (tmp_path / "face.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    for name, message in (("face.tif", "convert it to 8-bit RGB"), ("face.heic", "pillow-heif")):
        with pytest.raises(ImageError, match=message):
            digest_and_decoder(tmp_path / name, 0)[1]()


def test_a_nearly_black_pgm_of_16_bits_stays_so():
    for white in (65535, 1000):
        data = b"P5\n10 12\n%d\n" % white + (LEVELS % 3).astype(">u2").tobytes()
        assert_same(read(data), GREY * 0)


def test_floats_of_a_pfm_are_as_bright_as_bytes():
    for values in (GREY / 255, GREY * 1.0):
        assert_same(read(b"Pf\n10 12\n-1.0\n" + values[::-1].astype("<f4").tobytes()), GREY)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (GREY / 255 * 1.0000001, "f4"),
        (GREY / 255 - 1e-9, "f4"),
        (GREY * 1.00001, "f4"),
        (GREY * 257.0, "f4"),
        (GREY, "i4"),
        (LEVELS, "i4"),
        (LEVELS, "u2"),
    ],
)
def test_wide_pictures_keep_their_brightness(values, kind):
    assert_same(np.asarray(to_rgb(Image.fromarray(values.astype(kind)))).astype(int), GREY)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (GREY / 127.5 - 1, "f4"),
        (GREY / 170, "f4"),
        (GREY * 2.0, "f4"),
        (GREY.astype(int) - 100, "i4"),
        (GREY.astype(int) * 4, "i4"),
        (GREY.astype(int) * 10_000, "i4"),
    ],
)
def test_wide_pictures_of_unknown_range_are_refused(values, kind):
    with pytest.raises(
        ValueError, match="the value of white is not known; convert it to 8-bit RGB"
    ):
        to_rgb(Image.fromarray(values.astype(kind)))


def test_the_transparent_value_of_16_bits_lies_on_white():
    clear = (b"tRNS", struct.pack(">H", int(LEVELS[3, 3])))
    found = read(png(LEVELS.astype(">u2"), 16, 0, clear))
    assert_same(found, np.where(LEVELS[3, 3] == LEVELS, 255, GREY))


def test_the_alpha_of_a_palette_lies_on_white():
    image = Image.fromarray(GREY).convert("P")
    image.putpalette([0, 0, 0, 0] * 256, "RGBA")
    assert_same(np.asarray(to_rgb(image)), GREY * 0 + 255)


def test_a_png_says_how_its_light_was_encoded():
    linear = np.round(65535 * (GREY / 255) ** 2.2).astype(">u2")
    of_one = (b"gAMA", struct.pack(">I", 100_000))
    found = read(png(linear, 16, 0, of_one))
    bright = GREY > 40  # eight bits of linear light hold few dark levels
    assert_same(found * bright[..., None], GREY * bright, 2)
    for more in ([(b"sRGB", b"\0")], [(b"gAMA", bytes(4))], [(b"gAMA", struct.pack(">I", 45455))]):
        chunks = more if more[0][0] == b"gAMA" else [of_one, *more]
        assert_same(read(png(GREY, 8, 0, *chunks)), GREY, 0)


@pytest.mark.parametrize(
    ("name", "options"),
    [("JPEG", {"quality": 100, "subsampling": 0}), ("PNG", {}), ("TIFF", {}), ("WEBP", {})],
)
def test_a_photo_of_another_colour_profile_is_brought_to_srgb(name, options, tmp_path):
    flat = np.broadcast_to(np.uint8([200, 100, 60]), (16, 16, 3))
    Image.fromarray(flat).save(tmp_path / "face", name, icc_profile=WIDE, **options)
    found = np.asarray(digest_and_decoder(tmp_path / "face", 0)[1](8)).astype(int)
    assert_same(found, in_srgb(flat), 4 if name in ("JPEG", "WEBP") else 2)
    assert np.abs(found - flat).max() > 10


def test_colours_of_all_levels_go_by_their_profile():
    image = Image.fromarray(COLOURS)
    image.info["icc_profile"] = WIDE
    assert_same(np.asarray(to_rgb(image)).astype(int), in_srgb(COLOURS), 2)
    assert_same(np.asarray(image), COLOURS, 0)


def test_transparency_lies_on_white_beside_a_profile():
    image = Image.fromarray(COLOURS)
    image.putalpha(Image.fromarray((GREY > 99).astype(np.uint8) * 255))
    image.info["icc_profile"] = WIDE
    expected = np.where(GREY[..., None] > 99, in_srgb(COLOURS), 255)
    assert_same(np.asarray(to_rgb(image)).astype(int), expected, 2)


def test_grey_goes_by_its_profile_in_8_and_16_bits():
    expected = in_srgb(np.repeat(GREY[..., None], 3, -1) * 1.0, 1.4)
    for values in (GREY, LEVELS):
        image = Image.fromarray(values)
        image.info["icc_profile"] = profile(b"GRAY", kTRC=curve(1.4))
        assert_same(np.asarray(to_rgb(image)).astype(int), expected, 2)


def test_ink_goes_by_its_profile():
    # Lab at the 16 corners of the cube of inks, as if all inks were black.
    corners = bytes([255, 128, 128]) + 15 * bytes([0, 128, 128])
    ramp = bytes(range(256))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0])
    table += struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    table += ramp * 4 + corners + ramp * 3
    image = Image.new("CMYK", (4, 4), (255, 0, 0, 0))
    assert_same(np.asarray(to_rgb(image)), np.full((4, 4, 3), [0, 255, 255]))
    image.info["icc_profile"] = profile(b"CMYK", A2B0=table)
    assert_same(np.asarray(to_rgb(image)), np.zeros((4, 4, 3)), 3)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "LAB", "RGBA", "P", "1", "YCbCr", "I;16"])
@pytest.mark.parametrize(
    "icc", ["text", b"", b"junk" * 99, WIDE[:300], profile(b"GRAY"), profile(b"CMYK"), b"x" * 2**24]
)
def test_a_broken_or_foreign_profile_does_not_spoil_a_picture(mode, icc):
    image = Image.fromarray(LEVELS) if mode == "I;16" else Image.new(mode, (10, 12), 60)
    plain = np.asarray(to_rgb(image.copy()))
    image.info["icc_profile"] = icc
    assert (np.asarray(to_rgb(image)) == plain).all()


def test_srgb_is_recognised_and_changes_no_pixel():
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for mode, shown in (("RGB", COLOURS), ("L", GREY)):
        image = Image.fromarray(shown)
        assert image.mode == mode
        image.info["icc_profile"] = own
        assert_same(np.asarray(to_rgb(image)), shown, 0)
    assert pixels._transform(own, "RGB") is None
    assert pixels._transform(WIDE, "RGB") is not None


def test_threads_share_what_they_know_of_a_profile():
    def work(_):
        image = Image.fromarray(COLOURS)
        image.info["icc_profile"] = WIDE
        return to_rgb(image).tobytes()

    clear_memory()
    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(work, range(64)))) == 1
    for i in range(3 * profiles.max_entries):
        pixels._transform(WIDE + bytes(i), "RGB")
    assert len(profiles) <= profiles.max_entries
