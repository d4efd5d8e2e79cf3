"""The runner: an avatar's tests, run in a language image."""
