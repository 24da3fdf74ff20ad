"""``nightmill verify`` as a Ray job: ``ray job submit --working-dir . -- python jobs/verify.py ARGUMENTS``."""

import sys

from pipelines.cli import command

command(["verify", *sys.argv[1:]])
