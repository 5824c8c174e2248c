"""`python -m fastsa`: the same as the `fastsa` command."""

from fastsa.cli.main import main

if __name__ == "__main__":
    main()
