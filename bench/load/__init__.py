"""Loads each proxy in turn on one machine and compares what a request costs: ``-m bench.load``."""
