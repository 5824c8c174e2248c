"""`plan()`: graph + budget -> plan, by the native core, checked by the validator."""
