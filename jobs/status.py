"""``nightmill status`` as a Ray job: ``ray job submit --working-dir . -- python jobs/status.py ARGUMENTS``."""

import sys

from pipelines.cli import command

command(["status", *sys.argv[1:]])
