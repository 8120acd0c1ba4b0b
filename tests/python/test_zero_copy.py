# SPDX-License-Identifier: Apache-2.0
"""No pixel is copied between NumPy and the library where strides allow: the pointers are equal."""

import gc
import unittest
import weakref

import numpy as np

import common
import m2snet
from m2snet import _image, _model


class In(unittest.TestCase):
    def check(self, array, expected_address, stride, **how):
        pixels = _image.as_pixels(array, **how)
        self.assertFalse(pixels.copied)
        self.assertEqual(pixels.struct.data, expected_address)
        self.assertEqual(pixels.struct.row_stride_bytes, stride)
        self.assertEqual((pixels.struct.height, pixels.struct.width), array.shape[:2])

    def test_not_copied(self):
        rgb = common.random_picture(20, 30)
        rgba = common.random_picture(20, 30, 4)
        gray = common.random_picture(20, 30, 0)
        deep = gray.astype(np.uint16)
        real = (gray / 255).astype(np.float32)
        self.check(rgb, common.address(rgb), 90)
        self.check(rgba, common.address(rgba), 120)
        self.check(gray, common.address(gray), 30)
        self.check(deep, common.address(deep), 60)
        self.check(real, common.address(real), 120)
        self.check(gray[..., None], common.address(gray), 30)
        self.check(rgb[3:15, 4:20], common.address(rgb) + 3 * 90 + 4 * 3, 90)
        self.check(rgb[::2], common.address(rgb), 180)
        self.check(rgb[::-1], common.address(rgb) + 19 * 90, -90)
        self.check(rgb[..., ::-1], common.address(rgb), 90)
        self.check(rgb[::-1, :, ::-1], common.address(rgb) + 19 * 90, -90, order="bgr")
        self.check(rgb[:1], common.address(rgb), 0)
        self.check(gray[:, :1], common.address(gray), 30)

    def test_reversed_colours_change_the_order(self):
        rgb = common.random_picture(20, 30)
        self.assertEqual(_image.as_pixels(rgb[..., ::-1]).struct.format, _image.BGR8)
        self.assertEqual(_image.as_pixels(rgb[..., ::-1], order="bgr").struct.format, _image.RGB8)

    def test_copied_where_it_must(self):
        rgb = common.random_picture(20, 30)
        gray = common.random_picture(20, 30, 0)
        for array in (rgb[:, ::2], rgb.transpose(1, 0, 2), np.asfortranarray(rgb), rgb[..., [0, 0, 0]][:, ::-1]):
            self.assertTrue(_image.as_pixels(array).copied)
        flat = np.broadcast_to(rgb[0], rgb.shape)  # rows one upon the other: 0 would say "dense"
        pixels = _image.as_pixels(flat)
        self.assertTrue(pixels.copied)
        np.testing.assert_array_equal(pixels.keep, flat)
        self.assertTrue(_image.as_pixels(gray > 5).copied)

    def test_logits(self):
        context = m2snet.default_context()
        x = np.zeros((2, 3, 40, 50), np.float32)
        for array, layout in ((x, "nchw"), (x.transpose(0, 2, 3, 1), "nhwc"), (x[::-1, :, ::2, ::-1], "nchw")):
            tensor = _model.tensor_view(context._live, array, layout)
            data = m2snet._library.library.m2snet_tensor_data
            data.argtypes, data.restype = [m2snet._library.c_void_p], m2snet._library.c_void_p
            self.assertEqual(data(tensor.pointer), common.address(array))
        out = np.empty((2, 1, 64, 64), np.float32)
        self.assertIs(common.model().run(np.zeros((2, 3, 64, 64), np.float32), layout="nchw", out=out), out)


class Out(unittest.TestCase):
    def test_results_show_the_librarys_memory(self):
        result = common.model().predict(common.picture())
        for name in ("probability", "map", "mask"):
            array = getattr(result, name)
            there = getattr(m2snet._library.library, "m2snet_result_" + name)(result._live.pointer)
            self.assertEqual(common.address(array), there)
            self.assertEqual(common.address(getattr(result, name)), there)
            self.assertFalse(array.flags.writeable)
            self.assertFalse(array.flags.owndata)

    def test_arrays_outlive_everything(self):
        model = m2snet.Model.load(common.MODEL, threads=1)
        expected = model.predict(common.picture()).map.copy()
        result = model.predict(common.picture())
        handle = weakref.ref(result._live)
        array, contour = result.map[10:200, 5:], result.components[0].contour
        points = contour.copy()
        result.close()
        del result, model
        gc.collect()
        self.assertIsNotNone(handle())
        np.testing.assert_array_equal(array, expected[10:200, 5:])
        np.testing.assert_array_equal(contour, points)
        del array, contour
        gc.collect()
        self.assertIsNone(handle())

    def test_memory_comes_back(self):
        context = m2snet.Context(threads=1)
        model = m2snet.Model.load(common.MODEL, context=context)
        model.predict(common.picture())
        before = context.info.memory_used_bytes
        results = [model.predict(common.picture()) for _ in range(3)]
        self.assertGreater(context.info.memory_used_bytes, before)
        del results
        self.assertEqual(context.info.memory_used_bytes, before)

    def test_callers_arrays(self):
        picture = common.picture()
        height, width = picture.shape[:2]
        expected = common.model().predict(picture)
        probability = np.full((height, width), -1, np.float32)
        wide = np.full((height, width + 7), 77, np.uint8)
        flipped = np.zeros((height, width), np.uint8)
        out = {"probability": probability, "map": wide[:, :width], "mask": flipped[::-1]}
        common.model().predict(picture, out=out)
        np.testing.assert_array_equal(probability, expected.probability)
        np.testing.assert_array_equal(wide[:, :width], expected.map)
        self.assertEqual(set(wide[:, width:].ravel()), {77})
        np.testing.assert_array_equal(flipped[::-1], expected.mask)
        read_only = np.zeros((height, width), np.uint8)
        read_only.flags.writeable = False
        for bad in (
            {"mask": np.zeros((height, width), np.float32)},
            {"mask": np.zeros((height + 1, width), np.uint8)},
            {"mask": np.zeros((height, 2 * width), np.uint8)[:, ::2]},
            {"mask": read_only},
            {"masks": flipped},
        ):
            with self.assertRaises(ValueError):
                common.model().predict(picture, out=bad)
        with self.assertRaises(TypeError):
            common.model().predict(picture, out={"mask": flipped.tolist()})
        with self.assertRaises(ValueError):
            common.model().predict([picture, picture], out={"mask": flipped})

    def test_read_images(self):
        array = m2snet.read_image(common.picture_paths()[0])
        self.assertFalse(array.flags.owndata)
        self.assertTrue(array.flags.writeable)
        part = array[5:9]
        expected = part.copy()
        del array
        gc.collect()
        np.testing.assert_array_equal(part, expected)


if __name__ == "__main__":
    unittest.main()
