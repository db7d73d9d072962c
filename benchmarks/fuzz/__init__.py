"""Damaged inputs, drawn at random from a seed: does minivess answer each with one message?

Run as ``just fuzz``; see docs/benchmarks/fuzz.md.
"""
