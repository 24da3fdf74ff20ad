"""``nightmill preview`` as a Ray job: ``ray job submit --working-dir . -- python jobs/preview.py ARGUMENTS``."""

import sys

from pipelines.cli import command

command(["preview", *sys.argv[1:]])
