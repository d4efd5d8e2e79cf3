"""`python -m cli` is `cyber-dojo`."""

from cli.main import main

if __name__ == "__main__":
    main()
