"""The commands of `python -m fasttape`, on the real data that the demo uses."""

import importlib.util

import numba
import numpy as np
import pytest

from fasttape import __main__, demo

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.slow
@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="trains for many minutes element by element on the Python twins")
def test_demo_shows_its_three_parts_and_writes_a_figure(tmp_path, capsys):
    assert __main__.main(["demo", "--out", str(tmp_path / "new"), "--epochs", "1"]) == 0
    text = capsys.readouterr().out
    assert "sqrt(x² + exp(x²)) + cos(x² + exp(x²))" in text
    assert "paths" in text
    assert "least-squares" in text
    assert "(A3ᵀ ⟦δ3⟧) ⊙ σ′(z2)" in text
    assert "Test accuracy" in text
    picture = (tmp_path / "new" / "digits.png").read_bytes()
    assert picture.startswith(PNG)
    assert len(picture) > 10_000
    assert (tmp_path / "new" / "example1.dot").read_text().startswith("digraph")


def test_the_closed_form_and_the_tape_agree_on_example_1():
    import fasttape as ft
    from fasttape.demo import example1

    for x in (-1.1, 0.3, 1.2):
        np.testing.assert_allclose(ft.grad(example1.f)(x), example1.derivative(x), rtol=1e-13)


def test_the_network_gradient_equals_back_propagation_by_hand():
    import fasttape as ft
    from fasttape.demo import digits

    data, layers = digits.load(3), digits.initial(np.random.default_rng(3))
    x, wanted = data.images[:, :7], digits.targets(data.labels[:7])
    gradient = ft.grad(digits.loss)(layers, x, wanted)
    for i, _, dA, db in digits.by_hand(layers, x, wanted):
        np.testing.assert_allclose(gradient[i - 1][0], dA, rtol=1e-11, atol=1e-14)
        np.testing.assert_allclose(gradient[i - 1][1], db, rtol=1e-11, atol=1e-14)


@pytest.mark.slow
@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="five trainings are too much for the Python twins")
def test_the_worst_of_five_seeds_reads_96_percent_of_the_test_images():
    from fasttape.demo import digits

    assert min(digits.train(seed, digits.EPOCHS).accuracies[-1] for seed in range(5)) >= 0.96


def test_a_missing_extra_is_named_with_the_command_that_installs_it(monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(demo.importlib.util, "find_spec", lambda name: None if name == "sklearn" else find(name))
    assert __main__.main(["demo"]) == 1
    message = capsys.readouterr().err
    assert "scikit-learn" in message
    assert 'pip install "fasttape[demo]"' in message


@pytest.mark.parametrize("arguments", [[], ["demo", "--epochs", "0"], ["demo", "--epochs", "many"], ["dance"]])
def test_bad_command_lines_are_refused(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        __main__.main(arguments)
    assert "usage" in capsys.readouterr().err


def test_warmup_says_how_long_it_took(capsys):
    assert __main__.main(["warmup"]) == 0
    assert "compiled and cached" in capsys.readouterr().out
