"""`python -m nst`: see `nst.app`."""

from nst.app import main

if __name__ == "__main__":
    main()
