# SPDX-License-Identifier: Apache-2.0
"""Failures are exceptions: of the right class, of the builtin one that fits, with the library's sentence."""

import copy
import os
import pickle
import re
import tempfile
import unittest

import numpy as np

import common
import m2snet
from m2snet import _errors


class Errors(unittest.TestCase):
    def check(self, kind, builtin, status, pattern, function, *arguments, **named):
        with self.assertRaisesRegex(kind, pattern) as caught:
            function(*arguments, **named)
        self.assertIsInstance(caught.exception, m2snet.M2snetError)
        self.assertIsInstance(caught.exception, builtin)
        self.assertEqual(caught.exception.status, status)
        return caught.exception

    def test_missing_file(self):
        error = self.check(
            m2snet.FileError, OSError, m2snet.Status.IO, "nowhere.safetensors", m2snet.Model.load, "nowhere.safetensors"
        )
        self.assertIn("nowhere.safetensors", str(error))

    def test_damaged_file(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "cut.safetensors")
            with open(path, "wb") as file:
                file.write(common.MODEL.read_bytes()[:5000])
            self.check(m2snet.FormatError, ValueError, m2snet.Status.FORMAT, "cut.safetensors", m2snet.Model.load, path)
        self.check(m2snet.FormatError, ValueError, 4, ".", m2snet.read_image, b"\x89PNG\r\n\x1a\nnothing")

    def test_wrong_network(self):
        config = {"pyramid_channels": 64}
        error = self.check(
            m2snet.MismatchError, ValueError, m2snet.Status.MISMATCH, "", m2snet.Model.load, common.MODEL, config=config
        )
        self.assertGreater(len(str(error)), 100)  # the table of tensors

    def test_bad_option(self):
        self.check(
            m2snet.InvalidArgumentError, ValueError, 1, "class_index", common.model().predict, common.picture(), class_index=5
        )
        self.check(m2snet.UnsupportedError, NotImplementedError, 5, "f64|F64", common.model().session, precision="f64")

    def test_memory_cap(self):
        context = m2snet.Context(threads=1, memory_limit_bytes=1 << 20)
        self.check(m2snet.LimitError, RuntimeError, m2snet.Status.LIMIT, "", m2snet.Model.load, common.MODEL, context=context)

    def test_too_many_pixels(self):
        self.check(m2snet.LimitError, RuntimeError, 7, "", m2snet.read_image, common.picture_paths()[0], max_pixels=100)

    def test_python_checks(self):
        model = common.model()
        for kind, pattern, image, how in [
            (ValueError, "threshold is 2", common.picture(), {"threshold": 2}),
            (TypeError, "no option treshold", common.picture(), {"treshold": 0.5}),
            (ValueError, "shape \\(5,\\)", np.zeros(5, np.uint8), {}),
            (ValueError, "no pixels", np.zeros((0, 5, 3), np.uint8), {}),
            (TypeError, "dtype int64", np.zeros((5, 5), np.int64), {}),
            (TypeError, "colours are uint8", np.zeros((50, 50, 3), np.float32), {}),
            (ValueError, "window", np.full((50, 50), 7, np.float32), {}),
            (ValueError, "window", np.full((50, 50), np.nan, np.float32), {}),
            (ValueError, "order is 'gbr'", common.picture(), {"order": "gbr"}),
            (TypeError, "progress", common.picture(), {"progress": 5}),
            (TypeError, "cancel", common.picture(), {"cancel": 5}),
            (ValueError, "NUL", "a\0b.png", {}),
            (TypeError, "a NoneType is not a picture", None, {}),
            (TypeError, "a generator is not a picture", (path for path in common.picture_paths()), {}),
        ]:
            with self.subTest(pattern=pattern):
                with self.assertRaisesRegex(kind, pattern):
                    model.predict(image, **how)
        # The model is as usable as before.
        self.assertTrue(model.predict(common.picture()).found)

    def test_every_status_has_its_class(self):
        header = (common.ROOT / "include" / "m2snet.h").read_text()
        statuses = {name: int(value) for name, value in re.findall(r"M2SNET_STATUS_(\w+) = (\d+)", header)}
        self.assertEqual(statuses, {status.name: int(status) for status in m2snet.Status})
        for name, value in statuses.items():
            if value:
                kind = type(_errors.error_for(value, "text"))
                self.assertEqual(kind.status, value, name)
                self.assertIsNot(kind, m2snet.M2snetError)
        self.assertIs(type(_errors.error_for(99, "text")), m2snet.M2snetError)

    def test_pickle(self):
        for value in range(1, 13):
            error = _errors.error_for(value, "a sentence")
            again = pickle.loads(pickle.dumps(error))
            self.assertIs(type(again), type(error))
            self.assertEqual(str(again), "a sentence")
        for owner in (common.model(), common.model().context, common.model().predict(common.picture())):
            for way in (pickle.dumps, copy.deepcopy):
                with self.assertRaisesRegex(TypeError, f"a {type(owner).__name__} cannot be pickled"):
                    way(owner)

    def test_closed(self):
        model = m2snet.Model.load(common.MODEL)
        result = model.predict(common.picture())
        model.close()
        model.close()
        self.assertTrue(model.closed)
        with self.assertRaisesRegex(ValueError, "this Model is closed"):
            model.predict(common.picture())
        self.assertIn("closed", repr(model))
        mask = result.mask
        before = mask.copy()
        with result:
            pass
        with self.assertRaisesRegex(ValueError, "this Result is closed"):
            result.map
        np.testing.assert_array_equal(mask, before)


if __name__ == "__main__":
    unittest.main()
