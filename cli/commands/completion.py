"""`cyber-dojo completion`: print the script that a shell needs to complete commands."""

import click
from click.shell_completion import ShellComplete, get_completion_class

from cli.terminal.complaint import PROGRAM

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_CYBER_DOJO_COMPLETE"  # as click derives it from the program's name


_HELP = """Print a script that lets a shell complete commands, options, katas and avatars.

\b
bash   echo 'eval "$(cyber-dojo completion bash)"' >>~/.bashrc
zsh    echo 'eval "$(cyber-dojo completion zsh)"' >>~/.zshrc
fish   cyber-dojo completion fish >~/.config/fish/completions/cyber-dojo.fish
"""


@click.command(help=_HELP)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"this version of click does not know {shell}")
    # Not the class's own `source`, which fails unless that shell is on this machine: the script
    # may be meant for another machine.
    click.echo(ShellComplete.source(kind(ctx.find_root().command, {}, PROGRAM, VARIABLE)))
