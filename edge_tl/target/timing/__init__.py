"""The timer and what is built on it: blocks in fresh processes, percentiles, ratios, pace, results that keep."""
