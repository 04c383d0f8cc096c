"""Tests of single modules: the smallest part that can be wrong, against an oracle where one is."""
