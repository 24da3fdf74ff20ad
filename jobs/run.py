"""``nightmill run`` as a Ray job: ``ray job submit --working-dir . -- python jobs/run.py ARGUMENTS``."""

import sys

from pipelines.cli import command

command(["run", *sys.argv[1:]])
