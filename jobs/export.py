"""``nightmill export`` as a Ray job: ``ray job submit --working-dir . -- python jobs/export.py ARGUMENTS``."""

import sys

from pipelines.cli import command

command(["export", *sys.argv[1:]])
