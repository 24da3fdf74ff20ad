"""``nightmill similarity`` as a Ray job: ``ray job submit --working-dir . -- python jobs/similarity.py ARGUMENTS``."""

import sys

from pipelines.cli import command

command(["similarity", *sys.argv[1:]])
