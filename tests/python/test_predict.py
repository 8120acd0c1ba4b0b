# SPDX-License-Identifier: Apache-2.0
"""Models, predictions, logits."""

import json
import logging
import os
import tempfile
import unittest

import numpy as np

import common
import m2snet


class Models(unittest.TestCase):
    def test_info(self):
        model = common.model()
        self.assertEqual(model.info.architecture, "m2snet")
        self.assertEqual((model.info.input_width, model.info.input_height), (256, 256))
        self.assertEqual(model.info.classes, 1)
        self.assertEqual(model.class_names, ["polyp"])
        self.assertEqual(len(model.info.sha256), 64)
        self.assertEqual(model.config["encoder"], "res2net_compact")
        self.assertIn("m2snet.config", model.metadata)
        self.assertEqual(model.multiply_adds(256, 256), model.info.multiply_adds)
        cost = m2snet.network_count(model.config, 256, 256)
        self.assertEqual(cost, (model.info.parameters, model.info.multiply_adds))
        self.assertIn("pvt_v2_b4", m2snet.encoder_names())
        self.assertEqual(m2snet.network_count({"variant": {"unit": "aspp"}})[0], 29256489)
        self.assertGreater(model.multiply_adds(352, 256), model.info.multiply_adds)
        first = model.tensors[0]
        self.assertEqual(first.shape[1:], (3, 3, 3))
        self.assertEqual(first.dtype, "f16")
        self.assertIn("m2snet, res2net_compact", repr(model))

    def test_from_bytes(self):
        model = m2snet.Model.from_bytes(common.MODEL.read_bytes())
        self.assertEqual(model.info, common.model().info)
        other = m2snet.Model.from_bytes(bytearray(common.MODEL.read_bytes()))
        np.testing.assert_array_equal(other.predict(common.picture()).map, common.model().predict(common.picture()).map)

    def test_config_override_and_map(self):
        model = m2snet.Model.load(common.MODEL, config={"threshold": 0.25}, memory_map=True)
        self.assertEqual(model.info.threshold, 0.25)

    def test_create_and_save(self):
        config = {"architecture": "m2snet", "encoder": "res2net_compact", "pyramid_channels": 32, "input_size": 64}
        model = m2snet.Model.create(config, seed=2**64 - 1, threads=1)
        again = m2snet.Model.create(json.dumps(config), seed=2**64 - 1)
        other = m2snet.Model.create(config, seed=1)
        x = np.random.default_rng(3).standard_normal((1, 64, 64, 3)).astype(np.float32)
        logits = model.run(x)
        np.testing.assert_array_equal(logits, again.run(x))
        self.assertTrue((logits != other.run(x)).any())
        self.assertEqual(model.context.info.threads, 1)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "été.safetensors")
            reports = []
            model.save(path, metadata={"note": "drawn"}, with_selftest=True, progress=lambda *event: reports.append(event))
            loaded = m2snet.Model.load(path)
            self.assertEqual(loaded.metadata["note"], "drawn")
            np.testing.assert_array_equal(loaded.run(x), logits)
            self.assertGreaterEqual(loaded.selftest(), 0.0)  # drawn weights: logits of any size
            self.assertIn("write", {phase for phase, _, _ in reports})
            common.model().save(path, with_selftest=True)
            self.assertLess(m2snet.Model.load(path).selftest(), 1e-2)
            model.save(path)
            size = os.path.getsize(path)
            model.save(path, dtype="f16")
            self.assertLess(os.path.getsize(path), 0.6 * size)
        with self.assertRaises(m2snet.UnsupportedError):
            common.model().selftest()
        with self.assertRaisesRegex(ValueError, "seed"):
            m2snet.Model.create(config, seed=-1)

    def test_create_from(self):
        config = {"encoder": "res2net_compact", "pyramid_channels": 32, "input_size": 64}
        x = np.random.default_rng(4).standard_normal((1, 64, 64, 3)).astype(np.float32)
        np.testing.assert_array_equal(m2snet.Model.create(config, start=common.MODEL).run(x), common.model().run(x))
        other = m2snet.Model.create({**config, "classes": ["a", "b"]}, seed=1, start=os.fspath(common.MODEL))
        self.assertEqual(other.run(x).shape, (1, 64, 64, 2))
        with self.assertRaisesRegex(m2snet.MismatchError, "none of its"):
            m2snet.Model.create({"classes": ["a", "b"]}, start=common.MODEL)  # of one class they would share a bias

    def test_context(self):
        context = m2snet.Context("ref", threads=2, log_level=None)
        self.assertEqual((context.info.backend, context.info.threads), ("ref", 2))
        self.assertIn("ref", repr(context))
        self.assertEqual({"cpu", "ref"} - {backend.name for backend in m2snet.backends()}, set())
        with context:
            pass
        with self.assertRaisesRegex(ValueError, "closed"):
            context.info
        self.assertIs(m2snet.default_context(), m2snet.default_context())
        with self.assertRaisesRegex(ValueError, "log_level"):
            m2snet.Context(log_level="loud")
        with self.assertRaisesRegex(ValueError, "context"):
            m2snet.Model.load(common.MODEL, context=m2snet.default_context(), threads=2)

    def test_log(self):
        with self.assertLogs("m2snet", logging.DEBUG) as caught:
            context = m2snet.Context(threads=1, log_level="debug")
            m2snet.Model.load(common.MODEL, context=context).predict(common.picture())
        self.assertTrue(caught.records)


class Predictions(unittest.TestCase):
    def test_a_polyp(self):
        picture, truth = common.picture(), m2snet.read_image(common.mask_paths()[0])
        result = common.model().predict(picture)
        self.assertTrue(result.found)
        self.assertEqual(result.shape, picture.shape[:2])
        self.assertEqual(result.mask.shape, truth.shape[:2])
        self.assertEqual((result.probability.dtype, result.map.dtype, result.mask.dtype), (np.float32, np.uint8, np.uint8))
        self.assertLessEqual(set(np.unique(result.mask)), {0, 255})
        self.assertTrue(0.0 <= result.probability.min() and result.probability.max() <= 1.0)
        # The 8-bit map is resampled from truncated bytes: within two levels of the float map almost everywhere.
        difference = np.abs(result.map.astype(np.float64) - 255.0 * result.probability)
        self.assertLess(np.percentile(difference, 99), 2.0)
        np.testing.assert_array_equal(result.mask > 0, result.map >= 128)

    def test_label_map(self):
        config = {"encoder": "res2net_compact", "pyramid_channels": 32, "input_size": 64}
        config.update(classes=["none", "a", "b"], activation="softmax", labels=[80, 160])
        model = m2snet.Model.create(config, seed=2)
        self.assertTrue(model.info.softmax)
        self.assertEqual(model.class_labels, [0, 80, 160])
        picture = common.picture()
        self.assertIsNone(model.predict(picture).labels)
        out = np.empty(picture.shape[:2], np.uint8)
        result = model.predict(picture, label_map=True, out={"labels": out})
        p = np.stack([model.predict_proba(picture, class_index=c) for c in range(3)])
        np.testing.assert_array_equal(result.labels, np.array([0, 80, 160])[p.argmax(0)])
        np.testing.assert_array_equal(out, result.labels)
        np.testing.assert_allclose(p.sum(0), 1.0, atol=1e-5)

    def test_every_source_gives_the_same(self):
        path = common.picture_paths()[0]
        model = common.model()
        expected = model.predict(path).probability
        self.assertGreater(expected.max(), 0.5)
        picture = common.picture()
        alpha = np.dstack([picture, np.zeros(picture.shape[:2], np.uint8)])
        for name, source, how in [
            ("str", str(path), {}),
            ("bytes", path.read_bytes(), {}),
            ("bytearray", bytearray(path.read_bytes()), {}),
            ("array", picture, {}),
            ("RGBA", alpha, {}),
            ("BGR", np.ascontiguousarray(picture[..., ::-1]), {"order": "bgr"}),
            ("BGRA", np.ascontiguousarray(alpha[..., [2, 1, 0, 3]]), {"order": "bgr"}),
            ("reversed view", np.ascontiguousarray(picture[..., ::-1])[..., ::-1], {}),
            ("upside down view", np.ascontiguousarray(picture[::-1])[::-1], {}),
            ("Fortran order", np.asfortranarray(picture), {}),
        ]:
            with self.subTest(source=name):
                np.testing.assert_array_equal(model.predict(source, **how).probability, expected)

    def test_gray_kinds(self):
        model = common.model()
        gray = common.random_picture(70, 90, 0)
        expected = model.predict(np.dstack([gray] * 3)).probability
        for name, source, how in [
            ("uint8", gray, {}),
            ("(h, w, 1)", gray[..., None], {}),
            ("uint16", gray.astype(np.uint16) * 257, {}),
            ("uint16 window", gray.astype(np.uint16) + 1000, {"window": (1000, 1255)}),
            ("float32", gray.astype(np.float32) / 255, {}),
            ("float64", gray / 255.0, {}),
            ("float window", gray.astype(np.float32) - 100, {"window": (-100, 155)}),
            ("big endian", (gray.astype(np.uint16) * 257).astype(">u2"), {}),
        ]:
            with self.subTest(kind=name):
                np.testing.assert_array_equal(model.predict(source, **how).probability, expected)
        two = gray > 128
        np.testing.assert_array_equal(
            model.predict(two).probability, model.predict(np.where(two, 255, 0).astype(np.uint8)).probability
        )

    def test_lists(self):
        model = common.model()
        paths = common.picture_paths()
        single = [model.predict(path).map for path in paths]
        mixed = [paths[0], common.picture(), paths[1].read_bytes(), *paths[2:]]
        expected = [single[0], single[0], single[1], *single[2:]]
        results = model.predict(mixed)
        self.assertEqual(len(results), len(expected))
        for result, one in zip(results, expected):
            np.testing.assert_array_equal(result.map, one)
        self.assertEqual(model.predict([]), [])
        many = model.predict(tuple([common.random_picture(40, 40)] * 35))  # more than a group
        self.assertEqual(len(many), 35)
        stack = np.stack([common.random_picture(50, 60, seed=i) for i in range(3)])
        for result, one in zip(model.predict(stack), stack):
            np.testing.assert_array_equal(result.probability, model.predict(one).probability)
        for proba, result in zip(model.predict_proba(list(stack)), model.predict(stack)):
            np.testing.assert_array_equal(proba, result.probability)

    def test_options(self):
        model, picture = common.model(), common.picture()
        height, width = picture.shape[:2]
        self.assertEqual(model.predict(picture, threshold=0).mask.min(), 255)
        inside = model.predict(picture, roi=(10, 20, 200, 100))
        self.assertEqual(np.delete(np.delete(inside.probability, range(20, 120), 0), range(10, 210), 1).max(), 0)
        np.testing.assert_array_equal(
            inside.probability[20:120, 10:210], model.predict(picture[20:120, 10:210]).probability
        )
        largest = model.predict(picture, largest_component=True, fill_holes=True, spacing_mm=(0.5, 0.25))
        self.assertEqual(len(largest.components), 1)
        part = largest.components[0]
        self.assertEqual(part.area_mm2, part.area_px * 0.125)
        self.assertEqual(part.area_px, int((largest.mask > 0).sum()))
        nothing = model.predict(picture, min_area_px=float(height * width), presence_min_area_px=float(height * width))
        self.assertFalse(nothing.found)
        self.assertEqual((nothing.presence, nothing.mask.max(), nothing.components), (0.0, 0, ()))
        self.assertIn("nothing found", repr(nothing))

    def test_components(self):
        result = common.model().predict(common.picture())
        self.assertTrue(result.components)
        areas = [part.area_px for part in result.components]
        self.assertEqual(areas, sorted(areas, reverse=True))
        self.assertEqual(sum(areas), int((result.mask > 0).sum()))
        for part in result.components:
            self.assertIsNone(part.area_mm2)
            x, y = part.contour[:, 0].astype(np.int64), part.contour[:, 1].astype(np.int64)
            self.assertEqual((x.min(), y.min()), (part.x, part.y))
            self.assertEqual((x.max(), y.max()), (part.x + part.width, part.y + part.height))
            # The polygon's area (shoelace) is the component's with its holes.
            enclosed = abs(int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())) // 2
            self.assertGreaterEqual(enclosed, part.area_px)
            self.assertTrue(0.5 <= part.mean_probability <= 1.0)

    def test_receipt(self):
        result = common.model().predict(common.picture())
        receipt = result.receipt
        self.assertEqual(receipt.model_sha256, common.model().info.sha256)
        self.assertEqual((receipt.image_height, receipt.image_width), result.shape)
        self.assertEqual(receipt.found, True)
        self.assertEqual(receipt.library_version, m2snet.__version__)
        self.assertEqual(json.loads(receipt.json)["presence"], receipt.presence)

    def test_progress(self):
        events = []
        common.model().predict(common.picture_paths()[0], progress=lambda *event: events.append(event))
        self.assertIn("network", {phase for phase, _, _ in events})
        for phase, done, total in events:
            self.assertIsInstance(phase, str)
            self.assertTrue(0 <= done and (total == 0 or done <= total), (phase, done, total))

    def test_sessions(self):
        model = common.model()
        with model.session(input_size=(96, 128), max_plans=2) as session:
            result = session.predict(common.picture())
            self.assertEqual((result.receipt.input_height, result.receipt.input_width), (96, 128))
            self.assertFalse(session.plan_info(1, 64, 64).compiled)
            session.prepare(1, 64, 64)
            self.assertTrue(session.plan_info(1, 64, 64).compiled)
            session.time_steps()
            session.run(np.zeros((64, 64, 3), np.float32))
            self.assertGreater(sum(step.milliseconds for step in session.steps), 0.0)
            session.trim()
            self.assertIn("96", repr(session))
        with self.assertRaisesRegex(ValueError, "closed"):
            session.trim()


class Logits(unittest.TestCase):
    def test_layouts(self):
        x = np.random.default_rng(1).standard_normal((2, 64, 96, 3)).astype(np.float32)
        logits = common.model().run(x)
        self.assertEqual((logits.shape, logits.dtype), ((2, 64, 96, 1), np.float32))
        np.testing.assert_array_equal(common.model().run(x[1]), logits[1])
        first = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        np.testing.assert_array_equal(common.model().run(first, layout="nchw"), logits.transpose(0, 3, 1, 2))
        np.testing.assert_array_equal(common.model().run(first[0], layout="nchw"), logits[0].transpose(2, 0, 1))
        np.testing.assert_array_equal(common.model().run(x.astype(np.float64)), logits)
        out = np.empty((2, 1, 96, 64), np.float64)
        returned = common.model().run(x, out=out.transpose(0, 3, 2, 1))
        np.testing.assert_array_equal(returned, logits)
        np.testing.assert_array_equal(out.transpose(0, 3, 2, 1), logits)
        constant = np.broadcast_to(np.float32(0.25), (1, 64, 64, 3))
        np.testing.assert_array_equal(common.model().run(constant), common.model().run(constant.copy()))

    def test_float64(self):
        config = {"architecture": "m2snet", "encoder": "res2net_compact", "pyramid_channels": 32, "input_size": 64}
        x = np.random.default_rng(2).standard_normal((1, 40, 40, 3))
        fast = m2snet.Model.create(config, seed=5).run(x)
        exact = m2snet.Model.create(config, seed=5, backend="ref").session(precision="f64").run(x)
        self.assertEqual(exact.dtype, np.float64)
        # Float32 through some sixty layers.
        self.assertLess(np.abs(exact - fast).max() / np.abs(exact).max(), 1e-3)
        self.assertGreater(np.abs(exact - fast).max(), 0.0)

    def test_refused(self):
        model = common.model()
        good = np.zeros((1, 64, 64, 3), np.float32)
        for kind, x, how in [
            (TypeError, good.astype(np.uint8), {}),
            (ValueError, good[0, 0], {}),
            (ValueError, good[:0], {}),
            (ValueError, good, {"layout": "chwn"}),
            (ValueError, good, {"out": np.empty((1, 64, 64, 2), np.float32)}),
            (ValueError, good, {"out": np.broadcast_to(np.float32(0), (1, 64, 64, 1))}),
            (ValueError, good[:, :20], {}),
            (ValueError, np.zeros((1, 64, 64, 4), np.float32), {}),
            (TypeError, good, {"lay": 1}),
        ]:
            with self.subTest(shape=x.shape, how=list(how)):
                with self.assertRaises(kind):
                    model.run(x, **how)



class Views(unittest.TestCase):
    def test_tiles_and_mirrors(self):
        model = common.model()
        session = model.session(input_size=(64, 64))
        square = common.picture()[:64, :64]
        whole = session.predict(square)
        tiled = session.predict(square, tiles=True)
        np.testing.assert_array_equal(tiled.probability, whole.probability)
        self.assertEqual(tiled.receipt.views, "1 window, step 0.50, Gaussian weights")
        symmetric = np.maximum(square, square[:, ::-1])
        both = session.predict(symmetric, mirror=True).probability
        np.testing.assert_array_equal(both, both[:, ::-1])
        turned = session.predict(square[:, ::-1], mirror="horizontal").probability[:, ::-1]
        np.testing.assert_array_equal(turned, session.predict(square, mirror="horizontal").probability)
        wide = session.predict(common.picture()[:64, :150], tiles=True, tile_step=0.7)
        self.assertEqual(wide.receipt.windows, 3)
        with self.assertRaisesRegex(ValueError, "mirror is 'left'"):
            session.predict(square, mirror="left")
        with self.assertRaisesRegex(m2snet.InvalidArgumentError, "tile_step is 2"):
            session.predict(square, tiles=True, tile_step=2)

    def test_ensemble(self):
        model = common.model()
        other = m2snet.Model.load(common.MODEL, config={"mean": [0.3, 0.3, 0.3]})
        picture = common.picture()
        alone, second = model.predict(picture), other.predict(picture)
        both = model.predict(picture, ensemble=[other])
        self.assertEqual(both.receipt.models, 2)
        self.assertEqual(both.receipt.ensemble, (other.info.sha256,))
        self.assertEqual(alone.receipt.ensemble, ())
        self.assertTrue((both.probability != alone.probability).any())
        low, high = np.minimum(alone.probability, second.probability), np.maximum(alone.probability, second.probability)
        inside = (both.probability >= low - 0.02) & (both.probability <= high + 0.02)
        self.assertGreater(inside.mean(), 0.99)  # of resized maps, whose mean is not the mean's
        session = model.session(input_size=(64, 96))
        self.assertEqual(session.predict(picture, ensemble=[other, model]).receipt.models, 3)
        with self.assertRaises(TypeError):
            model.predict(picture, ensemble=["model"])
        with self.assertRaisesRegex(m2snet.InvalidArgumentError, "is there twice"):
            session.predict(picture, ensemble=[session])

    def test_inside(self):
        model = common.model()
        names = [info.name for info in model.features]
        self.assertTrue({"enc1", "enc5", "x5_x4", "level1", "logits"} <= set(names))
        picture = common.picture()
        result = model.predict(picture, features=["x5_x4", "logits"], gradcam="x5_x4")
        info = next(item for item in model.features if item.name == "x5_x4")
        unit = result.features["x5_x4"]
        self.assertEqual(unit.shape, (info.height, info.width, info.channels))
        self.assertEqual(result.features["logits"].shape, (256, 256, 1))
        cam = result.gradcam
        self.assertEqual(cam.shape, picture.shape[:2])
        self.assertGreaterEqual(cam.min(), 0)
        del result
        self.assertTrue(np.isfinite(unit).all())  # a view keeps its memory
        plain = model.predict(picture)
        self.assertIsNone(plain.gradcam)
        self.assertEqual(plain.features, {})
        with self.assertRaisesRegex(m2snet.InvalidArgumentError, 'no tensor "x9"'):
            model.predict(picture, features=["x9"])
        with self.assertRaises(TypeError):
            model.predict(picture, features="x5_x4")


if __name__ == "__main__":
    unittest.main()
