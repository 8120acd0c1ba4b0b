# SPDX-License-Identifier: Apache-2.0
"""Pictures: what NumPy, Pillow and files have, as the library's m2snet_image, without a copy where strides allow."""

from __future__ import annotations

import os
import sys
from ctypes import byref
from typing import Any, Optional, Sequence, Tuple, Union

import numpy as np

from . import _structs
from ._context import Context, default_context
from ._library import Handle, call, options, path_bytes, plain
from ._watch import CancelToken, Progress, Watch

RGB8, BGR8, RGBA8, BGRA8, GRAY8, GRAY16, F32 = 1, 2, 3, 4, 5, 6, 7
_REVERSED = {RGB8: BGR8, BGR8: RGB8}
_ORDERS = {("rgb", 3): RGB8, ("bgr", 3): BGR8, ("rgb", 4): RGBA8, ("bgr", 4): BGRA8}

ImageLike = Any
"""What a picture may be:

- a path (str or os.PathLike) of a PNG or JPEG file, or such a file's content as bytes;
- an array (height, width, 3 or 4) of uint8, RGB or RGBA (BGR with order="bgr"); alpha is ignored;
- an array (height, width) or (height, width, 1) of uint8, of uint16 or of floats (see `window`), or of bool (0 and 255);
- a Pillow image; anything that numpy.asarray understands.
"""


class Pixels:
    """An m2snet_image and what must live as long as it is used."""

    __slots__ = ("struct", "keep", "copied")

    def __init__(self, struct: Any, keep: Any, copied: bool) -> None:
        self.struct = struct
        self.keep = keep
        self.copied = copied
        """Whether the pixels had to be copied (or read from a file)."""


class _Memory:
    """Memory of the library that NumPy shows; the array's base keeps this object, and this object the owner."""

    __slots__ = ("__array_interface__", "owner")

    def __init__(self, address: int, shape: Tuple[int, ...], dtype: Any, owner: Any, read_only: bool) -> None:
        self.owner = owner
        self.__array_interface__ = {
            "version": 3,
            "data": (address, read_only),
            "shape": shape,
            "typestr": np.dtype(dtype).str,
        }


def view(address: Optional[int], shape: Tuple[int, ...], dtype: Any, owner: Any, read_only: bool = True) -> np.ndarray:
    """An array over the library's memory, which `owner` keeps; empty when there is none."""
    if not address or 0 in shape:
        return np.empty(shape, dtype)
    return np.asarray(_Memory(address, shape, dtype, owner, read_only))


class _OwnedImage:
    """An image that the library allocated."""

    __slots__ = ("struct", "_release", "_pid", "_parent")

    def __init__(self, parent: Handle) -> None:
        self.struct = _structs.Image()
        self._release = plain
        self._pid = os.getpid()
        self._parent = parent

    def __del__(self, getpid: Any = os.getpid) -> None:
        if self.struct.owner and self._pid == getpid():
            self._release("image_release", byref(self.struct))

    def array(self) -> np.ndarray:
        image = self.struct
        channels = {RGB8: (3,), GRAY8: (), GRAY16: ()}[image.format]
        dtype = np.uint16 if image.format == GRAY16 else np.uint8
        shape = (image.height, image.width) + channels
        bytes_per_row = int(np.prod(shape[1:])) * np.dtype(dtype).itemsize
        assert image.row_stride_bytes in (0, bytes_per_row)
        return view(image.data, shape, dtype, self, read_only=False)


def is_path(value: Any) -> bool:
    """Whether a value is a path (bytes are content)."""
    return isinstance(value, (str, os.PathLike))


def _is_pillow(value: Any) -> bool:
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(value, pillow.Image)


def _from_pillow(image: Any) -> np.ndarray:
    """A copy: Pillow keeps its pixels in memory of its own."""
    if image.mode in ("L", "RGB", "RGBA", "F") or image.mode.startswith("I;16"):
        array = np.asarray(image)
        return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
    return np.asarray(image.convert("L" if image.mode in ("1", "LA", "La") else "RGB"))


def _decode(source: Any, context: Context, max_pixels: Optional[int], apply_exif: bool, watch: Watch) -> _OwnedImage:
    given = options(_structs.ImageReadOptions, "image_read")
    if max_pixels is not None:
        given.max_pixels = max_pixels
    given.apply_exif = int(apply_exif)
    given.control = watch.control
    handle = context._live

    def read() -> _OwnedImage:
        owned = _OwnedImage(handle)
        if is_path(source):
            call("image_read_file", handle.pointer, path_bytes(source), byref(given), byref(owned.struct))
        else:
            content = bytes(source)
            call("image_read_memory", handle.pointer, content, len(content), byref(given), byref(owned.struct))
        return owned

    return watch.run(read)


def _rows(array: np.ndarray, item_bytes: int) -> Optional[int]:
    """The row stride for the library (0 = dense) when pixels of item_bytes lie side by side in each row of the first two
    axes, else None."""
    height, width = array.shape[:2]
    if width > 1 and array.strides[1] != item_bytes:
        return None
    if height == 1:
        return 0
    stride = array.strides[0]
    return stride if abs(stride) >= width * item_bytes else None


def _describe(array: np.ndarray) -> str:
    return f"an array of shape {array.shape} and dtype {array.dtype}"


def _colour(array: np.ndarray, order: str) -> Pixels:
    channels = array.shape[2]
    pixel_format = _ORDERS[(order, channels)]
    # array[..., ::-1], the usual way from BGR to RGB and back: the same memory, read in the other order.
    if channels == 3 and array.strides[2] == -1:
        turned = array[..., ::-1]
        stride = _rows(turned, 3)
        if stride is not None:
            return _pixels(turned, _REVERSED[pixel_format], stride, False)
    stride = _rows(array, channels) if array.strides[2] == 1 else None
    if stride is not None:
        return _pixels(array, pixel_format, stride, False)
    return _pixels(np.ascontiguousarray(array), pixel_format, 0, True)


def _pixels(array: np.ndarray, pixel_format: int, stride: int, copied: bool, window: Any = None) -> Pixels:
    struct = _structs.Image(
        data=array.ctypes.data,
        width=array.shape[1],
        height=array.shape[0],
        row_stride_bytes=stride,
        format=pixel_format,
    )
    if window is not None:
        struct.window_low, struct.window_high = window
    return Pixels(struct, array, copied)


def _gray(array: np.ndarray, window: Optional[Sequence[float]]) -> Pixels:
    copied = False
    if array.dtype == np.bool_:
        array, copied = array.view(np.uint8) * np.uint8(255), True
    elif array.dtype.kind == "f" and array.dtype != np.float32:
        array, copied = array.astype(np.float32), True
    elif array.dtype.kind == "u" and array.dtype.itemsize == 2 and not array.dtype.isnative:
        array, copied = array.astype(np.uint16), True
    pixel_format = {np.dtype(np.uint8): GRAY8, np.dtype(np.uint16): GRAY16, np.dtype(np.float32): F32}.get(array.dtype)
    if pixel_format is None:
        raise TypeError(f"{_describe(array)} is not a picture: gray pixels are uint8, uint16, float or bool")
    if window is not None and pixel_format == GRAY8:
        raise ValueError("window is for uint16 and float pictures; this one is uint8")
    if pixel_format == F32 and window is None and not (array.min() >= 0.0 and array.max() <= 1.0):
        raise ValueError(f"{_describe(array)} has values outside 0 to 1; where window=(low, high) can be said, it tells black and white")
    stride = _rows(array, array.dtype.itemsize)
    if stride is None:
        array, stride, copied = np.ascontiguousarray(array), 0, True
    return _pixels(array, pixel_format, stride, copied, window)


def as_pixels(
    source: ImageLike,
    context: Optional[Context] = None,
    *,
    order: str = "rgb",
    window: Optional[Sequence[float]] = None,
    apply_exif: bool = True,
    watch: Optional[Watch] = None,
) -> Pixels:
    """A picture of any kind (see ImageLike) as an m2snet_image. Arrays are not copied when each row's pixels lie side by
    side: rows may have any distance and either direction, and array[..., ::-1] counts too."""
    if is_path(source) or isinstance(source, (bytes, bytearray, memoryview)):
        owned = _decode(source, context or default_context(), None, apply_exif, watch or Watch())
        if window is not None and owned.struct.format == GRAY16:
            owned.struct.window_low, owned.struct.window_high = window
        return Pixels(owned.struct, owned, True)
    if order not in ("rgb", "bgr"):
        raise ValueError(f'order is {order!r}: expected "rgb" or "bgr"')
    array = _from_pillow(source) if _is_pillow(source) else np.asarray(source)
    if array.dtype == object and array.ndim == 0:
        raise TypeError(f"a {type(source).__name__} is not a picture: a path, a file's bytes, an array or a Pillow image")
    copied = array is not source
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if 0 in array.shape:
        raise ValueError(f"{_describe(array)} has no pixels")
    if array.ndim == 2:
        pixels = _gray(array, window)
    elif array.ndim == 3 and array.shape[2] in (3, 4) and array.dtype == np.uint8:
        if window is not None:
            raise ValueError("window is for gray pictures of uint16 or floats; this one is in colour")
        pixels = _colour(array, order)
    elif array.ndim == 3 and array.shape[2] in (3, 4):
        raise TypeError(f"{_describe(array)} is not a picture: colours are uint8, 0 to 255 (network input goes to run())")
    else:
        raise ValueError(f"{_describe(array)} is not a picture: (height, width), (height, width, 3) or (height, width, 4)")
    pixels.copied |= copied
    return pixels


def read_image(
    source: Union[str, "os.PathLike[str]", bytes],
    *,
    max_pixels: Optional[int] = None,
    apply_exif: bool = True,
    context: Optional[Context] = None,
    progress: Optional[Progress] = None,
    cancel: Optional[CancelToken] = None,
) -> np.ndarray:
    """A PNG or JPEG file, or its content as bytes.

    Returns uint8 (height, width, 3) RGB, uint8 (height, width) gray, or uint16 (height, width) gray; the array is the
    library's memory. Alpha is dropped, palettes are expanded, 16-bit colour is reduced to 8 bits.

    max_pixels: pictures with more are refused before they are decoded (LimitError); default 2**26.
    apply_exif: turn the picture as its EXIF orientation says.
    """
    watch = Watch(progress, cancel)
    return _decode(source, context or default_context(), max_pixels, apply_exif, watch).array()


def write_image(path: Union[str, "os.PathLike[str]"], image: ImageLike, *, context: Optional[Context] = None) -> None:
    """Writes a PNG: uint8 (height, width, 3) RGB, uint8 or uint16 (height, width) gray, or bool (as 0 and 255). The file
    is either complete or not there."""
    where = context or default_context()
    pixels = as_pixels(image, where)
    call("image_write_png", where._live.pointer, path_bytes(path), byref(pixels.struct))


def resize_image(
    image: ImageLike,
    height: int,
    width: int,
    *,
    out: Optional[np.ndarray] = None,
    context: Optional[Context] = None,
) -> np.ndarray:
    """Pillow's BILINEAR, bit for bit: uint8 (h, w, 3) -> (height, width, 3), or uint8 (h, w) -> (height, width).

    out: an array to write into; pixels of a row must lie side by side, rows may have any distance.
    """
    where = context or default_context()
    pixels = as_pixels(image, where)
    if pixels.struct.format not in (RGB8, GRAY8):
        raise TypeError("resize_image takes uint8 pictures, RGB or gray")
    channels = (3,) if pixels.struct.format == RGB8 else ()
    if out is None:
        out = np.empty((height, width) + channels, np.uint8)
    target = _structs.Image(width=width, height=height, format=pixels.struct.format)
    target.data, target.row_stride_bytes = writable_rows(out, (height, width) + channels, np.uint8, "out")
    call("image_resize", where._live.pointer, byref(pixels.struct), byref(target))
    return out


def draw_overlay(
    image: ImageLike,
    mask: ImageLike,
    *,
    color: Tuple[int, int, int] = (0, 255, 0),
    line_width: int = 2,
    context: Optional[Context] = None,
) -> np.ndarray:
    """The picture as uint8 (height, width, 3) RGB with the mask's outline drawn into it.

    mask: (height, width) of bool or uint8, inside where not 0; or a Result. color: 0 to 255 each. line_width: px.
    """
    where = context or default_context()
    picture, inside = as_pixels(image, where), as_pixels(getattr(mask, "mask", mask), where)
    red, green, blue = (int(part) for part in color)
    if not all(0 <= part <= 255 for part in (red, green, blue)):
        raise ValueError(f"color is {color}: expected three numbers from 0 to 255")
    handle = where._live
    owned = _OwnedImage(handle)
    call(
        "image_overlay",
        handle.pointer,
        byref(picture.struct),
        byref(inside.struct),
        red << 16 | green << 8 | blue,
        line_width,
        byref(owned.struct),
    )
    return owned.array()


def writable_rows(array: Any, shape: Tuple[int, ...], dtype: Any, name: str) -> Tuple[int, int]:
    """(address, row stride in bytes) of an array that the library writes into; ValueError when it cannot."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} is a {type(array).__name__}: expected a numpy array")
    if array.shape != shape or array.dtype != np.dtype(dtype):
        raise ValueError(f"{name} is {_describe(array)}: expected shape {shape} and dtype {np.dtype(dtype)}")
    item = array.itemsize * int(np.prod(shape[2:], dtype=np.int64))
    inner_dense = len(shape) == 2 or array[0, 0].flags.c_contiguous
    stride = _rows(array, item) if inner_dense else None
    if stride is None or not array.flags.writeable:
        raise ValueError(f"{name} must be writable, and the pixels of each row must lie side by side")
    return array.ctypes.data, stride


