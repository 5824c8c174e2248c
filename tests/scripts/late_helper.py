"""Found beside a script, by whoever imports it while the script may still run."""

VALUE = 42
