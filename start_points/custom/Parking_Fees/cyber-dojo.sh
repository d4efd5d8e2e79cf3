# Without a cache, which would add files to the sandbox.
python3 -m pytest -p no:cacheprovider --junitxml=results.xml
