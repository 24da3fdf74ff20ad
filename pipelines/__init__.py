"""Nightmill: seeds in, accounted synthetic training data out.

Nothing is imported here: ``import pipelines`` must stay fast on a laptop without Ray, torch or vLLM.
"""

__version__ = "0.1.0"
