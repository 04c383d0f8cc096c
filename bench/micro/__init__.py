"""What one request costs, part by part: ``python -m pytest bench/micro``. Fixed rounds, so that two
runs do the same work; compare the medians of runs on one quiet machine.
"""
