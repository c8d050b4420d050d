"""lmxlab: an interactive lab in which you learn how small language models are trained.

Import it before ``mlx``: on a Linux CPU it binds MLX to a fast BLAS and a vectorising
kernel compiler, about ten times faster (see :mod:`lmxlab.runtime`).
"""

from lmxlab import runtime

runtime.prepare()

__version__ = "0.1.0"
