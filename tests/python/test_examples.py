# SPDX-License-Identifier: Apache-2.0
"""The examples run and say what they should."""

import os
import subprocess
import sys
import tempfile
import unittest

import numpy as np

import common
import m2snet

EXAMPLES = common.ROOT / "bindings" / "python" / "examples"


def run(name, *arguments):
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments], capture_output=True, text=True, timeout=250, cwd=common.ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Examples(unittest.TestCase):
    def test_first_look(self):
        said = run("first_look.py", common.ROOT / "examples" / "data")
        self.assertRegex(said, r"(?m)^mean +Dice 0\.\d{4}  MAE 0\.\d{4}$")
        self.assertIn("best threshold", said)
        self.assertIn("logits (256, 256, 1)", said)

    def test_pillow(self):
        try:
            import PIL  # noqa: F401
        except ImportError:
            self.skipTest("Pillow is not installed")
        with tempfile.TemporaryDirectory() as folder:
            output = os.path.join(folder, "out.png")
            said = run("pillow_outline.py", common.MODEL, common.picture_paths()[0], output)
            self.assertIn("found", said)
            drawn = m2snet.read_image(output)
        self.assertEqual(drawn.shape, common.picture().shape)
        self.assertGreater(int((drawn == np.array([0, 255, 0], np.uint8)).all(axis=2).sum()), 100)


if __name__ == "__main__":
    unittest.main()
