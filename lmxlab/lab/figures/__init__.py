"""The pictures of the notebooks, one module for each topic, drawn from numbers.

A function here takes what it shows and returns a figure without background, which
:func:`lmxlab.lab.picture` turns into an output with words for those who cannot see it.
"""
