"""Run the storer: `python -m storer`; or a command for one: `python -m storer ls`."""

import os
import sys


def main() -> None:
    """Serve until told to stop; or do what the command says that was given."""
    # Each is loaded alone: a command need not wait for what only serving needs.
    if sys.argv[1:]:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # it is told in our words
        from cli.main import main as command  # noqa: PLC0415

        sys.exit(command(sys.argv[1:]))
    from storer import app  # noqa: PLC0415

    app.main()


if __name__ == "__main__":
    main()
