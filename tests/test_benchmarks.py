"""The measuring code: it refuses wrong results, draws variants, and its peers agree with each other."""

import pathlib

import numba
import numpy as np
import pytest

from benchmarks import __main__, batches, cpp, harness, network, njit, njit_costs, object_tape, scalars
from benchmarks.problems import PROBLEMS
from fasttape.compiler import vector

QUICK = ("example1", "dense", "regression", "gradient-operations", "fused-network", "hessian", "product-array")
QUICK += ("njit-mixture", "njit-bodies", "njit-small")


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(harness, "BUDGET", 0.0)  # the least number of samples
    monkeypatch.setattr(harness, "SAMPLE", 0.0)


def problem(*results):
    contenders = {str(i): lambda case, result=result: lambda: result for i, result in enumerate(results)}
    return harness.Problem("p", "w", lambda rng: None, contenders)


def test_names_are_unique():
    names = [problem.name for problem in PROBLEMS]
    assert len(set(names)) == len(names)


def test_equal_results_are_timed():
    samples = harness.measure(problem((1.0, [2.0]), [1.0, np.array([2.0])], None), None)
    assert set(samples) == {"0", "1", "2"}


@pytest.mark.parametrize("wrong", [(1.0, 2.1), (1.0, np.nan), (1.0,)])
def test_unequal_results_are_refused(wrong):
    with pytest.raises(SystemExit, match="1"):
        harness.measure(problem((1.0, 2.0), wrong), None)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="there is nothing to time in the Python twins")
@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("name", QUICK)
def test_contenders_agree_on_the_published_sizes_and_on_a_variant(name, seed):
    (chosen,) = (problem for problem in PROBLEMS if problem.name == name)
    rng = None if seed is None else np.random.default_rng(seed)
    summary = harness.summary(chosen, harness.measure(chosen, rng))
    assert set(summary["rows"]) == set(chosen.contenders)


@pytest.mark.parametrize("seed", [None, 5])
def test_micrograd_and_both_tapes_agree_on_its_network(seed):
    case = network.case(None if seed is None else np.random.default_rng(seed), points=4)
    expected = harness.flat(network.micrograd(case)())
    for contender in (network.objects, network.recorded, network.replayed):
        np.testing.assert_allclose(harness.flat(contender(case)()), expected, rtol=1e-10, atol=1e-13)


def test_the_published_network_has_337_parameters():
    assert len(network.case(None).parameters) == 337


@pytest.mark.parametrize("seed", [None, 5])
def test_the_formula_of_rosenbrock_is_its_gradient(seed):
    case = scalars.valley(None if seed is None else np.random.default_rng(seed), terms=300)
    x = [object_tape.Number(value) for value in case.x]
    value = scalars.rosenbrock(x, case)
    result = harness.flat((value.value, object_tape.gradient(value, x)))
    np.testing.assert_allclose(result, harness.flat(scalars.rosenbrock_by_formula(case)), rtol=1e-11)


def test_the_report_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmarks", "--only", "example1", "--json", str(tmp_path / "new" / "r.json")])
    assert __main__.main() == 0
    assert "python -m benchmarks --only example1" in capsys.readouterr().out
    assert '"processor"' in (tmp_path / "new" / "r.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "make"), [("options", batches.options), ("paths", batches.many_paths)])
@pytest.mark.parametrize("seed", [None, 5])
def test_formulas_and_lanes_agree_about_batches(name, make, seed):
    case = make(None if seed is None else np.random.default_rng(seed))
    few = case._replace(x=case.x[:, : 3 if numba.config.DISABLE_JIT else 301].copy())
    expected = batches.by_hand(few)()
    for contender in batches.contenders(name).values():
        np.testing.assert_allclose(contender(few)(), expected, rtol=1e-9, atol=1e-11)


def test_batches_in_cpp_call_libmvec():
    """Else they are no measure of code that does."""
    wanted = vector.symbol("erf", 1, "float64")
    if not cpp.has_compiler() or wanted is None:
        pytest.skip("no C++ compiler or no libmvec here")
    code = pathlib.Path(cpp.batches()._name).read_bytes()
    for name in ("exp", "log", "erf"):
        assert vector.symbol(name, 1, "float64").name.encode() in code
    assert np.full(9, 1e-310).sum() > 0.0, "subnormal numbers are still numbers"


def test_batches_without_a_compiler_are_measured_without_cpp(monkeypatch):
    monkeypatch.setattr(cpp, "COMPILER", "no-such-compiler")
    assert batches.contenders("options") == batches.CONTENDERS
    assert batches.beside_cpp("columns") == ()


@pytest.mark.slow
@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="the loops are long")
@pytest.mark.parametrize("library", cpp.LIBRARIES, ids=lambda library: library.name)
def test_tapes_in_cpp_agree_with_ours(library):
    if cpp.found(library) is None:
        pytest.skip("its headers are not here")
    for make in (njit.valley, njit.orbit, njit.chain):
        case = make(np.random.default_rng(2))
        expected = harness.flat(njit.inside(0)(case)())
        for program in (case.f.__name__, f"{case.f.__name__}_in_operations"):
            found = harness.flat(cpp.contender(library, program)(case)())
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max())


def test_a_library_in_cpp_that_is_not_here_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(cpp, "folders", lambda library: iter([tmp_path]))
    assert cpp.missing() == ["CoDiPack", "Adept", "CppAD", "ADOL-C"]
    assert cpp.contenders("rosenbrock") == {}
    problem = njit.per_operation("njit-rosenbrock", "work", njit.valley, 2.0, 20.0, {"CppAD": 8.0})
    assert problem.work == "work; not here: CoDiPack, Adept, CppAD, ADOL-C"
    assert len(problem.figures) == 2


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="compiled functions have no records then")
def test_meetings_of_slots_are_counted():
    """Three meetings of slots in each term but the first, which is added to a constant."""
    call = njit.valley(None)
    few = call._replace(arguments=(call.arguments[0][:11],))
    assert njit_costs.memory(few, 0) == (24 * (3 * 10 - 1), 3 * 10 - 1, 8 * 10)
