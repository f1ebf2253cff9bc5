"""Many runs beside each other: a study, their latency, a pick under a budget."""
