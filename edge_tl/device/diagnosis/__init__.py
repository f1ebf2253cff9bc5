"""Which classic mistake somebody's own pipeline makes, from its answers on a bundle's golden images."""
