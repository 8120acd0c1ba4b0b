# SPDX-License-Identifier: Apache-2.0
"""Reading, writing, resizing, drawing."""

import os
import re
import sys
import tempfile
import unittest

import numpy as np

import common
import m2snet


def read_netpbm(path):
    """A binary PGM or PPM, 8 or 16 bits."""
    data = path.read_bytes()
    match = re.match(rb"(P[56])\s+(\d+)\s+(\d+)\s+(\d+)\s", data)
    width, height, deep = int(match[2]), int(match[3]), int(match[4]) > 255
    pixels = np.frombuffer(data, ">u2" if deep else np.uint8, offset=match.end())
    return pixels.reshape((height, width, 3) if match[1] == b"P6" else (height, width))


class Images(unittest.TestCase):
    def test_read(self):
        checked = 0
        for path in sorted((common.DATA / "images").glob("*.p[gp]m")):
            for suffix in (".png", ".jpg"):
                picture = path.with_suffix(suffix)
                if not picture.exists():
                    continue
                with self.subTest(picture=picture.name):
                    for source in (picture, picture.read_bytes()):
                        array = m2snet.read_image(source)
                        expected = read_netpbm(path)
                        self.assertEqual((array.shape, array.dtype.itemsize), (expected.shape, expected.dtype.itemsize))
                        # JPEG decoders may differ by rounding.
                        tolerance = 0 if suffix == ".png" else 2
                        self.assertLessEqual(np.abs(array.astype(int) - expected.astype(int)).max(), tolerance)
                    checked += 1
        self.assertGreater(checked, 30)

    def test_exif(self):
        path = common.DATA / "images" / "jpeg_exif6.jpg"
        turned, stored = m2snet.read_image(path), m2snet.read_image(path, apply_exif=False)
        np.testing.assert_array_equal(turned, np.rot90(stored, -1))

    def test_write(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "été.png")
            rgb = common.random_picture(30, 20)
            gray = common.random_picture(30, 20, 0)
            for written, expected in [
                (rgb, rgb),
                (gray, gray),
                (gray.astype(np.uint16) * 200, gray.astype(np.uint16) * 200),
                (gray > 100, np.where(gray > 100, 255, 0).astype(np.uint8)),
                (rgb[::-1, 3:9], rgb[::-1, 3:9]),
            ]:
                m2snet.write_image(path, written)
                array = m2snet.read_image(path)
                self.assertEqual(array.dtype, expected.dtype)
                np.testing.assert_array_equal(array, expected)
            with self.assertRaises(m2snet.FileError):
                m2snet.write_image(os.path.join(folder, "no", "where.png"), rgb)

    def test_resize_is_pillows(self):
        checked = 0
        for before in sorted((common.DATA / "pil").glob("*_in.png")):
            after = before.with_name(before.name.replace("_in", "_out"))
            if not after.exists():
                continue
            expected = m2snet.read_image(after)
            height, width = expected.shape[:2]
            np.testing.assert_array_equal(m2snet.resize_image(before, height, width), expected)
            wide = np.zeros((height + 2,) + (width,) + expected.shape[2:], np.uint8)
            m2snet.resize_image(m2snet.read_image(before), height, width, out=wide[1:-1])
            np.testing.assert_array_equal(wide[1:-1], expected)
            self.assertEqual((wide[0].max(), wide[-1].max()), (0, 0))
            checked += 1
        self.assertGreater(checked, 3)
        with self.assertRaises(TypeError):
            m2snet.resize_image(np.zeros((4, 4), np.uint16), 2, 2)
        with self.assertRaises(ValueError):
            m2snet.resize_image(np.zeros((4, 4), np.uint8), 2, 2, out=np.zeros((2, 3), np.uint8))

    def test_overlay(self):
        picture = common.random_picture(40, 50)
        mask = np.zeros((40, 50), bool)
        mask[10:20, 15:30] = True
        drawn = m2snet.draw_overlay(picture, mask, color=(1, 2, 3), line_width=1)
        changed = (drawn != picture).any(axis=2)
        self.assertTrue(changed.any())
        self.assertFalse(changed[:8].any() or changed[22:].any() or changed[:, :13].any() or changed[:, 32:].any())
        self.assertEqual({tuple(pixel) for pixel in drawn[changed]}, {(1, 2, 3)})
        result = common.model().predict(common.picture())
        np.testing.assert_array_equal(
            m2snet.draw_overlay(common.picture(), result), m2snet.draw_overlay(common.picture(), result.mask)
        )
        with self.assertRaisesRegex(ValueError, "color"):
            m2snet.draw_overlay(picture, mask, color=(1, 2, 300))


class Pillow(unittest.TestCase):
    def setUp(self):
        try:
            from PIL import Image
        except ImportError:
            self.skipTest("Pillow is not installed")
        self.image = Image

    def test_modes(self):
        picture = common.random_picture(60, 50)
        gray = common.random_picture(60, 50, 0)
        model = common.model()
        rgb = self.image.fromarray(picture)
        for image, expected in [
            (rgb, picture),
            (rgb.convert("RGBA"), picture),
            (self.image.fromarray(gray), gray),
            (self.image.fromarray(gray).convert("LA"), gray),
            (self.image.fromarray(gray.astype(np.uint16) * 257), gray),
            (self.image.fromarray(gray).convert("F").point(lambda v: v * (1 / 255) + 0), (gray / 255).astype(np.float32)),
            (rgb.convert("P"), np.asarray(rgb.convert("P").convert("RGB"))),
            (self.image.fromarray(gray > 99), gray > 99),
            (rgb.convert("CMYK"), np.asarray(rgb.convert("CMYK").convert("RGB"))),
        ]:
            with self.subTest(mode=image.mode):
                np.testing.assert_array_equal(model.predict(image).probability, model.predict(expected).probability)

    def test_same_as_the_file(self):
        path = common.picture_paths()[1]
        with self.image.open(path) as image:
            # Pillow's JPEG decoder is the same library with other settings at most: a level or two of difference.
            difference = np.abs(common.model().predict(image).probability - common.model().predict(path).probability)
        self.assertLess(difference.mean(), 0.01)

    def test_metrics(self):
        mask = self.image.open(common.mask_paths()[0])
        result = common.model().predict(common.picture())
        self.assertEqual(m2snet.metrics(result, mask), m2snet.metrics(result, np.asarray(mask)))

    def test_not_needed(self):
        # The package itself never imports Pillow.
        import subprocess

        code = "import m2snet, sys; sys.exit('PIL' in sys.modules)"
        self.assertEqual(subprocess.run([sys.executable, "-c", code]).returncode, 0)


if __name__ == "__main__":
    unittest.main()
