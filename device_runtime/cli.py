"""`keychorus device`: the daemon that learns, the page that suggests, and what a person may see of both."""

import click

from device_runtime.commands.conditions import conditions
from device_runtime.commands.keyboard import keyboard
from device_runtime.commands.log import log
from device_runtime.commands.options import examples
from device_runtime.commands.release import release
from device_runtime.commands.run import run
from device_runtime.commands.status import status


@click.group(
    epilog=examples(
        "keychorus device keyboard",
        "keychorus device log consent on",
        "keychorus device run --service https://keys.example.org --population english --public-key enrolment.txt",
    )
)
def device() -> None:
    """Learn on this machine, and suggest words while typing."""


for _command in (keyboard, run, status, conditions, log, release):
    device.add_command(_command)
