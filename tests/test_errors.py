"""Every public exception: its class, and the failing program and the fix that its docstring shows."""

import builtins
import doctest
import inspect

import pytest

from fasttape import errors

CLASSES = [x for _, x in inspect.getmembers(errors, inspect.isclass) if x.__module__ == errors.__name__]


@pytest.mark.parametrize("error", CLASSES)
def test_hierarchy(error):
    assert issubclass(error, errors.FastTapeError)
    if error is not errors.FastTapeError:
        assert any(vars(builtins).get(base.__name__) is base for base in error.__bases__)


@pytest.mark.parametrize("error", [x for x in CLASSES if x is not errors.FastTapeError])
def test_the_docstring_fails_as_it_says_and_shows_the_fix(error):
    (test,) = doctest.DocTestFinder(recurse=False).find(error, error.__name__, globs={"__name__": "__main__"})
    raised = [i for i, example in enumerate(test.examples) if example.exc_msg]
    assert raised, "shows no program that fails"
    assert all(error.__name__ in test.examples[i].exc_msg for i in raised)
    report = []
    failed, _ = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=report.append)
    assert failed == 0, "".join(report)


def test_messages_promise_nothing():
    for error in CLASSES:
        text = (error.__doc__ or "").lower()
        assert not any(word in text for word in ("not yet", "future", "will be supported", "todo", "coming"))
