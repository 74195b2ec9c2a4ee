"""Convert images of any mode, range and colour profile to 8-bit sRGB."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms
from PIL.TiffImagePlugin import TiffImageFile

from .._memory import profiles

#: Floats may exceed [0, 1] by this much, a quarter of one of 255 levels; they are clipped.
OVERSHOOT = 1e-3

_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow's 32-bit modes do not state their range. For each possible range: the smallest
# maximum that identifies it, and the value of white. An image whose maximum lies between
# two ranges could be a dark image of the one or an overexposed image of the other.
_RANGES = {"I": ((0, 255), (4096, 65535)), "F": ((0, 1), (16, 255), (4096, 65535))}

_MAX_PROFILE = 2**23  # bytes; profiles of printing presses have 2 million
_SRGB_TOLERANCE = 2  # levels by which copies of the sRGB profile differ from each other
_SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}  # profiles' names of Pillow's modes


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image to 8-bit sRGB.

    The image is rotated as its EXIF orientation says, and transparency is blended with
    white. Of several frames, the first is used. If nothing has to be done, the given object
    is returned. It is loaded in any case.

    Raises
    ------
    ValueError
        If the image has no pixels, or the meaning of its values is unknown.
    """
    image.load()
    if 0 in image.size:
        raise ValueError("it has no pixels")
    is_negative = isinstance(image, TiffImageFile) and _is_negative_tiff(image)
    profile, gamma = image.info.get("icc_profile"), _gamma(image)
    upright = _upright(image)
    if upright.mode.startswith("I;16") or upright.mode in ("I", "F"):
        upright = _to_8_bits(upright, image, is_negative)
    colours, alpha = _split(upright)
    if profile is not None:
        colours = _in_srgb(colours, profile)
    if colours.mode != "RGB":
        colours = colours.convert("RGB")
    if gamma:
        levels = np.linspace(0, 1, 256) ** (1 / (2.2 * gamma))
        colours = colours.point(np.round(255 * levels).astype(int).tolist() * 3)
    if alpha is not None:
        colours.putalpha(alpha)
        white = Image.new("RGBA", colours.size, "white")
        colours = Image.alpha_composite(white, colours).convert("RGB")
    return colours


def float_advice(low: float, high: float) -> str:
    """Return advice on floats from `low` to `high`, which exceed [0, 1]."""
    if not np.isfinite((low, high)).all():
        return "Replace NaN and infinity, or leave the image out."
    if low >= -0.25 and high <= 1.25:
        return "Clip them: numpy.clip(image, 0, 1)."
    if low >= -1 - OVERSHOOT and high <= 1 + OVERSHOOT:
        return "If they lie in [-1, 1], pass (image + 1) / 2."
    if -4 <= low < 0 and high <= 4:
        return "If they were standardised, undo it: image * std + mean."
    if low >= 0 and 32 < high <= 255.5:
        return "Divide by 255, or pass uint8."
    if low >= -64 and 32 < high <= 320:
        return "Divide by 255 and clip them: numpy.clip(image / 255, 0, 1)."
    if low >= 0 and 320 < high <= 65535.5:
        return "If they have 16 bits, divide by 65535."
    return "Rescale them so that 0 is black and 1 is white."


def integer_advice(array: np.ndarray) -> str:
    """Return advice on an array that contains neither uint8 nor floats."""
    if array.dtype == bool:
        return "Pass image.astype(numpy.uint8) * 255."
    if array.dtype.kind not in "iu":
        return "Convert it to uint8."
    low, high = array.min(), array.max()
    if low >= 0 and high <= 255:
        return f"Its values, {low} to {high}, fit: pass image.astype(numpy.uint8)."
    if low >= 0 and high <= 65535:
        return f"Its values are {low} to {high}: if they have 16 bits, pass image / 65535."
    if array.dtype == np.int8:
        return "If -128 is black, pass (image.astype(int) + 128).astype(numpy.uint8)."
    return f"Its values are {low} to {high}: rescale them so that 0 is black."


def _upright(image: Image.Image) -> Image.Image:
    # ImageOps.exif_transpose rewrites the EXIF data without the tag, so it does not rotate
    # an image with another, broken tag.
    try:
        turn = _ORIENTATIONS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # an image with broken EXIF data is still usable
        return image
    return image if turn is None else image.transpose(turn)


def _is_negative_tiff(image: TiffImageFile) -> bool:
    """Return whether 0 is white in the pixels that Pillow read.

    Pillow itself inverts 8-bit images only.

    Raises
    ------
    ValueError
        If Pillow reads such a file wrongly, or the file does not state what its values mean.
    """
    tags, names = image.tag_v2, ExifTags.Base
    meaning, bits = tags.get(names.PhotometricInterpretation), tags.get(names.BitsPerSample, (1,))
    compression = image.info.get("compression")
    if meaning is None and image.mode in ("L", "I;16", "F") and compression != "tiff_jpeg":
        raise _ambiguous("it does not say whether 0 is black or white")
    if 2 in tags.get(names.SampleFormat, ()) and min(bits) < 32:
        raise _ambiguous("it has signed integers, and the value of black is not known")
    if compression != "raw" and tags.prefix == b"MM" and image.mode in ("I", "F"):
        raise _ambiguous("Pillow reads compressed, big-endian values of 32 bits wrongly")
    # Pillow reads separate planes as if 0 were black and each value had 8 bits.
    is_planar = compression == "raw" and tags.get(names.PlanarConfiguration) == 2
    if is_planar and not (set(bits) == {8} and meaning in (1, 2, 3, 5)):
        raise _ambiguous("Pillow reads uncompressed planes of such values wrongly")
    if image.mode == "YCbCr" and tuple(tags.get(names.YCbCrSubSampling, (2, 2))) != (1, 1):
        raise _ambiguous("Pillow reads uncompressed, subsampled YCbCr wrongly")
    if image.mode in ("P", "PA") and 0 < max(tags.get(names.ColorMap, (0,))) < 256:
        raise _ambiguous("its palette has 8-bit values, which Pillow reads as 0")
    return meaning == 0 and image.mode in ("I;16", "F")


def _to_8_bits(image: Image.Image, opened: Image.Image, is_negative: bool) -> Image.Image:
    """Convert a greyscale image of more than 8 bits to L, or LA if a value is transparent."""
    values = np.asarray(image)
    bits = (
        opened.tag_v2.get(ExifTags.Base.BitsPerSample)
        if isinstance(opened, TiffImageFile)
        else None
    )
    if image.mode == "F" or (image.mode == "I" and opened.format not in ("PPM", "PNG")):
        white = _white(float(values.min()), float(values.max()), image.mode)
    else:
        white = 4095 if bits == (12,) else 65535
    levels = np.multiply(values, 255 / white, dtype=np.float32)
    levels = np.rint(levels, out=levels).clip(0, 255, out=levels)
    narrow = Image.fromarray((255 - levels if is_negative else levels).astype(np.uint8))
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        narrow.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return narrow


def _white(low: float, high: float, mode: str) -> float:
    for least, white in _RANGES[mode]:
        overshoot = OVERSHOOT * white if mode == "F" else 0
        if -overshoot <= low and least <= high <= white + overshoot:
            return white
    raise _ambiguous(f"it has values from {low:g} to {high:g}, and the value of white is not known")


def _ambiguous(what: str) -> ValueError:
    return ValueError(f"{what}; convert it to 8-bit RGB")


def _split(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Split an image into colours and alpha, if any.

    The mode of the colours is one that colour profiles describe, "1" or "LAB".
    """
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    if image.has_transparency_data:
        image = image.convert("LA" if image.mode in ("L", "LA") else "RGBA")
        return image.convert(image.mode[:-1]), image.getchannel("A")
    return image if image.mode in (*_SPACES, "1", "LAB") else image.convert("RGB"), None


def _in_srgb(colours: Image.Image, profile: Any) -> Image.Image:
    """Apply a colour profile, unless it is broken or describes another kind of image."""
    is_profile = isinstance(profile, bytes) and len(profile) <= _MAX_PROFILE
    if not is_profile or colours.mode not in _SPACES:
        return colours
    transform = _transform(profile, colours.mode)
    return colours if transform is None else transform.apply(colours)


def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    return profiles.get_or_make((profile, mode), lambda: (_make_transform(profile, mode),))[0]


def _make_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the conversion of colours to sRGB; None if not needed, or not possible."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != _SPACES[mode]:
            return None
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, ImportError, OSError, ValueError):
        return None
    if mode == "CMYK":
        return transform
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 9, 3)
    probe = Image.fromarray(cube if mode == "RGB" else np.arange(256, dtype=np.uint8)[None])
    change = np.asarray(transform.apply(probe), int) - np.asarray(probe.convert("RGB"))
    return None if np.abs(change).max() <= _SRGB_TOLERANCE else transform


def _gamma(image: Image.Image) -> float | None:
    """Return the exponent that a PNG states it was encoded with, unless it is close to sRGB's."""
    gamma = image.info.get("gamma")
    if gamma is None or {"srgb", "icc_profile"} & image.info.keys():
        return None
    return gamma if 0.1 < gamma < 10 and abs(2.2 * gamma - 1) > 0.05 else None
