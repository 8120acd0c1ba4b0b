# SPDX-License-Identifier: Apache-2.0
"""Many threads, and fork."""

import os
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import common
import m2snet


class Threads(unittest.TestCase):
    def test_one_model_many_threads(self):
        model = common.model()
        pictures = [common.random_picture(60 + i, 80, seed=i) for i in range(8)]
        expected = [model.predict(picture).probability for picture in pictures]
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(model.predict, pictures * 3))
        for result, wanted in zip(results, expected * 3):
            np.testing.assert_array_equal(result.probability, wanted)

    def test_a_session_is_for_one_thread(self):
        session = common.model().session(input_size=(768, 768))
        entered, refused = threading.Event(), []

        def second():
            entered.wait(60)
            try:
                session.predict(common.picture())
            except m2snet.BusyError as error:
                refused.append(error)

        thread = threading.Thread(target=second)
        thread.start()
        session.predict([common.picture()] * 4, progress=lambda *event: (entered.set(), thread.join(60)))
        self.assertEqual(len(refused), 1)
        self.assertIsInstance(refused[0], RuntimeError)

    def test_the_gil_is_released(self):
        # While the library computes, this process's Python runs on.
        session = common.model().session(input_size=(1024, 1024))
        ticks, stop = [], threading.Event()

        def tick():
            while not stop.is_set():
                ticks.append(time.monotonic())
                time.sleep(0.002)

        thread = threading.Thread(target=tick)
        thread.start()
        start = time.monotonic()
        session.predict([common.picture()] * 2)
        end = time.monotonic()
        stop.set()
        thread.join()
        during = [moment for moment in ticks if start < moment < end]
        # At least one in ten of what an idle machine would show.
        self.assertGreater(len(during), (end - start) / 0.002 / 10)

    def test_closing_while_running(self):
        model = m2snet.Model.load(common.MODEL)
        expected = common.model().predict(common.picture()).map
        running, results = threading.Event(), []
        how = {"progress": lambda *event: running.set()}
        thread = threading.Thread(target=lambda: results.append(model.predict([common.picture()] * 8, **how)))
        thread.start()
        self.assertTrue(running.wait(60))
        model.close()
        thread.join()
        self.assertEqual(len(results[0]), 8)
        for result in results[0]:
            np.testing.assert_array_equal(result.map, expected)

    def test_results_of_one_and_more_threads_are_equal(self):
        one = m2snet.Model.load(common.MODEL, threads=1).predict(common.picture())
        three = m2snet.Model.load(common.MODEL, threads=3).predict(common.picture())
        np.testing.assert_array_equal(one.probability, three.probability)


@unittest.skipUnless(hasattr(os, "fork"), "no fork here")
class Fork(unittest.TestCase):
    def in_child(self, function):
        """function()'s truth in a forked child, which ends without running this process's cleanup."""
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            answer = b"exception"
            try:
                answer = b"yes" if function() else b"no"
            finally:
                os.write(write, answer)
                os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            answer = pipe.read()
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        return answer

    def test_handles_of_the_parent_are_refused(self):
        model = m2snet.Model.load(common.MODEL)
        model.predict(common.picture())

        def child():
            try:
                model.predict(common.picture())
            except RuntimeError as error:
                return "fork" in str(error)
            return False

        self.assertEqual(self.in_child(child), b"yes")
        self.assertTrue(model.predict(common.picture()).found)

    def test_the_child_makes_its_own(self):
        expected = common.model().predict(common.picture()).map.copy()

        def child():
            model = m2snet.Model.load(common.MODEL)
            return bool((model.predict(common.picture()).map == expected).all())

        self.assertEqual(self.in_child(child), b"yes")


if __name__ == "__main__":
    unittest.main()
