"""What pytest does not collect: modules for packages that are not installed."""

import importlib.util

collect_ignore = []
if importlib.util.find_spec("torch") is None:
    collect_ignore.append("lmxlab/bench/torch_model.py")
