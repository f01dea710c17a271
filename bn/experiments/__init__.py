"""The paper's experiments, and the records that they leave in ``results/``."""
