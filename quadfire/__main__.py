"""`python -m quadfire` is the command `quadfire`."""

from quadfire.cli import main

if __name__ == "__main__":
    main()
