"""The command ``sipup``: one file a command.

==================  =====================================================
``services``        ``sipup services run -- COMMAND``
``foreground``      how a command is run: every signal reaches it once
==================  =====================================================
"""

from sipup_middleware.errors import MissingExtra

try:
    import click
except ImportError as error:
    raise MissingExtra("cli") from error

from sipup_middleware.cli.services import services

__all__ = ("main",)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sipup-middleware")
def main() -> None:
    """Run and look after apps wrapped in sipup_middleware."""


main.add_command(services)
