"""The web tier: the pages with which a group practises, on a storer and a runner."""
