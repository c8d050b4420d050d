"""Tests of lmxlab.lab.panel."""

from lmxlab.lab import panel


def test_the_module_says_what_it_does():
    assert panel.__doc__
