"""The application that the commands join."""

import typer

app = typer.Typer(
    name="sonorant",
    help="Learn from untranscribed speech: representations, label-free scores, low-resource recognisers.\n\n"
    "A way through: `manifest`, `pretrain`, `extract`, `measure`, `finetune`, `transcribe`, `report`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
