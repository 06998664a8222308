"""`python -m deploy.cli`: the same as `spectrain`."""

from deploy.cli import main

main()
