"""`python -m runner` serves; `python -m runner replay ...` runs recorded lights again."""

import sys

_USAGE = """usage: python -m runner                  serve; settings are environment variables
       python -m runner replay --help    run recorded lights again, and compare the colours"""


def main() -> None:
    """Serve until told to stop; or do what the arguments name."""
    match sys.argv[1:]:
        case []:
            from runner import app  # noqa: PLC0415 - replay needs nothing of it

            app.main()
        case ["replay", *arguments]:
            from replay import command  # noqa: PLC0415 - it is no part of the service

            sys.exit(command.main(arguments))
        case _:
            print(_USAGE, file=sys.stderr)
            sys.exit(0 if sys.argv[1:] in (["-h"], ["--help"]) else 2)


if __name__ == "__main__":
    main()
