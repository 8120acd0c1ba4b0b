# SPDX-License-Identifier: Apache-2.0
"""Scores: the vectors of tests/data/metrics, which independent programs made, from files and from arrays."""

import json
import math
import os
import shutil
import tempfile
import unittest
import warnings

import numpy as np

import common
import m2snet

VECTORS = common.DATA / "metrics"
SPACING = [(1.0, 1.0), (0.5, 2.0)]
# As in tests/parity/test_metrics.c: the orders of sums differ between the programs.
TOLERANCE = 1e-9


def vector_names(start="v"):
    names = sorted(path.name[: -len("_pred.png")] for path in VECTORS.glob(start + "*_pred.png"))
    return [name for name in names if start != "v" or not name.startswith("voct")]


def vector(name):
    return json.loads((VECTORS / f"{name}.json").read_text())


def read(name, kind):
    return m2snet.read_image(VECTORS / f"{name}_{kind}.png")


class Compared(unittest.TestCase):
    compared = 0

    def compare(self, where, actual, expected):
        """Every number of expected is in actual."""
        for key, value in expected.items():
            if isinstance(value, dict):
                self.compare(f"{where}/{key}", actual[key], value)
            elif value is None:
                self.assertIsNone(actual[key], f"{where}/{key}")
                self.compared += 1
            elif isinstance(value, (int, float)):
                self.assertIsNotNone(actual[key], f"{where}/{key}")
                self.assertLessEqual(abs(actual[key] - value), TOLERANCE, f"{where}/{key}")
                self.compared += 1


class Pairs(Compared):
    def test_every_vector(self):
        names = vector_names()
        self.assertGreater(len(names), 30)
        for name in names:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", m2snet.M2snetWarning)
                scores = m2snet.metrics(read(name, "pred"), read(name, "mask"), spacing=SPACING)
            self.compare(name, scores, vector(name)["spec"])
        self.assertGreater(self.compared, 30 * 50)

    def test_every_kind_of_picture(self):
        name = "v18_multi_object"
        prediction, mask = read(name, "pred"), read(name, "mask")
        expected = m2snet.metrics(prediction, mask)
        self.assertEqual((expected.height, expected.width), (64, 80))
        for kind, one, two in [
            ("paths", VECTORS / f"{name}_pred.png", str(VECTORS / f"{name}_mask.png")),
            ("bytes", (VECTORS / f"{name}_pred.png").read_bytes(), mask),
            ("bool mask", prediction, mask > 128),
            ("float", prediction.astype(np.float64) / 255, (mask > 128).astype(np.float32)),
            ("float32", (prediction / 255).astype(np.float32), mask),
            ("int64", prediction.astype(np.int64), mask.astype(np.int32)),
            ("(h, w, 1)", prediction[..., None], mask[..., None]),
            ("view", np.ascontiguousarray(prediction[::-1])[::-1], mask),
        ]:
            with self.subTest(kind=kind):
                self.assertEqual(m2snet.metrics(one, two), expected)

    def test_results_are_scored_as_their_map(self):
        result = common.model().predict(common.picture())
        mask = common.mask_paths()[0]
        self.assertEqual(m2snet.metrics(result, mask), m2snet.metrics(result.map, mask))

    def test_names(self):
        scores = m2snet.metrics(read("v18_multi_object", "pred"), read("v18_multi_object", "mask"))
        self.assertEqual(scores.dice_mean, scores["dice_mean"])
        self.assertEqual(scores.surface["1.0,1.0"].hd95, scores["surface"]["1.0,1.0"]["hd95"])
        self.assertIn("dice_mean", dir(scores))
        self.assertIn("dice_mean", repr(scores))
        json.dumps(scores)
        with self.assertRaisesRegex(AttributeError, "no 'dicemean'; there are: height"):
            scores.dicemean

    def test_profiles_and_options(self):
        name = "v18_multi_object"
        prediction, mask = read(name, "pred"), read(name, "mask")
        tool = vector(name)["tools"]["m2snet_authors"]
        authors = m2snet.metrics(prediction, mask, profile="authors").authors
        for key in ("mae", "fm_max", "dice_soft", "iou", "acc"):
            self.assertLessEqual(abs(authors[key] - tool[key]), TOLERANCE, key)
        pranet = m2snet.metrics(prediction, mask, profile="pranet")
        self.assertEqual(pranet.pranet.sen_mean, pranet.rec_mean)
        medpy = vector(name)["tools"]["medpy"]["1.0,1.0"]
        eight = m2snet.metrics(prediction, mask, connectivity=2)
        self.assertLessEqual(abs(eight.surface["1.0,1.0"].assd - medpy["assd_conn2"]), TOLERANCE)
        self.assertEqual(m2snet.metrics(prediction, mask, surface=False).surface, {})
        nothing = m2snet.metrics(np.zeros((30, 40)), mask[:30, :40] * 0)
        self.assertIsNone(nothing.surface["1.0,1.0"].hd)
        self.assertEqual((nothing.surface_undefined, nothing.mask_empty, nothing.dice), (1, 1, 0.0))
        self.assertEqual(m2snet.metrics(np.zeros((30, 40)), mask[:30, :40] * 0, empty="one").dice, 1.0)
        one_side = m2snet.metrics(np.zeros((30, 40)), np.ones((30, 40), bool), surface_penalty=True)
        self.assertEqual(one_side.surface["1.0,1.0"].hd, 50.0)
        with self.assertWarnsRegex(m2snet.M2snetWarning, "resized"):
            small = m2snet.metrics(prediction[::2, ::2], mask, resize=True)
        self.assertEqual((small.height, small.width), mask.shape)

    def test_warned(self):
        with self.assertWarnsRegex(m2snet.M2snetWarning, "0 and 1"):
            m2snet.metrics(read("v18_multi_object", "pred"), (read("v18_multi_object", "mask") > 128).astype(np.uint8))

    def test_refused(self):
        good = np.zeros((10, 10), np.uint8)
        for kind, pattern, prediction, how in [
            (m2snet.MismatchError, "10", np.zeros((10, 11), np.uint8), {}),
            (ValueError, "outside 0 to 1", np.full((10, 10), 1.5), {}),
            (ValueError, "outside 0 to 1", np.full((10, 10), np.nan), {}),
            (ValueError, "expected 0 to 255", np.full((10, 10), 300), {}),
            (ValueError, "profile", good, {"profile": "mine"}),
            (ValueError, "empty", good, {"empty": "no"}),
            (ValueError, "spacing", good, {"spacing": (1, 2, 3)}),
            (ValueError, "connectivity", good, {"connectivity": 3}),
            (ValueError, "labels", good, {"labels": [300]}),
            (TypeError, "label maps are integers", good / 255, {"labels": [0]}),
        ]:
            with self.subTest(pattern=pattern):
                with self.assertRaisesRegex(kind, pattern):
                    m2snet.metrics(prediction, good, **how)

    def test_labels(self):
        names = vector_names("voct")
        self.assertTrue(names)
        labels = {"rnfl": 0, "gcipl": 80, "choroid": 160}
        for name in names:
            found = m2snet.metrics(read(name, "pred"), read(name, "mask"), labels=labels)
            self.assertEqual(list(found), list(labels))
            report = m2snet.evaluate([read(name, "pred")], [read(name, "mask")], labels=labels, names=[name])
            written = report.to_dict()["images"][0]["layers"]
            for label, scores in found.items():
                self.assertEqual(scores.dice, written[label]["dice"])
                self.assertEqual(scores.n_gt, written[label]["n_gt"])
                self.assertEqual(scores.spacing["1.0,1.0"].med, written[label]["1.0,1.0"]["med"])
                self.assertEqual(scores.spacing["1.0,1.0"].surface.assd, written[label]["1.0,1.0"]["surface_assd_medpy"])
            self.assertEqual(report.dataset["rnfl"].dice, found["rnfl"].dice)
        self.assertEqual(list(m2snet.metrics(read(name, "pred"), read(name, "mask"), labels=[0, 80])), ["0", "80"])


class Sets(Compared):
    def files(self, names):
        return [VECTORS / f"{name}_pred.png" for name in names], [VECTORS / f"{name}_mask.png" for name in names]

    def test_every_set(self):
        sets = json.loads((VECTORS / "datasets.json").read_text())["datasets"]
        self.assertEqual(len(sets), 3)
        subsets = 0
        for name, expected in sets.items():
            policy = "skip" if name.endswith("skip") else "zero"
            names = expected["members"]
            if policy == "skip":  # the members of the vector are those that count
                names = sets["all_policy_zero"]["members"]
            study = m2snet.evaluate(*self.files(names), names=names, spacing=SPACING, empty=policy)
            found = study.to_dict(folds=4)["dataset"]
            self.assertEqual(sorted(found["members"]), sorted(expected["members"]))
            self.compare(name, found, expected["spec"])
            plain = {key: value for key, value in expected["spec"].items() if not isinstance(value, dict)}
            self.compare(name, study.dataset, {key: value for key, value in plain.items() if key in study.dataset})
            self.compare(name, study.pooled, {k: v for k, v in expected["spec"]["pooled"].items() if k in study.pooled})
            if "four_fold_cv" in expected:
                self.compare(name, found["four_fold_cv"], expected["four_fold_cv"])
                for ddof in (0, 1):
                    folds = study.folds(4, ddof=ddof)
                    if study.counts["in_means"] == len(study):  # fold 0 is every fourth
                        first = study.subset(range(0, len(study), 4))
                        self.assertEqual(first.dice_mean, folds.per_fold[0].dice_mean)
                        subsets += 1
                    wanted = expected["four_fold_cv"][f"std_ddof{ddof}"]
                    self.assertEqual(len(folds.per_fold), 4)
                    keys = [key for key in wanted if key in folds.std]
                    self.assertIn("dice", keys)
                    for key in keys:
                        self.assertLessEqual(abs(folds.std[key] - wanted[key]), TOLERANCE, key)
                        self.assertLessEqual(abs(folds.mean[key] - expected["four_fold_cv"]["mean"][key]), TOLERANCE)
        self.assertGreater(subsets, 0)
        self.assertGreater(self.compared, 150)

    def test_json_and_attributes_are_the_same(self):
        names = vector_names()[5:15]
        study = m2snet.evaluate(*self.files(names), names=names, spacing=SPACING, profile="authors")
        report = study.to_dict()
        self.assertEqual([image["name"] for image in report["images"]], names)
        for (name, scores), image in zip(study.images, report["images"]):
            del image["name"]
            self.assertEqual({key: scores[key] for key in image}, image)
        self.assertEqual(study.counts, report["counts"])
        self.assertEqual(len(study), len(names))
        self.assertIn("10 scored, 0 failed", repr(study))

    def test_files_arrays_and_mixed(self):
        names = vector_names()[8:14]
        predictions, masks = self.files(names)
        expected = m2snet.evaluate(predictions, masks).dataset
        arrays = [m2snet.read_image(path) for path in predictions], [m2snet.read_image(path) for path in masks]
        self.assertEqual(m2snet.evaluate(*arrays).dataset, expected)
        self.assertEqual(m2snet.evaluate(arrays[0][:3] + predictions[3:], masks).dataset, expected)
        self.assertEqual(m2snet.evaluate(iter(predictions), tuple(masks)).dataset, expected)
        stack = np.stack([common.random_picture(20, 30, 0, seed=i) for i in range(4)])
        self.assertEqual(m2snet.evaluate(stack, stack > 100).counts["scored"], 4)
        one = m2snet.evaluate(predictions[0], masks[0])
        self.assertEqual(one.names, [names[0] + "_mask"])

    def test_folders(self):
        with tempfile.TemporaryDirectory() as folder:
            left, right = os.path.join(folder, "p"), os.path.join(folder, "m")
            os.mkdir(left)
            os.mkdir(right)
            for name in vector_names()[8:12]:
                shutil.copy(VECTORS / f"{name}_pred.png", os.path.join(left, name + ".png"))
                shutil.copy(VECTORS / f"{name}_mask.png", os.path.join(right, name + ".PNG"))
            reports = []
            study = m2snet.evaluate(left, right, progress=lambda *event: reports.append(event))
            self.assertEqual(study.names, vector_names()[8:12])
            self.assertEqual(study.unmatched, [])
            self.assertEqual(reports[-1], ("score", 4, 4))
            # Bad input is named and counted, and the rest is scored.
            shutil.copy(os.path.join(left, study.names[0] + ".png"), os.path.join(left, "alone.png"))
            with open(os.path.join(left, study.names[1] + ".png"), "wb") as file:
                file.write(b"not a picture")
            m2snet.write_image(os.path.join(left, study.names[2] + ".png"), np.zeros((3, 3), np.uint8))
            with self.assertWarnsRegex(m2snet.M2snetWarning, "alone.png"):
                again = m2snet.evaluate(left, right)
            self.assertEqual(again.unmatched, [os.path.join(left, "alone.png")])
            self.assertEqual((again.counts["scored"], again.counts["failed"]), (2, 3))
            self.assertEqual([entry.name for entry in again.failures], study.names[1:3] + ["alone"])
            self.assertIn("3 x 3", again.failures[1].message)
            self.assertIn("alone.png: no mask of this stem", again.failures[2].message)
            self.assertEqual([name for name, _ in again.images], [study.names[0], study.names[3]])
            with self.assertRaises(m2snet.FormatError):
                again.scores(1)
            with self.assertRaises(IndexError):
                again.scores(5)
            os.mkdir(os.path.join(folder, "empty"))
            with self.assertRaisesRegex(ValueError, "no pair"):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    m2snet.evaluate(os.path.join(folder, "empty"), right)

    def test_failures_of_mixed_lists(self):
        good = np.ones((6, 7), np.uint8) * 255
        pairs = [(good, good), ("/no/such/file.png", good), (good, good[:5]), (b"no picture", good)]
        study = m2snet.evaluate([good, "/no/such/file.png", good], [good] * 3)
        self.assertEqual((study.counts["scored"], study.counts["failed"]), (2, 1))
        self.assertEqual((study.failures[0].name, study.names), ("1", ["0", "1", "2"]))
        with self.assertRaises(m2snet.FileError):
            study.scores(1)
        for prediction, mask in pairs[2:]:  # these are the caller's own
            with self.assertRaises(m2snet.M2snetError):
                m2snet.evaluate([prediction], [mask])
        study.add_failure("été \udcff", KeyError("nothing there"))
        study.add_failure("empty", ValueError())
        self.assertEqual([entry.name for entry in study.failures], ["1", "été \\udcff", "empty"])
        self.assertEqual([entry.message for entry in study.failures[1:]], ["'nothing there'", "ValueError"])
        with self.assertRaises(m2snet.InvalidArgumentError):
            study.scores(3)
        self.assertEqual(study.counts["failed"], 3)

    def test_curve(self):
        names = vector_names()[8:12]
        study = m2snet.evaluate(*self.files(names))
        curve = study.curve("dice")
        self.assertEqual(curve.shape, (256,))
        self.assertLess(abs(curve.mean() - study.dataset.dice_mean), 1e-12)
        self.assertEqual(curve.max(), study.dataset.dice_max)
        self.assertEqual(study.curve("iou", 2).max(), study.scores(2).iou_max)
        with self.assertRaisesRegex(ValueError, "name is 'dices'"):
            study.curve("dices")

    def test_calibration(self):
        random = np.random.default_rng(0)
        maps = random.integers(0, 256, (6, 60, 70), dtype=np.uint8)
        masks = random.random(maps.shape) < (maps / 255.0) ** 2  # overconfident by p - p^2
        study = m2snet.evaluate(maps, masks)
        found = study.calibration(bins=10)
        self.assertEqual(found.pixels.sum(), maps.size)
        bins = np.minimum((10 * (maps / 255.0)).astype(int), 9)
        for i in range(10):
            self.assertLess(abs(found.observed[i] - masks[bins == i].mean()), 1e-12)
            self.assertLess(abs(found.probability[i] - (maps[bins == i] / 255).mean()), 1e-12)
        ece = np.sum(found.pixels / maps.size * np.abs(found.probability - found.observed))
        self.assertLess(abs(found.ece - ece), 1e-12)
        self.assertLess(abs(found.brier - np.mean((maps / 255 - masks) ** 2)), 1e-12)
        self.assertEqual(study.calibration(5, index=2).pixels.sum(), maps[0].size)

    def test_agreement_and_comparison(self):
        random = np.random.default_rng(0)
        masks = random.random((12, 40, 40)) < 0.3
        good = masks ^ (random.random(masks.shape) < 0.05)
        bad = masks ^ (random.random(masks.shape) < 0.2)
        first, second = m2snet.evaluate(bad, masks), m2snet.evaluate(good, masks)
        difference = (bad.sum(axis=(1, 2)) - masks.sum(axis=(1, 2))).astype(float)
        agreement = first.area_agreement
        self.assertEqual(agreement.count, 12)
        self.assertLess(abs(agreement.bias - difference.mean()), 1e-9)
        self.assertLess(abs(agreement.upper - difference.mean() - 1.96 * difference.std(ddof=1)), 1e-9)
        found = first.compare(second, "dice", resamples=1000)
        self.assertEqual((found.pairs, found.share_above), (12, 1.0))
        self.assertLess(abs(found.difference - (second.dataset.dice - first.dataset.dice)), 1e-12)
        self.assertTrue(found.low <= found.difference <= found.high)
        self.assertEqual(found, first.compare(second, "dice", resamples=1000))
        with self.assertRaises(m2snet.M2snetError):
            first.compare(second, "nothing")

    def test_evaluator(self):
        with m2snet.Evaluator() as evaluator:
            with self.assertRaises(m2snet.MismatchError):
                evaluator.dataset
            evaluator.add(read("v18_multi_object", "pred"), read("v18_multi_object", "mask"), "été")
            with self.assertRaises(m2snet.MismatchError):
                evaluator.add(np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8))
            evaluator.add(np.zeros((4, 4), bool), np.ones((4, 4), np.uint8))
            self.assertEqual(evaluator.names, ["été", "1"])
            self.assertEqual([entry.name for entry in evaluator.warnings], ["1"])
            self.assertFalse(math.isnan(evaluator.dataset.dice))
        with self.assertRaisesRegex(ValueError, "closed"):
            len(evaluator)
        with self.assertRaisesRegex(ValueError, "2 predictions and 1 masks"):
            m2snet.evaluate([1, 2], [3])


if __name__ == "__main__":
    unittest.main()
