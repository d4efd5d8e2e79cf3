"""Colours: the rules that tell what a run's output says about its tests."""
