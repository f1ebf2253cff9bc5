"""The timer and what is built on it: blocks in fresh processes, percentiles, ratios, paced arrivals, results."""
