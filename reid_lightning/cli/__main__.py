"""`python -m reid_lightning.cli` is the command `reid`."""

from reid_lightning.cli.main import main

main()
