"""From a run to a proven bundle: artifacts, evidence, verdicts, pack."""
