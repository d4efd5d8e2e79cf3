# No cache: there would be files in the sandbox that nobody wrote.
python3 -m pytest -p no:cacheprovider
