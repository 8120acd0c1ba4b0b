# SPDX-License-Identifier: Apache-2.0
"""Trainers: the same numbers as in C, resuming, callbacks, Ctrl-C."""

import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest

import numpy as np

import common
import m2snet

CONFIG = {"architecture": "m2snet", "encoder": "res2net_compact", "pyramid_channels": 32, "input_size": 64}


def small_model():
    return m2snet.Model.create(CONFIG, seed=7)


def batch(seed=0, n=2, side=64):
    random = np.random.default_rng(seed)
    images = random.standard_normal((n, side, side, 3)).astype(np.float32)
    return images, (random.random((n, side, side, 1)) > 0.75).astype(np.float32)


def polyps(validation=0.4):
    data = m2snet.Dataset().add_folder(common.POLYPS)
    return data.split("fractions", validation=validation, seed=1) if validation else data


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def weights(model, folder, name="weights.safetensors"):
    """A checksum of all weights and statistics."""
    path = os.path.join(folder, name)
    model.save(path)
    return digest(path)


class Folder(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = temporary.name

    def path(self, name):
        return os.path.join(self.folder, name)


class SameAsC(Folder):
    def test_five_steps(self):
        compiler = shutil.which(os.environ.get("CC", "cc"))
        if compiler is None:
            self.skipTest("no C compiler here")
        library = common.library_file()
        source = pathlib.Path(__file__).with_name("five_steps.c")
        program = self.path("five_steps")
        include = ["-I", common.ROOT / "include"]
        subprocess.run([compiler, *include, source, library, f"-Wl,-rpath,{library.parent}", "-o", program], check=True)
        done = subprocess.run(
            [program, json.dumps(CONFIG), self.path("c.safetensors")], capture_output=True, text=True, check=True
        )
        expected = [[float.fromhex(number) for number in line.split()] for line in done.stdout.splitlines()]
        self.assertEqual(len(expected), 5)

        trainer = m2snet.Trainer(small_model(), seed=3, schedule="cosine", epochs=1, steps_per_epoch=5)
        state = 1

        def uniform(count):
            nonlocal state
            numbers = np.empty(count, np.float32)
            for i in range(count):
                state = (state * 1664525 + 1013904223) % 2**32
                numbers[i] = (state >> 8) / 16777216
            return numbers

        for wanted in expected:
            images = (np.float32(4) * uniform(2 * 64 * 64 * 3) - np.float32(2)).reshape(2, 64, 64, 3)
            masks = (uniform(2 * 64 * 64) > 0.75).reshape(2, 64, 64)
            row = trainer.step(images, masks)
            self.assertEqual([row.loss, row.bce, row.iou, row.grad_norm, row.rate], wanted)
        self.assertEqual(len({wanted[0] for wanted in expected}), 5)
        trainer.model().save(self.path("python.safetensors"))
        self.assertEqual(digest(self.path("python.safetensors")), digest(self.path("c.safetensors")))

    def test_five_steps_of_the_program(self):
        programs = os.environ.get("M2SNET_BIN_DIR", "")
        program = os.path.join(programs, "m2snet-train")
        if not os.path.exists(program):
            self.skipTest("m2snet-train is not here")
        out = self.path("run")
        options = "--preset compact --max-steps 5 --batch 2 --sizes 64,96 --split none --seed 11 --quiet --samples 0"
        expected = self.losses_of(program, out, options + " --epochs 4")
        self.assertEqual(len(expected), 5)

        rows = []
        trainer = m2snet.Trainer(m2snet.Model.load(common.MODEL), "compact", seed=11)
        fit = trainer.fit(
            polyps(None),
            epochs=4,
            batch=2,
            sizes=[64, 96],
            augment="compact",
            max_steps=5,
            last_path=self.path("last.safetensors"),
            on_step=rows.append,
        )
        self.assertEqual(fit.end, "steps")
        self.assertEqual([float(f"{row.loss:.9g}") for row in rows], expected)
        # The first epoch's model, and the state after five steps.
        mine, theirs = (m2snet.Model.load(path) for path in (self.path("last.safetensors"), f"{out}/last.safetensors"))
        np.testing.assert_array_equal(mine.run(batch()[0]), theirs.run(batch()[0]))
        other = m2snet.Trainer(m2snet.Model.load(common.MODEL), "compact", seed=11)
        other.load(f"{out}/checkpoint.safetensors")
        self.assertEqual(other.info.step, 5)
        self.assertEqual(weights(trainer.model(), self.folder), weights(other.model(), self.folder))
        self.assertNotEqual(weights(trainer.model(), self.folder), weights(mine, self.folder))

    def test_nnunet_of_the_program(self):
        """What the preset sets there, piece by piece, as docs/training.md says."""
        program = os.path.join(os.environ.get("M2SNET_BIN_DIR", ""), "m2snet-train")
        if not os.path.exists(program):
            self.skipTest("m2snet-train is not here")
        options = "--preset nnunet --batch 2 --sizes 64 --split none --seed 11 --quiet --samples 0 --epoch-batches 3"
        expected = self.losses_of(program, self.path("run"), options + " --epochs 1")
        self.assertEqual(len(expected), 3)

        rows = []
        objective = m2snet.objectives.Objective("nnunet")
        trainer = m2snet.Trainer(m2snet.Model.load(common.MODEL), "nnunet", objective=objective, seed=11)
        trainer.fit(
            polyps(None),
            epochs=1,
            batch=2,
            sizes=[64],
            patches=True,
            augment="nnunet",
            mask_binarize=True,
            sampler="random",
            epoch_batches=3,
            on_step=rows.append,
        )
        self.assertEqual([float(f"{row.loss:.9g}") for row in rows], expected)

    def losses_of(self, program, out, options):
        command = [program, "--data", common.POLYPS, "--model", common.MODEL, "--output", out, *options.split()]
        done = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        steps = [line.split(",") for line in (pathlib.Path(out) / "steps.csv").read_text().splitlines()]
        column = steps[0].index("loss")
        return [float(f"{float(line[column]):.9g}") for line in steps[1:]]


class Steps(Folder):
    def test_learns(self):
        images, masks = batch()
        model = small_model()
        before = model.run(images)
        trainer = m2snet.Trainer(model, "compact")
        rows = [trainer.step(images, masks, rate=0.01) for _ in range(8)]
        self.assertLess(rows[-1].loss, rows[0].loss)
        self.assertTrue(all(row.finite for row in rows))
        self.assertEqual([row.step for row in rows], list(range(1, 9)))
        self.assertEqual((rows[0].images, rows[0].height, rows[0].width, rows[0].rate), (2, 64, 64, 0.01))
        self.assertEqual(trainer.info.step, 8)
        # The model it was made from stays as it is.
        np.testing.assert_array_equal(model.run(images), before)
        self.assertTrue((trainer.model().run(images) != before).any())

    def test_layouts_and_kinds_of_masks(self):
        images, masks = batch()
        rows = []
        for args, how in [
            ((images, masks), {}),
            ((images, masks[..., 0] > 0), {}),
            ((np.ascontiguousarray(images.transpose(0, 3, 1, 2)), masks.transpose(0, 3, 1, 2)), {"layout": "nchw"}),
            ((images.transpose(0, 3, 1, 2), masks[..., 0]), {"layout": "nchw"}),
            ((images.astype(np.float64), masks.astype(np.float64)), {}),
        ]:
            rows.append(m2snet.Trainer(small_model()).step(*args, rate=0.01, **how))
        self.assertEqual(len({(row.loss, row.grad_norm) for row in rows}), 1)

    def test_objective_and_options(self):
        images, masks = batch()
        dice = m2snet.objectives.Objective("released", dice_weight=1.0)
        trainer = m2snet.Trainer(
            small_model(), "released", objective=dice, optimiser="adamw", learning_rate=1e-3, ema_decay=0.5, clip_norm=1.0
        )
        del dice
        row = trainer.step(images, masks)
        self.assertGreater(row.dice, 0.0)
        averaged, plain = trainer.model(averaged=True).run(images), trainer.model().run(images)
        self.assertTrue((averaged != plain).any())
        self.assertIn("adamw", json.dumps(trainer.info.recipe))
        with self.assertRaises(m2snet.UnsupportedError):
            m2snet.Trainer(small_model()).model(averaged=True)

    def test_the_step_reports_what_the_objective_says(self):
        images, masks = batch()
        model = small_model()
        row = m2snet.Trainer(model, freeze_batch_norm=True).step(images, masks, rate=0.0)
        values = m2snet.objectives.value(model.run(images), masks)
        # The same float32 sums in another graph.
        self.assertLess(abs(row.loss / values.loss - 1.0), 1e-3)

    def test_plan_and_times(self):
        trainer = m2snet.Trainer(small_model())
        self.assertGreater(trainer.plan_info(2, 64, 64).arena_bytes, 0)
        trainer.time_steps()
        trainer.step(*batch())
        self.assertGreater(sum(part.milliseconds for part in trainer.steps), 0.0)
        self.assertIn("step 1", repr(trainer))

    def test_refused(self):
        images, masks = batch()
        trainer = m2snet.Trainer(small_model())
        for kind, arguments, how in [
            (ValueError, (images, masks[:1]), {}),
            (ValueError, (images[0], masks[0]), {}),
            (ValueError, (images, masks), {"rate": -1}),
            (ValueError, (images, masks), {"layout": "x"}),
            (TypeError, (images, masks.astype(np.uint8)), {}),
        ]:
            with self.assertRaises(kind):
                trainer.step(*arguments, **how)
        for kind, how in [
            (m2snet.InvalidArgumentError, {"preset": "mine"}),
            (m2snet.InvalidArgumentError, {"learning_rate": -1.0}),
            (ValueError, {"optimiser": "lion"}),
            (ValueError, {"schedule": "linear"}),
            (ValueError, {"supervision": "deep"}),
            (m2snet.UnsupportedError, {"precision": "f64"}),
        ]:
            with self.subTest(how=how):
                with self.assertRaises(kind):
                    m2snet.Trainer(small_model(), **how)

    def test_diverged(self):
        images, masks = batch()
        trainer = m2snet.Trainer(small_model(), max_bad_steps=2)
        images[0, 0, 0, 0] = np.inf
        self.assertFalse(trainer.step(images, masks).finite)
        with self.assertRaises(m2snet.DivergedError):
            trainer.step(images, masks)
        self.assertIsInstance(m2snet.DivergedError("x"), ArithmeticError)

    def test_save_and_load(self):
        first = m2snet.Trainer(small_model(), "compact", ema_decay=0.9)
        for seed in range(2):
            first.step(*batch(seed), rate=0.01)
        first.save(self.path("state"))
        second = m2snet.Trainer(small_model(), "compact", ema_decay=0.9)
        second.load(self.path("state"))
        self.assertEqual(second.info.step, 2)
        rows = [trainer.step(*batch(5), rate=0.01) for trainer in (first, second)]
        self.assertEqual(rows[0].loss, rows[1].loss)
        self.assertEqual(weights(first.model(), self.folder), weights(second.model(), self.folder))
        with self.assertRaises(m2snet.MismatchError):
            m2snet.Trainer(small_model(), "compact", ema_decay=0.5).load(self.path("state"))


class Fits(Folder):
    HOW = {"batch": 2, "sizes": [64], "validation_size": (64, 64)}

    def fit(self, data, epochs=2, **how):
        trainer = m2snet.Trainer(m2snet.Model.load(common.MODEL), "finetune", seed=5)
        return trainer, trainer.fit(data, data, epochs=epochs, **{**self.HOW, **how})

    def test_fit(self):
        data = polyps()
        rows, epochs, reports = [], [], []
        trainer, fit = self.fit(
            data,
            best_path=self.path("best.safetensors"),
            last_path=self.path("last.safetensors"),
            metadata={"note": "from Python"},
            on_step=rows.append,
            on_epoch=epochs.append,
            progress=lambda *event: reports.append(event),
            augment=m2snet.Augmentation("released", p_flip_horizontal=0.0),
        )
        self.assertEqual((fit.end, fit.history), ("done", epochs))
        self.assertEqual([row.epoch for row in epochs], [0, 1])
        self.assertEqual([(row.epoch, row.batch, row.batches) for row in rows], [(0, 0, 2), (0, 1, 2), (1, 0, 2), (1, 1, 2)])
        self.assertTrue(all(row.validated and 0.0 <= row.validation_dice <= 1.0 for row in epochs))
        self.assertIn("train", {phase for phase, _, _ in reports})
        self.assertEqual(m2snet.Model.load(self.path("last.safetensors")).metadata["note"], "from Python")
        self.assertTrue(os.path.exists(self.path("best.safetensors")))
        scores = trainer.evaluate(data, size=(64, 64))
        self.assertEqual(scores.images, data.part_count("validation"))
        self.assertLess(abs(scores.dice - epochs[-1].validation_dice), 1e-12)
        self.assertEqual(trainer.evaluate(data, "train", size=(64, 64)).images, 3)

    def test_callbacks_may_look(self):
        data, seen = polyps(), []
        trainer = m2snet.Trainer(m2snet.Model.load(common.MODEL), "finetune")

        def look(row):
            seen.append((threading.current_thread(), trainer.info.step, trainer.model().info.parameters))
            with self.assertRaises(m2snet.BusyError):
                trainer.step(*batch())

        trainer.fit(data, epochs=1, on_epoch=look, **self.HOW)
        self.assertEqual(len(seen), 1)
        self.assertIs(seen[0][0], threading.main_thread())

    def test_exception_in_a_callback(self):
        class Enough(Exception):
            pass

        for elsewhere in (False, True):
            caught = []

            def stop(row):
                if row.step == 2:
                    raise Enough

            def run():
                try:
                    self.fit(polyps(), epochs=50, on_step=stop, checkpoint_path=self.path("state"))
                except Enough as error:
                    caught.append(error)

            if elsewhere:
                thread = threading.Thread(target=run)
                thread.start()
                thread.join()
            else:
                run()
            self.assertEqual(len(caught), 1)
            self.assertTrue(os.path.exists(self.path("state")))
            os.remove(self.path("state"))

    def test_interrupted_and_resumed(self):
        data = polyps()
        expected, _ = self.fit(data, epochs=4)
        sent = []

        def interrupt(row):
            if row.step == 3:
                sent.append(time.monotonic())
                os.kill(os.getpid(), signal.SIGINT)

        with self.assertRaises(KeyboardInterrupt):
            self.fit(data, epochs=4, on_step=interrupt, checkpoint_path=self.path("state"))
        self.assertLess(time.monotonic() - sent[0], 30.0)
        self.assertTrue(os.path.exists(self.path("state")))
        trainer, fit = self.fit(data, epochs=4, checkpoint_path=self.path("state"), resume=True)
        self.assertEqual(fit.end, "done")
        self.assertEqual(trainer.info.step, expected.info.step)
        self.assertEqual(weights(trainer.model(), self.folder), weights(expected.model(), self.folder))

    def test_refused(self):
        trainer = m2snet.Trainer(m2snet.Model.load(common.MODEL), "finetune")
        with self.assertRaises(m2snet.M2snetError):
            trainer.fit(m2snet.Dataset(), epochs=1)
        with self.assertRaisesRegex(ValueError, "sampler"):
            trainer.fit(polyps(), sampler="x")
        with self.assertRaisesRegex(TypeError, "no setting 'flip'"):
            m2snet.Augmentation(flip=1)
        with self.assertRaises(m2snet.InvalidArgumentError):
            m2snet.Augmentation("mine")
        self.assertEqual(len(m2snet.Augmentation().settings["mean"]), 3)


class Datasets(Folder):
    def test_folder(self):
        data = m2snet.Dataset().add_folder(common.POLYPS, name="polyps", weight=2.0)
        self.assertEqual(len(data), 5)
        self.assertEqual([(one.name, one.weight, one.count) for one in data.sets], [("polyps", 2.0, 5)])
        self.assertEqual([item.name for item in data.items], sorted(path.stem for path in common.picture_paths()))
        self.assertEqual({item.part for item in data.items}, {"train"})
        self.assertTrue(all(os.path.exists(item.mask_path) for item in data.items))
        again = m2snet.Dataset().add_folder(common.POLYPS / "images", common.POLYPS / "masks")
        self.assertEqual([item.image_path for item in again.items], [item.image_path for item in data.items])
        with self.assertRaises(m2snet.M2snetError):
            data.add_folder(self.path("nowhere"))
        self.assertEqual(len(data), 5)

    def test_split(self):
        data = m2snet.Dataset().add_folder(common.POLYPS).split("folds", folds=5, fold=2, seed=9)
        self.assertEqual((data.part_count("train"), data.part_count("validation")), (4, 1))
        self.assertEqual({item.fold for item in data.items}, set(range(5)))
        data.set_part(0, "test")
        self.assertEqual(data.items[0].part, "test")
        self.assertIn("5 items", repr(data))
        with self.assertRaisesRegex(ValueError, "kind"):
            data.split("halves")
        with self.assertRaises(m2snet.MismatchError):
            data.split("folds", folds=6)

    def test_csv(self):
        rows = ["image,mask,split,patient"]
        for i, (picture, mask) in enumerate(zip(common.picture_paths(), common.mask_paths())):
            rows.append(f"{picture},{mask},{'val' if i == 4 else 'train'},p{i // 2}")
        pathlib.Path(self.path("list.csv")).write_text("\n".join(rows) + "\n")
        data = m2snet.Dataset().add_csv(self.path("list.csv"))
        self.assertEqual([item.group for item in data.items], ["p0", "p0", "p1", "p1", "p2"])
        self.assertEqual(data.split("column").part_count("validation"), 1)

    def test_lint_and_duplicates(self):
        for kind in ("images", "masks"):
            os.mkdir(self.path(kind))
        picture, mask = common.picture(), m2snet.read_image(common.mask_paths()[0])
        mask = mask if mask.ndim == 2 else mask[..., 0]
        inside = np.where(mask > 128, 255, 0).astype(np.uint8)
        for name, pixels, truth in [
            ("a", picture, inside),
            ("b", picture, (inside > 0).astype(np.uint8)),
            ("c", np.ascontiguousarray(picture[::-1]), np.zeros_like(inside)),
            ("d", common.random_picture(60, 60), np.where(common.random_picture(50, 60, 0) > 9, 255, 0).astype(np.uint8)),
        ]:
            m2snet.write_image(self.path(f"images/{name}.png"), pixels)
            m2snet.write_image(self.path(f"masks/{name}.png"), truth)
        data = m2snet.Dataset().add_folder(self.folder)
        reports = []
        findings = data.lint(progress=lambda *event: reports.append(event))
        kinds = {(finding.kind, finding.item) for finding in findings}
        self.assertIn(("duplicate", 1), kinds)
        self.assertIn(("mask empty", 2), kinds)
        self.assertTrue(any(item == 1 and "1" in kind for kind, item in kinds), kinds)
        self.assertTrue(any(item == 3 and "size" in kind for kind, item in kinds), kinds)
        self.assertEqual([f.other for f in findings if f.kind == "duplicate"], [0])
        self.assertEqual({phase for phase, _, _ in reports}, {"lint"})
        data.set_part(1, "validation")
        pairs = data.find_duplicates()
        self.assertEqual([(pair.a, pair.b, pair.across) for pair in pairs], [(0, 1, True)])


if __name__ == "__main__":
    unittest.main()
