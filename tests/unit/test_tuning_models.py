"""The models behind a Bayesian search: the Gaussian process against its definition, and what they make of findings."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, optimize

from pilothouse.catalog.tuning_ranges import CategoricalRange, ContinuousRange, IntegerRange
from pilothouse.tuning import bayesian, process
from pilothouse.tuning.bayesian import Bayesian, bounded
from pilothouse.tuning.draws import RandomPoints
from pilothouse.tuning.knowledge import Finding, Knowledge, Proposer
from pilothouse.tuning.process import Process, log_expected_improvement
from pilothouse.tuning.ranges import Point, Space

CUBE = Space(tuple(ContinuousRange(f"x{i}", 0.0, 1.0) for i in range(4)))


def bowl(point: Point) -> float:
    return sum((i + 1) * (unit - 0.3) ** 2 for i, unit in enumerate(point))


def best_of(proposer: Proposer, trials: int) -> float:
    findings: list[Finding] = []
    for place in range(trials):
        point = proposer.propose(place, Knowledge(findings))
        assert point is not None
        findings.append(Finding(point, bowl(point)))
    return min(finding.loss for finding in findings)


def _samples(count: int = 25, sides: int = 4) -> tuple[process.Array, process.Array]:
    points = np.random.default_rng(0).random((count, sides))
    return points, np.array([bowl(tuple(point)) for point in points])


def test_the_gradient_is_that_of_the_likelihood() -> None:
    points, values = _samples()
    unordered = np.array([False, False, True, False])
    squares = np.stack([process._squares(points[:, [i]], points[:, [i]], unordered[[i]]) for i in range(4)])
    theta = np.array([-1.0, 0.5, -2.0, 1.0, 0.3, -3.0])
    _, gradient = process._unlikelihood(theta, squares, values)
    numeric = optimize.approx_fprime(theta, lambda at: process._unlikelihood(at, squares, values)[0], 1e-6)
    assert gradient == pytest.approx(numeric, rel=1e-3, abs=1e-4)


def test_a_process_expects_what_it_was_told() -> None:
    points, values = _samples(40)
    fitted = Process.fitted(points, values, np.zeros(4, bool))
    mean, deviation = fitted.expects(points)
    standardised = (values - values.mean()) / values.std()
    assert np.corrcoef(mean, standardised)[0, 1] > 0.99
    far, _ = fitted.expects(np.full((1, 4), 0.5))
    assert deviation.max() < 0.5
    assert abs(far[0] - (bowl((0.5,) * 4) - values.mean()) / values.std()) < 0.2


def test_pending_points_are_expected_but_no_longer_unknown() -> None:
    points, values = _samples(12)
    fitted = Process.fitted(points, values, np.zeros(4, bool))
    pending = np.array([[0.9, 0.9, 0.1, 0.1]])
    before, unsure = fitted.expects(pending)
    after, sure = fitted.with_pending(pending).expects(pending)
    assert after == pytest.approx(before, abs=1e-6)
    assert sure[0] < unsure[0]


@pytest.mark.parametrize("z", [3.0, 0.5, -0.5, -2.0, -10.0, -24.0])
def test_expected_improvement_is_the_integral(z: float) -> None:
    mean, deviation, best = 1.0, 0.5, 1.0 + 0.5 * z
    scaled = log_expected_improvement(np.array([mean]), np.array([deviation]), best)[0]

    def weighted(t: float) -> float:  # divided by the density at the peak, so that it does not vanish
        return (z - t) * math.exp(-0.5 * (t * t - min(z, 0.0) ** 2))

    integral, _ = integrate.quad(weighted, z - 12, z, epsabs=0, epsrel=1e-9, limit=200)
    expected = math.log(deviation * integral / math.sqrt(2 * math.pi)) - 0.5 * min(z, 0.0) ** 2
    assert scaled == pytest.approx(expected, rel=1e-5)


def test_expected_improvement_stays_finite_and_falls_far_away() -> None:
    means = np.array([0.0, 1e2, 1e4, 1e6])
    merits = log_expected_improvement(means, np.full(4, 1e-3), 0.0)
    assert np.isfinite(merits).all()
    assert (np.diff(merits) < 0).all()


def test_a_bayesian_search_beats_a_random_one() -> None:
    ours = np.mean([best_of(Bayesian(CUBE, (seed,)), 20) for seed in range(3)])
    random = np.mean([best_of(RandomPoints(CUBE, (seed,)), 20) for seed in range(3)])
    assert ours < random / 3


def test_the_parzen_estimator_beats_a_random_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bayesian, "MOST_FOR_PROCESS", 0)
    ours = np.mean([best_of(Bayesian(CUBE, (seed,)), 40) for seed in range(4)])
    random = np.mean([best_of(RandomPoints(CUBE, (seed,)), 40) for seed in range(4)])
    assert ours < random


def test_beyond_what_is_modelled_points_gather_around_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bayesian, "MOST_FOR_ESTIMATOR", 10)
    random = RandomPoints(CUBE, (9,))
    points = [random.propose(place, Knowledge()) for place in range(200)]
    known = Knowledge([Finding(point, bowl(point)) for point in points])
    drawn = [bowl(Bayesian(CUBE, (1,)).propose(place, known)) for place in range(60)]
    assert np.median(drawn) < np.median([finding.loss for finding in known.findings])


def test_every_kind_of_side_takes_part_in_both_models(monkeypatch: pytest.MonkeyPatch) -> None:
    space = Space(
        (
            IntegerRange("few", 1, 8),
            IntegerRange("many", 1, 10_000, "Logarithmic"),
            IntegerRange("some", 1, 200, "Logarithmic"),
            CategoricalRange("words", ("a", "b", "c")),
            CategoricalRange("sizes", ("64", "16", "32")),
            CategoricalRange("only", ("x",)),
            ContinuousRange("share", 0.9, 0.999, "ReverseLogarithmic"),
        )
    )
    random = RandomPoints(space, (9,))
    points = [random.propose(place, Knowledge()) for place in range(20)]
    known = Knowledge([Finding(point, point[0] + point[3]) for point in points], points[:2])
    for most in (100, 0):
        monkeypatch.setattr(bayesian, "MOST_FOR_PROCESS", most)
        point = Bayesian(space, (1,)).propose(20, known)
        assert space.point(space.values(point)) == pytest.approx(point)


def test_categories_that_are_numbers_are_in_order_to_the_process() -> None:
    side = bayesian._ModelSide.of(CategoricalRange("sizes", ("64", "16", "32")))
    assert not side.is_unordered
    assert [side.inside(unit) for unit in (1 / 6, 3 / 6, 5 / 6)] == pytest.approx([5 / 6, 1 / 6, 3 / 6])
    assert [side.outside(side.inside(unit)) for unit in (1 / 6, 3 / 6, 5 / 6)] == pytest.approx([1 / 6, 3 / 6, 5 / 6])
    assert bayesian._ModelSide.of(CategoricalRange("words", ("a", "b", "c"))).is_unordered


def test_a_hopeless_tail_and_failures_are_no_worse_than_bad() -> None:
    assert bounded([1.0, 2.0, 3.0, 1e9, math.inf]) == [1.0, 2.0, 3.0, 2.5 + 3 * 1.5, 2.5 + 3 * 1.5]
    assert bounded([1.0, 1.0, 1.0, 5.0]) == [1.0, 1.0, 1.0, 5.0]


def test_equal_results_are_no_trouble() -> None:
    random = RandomPoints(CUBE, (9,))
    known = Knowledge([Finding(random.propose(place, Knowledge()), 0.5) for place in range(30)])
    assert len(Bayesian(CUBE, (1,)).propose(30, known)) == 4


def test_findings_at_one_point_are_no_trouble() -> None:
    known = Knowledge([Finding((0.5,) * 4, float(i % 3)) for i in range(30)], [(0.5,) * 4] * 30)
    assert len(Bayesian(CUBE, (1,)).propose(30, known)) == 4
