from __future__ import annotations

import numpy as np

from burnish.evaluation import statistics
from burnish.evaluation.power import examples_needed


def test_examples_needed_gives_the_power_it_promises():
    rng = np.random.default_rng(14)

    def trial(n):
        draw = rng.multinomial(n, [0.15, 0.09, 0.76])
        return statistics.tango(int(draw[0]), int(draw[1]), n)

    pilot = statistics.tango(30, 18, 200)
    n = examples_needed(200, 0.06, pilot.low, pilot.high)
    assert n is not None
    power = np.mean([trial(n).low > 0 for _ in range(400)])
    assert 0.7 < power < 0.9


def test_examples_needed_has_no_answer_without_a_gain():
    assert examples_needed(100, 0.0, -0.1, 0.1) is None
    assert examples_needed(100, 0.05, -0.1, 0.2, margin=0.05) is None
