# SPDX-License-Identifier: Apache-2.0
"""Objectives: gradients against finite differences, float32 against float64, layouts."""

import unittest

import numpy as np

import common  # noqa: F401
import m2snet
from m2snet import objectives

# Central differences with this step in float64: the error of the difference is some STEP^2 of the third derivative, and
# some 1e-16 / STEP of rounding: both near 1e-10 of a gradient whose size is that of the loss.
STEP = 1e-5
TOLERANCE = 1e-8


def example(shape=(2, 20, 24, 1), seed=0, exclusive=False):
    """Logits of moderate size, and a mask with soft edges (or, of exclusive classes, one-hot)."""
    random = np.random.default_rng(seed)
    logits = 2.0 * random.standard_normal(shape)
    if exclusive:
        chosen = random.integers(0, shape[3], shape[:3])
        return logits, (chosen[..., None] == np.arange(shape[3])).astype(np.float64)
    return logits, np.clip(1.5 * random.random(shape) - 0.25, 0.0, 1.0)


class Gradients(unittest.TestCase):
    def check(self, objective, logits, mask, points=12, tolerance=TOLERANCE, **how):
        values, gradient = objective.value_and_gradient(logits, mask, **how)
        self.assertEqual((gradient.shape, gradient.dtype), (logits.shape, np.float64))
        self.assertGreater(values.loss, 0.0)
        random = np.random.default_rng(1)
        # The largest element and others anywhere.
        places = [np.unravel_index(np.abs(gradient).argmax(), gradient.shape)]
        places += [tuple(random.integers(0, n) for n in logits.shape) for _ in range(points - 1)]
        for place in places:
            moved = []
            for sign in (1, -1):
                near = logits.copy()
                near[place] += sign * STEP
                moved.append(objective.value(near, mask, **how).loss)
            difference = (moved[0] - moved[1]) / (2 * STEP)
            self.assertLess(abs(difference - gradient[place]), tolerance * max(1.0, values.loss), (objective, place))
        # Not vacuous: the gradient there is far above the tolerance.
        self.assertGreater(abs(gradient[places[0]]), 100 * tolerance * max(1.0, values.loss))

    def test_terms(self):
        logits, mask = example()
        for objective in [
            objectives.Objective(),
            objectives.Objective("released"),
            objectives.Objective(bce_form="mean", iou_weight=0),
            objectives.Objective(bce_weight=0, iou_weight=2.5),
            objectives.Objective(bce_weight=0, iou_weight=0, dice_weight=1),
            objectives.Objective(dice_weight=0.5, batch_dice=True),
        ]:
            self.check(objective, logits, mask)

    def test_classes(self):
        logits, mask = example((2, 16, 18, 3))
        self.check(objectives.Objective(dice_weight=1.0), logits, mask)
        logits, mask = example((2, 16, 18, 3), exclusive=True)
        self.check(objectives.Objective("softmax"), logits, mask)

    def test_loss_network(self):
        lossnet = objectives.LossNet.create(seed=1, context=m2snet.Context("ref"))
        logits, mask = example((1, 16, 16, 1))
        objective = objectives.Objective(bce_weight=0, iou_weight=0, lossnet=lossnet, lossnet_weight=1.0, lossnet_size_px=0)
        values, gradient = objective.value_and_gradient(logits, mask)
        self.assertGreater(values.lossnet, 0.0)
        self.assertEqual(values.loss, values.lossnet)
        # ReLUs and maxima have corners, which a small step rarely meets: the median of the points decides.
        errors = []
        for place in [np.unravel_index(i, gradient.shape) for i in np.abs(gradient).ravel().argsort()[-5:]]:
            moved = []
            for sign in (1, -1):
                near = logits.copy()
                near[place] += sign * STEP
                moved.append(objective.value(near, mask).loss)
            errors.append(abs((moved[0] - moved[1]) / (2 * STEP) / gradient[place] - 1.0))
        self.assertLess(np.median(errors), 1e-5)
        self.assertIn("lossnet", repr(objective))

    def test_float32(self):
        logits, mask = example((2, 40, 40, 1))
        exact, gradient = objectives.value_and_gradient(logits, mask)
        near, near_gradient = objectives.value_and_gradient(logits.astype(np.float32), mask.astype(np.float32))
        self.assertEqual(near_gradient.dtype, np.float32)
        # Float32 arithmetic on sums of thousands of pixels.
        self.assertLess(abs(near.loss / exact.loss - 1.0), 1e-5)
        self.assertLess(np.abs(near_gradient - gradient).max() / np.abs(gradient).max(), 1e-4)


class Arguments(unittest.TestCase):
    def test_layouts(self):
        logits, mask = (array.astype(np.float32) for array in example((2, 20, 24, 3)))
        values, gradient = objectives.value_and_gradient(logits, mask)
        turned = [np.ascontiguousarray(array.transpose(0, 3, 1, 2)) for array in (logits, mask)]
        out = np.empty_like(turned[0])
        again, returned = objectives.value_and_gradient(*turned, layout="nchw", out=out)
        self.assertIs(returned, out)
        self.assertEqual(again, values)
        np.testing.assert_array_equal(out.transpose(0, 2, 3, 1), gradient)
        flipped = objectives.value(logits[:, ::-1, ::-1], mask[:, ::-1, ::-1])
        self.assertLess(abs(flipped.loss - values.loss), 1e-5)

    def test_one_picture(self):
        logits, mask = (array[0, ..., 0].astype(np.float32) for array in example())
        values, gradient = objectives.value_and_gradient(logits, mask > 0.5)
        self.assertEqual(gradient.shape, logits.shape)
        whole = objectives.value(logits[None, ..., None], (mask > 0.5)[None, ..., None])
        self.assertEqual(whole, values)

    def test_values(self):
        logits, mask = example()
        values = objectives.value(logits, mask)
        self.assertLess(abs(values.loss - values.bce - values.iou), 1e-12)
        self.assertEqual((values.dice, values.cross_entropy, values.lossnet), (0.0, 0.0, 0.0))
        # The mean form is the textbook's.
        plain = objectives.Objective(bce_form="mean", iou_weight=0).value(logits, mask).loss
        expected = np.mean(np.maximum(logits, 0) - logits * mask + np.log1p(np.exp(-np.abs(logits))))
        self.assertLess(abs(plain / expected - 1.0), 1e-12)

    def test_refused(self):
        logits, mask = example()
        for kind, arguments, how in [
            (ValueError, (logits, mask[:1]), {}),
            (ValueError, (logits[0], mask[0]), {}),
            (TypeError, (logits.astype(np.int32), mask), {}),
            (TypeError, (logits, mask.astype(np.uint8)), {}),
            (ValueError, (logits, mask), {"layout": "hwc"}),
            (ValueError, (logits, mask), {"out": np.empty(3)}),
        ]:
            with self.assertRaises(kind):
                objectives.value_and_gradient(*arguments, **how)
        with self.assertRaises(m2snet.InvalidArgumentError):
            objectives.Objective("mine")
        with self.assertRaisesRegex(ValueError, "bce_form"):
            objectives.Objective(bce_form="sum")
        with self.assertRaises(m2snet.FileError):
            objectives.LossNet.load("nowhere.pth")
        with self.assertRaises(m2snet.MismatchError):
            objectives.LossNet.load(common.MODEL)


if __name__ == "__main__":
    unittest.main()
