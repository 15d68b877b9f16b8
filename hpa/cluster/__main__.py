"""`python -m hpa.cluster`: see `hpa.cluster`."""

from hpa.cluster import main

if __name__ == "__main__":
    raise SystemExit(main())
