"""``nightmill explain`` as a Ray job: ``ray job submit --working-dir . -- python jobs/explain.py ARGUMENTS``."""

import sys

from pipelines.cli import command

command(["explain", *sys.argv[1:]])
