"""Tests of lmxlab.lab.compare."""

from lmxlab.lab import compare


def test_the_module_says_what_it_does():
    assert compare.__doc__
