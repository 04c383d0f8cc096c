"""Benchmarks of fastmirror beside its peers."""
