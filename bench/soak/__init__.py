"""A million requests with everything that goes wrong: ``python -m bench.soak``."""
