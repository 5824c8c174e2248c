"""Whether planned steps compute what the unplanned ones do: `fastsa check`."""
