"""What each figure of recorded runs trains: one module for each, with ``RECORDING``."""
