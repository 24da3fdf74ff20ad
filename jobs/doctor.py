"""``nightmill doctor`` as a Ray job: ``ray job submit --working-dir . -- python jobs/doctor.py ARGUMENTS``."""

import sys

from pipelines.cli import command

command(["doctor", *sys.argv[1:]])
