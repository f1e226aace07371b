"""`python -m nst`: see `nst.cli.app`."""

from nst.cli.app import main

if __name__ == "__main__":
    main()
