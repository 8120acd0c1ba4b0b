# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C, other signals, cancel tokens and progress callbacks stop a call, soon, and everything works afterwards."""

import os
import signal
import tempfile
import threading
import time
import unittest

import numpy as np

import common
import m2snet

# A predict of LONG takes many times DELAY_S on any machine; one chunk of its work takes far less than PROMPT_S, which
# leaves room for a loaded machine.
DELAY_S = 0.3
PROMPT_S = 10.0
LONG = [common.random_picture(600, 600, seed=i) for i in range(16)]
INPUT = (1024, 1024)


class Stopped(Exception):
    pass


class Interrupts(unittest.TestCase):
    def setUp(self):
        self.session = common.model().session(input_size=INPUT)
        self.addCleanup(self.session.close)
        self.sent = None

    def send(self, number):
        def send():
            time.sleep(DELAY_S)
            self.sent = time.monotonic()
            os.kill(os.getpid(), number)

        thread = threading.Thread(target=send)
        thread.start()
        self.addCleanup(thread.join)

    def check_prompt(self):
        self.assertIsNotNone(self.sent, "the call ended before the signal was sent: nothing was tested")
        self.assertLess(time.monotonic() - self.sent, PROMPT_S)

    def check_usable(self):
        with common.model().session() as fresh:
            expected = fresh.predict(common.picture()).map
        np.testing.assert_array_equal(common.model().predict(common.picture()).map, expected)

    def test_predict(self):
        self.send(signal.SIGINT)
        with self.assertRaises(KeyboardInterrupt):
            self.session.predict(LONG)
        self.check_prompt()
        # The session is free again: no BusyError, the same numbers.
        small = common.random_picture(50, 50)
        with common.model().session(input_size=INPUT) as other:
            expected = other.predict(small).probability
        np.testing.assert_array_equal(self.session.predict(small).probability, expected)
        self.check_usable()

    def test_predict_of_the_model(self):
        model = m2snet.Model.load(common.MODEL, backend="ref")  # the slow backend
        self.send(signal.SIGINT)
        with self.assertRaises(KeyboardInterrupt):
            model.predict(LONG)
        self.check_prompt()
        self.check_usable()

    def test_run(self):
        self.send(signal.SIGINT)
        with self.assertRaises(KeyboardInterrupt):
            self.session.run(np.zeros((16, 1024, 1024, 3), np.float32))
        self.check_prompt()

    def test_with_progress(self):
        threads = set()
        self.send(signal.SIGINT)
        with self.assertRaises(KeyboardInterrupt):
            self.session.predict(LONG, progress=lambda *event: threads.add(threading.current_thread()))
        self.check_prompt()
        self.assertEqual(threads, {threading.main_thread()})

    def test_inside_the_callback(self):
        def interrupt(phase, done, total):
            if phase == "network" and self.sent is None:
                self.sent = time.monotonic()
                signal.raise_signal(signal.SIGINT)

        with self.assertRaises(KeyboardInterrupt):
            self.session.predict(LONG, progress=interrupt)
        self.check_prompt()

    def test_evaluate(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "large.png")
            m2snet.write_image(path, common.random_picture(2000, 2000, 0))
            self.send(signal.SIGINT)
            with self.assertRaises(KeyboardInterrupt):
                m2snet.evaluate([path] * 200, [path] * 200)
            self.check_prompt()

    def test_another_signal(self):
        def handler(number, frame):
            raise Stopped

        before = signal.signal(signal.SIGALRM, handler)
        self.addCleanup(signal.signal, signal.SIGALRM, before)
        self.send(signal.SIGALRM)
        with self.assertRaises(Stopped):
            self.session.predict(LONG)
        self.check_prompt()

    def test_a_signal_that_is_handled(self):
        # A handler that returns does not disturb the call.
        seen = []
        before = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
        self.addCleanup(signal.signal, signal.SIGUSR1, before)
        self.send(signal.SIGUSR1)
        results = self.session.predict(LONG[:4])
        self.assertEqual(len(results), 4)
        self.assertEqual(seen, [signal.SIGUSR1])

    def test_a_token_of_the_user_is_as_before(self):
        token = m2snet.CancelToken()
        self.send(signal.SIGINT)
        with self.assertRaises(KeyboardInterrupt):
            self.session.predict(LONG, cancel=token)
        self.assertFalse(token.requested)
        common.model().predict(common.picture(), cancel=token)  # not cancelled


class Tokens(unittest.TestCase):
    def test_from_another_thread(self):
        token = m2snet.CancelToken()
        with common.model().session(input_size=INPUT) as session:
            timer = threading.Timer(DELAY_S, token.cancel)
            timer.start()
            start = time.monotonic()
            with self.assertRaisesRegex(m2snet.Cancelled, "cancelled by the caller"):
                session.predict(LONG, cancel=token)
            self.assertLess(time.monotonic() - start, DELAY_S + PROMPT_S)
            timer.join()
            self.assertTrue(token.requested)
            self.assertIn("requested", repr(token))
            with self.assertRaises(m2snet.Cancelled):
                common.model().predict(common.picture(), cancel=token)
            token.reset()
            self.assertTrue(common.model().predict(common.picture(), cancel=token).found)

    def test_of_a_worker_thread(self):
        token, caught = m2snet.CancelToken(), []

        def work():
            with common.model().session(input_size=INPUT) as session:
                try:
                    session.predict(LONG, cancel=token)
                except m2snet.Cancelled as error:
                    caught.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(DELAY_S)
        token.cancel()
        thread.join(DELAY_S + PROMPT_S)
        self.assertFalse(thread.is_alive())
        self.assertEqual(len(caught), 1)


class Callbacks(unittest.TestCase):
    def cases(self):
        """Calls that report progress: on the main thread and on another one."""
        yield lambda function: function()

        def elsewhere(function):
            outcome = []

            def work():
                try:
                    outcome.append((function(), None))
                except BaseException as error:
                    outcome.append((None, error))

            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            result, error = outcome[0]
            if error is not None:
                raise error
            return result

        yield elsewhere

    def test_exception(self):
        def fail(phase, done, total):
            raise Stopped("here")

        for run in self.cases():
            with self.assertRaisesRegex(Stopped, "here"):
                run(lambda: common.model().predict(common.picture(), progress=fail))

    def test_what_it_returns_does_not_matter(self):
        for value in (None, True, False, 1, "x"):
            for run in self.cases():
                result = run(lambda: common.model().predict(common.picture(), progress=lambda *event: value))
                self.assertTrue(result.found)

    def test_loading(self):
        with self.assertRaises(Stopped):

            def fail(phase, done, total):
                raise Stopped

            m2snet.Model.load(common.MODEL, progress=fail)


if __name__ == "__main__":
    unittest.main()
