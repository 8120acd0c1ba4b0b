#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the pictures of this folder and, beside each, the pixels it must decode to as .pgm or .ppm (16 bit: big endian,
as the format wants). PNGs are written here byte by byte, so that every depth, colour type and interlace exists; JPEGs
and their pixels come from Pillow. Run it in this folder; needs Pillow and NumPy."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps

ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
GRAY, RGB, PALETTE, GRAY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def pack_rows(samples, depth):
    """samples (h, w, c) -> rows of filter type 0."""
    out = b""
    for row in samples:
        if depth == 16:
            raw = row.astype(">u2").tobytes()
        elif depth == 8:
            raw = row.astype("u1").tobytes()
        else:
            bits = "".join(format(int(v), f"0{depth}b") for v in row.reshape(-1))
            bits += "0" * (-len(bits) % 8)
            raw = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
        out += b"\0" + raw
    return out


def write_png(name, samples, colour, depth, interlaced=False, extra=b"", late=b""):
    h, w = samples.shape[:2]
    samples = samples.reshape(h, w, -1)
    if interlaced:
        parts = [samples[y0::dy, x0::dx] for x0, y0, dx, dy in ADAM7]
        raw = b"".join(pack_rows(p, depth) for p in parts if p.size)
    else:
        raw = pack_rows(samples, depth)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, int(interlaced)))
    data += extra + chunk(b"IDAT", zlib.compress(raw, 9)) + late + chunk(b"IEND", b"")
    with open(name + ".png", "wb") as f:
        f.write(data)


def write_pnm(name, pixels):
    pixels = np.asarray(pixels)
    kind, ext = ("P5", ".pgm") if pixels.ndim == 2 else ("P6", ".ppm")
    deep = pixels.dtype == np.uint16
    with open(name + ext, "wb") as f:
        f.write(f"{kind}\n{pixels.shape[1]} {pixels.shape[0]}\n{65535 if deep else 255}\n".encode())
        f.write(pixels.astype(">u2").tobytes() if deep else pixels.astype("u1").tobytes())


def exif(orientation, big=False, type_=3):
    e = ">" if big else "<"
    value = struct.pack(e + "HH", orientation, 0) if type_ == 3 else struct.pack(e + "I", orientation)
    head = (b"MM\0*" if big else b"II*\0") + struct.pack(e + "I", 8)
    model = struct.pack(e + "HHI", 0x0110, 2, 4) + b"abc\0"
    return head + struct.pack(e + "H", 2) + model + struct.pack(e + "HHI", 0x0112, type_, 1) + value + bytes(4)


def turned(pixels, orientation):
    p = {1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
         5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
         8: lambda a: np.rot90(a, 1)}
    return np.ascontiguousarray(p[orientation](pixels))


def pngs():
    rng = np.random.default_rng(20)
    h, w = 11, 13
    scale = lambda v: ((v.astype(np.int64) * 255 + 32895) >> 16).astype("u1")
    for interlaced in (False, True):
        i = "_interlaced" if interlaced else ""
        for depth in (1, 2, 4, 8, 16):
            v = rng.integers(0, 2**depth, (h, w))
            write_png(f"gray{depth}{i}", v, GRAY, depth, interlaced)
            write_pnm(f"gray{depth}{i}", v.astype("u2") if depth == 16 else v * (255 // (2**depth - 1)))
        for depth in (1, 2, 4, 8):
            colours = rng.integers(0, 256, (2**depth, 3))
            v = rng.integers(0, 2**depth, (h, w))
            plte = chunk(b"PLTE", colours.astype("u1").tobytes())
            trns = chunk(b"tRNS", bytes(range(2**depth))) if depth == 4 else b""
            write_png(f"palette{depth}{i}", v, PALETTE, depth, interlaced, plte + trns)
            write_pnm(f"palette{depth}{i}", colours[v])
        for depth in (8, 16):
            top = 2**depth
            for name, colour, channels in (("rgb", RGB, 3), ("graya", GRAY_ALPHA, 2), ("rgba", RGB_ALPHA, 4)):
                v = rng.integers(0, top, (h, w, channels))
                write_png(f"{name}{depth}{i}", v, colour, depth, interlaced)
                if channels == 2:
                    write_pnm(f"{name}{depth}{i}", v[..., 0].astype("u2" if depth == 16 else "u1"))
                else:
                    write_pnm(f"{name}{depth}{i}", scale(v[..., :3]) if depth == 16 else v[..., :3])
    v = rng.integers(0, 256, (h, w))
    write_png("gray8_transparent", v, GRAY, 8, extra=chunk(b"tRNS", struct.pack(">H", int(v[3, 4]))))
    write_pnm("gray8_transparent", v)
    text = chunk(b"tEXt", b"Comment\0hello") + chunk(b"gAMA", struct.pack(">I", 45455)) + chunk(b"prVt", b"private")
    write_png("gray8_metadata", v, GRAY, 8, extra=text)
    write_pnm("gray8_metadata", v)
    write_png("gray8_exif6", v, GRAY, 8, extra=chunk(b"eXIf", exif(6, big=True)))
    write_pnm("gray8_exif6", turned(v, 6))
    write_png("gray8_exif8_late", v, GRAY, 8, late=chunk(b"eXIf", exif(8)))
    write_pnm("gray8_exif8_late", turned(v, 8))
    one = np.array([[77]])
    write_png("gray8_1x1", one, GRAY, 8, True)
    write_pnm("gray8_1x1", one)


def scene(w, h, channels):
    y, x = np.mgrid[0:h, 0:w].astype(float)
    planes = [127 + 120 * np.sin(x / 5 + c) * np.cos(y / (4 + c)) + 8 * ((x + y) % 2) for c in range(channels)]
    return np.clip(np.stack(planes, -1), 0, 255).astype("u1").squeeze()


def write_jpeg(name, image, **options):
    image.save(name + ".jpg", "JPEG", **options)
    finish_jpeg(name)


def finish_jpeg(name):
    image = ImageOps.exif_transpose(Image.open(name + ".jpg"))
    write_pnm(name, np.asarray(image if image.mode == "L" else image.convert("RGB")))


def jpegs():
    rgb = Image.fromarray(scene(33, 23, 3))
    gray = Image.fromarray(scene(17, 13, 1))
    cmyk = Image.fromarray(scene(19, 18, 4), "CMYK")
    write_jpeg("jpeg_gray", gray, quality=90)
    for s, name in ((0, "444"), (1, "422"), (2, "420")):
        write_jpeg(f"jpeg_{name}", rgb, quality=85, subsampling=s)
        write_jpeg(f"jpeg_{name}_progressive", rgb, quality=85, subsampling=s, progressive=True)
    write_jpeg("jpeg_rgb", rgb, quality=95, keep_rgb=True)
    write_jpeg("jpeg_restart", rgb, quality=80, restart_marker_blocks=2)
    write_jpeg("jpeg_cmyk", cmyk, quality=95)
    data = open("jpeg_cmyk.jpg", "rb").read()
    at = data.index(b"Adobe")
    with open("jpeg_ycck.jpg", "wb") as f:  # the same numbers, read as Y, Cb, Cr, K
        f.write(data[: at + 11] + b"\2" + data[at + 12 :])
    finish_jpeg("jpeg_ycck")
    length = struct.unpack(">H", data[at - 2 : at])[0]
    with open("jpeg_cmyk_plain.jpg", "wb") as f:
        f.write(data[: at - 4] + data[at - 2 + length :])
    finish_jpeg("jpeg_cmyk_plain")
    small = rgb.resize((9, 7))
    for o in range(1, 9):
        write_jpeg(f"jpeg_exif{o}", small, quality=90, exif=b"Exif\0\0" + exif(o, big=o % 2 == 0))
    write_jpeg("jpeg_exif6_long", small, quality=90, exif=b"Exif\0\0" + exif(6, type_=4))
    buffer = io.BytesIO()
    gray.save(buffer, "JPEG")
    with open("jpeg_stray.jpg", "wb") as f:  # stray bytes before the end marker, as some cameras write
        f.write(buffer.getvalue()[:-2] + b"\0\0\0\0" + b"\xff\xd9trailing")
    finish_jpeg("jpeg_stray")


pngs()
jpegs()
