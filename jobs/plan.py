"""``nightmill plan`` as a Ray job: ``ray job submit --working-dir . -- python jobs/plan.py ARGUMENTS``."""

import sys

from pipelines.cli import command

command(["plan", *sys.argv[1:]])
